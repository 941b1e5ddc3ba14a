"""Labels against a plain loop over bars, and the rules a person would check by hand."""

import msgspec
import numpy as np
import pytest

from research.labels import LabelConfig, Settlements, SignalBars, label_signals
from strategies.barriers import Outcome

FREE = LabelConfig(horizon_bars=3, slippage=0.0, fee=0.0)
WORST = LabelConfig(horizon_bars=3, slippage=0.0, fee=0.0, both_hit="stop")


def _one(opens, highs, lows, closes, side=1, config=FREE, levels=(1.0, 2.0), atr=1.0):
    bars = tuple(np.array(x, dtype=np.float64) for x in (opens, highs, lows, closes))
    signals = SignalBars(np.array([0]), np.array([side]), np.array([atr]))
    result = label_signals(bars, signals, levels, config)
    return Outcome(result.outcome[0]), int(result.end[0]), float(result.net_r[0]), int(result.label[0])


def test_stop_is_checked_before_target_within_a_bar():
    assert _one([10, 10], [10, 13], [10, 8], [10, 12]) == (Outcome.STOP, 1, -1.0, 0)
    assert _one([10, 10], [10, 12], [10, 7], [10, 8], side=-1) == (Outcome.STOP, 1, -1.0, 0)


def test_a_bar_that_reaches_both_levels_goes_to_the_nearer_extreme_first_unless_told_the_worst():
    near_high = ([10, 10], [10, 12], [10, 7], [10, 8])
    assert _one(*near_high) == (Outcome.TARGET, 1, 2.0, 1)
    assert _one(*near_high, config=WORST) == (Outcome.STOP, 1, -1.0, 0)
    assert _one([10, 12.5], [10, 13], [10, 8], [10, 9]) == (Outcome.TARGET, 1, 2.5, 1), "opened beyond the target"
    # The engine cuts distances to 64 bits: 2,000 units below the open count as 155.
    opens, highs, lows = [50_000, 50_000], [50_000, 50_600], [50_000, 48_000]
    assert _one(opens, highs, lows, [50_000, 49_000], levels=(500.0, 500.0))[0] is Outcome.STOP


def test_funding_is_charged_while_the_trade_is_open():
    bars = tuple(np.array(x, dtype=np.float64) for x in ([10, 10, 10], [10, 10.5, 12], [10, 9.5, 10], [10, 10, 11]))
    closes = np.array([100, 200, 300])
    # At the entry's own close: not open yet. At 150 and 200: charged. At 250, the bar of the exit: not any more.
    settlements = Settlements(closes, np.array([100, 150, 200, 250, 300]), np.array([0.5, 0.01, 0.02, 0.5, 0.5]))
    for side, paid in ((1, 0.3), (-1, 0.0)):
        signals = SignalBars(np.array([0]), np.array([side]), np.array([1.0]))
        found = label_signals(bars, signals, (1.0, 2.0), FREE, settlements=settlements)
        without = label_signals(bars, signals, (1.0, 2.0), FREE)
        assert found.outcome[0] == (Outcome.TARGET if side > 0 else Outcome.STOP)
        expected = paid if side > 0 else -0.3
        assert without.net_r[0] - found.net_r[0] == pytest.approx(expected)
    timed = label_signals(
        (bars[0], bars[3] + 0.1, bars[3] - 0.1, bars[3]),
        SignalBars(np.array([0]), np.array([1]), np.array([5.0])),
        (1.0, 1.0),
        msgspec.structs.replace(FREE, horizon_bars=1),
        settlements=settlements,
    )
    assert timed.net_r[0] == pytest.approx(-0.3 / 5), "closed at the close of bar 1, after its settlement"


def test_the_signal_bar_itself_is_not_looked_at():
    assert _one([10, 10, 10], [99, 11, 12], [0, 10, 10], [10, 10, 12]) == (Outcome.TARGET, 2, 2.0, 1)


def test_a_bar_that_opens_beyond_a_level_fills_at_its_open():
    assert _one([10, 7], [10, 7.5], [10, 6], [10, 7]) == (Outcome.STOP, 1, -3.0, 0)
    assert _one([10, 13], [10, 14], [10, 12.5], [10, 13]) == (Outcome.TARGET, 1, 3.0, 1)
    assert _one([10, 13], [10, 14], [10, 12.5], [10, 13], side=-1) == (Outcome.STOP, 1, -3.0, 0)


@pytest.mark.parametrize(("no_hit", "label"), [("negative", 0), ("drop", -1), ("sign", 1)])
def test_what_no_hit_means(no_hit, label):
    config = LabelConfig(horizon_bars=2, slippage=0.0, fee=0.0, no_hit=no_hit)
    flat = [10, 10.4, 10.5, 99]
    assert _one(flat, flat, flat, flat, config=config) == (Outcome.HORIZON, 2, 0.5, label)


def test_data_that_end_before_a_barrier_resolve_nothing():
    outcome, end, net_r, label = _one([10, 10], [10, 10.5], [10, 9.5], [10, 10])
    assert (outcome, end, label) == (Outcome.UNRESOLVED, 1, -1)
    assert np.isnan(net_r)


def test_costs_move_entry_levels_and_result():
    config = LabelConfig(horizon_bars=1, slippage=0.01, fee=0.001)
    # Entry 101, stop 91, target 121: the high of 120.9 does not reach it, the low of 91 is the stop.
    outcome, _, net_r, _ = _one(
        [100, 100], [100, 120.9], [100, 91], [100, 100], config=config, levels=(1.0, 2.0), atr=10.0
    )
    assert outcome is Outcome.STOP
    paid, got = 101.0, 91 * 0.99
    assert net_r == pytest.approx((got - paid - 0.001 * (paid + got)) / 10.0)


def _loop(bars, at, side, atr, levels, config):
    """Walk bar by bar, the way one would do it by hand."""
    opens, highs, lows, closes = bars
    entry = closes[at] * (1 + side * config.slippage)
    stop, target = entry - side * levels[0] * atr, entry + side * levels[1] * atr
    outcome, end, leave = Outcome.UNRESOLVED, len(closes) - 1, np.nan
    for i in range(at + 1, len(closes)):
        if i > at + config.horizon_bars:
            break
        end = i
        worst, best = (lows[i], highs[i]) if side > 0 else (highs[i], lows[i])
        if (worst <= stop) if side > 0 else (worst >= stop):
            leave = min(opens[i], stop) if side > 0 else max(opens[i], stop)
            outcome = Outcome.STOP
            break
        if (best >= target) if side > 0 else (best <= target):
            leave = max(opens[i], target) if side > 0 else min(opens[i], target)
            outcome = Outcome.TARGET
            break
        if i == at + config.horizon_bars:
            outcome, leave = Outcome.HORIZON, closes[i]
    got = leave * (1 - side * config.slippage)
    net = side * (got - entry) - config.fee * (entry + got)
    return outcome, end, net / abs(entry - stop)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_plain_loop(seed):
    random = np.random.default_rng(seed)
    count = 300
    closes = 100 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    opens = np.concatenate([[100.0], closes[:-1]]) * np.exp(random.normal(0, 0.004, count))
    highs = np.maximum(opens, closes) + random.random(count)
    lows = np.minimum(opens, closes) - random.random(count)
    if seed % 2:  # whole prices make exact touches and stop-and-target bars common
        opens, highs, lows, closes = (np.round(x) for x in (opens, highs, lows, closes))
    bars = (opens, highs, lows, closes)
    at = np.sort(random.choice(count, 80, replace=False))
    side, atr = random.choice([-1, 1], 80), np.round(random.uniform(0.3, 1.2, 80), 1)
    levels = (float(random.choice([1.0, 1.5])), float(random.choice([1.0, 2.0, 4.0])))
    config = LabelConfig(
        horizon_bars=int(random.integers(6, 30)), slippage=float(random.choice([0.0, 0.001])), both_hit="stop"
    )
    result = label_signals(bars, SignalBars(at, side, atr), levels, config)
    seen = set()
    for k in range(80):
        outcome, end, net_r = _loop(bars, int(at[k]), int(side[k]), float(atr[k]), levels, config)
        assert (result.outcome[k], result.end[k]) == (outcome, end), f"seed {seed}, signal {k}"
        assert result.net_r[k] == pytest.approx(net_r, nan_ok=True), f"seed {seed}, signal {k}"
        seen.add(outcome)
    assert {Outcome.STOP, Outcome.TARGET} <= seen
