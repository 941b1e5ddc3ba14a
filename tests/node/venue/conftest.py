"""A venue in this process on a real port, and a hand-written signed client: nothing of the code under test signs."""

import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from yarl import URL

from catalog.instruments import load_instruments
from node.venue.app import Server
from node.venue.config import VenueConfig
from node.venue.feed import Bar, Feed
from node.venue.instruments import Instrument, instrument_of
from node.venue.venue import Venue
from strategies.yaml_config import convert

START_MS = 1_756_684_800_000  # 2025-09-01T00:00Z
STEP_MS = 900_000


class SignedClient:
    """The smallest client that signs like a real one."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base
        self.key = "demo"
        self.secret = "demo"

    def sign(self, params: dict[str, Any]) -> str:
        text = urlencode(params)
        return f"{text}&signature={hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()}"

    async def call(self, method: str, path: str, *, signed: bool = True, body: bool = False, **params: Any) -> Any:
        status, answer, _ = await self.full(method, path, signed=signed, body=body, **params)
        assert status == 200, (status, answer)
        return answer

    async def error(self, method: str, path: str, **params: Any) -> int:
        status, answer, _ = await self.full(method, path, **params)
        assert status >= 400, answer
        return answer["code"]

    async def full(
        self, method: str, path: str, *, signed: bool = True, body: bool = False, **params: Any
    ) -> tuple[int, Any, Any]:
        values = {k: v for k, v in params.items() if v is not None}
        if signed:
            values.setdefault("timestamp", int(time.time() * 1000))
        text = self.sign(values) if signed else urlencode(values)
        url = f"{self.base}{path}" + (f"?{text}" if text and not body else "")
        headers = {"X-MBX-APIKEY": self.key}
        data = None
        if body:
            data, headers["Content-Type"] = text, "application/x-www-form-urlencoded"
        # The text that was signed, not one that was encoded again.
        async with self.session.request(method, URL(url, encoded=True), headers=headers, data=data) as response:
            raw = await response.text()
            return response.status, json.loads(raw) if raw.startswith(("{", "[")) else raw, response.headers

    async def order(self, symbol: str, side: str, kind: str, quantity: Any, **more: Any) -> Any:
        return await self.call(
            "POST",
            "/fapi/v1/order",
            symbol=symbol,
            side=side,
            type=kind,
            quantity=quantity,
            newOrderRespType="RESULT",
            **more,
        )

    async def algo(self, symbol: str, side: str, kind: str, **more: Any) -> Any:
        return await self.call(
            "POST",
            "/fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            symbol=symbol,
            side=side,
            type=kind,
            **more,
        )

    async def control(self, action: str, **more: Any) -> Any:
        async with self.session.post(f"{self.base}/argonaut/control", json={"action": action, **more}) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def books(self) -> Any:
        async with self.session.get(f"{self.base}/argonaut/books") as response:
            return await response.json()


class Events:
    """Reads one WebSocket into a list."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seen: list[dict[str, Any]] = []

    async def until(self, condition: Callable[[dict[str, Any]], bool], secs: float = 5.0) -> dict[str, Any]:
        """Return the next message that satisfies `condition`; fails after `secs`."""
        deadline = time.monotonic() + secs
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"not seen within {secs} s; seen: {self.seen}"
            message = json.loads(await self.ws.receive_str(timeout=left))
            self.seen.append(message)
            if condition(message):
                return message


class Running:
    """A running venue with everything a test needs at hand."""

    def __init__(self, server: Server, client: SignedClient, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.venue = server.venue
        self.client = client
        self.session = session
        self.http = server.urls()["http"]
        self.ws = server.urls()["ws"]

    async def user_stream(self, **query: str) -> Events:
        key = (await self.client.call("POST", "/fapi/v1/listenKey", signed=False))["listenKey"]
        text = urlencode({"listenKey": key, **query})
        return Events(await self.session.ws_connect(f"{self.ws}/ws?{text}"))

    async def market_stream(self, *streams: str) -> Events:
        return Events(await self.session.ws_connect(f"{self.ws}/stream?streams={'/'.join(streams)}"))


def make_instruments(config: VenueConfig) -> dict[str, Instrument]:
    specs = load_instruments()
    return {s: instrument_of(specs[s], config.execution) for s in config.data.symbols}


def make_bars(symbol: str, instrument: Instrument, count: int, seed: int) -> list[Bar]:
    """Random bars on the instrument's grid with gaps between close and open."""
    rng = random.Random(f"{symbol}/{seed}")
    price = {"BTCUSDT": 100_000.0, "ETHUSDT": 4_000.0, "XRPUSDT": 2.5}[symbol]
    bars = []
    for n in range(count):
        open_ = price * (1 + rng.choice((0, 0, rng.gauss(0, 0.002))))
        path = [open_ * (1 + rng.gauss(0, 0.004)) for _ in range(4)]
        texts = [Decimal(round(p / float(instrument.tick))) * instrument.tick for p in (open_, *path)]
        bars.append(
            Bar(
                open_ms=START_MS + n * STEP_MS,
                open=texts[0],
                high=max(texts),
                low=min(texts),
                close=texts[-1],
                volume=Decimal(rng.randint(4_000, 9_000)),
            )
        )
        price = float(texts[-1])
    return bars


type StartVenue = Callable[..., Awaitable[Running]]


@asynccontextmanager
async def running_venue(
    tree: dict[str, Any] | None = None,
    bars: dict[str, list[Bar]] | None = None,
    funding: dict[str, list[tuple[int, Decimal]]] | None = None,
    history: int = 0,
) -> AsyncIterator[Running]:
    config = convert(
        {"data": {"symbols": ["XRPUSDT"]}, "replay": {"mark_price_secs": 0}, **(tree or {})}, VenueConfig, "test"
    )
    instruments = make_instruments(config)
    if bars is None:
        bars = {s: make_bars(s, i, 50, 1) for s, i in instruments.items()}
    feed = Feed(instruments, bars, "15m", START_MS + history * STEP_MS, funding or {})
    server = Server(Venue(config, instruments, feed))
    await server.start()
    async with aiohttp.ClientSession() as session:
        try:
            yield Running(server, SignedClient(session, server.urls()["http"]), session)
        finally:
            await server.stop()


@pytest.fixture
async def start_venue() -> AsyncIterator[StartVenue]:
    """Start a venue; it is stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(*args: Any, **kwargs: Any) -> Running:
            return await stack.enter_async_context(running_venue(*args, **kwargs))

        yield start


@pytest.fixture
async def venue(start_venue: StartVenue) -> Running:
    """A venue that holds its first bar, with XRPUSDT only."""
    return await start_venue()
