"""
What a catalog was built from: ``build.json`` of the catalog, one entry for each raw series.

The catalog is a cache of the raw store. An entry holds the content hash of every raw day and the hash of every file
made of it, so that a build does only what is new, ``--check`` can say what is stale, and a backtest can record which
data set it ran on.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from catalog.store import write_json
from strategies.errors import DataError

FILE = "build.json"
VERSION = 1
"""Of the conversion: raised when the same raw day gives other files, so that everything is made again."""


class Output(msgspec.Struct, frozen=True):
    """A file made of a raw day: path below the catalog, bytes, SHA-256 of them."""

    path: str
    size: int
    sha256: str


class BuiltSeries(msgspec.Struct, frozen=True, kw_only=True):
    """
    A raw series that is in the catalog.

    Attributes
    ----------
    sha256 : str
        Data-set hash: over days and their content hashes, as :func:`catalog.raw.days.dataset_hash` gives it.
    figures : str
        Hash of the instrument's figures the files were made with.
    days : dict of ISO date to str
        The raw days that were taken, with their content hashes.
    files : dict of str to tuple of Output
        Files made of a day (trades, quotes, books) or of a month (everything slower), by ``2025-03-05`` or ``2025-03``.
    whole : tuple of Output
        Files made of all days together (bars, Nautilus's funding).
    others : int
        Rows in `whole` that the raw store lacks: brought by ``catalog.ingest``, repaired or resampled.
    version : int
        `VERSION` of then.

    """

    sha256: str
    figures: str
    days: dict[str, str]
    files: dict[str, tuple[Output, ...]]
    whole: tuple[Output, ...] = ()
    others: int = 0
    version: int = VERSION


class Manifest(msgspec.Struct, frozen=True):
    """All series, by ``kind/symbol[/interval]``."""

    series: dict[str, BuiltSeries] = {}

    @property
    def sha256(self) -> str:
        """One hash for everything that was built."""
        return combined({key: built.sha256 for key, built in self.series.items()})


def combined(hashes: dict[str, str]) -> str:
    """Return one SHA-256 for named hashes, in the order of their names."""
    return hashlib.sha256("\n".join(f"{key} {value}" for key, value in sorted(hashes.items())).encode()).hexdigest()


def key_of(kind: str, symbol: str, interval: str | None) -> str:
    """Return the name of a series."""
    return "/".join(part for part in (kind, symbol, interval) if part)


def read(catalog: Path) -> Manifest:
    """
    Return the catalog's manifest; an empty one when nothing was ever built.

    Raises
    ------
    DataError
        Propagate: the note is damaged.

    """
    file = catalog / FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{file}: damaged: {e}: remove it and run `python -m catalog.build` again") from None


def write(catalog: Path, manifest: Manifest) -> None:
    """Replace the catalog's manifest, beside then renamed."""
    write_json(catalog / FILE, msgspec.to_builtins(manifest) | {"sha256": manifest.sha256})


def output(catalog: Path, file: Path, live: Path | None = None) -> Output:
    """Return the record of a file that stands, or will stand, at `live`."""
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return Output(str((live or file).relative_to(catalog)), file.stat().st_size, digest)


def intact(catalog: Path, made: Output, *, thorough: bool = False) -> bool:
    """Return whether a file is there with its size, or with all its bytes when `thorough`."""
    try:
        if os.stat(catalog / made.path).st_size != made.size:  # noqa: PTH116 - thousands of files
            return False
        return not thorough or output(catalog, catalog / made.path).sha256 == made.sha256
    except OSError:
        return False


def dataset_hash(catalog: Path, symbols: tuple[str, ...], interval: str) -> str:
    """
    Return the hash of the raw data sets a run on these bars and their funding rests on.

    Empty when the catalog's bars were not built from a raw store, or were changed or added to since: then only the
    values themselves identify them (:func:`catalog.reader.data_hash`).

    Raises
    ------
    DataError
        Propagate: the manifest is damaged.

    """
    series = read(catalog).series
    found = {}
    for symbol in symbols:
        for kind, step in (("klines", interval), ("funding", None)):
            built = series.get(key_of(kind, symbol, step))
            if built is None and kind == "funding":
                continue
            if built is None or built.others or not all(intact(catalog, o, thorough=True) for o in built.whole):
                return ""
            found[key_of(kind, symbol, step)] = built.sha256
    return combined(found)
