"""
The demonstration's market data: ``python -m catalog.sample --catalog DIR`` fills a catalog and says from where.

The order is `$ARGONAUT_DATA`, `../shared/data` beside the repository, the exchange's public archive, the seeded
generator. What was taken is written down in the catalog, so that every later command can label what it prints: figures
on generated data carry the word SYNTHETIC. A catalog holds one source: when another is to be taken, the sample is
rebuilt; data that somebody brought in by other means is never removed.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from strategies.errors import DataError
from strategies.startup import run_command

if TYPE_CHECKING:
    from catalog import sample_sources

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
INTERVAL = "15m"
START, END = "2025-03-05T00:00:00Z", "2025-10-01T00:00:00Z"
"""The window, ``[START, END)`` on the bar's open time."""
SOURCES = ("auto", "env", "shared", "archive", "synthetic")

_RECORD, _LOCK = "sample.json", ".sample.lock"


class SampleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a catalog's sample is and where it came from.

    Attributes
    ----------
    source : str
        ``env``, ``shared``, ``archive`` or ``synthetic``.
    description : str
        One line for people.
    synthetic : bool
        True: made by the generator; every output must say so.
    symbols : tuple[str, ...]
    interval : str
    start, end : str
        ISO-8601 UTC; bars open in ``[start, end)``.
    bars : dict[str, int]
        Number of bars by symbol.
    data_hash : str
        SHA-256 of bars and funding in the window (:func:`catalog.reader.data_hash`).
    bars_hash : dict[str, str]
        SHA-256 of the bars in the window by symbol: tells whether the catalog still holds them.
    fingerprint : str
        Identity of the source: changes when its files change.
    notes : tuple[str, ...]
        Sources that were tried before and why they were not taken.

    """

    source: str
    description: str
    synthetic: bool
    symbols: tuple[str, ...]
    interval: str
    start: str
    end: str
    fingerprint: str
    bars: dict[str, int] = {}
    bars_hash: dict[str, str] = {}
    data_hash: str = ""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``SYNTHETIC`` or ``REAL``, to stand beside every figure."""
        return "SYNTHETIC" if self.synthetic else "REAL"


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    state: Literal["preparing", "complete"]
    info: SampleInfo


def describe(catalog: Path) -> SampleInfo | None:
    """
    Return what the catalog's sample is, None when the catalog was not filled by this module.

    Raises
    ------
    DataError
        Fail closed: the preparation was interrupted, or the note is damaged.

    """
    record = _read(catalog)
    if record is not None and record.state != "complete":
        raise DataError(
            f"{catalog}: the preparation of the sample was interrupted: "
            f"run `python -m catalog.sample --catalog {catalog}`"
        )
    return record.info if record else None


def prepare(
    catalog: Path,
    *,
    symbols: Sequence[str] = SYMBOLS,
    interval: str = INTERVAL,
    source: str = "auto",
    window: tuple[str, str] = (START, END),
    environment: Mapping[str, str] | None = None,
    shared: Path | None = None,
    base_url: str | None = None,
) -> SampleInfo:
    """
    Fill the catalog with the sample unless it holds it already, and return what it is.

    Parameters
    ----------
    catalog : Path
        Directory; created.
    symbols, interval
        What to bring.
    source : str
        One of `SOURCES`; ``auto`` takes the first that is there. With ``auto`` a sample that is already in the catalog
        stays unless a source that comes earlier in the order is on this machine.
    window : tuple[str, str]
        ISO-8601 UTC start and end; bars open in ``[start, end)``.
    environment : Mapping[str, str], optional
        Where `ARGONAUT_DATA` is looked up; default: the process's.
    shared, base_url : optional
        Instead of `../shared/data` and of the public archive.

    Raises
    ------
    DataError
        Propagate: the source asked for is not usable, a file is refused, or the catalog holds data of other origin.

    """
    from catalog import archive, sample_sources, store  # noqa: PLC0415 - commands answer --help before this import

    if source not in SOURCES:
        raise DataError(f"source {source!r} is not known: use one of {', '.join(SOURCES)}")
    wish = sample_sources.Wish(
        catalog=catalog,
        symbols=tuple(dict.fromkeys(symbols)),
        interval=interval,
        window=(_to_ns(window[0]), _to_ns(window[1])),
        environment=os.environ if environment is None else environment,
        shared=shared or sample_sources.SHARED,
        base_url=base_url or archive.BASE_URL,
    )
    with store.flocked(catalog / _LOCK, wait_seconds=600.0):
        record = _read(catalog)
        kept = record.info if record is not None and _intact(catalog, record) else None
        if kept is None:
            _refuse_foreign(catalog, record, wish.symbols, interval)
        matches = kept is not None and (kept.symbols, kept.interval, kept.start, kept.end) == (
            wish.symbols,
            interval,
            *window,
        )
        chosen = sample_sources.choose(source, wish, kept=matches)
        if chosen is None or (
            kept is not None and matches and (kept.source, kept.fingerprint) == (chosen.name, chosen.fingerprint)
        ):
            return cast("SampleInfo", kept)  # choose() answers None only when told that a sample may stay
        _refuse_foreign(catalog, record, wish.symbols, interval)
        return _fill(wish, chosen, record, window)


def _fill(
    wish: "sample_sources.Wish", chosen: "sample_sources.Source", record: _Record | None, window: tuple[str, str]
) -> SampleInfo:
    from catalog import reader, sample_sources, store  # noqa: PLC0415 - commands answer --help before this import

    catalog = wish.catalog
    info = SampleInfo(
        source=chosen.name,
        description=chosen.description,
        synthetic=chosen.synthetic,
        symbols=wish.symbols,
        interval=wish.interval,
        start=window[0],
        end=window[1],
        fingerprint=chosen.fingerprint,
        notes=chosen.notes,
    )
    note = catalog / _RECORD
    # The note names every series this module owns here, so that a run after a kill knows what it may remove.
    owned = tuple(dict.fromkeys((*wish.symbols, *(record.info.symbols if record else ()))))
    store.write_json(
        note, msgspec.to_builtins(_Record(state="preparing", info=msgspec.structs.replace(info, symbols=owned)))
    )
    if record is not None:
        sample_sources.clear(wish, record.info.symbols, record.info.interval)
    sample_sources.clear(wish, wish.symbols, wish.interval)
    for symbol in wish.symbols:
        chosen.fill(symbol)
    info = msgspec.structs.replace(
        info,
        bars={symbol: reader.coverage(catalog, symbol, wish.interval)[2] for symbol in wish.symbols},
        data_hash=reader.data_hash(catalog, wish.symbols, wish.interval, *wish.window),
        bars_hash={symbol: _bars_hash(catalog, symbol, info) for symbol in wish.symbols},
    )
    store.write_json(note, msgspec.to_builtins(_Record(state="complete", info=info)))
    return info


def _intact(catalog: Path, record: _Record) -> bool:
    if record.state != "complete":
        return False
    from catalog import reader  # noqa: PLC0415 - commands answer --help before this import

    info = record.info
    try:
        for symbol in info.symbols:
            reader.load_funding(catalog, symbol)
        return all(_bars_hash(catalog, symbol, info) == info.bars_hash[symbol] for symbol in info.symbols)
    except DataError:
        return False


def _bars_hash(catalog: Path, symbol: str, info: SampleInfo) -> str:
    from catalog import reader  # noqa: PLC0415 - commands answer --help before this import

    bars = reader.load_bars(catalog, symbol, info.interval, _to_ns(info.start), _to_ns(info.end))
    digest = hashlib.sha256()
    for column in (bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume):
        digest.update(column.tobytes())
    return digest.hexdigest()


def _refuse_foreign(catalog: Path, record: _Record | None, symbols: tuple[str, ...], interval: str) -> None:
    """Refuse to rebuild over bars that this module did not bring, or that were changed or added to since."""
    from catalog import store  # noqa: PLC0415 - commands answer --help before this import
    from catalog.instruments import bar_type_text  # noqa: PLC0415 - as above

    own = set() if record is None else {(symbol, record.info.interval) for symbol in record.info.symbols}
    for symbol, step in own | {(symbol, interval) for symbol in symbols}:
        if not store.series_path(catalog, store.BARS, bar_type_text(symbol, step)).exists():
            continue
        if record is not None and (symbol, step) in own and _removable(catalog, symbol, record):
            continue
        raise DataError(
            f"{catalog}: holds {symbol} {step} bars that did not come with the sample: "
            "choose another directory with --catalog, or remove this one"
        )


def _removable(catalog: Path, symbol: str, record: _Record) -> bool:
    from catalog import reader  # noqa: PLC0415 - commands answer --help before this import

    info = record.info
    if record.state == "preparing":
        return True
    try:
        whole = reader.coverage(catalog, symbol, info.interval)[2] == info.bars[symbol]
        return whole and _bars_hash(catalog, symbol, info) == info.bars_hash[symbol]
    except DataError:
        return False


def _read(catalog: Path) -> _Record | None:
    file = catalog / _RECORD
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{file}: damaged: {e}: remove {catalog} and run the command again") from None


def _to_ns(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{text!r} is not an ISO-8601 time, for example {START}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m catalog.sample", description="Fill a catalog with the demonstration's market data."
    )
    parser.add_argument("--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (%(default)s)")
    parser.add_argument(
        "--source", choices=SOURCES, default="auto", help="where from (%(default)s: the first there is)"
    )
    parser.add_argument("--symbols", nargs="+", default=list(SYMBOLS), metavar="SYMBOL", help="default: all three")
    parser.add_argument("--interval", default=INTERVAL, help="bar length (%(default)s)")
    parser.add_argument("--start", default=START, help="first bar opens at or after (%(default)s)")
    parser.add_argument("--end", default=END, help="last bar opens before (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    options = _parser().parse_args(arguments)
    info = prepare(
        options.catalog,
        symbols=options.symbols,
        interval=options.interval,
        source=options.source,
        window=(options.start, options.end),
    )
    if options.json:
        sys.stdout.write(json.dumps({**msgspec.to_builtins(info), "label": info.label}) + "\n")
        return 0
    for note in info.notes:
        sys.stdout.write(f"sample: {note}\n")
    sys.stdout.write(f"sample: {info.description}\n")
    counts = ", ".join(f"{symbol} {count}" for symbol, count in info.bars.items())
    sys.stdout.write(f"sample: {info.interval} bars {counts}; {info.start} to {info.end}; {options.catalog}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
