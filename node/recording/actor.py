"""
Records what the data client hears, and what it asks for itself, into the segments of :mod:`catalog.recording`.

Heard are the stream messages as they came (:class:`node.binance.data.MarketFrame`), right behind the events the adapter
made of them, so the order of records is the order in which everybody on the bus heard. Asked for are settled funding,
open interest and ratios; they, index prices and forced orders are published as the types of ``catalog.types``.

Writing happens on a thread of its own; the event loop only appends to a bounded queue. Merging a finished day runs as a
process of its own. Error contract: **degraded**: a full disk or queue publishes an incident and never stops trading.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import BarType, DataType
from nautilus_trader.model.identifiers import ClientId, InstrumentId

from catalog.recording import tape
from catalog.recording.events import events_of
from catalog.recording.rows import FUNDING, INTEREST, RATIO_FIELDS, RATIOS
from catalog.recording.segments import MOST_EVENTS, Entry, RecorderLock, SegmentWriter, closed, seal
from catalog.types import CUSTOM
from node.binance.data import FRAMES_TOPIC, MarketFrame
from node.binance.incidents import publish_incident
from node.binance.rest import BinanceRest, VenueRequestError
from strategies.errors import DataError

_FIRST_RETRY_SECS = 0.5
_FAILURES_BEFORE_INCIDENT = 3
_DATA = "/futures/data"
_PERIOD = "5m"
_HISTORY = 12
_CLIENT = ClientId("BINANCE")
_OURS = ("forceOrder", "markPrice")
"""Streams with events that the adapter does not make."""


class MarketRecorderConfig(ActorConfig, frozen=True, kw_only=True):
    """
    Configuration of :class:`MarketRecorder`.

    Attributes
    ----------
    instrument_ids : tuple[InstrumentId, ...]
        What to record.
    bar_types : tuple[BarType, ...]
        Bars to record.
    base_url : str
        Scheme and host of the REST interface; the endpoints are public. Empty: nothing is asked for.
    directory : str
        Segments and tape.
    raw : str
        The raw store that rows go to; empty: none.
    trades, quotes, marks, liquidations : bool
        Streams beside the bars.
    poll_secs : float
        Between two questions for funding, open interest and ratios.
    most_waiting : int
        Records that may wait for the disk.
    segment_bytes : int
        Size of a segment, bytes.
    merge : bool
        Merge finished segments in a process of its own when a new one begins.

    """

    instrument_ids: tuple[InstrumentId, ...]
    bar_types: tuple[BarType, ...] = ()
    base_url: str = ""
    directory: str = "var/recording"
    raw: str = "var/raw"
    trades: bool = True
    quotes: bool = True
    marks: bool = True
    liquidations: bool = True
    poll_secs: float = 60.0
    most_waiting: int = 200_000
    segment_bytes: int = 64 << 20
    merge: bool = True


class MarketRecorder(Actor):
    """Records the market; see the module's docstring."""

    def __init__(self, config: MarketRecorderConfig) -> None:
        super().__init__(config)
        self._root = Path(config.directory)
        self._rest = BinanceRest(config.base_url, get_attempts=2) if config.base_url else None
        self._writer: SegmentWriter | None = None
        self._lock: RecorderLock | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._newest: dict[tuple[str, str], int] = {}
        self._merging: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: str | None = None
        """Why it did not start."""

    @property
    def writer(self) -> SegmentWriter | None:
        """What writes; None before the start and after the stop."""
        return self._writer

    def on_start(self) -> None:
        """Take the directory, subscribe, and begin; a directory that cannot be had is an incident, and `failure`."""
        self._loop = asyncio.get_running_loop()
        config = self.config
        try:
            self._lock = RecorderLock(self._root)
            seal(self._root)
            last = tape.last_entry(self._root)
        except DataError as e:
            self.failure = str(e)
            self._incident("RECORDER_NOT_STARTED", f"nothing is recorded: {e}")
            return
        self._writer = SegmentWriter(
            self._root,
            last,
            most=config.most_waiting,
            segment_bytes=config.segment_bytes,
            tell=self._tell,
            on_closed=self._merge_later,
        )
        self.msgbus.subscribe(FRAMES_TOPIC, self._on_frame)
        for bar_type in config.bar_types:
            self.subscribe_bars(bar_type)
        for instrument_id in config.instrument_ids:
            if config.trades:
                self.subscribe_trade_ticks(instrument_id)
            if config.quotes:
                self.subscribe_quote_ticks(instrument_id)
            if config.marks:
                self.subscribe_mark_prices(instrument_id)
            if config.liquidations:
                self.subscribe_data(DataType(MarketFrame, {"instrument_id": instrument_id}), _CLIENT)
            if self._rest is not None:
                symbol = instrument_id.symbol.value.removesuffix("-PERP")
                self._tasks.append(self._loop.create_task(self._follow(symbol), name=f"recorder:{symbol}"))
        self._merge_later()

    def on_stop(self) -> None:
        """Write what waits and let the directory go."""
        self.msgbus.unsubscribe(FRAMES_TOPIC, self._on_frame)
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        if self._writer is not None:
            if not self._writer.close():
                self.log.error(f"{self._writer.waiting} records could not be written and are lost")
            self._writer = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # -- what is heard -------------------------------------------------------------------------------------------------

    def _on_frame(self, frame: MarketFrame) -> None:
        try:
            message = _FRAME.decode(frame.raw)
        except msgspec.DecodeError:
            return  # answers to subscriptions
        if message.stream.partition("@")[2].startswith("kline_") and b'"x":false' in frame.raw:
            return  # a candle in the making is none
        entry = self._record(message.stream, bytes(message.data), frame.ts_init)
        if entry is not None and message.stream.partition("@")[2].startswith(_OURS):
            self._publish(entry)

    def _record(self, stream: str, message: bytes, arrived_ns: int) -> Entry | None:
        if self._writer is None:
            return None
        return self._writer.put(arrived_ns, stream, message, MOST_EVENTS)

    def _publish(self, entry: Entry) -> None:
        for event in events_of(entry):
            if type(event) in CUSTOM:
                self.publish_data(DataType(type(event)), event)

    # -- what is asked for ---------------------------------------------------------------------------------------------

    async def _follow(self, symbol: str) -> None:
        failures = 0
        try:
            while True:
                try:
                    await self._ask(symbol)
                except (VenueRequestError, KeyError, TypeError, ValueError) as e:
                    failures += 1
                    pause = min(_FIRST_RETRY_SECS * 2 ** (failures - 1), self.config.poll_secs)
                    pause = max(pause, getattr(e, "retry_after_secs", None) or 0.0)
                    self.log.warning(f"Statistics of {symbol} cannot be read ({failures}): {e}")
                    if failures == _FAILURES_BEFORE_INCIDENT:
                        self._incident("RECORDER_POLL_FAILED", f"statistics cannot be read: {e}", symbol)
                else:
                    failures, pause = 0, self.config.poll_secs
                await asyncio.sleep(pause)
        finally:
            if self._rest is not None and asyncio.current_task() not in self._tasks:
                await self._rest.close()

    async def _ask(self, symbol: str) -> None:
        if self._rest is None:
            return
        rows = await self._rest.get("/fapi/v1/fundingRate", {"symbol": symbol, "limit": _HISTORY})
        self._new(symbol, FUNDING, {int(row["fundingTime"]): row for row in rows})
        query: dict[str, str | int] = {"symbol": symbol, "period": _PERIOD, "limit": _HISTORY}
        rows = await self._rest.get(f"{_DATA}/openInterestHist", query)
        self._new(symbol, INTEREST, {int(row["timestamp"]): row for row in rows})
        joined: dict[int, dict[str, Any]] = {}
        for path, (column, field) in RATIO_FIELDS.items():
            for row in await self._rest.get(f"{_DATA}/{path}", query):
                joined.setdefault(int(row["timestamp"]), {"timestamp": int(row["timestamp"])})[column] = row[field]
        # One of the four may be published later than the others: a row waits until it is whole.
        self._new(symbol, RATIOS, {at: row for at, row in joined.items() if len(row) == len(RATIO_FIELDS) + 1})

    def _new(self, symbol: str, what: str, rows: Mapping[int, Mapping[str, Any]]) -> None:
        for at in sorted(rows):
            if at <= self._newest.get((symbol, what), -1):
                continue
            message = msgspec.json.encode(rows[at])
            entry = self._record(f"{symbol.lower()}#{what}", message, self.clock.timestamp_ns())
            self._newest[symbol, what] = at
            if entry is not None:
                self._publish(entry)

    # -- trouble and merging -------------------------------------------------------------------------------------------

    def _tell(self, code: str, message: str) -> None:
        """Runs on either thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._incident, code, message)

    def _incident(self, code: str, message: str, symbol: str | None = None) -> None:
        self.log.warning(message)
        severity = "info" if code == "RECORDER_DISK_OK" else "warning"
        publish_incident(self.msgbus, self.clock, severity=severity, code=code, message=message, symbol=symbol)

    def _merge_later(self) -> None:
        """Merge what is closed, in a process of its own and out of everybody's way; runs on either thread."""
        if (
            not self.config.merge
            or not closed(self._root)
            or (self._merging is not None and self._merging.poll() is None)
        ):
            return
        command = [sys.executable, "-m", "catalog.recorded", "merge", "--gently", "--root", str(self._root)]
        command += ["--raw", self.config.raw] if self.config.raw else ["--no-raw"]
        with contextlib.suppress(OSError):
            self._merging = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


class _Frame(msgspec.Struct):
    stream: str
    data: msgspec.Raw


_FRAME = msgspec.json.Decoder(_Frame)
