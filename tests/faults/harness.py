"""
A live node and a venue as two processes, stepped bar by bar, so that a fault hits exactly the moment a scenario wants.

The venue replays real market data and holds before every bar; the scenario lets it go on until there is a protected
position (or an entry, or an exit), and disturbs it there. All judgement is passed on the venue's books; the node's word
is only compared with them.
"""

import http.client
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import yaml

from node.venue.audit import protection_gaps
from strategies.order_ids import Leg, decode
from tests.live.conftest import ROOT, Demo, VenueProcess

__all__ = ["ROOT", "Books", "Run", "differences"]

type Books = dict[str, Any]

NAKED_LIMIT_SECS = 5.0
PATIENCE_SECS = 60.0
REFUSED_SECS = 10.0
"""How long the venue may refuse connections before that is an error."""
REJECTED = "nothing rejected"
FIRST_DAY = date(2025, 9, 8)
_MONEY = Decimal("0.00000001")


def net(books: Books) -> dict[str, Decimal]:
    """Signed position by symbol, flat ones left out."""
    found = {s: Decimal(p["quantity"]) for s, p in books["positions"].items()}
    return {s: q for s, q in found.items() if q}


def live_stops(books: Books, symbol: str) -> list[dict[str, Any]]:
    """Armed stop orders of a symbol, whoever placed them."""
    return [a for a in books["open_algo_orders"] if a["symbol"] == symbol and a["type"] == "STOP_MARKET"]


def leg_orders(books: Books, leg: Leg) -> list[dict[str, Any]]:
    """Plain orders of ours with that leg, filled or not."""
    tags = ((o, decode(o["client_order_id"])) for o in books["orders"] if not o["algo_id"])
    return [o for o, tag in tags if tag is not None and tag.leg is leg]


def covered(books: Books, symbol: str) -> bool:
    """Whether stops that would close it rest for the whole position."""
    size = net(books).get(symbol, Decimal(0))
    closing = "SELL" if size > 0 else "BUY"
    stops = [a for a in live_stops(books, symbol) if a["side"] == closing]
    return any(a["close_position"] for a in stops) or sum(Decimal(a["quantity"]) for a in stops) >= abs(size)


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
    symbol : str
        Symbol of the position found last.

    """

    directory: Path
    market: Path
    seed: int
    symbol: str = ""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.demo = Demo(self.directory, self.market)
        self.starts: list[float] = []
        self.down: list[tuple[float, float]] = []
        self._down_since: float | None = None
        self.node: subprocess.Popen[bytes] | None = None
        self.venue: VenueProcess | None = None
        self._module = [sys.executable, "-m", "node.live"]
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
        self._module = module or self._module
        first = first or FIRST_DAY + timedelta(days=self.seed % 10)
        self.demo.write(start=str(first), end=str(first + timedelta(days=days)))
        _override(self.demo.venue, venue or {})
        _override(self.demo.config, node or {})
        self.venue = VenueProcess(self.demo)
        self.control("pause")
        self.start_node()
        return self

    def start_node(self, *, wait: bool = True) -> None:
        """Start a node and wait until its replay plugin is ready."""
        assert self.venue is not None
        self.starts.append(time.time())
        self.node = subprocess.Popen(
            [
                *self._module,
                *("--config", str(self.demo.config), "--venue-url", self.venue_url),
                *("--json", str(self.directory / "live.json")),
            ],
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
        )
        if wait:
            self.until(lambda s: bool(s["node"]), what="node.live to be ready", path="session")
            if self._down_since is not None:
                self.down.append((self._down_since, time.time()))
                self._down_since = None

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

    def restart(self) -> None:
        """Kill -9 and start again."""
        self.kill()
        self.start_node()

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
            except ConnectionRefusedError:  # a scenario may shut the door on everybody for a while
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
            had = len(leg_orders(self.books(), Leg.ENTRY))
            books = self.step_until(
                lambda b, had=had: len(leg_orders(b, Leg.ENTRY)) > had and bool(net(b)), what="an open position"
            )
        self.symbol = next(reversed(net(books)))
        return self.until(lambda b: covered(b, self.symbol), what=f"a stop for {self.symbol}")

    def to_entry(self) -> Books:
        """Go on until another entry has reached the venue (executed or refused by a fault)."""
        sent = self._entries_sent()
        return self.step_until(lambda _: self._entries_sent() > sent, what="an entry")

    def _entries_sent(self) -> int:
        books = self.books()
        failed = [i for i in books["incidents"] if i["what"] == "fault" and i["endpoint"] == "POST /fapi/v1/order"]
        return len(failed) + books["counters"].get("POST /fapi/v1/order", 0)

    def trigger_stop(self, *, gap: bool = False) -> None:
        """Move the price beyond the position's stop."""
        books = self.books()
        size = net(books)[self.symbol]
        trigger = Decimal(live_stops(books, self.symbol)[0]["trigger_price"])
        beyond = trigger * (Decimal("0.98") if size > 0 else Decimal("1.02"))
        self.control("price", symbol=self.symbol, price=str(_on_tick(beyond, trigger)), gap=gap)

    def human(self, **params: Any) -> None:
        """Send an order by a human's hand."""
        self.control("order", params={"symbol": self.symbol, "type": "MARKET", **params})

    @property
    def size(self) -> Decimal:
        """Signed size of the position at the venue."""
        return net(self.books()).get(self.symbol, Decimal(0))


def differences(run: Run, books: Books, summary: dict[str, Any], tolerated: frozenset[str]) -> list[str]:
    """
    Return every breach of an invariant, judged on the venue's books.

    `tolerated` names the node's own checks that a scenario breaks by design, e.g. ``nothing rejected``.
    """
    found = [*_naked(run, books), *_doubles(books), *orphans(books), *_journal(books, summary)]
    theirs = {s: str(q) for s, q in net(books).items()}
    ours = {s: q for s, q in summary["positions"].items() if Decimal(q)}
    if {s: Decimal(q) for s, q in ours.items()} != net(books):
        found.append(f"2: node holds {ours}, venue {theirs}")
    refused = [r for r in books["rejects"] if r["endpoint"] in ("POST /fapi/v1/order", "POST /fapi/v1/algoOrder")]
    if REJECTED not in tolerated:  # a look-up that finds nothing, or a cancel that comes too late, is no defect here
        found += [f"refused: {r['endpoint']} {r['client_id']}: {r['code']} {r['message']}" for r in refused]
    found += [
        f"node's own check: {c['name']}: {c['detail']}"
        for c in summary["checks"]
        if not c["passed"] and c["name"] not in {*tolerated, REJECTED} and not c["name"].startswith("never naked")
    ]
    return found


def naked_seconds(run: Run, books: Books) -> float:
    """Return the longest stretch without a full stop, not counting the time no node ran."""
    worst = 0.0
    for gap in protection_gaps(books):
        begin, end = gap.start_ms / 1000, gap.end_ms / 1000
        down = sum(max(0.0, min(end, b) - max(begin, a)) for a, b in run.down)
        worst = max(worst, end - begin - down)
    return worst


def _naked(run: Run, books: Books) -> list[str]:
    found = [f"1: {g.symbol} {g.naked} has no stop" for g in protection_gaps(books) if g.open]
    worst = naked_seconds(run, books)
    return found + ([f"1: naked for {worst:.1f} s"] if worst > NAKED_LIMIT_SECS else [])


def _doubles(books: Books) -> list[str]:
    ids = Counter(o["client_order_id"] for o in books["orders"] if not o["algo_id"])
    ids += Counter(a["client_algo_id"] for a in books["algo_orders"])
    found = [f"3: {i} reached the books {n} times" for i, n in ids.items() if n > 1]
    entries = Counter(
        (o["symbol"], tag.cycle)
        for o in leg_orders(books, Leg.ENTRY)
        if (tag := decode(o["client_order_id"])) is not None and Decimal(o["executed"])
    )
    return found + [f"3: {n} entries executed for one signal of {key}" for key, n in entries.items() if n > 1]


def orphans(books: Books) -> list[str]:
    """Orders of ours that rest in a symbol without a position."""
    held = net(books)
    resting = [(o["symbol"], o["client_order_id"]) for o in books["open_orders"]]
    resting += [(a["symbol"], a["client_algo_id"]) for a in books["open_algo_orders"]]
    return [f"2: {i} rests without a position" for s, i in resting if s not in held and decode(i) is not None]


def _journal(books: Books, summary: dict[str, Any]) -> list[str]:
    ours = {f["id"]: f for f in summary["fills"]}
    theirs = {f"{f['symbol']}/{f['trade_id']}": f for f in books["fills"]}
    found = [f"8: fill {i} is not in the journal" for i in theirs.keys() - ours.keys()]
    found += [f"8: fill {i} of the journal never happened" for i in ours.keys() - theirs.keys()]
    for key in ours.keys() & theirs.keys():
        if Decimal(ours[key]["fee"]) != Decimal(theirs[key]["commission"]):
            found.append(
                f"8: fee of {key}: {ours[key]['fee']} in the journal, {theirs[key]['commission']} at the venue"
            )
    cash = sum(
        (-1 if f["side"] == "BUY" else 1) * Decimal(f["quantity"]) * Decimal(f["price"]) - Decimal(f["fee"])
        for f in ours.values()
    )
    cost = sum(Decimal(p["quantity"]) * Decimal(p["entry_price"]) for p in books["positions"].values())
    other = Decimal(books["funding_total"]) + Decimal(books["insurance"])
    off = Decimal(books["start_balance"]) + cash + cost + other - Decimal(books["wallet"])
    # Averaged entry prices have no last digit: half of the wallet's last digit per fill is the best there can be.
    if abs(off) > _MONEY * (1 + len(ours)):
        found.append(f"8: the journal's fills explain the wallet only to {off}")
    return found


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
