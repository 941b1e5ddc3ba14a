"""
The one object the live run holds: claims the run directory, opens the doors, beats, and flattens before a stop.

    operations = Operations(config, …)
    operations.claim()               # before the journal is opened: two nodes must not share one
    operations.open(journal)         # once it is bound to its session, before anything is restored from it
    operations.attach(node)          # built, not yet connected
    operations.running()             # the trader runs
    await operations.flatten(who)    # only if that was asked for
    operations.close()               # before the journal is closed
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from actors.risk_guard import RiskGuard
from catalog.instruments import instrument_id
from node.binance.feed_age import FeedAge
from node.config import NodeConfig
from node.control.access import run_directory, venue_rest
from node.control.commands import Action, Command
from node.control.direct import FlattenReport, flatten
from node.control.plane import ControlPlane, adopt_inbox
from node.control.run_directory import NodeProcess
from node.journal import Journal
from strategies.market_clock import market_clock

_POLL_SECS = 0.02


class Operations:
    """
    Control of one life of the node.

    Parameters
    ----------
    config : NodeConfig
        The node's configuration.
    venue_url : str or None
        Address of a simulated venue.
    replay : bool
        Whether market time runs at its own speed.
    stop : Callable[[str], None]
        Ends the run, with whose wish it was.

    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        venue_url: str | None,
        replay: bool,
        stop: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._config = config
        self._venue_url = venue_url
        self._replay = replay
        self._stop = stop
        self._environ = environ
        self._directory = run_directory(config)
        self._node: Any = None
        self._feed: FeedAge | None = None
        self._guards: list[RiskGuard] = []
        self._plane: ControlPlane | None = None
        self._process: NodeProcess | None = None

    @property
    def ahead(self) -> Path:
        """Where the journal's write-ahead file lies."""
        return self._directory.path / "journal.ahead"

    def claim(self) -> None:
        """
        Make the run directory this process's own.

        Raises
        ------
        ConfigError
            Fatal: another node runs with it, or it cannot be written.

        """
        self._process = self._directory.claim(self._config.environment, self._venue_url)

    def open(self, journal: Journal) -> None:
        """Take what was left while no node ran into the journal, beat, and listen to commands."""
        if self._process is None:
            raise RuntimeError("claim the run directory first")
        config = self._config
        adopt_inbox(self._directory, journal)
        self._plane = ControlPlane(
            directory=self._directory,
            process=self._process,
            config=config.operate,
            symbols=config.symbols,
            record=journal.record,
            flatten_direct=self._flatten_direct,
            stop=self._stop,
            facts=self._facts,
        )
        self._directory.write("node.json", msgspec.structs.replace(self._process, port=self._plane.port))
        self._plane.start()

    def close(self) -> None:
        """Listen no more and leave the run directory."""
        if self._plane is not None:
            self._plane.close()
        self._directory.release()

    def attach(self, node: Any) -> None:
        """Know the built node; call before it connects."""
        self._feed = FeedAge(node.kernel.data_engine)
        self._guards = [a for a in node.trader.actors() if isinstance(a, RiskGuard)]
        self._node = node

    def running(self) -> None:
        """Deliver commands from now on."""
        if self._plane is not None:
            self._plane.run(self._node.kernel.msgbus)

    async def flatten(self, who: str) -> bool:
        """Close every position through the strategies, else directly; return whether the venue is flat."""
        if self._plane is None or self._node is None:
            return False
        self._plane.heartbeat.phase = "stopping"
        for action in (Action.PAUSE, Action.FLATTEN):
            command = Command(action=action, who=who, via="stop")
            await asyncio.to_thread(self._plane.submit, command)
        deadline = time.monotonic() + self._config.operate.flat_secs
        while self._positions():
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECS)
        async with self._rest() as rest:  # the venue has the last word; where it is flat already, nothing is sent
            report = await flatten(rest, self._config.symbols)
        return report.flat

    # -- inside -------------------------------------------------------------------------------------------------------

    def _rest(self) -> Any:
        return venue_rest(self._config, self._environ, venue_url=self._venue_url)

    def _flatten_direct(self, symbols: tuple[str, ...]) -> FlattenReport:
        async def run() -> FlattenReport:
            async with self._rest() as rest:
                return await flatten(rest, symbols)

        return asyncio.run(run())

    def _facts(self) -> dict[str, Any]:
        node = self._node
        return {
            "market_time": None if node is None else market_clock(node.kernel.msgbus).now,
            "replay": self._replay,
            "feed_age_secs": None if self._feed is None else self._feed.secs(),
            "latches": sorted(f"{latch.value} {scope}" for g in self._guards for latch, scope in g.latches.active),
            "positions": self._positions(),
        }

    def _positions(self) -> dict[str, str]:
        if self._node is None:
            return {}
        found = {}
        for symbol in self._config.symbols:
            opened = self._node.cache.positions_open(instrument_id=instrument_id(symbol))
            quantity = sum((p.signed_decimal_qty() for p in opened), Decimal(0))
            if quantity:
                found[symbol] = format(quantity, "f")
        return found
