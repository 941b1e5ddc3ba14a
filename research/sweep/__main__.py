"""
Try many parameter sets over the same history, and have the engine of record re-check the best and a sample.

``python -m research.sweep --config config/sweep.yaml``

Exit code 0: done; 1: the engine of record made other trades; 2: a mistake in options, configuration or data.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from research.workers import BACKENDS
from strategies.startup import run_command

if TYPE_CHECKING:
    from node.config import NodeConfig
    from research.sweep.config import SweepConfig
    from research.sweep.study import SymbolResult


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(prog="python -m research.sweep", description=(__doc__ or "").split("\n\n")[0].strip())
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="sweep configuration (YAML)")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="catalog (default: the node configuration's)")
    p.add_argument("--start", metavar="DATE", help="begin of the history, UTC (default: the node configuration's)")
    p.add_argument("--end", metavar="DATE", help="its end, UTC, excluded")
    p.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: the configuration's)")
    p.add_argument("--backend", choices=BACKENDS, default="joblib", help="who does the work (joblib)")
    p.add_argument("--scheduler", metavar="ADDRESS", help="with --backend dask: the cluster's scheduler")
    p.add_argument("--workers", type=int, default=-1, metavar="N", help="processes of this machine (-1: all)")
    p.add_argument(
        "--ledger", type=Path, metavar="FILE", help="trial ledger (default: $ARGONAUT_TRIALS or var/research)"
    )
    p.add_argument("--quiet", action="store_true", help="no progress, no tables")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.backtest import with_options  # noqa: PLC0415 - keeps --help fast
    from node.config import load_config  # noqa: PLC0415
    from research.sweep.config import load_sweep_config  # noqa: PLC0415
    from research.sweep.study import sweep  # noqa: PLC0415
    from trials import ready  # noqa: PLC0415

    ready(args.ledger)
    config = load_sweep_config(args.config)
    node = with_options(load_config(Path(config.node)), args.catalog, args.start, args.end)
    symbols = config.symbols or node.symbols
    where = {"backend": args.backend, "scheduler": args.scheduler, "workers": args.workers}
    with _Progress(quiet=args.quiet) as progress:
        results = []
        for symbol in symbols:
            progress.begin(f"{symbol}: sets")
            results += list(sweep(config, node, (symbol,), progress=progress.set, **where))
    with _Progress(quiet=args.quiet) as progress:
        progress.begin("re-check in the engine")
        checks = _recheck(config, node, results, progress, args.workers)
    out = config.out if args.out is None else args.out
    _finish(config, node, results, checks, Path(out), args)
    wrong = [c for c in checks if c["difference"] is not None]
    for check in wrong:
        sys.stderr.write(
            f"failed: {check['symbol']} {check['params']} {check['start']} to {check['end']}: {check['difference']}\n"
        )
    return 1 if wrong else 0


def _recheck(
    config: "SweepConfig", node: "NodeConfig", results: "list[SymbolResult]", progress: "_Progress", workers: int
) -> list[dict[str, Any]]:
    from research.sweep.check import Job, run_jobs  # noqa: PLC0415 - keeps --help fast
    from research.sweep.study import checked_sets  # noqa: PLC0415

    jobs = [
        Job(result.symbol, result.sets[i], *window)
        for result in results
        for i in checked_sets(config, result)
        for window in result.plan.tests
    ]
    return run_jobs(node, jobs, progress.set, workers)


def _finish(
    config: "SweepConfig",
    node: "NodeConfig",
    results: "list[SymbolResult]",
    checks: list[dict[str, Any]],
    out: Path,
    args: argparse.Namespace,
) -> None:
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from catalog.reader import data_hash  # noqa: PLC0415
    from catalog.sample import describe  # noqa: PLC0415
    from research.doubt.report import plain_doubts, print_doubts  # noqa: PLC0415
    from research.sweep import results as files  # noqa: PLC0415
    from research.sweep.config import GridMethod  # noqa: PLC0415
    from research.sweep.doubts import examine_ranking, stability_map, sweep_page  # noqa: PLC0415
    from trials import record, summarise  # noqa: PLC0415

    sample = describe(Path(node.catalog))
    seed = None if isinstance(config.method, GridMethod) else config.method.seed
    document: dict[str, Any] = {
        "config": msgspec.to_builtins(config),
        "node": msgspec.to_builtins(node),
        "data_source": "catalog" if sample is None else sample.description,
        "synthetic": sample is not None and sample.synthetic,
        "symbols": [],
        "checks": checks,
    }
    doubts = {}
    for result in results:
        used = msgspec.structs.replace(node, symbols=(result.symbol,))
        digest = data_hash(Path(node.catalog), used.all_symbols, node.interval, *result.plan.span)
        sharpes = [float(x) for x in result.totals.columns["sharpe"]]
        tried = len(result.sets) + result.pruned
        best = files.rows_of(result)[0]
        entry = record(
            "sweep",
            command=["python", "-m", "research.sweep", *sys.argv[1:]],
            symbols=[result.symbol],
            interval=node.interval,
            config=[msgspec.to_builtins(config), msgspec.to_builtins(used)],
            data_hash=digest,
            trials=tried,
            sharpe=summarise(sharpes, trials=tried, returns=result.totals.returns),
            best=best,
            seed=seed,
            result=out,
            ledger=args.ledger,
            catalog=Path(node.catalog),
        )
        doubts[result.symbol] = examine_ranking(config, result, args.ledger, Path(node.catalog))
        document["symbols"].append(
            files.summary_of(result)
            | {
                "doubts": plain_doubts(doubts[result.symbol]),
                "parameters": msgspec.to_builtins(stability_map(config, result)),
            }
            | {"data_hash": digest, "ledger": entry.digest, "config_hash": entry.config_hash, "code": entry.code.files}
        )
    files.write(out, results, document, sweep_page(config, results, doubts, document))
    if not args.quiet:
        if document["synthetic"]:
            sys.stdout.write("SYNTHETIC data: these figures say nothing about a market\n")
        files.show(results, config.objective, config.min_trades, sys.stdout)
        for symbol, found in doubts.items():
            print_doubts(found, sys.stdout, f"{symbol}: the first of the ranking")
        equal = sum(c["difference"] is None for c in checks)
        trades = sum(c["trades"] for c in checks)
        sys.stdout.write(
            f"engine of record: {equal} of {len(checks)} runs equal, {trades} trades compared; written {out}\n"
        )


class _Progress:
    """A bar with the time left on a terminal's stderr; silent elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self._quiet:
            from rich.console import Console  # noqa: PLC0415 - only for people
            from rich.progress import (  # noqa: PLC0415 - as above
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, text: str) -> None:
        """Start a bar."""
        if self._bar is not None:
            self._task = self._bar.add_task(text, total=None)

    def set(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)


if __name__ == "__main__":
    run_command(main)
