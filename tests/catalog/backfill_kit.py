"""A venue in a thread whose market reaches up to now, and what must be in a store that was filled from it."""

import asyncio
import json
import random
import threading
import time
import urllib.request
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any, Self

from catalog.instruments import load_instruments
from node.venue.app import Server
from node.venue.config import VenueConfig
from node.venue.feed import Bar, Feed
from node.venue.instruments import instrument_of
from node.venue.venue import Venue
from strategies.yaml_config import convert

STEP_MS = 300_000
DAY_MS = 86_400_000


class VenueThread:
    """
    A real venue on a real port with 5-minute bars up to now.

    Parameters
    ----------
    days : int
        Whole days of bars before today.
    hole : tuple of int
        Bars of the market that do not exist (an outage): index from, to.
    unfinished : bool
        Serve the candle in the making as well, as the exchange does.

    """

    def __init__(
        self,
        days: int,
        *,
        symbols: tuple[str, ...] = ("XRPUSDT",),
        hole: tuple[int, int] = (0, 0),
        unfinished: bool = False,
        **tree: Any,
    ) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.start_ms = (self.now_ms // DAY_MS - days) * DAY_MS
        config = convert(
            {"data": {"symbols": list(symbols), "interval": "5m"}, "replay": {"mark_price_secs": 0}, **tree},
            VenueConfig,
            "test",
        )
        specs = load_instruments()
        self.instruments = {s: instrument_of(specs[s], config.execution) for s in symbols}
        count = (self.now_ms - self.start_ms) // STEP_MS + unfinished
        self.bars = {s: self._make(s, count, hole) for s in symbols}
        settlements = range(self.start_ms, self.now_ms, 8 * 3_600_000)
        funding = {s: [(t, Decimal(f"0.0001{i % 90:02d}")) for i, t in enumerate(settlements)] for s in symbols}
        feed = Feed(self.instruments, self.bars, "5m", self.now_ms + DAY_MS, funding)
        self.server = Server(Venue(config, self.instruments, feed))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def _make(self, symbol: str, count: int, hole: tuple[int, int]) -> list[Bar]:
        source, tick = random.Random(symbol), self.instruments[symbol].tick
        price = {"BTCUSDT": 1_000_000, "ETHUSDT": 400_000}.get(symbol, 25_000)
        found = []
        for n in range(count):
            four = [price + source.randint(-30, 30) for _ in range(4)]
            price = four[-1]
            if not hole[0] <= n < hole[1]:
                texts = [tick * x for x in (four[0], max(four), min(four), four[-1])]
                found.append(Bar(self.start_ms + n * STEP_MS, *texts, Decimal(source.randint(1_000, 9_000))))
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self.server.start())
        self.url = self.server.urls()["http"]
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def control(self, action: str, **more: Any) -> Any:
        body = json.dumps({"action": action, **more}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own venue
            f"{self.url}/argonaut/control", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own venue
            return json.load(answer)

    def asked(self, path: str) -> int:
        return self.server.venue.books.counters[f"GET {path}"]
