"""
The instruments' figures a catalog was built with: ``<root>/instruments/<symbol>.parquet``, Nautilus's own table.

Bars cannot be built again to the byte without their digits, nor a backtest repeated without tick, minimum notional and
fees: a catalog that is deleted and built again takes these, not those of `config/instruments.yaml`. The build that came
last says what is kept.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import store
from catalog.instruments import instrument_id_text
from strategies.errors import DataError

FOLDER = "instruments"


def absent(root: Path, catalog: Path, symbols: tuple[str, ...] = ()) -> list[str]:
    """Return the symbols whose figures are kept and not in the catalog; `symbols` empty means all."""
    kept = sorted(file.stem for file in (root / FOLDER).glob("*.parquet"))
    return [s for s in kept if (not symbols or s in symbols) and not _live(catalog, s).exists()]


def restore(root: Path, catalog: Path, symbols: Iterable[str]) -> None:
    """
    Bring kept figures into the catalog; the caller holds its lock.

    Raises
    ------
    DataError
        Propagate: a file is damaged, the catalog cannot be written.

    """
    for symbol in sorted(symbols):
        table = read(root, symbol)
        if table is not None:
            store.write_series(catalog, store.INSTRUMENTS, instrument_id_text(symbol), table)


def keep(root: Path, catalog: Path, symbols: Iterable[str]) -> None:
    """
    Keep the catalog's figures beside the raw rows, where they changed; the caller holds the catalog's lock.

    Degraded: a raw store that may only be read keeps none.

    Raises
    ------
    DataError
        Propagate: the catalog's figures are damaged.

    """
    for symbol in sorted(symbols):
        table = store.read_table(catalog, store.INSTRUMENTS, instrument_id_text(symbol))
        if table is None:
            continue
        try:
            known = read(root, symbol)
        except DataError:
            known = None  # what is damaged is written anew
        if known is not None and known.equals(table, check_metadata=True):
            continue
        file = _file(root, symbol)
        beside = file.with_name(f".{symbol}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, beside)
            store.sync(beside)
            beside.replace(file)
            store.sync(file.parent)
        except OSError:
            return


def read(root: Path, symbol: str) -> pa.Table | None:
    """
    Return the figures kept for a symbol, None when there are none.

    Raises
    ------
    DataError
        Propagate: the file is damaged.

    """
    file = _file(root, symbol)
    if not file.exists():
        return None
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read()
    except (OSError, pa.ArrowInvalid) as e:
        raise DataError(
            f"{file}: damaged: {e}; remove it, and give the figures with --instruments to build again"
        ) from None


def _file(root: Path, symbol: str) -> Path:
    return root / FOLDER / f"{symbol}.parquet"


def _live(catalog: Path, symbol: str) -> Path:
    return store.series_path(catalog, store.INSTRUMENTS, instrument_id_text(symbol))
