"""The page of a run: complete, without any address outside itself, and honest about what speaks against it."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest

from node.backtest_run import run_backtest
from node.config import load_config
from node.report import write_json
from node.statistics import compute
from research.report.backtests import backtest_page
from research.report.cautions import Caution, cautions
from research.report.page import render, table
from research.report.readings import by_month, by_side
from research.report.subject import Run
from research.walkforward.outcome import GateFigures, intervals, returns
from research.walkforward.trial import Trade
from strategies.errors import DataError

ROOT = Path(__file__).parents[2]
DAY = 86_400_000_000_000
START = 20_180 * DAY  # 2025-04-02


def trade(day, net, side="LONG", reason="TAKE_PROFIT"):
    time = START + int(day * DAY)
    return Trade(
        symbol="XRPUSDT",
        side=side,
        entry_time=time,
        entry_price=2.0,
        exit_time=time + DAY // 4,
        exit_price=2.1,
        quantity=100.0,
        stop=1.9,
        target=2.2,
        exit_reason=reason,
        gross_pnl=net + 1,
        fees=1.0,
        funding=0.0,
        net_pnl=net,
        r=net / 10,
        signal_id=None,
    )


def run_of(trades, **changes):
    equity, level = [], 10_000.0
    for day in range(181):
        level += sum(t.net_pnl for t in trades if START + (day - 1) * DAY < t.exit_time <= START + day * DAY)
        equity.append((START + day * DAY, level, level))
    daily = returns(10_000.0, equity)
    fields = {
        "title": "XRPUSDT",
        "symbols": ["XRPUSDT"],
        "start": "2025-04-02",
        "end": "2025-09-29",
        "start_balance": 10_000.0,
        "statistics": compute(10_000.0, [e[0] for e in equity], [e[1] for e in equity], trades),
        "intervals": intervals([t.net_pnl for t in trades], daily, 7),
        "equity": equity,
        "funding": [],
        "trades": trades,
        "judged": [],
        "gate_figures": None,
        "verdicts": {},
        "incidents": {},
        "prices": {},
        "regimes": {},
        "daily_returns": daily.tolist(),
        "synthetic": False,
        "data_source": "catalog",
    }
    return Run(**fields | changes)


STEADY = [trade(d, 40.0 if d % 3 else -20.0, "LONG" if d % 4 == 1 else "SHORT") for d in range(1, 175, 2)]


def names(run, effort=None):
    return {w.caution for w in cautions(run, effort)}


def test_a_long_steady_record_raises_no_warning():
    assert names(run_of(STEADY)) == set()


@pytest.mark.parametrize(
    ("caution", "run"),
    [
        (Caution.SYNTHETIC, run_of(STEADY, synthetic=True)),
        (Caution.UNKNOWN_ORIGIN, run_of(STEADY, synthetic=None)),
        (Caution.NOT_RECORDED, run_of(STEADY, recorded=False)),
        (Caution.RUIN, run_of(STEADY, ended="ruin")),
        (Caution.NO_TRADES, run_of([])),
        (Caution.FEW_TRADES, run_of(STEADY[:29])),
        (Caution.MANY_PARAMETERS, run_of(STEADY, tuned=9)),
        (Caution.MANY_TRIALS, run_of(STEADY, tried=88)),
        (Caution.ONE_MONTH, run_of([*[trade(d, -5.0) for d in range(0, 170, 5)], trade(171, 400.0)])),
        (Caution.COVERS_ONE, run_of([trade(d, 11.0 if d % 2 else -10.0) for d in range(0, 170, 3)])),
        (Caution.NO_INTERVAL, run_of([trade(1, 5.0)])),
        (Caution.PARTLY_TESTED, run_of(STEADY, tested_share=0.33)),
        (Caution.DRAWDOWN, run_of([trade(d, -100.0) for d in range(40)])),
        (Caution.FORCED_EXITS, run_of([*STEADY, trade(179, 1.0, reason="END_OF_FOLD")])),
        (Caution.INCIDENTS, run_of(STEADY, incidents={"slow_kill": 1})),
        (
            Caution.GATE_NO_EFFECT,
            run_of(
                STEADY,
                gate_figures=GateFigures(
                    reasons={"passed": 9},
                    scored=90,
                    passed=40,
                    blocked=50,
                    net_r_passed=0.1,
                    net_r_blocked=0.0,
                    net_r_difference_95=(-0.2, 0.4),
                ),
            ),
        ),
        (
            Caution.GATE_WITHOUT_MODEL,
            run_of(
                STEADY,
                gate_figures=GateFigures(
                    reasons={"ml_no_model": 3},
                    scored=0,
                    passed=0,
                    blocked=0,
                    net_r_passed=None,
                    net_r_blocked=None,
                    net_r_difference_95=None,
                ),
            ),
        ),
    ],
    ids=lambda value: value.value if isinstance(value, Caution) else "",
)
def test_each_reason_for_doubt_is_named(caution, run):
    assert caution in names(run)


def test_many_trials_in_the_ledger_deflate_a_sharpe_ratio():
    run = run_of([trade(d, 14.0 if d % 2 else -10.0) for d in range(0, 170, 3)])
    assert Caution.DEFLATED not in names(run)
    assert Caution.DEFLATED in names(run, effort=(1_000.0, 0.01))


def test_months_chain_and_sides_add_up():
    run = run_of(STEADY)
    months = by_month(run)
    assert [m["month"] for m in months] == ["2025-04", "2025-05", "2025-06", "2025-07", "2025-08", "2025-09"]
    grown = np.prod([1 + m["return"] for m in months])
    assert grown == pytest.approx(run.equity[-1][1] / 10_000.0)
    assert sum(m["trades"] for m in months) == len(STEADY)
    sides = by_side(run, 7)
    assert [s["side"] for s in sides] == ["LONG", "SHORT"]
    assert sum(s["net"] for s in sides) == pytest.approx(run.statistics.net_pnl)


def test_text_of_a_run_cannot_become_markup():
    assert "<script>" not in table([{"a<b": "<script>alert(1)</script>"}])


class Addresses(HTMLParser):
    """Collects whatever a browser would load or offer to follow."""

    def __init__(self):
        super().__init__()
        self.found, self.scripts, self.text = [], 0, []

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.found += [v for k, v in attributes if k in ("src", "href", "srcset", "data", "action") and v is not None]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(name="page", scope="module")
def page_fixture(market_catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "params.yaml").write_text("{signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5}\n")
    (folder / "node.yaml").write_text(
        "{symbols: [XRPUSDT], strategy: {file: params.yaml}, "
        "backtest: {start: '2025-05-01', end: '2025-05-21', slippage_bps: 1}, risk: {limits: {slow_kill_trades: null}}}"
    )
    config = msgspec.structs.replace(load_config(folder / "node.yaml"), catalog=str(market_catalog))
    write_json(run_backtest(config, log_level="OFF"), folder / "result.json")
    made = subprocess.run(
        [sys.executable, "-m", "research.report", str(folder / "result.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == str(folder / "result.html")
    return folder / "result.html"


def test_a_page_names_no_address_outside_itself_and_says_everything(page):
    parser = Addresses()
    parser.feed(page.read_text(encoding="utf-8"))
    assert [a for a in parser.found if not a.startswith(("data:", "#"))] == []
    text = " ".join(parser.text)
    for title in ("Warnings", "Equity, drawdown, funding", "Months", "Trades of XRPUSDT", "Long and short", "By exit"):
        assert title in text
    for title in ("By trend", "By volatility", "Gates", "Configuration", "signal_threshold", "unknown_origin"):
        assert title in text
    assert text.count("plotly.js v") == 1
    again = render(backtest_page(page.with_suffix(".json"), None, 7))
    assert again == page.read_bytes(), "the same result gives the same page"


def test_a_page_draws_its_charts_in_a_browser_without_network(page):
    """Real Chromium where there is one; it may resolve no name and reach no host."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        import os

        assert not os.environ.get("CI"), "CI installs chromium: .ci/run"
        return
    drawn = subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={page.parent / 'profile'}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert drawn.stdout.count('class="main-svg"') >= 3, drawn.stderr[-2000:]
    assert 'class="trace scatter' in drawn.stdout


def test_what_is_no_result_is_refused_by_name(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"x\.json: not a result of .*node\.backtest"):
        backtest_page(path, None, 7)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        backtest_page(path, None, 7)
