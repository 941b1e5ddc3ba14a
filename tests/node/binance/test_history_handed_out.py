"""History that several ask for at once is fetched once, and nobody waits for ever."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.data.messages import RequestBars
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.identifiers import ClientId, Venue
from nautilus_trader.model.objects import Price, Quantity

from node.binance import data

KIND = BarType.from_str("BTCUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL")
OTHER = BarType.from_str("ETHUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL")
START = datetime(2025, 9, 1, 0, 5, tzinfo=UTC)
END = datetime(2025, 9, 1, 6, 7, tzinfo=UTC)


def request(kind: BarType = KIND, start: datetime = START, end: datetime = END) -> RequestBars:
    return RequestBars(
        bar_type=kind,
        start=start,
        end=end,
        limit=0,
        client_id=ClientId("BINANCE"),
        venue=Venue("BINANCE"),
        callback=lambda _: None,
        request_id=UUID4(),
        ts_init=0,
        params={},
    )


def bar(kind: BarType, number: int) -> Bar:
    price = Price.from_str(f"{number + 1}.0")
    return Bar(kind, price, price, price, price, Quantity.from_int(1), number, number)


class Market:
    """Answers with three bars, once it is let to."""

    def __init__(self, node: TradingNode) -> None:
        self.client: Any = next(iter(node.kernel.data_engine._clients.values()))
        self.client._http_market = self
        self.queue: Any = node.kernel.data_engine._res_queue
        self.asked: list[BarType] = []
        self.fails = 0
        self.go = asyncio.Event()

    async def request_binance_bars(self, *, bar_type: BarType, **_: Any) -> list[Bar]:
        self.asked.append(bar_type)
        await self.go.wait()
        if self.fails:
            self.fails -= 1
            raise OSError("no route")
        return [bar(bar_type, number) for number in range(3)]

    async def answers(self, *requests: RequestBars) -> dict[UUID4, int]:
        """Return how many bars came in answer to each request."""
        tasks = [asyncio.create_task(self.client._request_bars(r)) for r in requests]
        await asyncio.sleep(0)
        self.go.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        await asyncio.sleep(0)  # what is answered goes through the loop into the engine's queue
        found = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        return {r.correlation_id: len(r.data) for r in found}


@pytest.fixture
def market(built_node: TradingNode, monkeypatch: pytest.MonkeyPatch) -> Market:
    monkeypatch.setattr(data, "HISTORY_DELAYS_SECS", (0.0,))
    return Market(built_node)


async def test_who_asks_for_the_same_candles_meanwhile_is_answered_without_a_fetch(market: Market) -> None:
    first, other = request(), request(OTHER)
    second = request(start=START + timedelta(minutes=3), end=END + timedelta(minutes=3))
    answers = await market.answers(first, second, other)
    assert market.asked == [KIND, OTHER]
    assert answers == {first.id: 3, second.id: 1, other.id: 3}
    assert not market.client._fetching
    assert not market.client._answered


@pytest.mark.parametrize(
    ("start", "end"), [(timedelta(), timedelta(minutes=10)), (timedelta(minutes=-6), timedelta())], ids=["end", "start"]
)
async def test_other_candles_are_fetched(market: Market, start: timedelta, end: timedelta) -> None:
    first, second = request(), request(start=START + start, end=END + end)
    assert await market.answers(first, second) == {first.id: 3, second.id: 3}
    assert market.asked == [KIND, KIND]


async def test_a_later_request_is_fetched_anew(market: Market) -> None:
    first, second = request(), request()
    assert await market.answers(first) == {first.id: 3}
    assert await market.answers(second) == {second.id: 3}
    assert len(market.asked) == 2


async def test_who_waited_in_vain_asks_for_himself(market: Market) -> None:
    market.fails = 2  # all that the first may try
    first, second, third = request(), request(), request()
    assert await market.answers(first, second, third) == {second.id: 3, third.id: 3}


async def test_a_fetch_that_is_cancelled_leaves_nobody_behind(market: Market) -> None:
    first, second = request(), request()
    cancelled = asyncio.create_task(market.client._request_bars(first))
    waiting = asyncio.create_task(market.answers(second))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await waiting == {second.id: 3}
    assert cancelled.cancelled()
