"""
``python -m research.doubt RESULT.json|RUN_FOLDER``: what a result is worth, as a table of verdicts and as JSON.

Exit code 1 when a doubt falls. What could not be examined is said and is no pass.
"""

import argparse
import sys
from pathlib import Path

from strategies.startup import run_command


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.doubt", description="Examine a result: chosen from many, luck of the sample, fragile?"
    )
    p.add_argument("result", type=Path, metavar="RESULT", help="result of `node.backtest --json`, or a run folder")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="parquet catalog (default: the result's)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--trials", type=Path, metavar="FILE", help="returns of every trial, shape (days, trials): npz, csv")
    p.add_argument("--seed", type=int, default=7, metavar="N", help="seed of every resampling (7)")
    p.add_argument("--reps", type=int, default=2_000, metavar="N", help="bootstrap resamples (2000)")
    p.add_argument("--rerun", action="store_true", help="run the engine again: costs x2 and x3, orders one bar late")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts to FILE")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from research.doubt.examine import (  # noqa: PLC0415 - keeps --help fast
        Options,
        examine_gates,
        examine_ranked,
        examine_runs,
        examine_study,
    )
    from research.doubt.recorded import NOT_RECORDED, record_look  # noqa: PLC0415
    from research.doubt.report import conclude  # noqa: PLC0415
    from research.doubt.result import read_ranking, read_variants  # noqa: PLC0415
    from strategies.errors import ConfigError  # noqa: PLC0415

    if args.reps < 100:
        raise ConfigError(f"--reps: {args.reps}: at least 100 resamples are needed")
    options = Options(args.ledger, args.catalog, args.seed, args.reps, args.rerun)
    command = ["research.doubt", *(sys.argv[1:] if argv is None else argv)]
    looked = [args.seed, args.reps, args.rerun]
    ranking = read_ranking(args.result)
    if ranking is not None:
        found = examine_ranked(ranking, options)
        facts = record_look(command, args.result, looked, args.ledger, seed=args.seed)
        return conclude(found, args.json, sys.stdout, {"result": str(args.result), **facts})
    runs = read_variants(args.result, args.trials)
    if not runs:
        raise ConfigError(f"{args.result}: holds no variant")
    doubts = [
        msgspec.structs.replace(d, name=f"{name}: {d.name}" if name else d.name)
        for name, found in examine_runs(runs, options).items()
        for d in found
    ]
    doubts += [*examine_gates(runs, options), *examine_study(args.result, args.catalog)]
    run = next(iter(runs.values()))
    facts = {"result": str(run.source), "data_hash": run.data_hash, "seed": args.seed, "synthetic": run.synthetic}
    facts |= record_look(command, args.result, looked, args.ledger, seed=args.seed)
    if not facts["run_lines"]:
        sys.stdout.write(f"{NOT_RECORDED}\n")
    if run.synthetic:
        sys.stdout.write("SYNTHETIC data: no figure says anything about a market\n")
    return conclude(doubts, args.json, sys.stdout, facts)


if __name__ == "__main__":
    run_command(main)
