"""What holds entries and what does not; Redis absent, slow or killed: the node neither hangs nor trades blind."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from node.health import WHO, EntryHolds, paused_by
from node.redis_link import RedisConfig, RedisError, RedisUnavailableError, ping, reachable
from node.start_retries import START_DELAYS_SECS
from strategies.base import CONTROL_TOPIC
from strategies.errors import UnavailableError


def urls_of(exchange: Any) -> dict[str, str]:
    return {"base_url_http": exchange.urls["http"], "base_url_ws": exchange.urls["ws"], "account": "test"}


def protected(books: dict[str, Any]) -> bool:
    return float(books["positions"]["XRPUSDT"]["quantity"]) != 0 and len(books["open_algo_orders"]) == 2


class Redis:
    """A redis-server of our own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0

    async def start(self) -> None:
        """Start it on a free port (or on the one it had)."""
        if not self.port:
            server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            server.close()
            await server.wait_closed()
        self.process = await asyncio.create_subprocess_exec(
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", str(self.directory)),
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                await ping(self.config())
            except RedisError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            else:
                return

    def config(self, **changes: Any) -> RedisConfig:
        """Return how to reach it."""
        return RedisConfig(port=self.port, timeout_secs=0.5, poll_secs=0.3, **changes)

    def tree(self, **changes: Any) -> dict[str, Any]:
        """Return the same for a configuration file."""
        return {"port": self.port, "timeout_secs": 0.5, "poll_secs": 0.3, "cache": True, "streams": True, **changes}

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        """kill -9."""
        if self.process.returncode is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    made = Redis(tmp_path)
    await made.start()
    yield made
    await made.kill()


async def test_a_wrong_clock_and_a_deaf_user_stream_hold_entries_until_they_are_well(rig: Any) -> None:
    exchange = await rig.exchange()
    node = await rig.node(rig.configure("testnet", urls_of(exchange)))
    await rig.warm(node)
    await exchange.control("skew", ms=4_000)
    assert "clock" in await rig.incident("ENTRIES_HELD")
    assert WHO in await rig.incident("pause")
    before = len((await exchange.books())["orders"])
    for _ in range(15):
        await exchange.control("step", count=1)
        await asyncio.sleep(0.05)
    assert len((await exchange.books())["orders"]) == before
    await exchange.control("skew", ms=0)
    assert "clock" in await rig.incident("ENTRIES_RELEASED")
    await rig.incident("resume")
    await rig.step_until(exchange, protected)
    await exchange.control("drop_user_stream", refuse=True)

    async def held() -> bool:
        return any("event stream" in i.message for i in rig.incidents() if i.code == "ENTRIES_HELD")

    await rig.until(held, "held for the user stream")
    await exchange.control("accept")

    async def released() -> bool:
        return any("user stream" in i.message for i in rig.incidents() if i.code == "ENTRIES_RELEASED")

    await rig.until(released, "released")
    await rig.settled(exchange)
    node.process.send_signal(signal.SIGTERM)
    await node.wait()


async def test_redis_killed_in_the_middle_stops_neither_trading_nor_the_end(rig: Any, redis: Redis) -> None:
    exchange = await rig.exchange()
    config = rig.configure("testnet", urls_of(exchange), redis=redis.tree())
    node = await rig.node(config)
    await rig.warm(node)
    await redis.kill()
    assert str(redis.port) in await rig.incident("REDIS_LOST")
    await rig.step_until(exchange, protected)
    await rig.settled(exchange)
    started = time.monotonic()
    summary = await rig.stop(node)
    assert time.monotonic() - started < 15
    assert [c["name"] for c in summary["checks"] if not c["passed"]] == []
    # And a start while it is away goes on without it, and says so.
    node = await rig.node(config)
    await rig.warm(node)
    await rig.incident("REDIS_ABSENT")
    await rig.stop(node)


async def test_where_redis_is_required_it_holds_the_start_and_the_entries(rig: Any, redis: Redis) -> None:
    exchange = await rig.exchange()
    config = rig.configure("testnet", urls_of(exchange), redis=redis.tree(required=True))
    node = await rig.node(config)
    await rig.warm(node)
    redis.signal(signal.SIGSTOP)  # there, but it does not answer
    assert "no answer within" in await rig.incident("ENTRIES_HELD")
    redis.signal(signal.SIGCONT)
    assert "redis" in await rig.incident("ENTRIES_RELEASED")
    await rig.stop(node)
    await redis.kill()
    code, output = await (await rig.node(config)).wait()
    assert code == 1, output  # a supervisor shall try again
    assert output.count("trying again in") == len(START_DELAYS_SECS)
    assert "redis.required" in output.splitlines()[-1]


async def test_a_journal_whose_server_is_away_is_no_mistake_of_the_configuration(rig: Any, redis: Redis) -> None:
    exchange = await rig.exchange()
    await redis.kill()  # nobody listens there now
    rig.journal = f"postgresql://bob:secret@127.0.0.1:{redis.port}/journal"
    run = {"run_dir": str(rig.directory / "run")}
    code, output = await (await rig.node(rig.configure("testnet", urls_of(exchange), operate=run))).wait()
    assert code == 1, output
    assert output.count("trying again in") == len(START_DELAYS_SECS)
    assert f"127.0.0.1:{redis.port}" in output.splitlines()[-1]
    assert "secret" not in output


async def test_a_ping_tells_a_stranger_a_stall_and_an_empty_port(redis: Redis) -> None:
    await ping(redis.config())
    redis.signal(signal.SIGSTOP)
    with pytest.raises(RedisError, match="no answer within"):
        await ping(redis.config())
    redis.signal(signal.SIGCONT)
    await redis.kill()
    with pytest.raises(RedisError):
        await ping(redis.config())
    assert await reachable(redis.config()) is None
    with pytest.raises(RedisUnavailableError, match=r"redis\.required"):
        await reachable(redis.config(required=True), delays=(0.01,))

    async def stranger(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(stranger, "127.0.0.1", redis.port):
        with pytest.raises(RedisError, match="400") as caught:
            await reachable(redis.config(required=True), delays=(3600.0,))
    assert not isinstance(caught.value, UnavailableError), "a stranger will not become Redis by waiting"


async def test_a_redis_that_comes_up_late_is_waited_for(redis: Redis) -> None:
    await redis.kill()
    waiting = asyncio.create_task(reachable(redis.config(required=True), delays=(0.05,) * 200))
    await asyncio.sleep(0)
    await redis.start()
    assert await waiting == redis.config(required=True)


class Bus:
    """A message bus that remembers."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._hear: list[Any] = []

    def subscribe(self, topic: str, handler: Any) -> None:
        assert topic == CONTROL_TOPIC
        self._hear.append(handler)

    def publish(self, topic: str, message: Any) -> None:
        if topic == CONTROL_TOPIC:
            self.sent.append(message)
            for hear in self._hear:
                hear(message)


class Holds(EntryHolds):
    """Holds whose incidents are kept."""

    def _incident(self, severity: str, code: str, text: str) -> None:
        self.told = [*getattr(self, "told", []), (severity, code, text)]


@pytest.mark.parametrize("paused", ["nobody", "node", "hand"])
def test_a_persons_pause_is_a_persons_to_end(paused: str) -> None:
    bus = Bus()
    holds = Holds(bus, None, paused_by=paused)
    holds.hold("clock", "off")
    holds.hold("clock", "still off")
    holds.hold("venue", "away")
    assert holds.reason == "still off; away"
    assert [m["action"] for m in bus.sent] == (["pause"] if paused == "nobody" else [])
    holds.release("venue")
    holds.release("clock")
    assert holds.reason is None
    resumed = [m for m in bus.sent if m["action"] == "resume"]
    assert bool(resumed) == (paused != "hand")


def test_a_pause_given_while_we_hold_stays_after_it() -> None:
    bus = Bus()
    holds = Holds(bus, None)
    holds.hold("clock", "off")
    bus.publish(CONTROL_TOPIC, {"action": "pause", "who": "anna"})
    holds.release("clock")
    assert [m["action"] for m in bus.sent] == ["pause", "pause"]
    assert ("warning", "pause", "by anna") in holds.told
    bus.publish(CONTROL_TOPIC, {"action": "resume", "who": "anna"})
    holds.hold("clock", "off")
    assert holds.reason == "off"


class Told:
    """An incident as the journal gives it."""

    def __init__(self, code: str, message: str, symbol: str | None = None) -> None:
        self.code, self.message, self.symbol = code, message, symbol


def test_the_journal_knows_who_had_paused() -> None:
    ours, hers = Told("pause", f"by {WHO} (clock)"), Told("pause", "by anna")
    assert paused_by([]) == "nobody"
    assert paused_by([ours]) == "node"
    assert paused_by([ours, hers]) == "hand"
    assert paused_by([hers, Told("resume", "by anna"), ours]) == "node"
    assert paused_by([ours, Told("resume", f"by {WHO}")]) == "nobody"
    assert paused_by([Told("pause", "by anna", "XRPUSDT")]) == "nobody"
