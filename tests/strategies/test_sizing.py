"""Sizing: the ancestor's quantities to the digit, and no grant that any limit forbids."""

import csv
import os
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.errors import ConfigError
from strategies.messages import Reason, Side
from strategies.sizing import (
    Cap,
    Grid,
    Headroom,
    MarginRatio,
    RiskFraction,
    Sized,
    Sizing,
    Wish,
    exact,
    margin_ratio,
    size_position,
    to_grid,
)
from strategies.yaml_config import FrozenConfig, convert

GRID = Grid(
    quantity_step=Decimal("0.1"),
    min_quantity=Decimal("0.1"),
    max_quantity=Decimal(1_000_000),
    min_notional=Decimal(5),
)


def wish(**changes):
    base = Wish(
        side=Side.LONG,
        reference=Decimal("2.0000"),
        stop=Decimal("1.9500"),
        last_price=Decimal("2.0000"),
        equity=Decimal(10_000),
        balance=Decimal(10_000),
        start_balance=Decimal(10_000),
        symbols=1,
    )
    changes.setdefault("last_price", changes.get("reference", base.reference))
    return msgspec.structs.replace(base, **{k: Decimal(v) if isinstance(v, str) else v for k, v in changes.items()})


def size(method, *, grid=GRID, headroom=None, **changes) -> Sized:
    return size_position(method, wish(**changes), grid, headroom or Headroom())


def test_risk_fraction_loses_its_fraction_at_the_stop():
    sized = size(RiskFraction(risk_fraction=0.01))
    assert sized.quantity == Decimal("2000.0")
    assert sized.risk_amount == Decimal(100)
    assert (sized.cap, sized.reason) == (Cap.NONE, Reason.PASSED)


def test_risk_fraction_rounds_down_to_the_step():
    sized = size(RiskFraction(risk_fraction=0.01), stop="1.9300")  # 100 / 0.07 = 1428.57…
    assert sized.quantity == Decimal("1428.5")
    assert sized.risk_amount <= 100


@pytest.mark.parametrize("noise", ["-0.00000002", "0", "0.00000002"])
def test_noise_of_a_fee_rounding_never_flips_a_step(noise):
    equity = Decimal(10_000) + Decimal(noise)
    assert size(RiskFraction(risk_fraction=0.01), equity=equity).quantity == Decimal("2000.0")
    assert size(MarginRatio(), balance=equity).quantity == Decimal("25000.0")


@pytest.mark.parametrize(
    ("balance", "ratio"),
    [("1000", "0.5"), ("963.34", "0.5"), ("1100", "0.44"), ("1500", "0.2"), ("5000", "0.2")],
)
def test_margin_ratio_falls_with_profit_between_its_bounds(balance, ratio):
    assert margin_ratio(MarginRatio(), Decimal(balance), Decimal(1000)) == Decimal(ratio)


def test_margin_ratio_divides_the_balance_by_the_symbols_and_rounds_half_even():
    one = size(MarginRatio(), balance="1000", start_balance="1000", reference="2.4151", stop="2.3")
    three = size(MarginRatio(), balance="1000", start_balance="1000", reference="2.4151", stop="2.3", symbols=3)
    assert one.quantity == Decimal("2070.3")
    assert three.quantity == Decimal("690.1")
    up = size(
        MarginRatio(max_ratio=0.5, leverage=1.0), balance="1000.3", start_balance="1000.3", reference="1", stop="2"
    )
    assert up.quantity == Decimal("500.2")  # 500.15: half goes to the even step
    down = size(
        MarginRatio(max_ratio=0.5, leverage=1.0), balance="1000.1", start_balance="1000.1", reference="1", stop="2"
    )
    assert down.quantity == Decimal("500.0")  # 500.05


@pytest.mark.parametrize(
    ("cap", "headroom"),
    [
        (Cap.ORDER_NOTIONAL, Headroom(order_notional=Decimal(1001))),
        (Cap.TOTAL_NOTIONAL, Headroom(total_notional=Decimal(1001))),
        (Cap.LEVERAGE, Headroom(leverage=Decimal(1001))),
        (Cap.MARGIN, Headroom(margin=Decimal(1001))),
    ],
)
def test_each_cap_binds_and_is_named(cap, headroom):
    sized = size(RiskFraction(), headroom=headroom)
    assert (sized.quantity, sized.cap, sized.reason) == (Decimal("500.5"), cap, Reason.PASSED)


def test_the_tightest_cap_wins_and_the_venue_maximum_is_last():
    headroom = Headroom(order_notional=Decimal(1000), leverage=Decimal(400), margin=Decimal(800))
    assert size(RiskFraction(), headroom=headroom).cap is Cap.LEVERAGE
    grid = msgspec.structs.replace(GRID, max_quantity=Decimal("150.05"))
    sized = size(RiskFraction(), headroom=headroom, grid=grid)
    assert (sized.quantity, sized.cap) == (Decimal("150.0"), Cap.VENUE_MAXIMUM)


@pytest.mark.parametrize(
    ("reason", "changes", "headroom"),
    [
        (Reason.BELOW_MINIMUM, {"equity": "1"}, Headroom()),  # 0.2 XRP are 0.40 USDT
        (Reason.BELOW_MINIMUM, {}, Headroom(order_notional=Decimal("4.99"))),
        (Reason.TOTAL_NOTIONAL, {}, Headroom(total_notional=Decimal("4.99"))),
        (Reason.TOTAL_NOTIONAL, {}, Headroom(total_notional=Decimal(-500))),
        (Reason.LEVERAGE, {}, Headroom(leverage=Decimal(0))),
        (Reason.MARGIN, {}, Headroom(margin=Decimal(1))),
        (Reason.NO_EQUITY, {"equity": "-3"}, Headroom()),
        (Reason.BAD_LEVELS, {"stop": "2.0000"}, Headroom()),
    ],
)
def test_refusals_name_what_left_too_little(reason, changes, headroom):
    sized = size(RiskFraction(), headroom=headroom, **changes)
    assert (sized.quantity, sized.reason) == (Decimal(0), reason)
    assert sized.detail


def test_minimum_quantity_refuses_where_minimum_notional_would_not():
    grid = Grid(
        quantity_step=Decimal("0.001"), min_quantity=Decimal("0.01"), max_quantity=None, min_notional=Decimal(0)
    )
    sized = size(RiskFraction(risk_fraction=0.0001), grid=grid, reference="60000", stop="59000", equity="90")
    assert sized.reason is Reason.BELOW_MINIMUM


money = st.decimals(min_value=0, max_value=100_000, places=2)


@given(
    equity=money,
    reference=st.decimals(min_value="0.0100", max_value=5_000, places=4),
    distance=st.decimals(min_value="0.0001", max_value="0.0090", places=4),
    fraction=st.floats(min_value=0.0001, max_value=1.0),
    caps=st.tuples(*[st.none() | money] * 4),
    margin=st.booleans(),
)
def test_no_grant_breaks_a_limit(equity, reference, distance, fraction, caps, margin):
    headroom = Headroom(order_notional=caps[0], total_notional=caps[1], leverage=caps[2], margin=caps[3])
    method = MarginRatio() if margin else RiskFraction(risk_fraction=fraction)
    sized = size(
        method, headroom=headroom, reference=reference, stop=reference - distance, equity=equity, balance=equity
    )
    if sized.reason is not Reason.PASSED:
        assert sized.quantity == 0
        return
    notional = sized.quantity * reference
    assert sized.quantity % GRID.quantity_step == 0
    assert GRID.min_quantity <= sized.quantity <= GRID.max_quantity
    assert notional >= GRID.min_notional
    assert all(cap is None or notional <= cap for cap in caps)
    if not margin:
        assert sized.risk_amount <= equity * exact(fraction)


def test_to_grid_keeps_the_steps_decimals():
    assert str(to_grid(Decimal("1.23456"), Decimal("0.10"), ROUND_DOWN)) == "1.20"
    assert str(to_grid(Decimal("0.00015"), Decimal("0.0001"), ROUND_HALF_EVEN)) == "0.0002"
    assert str(to_grid(Decimal(1234), Decimal(10), ROUND_DOWN)) == "1230"


def test_configuration_chooses_the_method_and_refuses_nonsense():
    class Holder(FrozenConfig, frozen=True):
        sizing: Sizing

    chosen = convert({"sizing": {"method": "margin_ratio", "leverage": 5}}, Holder, "f.yaml")
    assert chosen.sizing == MarginRatio(leverage=5)
    for wrong, word in [
        ({"method": "martingale"}, "martingale"),
        ({"method": "risk_fraction", "risk_fraction": 0}, "> 0.0"),
        ({"method": "risk_fraction", "risk": 0.1}, "risk_fraction"),
        ({"method": "margin_ratio", "min_ratio": 0.9}, "above max_ratio"),
    ]:
        with pytest.raises(ConfigError, match=word):
            convert({"sizing": wrong}, Holder, "f.yaml")


DATA = Path(os.environ.get("ARGONAUT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
GOLDEN = DATA / "golden" / "xrp_prod_single_full_lev10_nokill_nodaily.csv"


if GOLDEN.exists():  # the ancestor's own trades are not part of this repository

    def test_margin_ratio_gives_the_ancestors_quantities():
        with GOLDEN.open() as file:
            rows = list(csv.DictReader(file))
        balance = Decimal(1000)
        for row in rows:
            slippage = Decimal("1.0001") if row["side"] == "LONG" else Decimal("0.9999")
            close = to_grid(Decimal(row["entry_price"]) / slippage, Decimal("0.0001"), ROUND_HALF_EVEN)
            sized = size(
                MarginRatio(),
                reference=Decimal(row["entry_price"]),
                last_price=close,
                stop=Decimal(row["sl"]),
                balance=balance,
                equity=balance,
                start_balance=Decimal(1000),
            )
            assert sized.quantity == Decimal(row["quantity"]), row["entry_time"]
            balance += Decimal(row["net_pnl"])
        assert len(rows) >= 60
