"""
The line to the exchange whose market is mirrored: public REST and streams, reconnected for ever, without any key.

Errors: at start whatever is missing is **fatal**, in one line; later a lost line is **degraded**: the venue stays up,
its prices stand still, and what closed meanwhile is fetched and walked before the streams go on.
"""

import asyncio
import sys
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import aiohttp
import msgspec

from node.binance.rest import BinanceRest, VenueRequestError
from node.paper.config import PaperConfig
from node.paper.market import Mirror, Row, bar_of
from node.venue.feed import Bar
from node.venue.instruments import Instrument
from strategies.errors import ConfigError, VenueError

_PAGE = 1_500
_FUNDING_ROWS = 100
_FIRST_PAUSE_SECS = 0.5
_LAST_PAUSE_SECS = 30.0


def upstream_of(config: PaperConfig) -> "Upstream":
    """Return the exchange of a configuration: the named addresses, else Binance's own, from the adapter's tables."""
    from nautilus_trader.adapters.binance.common.enums import (  # noqa: PLC0415 - tests with addresses need no engine
        BinanceAccountType,
        BinanceEnvironment,
    )
    from nautilus_trader.adapters.binance.common.urls import (  # noqa: PLC0415
        get_http_base_url,
        get_ws_base_url,
        get_ws_public_base_url,
    )

    kind, live = BinanceAccountType.USDT_FUTURES, BinanceEnvironment.LIVE
    http = config.upstream.http or get_http_base_url(kind, live, is_us=False)
    market = config.upstream.ws or get_ws_base_url(kind, live, is_us=False)
    public = config.upstream.ws or get_ws_public_base_url(kind, live, is_us=False)
    return Upstream(config, http, market, public)


class Upstream:
    """
    The exchange's public side.

    Parameters
    ----------
    config : PaperConfig
        What to mirror.
    http, market_ws, public_ws : str
        Base URLs of REST, of the streams with trades and candles, and of those with quotes.

    """

    def __init__(self, config: PaperConfig, http: str, market_ws: str, public_ws: str) -> None:
        self._config = config
        self._rest = BinanceRest(http, timeout_secs=config.upstream.timeout_secs)
        self._http = http
        lines: dict[str, list[str]] = {}
        for symbol in config.symbols:
            name = symbol.lower()
            lines.setdefault(market_ws, []).extend(
                [f"{name}@aggTrade", f"{name}@kline_{config.interval}", f"{name}@markPrice@1s"]
            )
            lines.setdefault(public_ws, []).append(f"{name}@bookTicker")
        self._lines = lines
        self._tasks: list[asyncio.Task[None]] = []
        self._marks: dict[str, Decimal] = {}
        self.connected = 0
        """Times a line was established."""

    # -- at start ------------------------------------------------------------------------------------------------------

    async def check_instruments(self, instruments: dict[str, Instrument]) -> None:
        """
        Compare ticks and steps with the exchange's.

        Raises
        ------
        ConfigError, VenueError
            Fatal: they differ, a symbol is not traded, or the exchange does not answer.

        """
        rows = {r["symbol"]: r for r in (await self._get("/fapi/v1/exchangeInfo"))["symbols"]}
        for symbol, instrument in instruments.items():
            row = rows.get(symbol)
            if row is None:
                raise ConfigError(f"symbols: {symbol} is not traded at {self._http}")
            filters = {f["filterType"]: f for f in row["filters"]}
            theirs = (Decimal(filters["PRICE_FILTER"]["tickSize"]), Decimal(filters["LOT_SIZE"]["stepSize"]))
            if theirs != (instrument.tick, instrument.step):
                raise ConfigError(
                    f"{symbol}: tick and step are {theirs[0]} and {theirs[1]} at {self._http}, here {instrument.tick} "
                    f"and {instrument.step}: bring config/instruments.yaml up to date (python -m catalog.ingest)"
                )

    async def history(self, symbol: str) -> list[Bar]:
        """Return the newest finished bars, ascending. Raises VenueError (fatal)."""
        query = {"symbol": symbol, "interval": self._config.interval, "limit": self._config.history_bars + 1}
        rows = await self._get("/fapi/v1/klines", query)
        now = int((await self._get("/fapi/v1/time"))["serverTime"])
        bars = [bar_of(row) for row in rows if int(row[6]) < now]
        if not bars:
            raise VenueError(f"{self._http}: no {self._config.interval} candles of {symbol}")
        return bars

    async def settlements(self, symbol: str) -> list[tuple[int, Decimal]]:
        """Return the newest settlements, ascending. Raises VenueError (fatal)."""
        rows = await self._get("/fapi/v1/fundingRate", {"symbol": symbol, "limit": _FUNDING_ROWS})
        return sorted((int(r["fundingTime"]), Decimal(r["fundingRate"])) for r in rows)

    async def price(self, symbol: str) -> Decimal:
        """Return the last traded price. Raises VenueError (fatal)."""
        return Decimal((await self._get("/fapi/v1/ticker/price", {"symbol": symbol}))["price"])

    async def _get(self, path: str, parameters: dict[str, Any] | None = None) -> Any:
        try:
            return await self._rest.get(path, parameters)
        except VenueRequestError as e:
            raise VenueError(f"{self._http}: {e}") from None

    async def _finished(self, symbol: str, start_ms: int) -> list[Row]:
        """Return the finished klines that open at or after `start_ms`; the one in the making is left out."""
        found: list[Row] = []
        while True:
            query: dict[str, str | int] = {
                "symbol": symbol,
                "interval": self._config.interval,
                "limit": _PAGE,
                "startTime": start_ms,
            }
            page = await self._rest.get("/fapi/v1/klines", query)
            server = int((await self._rest.get("/fapi/v1/time"))["serverTime"])
            found += [row for row in page if int(row[6]) < server]
            if len(page) < _PAGE:
                return found
            start_ms = int(page[-1][0]) + 1

    # -- afterwards ----------------------------------------------------------------------------------------------------

    def start(self, mirror: Mirror, newest: dict[str, int]) -> None:
        """Mirror from now on; `newest` is the open time of the newest known bar by symbol, kept up to date here."""
        self._tasks = [
            asyncio.create_task(self._line(base, streams, mirror, newest)) for base, streams in self._lines.items()
        ]
        self._tasks.append(asyncio.create_task(self._funding(mirror)))

    async def stop(self) -> None:
        """End all lines."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._rest.close()

    async def _line(self, base: str, streams: list[str], mirror: Mirror, newest: dict[str, int]) -> None:
        pause = _FIRST_PAUSE_SECS
        url = f"{base.rstrip('/')}/stream?streams={'/'.join(streams)}"
        while True:
            try:
                async with aiohttp.ClientSession() as session, session.ws_connect(url, heartbeat=15.0) as socket:
                    # Connected before the history is read: what closes in between comes both ways, and once is enough.
                    if any("@kline_" in s for s in streams):
                        await self._fill_gap(mirror, newest)
                    self.connected += 1
                    pause = _FIRST_PAUSE_SECS
                    await self._listen(socket, mirror, newest)
            except (aiohttp.ClientError, OSError, TimeoutError, VenueRequestError) as e:
                self._say(f"line to {base} lost ({e or type(e).__name__}), again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE_SECS)

    async def _listen(self, socket: Any, mirror: Mirror, newest: dict[str, int]) -> None:
        while True:
            message = await asyncio.wait_for(socket.receive(), self._config.upstream.silence_secs)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise aiohttp.ClientConnectionError("closed by the exchange")
            try:
                body = msgspec.json.decode(message.data)
                data = body["data"]
                if data.get("e") == "markPriceUpdate":
                    self._marks[data["s"]] = Decimal(data["p"])
                mirror.on_message(body["stream"], data)
                if data.get("e") == "kline" and data["k"]["x"]:
                    newest[data["s"]] = max(newest.get(data["s"], 0), int(data["k"]["t"]))
            except (msgspec.DecodeError, KeyError, TypeError, InvalidOperation) as e:
                self._say(f"a message that could not be read was left out: {e!r}")

    async def _fill_gap(self, mirror: Mirror, newest: dict[str, int]) -> None:
        for symbol in self._config.symbols:
            rows = await self._finished(symbol, newest.get(symbol, 0) + 1)
            walked = mirror.catch_up(symbol, [bar_of(row) for row in rows])
            if rows:
                newest[symbol] = max(newest.get(symbol, 0), int(rows[-1][0]))
            if walked and self.connected:
                self._say(f"{symbol}: {walked} candles closed while the line was down")

    async def _funding(self, mirror: Mirror) -> None:
        while True:
            await asyncio.sleep(self._config.upstream.funding_poll_secs)
            for symbol in self._config.symbols:
                try:
                    for at, rate in await self.settlements(symbol):
                        mirror.settle(symbol, at, rate, self._marks.get(symbol))
                except (VenueError, KeyError, TypeError, InvalidOperation) as e:
                    self._say(f"{symbol}: funding could not be read: {e}")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"paper: {text}\n")
