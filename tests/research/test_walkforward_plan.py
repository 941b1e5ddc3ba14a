"""What a study is told, and how history is cut."""

from itertools import pairwise

import numpy as np
import pytest

from node.config import parse_time
from research.walkforward.combinatorial import parameter_paths
from research.walkforward.config import CombinatorialConfig, FoldsConfig, SelectionConfig, load_walkforward
from research.walkforward.folds import Coverage, plan, share_tested
from research.walkforward.selection import Score, choose, figure
from research.walkforward.span import Span
from strategies.errors import ConfigError, DataError

STEP = 900_000_000_000


def ns(text):
    return parse_time(text, "test")


HISTORY = Coverage(ns("2025-01-01"), ns("2025-09-20T12:00"))


@pytest.mark.parametrize("scheme", ["rolling", "anchored"])
def test_every_month_after_the_first_training_window_is_tested_once(scheme):
    folds = plan(FoldsConfig(scheme=scheme, train="3mo", test="1mo", embargo_bars=96), HISTORY, STEP)

    assert folds[0].test_start == ns("2025-04-01")
    assert all(a.test_end == b.test_start for a, b in pairwise(folds))
    assert folds[-1].test_end == HISTORY.end
    assert [f.partial for f in folds] == [False] * 5 + [True]
    assert all(f.test_start - f.train_end == 96 * STEP for f in folds)
    starts = [f.train_start for f in folds]
    expected = [HISTORY.start] * 6 if scheme == "anchored" else [ns(f"2025-0{m}-01") for m in range(1, 7)]
    assert starts == expected
    share = (HISTORY.end - ns("2025-04-01")) / (HISTORY.end - HISTORY.start)
    assert share_tested(folds, HISTORY) == pytest.approx(share)


def test_months_keep_their_day_and_short_months_end_early():
    assert Span.parse("1mo").after(ns("2025-01-31T06:00")) == ns("2025-02-28T06:00")
    assert Span.parse("1mo").times(2).after(ns("2025-01-31")) == ns("2025-03-31")
    assert Span.parse("2w").before(ns("2025-03-15")) == ns("2025-03-01")


def test_a_training_window_without_data_is_refused_and_named():
    early = FoldsConfig(train="3mo", start="2025-01-20")
    with pytest.raises(DataError, match=r"less than half of 3mo.*folds\.start"):
        plan(early, HISTORY, STEP)
    assert plan(early, HISTORY, STEP, trains=False)[0].test_start == ns("2025-01-20")
    with pytest.raises(DataError, match="do not fit into the data"):
        plan(FoldsConfig(end="2026-01-01"), HISTORY, STEP)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acounts: [[XRPUSDT]]", r"acounts: unknown key \(did you mean `accounts`\?\)"),
        ("accounts: [[XRPUSDT], [XRPUSDT]]", "the same account is named twice"),
        ("accounts: [[XRPUSDT]]\nfolds: {test: 1month}", "folds.test"),
        ("accounts: [[XRPUSDT]]\nselection: {method: grid}", "needs at least one parameter"),
        ("accounts: [[XRPUSDT]]\nselection: {method: grid, space: {stop: [1]}}", "stop is no parameter"),
        ("accounts: [[XRPUSDT]]\nselection: {method: grid, space: {stop_atr: [-1]}}", "stop_atr"),
        ("accounts: [[XRPUSDT]]\ngates: [shadow]\nancestor: {}", "without gate only"),
        ("accounts: [[XRPUSDT]]\nnode: missing.yaml", r"missing\.yaml: no such file"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "composite.yaml").write_text("{}\n")
    (tmp_path / "backtest.yaml").write_text("{strategy: {file: strategies/composite.yaml}, symbols: [XRPUSDT]}\n")
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\n{text}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        load_walkforward(path)
    assert str(path) in str(caught.value)


class Market:
    """Scores that depend on the set alone: the best stop is 2, targets do not matter."""

    def __init__(self, trades=50):
        self.asked, self.windows, self.trades = [], set(), trades

    def __call__(self, _base, _symbol, window, sets):
        self.windows.add(window)
        self.asked += sets
        return [
            Score(
                trades=self.trades,
                net_pnl=-abs(s.stop_atr - 2.0),
                profit_factor=None if s.stop_atr == 3.0 else 1.0,
                net_r=0.1,
                sharpe=0.5,
            )
            for s in sets
        ]


@pytest.fixture(name="base")
def base_fixture(tmp_path):
    from node.config import load_config

    (tmp_path / "params.yaml").write_text("{stop_atr: 1.25}\n")
    (tmp_path / "node.yaml").write_text("{strategy: {file: params.yaml}, symbols: [XRPUSDT]}\n")
    return load_config(tmp_path / "node.yaml")


@pytest.mark.parametrize("method", ["grid", "random", "optuna"])
def test_each_method_sees_the_training_window_only_and_finds_the_best(base, method):
    space = {"stop_atr": [1.0, 2.0, 3.0], "target_atr": [2.0, 4.0]}
    config = SelectionConfig(method=method, space=space, budget=40)
    (fold, *_) = plan(FoldsConfig(), HISTORY, STEP)
    market = Market()
    choice, tried = choose(config, base, "XRPUSDT", fold, market)
    assert market.windows == {(fold.train_start, fold.train_end)}
    assert choice.params["stop_atr"] == 2.0
    assert len({(s.stop_atr, s.target_atr) for s in market.asked}) == len(market.asked) == choice.tried <= 6
    assert (choice, tried) == choose(config, base, "XRPUSDT", fold, Market())


def test_too_few_trades_keep_the_files_own_parameters_and_say_so(base):
    config = SelectionConfig(method="grid", space={"stop_atr": [1.0, 2.0]}, min_trades=60)
    choice, _ = choose(config, base, "XRPUSDT", plan(FoldsConfig(), HISTORY, STEP)[0], Market(trades=59))
    assert (choice.params["stop_atr"], choice.eligible) == (1.25, 0)
    assert "60 trades" in choice.fallback
    assert "most: 59" in choice.fallback


def test_a_set_without_a_loss_does_not_win_by_an_infinite_profit_factor():
    score = Score(trades=50, net_pnl=1.0, profit_factor=None, net_r=0.1, sharpe=1.0)
    assert figure(score, "profit_factor", 10) is None


def test_over_paths_the_best_of_many_worthless_sets_loses_its_shine():
    random = np.random.default_rng(5)
    returns = random.normal(0, 0.01, (400, 300))
    days = np.arange(20_000, 20_400)
    found = parameter_paths(returns, days, [f"set {i}" for i in range(300)], CombinatorialConfig(folds=8))
    assert (found.splits, len(found.values)) == (28, 7)
    assert found.in_sample > 2.0
    assert np.median(found.values) < found.in_sample / 2

    gifted = returns.copy()
    gifted[:, 17] += 0.002
    found = parameter_paths(gifted, days, [f"set {i}" for i in range(300)], CombinatorialConfig(folds=8))
    assert max(found.chosen, key=found.chosen.get) == "set 17"
    assert np.median(found.values) > 2.0


def test_a_path_is_made_of_held_out_days_of_every_block_once():
    """Returns that name their day: with one set, every path is the history itself."""
    returns = np.linspace(-1.0, 1.0, 120)[:, None]
    found = parameter_paths(returns, np.arange(120), ["only"], CombinatorialConfig(folds=6))
    expected = returns.mean() / returns.std(ddof=1) * np.sqrt(365)
    assert found.values == pytest.approx([expected] * len(found.values), abs=1e-9)
