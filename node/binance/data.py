"""The data client: the stock one, but a start that survives a hiccup and a stream gap that is told to someone."""

import asyncio
from typing import Any

import msgspec
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.adapters.binance.futures.data import BinanceFuturesDataClient
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.core.data import Data
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.data.messages import RequestBars
from nautilus_trader.model.data import Bar, BarType, CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId

from node.binance.http import transient
from node.binance.incidents import publish_incident
from node.binance.shared_history import SharedHistory

CONNECT_DELAYS_SECS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to connect; after the last one the error propagates."""
HISTORY_DELAYS_SECS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0)
"""Waits between attempts to fetch history, 76 s in all: longer than the silence after a 429."""


class MarketFrame(Data):
    """
    One message of a market stream as it came, published after the events made of it, if anyone listens.

    Subscribing to it with ``instrument_id`` in the data type's metadata opens the stream of forced orders, for which
    the adapter has no type.

    Parameters
    ----------
    raw : bytes
        The message, ``{"stream": ..., "data": ...}``.
    ts_init : int
        When it arrived, UTC ns.

    """

    def __init__(self, raw: bytes, ts_init: int) -> None:
        self.raw = raw
        self._ts_init = ts_init

    @property
    def ts_event(self) -> int:
        """As `ts_init`: what happened stands in the message."""
        return self._ts_init

    @property
    def ts_init(self) -> int:
        """When it arrived, UTC ns."""
        return self._ts_init


FRAMES = DataType(MarketFrame)
FRAMES_TOPIC = f"data.{FRAMES.topic}"


class ArgonautBinanceFuturesDataClient(BinanceFuturesDataClient):
    """
    Binance USD-M market data with five corrections, and the messages as they came for a recorder.

    * One 5xx or time-out at start does not leave a node that logs RUNNING without instruments.
    * A reconnected market stream publishes the incident ``MARKET_STREAM_GAP``: candles that closed meanwhile are not
      sent again by the venue.
    * A history request that fails, or is answered with nothing, is sent again.
    * History that several strategies ask for at once is fetched once.
    * An answer without an error code does not end the periodic instrument refresh.

    Attributes
    ----------
    market_gaps : int
        Times a market stream was re-established.

    """

    market_gaps: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answered: set[UUID4] = set()
        market: Any = self._http_market
        market.request_binance_bars = SharedHistory(market.request_binance_bars)
        self._ws_handlers["@forceOrder"] = lambda raw: None  # noqa: ARG005 - called by position and by name

    def _handle_ws_message(self, raw: bytes) -> None:
        super()._handle_ws_message(raw)
        # Through the same queue as the events made of it, so that it is heard right behind them.
        if self._msgbus.has_subscribers(FRAMES_TOPIC):
            self._handle_data(CustomData(FRAMES, MarketFrame(raw, self._clock.timestamp_ns())))

    async def _subscribe(self, command: Any) -> None:
        instrument_id: InstrumentId | None = command.data_type.metadata.get("instrument_id")
        if command.data_type.type is not MarketFrame or instrument_id is None:
            await super()._subscribe(command)
            return
        symbol = BinanceSymbol(instrument_id.symbol.value).lower()
        await self._ws_client._subscribe(f"{symbol}@forceOrder")  # noqa: SLF001 - upstream offers no such stream

    async def _unsubscribe(self, command: Any) -> None:
        if command.data_type.type is not MarketFrame:
            await super()._unsubscribe(command)

    async def _connect(self) -> None:
        for delay in CONNECT_DELAYS_SECS:
            try:
                await super()._connect()
            except BinanceError as e:
                if not transient(e):
                    raise
                self._log.warning(f"Connect failed ({e}), trying again in {delay} s")
                await asyncio.sleep(delay)
            else:
                return
        await super()._connect()

    async def _request_bars(self, request: RequestBars) -> None:
        """
        Fetch history, trying again after a failure and after an empty answer.

        Without it a request that failed is never answered, and who asked waits for ever. When the budget is used up
        the incident ``HISTORY_UNAVAILABLE`` says so (**unavailable**); whoever waits decides what that means.
        """
        for delay in (*HISTORY_DELAYS_SECS, None):
            self._answered.discard(request.id)
            try:
                await super()._request_bars(request)
                reason = "no bars in the answer"
            except (BinanceError, OSError, TimeoutError, msgspec.MsgspecError) as e:
                reason = str(e) or type(e).__name__
            if request.id in self._answered:
                self._answered.discard(request.id)
                return
            if delay is None:
                break
            self._log.warning(f"History of {request.bar_type} failed ({reason}), trying again in {delay} s")
            await asyncio.sleep(delay)
        publish_incident(
            self._msgbus,
            self._clock,
            severity="critical",
            code="HISTORY_UNAVAILABLE",
            message=f"history of {request.bar_type} cannot be fetched: {reason}",
            symbol=str(request.bar_type.instrument_id.symbol.value).removesuffix("-PERP"),
        )

    def _handle_bars(self, bar_type: BarType, bars: list[Bar], correlation_id: UUID4, *args: Any) -> None:
        self._answered.add(correlation_id)
        super()._handle_bars(bar_type, bars, correlation_id, *args)

    async def _reconnect(self) -> None:
        self.market_gaps += 1
        publish_incident(
            self._msgbus,
            self._clock,
            severity="warning",
            code="MARKET_STREAM_GAP",
            message="market stream reconnected; candles that closed in the gap were missed",
        )
        await super()._reconnect()

    async def _update_instruments(self, interval_mins: int) -> None:
        while True:
            await asyncio.sleep(interval_mins * 60)
            try:
                await self._instrument_provider.initialize(reload=True)
                self._send_all_instruments_to_data_engine()
            except BinanceError as e:
                self._log.warning(f"Instrument refresh failed, keeping the known ones: {e}")
