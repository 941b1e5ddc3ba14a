"""Part of ``bench_live_latency.py``: a catalog with twenty symbols, all but three made up."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import yaml

from catalog import tables
from catalog.generator import generate
from catalog.instruments import InstrumentFile, load_instruments
from catalog.writer import ingest_instruments, put_series

CONTEXT = ("BTCUSDT", "ETHUSDT")
_NANOS = 1_000_000_000


def twenty_symbols(catalog: Path, instruments: Path, start: str, end: str) -> list[str]:
    """
    Fill a catalog with bars of twenty symbols that open in ``[start, end)``; return the symbols.

    Parameters
    ----------
    catalog : Path
        Where to.
    instruments : Path
        Receives their figures, for the venue's ``data.instruments``.
    start, end : str
        UTC dates.

    """
    known = load_instruments()
    made = {f"SYN{number:02d}USDT": f"SYN{number:02d}" for number in range(18)}
    specs = {s: known[s] for s in CONTEXT} | {
        s: msgspec.structs.replace(known["XRPUSDT"], symbol=s, base=base) for s, base in made.items()
    }
    file = InstrumentFile(captured="2025-03-01T00:00:00Z", source="made up for a benchmark", instruments=specs)
    instruments.write_text(yaml.safe_dump(msgspec.to_builtins(file)))
    ingest_instruments([instruments], catalog=catalog)
    first, last = (int(datetime.fromisoformat(d).replace(tzinfo=UTC).timestamp()) * _NANOS for d in (start, end))
    for number, symbol in enumerate(specs):
        model = symbol if symbol in CONTEXT else "XRPUSDT"
        bars, funding = generate([tables.grid_of(known[model])], "15m", first, last, seed=number)[model]
        put_series(bars, funding, catalog=catalog, symbol=symbol, interval="15m", origin="generator")
    return list(specs)
