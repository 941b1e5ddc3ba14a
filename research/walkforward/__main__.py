"""
``python -m research.walkforward``: walk a strategy forward over the catalog.

The folder ``<out>/<name>-<hash>`` holds configuration, choices, models, results and the report; the hash covers
configuration, data and code. A study that was killed is completed; one that is finished is shown, or with ``--again``
repeated and compared digit by digit (exit code 1 if a digit differs).
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from research.workers import BACKENDS
from strategies.startup import run_command

if TYPE_CHECKING:
    from research.walkforward.study import Plan, Study


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.walkforward",
        description="Choose on the past, test on what follows, window after window, in BacktestNode.",
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="study (config/walkforward.yaml)")
    p.add_argument("--catalog", type=Path, default=Path("var/catalog"), metavar="DIR", help="catalog (var/catalog)")
    p.add_argument("--out", type=Path, default=Path("var/walkforward"), metavar="DIR", help="studies (var/walkforward)")
    p.add_argument("--workers", type=int, default=2, metavar="N", help="processes of this machine (2)")
    p.add_argument("--backend", choices=BACKENDS, default="joblib", help="where the work is done (joblib)")
    p.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask cluster, with --backend dask")
    p.add_argument("--again", action="store_true", help="repeat a finished study and compare every digit")
    p.add_argument("--quiet", action="store_true", help="print the folder only")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from research.walkforward.config import load_walkforward  # noqa: PLC0415 - keeps --help fast
    from strategies.errors import ConfigError  # noqa: PLC0415

    if args.backend == "dask" and not args.scheduler:
        raise ConfigError("--backend dask needs --scheduler ADDRESS of a running Dask scheduler")
    if args.workers < 1:
        raise ConfigError(f"--workers: {args.workers}: at least one process is needed")
    config = load_walkforward(args.config)
    from research.walkforward.study import RESULT, make_plan  # noqa: PLC0415

    planned = make_plan(config, args.catalog)
    final = args.out / planned.folder_name
    stored = (final / RESULT).read_bytes() if (final / RESULT).is_file() else None
    if stored is not None and not args.again:
        from research.walkforward.study import collect  # noqa: PLC0415

        _show(collect(planned, final), final, quiet=args.quiet)
        return 0
    study = _run(planned, args)
    from research.walkforward.study import partial_folder, put_in_place  # noqa: PLC0415
    from research.walkforward.tables import write_outputs  # noqa: PLC0415

    write_outputs(study, partial_folder(args.out, planned))
    fresh = (partial_folder(args.out, planned) / RESULT).read_bytes()
    put_in_place(study, args.out)
    _show(study, final, quiet=args.quiet)
    if stored is not None:
        same = stored == fresh
        print(f"repeated: {'every digit of result.json is the same' if same else 'DIGITS DIFFER from the run before'}")
        return 0 if same else 1
    return 0


def _run(planned: "Plan", args: argparse.Namespace) -> "Study":
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from research.walkforward.study import Backend, run  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=args.quiet) as progress:
        bars: dict[str, object] = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done)  # type: ignore[arg-type]  # rich's TaskID is an int

        backend = Backend(workers=args.workers, backend=args.backend, scheduler=args.scheduler)
        return run(planned, args.out, backend, sys.argv, told)


def _show(study: "Study", folder: Path, *, quiet: bool) -> None:
    if quiet:
        print(folder)
        return
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from research.walkforward.study import RUN  # noqa: PLC0415 - as above
    from research.walkforward.tables import print_study  # noqa: PLC0415 - as above

    print_study(study, folder, sys.stdout)
    ran = msgspec.json.decode((folder / RUN).read_bytes())
    print(f"  line {ran['trial']} of the trial ledger ({ran['trial_digest'][:12]})")


if __name__ == "__main__":
    run_command(main)
