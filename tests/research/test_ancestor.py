"""The ancestor's months: its own figures re-made, and every difference to the engine explained by a named rule."""

import csv
import os
from pathlib import Path

import msgspec
import pytest

from catalog import tables
from catalog.generator import generate
from catalog.ingest import main as ingest
from catalog.instruments import load_instruments
from catalog.reader import load_bars
from catalog.writer import put_series
from node.config import parse_time
from research.walkforward.ancestor import Account, Rules, run
from research.walkforward.comparison import compare, named
from research.walkforward.config import FoldsConfig, load_walkforward
from research.walkforward.study import Backend, make_plan
from research.walkforward.study import run as run_study
from strategies.params_file import load_params

ROOT = Path(__file__).parents[2]
DAY = 86_400_000_000_000
GOLDEN = Path("golden", "xrp_prod_wf3_1_lev10.csv")


def _data():
    for candidate in (os.environ.get("ARGONAUT_DATA"), ROOT.parent / "shared" / "data"):
        if candidate and (Path(candidate) / GOLDEN).is_file():
            return Path(candidate)
    return None


DATA = _data()


def walked(config, catalog, out):
    planned = make_plan(config, catalog)
    study = run_study(planned, out, Backend(), ["test"], lambda *_: None)
    (account,) = planned.accounts
    return study, compare(planned.node, config.ancestor, account.folds, study.variants[0])


def golden_differences(path, theirs, span):
    """Return where re-made trades and the ancestor's own list differ: times, reasons, net result to 0.001 USDT."""
    with path.open(encoding="utf-8", newline="") as f:
        rows = [r for r in csv.DictReader(f) if span[0] <= parse_time(r["entry_time"], str(path)) < span[1]]
    assert len(rows) == len(theirs)
    return [
        (row, named(trade))
        for row, trade in zip(rows, theirs, strict=True)
        if not (
            (row["side"], row["close_reason"]) == (trade.side, trade.reason)
            and parse_time(row["entry_time"], str(path)) == trade.entry_bar
            and parse_time(row["exit_time"], str(path)) == trade.exit_bar
            and abs(float(row["net_pnl"]) - trade.net_pnl) <= 0.001
        )
    ]


@pytest.mark.parametrize(
    ("seed", "loose", "rules"), [(3, 1.2, {"warm_up", "kill_rule", "tick"}), (41, 1.0, {"warm_up", "tick"})]
)
def test_on_generated_months_every_difference_is_one_of_the_four_rules(tmp_path, seed, loose, rules):
    """A loose vote on a wild market makes reversals, gaps, ties inside a bar, blocked days and kills."""
    specs, start = load_instruments(), 20_179 * DAY
    series, funding = generate([tables.grid_of(specs["XRPUSDT"])], "15m", start, start + 80 * DAY, seed)["XRPUSDT"]
    put_series(series, funding, catalog=tmp_path / "c", symbol="XRPUSDT", interval="15m", origin="generator")
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "composite.yaml").write_text(
        f"{{signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.2, stop_atr: {loose}, target_atr: 1.2}}\n"
    )
    (tmp_path / "node.yaml").write_text((ROOT / "config" / "ancestor.yaml").read_text())
    config = load_walkforward(ROOT / "config" / "ancestor_months.yaml")
    config = msgspec.structs.replace(
        config,
        node=str(tmp_path / "node.yaml"),
        folds=FoldsConfig(train="20d", test="20d", embargo_bars=0),
        ancestor=msgspec.structs.replace(config.ancestor, published=[]),
    )
    study, windows = walked(config, tmp_path / "c", tmp_path / "out")

    assert len(windows) == 3
    assert sum(w.ours[0] for w in windows) > 40, seed
    assert [w.unexplained for w in windows] == [[], [], []], seed
    for window in windows:
        difference = window.ours[1] - window.ancestor[1]
        assert sum(s.net_change for s in window.steps) == pytest.approx(difference, abs=1e-6)
        assert abs(window.steps[-1].net_change) < 0.5, (seed, "the engine against the bar loop")
    changed = {s.cause for w in windows for s in w.steps[:-1] if abs(s.net_change) > 0.01}
    assert rules <= changed, (seed, changed)
    assert {i for v in study.variants for i in v.incidents} & {"daily_loss", "slow_kill", "fast_kill"}


if DATA is not None:

    @pytest.fixture(name="catalog", scope="module")
    def catalog_fixture(tmp_path_factory):
        catalog = tmp_path_factory.mktemp("months")
        source = DATA / "um_klines_15m" / "XRPUSDT.csv.gz"
        arguments = ["--symbol", "XRPUSDT", "--interval", "15m", "--from", str(source), "--catalog", str(catalog)]
        assert not ingest(["klines", *arguments])
        return catalog

    def test_the_ancestors_own_trades_are_remade_to_the_thousandth(catalog):
        bars = load_bars(catalog, "XRPUSDT", "15m")
        params = load_params(ROOT / "config" / "strategies" / "composite.yaml", "XRPUSDT")
        for start, end in (("2025-06-05", "2025-07-05"), ("2025-09-05", "2025-10-01")):
            span = (parse_time(start, "start"), parse_time(end, "end"))
            theirs = run(bars, span, params, Account(), Rules())
            assert len(theirs) == 10
            assert golden_differences(DATA / GOLDEN, theirs, span) == []

    def test_the_months_at_hand_are_the_published_ones_and_ours_differ_by_named_rules(catalog, tmp_path):
        config = load_walkforward(ROOT / "config" / "ancestor_months.yaml")
        # Months on data that end later are checked too, as far as they were published.
        _, windows = walked(config, catalog, tmp_path / "out")
        assert len(windows) >= 4
        whole = [w for w in windows if not w.partial and w.published is not None]
        assert len(whole) >= 3
        assert all(w.published_agrees for w in whole)
        assert all(w.unexplained == [] for w in windows)
        for window in windows[:3]:
            assert window.ours[0] == window.ancestor[0]
            assert window.ours[1] == pytest.approx(window.ancestor[1], abs=0.3)
        first = windows[3]
        assert [s.cause for s in first.steps if s.appeared] == ["warm_up"]
        assert first.steps[0].appeared[0].startswith("LONG 2025-09-05T12:30")
