"""
A live node and a venue as two processes, stepped bar by bar, so that a fault hits exactly the moment a scenario wants.

The venue replays real market data and holds before every bar; the scenario lets it go on until there is a protected
position (or an entry, or an exit), and disturbs it there. All judgement is passed on the venue's books; the node's word
is only compared with them.
"""

import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import yaml

from strategies.order_ids import Leg
from tests.faults.fork_server import Forked, ForkServer
from tests.faults.redis_server import RedisServer
from tests.faults.verdicts import (
    REJECTED,
    Books,
    breaches,
    closing_stops,
    covered,
    differences,
    fitting,
    leg_orders,
    live_stops,
    naked_seconds,
    net,
    orphans,
    told,
)
from tests.live.conftest import ROOT, Demo, VenueProcess

__all__ = [
    "REJECTED",
    "ROOT",
    "Books",
    "Run",
    "closing_stops",
    "covered",
    "differences",
    "leg_orders",
    "live_stops",
    "naked_seconds",
    "net",
    "orphans",
]

PATIENCE_SECS = 60.0
START_SECS = 180.0
"""A start imports for seconds on an idle machine, for a minute beside other jobs."""
REFUSED_SECS = 10.0
"""How long the venue may refuse connections before that is an error."""
SETTLE_SECS = 15.0
"""How long journal and heartbeat may take to show what the venue shows."""
TARGET_SECS = 3.0
FIRST_DAY = date(2025, 9, 8)


class ForkedVenue:
    """``python -m node.venue`` as a fork; the same few things as :class:`VenueProcess`."""

    def __init__(self, demo: Demo, forks: ForkServer, *options: str) -> None:
        output = demo.directory / "venue.log"
        output.unlink(missing_ok=True)
        self._process = forks.start("node.venue", ["--config", str(demo.venue), *options], output)
        deadline = time.monotonic() + PATIENCE_SECS
        while not (text := output.read_text() if output.exists() else "").endswith("\n"):
            assert self._process.poll() is None, f"the venue ended: {text}"
            assert time.monotonic() < deadline, f"the venue did not start: {text}"
            time.sleep(0.01)
        self.url: str = json.loads(text.splitlines()[0])["http"]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(10)


@dataclass
class Run:
    """
    One scenario's venue and the lives of its node.

    Attributes
    ----------
    directory : Path
        Configuration, journal, log and summary of this run.
    market : Path
        Catalog.
    seed : int
        Decides the window and which position is disturbed.
    forks : ForkServer or None
        Starts venue and node as forks; None: as processes that import everything, as in production.
    symbol : str
        Symbol of the position found last.

    """

    directory: Path
    market: Path
    seed: int
    forks: ForkServer | None = None
    symbol: str = ""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.demo = Demo(self.directory, self.market)
        self.redis: RedisServer | None = None
        self.node_extra: dict[str, Any] = {}
        self.keep_books = False
        self.piped_log = False
        self.port = 0
        self.since_ms = 0.0
        self.starts: list[float] = []
        self.down: list[tuple[float, float]] = []
        self._down_since: float | None = None
        self.node: subprocess.Popen[bytes] | Forked | None = None
        self.venue: VenueProcess | ForkedVenue | None = None
        self._module: list[str] | None = None
        self._log = (self.directory / "node.log").open("ab")

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(
        self,
        *,
        days: int = 4,
        first: date | None = None,
        venue: dict[str, Any] | None = None,
        node: dict[str, Any] | None = None,
        module: list[str] | None = None,
    ) -> Self:
        """Start the venue, paused, and the first node; `venue` and `node` replace keys, `module` the node's command."""
        self._module = module
        first = first or FIRST_DAY + timedelta(days=self.seed % 10)
        self.demo.write(start=str(first), end=str(first + timedelta(days=days)))
        _override(self.demo.venue, venue or {})
        _override(self.demo.config, {**(node or {}), **self.node_extra})
        self.start_venue()
        self.control("pause")
        self.start_node()
        return self

    def start_venue(self) -> None:
        """Start the venue; the one after a kill finds its books again if the run keeps them (`keep_books`)."""
        options = ["--state", str(self.directory / "venue.json")] if self.keep_books else []
        options += ["--port", str(self.port)] if self.port else []
        if self.forks is not None:
            self.venue = ForkedVenue(self.demo, self.forks, *options)
        else:
            self.venue = VenueProcess(self.demo, *options)
        self.port = int(self.venue.url.rpartition(":")[2])

    def start_node(self, *, wait: bool = True) -> None:
        """Start a node and wait until its replay plugin is ready."""
        assert self.venue is not None
        self.starts.append(time.time())
        options = ["--config", str(self.demo.config), "--venue-url", self.venue_url]
        options += ["--json", str(self.directory / "live.json")]
        if self.forks is not None and self._module is None:
            output = self._log_pipe() if self.piped_log else self.directory / "node.log"
            self.node = self.forks.start("node.live", options, output)
        else:
            module = self._module or [sys.executable, "-m", "node.live"]
            with self._log_pipe().open("ab") if self.piped_log else nullcontext(self._log) as log:
                self.node = subprocess.Popen([*module, *options], cwd=ROOT, stdout=log, stderr=log)
        if wait:
            self.until(lambda s: bool(s["node"]), what="node.live to be ready", path="session", secs=START_SECS)
            if self._down_since is not None:
                self.down.append((self._down_since, time.time()))
                self._down_since = None

    def _log_pipe(self) -> Path:
        """Return a pipe that ends in the log, as a service manager's does: no limit on files reaches it."""
        pipe = self.directory / "node.pipe"
        if not pipe.exists():
            os.mkfifo(pipe)

        def copy() -> None:
            with pipe.open("rb", buffering=0) as source, (self.directory / "node.log").open("ab", buffering=0) as log:
                shutil.copyfileobj(source, log)

        threading.Thread(target=copy, daemon=True).start()
        return pipe

    @property
    def venue_url(self) -> str:
        """HTTP address of the venue."""
        assert self.venue is not None
        return self.venue.url

    def wait(self) -> int:
        """Wait until the node has ended by itself; return its exit code."""
        assert self.node is not None
        return self.node.wait(PATIENCE_SECS)

    def kill(self) -> None:
        """Kill the node with SIGKILL."""
        assert self.node is not None
        self._down_since = self._down_since or time.time()
        self.node.kill()
        self.node.wait()
        self.until(lambda s: not s["node"], what="the venue to notice", path="session")

    def crash_venue(self) -> None:
        """Kill the venue with SIGKILL; the node must end too, and not with code 0."""
        assert isinstance(self.venue, ForkedVenue), "only a forked venue is killed"
        assert self.node is not None
        assert self.venue is not None
        self._down_since = self._down_since or time.time()
        self.venue.kill()
        # The replay ends with the venue, so this node ends by itself; live, it would wait for the venue to come back.
        assert self.node.wait(PATIENCE_SECS) != 0, "the node took the end of the venue for a good end"

    def restart(self) -> None:
        """Kill -9 and start again."""
        self.kill()
        self.start_node()

    def begin(self, name: str) -> None:
        """Begin a scenario on a run that may have seen others: everything is judged from here on."""
        self.random = random.Random(f"{self.seed} {name}")
        self.symbol = ""
        # One millisecond later than anything the scenario before has done.
        time.sleep(0.002)
        self.since_ms = time.time() * 1000

    def judge(self, tolerated: frozenset[str], wanted: tuple[str, ...]) -> list[str]:
        """Return every breach since :meth:`begin` that does not go away while journal and heartbeat catch up."""
        deadline = time.monotonic() + SETTLE_SECS
        while True:
            found = breaches(self, self.books(), self.since_ms, tolerated)
            incidents = told(self, self.since_ms)
            found += [f"not told: {code}" for code in wanted if code not in incidents]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def finish(self) -> dict[str, Any]:
        """Stop the node as a service manager does; return its summary."""
        assert self.node is not None
        self.node.send_signal(signal.SIGTERM)
        self.node.wait(PATIENCE_SECS)
        file = self.directory / "live.json"
        assert file.is_file(), f"seed {self.seed}: no summary; {self.log_tail()}"
        found = json.loads(file.read_bytes())
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """End what is left."""
        if self.node is not None and self.node.poll() is None:
            self.node.kill()
            self.node.wait()
        if self.venue is not None:
            self.venue.stop()
        if self.redis is not None:
            self.redis.kill()
        self._log.close()

    def log_tail(self) -> str:
        """Return the end of the node's log."""
        return (self.directory / "node.log").read_text(errors="replace")[-3000:]

    # -- the venue -----------------------------------------------------------------------------------------------------

    def control(self, action: str, **body: Any) -> dict[str, Any]:
        """Send a control action; return the session."""
        return self._call("control", {"action": action, **body})

    def books(self) -> Books:
        """Return the venue's books."""
        return self._call("books")

    def requests(self) -> Counter[str]:
        """Requests the venue has seen, by method and path."""
        return Counter(self.books()["counters"])

    def until(self, condition: Callable[[Books], bool], *, what: str, path: str = "books", secs: float = 0) -> Books:
        """Poll the venue until `condition` holds."""
        deadline = time.monotonic() + (secs or PATIENCE_SECS)
        while True:
            found = self._call(path)
            if condition(found):
                return found
            dead = self.node is not None and self.node.poll() is not None and self._down_since is None
            if dead or time.monotonic() > deadline:
                state = {k: found[k] for k in ("state", "reason", "bars", "node")}
                raise AssertionError(
                    f"seed {self.seed}: waited in vain for {what} ({'node dead, ' if dead else ''}{state}): "
                    f"{self.log_tail()}"
                )
            time.sleep(0.02)

    def until_told(self, code: str, secs: float) -> None:
        """Wait until the journal holds an incident of this scenario."""
        deadline = time.monotonic() + secs
        while code not in told(self, self.since_ms):
            assert time.monotonic() < deadline, f"seed {self.seed}: {code} was not told: {self.log_tail()}"
            time.sleep(0.05)

    def step(self, count: int = 1) -> None:
        """Replay `count` time steps and hold."""
        self.control("step", count=count)
        self.until(lambda s: s["state"] != "running", what=f"{count} steps", path="session")

    def step_until(self, condition: Callable[[Books], bool], *, what: str, limit: int = 250) -> Books:
        """Step bar by bar until `condition` holds."""
        for _ in range(limit):
            found = self.books()
            if condition(found):
                return found
            assert found["state"] == "paused", f"seed {self.seed}: {found['state']} {found['reason']} before {what}"
            self.step()
        raise AssertionError(f"seed {self.seed}: {limit} bars without {what}: {self.log_tail()}")

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        assert self.venue is not None
        data = None if body is None else json.dumps(body)
        deadline = time.monotonic() + REFUSED_SECS
        while True:
            connection = http.client.HTTPConnection(self.venue.url.removeprefix("http://"), timeout=30)
            try:
                connection.request("GET" if data is None else "POST", f"/argonaut/{path}", data)
                answer = connection.getresponse()
                text = answer.read()
                break
            except (ConnectionRefusedError, ConnectionResetError):  # a scenario shut the door, and reset who waited
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            finally:
                connection.close()
        assert answer.status == 200, f"{body}: {text.decode()}"
        found = json.loads(text)
        assert isinstance(found, dict)
        return found

    # -- moments -------------------------------------------------------------------------------------------------------

    def to_position(self) -> Books:
        """Go on to the nth protected position (the seed says which) and remember its symbol."""
        for _ in range(1 + self.random.randrange(3)):
            self._to_new_entry()
        self.symbol = ""
        return self.hold()

    def hold(self) -> Books:
        """
        Go on to another position with a stop if the market, or the node itself, has closed the one at hand.

        Bars may pass between the moment a scenario has chosen a position and the moment it disturbs it; and a position
        whose stop is behind the market is closed before anybody has looked at it.
        """
        while True:
            held = net(self.books())
            if held and self.symbol not in held:
                self.symbol = next(reversed(held))
            if held:
                books = self.until(
                    lambda b: self.symbol not in net(b) or bool(closing_stops(b, self.symbol)),
                    what=f"a stop for {self.symbol}",
                )
                books = self._with_target(books)
                if self.symbol in net(books):
                    return books
            self._to_new_entry()

    def _with_target(self, books: Books) -> Books:
        """
        Wait for the target that is sent beside the stop: on its way it would be refused if the position went now.

        Not for ever: one that was refused too often is sent again on the next bar.
        """
        deadline = time.monotonic() + TARGET_SECS
        while self.symbol in net(books) and time.monotonic() < deadline:
            kinds = {a["type"] for a in books["open_algo_orders"] if a["symbol"] == self.symbol}
            if "TAKE_PROFIT_MARKET" in kinds and fitting(books, self.symbol):
                break
            time.sleep(0.02)
            books = self.books()
        return books

    def _to_new_entry(self) -> None:
        had = len(leg_orders(self.books(), Leg.ENTRY))
        self.step_until(lambda b: len(leg_orders(b, Leg.ENTRY)) > had and bool(net(b)), what="an open position")

    def to_entry(self) -> Books:
        """Go on until another entry has reached the venue (executed or refused by a fault)."""
        sent = self._entries_sent()
        return self.step_until(lambda _: self._entries_sent() > sent, what="an entry")

    def _entries_sent(self) -> int:
        books = self.books()
        failed = [i for i in books["incidents"] if i["what"] == "fault" and i["endpoint"] == "POST /fapi/v1/order"]
        return len(failed) + books["counters"].get("POST /fapi/v1/order", 0)

    def trigger_stop(self, *, gap: bool = False) -> None:
        """Move the price beyond the stops that close the position at hand (:meth:`hold`)."""
        books = self.hold()
        size = net(books)[self.symbol]
        stops = closing_stops(books, self.symbol)
        beyond = Decimal(stops[-1]["trigger_price"]) * (Decimal("0.98") if size > 0 else Decimal("1.02"))
        price = _on_tick(beyond, Decimal(stops[-1]["trigger_price"]))
        self.control("price", symbol=self.symbol, price=str(price), gap=gap)

    def human(self, **params: Any) -> None:
        """Send an order by a human's hand."""
        self.control("order", params={"symbol": self.symbol, "type": "MARKET", **params})

    @property
    def size(self) -> Decimal:
        """Signed size of the position at the venue."""
        return net(self.books()).get(self.symbol, Decimal(0))


def _override(file: Path, changes: dict[str, Any]) -> None:
    """Replace keys, nested ones in place."""
    if not changes:
        return
    tree = yaml.safe_load(file.read_text())
    pending = [(tree, changes)]
    for target, wanted in pending:
        for key, value in wanted.items():
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                pending.append((target[key], value))
            else:
                target[key] = value
    file.write_text(yaml.safe_dump(tree))


def _on_tick(price: Decimal, like: Decimal) -> Decimal:
    return price.quantize(Decimal(1).scaleb(int(like.as_tuple().exponent)))
