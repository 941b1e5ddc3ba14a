"""
What the watchdog concludes from what it sees. Pure: no clock, no files, no network.

Each conclusion is drawn once per occurrence: a node that hangs is killed once, a death is counted once, a report is not
repeated while nothing changes.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum, unique

from node.control.config import WatchdogConfig
from node.control.run_directory import Beat, NodeProcess


@unique
class Act(StrEnum):
    """What is to be done."""

    REPORT = "report"
    PAUSE = "pause"
    """No new entries."""
    KILL_NODE = "kill_node"
    """SIGKILL; the supervisor starts it again."""
    CLOSE = "close"
    """Close one symbol at the venue and latch it."""
    GIVE_UP = "give_up"
    """Flatten everything at the venue and latch."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """An act, with the incident that tells of it."""

    act: Act
    code: str
    message: str
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One look at the account: what no stop covers, and the venue's clock minus ours; `error` if it failed."""

    naked: dict[str, Decimal] = field(default_factory=dict)
    offset_ms: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """
    What is seen at one moment.

    Attributes
    ----------
    now : float
        Monotonic time, s.
    process, alive : NodeProcess or None, bool
        The node as it told; None after an orderly end.
    process_age : float
        Since it started, s.
    beat, beat_age : Beat or None, float
        Its last heartbeat, if it is this process's.
    account : Account or None
        A new look at the account; None when there was none since the last sight.

    """

    now: float
    process: NodeProcess | None
    alive: bool
    process_age: float = 0.0
    beat: Beat | None = None
    beat_age: float = 0.0
    account: Account | None = None


class Policy:
    """
    Judges one sight after the other.

    Parameters
    ----------
    config : WatchdogConfig
        Its patience.

    """

    def __init__(self, config: WatchdogConfig) -> None:
        self._config = config
        self._failures: list[float] = []
        self._failed: tuple[int, int] | None = None
        self._lagging = False
        self._naked_since: dict[str, float] = {}
        self._blind = 0
        self._clock_off = False

    def judge(self, sight: Sight) -> list[Conclusion]:
        """Return what follows from `sight`, in the order it is to be done."""
        found = self._node(sight)
        if sight.account is not None:
            found.extend(self._account(sight.now, sight.account))
        return found

    # -- the node -----------------------------------------------------------------------------------------------------

    def _node(self, sight: Sight) -> list[Conclusion]:
        process = sight.process
        if process is None or self._failed == (process.pid, process.start_ticks):
            return []
        if not sight.alive:
            return self._fail(sight, Act.REPORT, "node_died", f"the node (pid {process.pid}) died")
        config, beat = self._config, sight.beat
        if beat is None or beat.phase == "starting":
            silent = sight.process_age if beat is None else sight.beat_age
            if silent > config.start_secs:
                return self._fail(sight, Act.KILL_NODE, "node_hangs", f"no heartbeat for {silent:.0f} s while starting")
            return []
        if sight.beat_age > config.hang_secs:
            text = f"the event loop hangs: last heartbeat {sight.beat_age:.1f} s ago"
            return self._fail(sight, Act.KILL_NODE, "node_hangs", text)
        stale = None if beat.feed_age_secs is None else beat.feed_age_secs + sight.beat_age
        if config.feed_secs is not None and not beat.replay and stale is not None and stale > config.feed_secs:
            text = f"no market data for {stale:.0f} s"
            return self._fail(sight, Act.KILL_NODE, "feed_stale", text)
        lagging = beat.loop_lag_secs > config.lag_secs
        found = []
        if lagging and not self._lagging:
            found.append(Conclusion(Act.REPORT, "loop_lag", f"the event loop lagged {beat.loop_lag_secs:.2f} s"))
        self._lagging = lagging
        return found

    def _fail(self, sight: Sight, act: Act, code: str, message: str) -> list[Conclusion]:
        process = sight.process
        if process is not None:
            self._failed = (process.pid, process.start_ticks)
        self._lagging = False
        window = self._config.failure_window_secs
        self._failures = [*(t for t in self._failures if sight.now - t <= window), sight.now]
        count = len(self._failures)
        found = [Conclusion(act, code, f"{message} (failure {count} of {self._config.max_failures})")]
        if count >= self._config.max_failures:
            self._failures.clear()
            text = f"{count} failures within {window:.0f} s, last: {message}: flattening"
            found.append(Conclusion(Act.GIVE_UP, "watchdog_gave_up", text))
        return found

    # -- the account --------------------------------------------------------------------------------------------------

    def _account(self, now: float, account: Account) -> list[Conclusion]:
        if account.error is not None:
            self._blind += 1
            if self._blind == self._config.blind_polls:
                text = f"the account could not be looked at {self._blind} times in a row: {account.error}"
                return [Conclusion(Act.REPORT, "watchdog_blind", text)]
            return []
        found = []
        if self._blind >= self._config.blind_polls:
            found.append(Conclusion(Act.REPORT, "watchdog_sees", "the account can be looked at again"))
        self._blind = 0
        off = abs(account.offset_ms) > self._config.clock_ms
        if off and not self._clock_off:
            text = f"venue clock minus ours: {account.offset_ms:+d} ms: entries paused"
            found.append(Conclusion(Act.PAUSE, "clock_offset", text))
        self._clock_off = off
        found.extend(self._naked(now, account.naked))
        return found

    def _naked(self, now: float, naked: dict[str, Decimal]) -> list[Conclusion]:
        found = []
        for symbol in set(self._naked_since) - set(naked):
            del self._naked_since[symbol]
        for symbol, quantity in naked.items():
            since = self._naked_since.setdefault(symbol, now)
            if since == now:
                text = f"{quantity:f} without a stop at the venue"
                found.append(Conclusion(Act.REPORT, "naked_seen", text, symbol))
            if now - since >= self._config.naked_secs:
                # Not closed once per look, but once per patience: what did not work may work later.
                self._naked_since[symbol] = now
                text = f"{quantity:f} without a stop for {now - since:.1f} s: closing and latching"
                found.append(Conclusion(Act.CLOSE, "naked_closed", text, symbol))
        return found
