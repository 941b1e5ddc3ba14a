"""Shared by the adapter's tests: a built (not running) node, a venue process, and nodes as processes against it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web
from nautilus_trader.config import LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from yarl import URL

from node.binance.config import BinanceSettings, client_configs
from node.binance.factories import ArgonautBinanceLiveDataClientFactory, ArgonautBinanceLiveExecClientFactory


def local_settings(port: int = 1, **changes: object) -> BinanceSettings:
    values: dict[str, object] = {
        "environment": "venue",
        "base_url_http": f"http://127.0.0.1:{port}",
        "base_url_ws": f"ws://127.0.0.1:{port}",
        "api_key": "demo-key-of-tests",
        "api_secret": "demo-secret-of-tests",
        "symbols": ("XRPUSDT",),
    }
    return BinanceSettings(**{**values, **changes})  # type: ignore[arg-type]  # values are of the fields' types


@pytest.fixture
async def built_node() -> AsyncIterator[TradingNode]:
    data, execution = client_configs(local_settings())
    config = TradingNodeConfig(
        data_clients={"BINANCE": data},
        exec_clients={"BINANCE": execution},
        logging=LoggingConfig(log_level="OFF"),
    )
    node = TradingNode(config, loop=asyncio.get_running_loop())
    node.add_data_client_factory("BINANCE", ArgonautBinanceLiveDataClientFactory)
    node.add_exec_client_factory("BINANCE", ArgonautBinanceLiveExecClientFactory)
    node.build()
    yield node
    node.kernel.dispose()


REPOSITORY = Path(__file__).parents[3]
DEADLINE_SECS = 60.0
BARS = 400
FIRST_OPEN_MS = 1_756_684_800_000  # 2025-09-01T00:00Z


class Process:
    """A child process that speaks JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self._process = process
        self.directory = directory

    @classmethod
    async def start(cls, directory: Path, *arguments: str) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=(directory / "stderr").open("wb"),
        )
        return cls(process, directory)

    async def read(self, secs: float = DEADLINE_SECS) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(secs):
                while line := await self._process.stdout.readline():
                    if line.startswith(b"{"):
                        return json.loads(line)
        except TimeoutError:
            pass
        raise AssertionError(f"no answer; stderr: {(self.directory / 'stderr').read_text()[-2000:]}")

    async def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        answer = await self.read()
        assert "error" not in answer, answer
        return answer

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Node(Process):
    """A node under test."""

    async def state(self) -> dict[str, Any]:
        return await self.ask(do="state")

    async def until(self, condition: Callable[[dict[str, Any]], object], secs: float = DEADLINE_SECS) -> dict[str, Any]:
        """Return the first state that meets `condition`."""
        deadline = asyncio.get_running_loop().time() + secs
        while True:
            state = await self.state()
            if condition(state):
                return state
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not reached within {secs} s: {json.dumps(state, indent=1)}\n{await self.log()}")
            await asyncio.sleep(0.02)

    async def filled(self, order_id: str) -> dict[str, Any]:
        return await self.until(lambda s: s["orders"][order_id]["status"] == "FILLED")

    async def enter(self, quantity: str = "100") -> str:
        order_id: str = (await self.ask(do="market", side="BUY", quantity=quantity))["id"]
        await self.filled(order_id)
        return order_id

    async def protect(self, trigger: str = "1.9000", quantity: str = "100") -> str:
        order_id: str = (await self.ask(do="stop", side="SELL", quantity=quantity, trigger=trigger))["id"]
        await self.until(lambda s: s["orders"][order_id]["status"] == "ACCEPTED")
        return order_id

    async def log(self) -> str:
        """Stop the node in good order and return its whole log."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), DEADLINE_SECS)
        return (self.directory / "node.log").read_text()

    def said(self, text: str) -> bool:
        """Whether the log so far contains `text`."""
        return text in (self.directory / "node.log").read_text()

    async def errors(self) -> list[str]:
        """Stop the node and return its lines of level ERROR."""
        return [line for line in (await self.log()).splitlines() if "[ERROR]" in line]


class Venue(Process):
    """A venue process with its control door."""

    urls: dict[str, str]
    http: aiohttp.ClientSession

    async def control(self, action: str, **parameters: Any) -> dict[str, Any]:
        async with self.http.post(f"{self.urls['control']}/control", json={"action": action, **parameters}) as response:
            body = await response.json()
            assert response.status == 200, body
            return body

    async def books(self) -> dict[str, Any]:
        async with self.http.get(f"{self.urls['control']}/books") as response:
            return await response.json()

    async def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first books that meet `condition`."""
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECS
        while not condition(books := await self.books()):
            assert asyncio.get_running_loop().time() < deadline, json.dumps(books, indent=1)[-4000:]
            await asyncio.sleep(0.02)
        return books


@pytest.fixture(scope="session")
def small_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with a hundred hours of XRPUSDT at rest around 2.0000, and its funding."""
    directory = tmp_path_factory.mktemp("catalog")
    rows = []
    for i in range(BARS):
        price = f"{2 + (i % 5) / 1000:.4f}"
        rows.append(f"{FIRST_OPEN_MS + i * 900_000},{price},2.0060,1.9960,{price},1000.0")
    (directory / "klines.csv").write_text("\n".join(rows) + "\n")
    times = [FIRST_OPEN_MS + i * 8 * 3_600_000 for i in range(BARS // 32 + 1)]
    (directory / "funding.csv").write_text(
        "calc_time,last_funding_rate\n" + "".join(f"{t},0.00010000\n" for t in times)
    )
    catalog = directory / "catalog"
    for kind, extra in (("klines", ("--interval", "15m")), ("funding", ())):
        subprocess.run(
            [
                *(sys.executable, "-m", "catalog.ingest", kind, "--symbol", "XRPUSDT", *extra),
                *("--from", str(directory / f"{kind}.csv"), "--catalog", str(catalog)),
            ],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
    return catalog


@pytest.fixture
async def venue(small_catalog: Path, tmp_path: Path) -> AsyncIterator[Venue]:
    """A venue of our own, waiting before its first replayed bar; the test moves the price."""
    directory = tmp_path / "venue"
    directory.mkdir()
    config = {
        "data": {"catalog": str(small_catalog), "symbols": ["XRPUSDT"], "history_bars": 300},
        "replay": {"mark_price_secs": 0},
        "execution": {"trade_lite": True},
    }
    file = directory / "venue.yaml"
    file.write_text(json.dumps(config))
    venue = await Venue.start(directory, "-m", "node.venue", "--config", str(file))
    try:
        venue.urls = await venue.read()
        async with aiohttp.ClientSession() as venue.http:
            yield venue
    finally:
        await venue.kill()


type StartNode = Callable[..., Awaitable[Node]]


@pytest.fixture
async def start_node(venue: Venue, tmp_path: Path) -> AsyncIterator[StartNode]:
    """Start a node against `venue` and wait until its strategy runs; all are killed in the end."""
    started: list[Node] = []

    async def start(client: str = "ours", *, timeout_secs: int = 5, http: str = "") -> Node:
        directory = tmp_path / f"node{len(started)}"
        directory.mkdir()
        node = await Node.start(
            directory,
            str(Path(__file__).with_name("node_under_test.py")),
            *("--client", client, "--http", http or venue.urls["http"], "--ws", venue.urls["ws"]),
            *("--directory", str(directory), "--timeout-secs", str(timeout_secs)),
        )
        started.append(node)
        assert await node.read(30.0) == {"event": "running"}
        return node

    yield start
    for node in started:
        await node.kill()


@pytest.fixture
async def trigger_keeping_url(venue: Venue) -> AsyncIterator[str]:
    """
    URL of a proxy before `venue` that keeps a stop's trigger price in the order which executes it.

    The documentation leaves open whether ``stopPrice`` of such an order is the trigger (as it was before algo orders)
    or zero (as our venue answers); a client must live with both.
    """

    async def forward(request: web.Request) -> web.Response:
        url = URL(f"{venue.urls['http']}{request.raw_path}", encoded=True)
        headers = {"X-MBX-APIKEY": request.headers.get("X-MBX-APIKEY", "")}
        async with venue.http.request(request.method, url, headers=headers) as response:
            body = await response.read()
            if request.path == "/fapi/v1/allOrders" and response.status == 200:
                triggers = {a["order_id"]: a["trigger_price"] for a in (await venue.books())["algo_orders"]}
                rows = [
                    {**row, "stopPrice": triggers.get(row["orderId"], row["stopPrice"])} for row in json.loads(body)
                ]
                body = json.dumps(rows).encode()
            return web.Response(status=response.status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
