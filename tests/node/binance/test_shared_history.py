"""Twenty strategies that read the same context at a start cost as much as one."""

import asyncio
from typing import Any

import pytest

from node.binance.shared_history import SharedHistory

MINUTE = 60_000


class Venue:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.fails = False

    async def bars(self, **request: Any) -> list[int]:
        self.asked.append(request)
        await self.open.wait()
        if self.fails:
            raise OSError("reset")
        return [1, 2, 3]


def ask(shared: SharedHistory, bar_type: str = "BTC-15m", start: int = 0, end: int = 10 * MINUTE) -> asyncio.Task[Any]:
    return asyncio.ensure_future(
        shared(bar_type=bar_type, interval="15m", start_time=start, end_time=end, limit=None)  # type: ignore[arg-type]
    )


async def test_the_same_bars_are_fetched_once_for_all_who_ask_meanwhile() -> None:
    venue = Venue()
    shared = SharedHistory(venue.bars)
    asking = [
        ask(shared, start=1 + n, end=10 * MINUTE + n) for n in range(20)
    ]  # each a little later than the one before
    await asyncio.sleep(0)
    venue.open.set()
    answers = await asyncio.gather(*asking)
    assert [r["limit"] for r in venue.asked] == [1500]
    assert answers == [[1, 2, 3]] * 20
    assert len({id(a) for a in answers}) == 20, "nobody can change what another one reads"
    await ask(shared, start=1, end=10 * MINUTE)
    assert len(venue.asked) == 2, "what has arrived is not kept: it would be old"


async def test_other_bars_are_other_requests() -> None:
    venue = Venue()
    shared = SharedHistory(venue.bars)
    venue.open.set()
    await asyncio.gather(
        ask(shared),
        ask(shared, bar_type="ETH-15m"),
        ask(shared, start=1),  # the candle that opens at 0 is not wanted
        ask(shared, end=11 * MINUTE),
    )
    assert len(venue.asked) == 4


async def test_a_failure_is_everybodys_and_the_next_question_is_asked_anew() -> None:
    venue = Venue()
    shared = SharedHistory(venue.bars)
    venue.fails = True
    asking = [ask(shared), ask(shared)]
    await asyncio.sleep(0)
    venue.open.set()
    for task in asking:
        with pytest.raises(OSError, match="reset"):
            await task
    venue.fails = False
    assert await ask(shared) == [1, 2, 3]
    assert len(venue.asked) == 2


async def test_one_who_goes_away_does_not_take_the_answer_from_the_others() -> None:
    venue = Venue()
    shared = SharedHistory(venue.bars)
    first, second = ask(shared), ask(shared)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    venue.open.set()
    assert await second == [1, 2, 3]
    assert len(venue.asked) == 1
