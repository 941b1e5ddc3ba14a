"""
``python -m node.parity``: whether the live node and the backtest decided and traded alike.

Compares the JSON results of ``node.backtest`` and ``node.live`` over the same bars: signals, verdicts, outcomes of
blocked signals, and the list of fills (symbol, leg, side, quantity, price, market time) in their global order. Event
sequences, ids, wall times and the last digit of fees are not compared (`knowledge/replay-on-live-node.md` §5 says why
they differ).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from strategies.errors import DataError
from strategies.startup import run_command

SIGNAL_FIELDS = ("id", "symbol", "side", "strength", "reference_price", "stop_price", "target_price", "features")
VERDICT_FIELDS = ("id", "passed", "reason", "score")
OUTCOME_FIELDS = ("id", "blocked_by", "outcome", "net_r", "entry_price", "exit_price", "resolved_time")
FILL_FIELDS = ("symbol", "leg", "side", "quantity", "price", "market_time")


class Difference(NamedTuple):
    """The first place where two lists part, or their lengths."""

    what: str
    position: int
    backtest: Any
    live: Any

    def __str__(self) -> str:
        return f"{self.what}[{self.position}]: backtest {self.backtest}, live {self.live}"


class Parity(NamedTuple):
    """How many items were compared, and where each list first differs."""

    signals: int
    verdicts: int
    fills: int
    differences: list[Difference]


def compare(backtest: dict[str, Any], live: dict[str, Any]) -> Parity:
    """
    Compare two results as plain data.

    Parameters
    ----------
    backtest, live : dict
        Content of the JSON files; both need ``signals``, ``verdict_records`` and ``fills``.

    Returns
    -------
    Parity
        An empty list of differences means: alike.

    """
    differences = []
    for what, fields in (("signals", SIGNAL_FIELDS), ("verdict_records", VERDICT_FIELDS), ("fills", FILL_FIELDS)):
        found = _first_difference(what, _rows(backtest[what], fields), _rows(live[what], fields))
        if found is not None:
            differences.append(found)
    # What blocked signals would have made is told in the order their bars came, which two symbols may share.
    theirs, ours = (sorted(_rows(r.get("outcomes", []), OUTCOME_FIELDS)) for r in (backtest, live))
    found = _first_difference("outcomes", theirs, ours)
    if found is not None:
        differences.append(found)
    return Parity(len(live["signals"]), len(live["verdict_records"]), len(live["fills"]), differences)


def _rows(records: Sequence[dict[str, Any]], fields: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return [tuple(_plain(f, r[f]) for f in fields) for r in records]


def _plain(field: str, value: Any) -> Any:
    """Compare numbers written as text by value: 2.50 is 2.5."""
    if field in ("quantity", "price"):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _first_difference(what: str, a: list[Any], b: list[Any]) -> Difference | None:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return Difference(what, i, x, y)
    if len(a) != len(b):
        i = min(len(a), len(b))
        return Difference(what, i, a[i] if i < len(a) else "nothing", b[i] if i < len(b) else "nothing")
    return None


def read_result(path: Path) -> dict[str, Any]:
    """
    Return a result file as plain data.

    Raises
    ------
    DataError
        Propagate: missing, not JSON, or not a result.

    """
    import msgspec  # noqa: PLC0415 - keeps --help fast

    try:
        data = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, msgspec.DecodeError) as e:
        raise DataError(f"{path}: not a JSON result: {e}") from None
    missing = [k for k in ("signals", "verdict_records", "fills") if not isinstance(data, dict) or k not in data]
    if missing:
        raise DataError(f"{path}: not a result of node.backtest or node.live: {', '.join(missing)} missing")
    return dict(data)


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.parity", description="Compare a backtest with a live replay of the same bars."
    )
    p.add_argument("--backtest", required=True, type=Path, metavar="FILE", help="result of node.backtest --json")
    p.add_argument("--live", required=True, type=Path, metavar="FILE", help="result of node.live --json")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 when alike, 1 when not."""
    args = parser().parse_args(argv)
    found = compare(read_result(args.backtest), read_result(args.live))
    if not found.differences:
        sys.stdout.write(
            f"live = backtest: {found.signals} signals, {found.verdicts} verdicts and {found.fills} fills identical, "
            "in the same order\n"
        )
        return 0
    for difference in found.differences:
        sys.stdout.write(f"DIFFERENT {difference}\n")
    return 1


if __name__ == "__main__":
    run_command(main)
