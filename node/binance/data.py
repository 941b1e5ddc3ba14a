"""The data client: the stock one, but a start that survives a hiccup and a stream gap that is told to someone."""

import asyncio

from nautilus_trader.adapters.binance.futures.data import BinanceFuturesDataClient
from nautilus_trader.adapters.binance.http.error import BinanceError

from node.binance.http import transient
from node.binance.incidents import publish_incident

CONNECT_DELAYS_SECS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to connect; after the last one the error propagates."""


class ArgonautBinanceFuturesDataClient(BinanceFuturesDataClient):
    """
    Binance USD-M market data with three corrections.

    * One 5xx or time-out at start does not leave a node that logs RUNNING without instruments.
    * A reconnected market stream publishes the incident ``MARKET_STREAM_GAP``: candles that closed meanwhile are not
      sent again by the venue.
    * An answer without an error code does not end the periodic instrument refresh.

    Attributes
    ----------
    market_gaps : int
        Times a market stream was re-established.

    """

    market_gaps: int = 0

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
