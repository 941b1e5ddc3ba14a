"""The windows of a study, and what each may see."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from catalog.instruments import interval_ns
from catalog.reader import coverage
from node.config import NodeConfig, format_time, parse_time
from research.walkforward.config import FoldsConfig
from research.walkforward.span import DAY_NS, Span
from strategies.errors import DataError


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """
    One fold; ``[start, end)`` on bar open, UTC ns.

    Attributes
    ----------
    index : int
        1 for the first.
    train_start, train_end : int
        Everything chosen is chosen on these bars; labels must have ended by `train_end`.
    test_start, test_end : int
        Where it is tried. ``test_start - train_end`` is the embargo.
    partial : bool
        The data end before the window would.

    """

    index: int
    train_start: int
    train_end: int
    test_start: int
    test_end: int
    partial: bool

    @property
    def label(self) -> str:
        """Return the test window's first day."""
        return (format_time(self.test_start) or "")[:10]


class Coverage(NamedTuple):
    """What the catalog holds of all symbols of an account: ``[start, end)``, UTC ns."""

    start: int
    end: int


def covered(config: NodeConfig) -> Coverage:
    """
    Return the common history of traded and context symbols.

    Raises
    ------
    DataError
        Propagate: a symbol is missing in the catalog.

    """
    spans = [coverage(Path(config.catalog), symbol, config.interval) for symbol in config.all_symbols]
    return Coverage(max(s[0] for s in spans), min(s[1] for s in spans) + interval_ns(config.interval))


def plan(config: FoldsConfig, history: Coverage, step_ns: int, *, trains: bool = True) -> list[Fold]:
    """
    Return the folds, oldest first. Test windows are consecutive.

    Parameters
    ----------
    config : FoldsConfig
        Scheme and lengths.
    history : Coverage
        Common history of the account's symbols.
    step_ns : int
        Bar interval.
    trains : bool
        Whether anything is chosen on the training windows; if not, none needs to exist.

    Raises
    ------
    DataError
        Propagate: no test window fits; a training window would be shorter than half of what was asked for.

    """
    train, test = Span.parse(config.train), Span.parse(config.test)
    first = _midnight(train.after(history.start)) if config.start is None else parse_time(config.start, "folds.start")
    end = history.end if config.end is None else parse_time(config.end, "folds.end")
    if first < history.start or end > history.end or first >= end:
        raise DataError(
            f"folds: tests from {format_time(first)} to {format_time(end)} do not fit into the data, which cover "
            f"{format_time(history.start)} to {format_time(history.end)}: ingest more, or change folds.start and .end"
        )
    folds: list[Fold] = []
    while True:
        index = len(folds)
        test_start, test_end = test.times(index).after(first), test.times(index + 1).after(first)
        if test_start >= end:
            return folds
        train_end = test_start - config.embargo_bars * step_ns
        wanted = train.before(test_start)
        train_start = history.start if config.scheme == "anchored" else max(wanted, history.start)
        if trains and train_end - train_start < (test_start - wanted) // 2:
            raise DataError(
                f"folds: the training window of the test from {format_time(test_start)} would have "
                f"{max(train_end - train_start, 0) / DAY_NS:.1f} days of data, less than half of {config.train}: "
                "start later (folds.start) or train on less (folds.train)"
            )
        folds.append(
            Fold(
                index=index + 1,
                train_start=train_start,
                train_end=max(train_end, train_start),
                test_start=test_start,
                test_end=min(test_end, end),
                partial=test_end > end,
            )
        )


def share_tested(folds: list[Fold], history: Coverage) -> float:
    """Return the share of the history that lies in a test window."""
    return sum(f.test_end - f.test_start for f in folds) / (history.end - history.start)


def _midnight(time_ns: int) -> int:
    return -(-time_ns // DAY_NS) * DAY_NS
