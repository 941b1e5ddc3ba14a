"""
What there is to do to bring the Nautilus catalog up to date with the raw store, by series and by raw day.

A raw day whose content hash is the one in the manifest, and whose file is there, needs nothing.
"""

from dataclasses import dataclass, field
from pathlib import Path

from catalog import manifest
from catalog.checks import Grid
from catalog.instruments import InstrumentSpec, interval_ns
from catalog.raw import days as raw_days
from catalog.raw.day_files import Day
from catalog.raw.kinds import KINDS
from catalog.writer import figures
from strategies.errors import DataError

_WINNERS = {"trades": "agg_trades", "open_interest": "metrics", "ratios": "metrics"}
_BY_DAY = ("agg_trades", "trades", "book_ticker", "book_snapshots")
_ONE_INTERVAL = ("mark_klines", "index_klines", "premium_klines")


@dataclass(frozen=True, slots=True)
class RawSeries:
    """A series of the raw store and the days of it that go into the catalog."""

    kind: str
    symbol: str
    interval: str | None
    days: list[Day]

    @property
    def key(self) -> str:
        """Its name in the manifest."""
        return manifest.key_of(self.kind, self.symbol, self.interval)

    def file_of(self, day: str) -> str:
        """Return which file a day goes into."""
        return day if self.kind in _BY_DAY else day[:7]


@dataclass(slots=True)
class Built:
    """
    What a build did, or would do, to one series.

    Attributes
    ----------
    key : str
        ``kind/symbol[/interval]``.
    made, removed : list of str
        Raw days (re)made, and days whose files went.
    rows : int
        Rows of the raw days made.
    fresh : int
        Days that were up to date.
    others : int
        Rows that only the catalog has and that stay.
    refused : str
        Why the series was left as it was; empty when it was not.

    """

    key: str
    made: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rows: int = 0
    fresh: int = 0
    others: int = 0
    refused: str = ""

    @property
    def stale(self) -> bool:
        """Whether there was something to do."""
        return bool(self.made or self.removed or self.refused)


def raw_series(root: Path, kinds: tuple[str, ...] = (), symbols: tuple[str, ...] = ()) -> list[RawSeries]:
    """
    Return what the raw store holds, each series with the days that count.

    Of two kinds with the same content the better one wins day by day (aggregate trades, the archive's metrics); of
    mark, index and premium candles the shortest interval is taken.

    Raises
    ------
    DataError
        Propagate: there is no raw store, or a file is damaged.

    """
    if not root.is_dir():
        raise DataError(f"{root}: no raw store: bring data with `python -m catalog.raw fetch` or `put`")
    found = []
    for kind in KINDS.values():
        for folder in sorted(p for p in (root / kind.name).glob("*") if p.is_dir()):
            if symbols and folder.name not in symbols:
                continue
            steps: list[str | None] = [None]
            if kind.interval:
                steps = sorted((p.name for p in folder.iterdir() if p.is_dir()), key=interval_ns)
            if kind.name in _ONE_INTERVAL:
                steps = steps[:1]
            for step in steps:
                days = raw_days.days(root, kind.name, folder.name, step)
                if days:
                    found.append(RawSeries(kind.name, folder.name, step, days))
    held = {(s.kind, s.symbol): {day.day for day in s.days} for s in found if s.interval is None}
    result = []
    for series in found:
        better = held.get((_WINNERS.get(series.kind, ""), series.symbol), set())
        days = [day for day in series.days if day.day not in better]
        if not kinds or series.kind in kinds:
            result.append(RawSeries(series.kind, series.symbol, series.interval, days))
    return [series for series in result if series.days]


def plan(
    root: Path,
    catalog: Path,
    *,
    kinds: tuple[str, ...] = (),
    symbols: tuple[str, ...] = (),
    instruments: Path | None = None,
    thorough: bool = False,
) -> tuple[list[tuple[RawSeries, Built]], list[str]]:
    """
    Return every series with what there is to do, and the series the catalog was built from that are gone from raw.

    Parameters
    ----------
    thorough : bool
        Compare the bytes of the catalog's files, not their sizes alone.

    Raises
    ------
    DataError
        Propagate: no raw store, a damaged manifest.

    """
    known = manifest.read(catalog).series
    wanted = raw_series(root, kinds, symbols)
    work = []
    for series in wanted:
        built, done = known.get(series.key), Built(series.key)
        current = None
        try:
            current = hashed_figures(catalog, series.symbol, instruments)[2]
        except DataError as e:
            done.refused = str(e)
        usable = built is not None and built.version == manifest.VERSION and built.figures == current
        there = built if usable else None
        if there is not None and not all(manifest.intact(catalog, o, thorough=thorough) for o in there.whole):
            there = None
        good: dict[str, bool] = {}
        for day in series.days:
            part = series.file_of(day.day)
            same = there is not None and there.days.get(day.day) == day.sha256
            good[part] = good.get(part, True) and same
        left = set(there.days) - {day.day for day in series.days} if there is not None else set()
        for part, unchanged in good.items():
            files = there.files.get(part, ()) if there is not None else ()
            intact = unchanged and all(manifest.intact(catalog, o, thorough=thorough) for o in files)
            good[part] = intact and not any(series.file_of(day) == part for day in left)
        for day in series.days:
            if good[series.file_of(day.day)]:
                done.fresh += 1
            else:
                done.made.append(day.day)
                done.rows += day.rows
        done.removed = sorted(set(built.days) - {d.day for d in series.days}) if built is not None else []
        done.others = built.others if built is not None else 0
        work.append((series, done))
    keys = {series.key for series in wanted}

    def asked(key: str) -> bool:
        kind, symbol = key.split("/")[:2]
        return (not kinds or kind in kinds) and (not symbols or symbol in symbols)

    return work, sorted(key for key in known if key not in keys and asked(key))


def hashed_figures(catalog: Path, symbol: str, instruments: Path | None) -> tuple[Grid, InstrumentSpec | None, str]:
    """
    Return what :func:`catalog.writer.figures` does, and the hash by which a change of the grid is seen.

    Raises
    ------
    DataError, ConfigError
        Propagate: see there.

    """
    grid, spec = figures(catalog, symbol, instruments)
    return grid, spec, manifest.combined({"grid": repr(grid)})
