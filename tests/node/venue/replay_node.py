"""A hand-written node for the barrier protocol: counts what it sees, trades by a plan, answers when it is quiet."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

type OnBar = Callable[[dict[str, Any]], Awaitable[None]]
type OnEvent = Callable[[dict[str, Any]], Awaitable[None]]


class ReplayNode:
    """
    One attached node.

    `on_bar` gets each closed kline, `on_event` each user event; both end before the next barrier is answered.
    """

    def __init__(self, running: Any, on_bar: OnBar | None = None, on_event: OnEvent | None = None) -> None:
        self.running = running
        self.on_bar = on_bar
        self.on_event = on_event
        self.bars: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.order: list[tuple[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.ended = asyncio.Event()
        self.answering = True
        self.lose_next = False
        self.lost_bars = 0
        self.welcome: dict[str, Any] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._sockets: list[Any] = []
        self._busy = 0
        self._moved = asyncio.Event()

    async def attach(self, *streams: str, ready: bool = True) -> "ReplayNode":
        market = await self.running.market_stream(*streams)
        user = await self.running.user_stream()
        plugin = await self.running.session.ws_connect(f"{self.running.ws}/argonaut/replay")
        self._sockets = [market.ws, user.ws, plugin]
        self.plugin = plugin
        self._tasks = [
            asyncio.create_task(self._market(market.ws)),
            asyncio.create_task(self._user(user.ws)),
            asyncio.create_task(self._serve(plugin)),
        ]
        await plugin.send_json({"type": "hello", "node": "hand-written"})
        if ready:
            await plugin.send_json({"type": "ready"})
        return self

    async def detach(self) -> None:
        for ws in self._sockets:
            await ws.close()
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _market(self, ws: Any) -> None:
        async for message in ws:
            data = json.loads(message.data).get("data", {})
            if data.get("e") == "kline" and self.lose_next:
                self.lose_next = False
                self.lost_bars += 1
                self._moved.set()
            elif data.get("e") == "kline":
                self.order.append(("bar", data["k"]["t"]))
                await self._handle(self.bars, data["k"], self.on_bar)

    async def _user(self, ws: Any) -> None:
        async for message in ws:
            event = json.loads(message.data)
            self.order.append((event["e"], event.get("o", {}).get("X")))
            await self._handle(self.events, event, self.on_event)

    async def _handle(self, seen: list[dict[str, Any]], item: dict[str, Any], react: OnBar | None) -> None:
        self._busy += 1
        seen.append(item)
        if react is not None:
            await react(item)
        self._busy -= 1
        self._moved.set()

    async def _serve(self, ws: Any) -> None:
        async for message in ws:
            body = json.loads(message.data)
            self.messages.append(body)
            if body["type"] == "welcome":
                self.welcome = body
            elif body["type"] in ("end", "abort"):
                self.ended.set()
            elif body["type"] == "barrier":
                while (
                    self._busy
                    or len(self.bars) + self.lost_bars < body["bars"]
                    or len(self.events) < body["user_events"]
                ):
                    self._moved.clear()
                    await self._moved.wait()
                if self.answering:
                    await ws.send_json(
                        {
                            "type": "ack",
                            "id": body["id"],
                            "bars": len(self.bars),
                            "user_events": len(self.events),
                        }
                    )
                    self.lost_bars = 0
