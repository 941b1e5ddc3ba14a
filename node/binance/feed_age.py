"""When the market streams last said something: candles in the making arrive several times a second."""

import time
from typing import Any

from node.binance.data import ArgonautBinanceFuturesDataClient


class FeedAge:
    """
    Notes the arrival of every market message of a built node.

    Parameters
    ----------
    engine : LiveDataEngine
        Of a node that has not connected yet.

    """

    def __init__(self, engine: Any) -> None:
        self._last: float | None = None
        for client in engine._clients.values():  # noqa: SLF001 - upstream offers no accessor
            if isinstance(client, ArgonautBinanceFuturesDataClient):
                for stream in (client._ws_client, client._ws_public_client):  # noqa: SLF001 - upstream offers no accessor
                    self._watch(stream)

    def secs(self) -> float | None:
        """Return seconds since the last message; None before the first."""
        return None if self._last is None else time.monotonic() - self._last

    def _watch(self, stream: Any) -> None:
        handle = stream._handler  # noqa: SLF001 - upstream offers no accessor

        def noted(raw: bytes) -> None:
            self._last = time.monotonic()
            handle(raw)

        stream._handler = noted  # noqa: SLF001 - upstream offers no accessor
