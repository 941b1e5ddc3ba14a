"""Slippage and fees in the real engine, against prices worked out by hand."""

from decimal import Decimal

import pytest
from nautilus_trader.model.currencies import USDT

from node.simulation.fills import RateFeeModel, RateFeeModelConfig
from node.simulation.pricing import slipped_price
from tests.strategies.engine_kit import Run, close_of

LONG = {0: ("LONG", 0.98, 1.04)}
SHORT = {0: ("SHORT", 1.02, 0.96)}
FAR = {0: ("LONG", 0.5, 1.9)}


def prices(run):
    return [(leg, price) for leg, _, _, price in run.fills]


@pytest.mark.parametrize(
    ("script", "bps", "expected"),
    [
        ({0: ("LONG", 0.5, 1.9)}, "0", 1.2345),
        ({0: ("LONG", 0.5, 1.9)}, "1", 1.2346),  # 1.2345 * 1.0001 = 1.23462345
        ({0: ("SHORT", 1.9, 0.5)}, "1", 1.2344),
        ({0: ("LONG", 0.5, 1.9)}, "10", 1.2357),  # 1.2345 * 1.001 = 1.2357345
        ({0: ("SHORT", 1.9, 0.5)}, "0.1", 1.2345),  # less than half a tick
    ],
)
def test_market_orders_fill_at_the_close_moved_against_them(script, bps, expected):
    run = Run([1.2345, 1.2345], script, slippage=(bps, "0")).go()
    assert prices(run) == [("ENTRY", expected)]
    side = script[0][0] == "LONG"
    exact = slipped_price(Decimal("1.2345"), side, Decimal(bps), Decimal("0.0001"))
    assert Decimal(str(run.fills[0][3])) == exact


@pytest.mark.parametrize(
    ("script", "candle", "leg", "price"),
    [
        # The trigger lies inside the bar: the fill is the trigger price.
        (LONG, (1.0, 1.01, 0.97, 0.99), "STOP", 0.98),
        (LONG, (1.0, 1.05, 0.99, 1.03), "TARGET", 1.04),
        (SHORT, (1.0, 1.03, 0.99, 1.01), "STOP", 1.02),
        (SHORT, (1.0, 1.01, 0.95, 0.97), "TARGET", 0.96),
        # The bar opens beyond it: the fill is the open, worse for stops and better for targets.
        (LONG, (0.97, 0.99, 0.96, 0.98), "STOP", 0.97),
        (LONG, (1.05, 1.06, 1.03, 1.05), "TARGET", 1.05),
        (SHORT, (1.03, 1.04, 1.01, 1.02), "STOP", 1.03),
        (SHORT, (0.95, 0.97, 0.94, 0.96), "TARGET", 0.95),
        # It opens exactly there.
        (LONG, (0.98, 0.99, 0.97, 0.98), "STOP", 0.98),
        (LONG, (1.04, 1.05, 1.03, 1.04), "TARGET", 1.04),
        # The extreme just reaches it.
        (LONG, (1.0, 1.01, 0.98, 0.99), "STOP", 0.98),
        (SHORT, (1.0, 1.02, 0.99, 1.0), "STOP", 1.02),
    ],
)
def test_triggered_orders_fill_at_the_trigger_or_at_the_open_of_a_gap(script, candle, leg, price):
    run = Run([1.0, candle, 1.0], script).go()
    assert prices(run)[1] == (leg, price)


def test_a_level_one_tick_out_of_reach_does_not_fill():
    run = Run([1.0, (1.0, 1.0399, 0.9801, 1.0), 1.0], LONG).go()
    assert prices(run) == [("ENTRY", 1.0)]


@pytest.mark.parametrize(
    ("candle", "leg"),
    [
        ((1.0, 1.04, 0.95, 1.0), "TARGET"),  # high is nearer to the open: up first
        ((1.0, 1.05, 0.98, 1.0), "STOP"),  # low is nearer: down first
        ((1.0, 1.05, 0.95, 1.0), "STOP"),  # as near: down first
    ],
)
def test_of_two_levels_inside_one_bar_the_nearer_extreme_comes_first(candle, leg):
    run = Run([1.0, candle, 1.0], LONG).go()
    assert prices(run)[1][0] == leg
    assert len(run.fills) == 2


@pytest.mark.parametrize(
    ("script", "candle", "price"),
    [
        (LONG, (1.0, 1.01, 0.97, 0.99), 0.9790),  # 0.98 * 0.999 = 0.97902
        (SHORT, (1.0, 1.03, 0.99, 1.01), 1.0210),  # 1.02 * 1.001 = 1.02102
        (LONG, (0.97, 0.99, 0.96, 0.98), 0.9690),  # a gap slips from the open
        (LONG, (1.0, 1.05, 0.99, 1.03), 1.0390),  # 1.04 * 0.999 = 1.03896
    ],
)
def test_triggered_orders_slip_by_their_own_figure(script, candle, price):
    run = Run([1.0, candle, 1.0], script, slippage=("0", "10")).go()
    assert prices(run)[1][1] == price


def test_an_order_larger_than_the_bar_fills_at_one_price():
    run = Run([1.0, (1.0, 1.0, 0.97, 0.99), 1.0], LONG, quantity="50000", volume=40, balance=1_000_000.0).go()
    assert run.fills == [("ENTRY", "BUY", 50_000.0, 1.0), ("STOP", "SELL", 50_000.0, 0.98)]


def test_a_stop_of_the_bar_before_does_not_gap_on_the_open_of_another_bar():
    # The position opens on bar 1's close; bar 1 itself opened far below its stop.
    run = Run([1.0, (0.9, 1.0, 0.9, 1.0), (1.0, 1.0, 0.97, 0.98), 1.0], {1: ("LONG", 0.98, 1.04)}).go()
    assert prices(run) == [("ENTRY", 1.0), ("STOP", 0.98)]


def test_without_a_fee_model_the_instruments_own_rates_hold():
    run = Run([1.0, (1.0, 1.0, 0.97, 0.99), 1.0], LONG, quantity="1000").go()
    commissions = [e.commission.as_decimal() for o in run.cache.orders() for e in o.events if "Filled" in str(type(e))]
    assert commissions == [Decimal("0.5"), Decimal("0.49")]  # taker 0.05 %


def test_given_rates_replace_those_of_the_instrument():
    model = RateFeeModel(RateFeeModelConfig(maker="0.0001", taker="0.0004"))
    run = Run([1.2345, (1.2345, 1.2345, 0.97, 0.99), 1.0], {0: ("LONG", 0.98, 1.9)}, quantity="1000.3", fee_model=model)
    run.go()
    commissions = [e.commission.as_decimal() for o in run.cache.orders() for e in o.events if "Filled" in str(type(e))]
    notionals = [Decimal("1000.3") * Decimal(p) for p in ("1.2345", "0.98")]
    assert commissions == [(n * Decimal("0.0004")).quantize(Decimal("1e-8")) for n in notionals]
    assert run.cache.account_for_venue(run.candles[0].bar_type.instrument_id.venue).balance_total(
        USDT
    ).as_decimal() == (Decimal(10_000) + notionals[1] - notionals[0] - sum(commissions))


def test_fills_are_stamped_with_the_bar_they_happen_in():
    run = Run([1.0, 1.0, (1.0, 1.0, 0.97, 0.99), 1.0], LONG).go()
    stamps = [e.ts_event for o in run.cache.orders() for e in o.events if "Filled" in str(type(e))]
    assert stamps == [close_of(0), close_of(2)]
