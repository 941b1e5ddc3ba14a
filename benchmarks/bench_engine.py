"""
Cost of the whole decision chain in BacktestEngine, as ratios in one run: ``python benchmarks/bench_engine.py``.

Over the same bars, each in a process of its own, best of the repeats, CPU seconds of ``engine.run()`` (the chain's
with its equity table read out):

* ``empty``  a strategy that subscribes to its bars and does nothing, on Nautilus's plain venue;
* ``chain``  features, vote, gate, guard, protection, funding, liquidation and records, as ``node.backtest`` does;

and the chain at a quarter of the bars, for the cost per bar as history and trades grow (flat: 1.0). ``--cured no`` runs
the engine as it is shipped, without ``node.simulation.analyzer``.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.backtest.config import BacktestRunConfig, BacktestVenueConfig
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import Bar, FundingRateUpdate
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from actors.model_folder import MANIFEST, encode_manifest
from catalog import tables
from catalog.generator import generate
from catalog.instruments import load_instruments
from catalog.writer import put_series
from node.assembly import BacktestEngineConfig, backtest_run_config
from node.backtest_run import Records, resolve_window
from node.config import format_time, load_config
from node.simulation.analyzer import cure
from research.folder_swap import put_in_place, write_beside
from research.testing import small_model

ALL = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
START_NS = 1_600_000_200_000_000_000 // 900_000_000_000 * 900_000_000_000
STEP_NS = 900_000_000_000
CONFIG = """\
symbols: [{symbols}]
context: [{context}]
interval: 15m
catalog: {catalog}
strategy: {{file: params.yaml, warmup_bars: 1000, history_bars: 1500, assumed_slippage: 0.0001}}
gate: {{mode: shadow, model_dir: {model}}}
risk:
  sizing: {{method: risk_fraction, risk_fraction: 0.001}}
  limits: {{fast_kill_losses: null, slow_kill_trades: null, daily_loss: null, max_leverage: 5, account_leverage: 10}}
backtest: {{balance: 1000000, slippage_bps: 1, trigger_slippage_bps: 1}}
"""
PARAMS = {
    "shipped": {"signal_threshold": 3, "adx_threshold": 25.0, "volume_multiplier": 2.5},
    "loose": {"signal_threshold": 3, "adx_threshold": 15.0, "volume_multiplier": 1.5},
}
LEVELS = {"stop_atr": 1.5, "target_atr": 4.0}


def prepare(folder: Path, bars: int, symbols: tuple[str, ...], vote: str) -> None:
    """Write a generated market of `bars` bars over the symbols, a small model and a configuration."""
    specs = load_instruments()
    each = -(-bars // len(symbols))
    market = generate([tables.grid_of(specs[s]) for s in symbols], "15m", START_NS, START_NS + each * STEP_NS)
    for symbol, (series, funding) in market.items():
        put_series(series, funding, catalog=folder / "catalog", symbol=symbol, interval="15m", origin="generator")
    model = small_model(strategy=dict.fromkeys(symbols, LEVELS))
    put_in_place(
        write_beside(folder / "model", model.files | {MANIFEST: encode_manifest(model.manifest)}), folder / "model"
    )
    (folder / "params.yaml").write_text(json.dumps({"params": PARAMS[vote] | LEVELS}))
    (folder / "node.yaml").write_text(
        CONFIG.format(
            catalog=folder / "catalog",
            model=folder / "model",
            symbols=", ".join(symbols),
            context=", ".join(symbols[:2] if len(symbols) > 1 else ()),
        )
    )


def measure(folder: Path, case: str, bars: int, cured: bool) -> dict[str, Any]:
    """Run one case and return its figures."""
    config = load_config(folder / "node.yaml")
    end = START_NS + bars // len(config.symbols) * STEP_NS
    config = msgspec.structs.replace(
        config, backtest=msgspec.structs.replace(config.backtest, start=format_time(START_NS), end=format_time(end))
    )
    window = resolve_window(config)
    run = backtest_run_config(config, window, load_instruments(), log_level="OFF")
    if case == "empty":
        run = plain(run)
    node = BacktestNode([run])
    node.build()
    engine = node.get_engine(run.id)
    records = Records()
    records.attach(engine.kernel.msgbus)
    if cured and case == "chain":
        cure(engine.kernel.portfolio.analyzer)
    catalog = ParquetDataCatalog(str(folder / "catalog"))
    data = [b for b in catalog.query(Bar) if b.ts_event <= end]
    if case == "chain":
        funding = [f for f in catalog.query(FundingRateUpdate) if f.ts_event <= end]
        engine.add_data(funding)
    engine.add_data(data)
    if case == "empty":
        for bar_type in {b.bar_type for b in data}:
            engine.add_strategy(_empty(bar_type))
    before = time.process_time()
    engine.run()
    if case == "chain":
        _ = records.equity  # made when read: that is part of the price
    spent = time.process_time() - before
    return {"case": case, "bars": len(data), "seconds": spent, "trades": len(records.trades)}


def plain(run: Any) -> Any:
    """Return `run` on Nautilus's own venue, without anything of ours."""
    venue = run.venues[0]
    return BacktestRunConfig(
        venues=[
            BacktestVenueConfig(
                name=venue.name,
                oms_type="NETTING",
                account_type="MARGIN",
                starting_balances=venue.starting_balances,
                book_type="L1_MBP",
                bar_adaptive_high_low_ordering=True,
            )
        ],
        data=run.data,
        engine=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False),
        raise_exception=True,
        dispose_on_completion=False,
    )


def _empty(bar_type: Any) -> Any:

    class Empty(Strategy):
        def on_start(self) -> None:
            self.subscribe_bars(bar_type)

        def on_bar(self, bar: Any) -> None:
            """Nothing."""

    return Empty(StrategyConfig(order_id_tag=str(bar_type.instrument_id.symbol)[:3]))


def _child(pipe: Any, *arguments: Any) -> None:
    pipe.send(measure(*arguments))


def apart(*arguments: Any) -> dict[str, Any]:
    """Measure in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, *arguments))
    process.start()
    theirs.close()  # so that the end of a child that failed is heard
    result: dict[str, Any] = ours.recv()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=200_000, help="bars over all symbols")
    parser.add_argument("--symbols", type=int, choices=(1, 3), default=1, help="3: each is context of the others too")
    parser.add_argument("--vote", choices=tuple(PARAMS), default="shipped", help="loose: three times as many trades")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cured", choices=("yes", "no"), default="yes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cured = options.cured == "yes"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.bars, ALL[: options.symbols], options.vote)
        cases = [("empty", options.bars), ("chain", options.bars), ("chain", options.bars // 4)]
        rounds = [[apart(folder, case, bars, cured) for case, bars in cases] for _ in range(options.repeats)]
    best = [min((r[i] for r in rounds), key=lambda m: m["seconds"]) for i in range(len(cases))]
    for m in best:
        print(
            f"{m['case']:8}{m['bars']:>9} bars {m['trades']:>7} trades {m['seconds']:>8.2f} s "
            f"{m['seconds'] / m['bars'] * 1e6:>7.1f} us/bar"
        )
    empty, full, quarter = (m["seconds"] / m["bars"] for m in best)
    ratios = {"chain / empty": full / empty, "per bar, whole / quarter": full / quarter}
    for name, value in ratios.items():
        print(f"{name:28}{value:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"cases": best, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
