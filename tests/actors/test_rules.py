"""Rules: each says its own reason, absent ones say nothing, and the first of several decides."""

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.risk_state import AccountState, Exposure, Intent, Latch, RiskLimits
from actors.rules import FastKill, SlowKill, build_rules, first_refusal
from strategies.messages import Reason, Side

BAR = 900_000_000_000
NOW = 2_000 * BAR
ALL_LIMITS = RiskLimits(
    max_total_notional=20_000.0,
    max_leverage=3.0,
    stale_after_bars=2.0,
    enter_on_exit_bar=False,
)
OFF = RiskLimits(
    max_positions=None,
    max_same_direction=None,
    one_per_symbol=False,
    daily_loss=None,
    fast_kill_losses=None,
    slow_kill_trades=None,
)


def intent(**changes) -> Intent:
    base = Intent(
        symbol="XRPUSDT",
        signal_id="s",
        side=Side.LONG,
        reference=Decimal("2.0"),
        stop=Decimal("1.9"),
        target=Decimal("2.3"),
        bar_close=NOW,
    )
    return replace(base, **changes)


def state(**changes) -> AccountState:
    base = AccountState(
        market_time=NOW,
        wall_time=NOW + BAR,
        interval=BAR,
        balance=Decimal(10_000),
        equity=Decimal(10_000),
        start_balance=Decimal(10_000),
        day_start_equity=Decimal(10_000),
        last_prices={"XRPUSDT": Decimal("2.0")},
    )
    return replace(base, **changes)


def exposure(symbol="BTCUSDT", side=Side.SHORT, notional=1_000) -> Exposure:
    return Exposure(symbol, side, Decimal(notional))


def reason(limits=ALL_LIMITS, *, of: Intent | None = None, **changes) -> Reason:
    return first_refusal(build_rules(limits), of or intent(), state(**changes)).reason


def latched(latch: Latch, scope="*"):
    return {"latches": frozenset({(latch, scope)})}


CASES = [
    (Reason.CLOCK_UNSET, {"market_time": None}),
    (Reason.CLOCK_UNSET, {"market_time": NOW - BAR}),
    (Reason.STALE_FEED, {"market_time": NOW + BAR, "wall_time": NOW + BAR}),
    (Reason.STALE_FEED, {"wall_time": NOW + 2 * BAR + 1}),
    (Reason.STALE_FEED, {"interval": None}),
    (Reason.KILLED, latched(Latch.KILLED)),
    (Reason.KILLED, latched(Latch.KILLED, "XRPUSDT")),
    (Reason.PAUSED, latched(Latch.PAUSED)),
    (Reason.PAUSED, latched(Latch.PAUSED, "XRPUSDT")),
    (Reason.NO_EQUITY, {"equity": None}),
    (Reason.NO_EQUITY, {"balance": None}),
    (Reason.NO_EQUITY, {"equity": Decimal(0)}),
    (Reason.NO_EQUITY, {"day_start_equity": None}),
    (Reason.DAILY_LOSS, {"equity": Decimal(9_500)}),
    (Reason.DAILY_LOSS, latched(Latch.DAILY_LOSS)),
    (Reason.FAST_KILL, {"trade_pnls": {"XRPUSDT": [5.0] + [-1.0] * 8}}),
    (Reason.FAST_KILL, latched(Latch.FAST_KILL, "XRPUSDT")),
    (Reason.SLOW_KILL, {"trade_pnls": {"XRPUSDT": [0.7, -1.0] * 8}}),
    (Reason.SLOW_KILL, latched(Latch.SLOW_KILL, "XRPUSDT")),
    (Reason.POSITION_OPEN, {"positions": [exposure("XRPUSDT")]}),
    (Reason.ORDER_PENDING, {"pending": [exposure("XRPUSDT")]}),
    (Reason.EXIT_BAR, {"exit_bars": {"XRPUSDT": NOW}}),
    (Reason.MAX_POSITIONS, {"positions": [exposure("A"), exposure("B")], "pending": [exposure("C")]}),
    (Reason.SAME_DIRECTION, {"positions": [exposure("A", Side.LONG)], "pending": [exposure("B", Side.LONG)]}),
    (Reason.TOTAL_NOTIONAL, {"positions": [exposure(notional=15_000)], "pending": [exposure("C", notional=5_000)]}),
    (
        Reason.LEVERAGE,
        {"positions": [exposure(notional=15_001)], "equity": Decimal(5_000), "day_start_equity": Decimal(5_000)},
    ),
    (Reason.BAD_LEVELS, {"last_prices": {"XRPUSDT": Decimal("1.9")}}),
    (Reason.BAD_LEVELS, {"last_prices": {"XRPUSDT": Decimal("2.3")}}),
    (Reason.BAD_LEVELS, {"last_prices": {}}),
]


@pytest.mark.parametrize(("expected", "changes"), CASES, ids=lambda x: x.name if isinstance(x, Reason) else None)
def test_each_refusal_has_its_reason(expected, changes):
    result = first_refusal(build_rules(ALL_LIMITS), intent(), state(**changes))
    assert (result.passed, result.reason) == (False, expected)
    assert result.detail


def test_nothing_refuses_a_healthy_entry():
    healthy = {
        "positions": [exposure("A", Side.LONG)],
        "pending": [exposure("B")],
        "trade_pnls": {"XRPUSDT": [-1.0] * 7, "BTCUSDT": [-1.0] * 30},
        "exit_bars": {"XRPUSDT": NOW - BAR, "BTCUSDT": NOW},
        "latches": frozenset({(Latch.KILLED, "BTCUSDT"), (Latch.PAUSED, "BTCUSDT")}),
        "equity": Decimal("9500.01"),
    }
    assert reason(**healthy) is Reason.PASSED


@pytest.mark.parametrize(
    ("side", "stop", "target"),
    [
        (Side.LONG, "2.0", "2.3"),
        (Side.LONG, "2.1", "2.3"),
        (Side.LONG, "1.9", "2.0"),
        (Side.LONG, "1.9", "1.8"),
        (Side.SHORT, "1.9", "1.8"),
        (Side.SHORT, "2.1", "2.05"),
        (Side.LONG, "NaN", "2.3"),
        (Side.LONG, "1.9", "Infinity"),
        (Side.LONG, "-1.9", "2.3"),
        (Side.LONG, "0", "2.3"),
    ],
)
def test_levels_that_do_not_enclose_the_price_are_refused(side, stop, target):
    assert reason(of=intent(side=side, stop=Decimal(stop), target=Decimal(target))) is Reason.BAD_LEVELS


def test_short_levels_are_mirrored():
    assert reason(of=intent(side=Side.SHORT, stop=Decimal("2.1"), target=Decimal("1.8"))) is Reason.PASSED


DECISION_ORDER = [
    (Reason.CLOCK_UNSET, {"market_time": None}),
    (Reason.KILLED, latched(Latch.KILLED)),
    (Reason.NO_EQUITY, {"equity": Decimal(-1)}),
    (Reason.FAST_KILL, {"trade_pnls": {"XRPUSDT": [-1.0] * 15}}),
    (Reason.POSITION_OPEN, {"positions": [exposure("XRPUSDT", Side.LONG, 90_000), exposure("A"), exposure("B")]}),
    (Reason.ORDER_PENDING, {"pending": [exposure("XRPUSDT")]}),
    (Reason.EXIT_BAR, {"exit_bars": {"XRPUSDT": NOW}}),
    (Reason.BAD_LEVELS, {"last_prices": {}}),
]


@pytest.mark.parametrize("first", range(len(DECISION_ORDER)))
def test_the_first_failing_rule_decides(first):
    changes = {}
    for _, more in reversed(DECISION_ORDER[first:]):
        changes |= more
    assert reason(**changes) is DECISION_ORDER[first][0]


def test_rules_that_are_not_configured_are_absent():
    names = {type(rule).__name__ for rule in build_rules(OFF)}
    assert names == {"ClockSet", "NotLatched", "EquityKnown", "NoPendingEntry", "LevelsValid"}
    everything = {
        "trade_pnls": {"XRPUSDT": [-1.0] * 50},
        "positions": [exposure("XRPUSDT", Side.LONG, 10**9), *(exposure(str(i), Side.LONG) for i in range(9))],
        "exit_bars": {"XRPUSDT": NOW},
        "equity": Decimal(1),
        "wall_time": NOW * 2,
    }
    assert reason(OFF, **everything) is Reason.PASSED


def test_daily_loss_counts_from_the_days_first_equity_or_from_the_start_balance():
    grown = {"start_balance": Decimal(10_000), "day_start_equity": Decimal(40_000), "equity": Decimal(39_000)}
    assert reason(ALL_LIMITS, **grown) is Reason.PASSED
    of_start = msgspec.structs.replace(ALL_LIMITS, daily_loss_base="start_balance")
    assert reason(of_start, **grown) is Reason.DAILY_LOSS


def test_a_zero_result_is_a_loss_and_a_win_ends_the_streak():
    rule = FastKill(3)
    assert rule.trips([1.0, 0.0, -1.0, -1.0])
    assert not rule.trips([-1.0, -1.0, 0.01])
    assert not rule.trips([-1.0, -1.0])


def test_slow_kill_needs_enough_trades_and_only_looks_at_the_last():
    rule = SlowKill(4, 0.75)
    assert not rule.trips([-1.0] * 3)
    assert not rule.trips([-50.0, 3.0, -1.0, 3.0, -1.0])
    assert not rule.trips([0.75, -1.0, 0.75, -1.0])  # equal to the factor is not below it
    assert rule.trips([0.74, -1.0, 0.75, -1.0])
    assert not rule.trips([0.0] * 4)  # nothing lost


@given(st.lists(st.floats(min_value=-100, max_value=100), max_size=40))
def test_kill_switches_agree_with_their_definition(pnls):
    last = pnls[-8:]
    assert FastKill(8).trips(pnls) == (len(last) == 8 and max(last) <= 0)
    last = pnls[-15:]
    lost = -sum(p for p in last if p < 0)
    won = sum(p for p in last if p > 0)
    assert SlowKill(15, 0.75).trips(pnls) == (len(last) == 15 and lost > 0 and won / lost < 0.75)


def test_every_reason_of_the_guard_is_produced_by_a_rule_or_by_sizing():
    of_rules = {expected for expected, _ in CASES}
    of_sizing_and_guard = {Reason.BELOW_MINIMUM, Reason.MARGIN, Reason.GUARD_ERROR}  # test_sizing, test_risk_guard
    of_the_guard = {r for r in Reason if not r.value.startswith("ml_")} - {Reason.PASSED, Reason.SHADOW}
    assert of_rules | of_sizing_and_guard == of_the_guard
