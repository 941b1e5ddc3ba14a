"""A node in real time against our venue in the exchange's part: minute candles aligned to now, moved by the test."""

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from node.journal import open_journal

REPOSITORY = Path(__file__).parents[3]
DEADLINE_SECS = 120.0
HISTORY, FUTURE, STEP_MS = 400, 400, 60_000
SEED = 20250907
# The minutes to come are in the future, which ingestion rightly refuses: it is told that it is tomorrow.
INGEST_TOMORROW = """
import sys, time
real = time.time_ns
time.time_ns = lambda: real() + 86_400_000_000_000
from catalog.ingest import main
sys.exit(main(sys.argv[1:]))
"""
LOOSE = {"signal_threshold": 1, "adx_threshold": 5.0, "volume_multiplier": 0.8, "stop_atr": 1.5, "target_atr": 2.0}


@pytest.fixture(scope="session")
def minute_catalog(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """XRPUSDT minutes around now (a seeded walk in waves) and the open time of the first one to come, UTC ms."""
    return _minutes(tmp_path_factory.mktemp("minutes"), time.time_ns() // 1_000_000 // STEP_MS * STEP_MS)


@pytest.fixture(scope="session")
def past_catalog(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return the same minutes, all of them over by now."""
    now = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
    return _minutes(tmp_path_factory.mktemp("past"), now - FUTURE * STEP_MS)


def _minutes(directory: Path, first: int) -> tuple[Path, int]:
    draw = random.Random(SEED)
    price, rows = 2.0, []
    for i in range(-HISTORY, FUTURE):
        move = 0.0015 * math.sin(i / 9) + draw.gauss(0, 0.0012)
        after = price * (1 + move)
        high, low = max(price, after) * (1 + 0.0004), min(price, after) * (1 - 0.0004)
        volume = 1000 * (1 + 2 * abs(math.sin(i / 5)))
        rows.append(f"{first + i * STEP_MS},{price:.4f},{high:.4f},{low:.4f},{after:.4f},{volume:.1f}")
        price = float(f"{after:.4f}")
    (directory / "klines.csv").write_text("\n".join(rows) + "\n")
    boundary = first // 28_800_000 * 28_800_000
    (directory / "funding.csv").write_text(
        "calc_time,last_funding_rate\n" + "".join(f"{boundary - n * 28_800_000},0.00010000\n" for n in (2, 1, 0))
    )
    catalog = directory / "catalog"
    for kind, extra in (("klines", ("--interval", "1m")), ("funding", ())):
        command = [sys.executable, "-c", INGEST_TOMORROW, kind, "--symbol", "XRPUSDT", *extra]
        command += ["--from", str(directory / f"{kind}.csv"), "--catalog", str(catalog)]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return catalog, first


class Child:
    """A process of ours that prints its URLs as one JSON line."""

    def __init__(self, directory: Path, name: str, *command: str) -> None:
        self.log = directory / f"{name}.log"
        self._command = [sys.executable, "-m", *command]
        self.urls: dict[str, str] = {}

    async def launch(self, *, talks: bool = True, **environment: str) -> None:
        """Start it; one that does not talk writes everything to its log."""
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
            stdout=asyncio.subprocess.PIPE if talks else self.log.open("ab"),
            stderr=self.log.open("ab"),
        )

    async def ready(self) -> None:
        """Read its URLs."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECS):
            line = await self.process.stdout.readline()
        assert line, self.log.read_text()
        self.urls = json.loads(line)

    async def wait(self, secs: float = DEADLINE_SECS) -> tuple[int, str]:
        """Return exit code and log."""
        async with asyncio.timeout(secs):
            code = await self.process.wait()
        return code, self.log.read_text()

    async def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def books(self) -> dict[str, Any]:
        """Return the books of a venue."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.urls['control']}/books") as answer:
            return dict(await answer.json())

    async def control(self, action: str, **parameters: Any) -> None:
        """Tell a venue."""
        body = {"action": action, **parameters}
        async with aiohttp.ClientSession() as http, http.post(f"{self.urls['control']}/control", json=body) as answer:
            assert answer.status == 200, await answer.text()


class Rig:
    """An exchange, and nodes against it."""

    def __init__(self, directory: Path, catalog: Path, first_ms: int) -> None:
        self.directory = directory
        self.catalog = catalog
        self.first_ms = first_ms
        self.children: list[Child] = []
        self.journal = f"sqlite:///{directory / 'journal.sqlite'}"

    async def exchange(self, **changes: Any) -> Child:
        """Start our venue in the exchange's part."""
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.first_ms / 1000))
        data = {"catalog": str(self.catalog), "symbols": ["XRPUSDT"], "interval": "1m", "history_bars": HISTORY}
        file = self.directory / "exchange.yaml"
        file.write_text(json.dumps({"data": {**data, "start": start}, "replay": {"mark_price_secs": 1}, **changes}))
        child = Child(self.directory, "exchange", "node.venue", "--config", str(file))
        self.children.append(child)
        await child.launch()
        await child.ready()
        return child

    def configure(self, environment: str, exchange: dict[str, Any], **changes: Any) -> Path:
        """Write a node configuration that trades often."""
        (self.directory / "loose.yaml").write_text(yaml.safe_dump({"params": LOOSE}))
        config = {
            "environment": environment,
            "symbols": ["XRPUSDT"],
            "context": [],
            "interval": "1m",
            "catalog": str(self.catalog),
            "journal": self.journal,
            "log_level": "INFO",
            "strategy": {"file": "loose.yaml", "history_bars": 300},
            "risk": {"sizing": {"method": "risk_fraction", "risk_fraction": 0.001}},
            "exchange": {"clock_poll_secs": 0.3, **exchange},
            **changes,
        }
        file = self.directory / "node.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    async def node(self, config: Path, module: str = "node.live", **environment: str) -> Child:
        """Start a node."""
        summary = self.directory / "summary.json"
        summary.unlink(missing_ok=True)
        child = Child(
            self.directory, f"node{len(self.children)}", module, "--config", str(config), "--json", str(summary)
        )
        self.children.append(child)
        keys = {"BINANCE_API_KEY": "demo", "BINANCE_API_SECRET": "demo"}
        await child.launch(talks=False, **(keys | environment))
        return child

    async def until(self, condition: Callable[[], Awaitable[Any]], what: str, secs: float = DEADLINE_SECS) -> Any:
        """Return what `condition` answers once it is true."""
        deadline = asyncio.get_running_loop().time() + secs
        while not (found := await condition()):
            if asyncio.get_running_loop().time() > deadline:
                tails = "\n".join(f"--- {c.log.name}\n{c.log.read_text()[-3000:]}" for c in self.children)
                raise AssertionError(f"{what}: not within {secs} s\n{tails}")
            await asyncio.sleep(0.05)
        return found

    async def incident(self, code: str, secs: float = DEADLINE_SECS) -> str:
        """Wait for an incident in the journal and return its message."""

        async def told() -> str:
            return next((i.message for i in self.incidents() if i.code == code), "")

        return str(await self.until(told, f"incident {code}", secs))

    def incidents(self) -> list[Any]:
        """Return the incidents of the journal so far."""
        if not Path(self.journal.removeprefix("sqlite:///")).exists():
            return []
        journal = open_journal(self.journal, read_only=True)
        try:
            return list(journal.incidents())
        finally:
            journal.close()

    async def step_until(
        self, exchange: Child, condition: Callable[[dict[str, Any]], bool], *, of: Child | None = None
    ) -> dict[str, Any]:
        """Let minutes pass, each followed by a moment for the node, until the books meet `condition`."""
        for _ in range(FUTURE):
            books = await (of or exchange).books()
            if condition(books):
                return books
            await exchange.control("step", count=1)
            await asyncio.sleep(0.12)
        raise AssertionError("no such moment")

    async def settled(self, venue: Child) -> dict[str, Any]:
        """Return the books once nothing has changed for half a second."""
        before = await venue.books()
        same = 0
        while same < 5:
            await asyncio.sleep(0.1)
            after = await venue.books()
            same = same + 1 if _moving(after) == _moving(before) else 0
            before = after
        return before

    async def warm(self, node: Child) -> None:
        """Wait until a node has digested its history."""

        async def digested() -> bool:
            return "history digested" in node.log.read_text()

        await self.until(digested, "history digested")

    async def stop(self, node: Child) -> dict[str, Any]:
        """Stop a node in good order and return its summary."""
        node.process.send_signal(signal.SIGTERM)
        code, output = await node.wait()
        assert code == 0, output[-5000:]
        return dict(json.loads((self.directory / "summary.json").read_text()))


def _moving(books: dict[str, Any]) -> tuple[int, int, int]:
    return len(books["fills"]), len(books["orders"]), len(books["open_algo_orders"])


@pytest.fixture
async def rig(tmp_path: Path, minute_catalog: tuple[Path, int]) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, *minute_catalog)
    yield made
    for child in reversed(made.children):
        await child.kill()


@pytest.fixture
async def past_rig(tmp_path: Path, past_catalog: tuple[Path, int]) -> AsyncIterator[Rig]:
    """Return a rig whose minutes are over."""
    made = Rig(tmp_path, *past_catalog)
    yield made
    for child in reversed(made.children):
        await child.kill()


@pytest.fixture
def rig_config(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration for an environment and return its file."""

    def write(environment: str, **changes: Any) -> Path:
        made = Rig(tmp_path, tmp_path, 0)
        return made.configure(environment, changes.pop("exchange", {}), **changes)

    return write
