"""
Look-ahead analysis: every value must come from what was known at its time, and from nothing else.

``python -m research.doubt.lookahead --config FILE [--catalog DIR] [--cuts N]``

A function is computed again on data that end at many cut points, and on data whose future was exchanged; a strategy is
run again on catalogs that end there. What was said until the cut must be the same, bit for bit. And because a strategy
may know the future from somewhere else, its signals are held against the bars that followed: nobody honest is right
about the next bars nearly always.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.startup import run_command

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from research.doubt.tables import Data, Function
    from research.doubt.verdict import Doubt

HORIZONS = (1, 2, 3, 5, 8, 13, 24)
MIN_SIGNALS = 20
HIT_SHARE = 0.75
_SIGNIFICANT = 1e-5
_RARE, _RARE_CUTS = 0.9, 3


def examine_function(
    function: "Function",
    data: "Data",
    *,
    primary: str | None = None,
    names: list[str] | None = None,
    cuts: int = 16,
    seed: int = 1,
    name: str = "look-ahead of features",
) -> "Doubt":
    """
    Compare a function's rows with those it gives when the future is cut off or another one.

    Parameters
    ----------
    function : Callable
        Takes `data` (the same kind, shorter) and returns one row per row of the primary series: a matrix, a frame or a
        mapping of columns.
    data : matrix, mapping of arrays, frame, or mapping of Series
        See :mod:`research.doubt.tables`.
    primary : str, optional
        The series the rows belong to, for a mapping of Series.
    names : list[str], optional
        Names of the columns where the result has none.
    cuts : int
        Number of cut points, spread over all rows from the first tenth on, the last one near the end; as many more lie
        where columns say something rare.
    seed : int
        Seed of cut points and of the other future.

    Returns
    -------
    Doubt
        ``look_ahead`` with the columns, the first bar, how many bars ahead, and the inputs it came from.

    """
    import numpy as np  # noqa: PLC0415 - the command answers --help without it

    from research.doubt import tables  # noqa: PLC0415 - as above
    from research.doubt.verdict import Reason, falls, stands  # noqa: PLC0415 - as above

    known = tables.clock(data, primary)
    columns, full = tables.table(function(tables.part(data, None, None)), names)
    if len(full) != len(known):
        why = f"the function returned {len(full)} rows for {len(known)}: one row per bar is expected"
        raise ValueError(why)
    _, again = tables.table(function(tables.part(data, None, None)), names)
    if not tables.same(full, again).all():
        at = int(np.flatnonzero(~tables.same(full, again).all(axis=0))[0])
        return falls(name, Reason.LOOK_AHEAD, f"{columns[at]}: two runs on the same data differ: not repeatable")
    places = _places(full, cuts, seed)
    found: dict[str, tuple[int, int]] = {}
    refused = 0
    for place in places:
        for kind in ("cut", "other"):
            cut = int(known[place])
            changed = tables.part(data, None, cut) if kind == "cut" else tables.scrambled(data, cut, seed)
            try:
                _, rows = tables.table(function(changed), names)
            except ValueError:
                refused += 1  # a function may refuse a history that never was
                continue
            if len(rows) <= place:
                why = (
                    f"with data until bar {place} the function returned {len(rows)} rows: its rows depend on later bars"
                )
                return falls(name, Reason.LOOK_AHEAD, why, bar=int(place))
            wrong = ~tables.same(full[: place + 1], rows[: place + 1])
            for column in np.flatnonzero(wrong.any(axis=0)):
                first = int(np.flatnonzero(wrong[:, column])[0])
                ahead = int(place) - first + 1
                if ahead > found.get(columns[column], (0, 0))[1]:
                    found[columns[column]] = (first, ahead)
    if not found:
        if refused == 2 * len(places):
            why = "the function refused every shortened history"
            return falls(name, Reason.LOOK_AHEAD, why)
        return stands(name, f"{len(columns)} columns are the same with {len(places)} other futures", cuts=len(places))
    origins = _origins(function, data, int(places[len(places) // 2]), known, full, names, seed)
    listed = ", ".join(
        f"{c} (bar {first}, {'the whole history' if ahead > len(known) // 4 else f'{ahead} ahead'})"
        for c, (first, ahead) in list(found.items())[:8]
    )
    text = f"{len(found)} of {len(columns)} columns know later bars: {listed}"
    if origins:
        text += f"; from {', '.join(origins)}"
    return falls(
        name,
        Reason.LOOK_AHEAD,
        text,
        columns={c: {"bar": first, "bars_ahead": ahead} for c, (first, ahead) in found.items()},
        inputs=origins,
    )


def _places(full: "npt.NDArray[np.float64]", cuts: int, seed: int) -> "npt.NDArray[np.int64]":
    """Return the rows to cut at: spread over all, and some at which a column that seldom changes says something."""
    import numpy as np  # noqa: PLC0415 - the command answers --help without it

    random, rows = np.random.default_rng(seed), len(full)
    spread = np.linspace(rows // 10, rows - 2, cuts).astype(np.int64)
    spread -= random.integers(0, max(rows // (4 * cuts), 1), cuts)
    rare: list[int] = []
    for column in full.T:
        values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        if len(values) > 1 and counts.max() > _RARE * rows:
            says = np.flatnonzero((column != values[np.argmax(counts)]) & ~np.isnan(column))
            rare += random.choice(says, min(len(says), _RARE_CUTS), replace=False).tolist()
    if len(rare) > cuts:
        rare = random.choice(rare, cuts, replace=False).tolist()
    return np.unique(np.clip([*spread.tolist(), *rare], 0, rows - 2)).astype(np.int64)


def _origins(
    function: "Function",
    data: "Data",
    place: int,
    known: "npt.NDArray[np.int64]",
    full: "npt.NDArray[np.float64]",
    names: list[str] | None,
    seed: int,
) -> list[str]:
    from research.doubt import tables  # noqa: PLC0415 - the command answers --help without it

    found = []
    for one in tables.inputs(data):
        try:
            _, rows = tables.table(function(tables.scrambled(data, int(known[place]), seed, only=one)), names)
        except ValueError:
            continue
        if len(rows) > place and not tables.same(full[: place + 1], rows[: place + 1]).all():
            found.append(one)
    return found


def examine_foresight(
    close: "npt.NDArray[np.float64]", at: Sequence[int], side: Sequence[int], name: str = "foresight"
) -> "Doubt":
    """
    Ask whether signals are right about the bars that follow more often than any honest forecast could be.

    Parameters
    ----------
    close : np.ndarray
        float64, closes of the bars.
    at, side : sequence of int
        Index of each signal's bar, and +1 or -1.

    Notes
    -----
    For each horizon of 1 to 24 bars, signals at least a horizon apart are counted that ended in their direction;
    `foresight` when at least three quarters did, and at least half of those that chance leaves over (the share of all
    bars that moved so), with a binomial probability below 1e-5.

    """
    import numpy as np  # noqa: PLC0415 - the command answers --help without it
    from scipy import stats  # noqa: PLC0415 - as above

    from research.doubt.verdict import Reason, falls, stands, unknown  # noqa: PLC0415 - as above

    if len(at) < MIN_SIGNALS:
        return unknown(name, Reason.TOO_FEW, f"{len(at)} signals, at least {MIN_SIGNALS} are needed")
    order = np.argsort(np.asarray(at), kind="stable")
    bars, sides = np.asarray(at)[order], np.asarray(side)[order]
    table: dict[str, dict[str, float]] = {}
    worst = None
    for horizon in HORIZONS:
        kept, last = [], -horizon
        for i, bar in enumerate(bars):
            if bar - last >= horizon and bar + horizon < len(close):
                kept.append(i)
                last = int(bar)
        moves = sides[kept] * (close[bars[kept] + horizon] - close[bars[kept]])
        moves = moves[moves != 0]
        if len(moves) < MIN_SIGNALS:
            continue
        hits = int((moves > 0).sum())
        # In a market that only rises every buyer is right: what counts is being right more often than any bar's move.
        rising = close[horizon:] - close[:-horizon]
        up = float((rising > 0).sum() / max((rising != 0).sum(), 1))
        longs = float((sides[kept] > 0).mean())
        chance = longs * up + (1 - longs) * (1 - up)
        p = float(stats.binomtest(hits, len(moves), min(max(chance, 0.01), 0.99), alternative="greater").pvalue)
        table[str(horizon)] = {"hit_share": hits / len(moves), "chance": chance, "signals": len(moves), "p": p}
        right = hits / len(moves) >= max(HIT_SHARE, chance + (1 - chance) / 2)
        if right and p < _SIGNIFICANT and (worst is None or p < worst[1]):
            worst = (horizon, p)
    if worst is not None:
        row = table[str(worst[0])]
        text = (
            f"{row['hit_share']:.0%} of {row['signals']:.0f} signals were right about the next {worst[0]} bars "
            f"(p = {worst[1]:.1e}): they know them"
        )
        return falls(name, Reason.FORESIGHT, text, horizons=table)
    best = max((row["hit_share"] for row in table.values()), default=float("nan"))
    return stands(name, f"at most {best:.0%} of signals were right about the bars that followed", horizons=table)


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.doubt.lookahead",
        description="Look for values and signals that depend on bars later than their own; exit code 1 when there are.",
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--catalog", type=Path, metavar="DIR", help="parquet catalog (default: the configuration's)")
    p.add_argument("--start", metavar="DATE", help="first bar that may trade, UTC (default: the configuration's)")
    p.add_argument("--end", metavar="DATE", help="end of the run, UTC, excluded (default: the configuration's)")
    p.add_argument("--cuts", type=int, default=4, metavar="N", help="cut points, one backtest each (4)")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the cut points (1)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts to FILE")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.backtest import with_options  # noqa: PLC0415 - keeps --help fast
    from node.config import load_config  # noqa: PLC0415

    config = with_options(load_config(args.config), args.catalog, args.start, args.end)
    from research.doubt.pipeline import examine_kernel, examine_strategy  # noqa: PLC0415
    from research.doubt.recorded import record_node  # noqa: PLC0415
    from research.doubt.report import conclude  # noqa: PLC0415
    from trials import ready  # noqa: PLC0415

    ready(args.ledger)
    doubts = [examine_kernel(config, symbol, cuts=4 * args.cuts, seed=args.seed) for symbol in config.symbols]
    doubts += examine_strategy(config, cuts=args.cuts, seed=args.seed)
    command = ["research.doubt.lookahead", *(sys.argv[1:] if argv is None else argv)]
    record_node(command, config, args.ledger, seed=args.seed, options=[args.cuts])
    return conclude(doubts, args.json, sys.stdout)


if __name__ == "__main__":
    run_command(main)
