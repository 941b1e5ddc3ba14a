"""
``python -m research.trials show|verify|effort``: what was ever tried, and whether the record of it is whole.

The ledger is ``$ARGONAUT_TRIALS``, else ``var/research/trials.jsonl``.
"""

import argparse
import sys
from pathlib import Path

from strategies.startup import run_command


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.trials", description="Show, verify and count the append-only ledger of every study."
    )
    p.add_argument("--ledger", type=Path, metavar="FILE", help="ledger file ($ARGONAUT_TRIALS)")
    what = p.add_subparsers(dest="what", required=True, metavar="show|verify|effort")
    show = what.add_parser("show", help="print the newest runs")
    show.add_argument("--last", type=int, default=20, metavar="N", help="how many (20)")
    show.add_argument("--json", action="store_true", help="as JSON lines")
    check = what.add_parser("verify", help="look for edited, removed and cut-off lines; exit code 1 on any")
    check.add_argument("--digest", metavar="HEX", help="also require the line a result names")
    effort = what.add_parser("effort", help="effective number of trials and variance of their Sharpe ratios")
    effort.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="runs that used one of these")
    effort.add_argument("--data-hash", metavar="HEX", help="runs on exactly these data")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    return {"show": _show, "verify": _verify, "effort": _effort}[args.what](args)


def _show(args: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from trials.ledger import read  # noqa: PLC0415

    entries = read(args.ledger)[-args.last :] if args.last > 0 else []
    if args.json:
        for entry in entries:
            sys.stdout.write(msgspec.json.encode(entry).decode() + "\n")
        return 0
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"trial ledger, newest {len(entries)}")
    for name in ("run", "time", "kind", "symbols", "trials", "effective", "best Sharpe", "config", "data", "code"):
        table.add_column(name, justify="right" if name in {"run", "trials", "effective", "best Sharpe"} else "left")
    for e in entries:
        best = "-" if e.sharpe.best is None else f"{e.sharpe.best:.2f}"
        code = (e.code.commit or e.code.files)[:8] + ("+" if e.code.dirty else "")
        hashes = (e.config_hash[:8], e.data_hash[:8], code)
        symbols = " ".join(e.symbols)
        table.add_row(
            str(e.sequence), e.time[:19], e.kind, symbols, str(e.trials), f"{e.sharpe.effective:.1f}", best, *hashes
        )
    Console(file=sys.stdout).print(table)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from trials.ledger import ledger_path, read, verify  # noqa: PLC0415 - keeps --help fast

    found = verify(args.ledger)
    where = "" if found.line is None else f", line {found.line}"
    text = f"{ledger_path(args.ledger)}: {found.reason}{where}: {found.entries} runs"
    sys.stdout.write(text + (f"; {found.detail}" if found.detail else "") + "\n")
    if not found.passed:
        return 1
    if args.digest and args.digest not in {e.digest for e in read(args.ledger)}:
        sys.stdout.write(f"no run has the digest {args.digest}: not the ledger the result was recorded in\n")
        return 1
    return 0


def _effort(args: argparse.Namespace) -> int:
    from trials.effort import effective_trials  # noqa: PLC0415 - keeps --help fast

    effort = effective_trials(symbols=args.symbols, data_hash=args.data_hash, ledger=args.ledger)
    sys.stdout.write(
        f"{effort.trials:.1f} independent trials ({effort.counted} in {effort.runs} runs), "
        f"variance of annual Sharpe ratios {effort.variance:.4f}\n"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
