"""The data client: the stock one, but a start that survives a hiccup and a stream gap that is told to someone."""

import asyncio
from typing import Any

import msgspec
from nautilus_trader.adapters.binance.common.enums import BinanceKlineInterval
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.adapters.binance.futures.data import BinanceFuturesDataClient
from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.core.data import Data
from nautilus_trader.core.datetime import millis_to_nanos
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.data.messages import RequestBars
from nautilus_trader.model.data import Bar, BarType, CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity

from node.binance.http import transient
from node.binance.incidents import publish_incident
from node.binance.shared_history import SharedHistory

CONNECT_DELAYS_SECS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to connect; after the last one the error propagates."""
HISTORY_DELAYS_SECS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0)
"""Waits between attempts to fetch history, 76 s in all: longer than the silence after a 429."""


_KLINE = b"@kline_"
_STREAM_NAME = 64
"""Bytes of a message among which the name of its stream ends."""


class _Candle(msgspec.Struct, gc=False):
    i: str
    T: int
    o: str
    h: str
    l: str  # noqa: E741 - the venue's name of the low
    c: str
    v: str
    x: bool


class _CandleOf(msgspec.Struct, gc=False):
    s: str
    k: _Candle


class _CandleMessage(msgspec.Struct, gc=False):
    data: _CandleOf


_CANDLE = msgspec.json.Decoder(_CandleMessage)


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
    * History that several strategies ask for at once is fetched once, and handed out once.
    * An answer without an error code does not end the periodic instrument refresh.

    A finished candle becomes a bar by the shortest way, and a plain one, as in a backtest: nothing here reads what the
    adapter's own type adds.

    Attributes
    ----------
    market_gaps : int
        Times a market stream was re-established.

    """

    market_gaps: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answered: dict[UUID4, list[Bar]] = {}
        self._fetching: dict[Any, asyncio.Future[list[Bar]]] = {}
        market: Any = self._http_market
        market.request_binance_bars = SharedHistory(market.request_binance_bars)
        self._ws_handlers["@forceOrder"] = lambda raw: None  # noqa: ARG005 - called by position and by name
        self._candle_types: dict[tuple[str, str], BarType] = {}

    def _handle_ws_message(self, raw: bytes) -> None:
        if _KLINE in raw[:_STREAM_NAME]:
            try:
                self._handle_kline(raw)
            except Exception as e:  # noqa: BLE001 - nothing that arrives may stop the stream
                self._log.exception(f"Error handling websocket message {raw!r}", e)
        else:
            super()._handle_ws_message(raw)
        # Through the same queue as the events made of it, so that it is heard right behind them.
        if self._msgbus.has_subscribers(FRAMES_TOPIC):
            self._handle_data(CustomData(FRAMES, MarketFrame(raw, self._clock.timestamp_ns())))

    def _handle_kline(self, raw: bytes) -> None:
        """
        Make a bar of a finished candle.

        Decisions wait for it: upstream reads the message twice and works out the bar's type anew each time.
        """
        candle = _CANDLE.decode(raw).data
        k = candle.k
        if not k.x:
            return
        key = (candle.s, k.i)
        bar_type = self._candle_types.get(key)
        if bar_type is None:
            interval = self._enum_parser.parse_binance_kline_interval_to_bar_spec(BinanceKlineInterval(k.i))
            bar_type = self._candle_types[key] = BarType(self._get_cached_instrument_id(candle.s), interval)
        self._handle_data(
            Bar(
                bar_type,
                Price.from_str(k.o),
                Price.from_str(k.h),
                Price.from_str(k.l),
                Price.from_str(k.c),
                Quantity.from_str(k.v),
                millis_to_nanos(k.T),
                self._clock.timestamp_ns(),
            )
        )

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
        Fetch history, or wait for who fetches the same already.

        Every strategy asks for the context's history, and the engine hands each answer to all who still wait for one:
        without it each of twenty symbols digests ten copies, fetched once though they are (`SharedHistory`). Who has
        waited is answered with the last bar alone.
        """
        key = _same_bars(request)
        fetching = self._fetching.get(key)
        if fetching is not None:
            bars = await asyncio.shield(fetching)
            if bars:
                super()._handle_bars(
                    request.bar_type, bars[-1:], request.id, request.start, request.end, request.params
                )
                return
        fetched = self._fetching[key] = asyncio.get_running_loop().create_future()
        try:
            await self._fetch_bars(request)
        finally:
            if self._fetching.get(key) is fetched:
                del self._fetching[key]
            fetched.set_result(self._answered.pop(request.id, []))

    async def _fetch_bars(self, request: RequestBars) -> None:
        """
        Fetch history, trying again after a failure and after an empty answer.

        Without it a request that failed is never answered, and who asked waits for ever. When the budget is used up
        the incident ``HISTORY_UNAVAILABLE`` says so (**unavailable**); whoever waits decides what that means.
        """
        for delay in (*HISTORY_DELAYS_SECS, None):
            try:
                await super()._request_bars(request)
                reason = "no bars in the answer"
            except (BinanceError, OSError, TimeoutError, msgspec.MsgspecError) as e:
                reason = str(e) or type(e).__name__
            if request.id in self._answered:
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
        self._answered[correlation_id] = bars
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


def _same_bars(request: RequestBars) -> tuple[BarType, int, int]:
    """Return what two requests for the same candles have in common, however far apart within one they begin and end."""
    step = request.bar_type.spec.timedelta.total_seconds()
    return request.bar_type, -int(-request.start.timestamp() // step), int(request.end.timestamp() // step)
