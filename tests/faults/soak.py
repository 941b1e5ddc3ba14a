"""
Random trouble, cycle after cycle, against one venue whose books live through it all, and the count of what went wrong.

Every cycle lets the market go on for some bars and then does one thing at random: kill -9 at a random instant of a
running replay, a dropped or reset stream, refused, lost and executed-but-unanswered requests, lost, doubled and
reversed events, a stop that is hit with or without a gap, a person who closes, halves, doubles or reverses a position
or cancels its stop; entries that fill in parts; with Redis, a server that is killed (and comes back empty) or stalls.
A cycle ends when the node is in order again, or the run fails there.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from node.venue.audit import protection_gaps
from strategies.order_ids import Leg
from tests.faults import harness
from tests.faults.harness import Books, Run, closing_stops, covered, leg_orders, naked_seconds, net
from tests.faults.redis_server import RedisServer

_SETTLE_SECS = 30.0
_CODES = ((503, -1008, "fail"), (504, 0, "fail"), (429, -1003, "fail"), (503, -1007, "execute_then_fail"))


@dataclass(frozen=True)
class Report:
    """
    Figures of a soak; everything from `double_orders` to `money` must be empty.

    Attributes
    ----------
    restart_to_protected_secs : float
        Longest time from the start of a process after kill -9 until every position was covered, if one was not.
    naked_secs : float
        Longest time without a full stop while a node ran.

    """

    seed: int
    redis: bool
    cycles: int
    seconds: float
    disturbances: dict[str, int]
    entries: int
    fills: int
    partial_fills: int
    restarts: int
    naked_secs: float
    restart_to_protected_secs: float
    double_orders: list[str]
    unprotected: list[str]
    orphans: list[str]
    journal_gaps: list[str]
    positions: list[str]
    checks: list[str]
    incidents: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        bad = (self.double_orders, self.unprotected, self.orphans, self.journal_gaps, self.positions, self.checks)
        return not any(bad)

    def plain(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


class Soak:
    """One run of `cycles` random disturbances on a started `run`; its node uses `redis`, if there is one."""

    def __init__(self, run: Run, cycles: int, redis: RedisServer | None = None) -> None:
        self.run = run
        self.cycles = cycles
        self.redis = redis
        self.random = random.Random(run.seed)
        self.done: Counter[str] = Counter()
        self.restart_secs = 0.0
        self._kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "kill -9": (4, self._kill),
            "user stream": (2, lambda: self._drop("drop_user_stream")),
            "market stream": (1, lambda: self._drop("drop_market_stream")),
            "listen key": (1, lambda: self._control("expire_listen_key")),
            "5xx on orders": (3, self._bad_answers),
            "reset on orders": (1, self._resets),
            "lost events": (2, lambda: self._events("mute")),
            "doubled events": (1, lambda: self._events("duplicate")),
            "stop hit": (3, self._stop_hit),
            "human trade": (2, self._human),
            "human cancel": (1, self._human_cancel),
            "stop hit unheard": (2, self._stop_hit_unheard),
            "refused connections": (1, self._refused),
            "funding": (1, self._funding),
        }
        if redis is not None:
            self._kinds |= {"redis killed": (2, self._redis_killed), "redis stalled": (2, self._redis_stalled)}

    def play(self) -> Report:
        """Do it."""
        began = time.monotonic()
        names = list(self._kinds)
        weights = [self._kinds[n][0] for n in names]
        for number in range(self.cycles):
            self.run.step(self.random.randint(1, 4))
            name = self.random.choices(names, weights)[0]
            self.done[name] += 1
            self._kinds[name][1]()
            self._settled(f"cycle {number}: {name}")
        self.run.control("clear_faults")
        self.run.step(2)
        self._settled("the end")
        return self._report(time.monotonic() - began)

    # -- disturbances --------------------------------------------------------------------------------------------------

    def _control(self, action: str, **body: Any) -> None:
        self.run.control(action, **body)

    def _kill(self) -> None:
        run = self.run
        run.control("step", count=20)
        time.sleep(self.random.uniform(0.0, 0.5))
        run.kill()
        run.control("pause")
        if self.random.random() < 0.3:
            self._stop_hit()
        began = time.time()
        run.start_node()
        run.until(_in_order, what="protection after a restart", path="open", secs=_SETTLE_SECS)
        late = [g for g in protection_gaps(run.books()) if g.start_ms / 1000 < began < g.end_ms / 1000]
        self.restart_secs = max(self.restart_secs, *(g.end_ms / 1000 - began for g in late), 0.0)

    def _drop(self, action: str) -> None:
        run = self.run
        refuse = self.random.random() < 0.5
        run.control(action, hard=self.random.random() < 0.5, refuse=refuse)
        if refuse:
            if action == "drop_market_stream":
                run.step(self.random.randint(1, 3))
            run.control("accept")
        run.until(
            lambda s: bool(s["user_connections"] and s["market_connections"]),
            what="streams",
            path="session",
            secs=_SETTLE_SECS,
        )

    def _bad_answers(self) -> None:
        status, code, mode = self.random.choice(_CODES)
        path = self.random.choice(("/fapi/v1/order$", "/fapi/v1/algoOrder$", "/fapi/v1/(order|algoOrder)$"))
        times = self.random.randint(1, 2)
        headers = {"Retry-After": "1"} if status == 429 else {}
        what = {"status": status, "code": code, "mode": mode, "times": times, "headers": headers}
        self.run.control("fault", path=path, message="soak", **what)
        self.run.step(self.random.randint(1, 6))

    def _refused(self) -> None:
        self.run.control("refuse_connections", secs=self.random.uniform(0.2, 1.5))
        self.run.step(self.random.randint(1, 3))

    def _funding(self) -> None:
        if self._pick():
            if self.random.random() < 0.5:
                self.run.control("event_fault", event="ACCOUNT_UPDATE", mode="mute", times=1)
            self.run.control("funding", symbol=self.run.symbol, rate=f"{self.random.choice((-1, 1)) * 0.0003}")

    def _redis_killed(self) -> None:
        assert self.redis is not None
        self.redis.kill()
        self.run.step(self.random.randint(1, 4))
        if self.random.random() < 0.3:
            self._kill()  # the next life begins without it
        self.redis.start()
        self.run.step(self.random.randint(1, 2))

    def _redis_stalled(self) -> None:
        assert self.redis is not None
        self.redis.stall()
        try:
            self.run.step(self.random.randint(1, 4))
            if self.random.random() < 0.5:
                self._stop_hit()
        finally:
            self.redis.go_on()

    def _resets(self) -> None:
        mode = self.random.choice(("close", "execute_then_close"))
        self.run.control("fault", method="POST", path="/fapi/v1/(order|algoOrder)$", mode=mode)
        self.run.step(self.random.randint(1, 6))

    def _events(self, mode: str) -> None:
        name = self.random.choice(("ORDER_TRADE_UPDATE", "ALGO_UPDATE", "ACCOUNT_UPDATE"))
        self.run.control("event_fault", event=name, mode=mode, times=self.random.randint(1, 3))
        self.run.step(self.random.randint(1, 6))

    def _pick(self) -> bool:
        books = self.run.books()
        held = [s for s in net(books) if closing_stops(books, s)]
        if held:
            self.run.symbol = self.random.choice(held)
        return bool(held)

    def _stop_hit(self) -> None:
        if self._pick():
            self.run.trigger_stop(gap=self.random.random() < 0.5)

    def _stop_hit_unheard(self) -> None:
        self.run.control("drop_user_stream", refuse=True)
        self._stop_hit()
        self._drop("drop_user_stream")

    def _human(self) -> None:
        if not self._pick():
            return
        size = self.run.size
        share = self.random.choice(("0.5", "1", "2"))
        buys = (size > 0) == (self.random.random() < 0.3)
        self.run.human(side="BUY" if buys else "SELL", quantity=str((abs(size) * Decimal(share)).quantize(size)))

    def _human_cancel(self) -> None:
        if self._pick():
            for stop in closing_stops(self.run.books(), self.run.symbol)[:1]:
                self.run.control("cancel", algo_id=stop["algo_id"])

    # -- judgement -----------------------------------------------------------------------------------------------------

    def _settled(self, what: str) -> None:
        self.run.until(_in_order, path="open", what=f"order after {what} ({dict(self.done)})", secs=_SETTLE_SECS)

    def _report(self, seconds: float) -> Report:
        run = self.run
        summary = run.finish()
        books = run.books()
        found = harness.differences(run, books, summary, frozenset({"nothing rejected", "no critical incident"}))
        naked = naked_seconds(run, books)
        return Report(
            seed=run.seed,
            redis=self.redis is not None,
            cycles=self.cycles,
            seconds=seconds,
            disturbances=dict(sorted(self.done.items())),
            entries=len(leg_orders(books, Leg.ENTRY)),
            fills=len(books["fills"]),
            partial_fills=sum(n - 1 for n in Counter(f["order_id"] for f in books["fills"]).values()),
            restarts=len(run.starts) - 1,
            naked_secs=naked,
            restart_to_protected_secs=self.restart_secs,
            double_orders=_of(found, "3:"),
            unprotected=_of(found, "1:"),
            orphans=[f for f in _of(found, "2:") if "rests" in f],
            journal_gaps=_of(found, "8:"),
            positions=[f for f in _of(found, "2:") if "rests" not in f],
            checks=_of(found, "node's own"),
            incidents=summary["incidents_by_code"],
        )


def _in_order(books: Books) -> bool:
    """Every position covered, nothing of ours resting in a flat symbol."""
    return all(covered(books, s) for s in net(books)) and not harness.orphans(books)


def _of(found: list[str], prefix: str) -> list[str]:
    return [f for f in found if f.startswith(prefix)]
