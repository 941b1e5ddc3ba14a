"""
Indicators, features and votes of a symbol's whole history, as a parquet file with one row per bar.

``python -m research.features --catalog DIR --symbol XRPUSDT --interval 15m --out FILE.parquet``

The rows come from the same compiled step that decides in backtest and live trading. Side data is joined by time: closes
of BTC and ETH of the very same bar, and the last funding rate settled strictly before the bar's close.
"""

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from strategies.errors import ConfigError, DataError
from strategies.startup import run_command

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from catalog.reader import BarArrays
    from strategies.kernel.params import CompositeParams

SIGNAL_NAMES = {1.0: "LONG", -1.0: "SHORT", 0.0: "HOLD"}


@dataclass(frozen=True, slots=True)
class SideData:
    """
    What the kernel wants to know of other series, one value per bar, NaN where there is none.

    Attributes
    ----------
    btc_close, eth_close : np.ndarray
        float64, shape (n,): closes of the bar with the same open time.
    funding : np.ndarray
        float64, shape (n,): last rate settled strictly before the bar's close, a fraction.

    """

    btc_close: "npt.NDArray[np.float64]"
    eth_close: "npt.NDArray[np.float64]"
    funding: "npt.NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """
    A symbol's history and what the kernel makes of it.

    Attributes
    ----------
    bars : BarArrays
        The bars, oldest first.
    side : SideData
        What was joined to them.
    rows : np.ndarray
        float64, shape (n, len(COLUMNS)): the kernel's rows.

    """

    bars: "BarArrays"
    side: SideData
    rows: "npt.NDArray[np.float64]"


def load_side_data(
    catalog: Path,
    symbol: str,
    interval: str,
    open_time: "npt.NDArray[np.int64]",
    *,
    btc: str = "BTCUSDT",
    eth: str = "ETHUSDT",
    allow_missing: bool = False,
) -> SideData:
    """
    Join BTC and ETH closes and funding to bars.

    Parameters
    ----------
    catalog : Path
        Catalog directory.
    symbol : str
        Whose funding is meant.
    interval : str
        Such as ``15m``.
    open_time : np.ndarray
        int64, shape (n,): opens of the bars, UTC nanoseconds.
    btc, eth : str
        Symbols of the context series.
    allow_missing : bool
        Leave a series that the catalog lacks empty instead of refusing.

    Raises
    ------
    DataError
        Propagate: the catalog lacks a series; names the command that ingests it.

    """
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    from catalog import store  # noqa: PLC0415 - as above
    from catalog.instruments import bar_type_text, instrument_id_text, interval_ns  # noqa: PLC0415 - as above
    from catalog.reader import load_bars, load_funding  # noqa: PLC0415 - as above

    def left_out(kind: str, identifier: str) -> bool:
        # Only a series that is not there may be left out; a damaged one is refused by the reader in any case.
        return allow_missing and store.series_file(catalog, kind, identifier) is None

    closes = []
    for name in (btc, eth):
        joined = np.full(len(open_time), np.nan)
        if not left_out(store.BARS, bar_type_text(name, interval)):
            other = load_bars(catalog, name, interval)
            joined = join_closes(open_time, other.open_time, other.close)
        closes.append(joined)

    funding = np.full(len(open_time), np.nan)
    if not left_out(store.FUNDING, instrument_id_text(symbol)):
        settled = load_funding(catalog, symbol)
        funding = join_funding(open_time + interval_ns(interval), settled.time, settled.rate)
    return SideData(closes[0], closes[1], funding)


def join_closes(
    open_time: "npt.NDArray[np.int64]", other_time: "npt.NDArray[np.int64]", close: "npt.NDArray[np.float64]"
) -> "npt.NDArray[np.float64]":
    """Return, per bar, the close of the other series' bar with the same open time; NaN where it has none."""
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    joined = np.full(len(open_time), np.nan)
    if len(other_time):
        at = np.minimum(np.searchsorted(other_time, open_time), len(other_time) - 1)
        same = other_time[at] == open_time
        joined[same] = close[at[same]]
    return joined


def join_funding(
    close_time: "npt.NDArray[np.int64]", settled: "npt.NDArray[np.int64]", rate: "npt.NDArray[np.float64]"
) -> "npt.NDArray[np.float64]":
    """Return, per bar, the last rate settled strictly before its close; NaN before the first."""
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    funding = np.full(len(close_time), np.nan)
    at = np.searchsorted(settled, close_time, side="left") - 1
    funding[at >= 0] = rate[at[at >= 0]]
    return funding


def build_features(
    catalog: Path,
    symbol: str,
    interval: str,
    params: "CompositeParams",
    *,
    btc: str = "BTCUSDT",
    eth: str = "ETHUSDT",
    start_ns: int | None = None,
    end_ns: int | None = None,
    allow_missing: bool = False,
) -> FeatureTable:
    """
    Return the rows of the bars that open in ``[start_ns, end_ns)``; bars before `start_ns` warm the kernel up.

    Open interest is not in the catalog yet: the three features made of it are NaN.

    Raises
    ------
    DataError
        Propagate: a series is missing, the range is empty, or a stored value is unusable; names the remedy.

    """
    from dataclasses import fields  # noqa: PLC0415 - used here only

    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    from catalog.reader import BarArrays, load_bars  # noqa: PLC0415 - as above
    from strategies.kernel.composite import run_batch  # noqa: PLC0415 - as above

    load_bars(catalog, symbol, interval, start_ns, end_ns)  # an empty range is refused in the reader's words
    bars = load_bars(catalog, symbol, interval, None, end_ns)
    side = load_side_data(catalog, symbol, interval, bars.open_time, btc=btc, eth=eth, allow_missing=allow_missing)
    try:
        rows = run_batch(
            params,
            {
                "open": bars.open,
                "high": bars.high,
                "low": bars.low,
                "close": bars.close,
                "volume": bars.volume,
                "btc_close": side.btc_close,
                "eth_close": side.eth_close,
                "funding": side.funding,
            },
        )
    except ValueError as e:
        raise DataError(f"{catalog}: {symbol} {interval}: {e}; ingest the series again") from None
    first = 0 if start_ns is None else int(np.searchsorted(bars.open_time, start_ns))
    return FeatureTable(
        BarArrays(**{f.name: getattr(bars, f.name)[first:] for f in fields(bars)}),
        SideData(**{f.name: getattr(side, f.name)[first:] for f in fields(side)}),
        rows[first:],
    )


def to_arrow(table: FeatureTable, metadata: dict[str, str]) -> "pa.Table":
    """
    Return the table as written to the file.

    Columns: ``open_time`` (UTC, ns), ``open`` to ``volume``, the 14 indicators under the golden names, the features not
    among them, ``macd_hist_pct``, ``score_long``, ``score_short`` (int64) and ``signal`` (LONG, SHORT, HOLD).
    """
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports
    import pyarrow as pa  # noqa: PLC0415 - as above

    from strategies.kernel.columns import COLUMNS  # noqa: PLC0415 - as above

    columns = {"open_time": pa.array(table.bars.open_time, pa.timestamp("ns", tz="UTC"))}
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = pa.array(getattr(table.bars, name))
    for i, name in enumerate(COLUMNS):
        values = table.rows[:, i]
        if name == "signal":
            columns[name] = pa.array([SIGNAL_NAMES[v] for v in values.tolist()], pa.string())
        elif name.startswith("score_"):
            columns[name] = pa.array(values.astype(np.int64))
        else:
            columns[name] = pa.array(values)  # NaN stays NaN: it is the kernel's own word for "not known"
    return pa.table(columns).replace_schema_metadata(metadata)


def write_parquet(table: "pa.Table", path: Path) -> None:
    """
    Write beside the target, then rename: whoever looks meets the old file or the complete new one.

    Raises
    ------
    DataError
        Propagate: the directory cannot be written.

    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - `--help` answers before this import

    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as e:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {e.strerror or e}") from None


def _time_ns(text: str, option: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} is not a date or time such as 2025-09-01 or 2025-09-01T08:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m research.features", description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--catalog", type=Path, default=Path("var/catalog"), help="catalog directory (var/catalog)")
    parser.add_argument("--symbol", required=True, help="venue symbol, such as XRPUSDT")
    parser.add_argument("--interval", default="15m", help="bar interval (15m)")
    parser.add_argument("--out", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--params", type=Path, help="YAML with parameters of the vote (default: the production set)")
    parser.add_argument("--start", help="first bar open, ISO-8601; bars before it still warm the kernel up")
    parser.add_argument("--end", help="bar open to stop before, ISO-8601")
    parser.add_argument("--btc", default="BTCUSDT", help="symbol of the first context series (BTCUSDT)")
    parser.add_argument("--eth", default="ETHUSDT", help="symbol of the second context series (ETHUSDT)")
    parser.add_argument(
        "--require-context",
        action="store_true",
        help="refuse when the catalog lacks BTC, ETH or funding (default: their features stay empty, and this is said)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` replace those of the command line."""
    given = _arguments(arguments)
    start_ns = _time_ns(given.start, "--start") if given.start else None
    end_ns = _time_ns(given.end, "--end") if given.end else None

    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    from strategies.kernel.columns import FEATURE_SCHEMA, column_index  # noqa: PLC0415 - as above
    from strategies.kernel.params import CompositeParams  # noqa: PLC0415 - as above
    from strategies.params_file import load_params, params_dict  # noqa: PLC0415 - as above

    params = load_params(given.params, given.symbol) if given.params else CompositeParams()
    table = build_features(
        given.catalog,
        given.symbol,
        given.interval,
        params,
        btc=given.btc,
        eth=given.eth,
        start_ns=start_ns,
        end_ns=end_ns,
        allow_missing=not given.require_context,
    )
    metadata = {
        "argonaut.symbol": given.symbol,
        "argonaut.interval": given.interval,
        "argonaut.params": json.dumps(params_dict(params), sort_keys=True),
        "argonaut.feature_schema": FEATURE_SCHEMA,
    }
    write_parquet(to_arrow(table, metadata), given.out)

    signal = table.rows[:, column_index("votes", "signal")]
    missing = {
        given.btc: table.side.btc_close,
        given.eth: table.side.eth_close,
        "funding": table.side.funding,
    }
    gaps = ", ".join(f"{name} missing on {int(np.isnan(v).sum())}" for name, v in missing.items() if np.isnan(v).any())
    print(  # noqa: T201 - the command's answer
        f"{given.out}: {len(signal)} bars of {given.symbol} {given.interval}, "
        f"{int((signal > 0).sum())} LONG, {int((signal < 0).sum())} SHORT" + (f"; {gaps}" if gaps else "")
    )
    return 0


if __name__ == "__main__":
    run_command(main)
