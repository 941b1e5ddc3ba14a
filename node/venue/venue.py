"""The venue as one object: configuration, market, books, engine, streams, faults, replay."""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from node.venue.books import Books
from node.venue.clock import VenueClock
from node.venue.config import VenueConfig
from node.venue.faults import Faults
from node.venue.feed import Feed
from node.venue.hub import ApiConnections
from node.venue.instruments import Instrument
from node.venue.limits import RateLimits
from node.venue.matching import MatchingEngine
from node.venue.payloads import PayloadFactory
from node.venue.replay import Replay
from node.venue.signatures import keys_of
from node.venue.streams import MarketStreams
from node.venue.user_stream import UserStreams

_HOUSEKEEPING_SECS = 1.0
_LOGGED = 20_000


class Keeps(Protocol):
    """Something that saves the state."""

    def save_if_changed(self) -> None:
        """Save the state if it has changed."""


class Amendment(NamedTuple):
    """One change of an order: quantity and price before and after, `wall_ms` UTC ms."""

    order_id: int
    before: tuple[Decimal, Decimal]
    after: tuple[Decimal, Decimal]
    wall_ms: int


class Venue:
    """
    Everything the HTTP and WebSocket handlers act on.

    Parameters
    ----------
    config : VenueConfig
        Configuration.
    instruments : Mapping[str, Instrument]
        Instruments by symbol, in the order of publication.
    feed : Feed
        Bars and funding.

    Attributes
    ----------
    keys : dict[str, ApiKey]
        API keys by name.
    permissions : PermissionConfig
        Rights of the API keys; may change while running.
    maintenance : bool
        While set, everything but the control door is answered 503 (-1016).
    log : deque[dict]
        The newest requests and user events in the order they happened, delivered or not.
    on_note : list[Callable]
        Hear of every entry of the log when it is made.
    refuse_connections : Callable or None
        Closes the listening socket for some seconds; set by the server.
    address : str
        Where it can be reached over HTTP, once it listens.
    downloads : dict
        Files of history by their number (:mod:`node.venue.rest_downloads`).
    keeper : Keeps or None
        Saves the state, if it is to be kept.
    stopping : asyncio.Event
        Set when the process should end.

    """

    def __init__(self, config: VenueConfig, instruments: Mapping[str, Instrument], feed: Feed) -> None:
        self.config = config
        self.instruments = instruments
        self.feed = feed
        self.session = str(uuid.uuid4())
        self.clock = VenueClock(feed.start_ms)
        leverages = {s: config.account.leverages.get(s, config.account.leverage) for s in instruments}
        self.books = Books(self.clock, config.account.balance, leverages)
        self.users = UserStreams(self.clock, config.seed, config.listen_key_secs)
        self.markets = MarketStreams()
        self.markets.interval = feed.interval
        self.markets.on_key, self.markets.off_key = self.users.add, self.users.remove
        self.apis = ApiConnections()
        self.engine = MatchingEngine(self.books, instruments, config.execution, self.users.emit)
        self.payloads = PayloadFactory(self.books, instruments, self.engine.account, self.engine.prices)
        self.faults = Faults()
        self.users.transform = self.faults.transform
        self.faults.deliver_late = self.users.deliver
        self.markets.kline_fault = self.faults.kline
        self.limits = RateLimits(config.limits)
        self.replay = Replay(config.replay, feed, self.engine, self.markets, self.users, self.session)
        self.stopping = asyncio.Event()
        self.replay.keep = self.keep
        self.engine.settlement.on_forced = self.replay.publisher.forced
        self.engine.on_status = self.replay.publisher.contract
        self.permissions = config.permissions
        self.keys = keys_of(config)
        self.maintenance = False
        self.keeper: Keeps | None = None
        self.scenarios: list[Any] = []
        self.amendments: list[Amendment] = []
        self.margin_changes: list[Any] = []
        self.downloads: dict[str, Any] = {}
        self.address = ""
        self.countdowns: dict[str, asyncio.TimerHandle] = {}
        self.books.hedge = config.account.hedge_mode
        for symbol in instruments:
            for position in self.books.settings(symbol):
                position.margin_type = config.account.margin_type
        self.log: deque[dict[str, Any]] = deque(maxlen=_LOGGED)
        self._logged = 0
        self.users.on_event = lambda event: self.note("event", event=event)
        self.on_note: list[Callable[[dict[str, Any]], None]] = []
        self.refuse_connections: Callable[[float], Awaitable[None]] | None = None
        self.fresh = 0
        self._tasks: list[asyncio.Task[None]] = []
        for symbol in instruments:
            price = feed.first_price(symbol)
            if price is not None:
                self.engine.prices[symbol] = price

    def note(self, kind: str, **details: Any) -> None:
        """Append a request or a user event to the log tests read; the oldest entries make room."""
        self._logged += 1
        entry = {
            "number": self._logged,
            "kind": kind,
            "wall_ms": self.clock.wall_ms(),
            "market_ms": self.clock.market_ms,
            **details,
        }
        self.log.append(entry)
        for listener in self.on_note:
            listener(entry)

    def fresh_client_id(self) -> str:
        """Return the client id given to an order that came without one; the same sequence in every run."""
        self.fresh += 1
        return f"venue-{self.config.seed}-{self.fresh}"

    def keep(self) -> None:
        """Save the state if it is kept and has changed."""
        if self.keeper is not None:
            self.keeper.save_if_changed()

    def start(self) -> None:
        """Begin the replay and the housekeeping."""
        self._tasks = [asyncio.create_task(self.replay.run()), asyncio.create_task(self._housekeeping())]
        if self.config.replay.mark_price_secs:
            self._tasks.append(asyncio.create_task(self._mark_prices(self.config.replay.mark_price_secs)))

    async def stop(self) -> None:
        """End all tasks and connections."""
        self.replay.stop()
        self.faults.clear()
        for timer in self.countdowns.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.keep()
        for connection in (*self.users.connections, *self.markets.connections, *self.apis.connections):
            await connection.close(reason="venue stopped")

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECS)
            await self.users.expire_if_due()
            self.engine.expire_orders()
            self.keep()

    async def _mark_prices(self, period_secs: float) -> None:
        while True:
            await asyncio.sleep(period_secs)
            if self.faults.running.is_set():
                for symbol in self.instruments:
                    self.replay.publisher.mark(symbol)
                    self.replay.publisher.day(symbol, self.clock.wall_ms())
                self.replay.publisher.marks()
                self.replay.publisher.asset_indices()
