"""The three messages: bit-exact through dictionaries and Arrow, named alike everywhere."""

import re

import numpy as np
import pytest
from nautilus_trader.model.data import DataType

from catalog.instruments import instrument_id
from strategies.messages import (
    APPROVAL,
    MESSAGE_VERSION,
    SIGNAL,
    VERDICT,
    Approval,
    Reason,
    Side,
    Signal,
    Verdict,
    signal_id,
    topic,
)

XRP = instrument_id("XRPUSDT")
FEATURES = np.array([1.5, -0.0, np.nan, np.inf, 1e-300, 0.1 + 0.2])
CLOSE = 1_756_684_800_000_000_000


def signal():
    return Signal(
        CLOSE,
        CLOSE + 1,
        instrument_id=XRP,
        signal_id=signal_id("Composite", XRP, CLOSE, "LONG"),
        strategy="Composite-XRPUSDT",
        side="LONG",
        strength=3.5,
        reference_price=0.1 + 0.2,
        stop_price=2.5,
        target_price=3.5,
        atr=0.01,
        bar_close=CLOSE,
        schema="abc",
        features=FEATURES.astype("<f8").tobytes(),
    )


def verdict():
    return Verdict(
        CLOSE, CLOSE + 1, instrument_id=XRP, signal_id="s", gate="ml", passed=False,
        reason=Reason.ML_BELOW_THRESHOLD.value, score=0.4, threshold=0.5, detail="below", bar_close=CLOSE,
    )  # fmt: skip


def approval():
    return Approval(
        CLOSE, CLOSE + 1, instrument_id=XRP, signal_id="s", strategy="x", side="SHORT", quantity="12.3",
        stop_price="2.5000", target_price="3.5000", risk_amount=1.25, bar_close=CLOSE,
    )  # fmt: skip


@pytest.mark.parametrize("make", [signal, verdict, approval])
def test_messages_survive_dictionary_bytes_and_arrow(make):
    message = make()
    kind = type(message)
    for copy in (
        kind.from_dict(message.to_dict()),
        kind.from_bytes(message.to_bytes()),
        kind.from_arrow(message.to_arrow()),
    ):
        again = copy[0] if isinstance(copy, list) else copy
        for name in kind.__annotations__:
            assert getattr(again, name) == getattr(message, name), name
        assert (again.ts_event, again.ts_init) == (CLOSE, CLOSE + 1)
        assert again.version == MESSAGE_VERSION


def test_features_are_the_floats_the_strategy_saw_bit_by_bit():
    row = Signal.from_bytes(signal().to_bytes()).feature_row()
    assert row.dtype == np.float64
    assert row.tobytes() == FEATURES.tobytes()


def test_topics_are_those_publish_data_uses():
    assert topic(SIGNAL) == f"data.{DataType(Signal).topic}"
    assert len({topic(SIGNAL), topic(VERDICT), topic(APPROVAL)}) == 3


def test_the_same_bar_gives_the_same_signal_id_and_the_other_side_another():
    assert signal_id("Composite", XRP, CLOSE, "LONG") == "Composite:XRPUSDT-PERP:1756684800000:LONG"
    assert signal_id("Composite", XRP, CLOSE, "SHORT") != signal_id("Composite", XRP, CLOSE, "LONG")


def test_sides_know_sign_and_opposite():
    assert [(s.sign, s.opposite) for s in Side] == [(1, Side.SHORT), (-1, Side.LONG)]


def test_reasons_are_labels():
    assert len({r.value for r in Reason}) == len(Reason)
    for reason in Reason:
        assert re.match(r"^[a-z][a-z_]*$", reason.value)
        assert reason.value == reason.name.lower()
