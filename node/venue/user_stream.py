"""The user data stream: listen keys and delivery of account events to every connection that holds one."""

import hashlib
from collections import Counter
from collections.abc import Callable

import msgspec

from node.venue.clock import VenueClock
from node.venue.errors import error
from node.venue.events import Event
from node.venue.hub import Connection

_encode = msgspec.json.encode
_KEY_LENGTH = 64


def is_listen_key(stream: str) -> bool:
    """Return whether a stream's name is a listen key, valid or not."""
    return len(stream) == _KEY_LENGTH and stream.isalnum()


class UserStreams:
    """
    Listen keys and connections of the one account.

    Attributes
    ----------
    delivered : int
        Account events handed to at least one connection that counts (not an observer), since the venue started.
        listenKeyExpired is not among them: clients treat it as a matter of the connection.
    counters : Counter
        Events by type, delivered or not.
    refused : bool
        While set, new connections are turned away: the venue's user stream is down.

    """

    def __init__(self, clock: VenueClock, seed: int, life_secs: float) -> None:
        self.delivered = 0
        self.counters: Counter[str] = Counter()
        self.refused = False
        self.transform: Callable[[Event], list[Event]] | None = None
        self.on_event: Callable[[Event], None] | None = None
        self.on_loss: Callable[[], None] | None = None
        self._clock = clock
        self._seed = seed
        self._life_ms = round(life_secs * 1000)
        self._count = 0
        self._key = ""
        self._expires_ms = 0
        self._connections: dict[Connection, str] = {}

    @property
    def connections(self) -> list[Connection]:
        """All open user-stream connections."""
        return list(self._connections)

    @property
    def key(self) -> str:
        """The valid listen key, empty if there is none."""
        return self._key if self._key and self._clock.wall_ms() < self._expires_ms else ""

    def create_key(self) -> str:
        """Return the valid key with its life renewed, or a fresh one."""
        if not self.key:
            self._count += 1
            self._key = hashlib.sha256(f"{self._seed}/{self._count}".encode()).hexdigest()
        self._expires_ms = self._clock.wall_ms() + self._life_ms
        return self._key

    def keep_alive(self) -> str:
        """Renew the key's life (-1125 if there is none)."""
        if not self.key:
            raise error(-1125)
        return self.create_key()

    async def delete_key(self) -> None:
        """Invalidate the key and close its connections."""
        key, self._key = self._key, ""
        for connection in [c for c, k in self._connections.items() if k == key]:
            await connection.close(reason="listenKey deleted")

    async def expire_if_due(self) -> None:
        """Announce listenKeyExpired and close the connections once the key's life is over."""
        if self._key and self._clock.wall_ms() >= self._expires_ms:
            await self.expire()

    async def expire(self, *, close: bool = False) -> None:
        """Invalidate the key now and send listenKeyExpired on its connections; `close` ends them too."""
        key, self._key = self._key, ""
        text = _encode({"e": "listenKeyExpired", "E": self._clock.event_ms(), "listenKey": key}).decode()
        for connection in [c for c, k in self._connections.items() if k == key]:
            self._connections[connection] = ""
            connection.send(text)
            if close:
                await connection.close(reason="listenKey expired")

    def add(self, connection: Connection, key: str) -> None:
        """Register a connection; one with an invalid key stays silent, as on the exchange."""
        self._connections[connection] = key if key and key == self.key else ""

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        key = self._connections.pop(connection, "")
        if key and not connection.observer and not self._counting() and self.on_loss is not None:
            self.on_loss()

    def emit(self, event: Event) -> None:
        """Deliver an event to every connection with a valid key."""
        self.counters[event["e"]] += 1
        if self.on_event is not None:
            self.on_event(event)
        for item in (event,) if self.transform is None else self.transform(event):
            self._deliver(item)

    def deliver(self, event: Event) -> None:
        """Deliver an event that was held back; it is counted when it goes out."""
        self._deliver(event)

    def _deliver(self, event: Event) -> None:
        text = _encode(event).decode()
        counted = False
        for connection, key in self._connections.items():
            if not key or connection.muted or (connection.events and event["e"] not in connection.events):
                continue
            connection.send(f'{{"stream":"{key}","data":{text}}}' if connection.wrapped else text)
            counted = counted or not connection.observer
        self.delivered += counted

    def _counting(self) -> bool:
        return any(key and not c.observer for c, key in self._connections.items())
