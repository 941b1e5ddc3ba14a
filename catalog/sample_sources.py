"""The four places the sample can come from, and how each fills a catalog."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog import archive, generator, store, tables, writer
from catalog.instruments import bar_type_text, find, instrument_id_text, load_instruments
from strategies.errors import DataError

VARIABLE = "ARGONAUT_DATA"
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
"""Where data lies beside the repository."""


@dataclass(frozen=True, slots=True)
class Wish:
    """
    What the sample shall hold and where to look.

    Attributes
    ----------
    window : tuple[int, int]
        Bars open in ``[start, end)``, UTC ns.
    environment : Mapping[str, str]
        Environment variables.
    shared : Path
        Folder beside the repository.
    base_url : str
        The public archive.

    """

    catalog: Path
    symbols: tuple[str, ...]
    interval: str
    window: tuple[int, int]
    environment: Mapping[str, str]
    shared: Path = SHARED
    base_url: str = archive.BASE_URL


@dataclass(frozen=True, slots=True)
class Source:
    """A usable source; ``fill`` brings one symbol into the catalog."""

    name: str
    description: str
    fingerprint: str
    fill: Callable[[str], object]
    synthetic: bool = False
    notes: tuple[str, ...] = ()


def choose(source: str, wish: Wish, kept: bool) -> Source | None:
    """
    Return the source to take, or None when what the catalog holds is to stay.

    Parameters
    ----------
    source : str
        ``auto``, ``env``, ``shared``, ``archive`` or ``synthetic``.
    wish : Wish
        What to bring.
    kept : bool
        The catalog holds a matching sample: with ``auto`` nothing is downloaded or generated in its place.

    Raises
    ------
    DataError
        Unavailable: the source that was named, or the folder `ARGONAUT_DATA` names, does not hold what is wished.

    """
    notes: list[str] = []
    if source in ("auto", "env"):
        folder = wish.environment.get(VARIABLE, "")
        if folder:
            return _local("env", Path(folder), wish, f"${VARIABLE}")
        if source == "env":
            raise DataError(
                f"${VARIABLE} is not set: it must name a folder with um_klines_{wish.interval}/ and um_funding/"
            )
        notes.append(f"${VARIABLE} is not set")
    if source in ("auto", "shared"):
        if source == "shared" or not _missing(wish.shared, wish):
            return _local("shared", wish.shared, wish, "../shared/data", tuple(notes))
        notes.append("../shared/data does not hold the files" if wish.shared.is_dir() else "no ../shared/data")
    if source == "auto" and kept:
        return None
    if source in ("auto", "archive"):
        try:
            return _archive(wish, tuple(notes))
        except DataError as e:
            if source == "archive":
                raise
            notes.append(str(e))
    return _synthetic(wish, tuple(notes))


def _local(name: str, folder: Path, wish: Wish, place: str, notes: tuple[str, ...] = ()) -> Source:
    missing = _missing(folder, wish)
    if missing:
        raise DataError(f"{place}: {missing[0]} does not exist: the folder must hold one such file for every symbol")
    digest = hashlib.sha256()
    for symbol in wish.symbols:
        for file in _files(folder, symbol, wish.interval):
            status = file.stat()
            digest.update(f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}\n".encode())

    def fill(symbol: str) -> None:
        klines, funding = _files(folder, symbol, wish.interval)
        _ingest(wish, symbol, [klines], [funding])

    return Source(name, f"real market data from {place} ({folder})", digest.hexdigest(), fill, notes=notes)


def _archive(wish: Wish, notes: tuple[str, ...]) -> Source:
    months = archive.months(*wish.window)
    klines = {s: [archive.klines_path(s, wish.interval, month) for month in months] for s in wish.symbols}
    funding = {s: [archive.funding_path(s, month) for month in months] for s in wish.symbols}
    every = [path for table in (klines, funding) for paths in table.values() for path in paths]
    if not archive.reachable(every[0], wish.base_url):
        raise DataError(f"the public archive {wish.base_url} did not answer within 3 s")
    folder = wish.catalog / ".archive"
    archive.fetch(every, folder, wish.base_url)

    def fill(symbol: str) -> None:
        _ingest(
            wish,
            symbol,
            [folder / Path(path).name for path in klines[symbol]],
            [folder / Path(path).name for path in funding[symbol]],
        )

    description = f"real market data from the exchange's public archive ({wish.base_url}), {months[0]} to {months[-1]}"
    return Source("archive", description, f"{wish.base_url} {' '.join(months)}", fill, notes=notes)


def _synthetic(wish: Wish, notes: tuple[str, ...]) -> Source:
    specs = load_instruments()

    def fill(symbol: str) -> None:
        grid = tables.grid_of(find(specs, symbol))
        bars, funding = generator.generate([grid], wish.interval, *wish.window)[symbol]
        writer.put_series(
            bars, funding, catalog=wish.catalog, symbol=symbol, interval=wish.interval, origin="generator"
        )

    description = f"SYNTHETIC data, {generator.DESCRIPTION}, seed {generator.SEED}"
    fingerprint = f"generator {generator.VERSION} seed {generator.SEED}"
    return Source("synthetic", description, fingerprint, fill, synthetic=True, notes=notes)


def clear(wish: Wish, symbols: tuple[str, ...], interval: str) -> None:
    """Remove the bars and funding of `symbols` from the catalog."""
    with store.locked(wish.catalog):
        for symbol in symbols:
            store.remove_series(wish.catalog, store.BARS, bar_type_text(symbol, interval))
            store.remove_series(wish.catalog, store.FUNDING, instrument_id_text(symbol))


def _ingest(wish: Wish, symbol: str, klines: list[Path], funding: list[Path]) -> None:
    writer.ingest_klines(klines, catalog=wish.catalog, symbol=symbol, interval=wish.interval, window=wish.window)
    writer.ingest_funding(funding, catalog=wish.catalog, symbol=symbol, window=wish.window)


def _missing(folder: Path, wish: Wish) -> list[Path]:
    return [f for symbol in wish.symbols for f in _files(folder, symbol, wish.interval) if not f.is_file()]


def _files(folder: Path, symbol: str, interval: str) -> tuple[Path, Path]:
    return folder / f"um_klines_{interval}" / f"{symbol}.csv.gz", folder / "um_funding" / f"{symbol}.csv.gz"
