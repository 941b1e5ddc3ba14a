"""
Any market-data file as raw columns, tolerantly: what ingestion would refuse is read here so that it can be named.

CSV (plain, gzip, zip, with or without header), parquet, feather, REST answers as JSON, websocket recordings.
"""

import csv
import hashlib
import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catalog.csv_files import KLINE_COLUMNS, unit_of
from catalog.packed import gunzipped, unzipped
from catalog.quality.findings import Finding, Floats, Int64s, Kind, Mask, Severity, Where
from catalog.quality.kinds import Columns
from catalog.quality.row_checks import to_ns
from catalog.quality.rows import PRICES, Rows
from catalog.raw.kinds import KINDS, Column
from strategies.errors import DataError

TIMES = ("open_time", "opentime", "calc_time", "transact_time", "create_time", "timestamp", "date", "datetime", "time")
_SYMBOL = re.compile(r"(?<![A-Z0-9])([A-Z0-9]{2,15}?)_?(USDT|USDC|BUSD)(?:_USDT)?(?![A-Z0-9])")
_INTERVAL = re.compile(r"(?<![0-9A-Za-z])(1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d)(?![0-9A-Za-z])")
_WORDS = {
    "aggtrades": "agg_trades",
    "bookticker": "book_ticker",
    "bookdepth": "book_depth",
    "metrics": "metrics",
    "liquidation": "liquidations",
    "fundingrate": "funding",
    "klines": "klines",
    "trades": "trades",
}
_FEW = 20
_ORDER = (
    *("agg_trades", "book_snapshots", "book_ticker", "book_depth", "liquidations", "trades"),
    *("metrics", "ratios", "open_interest"),
)
_MESSAGE = re.compile(rb"^(\d{16,19}|\d{9,10}\.\d+):? (\{.*)$")


@dataclass(frozen=True, slots=True)
class RawFile:
    """
    A file as it is.

    Attributes
    ----------
    path : Path
        For messages.
    kind : str
        ``bars``, ``mark``, ``funding``, ``figures``, ``trades``, ``messages`` or ``other``.
    symbol, interval : str
        As name or content tell; empty when they do not.
    frame : pandas.DataFrame
        Columns as text or numbers; empty for ``messages`` and ``other``.
    messages : list of (receive time ns, message)
        For ``messages``.
    note : str
        What it is, for a person.
    raw_kind : str
        Key of :data:`catalog.raw.kinds.KINDS`; empty for candles, funding and what the raw store does not take.

    """

    path: Path
    kind: str
    symbol: str
    interval: str
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    messages: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    note: str = ""
    raw_kind: str = ""

    @property
    def where(self) -> Where:
        """The maker of findings about this file."""
        return Where(self.symbol, self.interval, self.path.name)

    def times(self, name: str | None = None) -> tuple[Int64s, list[Finding]]:
        """Return a time column (default: the first known one) in UTC ns, and findings about its unit."""
        column = self.frame[name or time_column(self.frame)]
        if pd.api.types.is_datetime64_any_dtype(column):
            moments = pd.to_datetime(column, utc=True)
            return moments.to_numpy(dtype="datetime64[ns]").astype(np.int64), []
        numbers = pd.to_numeric(column, errors="coerce")
        whole = (numbers.notna() & (numbers.abs() < 2**63) & (numbers % 1 == 0)).to_numpy(dtype=bool)
        if whole.all():
            return to_ns(numbers.to_numpy().astype(np.int64), self.where)
        if whole.mean() > 0.5:
            self._refuse_time(column, ~whole)
        moments = pd.to_datetime(column.astype(str), utc=True, errors="coerce", format="ISO8601")
        self._refuse_time(column, moments.isna().to_numpy())
        return moments.to_numpy(dtype="datetime64[ns]").astype(np.int64), []

    def _refuse_time(self, column: pd.Series, wrong: Mask) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            reason = f"{str(column.iloc[row])[:40]!r} is not a time"
            remedy = "use Unix time or ISO-8601 in UTC, or remove the row"
            raise DataError(f"{self.path}: row {row + 1}: {column.name}: {reason}: {remedy}")

    def strange(self) -> list[Finding]:
        """Return findings about cells that are no numbers and rows that are of another symbol."""
        return self._strange_cells() + self._strange_symbols()

    def _strange_cells(self) -> list[Finding]:
        """Return findings about cells that should be numbers and are not (empty ones have findings of their own)."""
        known = {"ignore", "symbol", *TIMES} | {c.name for k in KINDS.values() for c in k.columns if c.form == "text"}
        figures = {
            c.name for k in KINDS.values() for c in k.columns if c.form in ("integer", "price", "amount", "wide")
        }
        findings = []
        for name in figures.intersection(map(str, self.frame.columns)) - known:
            column = self.frame[name]
            if pd.api.types.is_numeric_dtype(column):
                continue
            strange = (column.notna() & pd.to_numeric(column, errors="coerce").isna()).to_numpy(dtype=bool)
            if strange.any():
                row = int(np.argmax(strange))
                text = f"{name}: {str(column.iloc[row])[:40]!r} in row {row + 1} is not a number"
                remedy = "correct the rows: digits and a point, no separators of thousands"
                findings.append(self.where.whole(Kind.NOT_A_NUMBER, Severity.ERROR, int(strange.sum()), text, remedy))
        return findings

    def _strange_symbols(self) -> list[Finding]:
        """Return a finding when the symbol column names another symbol than the file, or several."""
        if "symbol" not in self.frame.columns or not len(self.frame):
            return []
        named = self.frame["symbol"].astype(str)
        usual = self.symbol or str(named.mode().iloc[0])
        other = (named != usual).to_numpy(dtype=bool)
        if not other.any():
            return []
        row = int(np.argmax(other))
        text = f"row {row + 1} is of {named.iloc[row]}, the file of {usual}"
        return [self.where.whole(Kind.OTHER_MARKET, Severity.ERROR, int(other.sum()), text, "remove the rows")]

    def floats(self, name: str) -> Floats:
        """Return a column as float64, NaN where it is not a number."""
        return pd.to_numeric(self.frame[name], errors="coerce").to_numpy(dtype=np.float64)

    def columns(self) -> tuple[Columns, list[Finding]]:
        """Return the file as columns of its raw kind, and findings about its times."""
        kind = KINDS[self.raw_kind]
        there = {_plain(str(name)): str(name) for name in self.frame.columns}
        values: dict[str, Floats] = {}
        texts: dict[str, Any] = {}
        time, findings = self.times(_named(kind.columns[0], there))
        for column in kind.columns[1:]:
            name = _named(column, there)
            if name is None:
                continue
            if column.form == "text":
                texts[column.name] = self.frame[name].astype(str).to_numpy()
            elif column.form == "flag":
                text = self.frame[name].astype(str).str.strip().str.lower()
                flags = text.map({"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0})
                values[column.name] = np.asarray(flags.to_numpy(), dtype=np.float64)
            else:
                values[column.name] = self.floats(name)
        if kind.name in ("metrics", "open_interest", "ratios"):  # whatever else stands there is a figure too
            used = {_named(column, there) for column in kind.columns} | {"symbol"}
            values |= {str(n): self.floats(str(n)) for n in self.frame.columns if n not in used and n not in TIMES}
        return Columns(kind.name, time, values, texts), findings

    def rows(self) -> tuple[Rows, list[Finding]]:
        """Return the file as bars, and findings about its times."""
        time, findings = self.times()
        close_time = None
        if "close_time" in self.frame:
            close_time, _ = self.times("close_time")
        known = {time_column(self.frame), *PRICES, "volume", "close_time", "symbol", "ignore"}
        extra = {
            str(name): values
            for name in self.frame.columns
            if name not in known and np.isfinite(values := self.floats(name)).any() | (self.frame[name].dtype != object)
        }
        nothing = np.full(len(time), np.nan)
        volume = self.floats("volume") if "volume" in self.frame else nothing
        o, h, low, c = (self.floats(name) for name in PRICES)
        return Rows(time, o, h, low, c, volume, close_time, extra), findings


def time_column(frame: pd.DataFrame) -> str:
    """Return the name of the time column; raises DataError when there is none."""
    for name in TIMES:
        if name in frame.columns:
            return name
    raise DataError(f"no time column among {', '.join(map(str, frame.columns))[:200]}: name it open_time or timestamp")


def read_raw(path: Path, *, symbol: str = "", interval: str = "") -> RawFile:
    """
    Return `path` as raw columns; `symbol` and `interval` override what its name tells.

    Raises
    ------
    DataError
        Propagate: it cannot be opened as anything known; names the reason and the remedy.

    """
    symbol, interval = symbol or _symbol_of(path), interval or _interval_of(path)
    try:
        _refuse_checksum(path)
        if path.suffix in (".parquet", ".feather"):
            frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_feather(path)
            return _classified(path, frame.reset_index() if frame.index.name else frame, symbol, interval)
        content = _content(path)
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as e:
        text = " ".join(str(e).split())[:120]
        raise DataError(f"{path}: cannot be read: {text}: damaged or cut; download it again") from None
    head = content.lstrip()[:1]
    if path.suffix in (".json", ".txt", ".headers") or head in (b"[", b"{"):
        read = _json(path, content, symbol, interval)
        if read.kind == "other" and path.name.lower().endswith((".csv", ".csv.gz", ".zip")):
            raise DataError(
                f"{path}: not a table but {read.note}: {content[:80].decode('utf-8', errors='replace').strip()}: an "
                "error that was saved as a file? download it again"
            )
        return read
    if re.fullmatch(rb"\s*[0-9a-fA-F]{64}\s+\S+\s*", content):
        return RawFile(path, "other", symbol, interval, note="checksum")
    if content.lstrip()[:4] == b"http":
        return RawFile(path, "other", symbol, interval, note="HTTP answers, recorded")
    messages = _messages(content)
    if messages:
        return RawFile(path, "messages", symbol, interval, messages=messages, note="websocket recording")
    try:
        frame = _csv(content, path.name)
    except (ValueError, pd.errors.ParserError) as e:
        raise DataError(f"{path}: not a table: {' '.join(str(e).split())[:120]}: is this market data?") from None
    return _classified(path, frame, symbol, interval)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        return gunzipped(path, content)
    if content[:2] == b"PK":
        return unzipped(path, content)
    if path.suffix in (".gz", ".zip"):
        raise ValueError(f"not a {path.suffix[1:]} archive")
    return content


def _bare(frame: pd.DataFrame, name: str) -> tuple[str, ...]:
    """Return the columns of a table without header: by the file's name, else the kind whose time column holds times."""
    count, word = len(frame.columns), re.sub(r"[^a-z]", "", name.lower())
    named = [kind for key, kind in _WORDS.items() if key in word]
    kinds = [KINDS[kind] for kind in named[:1]] + [KINDS[kind] for kind in ("klines", "funding", *_ORDER)]
    for kind in kinds:
        order = kind.bare.get(count)
        if order is None:
            continue
        first = frame.iloc[0, order.index(kind.columns[0].name)]
        moment = pd.to_numeric(pd.Series([first]), errors="coerce").iloc[0]
        if pd.isna(moment):
            moment = pd.to_datetime(pd.Series([first]), errors="coerce", utc=True).iloc[0]
            if not pd.isna(moment):
                return order
        elif unit_of(int(moment)) is not None:
            return order
    likely = [*named[:1], "klines", "funding", "agg_trades"]
    order = next((KINDS[kind].bare[count] for kind in likely if count in KINDS[kind].bare), None)
    if order is None:
        raise ValueError(f"{count} columns without a header")
    return order


def _csv(content: bytes, name: str) -> pd.DataFrame:
    first = content[:4096].decode("utf-8", errors="replace").splitlines()[:1]
    if not first or not first[0].strip():
        raise ValueError("the file is empty")
    if "," not in first[0]:
        if re.search(r"[;\t|]", first[0]):
            raise ValueError("columns are not separated by commas: save the file as comma-separated")
        raise ValueError(f"line 1 is no row of columns: {first[0][:60]!r}")
    bare = re.match(r"\s*\"?[+-]?\d", first[0]) is not None
    frame = pd.read_csv(io.BytesIO(content), header=None if bare else 0, low_memory=False)
    if bare:
        frame.columns = pd.Index(_bare(frame, name))
    frame.columns = pd.Index([str(name).strip().lower() for name in frame.columns])
    if not bare:
        named = [cell.strip().lower() for cell in next(csv.reader(first)) if cell.strip()]
        twice = next((cell for cell in named if named.count(cell) > 1), None)
        if twice is not None:
            raise ValueError(f"line 1: two columns are named {twice}: name each column once")
    _refuse_short(content, frame)
    return frame


def _refuse_short(content: bytes, frame: pd.DataFrame) -> None:
    """Raise ValueError for the first row with fewer columns than the others, which pandas fills up silently."""
    last = frame.iloc[:, -1].isna()
    if not last.any():
        return
    for cells in (reader := csv.reader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""))):
        if cells and len(cells) < len(frame.columns):
            reason = f"{len(cells)} columns, {len(frame.columns)} expected"
            raise ValueError(f"line {reader.line_num}: {reason}: the row is cut or damaged")


def _classified(path: Path, frame: pd.DataFrame, symbol: str, interval: str) -> RawFile:
    frame.columns = pd.Index([str(name).lower() for name in frame.columns])
    names = set(frame.columns)
    funding = {"last_funding_rate", "funding_rate", "fundingrate"} & names
    if "funding" in path.name and set(PRICES) <= names:
        frame, funding, names = frame.rename(columns={"open": "last_funding_rate"}), {"last_funding_rate"}, set()
    if set(PRICES) <= names:
        kind = _candle_kind(path, frame)
        if kind == "premium_klines":
            return RawFile(path, kind, symbol, interval, frame, raw_kind=kind)
    elif {"first_update_id", "last_update_id", "side", "price"} <= names:
        kind = "book updates"
    elif funding and len(frame.columns) <= 8:
        kind = "funding"
        frame = frame.rename(columns={next(iter(funding)): "last_funding_rate"})
    elif (known := _raw_kind(names)) is not None:
        what: str = "figures" if known in ("metrics", "open_interest", "ratios") else known
        return RawFile(path, what, symbol or _one_symbol(frame), interval, frame, raw_kind=known)
    else:
        return RawFile(path, "other", symbol, interval, frame, note="table: " + ", ".join(list(frame.columns)[:4]))
    return RawFile(path, kind, symbol, interval, frame)


def _candle_kind(path: Path, frame: pd.DataFrame) -> str:
    """Tell candles of trades from those of mark, index and premium prices, which carry a volume of zero or none."""
    name, folders = path.name.lower(), {part.lower() for part in path.parts[:-1]}
    if "premium" in name or "premiumindexklines" in folders:
        return "premium_klines"
    other = re.search(r"mark(?!et)|index_?price", name) or folders & {"markpriceklines", "indexpriceklines"}
    if "volume" not in frame.columns or other:
        return "mark"
    numbers = frame[[*PRICES, "volume"]].apply(pd.to_numeric, errors="coerce")
    if "count" in frame.columns and (pd.to_numeric(frame["count"], errors="coerce") == 0).all():
        return "bars"  # the exchange counts the changes of a mark price there
    if len(frame) < _FEW or (numbers["volume"] != 0).any() or (numbers["high"] == numbers["low"]).mean() > 0.5:
        return "bars"
    return "premium_klines" if (numbers["low"] < 0).any() else "mark"


def _refuse_checksum(path: Path) -> None:
    """Raise DataError when the exchange's checksum lies beside a file and does not match."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if not beside.is_file():
        return
    words = beside.read_text(encoding="ascii", errors="replace").split()
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if not words or words[0].lower() != digest:
        raise DataError(f"{path}: the checksum in {beside.name} does not match: damaged or cut; download it again")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _named(column: Column, there: dict[str, str]) -> str | None:
    return next((there[n] for n in (column.name.replace("_", ""), *column.aliases) if n in there), None)


def _raw_kind(names: set[str]) -> str | None:
    """Return the data type whose columns are there, None when none has all it needs."""
    there = {_plain(name): name for name in names}
    for name in _ORDER:
        kind = KINDS[name]
        found = {column.name for column in kind.columns if _named(column, there) is not None}
        needed = {column.name for column in kind.columns if column.needed}
        wanted = kind.name != "metrics" or {"sum_open_interest", "count_long_short_ratio"} <= found
        if needed <= found and wanted and (not kind.at_least_one or found & set(kind.at_least_one)):
            return name
    return None


def _one_symbol(frame: pd.DataFrame) -> str:
    if "symbol" not in frame.columns:
        return ""
    named = frame["symbol"].dropna().astype(str).unique()
    return str(named[0]) if len(named) == 1 else ""


def _json(path: Path, content: bytes, symbol: str, interval: str) -> RawFile:
    try:
        data = json.loads(content)
    except ValueError:
        first = content[:200].decode("utf-8", errors="replace").splitlines()
        note = "text, not JSON: " + (first[0][:60] if first else "empty")
        return RawFile(path, "other", symbol, interval, note=note)
    if isinstance(data, list) and data and isinstance(data[0], list) and len(data[0]) == len(KLINE_COLUMNS):
        frame = pd.DataFrame(data, columns=pd.Index(KLINE_COLUMNS))
        kind = _candle_kind(path, frame)
        return RawFile(path, kind, symbol, interval, frame, raw_kind=kind if kind == "premium_klines" else "")
    if isinstance(data, list) and data and isinstance(data[0], dict) and "fundingRate" in data[0]:
        frame = pd.DataFrame(data).rename(columns={"fundingTime": "calc_time", "fundingRate": "last_funding_rate"})
        return RawFile(path, "funding", symbol or str(data[0].get("symbol", "")), interval, frame)
    if isinstance(data, dict) and isinstance(data.get("symbols"), list):
        states: dict[str, int] = {}
        for item in data["symbols"]:
            if isinstance(item, dict):
                states[str(item.get("status"))] = states.get(str(item.get("status")), 0) + 1
        note = "exchangeInfo: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return RawFile(path, "other", symbol, interval, note=note)
    what = f"list of {len(data)}" if isinstance(data, list) else "object"
    return RawFile(path, "other", symbol, interval, note=f"JSON {what}")


def _messages(content: bytes) -> list[tuple[int, dict[str, Any]]]:
    result = []
    for line in content.splitlines():
        found = _MESSAGE.match(line)
        if found is None:
            continue
        try:
            message = json.loads(found[2])
        except ValueError:
            continue
        stamp = found[1]
        received = int(float(stamp) * 1_000_000) * 1_000 if b"." in stamp else int(stamp)
        if isinstance(message, dict):
            result.append((received, message))
    return result


def _symbol_of(path: Path) -> str:
    found = _SYMBOL.search(path.name.upper().replace("COMBINED", ""))
    return found[1] + found[2] if found else ""


def _interval_of(path: Path) -> str:
    found = _INTERVAL.search(path.name.replace("_", " ")) or _INTERVAL.search(path.parent.name.replace("_", " "))
    return found[1] if found else ""
