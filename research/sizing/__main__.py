"""``python -m research.sizing RESULT.json``: what to risk per trade, by the ancestor's rule and by the real trades."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.startup import run_command

if TYPE_CHECKING:
    from research.sizing.ancestor import Study
    from research.sizing.blocks import BlockStudy


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.sizing", description="Study ruin and drawdown at each risk per trade."
    )
    p.add_argument("result", type=Path, metavar="RESULT", help="result of `node.backtest --json`, or a run folder")
    p.add_argument("--seed", type=int, default=42, metavar="N", help="seed of the paths (42)")
    p.add_argument("--paths", type=int, default=10_000, metavar="N", help="paths per level (10000)")
    p.add_argument("--trades", type=int, default=200, metavar="N", help="trades per path (200)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the study to FILE")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from node.report import write_file  # noqa: PLC0415
    from research.doubt.recorded import record_look  # noqa: PLC0415
    from research.doubt.result import read_run  # noqa: PLC0415
    from research.sizing.ancestor import study  # noqa: PLC0415
    from research.sizing.blocks import block_study  # noqa: PLC0415
    from strategies.errors import ConfigError, DataError  # noqa: PLC0415
    from trials import ready  # noqa: PLC0415

    for name in ("paths", "trades"):
        if not 1 <= getattr(args, name) <= 100_000:
            raise ConfigError(f"--{name}: {getattr(args, name)}: 1 to 100000")
    ready(args.ledger)
    run = read_run(args.result)
    multiples = run.trades.net_r
    size = {"seed": args.seed, "paths": args.paths, "trades": args.trades}
    try:
        one, two = study(multiples, **size), block_study(multiples, **size)
    except DataError as e:
        raise DataError(f"{run.source}: {e}") from None
    record_look(
        ["research.sizing", *(sys.argv[1:] if argv is None else argv)],
        args.result,
        [size],
        args.ledger,
        seed=args.seed,
        found={"recommended": one.recommended},
    )
    _print(one, two, run.synthetic)
    if args.json is not None:
        plain: dict[str, Any] = {
            "result": str(run.source), "data_hash": run.data_hash, **size,
            "ancestor": _plain(one), "blocks": _plain(two),
        }  # fmt: skip
        write_file(args.json, msgspec.json.format(msgspec.json.encode(plain), indent=1))
    return 0


def _print(one: "Study", two: "BlockStudy", synthetic: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140)
    o = one.observed
    if synthetic:
        console.print("SYNTHETIC data: no figure says anything about a market")
    console.print(
        f"{o.trades} trades: {o.win_rate:.1%} won, {o.win:+.2f} R / {o.loss:+.2f} R; Kelly {one.kelly:.1%}, "
        f"at the pessimistic ends {one.worst_kelly:.1%}"
    )
    if o.trades < 100:
        console.print(f"{o.trades} trades say little about rare losses: below 100 these tables are a sketch")
    for title, levels in (
        ("ancestor: figures drawn from ranges", one.robust),
        ("ancestor: pessimistic ends", one.worst),
        (f"real trades in blocks of {two.block:.1f}", two.levels),
    ):
        table = Table(title=title)
        for name in ("risk", "ruin", "5 %", "25 %", "median", "75 %", "95 %", "drawdown", "drawdown 95 %", "bearable"):
            table.add_column(name, justify="right")
        for level in levels:
            table.add_row(*(f"{x:.1%}" for x in level), "yes" if level.bearable else "no")
        console.print(table)
    table = Table(title=f"losses in a row (longest seen {two.longest})")
    for name in ("losses", "fall of the balance", "chance, independent", "chance, real trades in blocks"):
        table.add_column(name, justify="right")
    for (n, fall, chance), (_, share) in zip(one.streaks, two.streaks, strict=True):
        table.add_row(str(n), f"{fall:.1%}", f"{chance:.1%}", f"{share:.1%}")
    console.print(table)
    console.print("margin cap: " + ", ".join(f"{cap:.2f} at ATR {atr:.1%}" for atr, cap in one.margins))
    bearable = [("drawn", one.robust_risk), ("pessimistic", one.worst_risk), ("real trades", two.risk)]
    console.print(
        "best bearable level: " + ", ".join(f"{n} {'none' if r is None else f'{r:.1%}'}" for n, r in bearable)
    )
    console.print(f"recommended by the ancestor's rule: {one.recommended:.2%} of the balance per trade")
    if any(r is None for _, r in bearable) or one.worst_kelly <= 0:
        console.print(
            "no level is bearable under at least one of the three: the recommendation is the rule's floor, not advice"
        )


def _plain(study: Any) -> Any:
    if hasattr(study, "_asdict"):
        return {k: _plain(v) for k, v in study._asdict().items()}
    if isinstance(study, (list, tuple)):
        return [_plain(x) for x in study]
    return study


if __name__ == "__main__":
    run_command(main)
