"""
History that several strategies ask for at the same time is fetched once.

Every strategy reads the context instruments' history at its start: with twenty of them the same candles would be paid
for twenty times, out of the request weight that protection needs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

_PAGE = 1500
_MINUTE_MS = 60_000
"""No kline of the exchange is shorter: two requests whose ends lie in the same minute have the same answer."""

type Fetch = Callable[..., Awaitable[list[Any]]]


class SharedHistory:
    """
    Stands in for ``request_binance_bars``: whoever asks while the same bars are on their way waits for that answer.

    A page holds as many candles as the exchange gives: pages of 500, its default, cost twice as much. Nothing is kept
    once it has arrived. A failure is everybody's: each asks again as it would have alone.

    Parameters
    ----------
    fetch : Callable
        ``request_binance_bars`` itself; called with the keywords of the first request.

    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._under_way: dict[Any, asyncio.Task[list[Any]]] = {}

    async def __call__(self, **request: Any) -> list[Any]:
        """Return the bars; errors propagate."""
        request["limit"] = request.get("limit") or _PAGE
        key = _key(**request)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._fetch(**request))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return list(await asyncio.shield(task))  # one who goes away must not take the answer from the others


def _key(
    *,
    bar_type: Any,
    interval: Any,
    start_time: int | None = None,
    end_time: int | None = None,
    limit: int | None = None,
) -> Any:
    first = None if start_time is None else -(-start_time // _MINUTE_MS)
    last = None if end_time is None else end_time // _MINUTE_MS
    return bar_type, interval, first, last, limit
