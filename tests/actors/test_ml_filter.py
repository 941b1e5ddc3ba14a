"""The ML gate on a real message bus and inside a BacktestEngine: one Verdict per Signal, whatever happens."""

import math
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import MessageBus, TestClock
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, TraderId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.portfolio.portfolio import Portfolio

from actors.gate import Gate, GateConfig
from actors.ml_filter import MlFilter, MlFilterConfig
from catalog.instruments import load_instruments, to_nautilus
from research.testing import promoted, signal_values, small_model
from research.training import publish
from strategies import records
from strategies.kernel.columns import FEATURE_SCHEMA
from strategies.market_clock import market_clock
from strategies.messages import SIGNAL, VERDICT, Reason, Signal, signal_id, topic

XRP = InstrumentId.from_str("XRPUSDT-PERP.BINANCE")
BAR = 15 * 60 * 10**9
START = 1_743_465_600 * 10**9
GOOD, BAD = {"rsi": 2.5}, {"rsi": -2.5}


def _signal(bar=1, schema=FEATURE_SCHEMA, raw=None, **values):
    close = START + bar * BAR
    return Signal(
        ts_event=close,
        ts_init=close,
        instrument_id=XRP,
        signal_id=signal_id("CMP", XRP, close, "LONG"),
        strategy="CMP",
        side="LONG",
        strength=3.0,
        reference_price=2.0,
        stop_price=1.9,
        target_price=2.4,
        atr=0.05,
        bar_close=close,
        schema=schema,
        features=signal_values(**values).tobytes() if raw is None else raw,
    )


class Bench:
    """A message bus with gates on it, and what they said."""

    def __init__(self):
        clock = TestClock()
        self.msgbus = MessageBus(TraderId("TEST-001"), clock)
        self.cache = Cache()
        self._register = (Portfolio(self.msgbus, self.cache, clock), self.msgbus, self.cache, clock)
        self.verdicts, self.incidents = [], []
        self.msgbus.subscribe(topic(VERDICT), self.verdicts.append, 10)
        self.msgbus.subscribe(f"{records.TOPIC}.incident", self.incidents.append)

    def start(self, actor):
        actor.register_base(*self._register)
        actor.start()
        return actor

    def ask(self, signal):
        """Publish a Signal and return the Verdict that was there when publishing returned."""
        before = len(self.verdicts)
        self.msgbus.publish(topic(SIGNAL), signal)
        assert len(self.verdicts) == before + 1
        verdict = self.verdicts[-1]
        assert (verdict.signal_id, verdict.bar_close) == (signal.signal_id, signal.bar_close)
        return verdict


@pytest.fixture(name="bench")
def bench_fixture():
    return Bench()


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    publish(small_model(), tmp_path / "model")
    return tmp_path / "model"


def _gate(bench, folder, mode="enforce"):
    return bench.start(MlFilter(MlFilterConfig(model_dir=str(folder), mode=mode)))


def test_enforce_blocks_below_the_threshold_and_says_the_score(bench, folder):
    gate = _gate(bench, folder)
    good, bad = bench.ask(_signal(1, **GOOD)), bench.ask(_signal(2, **BAD))
    assert (good.gate, good.passed, good.reason) == ("ml", True, Reason.PASSED)
    assert (bad.passed, bad.reason) == (False, Reason.ML_BELOW_THRESHOLD)
    assert bad.score < bad.threshold == gate.model.threshold <= good.score
    assert good.score == gate.model.score(signal_values(**GOOD))
    assert gate.model.fingerprint[:12] in good.detail


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ({"XRPUSDT": (1.5, 4.0)}, Reason.PASSED),
        ({"XRPUSDT": (1.5, 3.0)}, Reason.ML_LEVELS_MISMATCH),
        ({"BTCUSDT": (1.5, 4.0)}, Reason.ML_LEVELS_MISMATCH),
    ],
)
def test_a_model_labelled_with_other_levels_is_refused(bench, folder, levels, reason):
    bench.start(MlFilter(MlFilterConfig(model_dir=str(folder), levels=levels)))
    verdict = bench.ask(_signal(1, **GOOD))
    assert verdict.reason == reason
    assert verdict.passed == (reason is Reason.PASSED)
    assert [i.code for i in bench.incidents] == ([] if verdict.passed else ["model_refused"])


def test_shadow_passes_what_it_would_block(bench, folder):
    _gate(bench, folder, "shadow")
    good, bad = bench.ask(_signal(1, **GOOD)), bench.ask(_signal(2, **BAD))
    assert (good.passed, good.reason) == (True, Reason.PASSED)
    assert (bad.passed, bad.reason) == (True, Reason.SHADOW)
    assert bad.score < bad.threshold


def test_a_score_on_the_threshold_passes(bench, tmp_path):
    model, _ = publish(small_model(), tmp_path / "model")
    exact = small_model(threshold=model.score(signal_values(**GOOD)))
    publish(exact, tmp_path / "model")
    _gate(bench, tmp_path / "model")
    verdict = bench.ask(_signal(**GOOD))
    assert verdict.score == verdict.threshold
    assert verdict.passed


def _broken(folder):
    (folder / "model.onnx").write_bytes(b"no")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, Reason.ML_NO_MODEL),
        ({}, Reason.ML_BROKEN_MODEL),
        ({"valid_until_ns": START}, Reason.ML_EXPIRED),
        ({"schema": "f" * 64}, Reason.ML_SCHEMA_MISMATCH),
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_without_a_usable_model_enforce_blocks_and_shadow_passes(bench, tmp_path, model, reason, mode):
    folder = tmp_path / "model"
    if model is not None:
        # publish() refuses what does not verify, so a wrong schema gets there as a copy from elsewhere would.
        made = small_model(**model)
        folder.mkdir()
        for name, content in {**made.files, "model.json": _manifest(made)}.items():
            (folder / name).write_bytes(content)
    if model == {}:
        _broken(folder)
    _gate(bench, folder, mode)
    for bar in (1, 2):
        verdict = bench.ask(_signal(bar, **GOOD))
        assert (verdict.passed, verdict.reason) == (mode == "shadow", reason)
        assert math.isnan(verdict.score)
        assert verdict.detail
    if reason is not Reason.ML_EXPIRED:
        assert [i.code for i in bench.incidents] == ["model_refused"], "told once, not at every signal"
        assert bench.incidents[0].severity == ("critical" if mode == "enforce" else "warning")


def _manifest(model):
    from actors.model_folder import encode_manifest

    return encode_manifest(model.manifest)


def test_a_model_expires_at_a_bar_not_at_wall_time(bench, tmp_path):
    publish(small_model(valid_until_ns=START + 3 * BAR), tmp_path / "model")  # wall time is far beyond
    _gate(bench, tmp_path / "model")
    assert bench.ask(_signal(2, **GOOD)).reason == Reason.PASSED
    assert bench.ask(_signal(3, **GOOD)).reason == Reason.ML_EXPIRED
    market_clock(bench.msgbus).advance(START + 5 * BAR)
    late = bench.ask(_signal(2, **GOOD))
    assert (late.passed, late.reason) == (False, Reason.ML_EXPIRED), "an old signal does not turn the clock back"


def test_signals_inside_the_training_range_are_marked(bench, tmp_path):
    publish(small_model(trained_until_ns=START + 2 * BAR), tmp_path / "model")
    _gate(bench, tmp_path / "model")
    assert "in-sample" in bench.ask(_signal(2, **GOOD)).detail
    assert "in-sample" not in bench.ask(_signal(3, **GOOD)).detail


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        ({"rsi": math.inf}, Reason.ML_BAD_INPUT),
        ({"rsi": -1e39}, Reason.ML_BAD_INPUT),
        ({"raw": np.zeros(5).tobytes()}, Reason.ML_BAD_INPUT),
        ({"raw": b"seven b"}, Reason.ML_BAD_INPUT),
        ({"schema": "another"}, Reason.ML_SCHEMA_MISMATCH),
    ],
)
def test_inputs_that_cannot_be_scored_block(bench, folder, signal, reason):
    _gate(bench, folder)
    verdict = bench.ask(_signal(1, **signal))
    assert (verdict.passed, verdict.reason) == (False, reason)
    assert bench.ask(_signal(2, rsi=math.nan)).reason in {Reason.PASSED, Reason.ML_BELOW_THRESHOLD}


class Breaking:
    """A model whose graph fails at run time."""

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def score(self, values):
        raise MemoryError(f"the graph ran out of memory on {len(values)} values")


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_any_exception_is_an_answer(bench, folder, mode):
    gate = _gate(bench, folder, mode)
    gate._model = Breaking(gate.model)
    verdict = bench.ask(_signal(**GOOD))
    assert (verdict.passed, verdict.reason) == (mode == "shadow", Reason.ML_ERROR)
    assert "MemoryError: the graph ran out of memory" in verdict.detail


def test_a_good_folder_is_swapped_in_at_the_next_signal(bench, folder):
    gate = _gate(bench, folder)
    first = bench.ask(_signal(1, **GOOD))
    newer, _ = publish(small_model(seed=2, threshold=0.999), folder)
    second = bench.ask(_signal(2, **GOOD))
    assert gate.model.fingerprint == newer.fingerprint
    assert (first.passed, second.passed, second.threshold) == (True, False, 0.999)
    assert [(i.severity, i.code) for i in bench.incidents] == [("info", "model_replaced")]


def test_a_bad_folder_is_refused_once_and_the_running_model_stays(bench, folder):
    gate = _gate(bench, folder)
    first = bench.ask(_signal(1, **GOOD))
    publish(small_model(seed=2), folder)
    _broken(folder)
    for bar in (2, 3):
        assert bench.ask(_signal(bar, **GOOD)).score == first.score
    assert [(i.severity, i.code) for i in bench.incidents] == [("warning", "model_refused")]
    assert "stays" in bench.incidents[0].message
    newest, _ = publish(small_model(seed=3), folder)
    bench.ask(_signal(4, **GOOD))
    assert gate.model.fingerprint == newest.fingerprint


def test_an_expired_replacement_is_refused(bench, folder):
    gate = _gate(bench, folder)
    running = gate.model.fingerprint
    publish(small_model(seed=2, valid_until_ns=START), folder)
    assert bench.ask(_signal(1, **GOOD)).reason == Reason.PASSED
    assert gate.model.fingerprint == running
    assert "expired" in bench.incidents[0].message


def test_a_folder_that_vanishes_or_appears_later(bench, folder, tmp_path):
    gate = _gate(bench, folder)
    first = bench.ask(_signal(1, **GOOD))
    folder.rename(tmp_path / "away")
    assert bench.ask(_signal(2, **GOOD)).score == first.score
    late = Bench()
    waiting = _gate(late, tmp_path / "later")
    assert late.ask(_signal(1, **GOOD)).reason == Reason.ML_NO_MODEL
    (tmp_path / "away").rename(tmp_path / "later")
    assert late.ask(_signal(2, **GOOD)).score == first.score
    assert waiting.model.fingerprint == gate.model.fingerprint


def test_configuration_refuses_an_unknown_mode_and_key():
    for wrong in ({"model_dir": "x", "mode": "off"}, {"model_dir": "x", "mod": "shadow"}, {}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, MlFilterConfig)


class Last(Gate):
    """A gate that follows another one and notes what reaches it."""

    gate = "last"
    error_reason = Reason.GUARD_ERROR

    def __init__(self, upstream):
        super().__init__(GateConfig(upstream=upstream))
        self.judged, self.passed = [], []

    def judge(self, signal):
        self.judged.append(signal.signal_id)
        if len(self.judged) == 3:
            raise RuntimeError("third")
        return self.verdict(signal, Reason.PASSED, passed=True)

    def on_passed(self, signal, verdict):
        self.passed.append((signal.signal_id, verdict.gate))


def test_a_gate_follows_only_what_its_upstream_passed(bench, folder):
    last = bench.start(Last("ml"))  # started first: order of starting must not matter
    _gate(bench, folder)
    signals = [_signal(bar, **(BAD if bar == 2 else GOOD)) for bar in range(1, 5)]
    for signal in signals:
        bench.msgbus.publish(topic(SIGNAL), signal)
    ids = [s.signal_id for s in signals]
    assert last.judged == [ids[0], ids[2], ids[3]]
    assert [(v.gate, v.signal_id, v.reason) for v in bench.verdicts if v.gate == "last"] == [
        ("last", ids[0], Reason.PASSED),
        ("last", ids[2], Reason.PASSED),
        ("last", ids[3], Reason.GUARD_ERROR),
    ]
    assert last.passed == [(ids[0], "last"), (ids[2], "last")]
    last.stop()
    bench.msgbus.publish(topic(SIGNAL), _signal(9, **GOOD))
    assert len(last.judged) == 3


def test_a_gate_forgets_signals_whose_verdict_never_came(bench):
    last = bench.start(Last("ml"))
    for bar in range(1, 400):
        bench.msgbus.publish(topic(SIGNAL), _signal(bar, **GOOD))
    assert len(last._remembered) <= 256
    assert not last.judged


class Script(Actor):
    """Publishes prepared Signals on the bars they belong to and notes what is answered before it goes on."""

    def __init__(self, bar_type, signals):
        super().__init__()
        self._bar_type, self._signals = bar_type, {s.bar_close: s for s in signals}
        self.answers, self._heard = [], []

    def on_start(self):
        self.msgbus.subscribe(topic(VERDICT), self._heard.append)
        self.subscribe_bars(self._bar_type)

    def on_bar(self, bar):
        signal = self._signals.get(bar.ts_event)
        if signal is None:
            return
        self._heard.clear()
        self.publish_data(SIGNAL, signal)
        self.answers.append([(v.gate, v.passed, v.reason, v.bar_close - bar.ts_event) for v in self._heard])


def test_inside_a_backtest_engine_the_answer_falls_on_the_same_bar(folder):
    instrument = to_nautilus(load_instruments()["XRPUSDT"])
    bar_type = BarType.from_str(f"{instrument.id}-15-MINUTE-LAST-EXTERNAL")
    price, size = Price(2.0, instrument.price_precision), Quantity(1000, instrument.size_precision)
    bars = [Bar(bar_type, price, price, price, price, size, START + i * BAR, START + i * BAR) for i in range(1, 40)]
    signals = [_signal(3, **GOOD), _signal(8, **BAD), _signal(20, rsi=math.inf), _signal(30, **GOOD)]
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    try:
        engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(1000, USDT)], USDT, Decimal(10))
        engine.add_instrument(instrument)
        engine.add_data(bars)
        script, gate = Script(bar_type, signals), MlFilter(MlFilterConfig(model_dir=str(folder)))
        engine.add_actor(script)
        engine.add_actor(gate)
        engine.run()
        expected = [
            [("ml", True, "passed", 0)],
            [("ml", False, "ml_below_threshold", 0)],
            [("ml", False, "ml_bad_input", 0)],
            [("ml", True, "passed", 0)],
        ]
        assert script.answers == expected
    finally:
        engine.dispose()


def test_real_money_takes_a_promoted_model_only_and_others_are_warned(bench, folder, tmp_path):
    refused = _strict(bench, folder, "require")
    verdict = bench.ask(_signal(1, **GOOD))
    assert (verdict.passed, verdict.reason) == (False, Reason.ML_UNPROMOTED)
    assert "unpromoted: no promotion.json" in verdict.detail
    refused.stop()

    warned = _strict(bench, folder, "warn")
    assert bench.ask(_signal(2, **GOOD)).passed
    told = [i for i in bench.incidents if i.code == "model_unpromoted"]
    assert [(i.severity, i.id) for i in told] == [("warning", told[0].id)]
    warned.stop()

    model, key = promoted(small_model())
    publish(model, folder)
    gate = _strict(bench, folder, "require", key)
    assert bench.ask(_signal(3, **GOOD)).passed
    (folder / "promotion.json").unlink()  # the running model stays, and somebody is told
    assert bench.ask(_signal(4, **GOOD)).passed
    assert bench.incidents[-1].code == "model_refused"
    gate.stop()


def _strict(bench, folder, promotion, key=""):
    config = MlFilterConfig(
        component_id=f"Ml{len(bench.verdicts)}", model_dir=str(folder), promotion=promotion, promotion_key=key
    )
    return bench.start(MlFilter(config))
