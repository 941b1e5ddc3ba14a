"""Statistics against figures worked out by hand."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.statistics import Statistics, compute, daily_equity
from strategies.records import TradeRecord

DAY = 86_400_000_000_000
HOUR = DAY // 24


def trade(net, fees=1.0, funding=0.0):
    return TradeRecord(
        id=f"t{net}",
        market_time=1,
        wall_time=1,
        symbol="XRPUSDT",
        side="LONG",
        entry_time=1,
        entry_price=1.0,
        exit_time=2,
        exit_price=1.0,
        quantity=1.0,
        stop=None,
        target=None,
        exit_reason="STOP_LOSS",
        gross_pnl=net + fees - funding,
        fees=fees,
        funding=funding,
        net_pnl=net,
        signal_id=None,
        verdicts=[],
    )


class TestDailyEquity:
    def test_the_last_point_of_a_day_counts_and_midnight_closes_the_day_before(self):
        times = [HOUR, 23 * HOUR, DAY, DAY + 1, 2 * DAY]
        assert daily_equity(times, [1.0, 2.0, 3.0, 4.0, 5.0]) == ([0, 1], [3.0, 5.0])

    def test_days_without_a_point_repeat_the_last(self):
        assert daily_equity([DAY, 4 * DAY + 1], [10.0, 7.0]) == ([0, 1, 2, 3, 4], [10.0, 10.0, 10.0, 10.0, 7.0])

    def test_no_points(self):
        assert daily_equity([], []) == ([], [])

    @given(st.lists(st.tuples(st.integers(1, 30 * DAY), st.floats(1, 1e6)), min_size=1, max_size=50))
    def test_days_have_no_holes_and_the_last_value_is_the_last(self, points):
        points = sorted(dict(points).items())
        days, values = daily_equity([t for t, _ in points], [v for _, v in points])
        assert days == list(range(days[0], days[-1] + 1))
        assert values[-1] == points[-1][1]
        assert set(values) <= {v for _, v in points}


def test_figures_by_hand():
    # 1000 → 1100 (+10 %) → 1045 (-5 %) → 1149.5 (+10 %)
    times = [DAY, 2 * DAY, 3 * DAY]
    trades = [trade(100.0, 2.0, 1.0), trade(-55.0, 3.0, -2.0), trade(104.5, 4.0), trade(-20.0)]
    s = compute(1_000.0, times, [1_100.0, 1_045.0, 1_149.5], trades)
    assert s.days == 3
    assert s.total_return == pytest.approx(0.1495)
    assert s.annual_return == pytest.approx(1.1495 ** (365 / 3) - 1)
    mean, deviation = 0.05, math.sqrt((0.05**2 + 0.10**2 + 0.05**2) / 2)
    assert s.volatility == pytest.approx(deviation * math.sqrt(365))
    assert s.sharpe == pytest.approx(mean / deviation * math.sqrt(365))
    assert s.sortino == pytest.approx(mean / math.sqrt(0.05**2 / 3) * math.sqrt(365))
    assert s.max_drawdown == pytest.approx(55 / 1100)
    assert s.max_drawdown_days == 1.0
    assert (s.trades, s.wins, s.losses, s.win_rate) == (4, 2, 2, 0.5)
    assert s.profit_factor == pytest.approx(204.5 / 75)
    assert s.payoff == pytest.approx(102.25 / 37.5)
    assert s.expectancy == pytest.approx(129.5 / 4)
    assert (s.fees, s.funding, s.net_pnl) == (10.0, -1.0, 129.5)
    assert s.gross_pnl == pytest.approx(129.5 + 10.0 + 1.0)


def test_drawdown_looks_at_every_point_not_only_at_days():
    times = [HOUR, 2 * HOUR, 3 * HOUR, DAY]
    s = compute(100.0, times, [110.0, 55.0, 111.0, 111.0], [])
    assert s.max_drawdown == 0.5
    assert s.max_drawdown_days == pytest.approx(1 / 24)


def test_drawdown_begins_at_the_start_balance():
    s = compute(100.0, [DAY, 2 * DAY], [80.0, 90.0], [])
    assert s.max_drawdown == pytest.approx(0.2)


def test_a_flat_run_has_no_ratios():
    s = compute(100.0, [DAY, 2 * DAY, 3 * DAY], [100.0, 100.0, 100.0], [])
    assert (s.total_return, s.annual_return, s.max_drawdown, s.max_drawdown_days) == (0.0, 0.0, 0.0, 0.0)
    for name in ("volatility", "sharpe", "sortino", "win_rate", "profit_factor", "payoff", "expectancy"):
        assert getattr(s, name) is None, name


def test_no_points_and_no_trades():
    s = compute(100.0, [], [], [])
    assert (s.days, s.total_return, s.annual_return, s.trades) == (0, 0.0, None, 0)


def test_undefined_is_none_never_infinity():
    only_wins = compute(100.0, [DAY, 2 * DAY], [110.0, 120.0], [trade(10.0), trade(10.0)])
    assert only_wins.profit_factor is None
    assert only_wins.payoff is None
    assert only_wins.sortino is None
    assert only_wins.win_rate == 1.0
    only_losses = compute(100.0, [DAY], [80.0], [trade(-10.0), trade(-10.0)])
    assert only_losses.profit_factor == 0.0
    assert only_losses.payoff is None
    assert only_losses.sharpe is None, "one daily return has no deviation"
    assert compute(100.0, [DAY], [100_000.0], []).annual_return is None, "a day like that is not a year"


def test_a_lost_account_is_minus_one_hundred_percent():
    s = compute(100.0, [DAY, 2 * DAY], [50.0, 0.0], [])
    assert (s.total_return, s.annual_return, s.max_drawdown) == (-1.0, -1.0, 1.0)


def test_a_trade_without_result_is_not_a_win():
    s = compute(100.0, [DAY], [100.0], [trade(0.0)])
    assert (s.wins, s.losses, s.win_rate, s.profit_factor) == (0, 1, 0.0, None)


@given(
    st.lists(st.floats(0, 1e7, allow_nan=False), max_size=40),
    st.lists(st.floats(-1e6, 1e6, allow_nan=False), max_size=20),
)
def test_every_figure_is_a_number_json_knows(equity, nets):
    times = [(i + 1) * 7 * HOUR for i in range(len(equity))]
    s = compute(10_000.0, times, equity, [trade(n) for n in nets])
    for name in Statistics.__struct_fields__:
        value = getattr(s, name)
        assert value is None or math.isfinite(value), name
    assert msgspec.json.decode(msgspec.json.encode(s), type=Statistics) == s
    assert 0 <= s.max_drawdown <= 1
    assert s.wins + s.losses == s.trades
