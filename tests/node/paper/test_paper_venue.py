"""
The paper venue as a process, mirroring another instance of our venue that plays the public exchange.

Prices, candles and funding come from there; orders, fills and wallet are the paper account's own and survive kill -9.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node.binance.rest import BinanceRest

REPOSITORY = Path(__file__).parents[3]
DEADLINE_SECS = 20.0
FIRST_OPEN_MS = 1_756_684_800_000  # 2025-09-01T00:00Z
STEP_MS = 900_000
BARS = 400


@pytest.fixture(scope="module")
def quiet_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XRPUSDT at rest around 2.0000; one bar of those to come dips to 1.8000."""
    directory = tmp_path_factory.mktemp("paper-catalog")
    rows = []
    for i in range(BARS):
        price, low = f"{2 + (i % 5) / 1000:.4f}", "1.8000" if i == 303 else "1.9960"
        rows.append(f"{FIRST_OPEN_MS + i * STEP_MS},{price},2.0060,{low},{price},1000.0")
    (directory / "klines.csv").write_text("\n".join(rows) + "\n")
    times = [FIRST_OPEN_MS + i * 8 * 3_600_000 for i in range(BARS // 32 + 1)]
    (directory / "funding.csv").write_text(
        "calc_time,last_funding_rate\n" + "".join(f"{t},0.00010000\n" for t in times)
    )
    catalog = directory / "catalog"
    for kind, extra in (("klines", ("--interval", "15m")), ("funding", ())):
        command = [sys.executable, "-m", "catalog.ingest", kind, "--symbol", "XRPUSDT", *extra]
        command += ["--from", str(directory / f"{kind}.csv"), "--catalog", str(catalog)]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return catalog


class Door:
    """A venue process, simulated or paper, with its control interface."""

    def __init__(self, module: str, file: Path, *arguments: str) -> None:
        self._command = [sys.executable, "-m", module, "--config", str(file), *arguments]
        self._stderr = file.with_suffix(".stderr")
        self.urls: dict[str, str] = {}

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.PIPE,
            stderr=self._stderr.open("ab"),
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECS):
            line = await self.process.stdout.readline()
        assert line, self._stderr.read_text()
        self.urls = json.loads(line)

    async def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_SECS):
            return await self.process.wait()

    async def books(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.urls['control']}/books") as answer:
            return dict(await answer.json())

    async def control(self, action: str, **parameters: Any) -> None:
        body = {"action": action, **parameters}
        async with aiohttp.ClientSession() as http, http.post(f"{self.urls['control']}/control", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECS
        while not condition(books := await self.books()):
            assert asyncio.get_running_loop().time() < deadline, json.dumps(books, indent=1)[-3000:]
            await asyncio.sleep(0.02)
        return books

    def rest(self) -> BinanceRest:
        return BinanceRest(self.urls["http"], "demo", "demo")


@pytest.fixture
async def exchange(quiet_catalog: Path, tmp_path: Path) -> AsyncIterator[Door]:
    """Our venue in the exchange's part; its replay waits until the test moves it."""
    file = tmp_path / "exchange.yaml"
    data = {"catalog": str(quiet_catalog), "symbols": ["XRPUSDT"], "history_bars": 300, "start": "2025-09-04T03:00:00Z"}
    file.write_text(json.dumps({"data": data, "replay": {"mark_price_secs": 1}}))
    door = Door("node.venue", file)
    await door.start()
    yield door
    await door.end(signal.SIGKILL)


@pytest.fixture
async def paper(exchange: Door, tmp_path: Path) -> AsyncIterator[Door]:
    file = tmp_path / "paper.yaml"
    file.write_text(
        json.dumps(
            {
                "upstream": {"http": exchange.urls["http"], "ws": exchange.urls["ws"], "funding_poll_secs": 0.2},
                "symbols": ["XRPUSDT"],
                "history_bars": 200,
                "state": str(tmp_path / "state" / "paper.json"),
            }
        )
    )
    door = Door("node.paper", file)
    await door.start()
    yield door
    await door.end(signal.SIGKILL)


async def enter_and_protect(paper: Door) -> None:
    """Buy 100 at the market, with a stop at 1.9000."""
    async with paper.rest() as rest:
        order = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}
        await rest.post("/fapi/v1/order", {**order, "newClientOrderId": "entry-1"})
        stop = {"symbol": "XRPUSDT", "side": "SELL", "type": "STOP_MARKET", "quantity": "100"}
        stop |= {"algoType": "CONDITIONAL", "triggerPrice": "1.9000", "reduceOnly": "true", "clientAlgoId": "stop-1"}
        await rest.post("/fapi/v1/algoOrder", stop)


def net(books: dict[str, Any]) -> Decimal:
    return Decimal(books["positions"]["XRPUSDT"]["quantity"])


async def listening(exchange: Door) -> None:
    """Wait until the paper venue's line to the exchange is up: the exchange counts its subscriptions."""
    async with asyncio.timeout(DEADLINE_SECS):
        while True:
            # The gap is read after the line is up, so its second time request says that it is.
            counters = (await exchange.books())["counters"]
            if counters.get("GET /fapi/v1/time", 0) >= 2:
                return
            await asyncio.sleep(0.02)


async def test_the_exchange_moves_the_price_and_the_order_is_ours(exchange: Door, paper: Door) -> None:
    await listening(exchange)
    await enter_and_protect(paper)
    books = await paper.books()
    assert net(books) == 100
    assert (await exchange.books())["fills"] == []  # nothing of ours reaches the exchange
    entry = books["fills"][0]
    await exchange.control("price", symbol="XRPUSDT", price="1.8990")
    books = await paper.until(lambda b: net(b) == 0)
    fills = books["fills"]
    assert [f["price"] for f in fills] == [entry["price"], "1.9000"]
    assert fills[1]["algo_id"]


async def test_candles_funding_and_quotes_are_handed_on(exchange: Door, paper: Door) -> None:
    await listening(exchange)
    await enter_and_protect(paper)
    streams = "xrpusdt@kline_15m/xrpusdt@markPrice@1s/xrpusdt@bookTicker/xrpusdt@aggTrade"
    seen: dict[str, list[dict[str, Any]]] = {}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{paper.urls['ws']}/stream?streams={streams}") as socket,
        paper.rest() as rest,
        exchange.rest() as public,
    ):
        await exchange.control("step", count=2)
        async with asyncio.timeout(DEADLINE_SECS):
            while set(seen) != {"kline", "markPriceUpdate", "bookTicker", "aggTrade"} or len(seen["kline"]) < 2:
                data = (await socket.receive_json())["data"]
                seen.setdefault(data["e"], []).append(data)
        query = {"symbol": "XRPUSDT", "interval": "15m", "limit": 20}
        ours, theirs = await rest.get("/fapi/v1/klines", query), await public.get("/fapi/v1/klines", query)
        assert [row[:6] for row in ours] == [row[:6] for row in theirs]
        assert [k["k"]["t"] for k in seen["kline"]] == [row[0] for row in ours[-2:]]
    before = len((await paper.books())["funding"])
    await exchange.control("step", count=30)  # over the next settlement at 08:00
    books = await paper.until(lambda b: len(b["funding"]) > before or net(b) == 0)
    stopped_first = net(books) == 0 and len(books["funding"]) == before
    assert stopped_first or Decimal(books["funding_total"]) < 0  # a long pays a positive rate


async def test_the_account_survives_kill_and_what_was_passed_meanwhile_is_hit(exchange: Door, paper: Door) -> None:
    await listening(exchange)
    await enter_and_protect(paper)
    before = await paper.books()
    await paper.end(signal.SIGKILL)
    await paper.start()
    after = await paper.books()
    for key in ("session", "wallet", "start_balance", "positions", "open_algo_orders", "fills"):
        assert after[key] == before[key], key
    await paper.end(signal.SIGKILL)
    await exchange.control("step", count=5)  # one of these bars dips to 1.8000
    await paper.start()
    books = await paper.books()
    assert net(books) == 0
    assert books["fills"][-1]["price"] == "1.9000"
    async with paper.rest() as rest:  # ids go on where they were
        order = {"symbol": "XRPUSDT", "side": "BUY", "type": "MARKET", "quantity": "100"}
        placed = await rest.post("/fapi/v1/order", order)
    assert placed["orderId"] > max(o["order_id"] for o in before["orders"])


async def test_a_torn_line_is_mended_and_its_candles_are_walked(exchange: Door, paper: Door) -> None:
    await listening(exchange)
    await enter_and_protect(paper)
    await exchange.control("drop_market_stream", refuse=True)
    await exchange.control("step", count=5)
    assert net(await paper.books()) == 100  # nobody has told it yet
    await exchange.control("accept")
    books = await paper.until(lambda b: net(b) == 0)
    assert books["fills"][-1]["price"] == "1.9000"
    await exchange.control("price", symbol="XRPUSDT", price="2.0200")
    async with paper.rest() as rest, asyncio.timeout(DEADLINE_SECS):
        while True:
            if (await rest.get("/fapi/v1/ticker/price", {"symbol": "XRPUSDT"}))["price"] == "2.0200":
                break
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{}", "not the state of a paper account"), ("", "not the state of a paper account")],
)
def test_a_state_that_cannot_be_read_is_not_replaced(tmp_path: Path, content: str, words: str) -> None:
    state = tmp_path / "broken.json"
    state.write_text(content)
    file = tmp_path / "paper.yaml"
    upstream = {"http": "http://127.0.0.1:9", "ws": "ws://127.0.0.1:9"}
    file.write_text(json.dumps({"upstream": upstream, "symbols": ["XRPUSDT"], "state": str(state)}))
    run = subprocess.run(
        [sys.executable, "-m", "node.paper", "--config", str(file)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert words in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert state.read_text() == content
