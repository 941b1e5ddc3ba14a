"""Market streams: subscriptions of every connection, and what is published on them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from node.venue.faults import KlineFault, stripped
from node.venue.hub import Connection
from node.venue.user_stream import is_listen_key

_encode = msgspec.json.encode

type Event = dict[str, Any]

MOST_STREAMS = 1024
"""Streams one connection may carry."""


class MarketStreams:
    """
    Connections and their subscriptions.

    Attributes
    ----------
    closed_klines : int
        Closed klines handed to at least one connection that counts (not an observer), since the venue started.
    interval : str
        Interval of the replayed bars.
    refused : bool
        While set, new connections are turned away.
    on_key, off_key : Callable
        Called when a connection subscribes to a listen key by message, or takes that back.

    """

    def __init__(self) -> None:
        self.on_key: Callable[[Connection, str], None] = lambda _connection, _key: None
        self.off_key: Callable[[Connection], None] = lambda _connection: None
        self.closed_klines = 0
        self.interval = ""
        self.refused = False
        self.kline_fault: Callable[[str], KlineFault | None] = lambda _symbol: None
        self.counters: Counter[str] = Counter()
        self._streams: dict[Connection, set[str]] = {}

    @property
    def connections(self) -> list[Connection]:
        """All open market connections."""
        return list(self._streams)

    def add(self, connection: Connection, streams: list[str]) -> None:
        """Register a connection with its first streams."""
        self._streams[connection] = set(streams)

    def remove(self, connection: Connection) -> bool:
        """Forget a closed connection; return whether it was a market connection."""
        return self._streams.pop(connection, None) is not None

    def streams(self) -> set[str]:
        """Return all names somebody listens to."""
        return set().union(*self._streams.values()) if self._streams else set()

    def request(self, connection: Connection, text: str) -> bool:
        """
        Answer SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY and GET_PROPERTY.

        False if the connection has asked for more streams than one may carry: it is to be closed.
        """
        try:
            message = msgspec.json.decode(text)
        except msgspec.DecodeError as e:
            connection.send(_encode({"error": {"code": 3, "msg": f"Invalid JSON: {e}"}}).decode())
            return True
        if not isinstance(message, dict):
            connection.send(_encode({"error": {"code": 2, "msg": "Invalid request: not an object"}}).decode())
            return True
        number = message.get("id")
        params = message.get("params") or []
        if not isinstance(params, list):
            answer = {"code": 2, "msg": "Invalid request: params must be an array"}
            connection.send(_encode({"error": answer, "id": number}).decode())
            return True
        own = self._streams.get(connection, set())
        result: Any = None
        match message.get("method"):
            case "SUBSCRIBE" if len(own | set(map(str, params))) > MOST_STREAMS:
                connection.send(_encode({"error": {"code": 4, "msg": "Too many subscriptions"}, "id": number}).decode())
                return False
            case "SUBSCRIBE":
                self._streams.setdefault(connection, own).update(map(str, params))
                for key in filter(is_listen_key, map(str, params)):
                    self.on_key(connection, key)
            case "UNSUBSCRIBE":
                own.difference_update(map(str, params))
                if any(map(is_listen_key, map(str, params))):
                    self.off_key(connection)
            case "LIST_SUBSCRIPTIONS":
                result = sorted(own)
            case "SET_PROPERTY" if len(params) == 2 and params[0] == "combined":
                connection.wrapped = bool(params[1])
            case "GET_PROPERTY":
                result = connection.wrapped
            case other:
                answer = {"code": 2, "msg": f"Invalid request: unknown method `{other}`"}
                connection.send(_encode({"error": answer, "id": number}).decode())
                return True
        connection.send(_encode({"result": result, "id": number}).decode())
        return True

    def publish(self, stream: str, data: Event | list[Event]) -> None:
        """Send `data` to everybody subscribed to `stream`."""
        wrapped = raw = ""
        for connection, streams in self._streams.items():
            if stream not in streams or connection.muted:
                continue
            if connection.wrapped:
                wrapped = wrapped or _encode({"stream": stream, "data": data}).decode()
                connection.send(wrapped)
            else:
                raw = raw or _encode(data).decode()
                connection.send(raw)
            self.counters[stream] += 1

    def publish_closed_kline(self, stream: str, data: Event) -> None:
        """Publish a finished bar and count it, unless a fault takes it."""
        fault = self.kline_fault(data["s"])
        if fault is not None and fault.mode != "duplicate":
            if fault.mode == "stripped":
                self.publish(stream, stripped(data))
            elif fault.mode == "late":
                asyncio.get_running_loop().call_later(fault.delay_ms / 1000, self.publish, stream, data)
            return
        self.closed_klines += self._counts(stream)
        self.publish(stream, data)
        if fault is not None:
            self.publish(stream, data)

    def _counts(self, stream: str) -> bool:
        """
        Return whether a kline on `stream` reaches a connection that counts.

        Where somebody follows the replayed interval, that is the node: klines of other lengths then count only on its
        connections. The node waits for as many klines as were counted, so another client's must not be among them.
        """
        own = f"@kline_{self.interval}"
        counting = {c: s for c, s in self._streams.items() if not c.observer}
        leading = {c for c, names in counting.items() if any(name.endswith(own) for name in names)}
        return any(stream in counting[c] and not c.muted for c in leading or counting)
