"""
One life of the live node: connect, restore, run, end, account for it. The command is in ``node.live``.

Errors: whatever prevents the start ends the process with a non-zero code (**fatal**): a node that logs "running" but
cannot trade is worse than none. An aborted replay or a broken invariant ends it with code 1 and says which.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.live.node import TradingNode

from actors.ledger import RestoredLedger
from actors.risk_state import RestoredRisk
from catalog.instruments import instrument_id, interval_ns
from catalog.sample import describe
from node.account_summary import Ending, summarize_account
from node.assembly import VENUE, Mode, trading_node_config
from node.audit.service import AccountGuards
from node.binance.barrier import ReplayBarrier, ReplayOutcome, ReplayResult, execution_client
from node.binance.config import BinanceSettings, client_configs
from node.binance.factories import ArgonautBinanceLiveDataClientFactory, ArgonautBinanceLiveExecClientFactory
from node.binance.preflight import Severity, run_preflight
from node.binance.queues import straighten
from node.binance.rest import BinanceRest
from node.binance.side_data import FundingPoller, FundingPollerConfig
from node.catch_up import missed_fills, missed_funding
from node.collector import IdleCollector
from node.config import NodeConfig
from node.control.operations import Operations
from node.doctor.gate import require_clearance
from node.environments import Environment, Session, environment_of, get_json
from node.health import JOURNAL, EntryHolds, HealthMonitor, paused_by
from node.journal import Journal
from node.journal_gate import JournalGate
from node.kill_points import kill_point
from node.live_summary import NodeView, Summary, summarize
from node.redis_link import RedisConfig, reachable
from node.restored import restored_ledger, restored_risk, settle_memory
from node.simulation.analyzer import cure
from node.start_retries import until_available
from node.stopping import settle
from node.watching import RestoredWatch, restored_watch
from strategies.base import FUNDING_READY_TOPIC, SignalStrategy
from strategies.errors import VenueError
from strategies.request_budget import RequestBudget

type Restored = tuple[RestoredRisk, RestoredLedger, RestoredWatch]

_MILLI_NS = 1_000_000
_DAY_NS = 86_400_000_000_000
_START_GRACE_SECS = 20.0
_GET_ATTEMPTS = 4
_POLL_SECS = 0.02
_FUNDING_SECS = 60.0
_HISTORY_SECS = 100.0
"""A replay gives up after 120 s without saying why."""
_TRADER_POLL_SECS = 0.25
_PAYMENTS_SECS = 3.0


async def run_live(config: NodeConfig, venue_url: str | None, *, flatten_on_stop: bool = False) -> Summary:
    """
    Run the node until the replay ends, a command or signal stops it, or it fails.

    `flatten_on_stop` closes every position before a stop that was asked for; otherwise stops stay at the venue.

    Raises
    ------
    ConfigError, VenueError, JournalError
        Fatal: the node cannot be started; one clear line says why.

    """
    require_clearance(config, os.environ, time.time_ns())
    environment = environment_of(config, venue_url)
    try:
        session = await environment.open()
        return await _LiveRun(config, environment, session, flatten_on_stop=flatten_on_stop).run()
    finally:
        await environment.close()


class _LiveRun:
    """Holds what belongs to one run."""

    def __init__(
        self, config: NodeConfig, environment: Environment, session: Session, *, flatten_on_stop: bool = False
    ) -> None:
        self._flatten_on_stop = flatten_on_stop
        self._config = config
        self._environment = environment
        self._session = session
        self._operations = Operations(
            config,
            venue_url=session.http,
            replay=environment.replay,
            stop=lambda who: self._on_signal(f"stop by {who}"),
        )
        self._ended = asyncio.Event()
        self._replay: ReplayResult | None = None
        self._redis: RedisConfig | None = None
        self._failure: str | None = None
        self._journal_failure: str | None = None
        self._holds: EntryHolds | None = None
        self._stopped_by: str | None = None
        self._start_secs = _START_GRACE_SECS

    async def run(self) -> Summary:
        """Run to the end."""
        started = time.monotonic()
        kill = kill_point()
        self._operations.claim()
        gate = await until_available(self._open_gate)
        journal = gate.journal
        try:
            settings = self._environment.settings(self._session)
            await self._preflight(settings)
            # Only a node that may run binds the journal: a start that fails must not set a good one aside.
            set_aside = journal.bind_session(self._session.id, replaceable=self._environment.replaceable)
            self._know_start_balance(journal)
            self._operations.open(journal)
            node = self._build(await self._restore(journal, settings), settings)
            journal.attach(node.kernel.msgbus)
            self._operations.attach(node)
            client = execution_client(node.kernel.exec_engine)
            client.before_entry = gate.written
            holds = self._entry_holds(node, client, journal)
            health = self._health(client, holds, settings)
            if kill is not None:
                kill.install(node, client)
            guards = AccountGuards(
                *(self._config, node, client, journal, holds),
                lambda: self._rest(settings, client.request_budget),
                replay=self._environment.replay,
            )
            view = await self._drive(node, gate, health, guards)
            journal.flush()
            return await self._summary(journal, view, set_aside, time.monotonic() - started, settings)
        finally:
            self._operations.close()
            gate.close()

    async def _summary(
        self, journal: Journal, view: NodeView, set_aside: str | None, seconds: float, settings: BinanceSettings
    ) -> Summary:
        ending = Ending(
            failure=self._failure or self._journal_failure,
            stopped_by=self._stopped_by,
            set_aside=set_aside,
            seconds=seconds,
            replay=self._replay,
        )
        if self._session.control is None:
            async with self._rest(settings) as rest:
                return await summarize_account(
                    rest,
                    journal,
                    view,
                    self._config.symbols,
                    ending,
                    self._session.start_balance,
                    self._environment.title,
                )
        return summarize(
            journal=journal,
            books=await get_json(f"{self._session.control}/books"),
            view=view,
            symbols=self._config.symbols,
            replay=self._replay,
            failure=self._failure or self._journal_failure,
            stopped_by=self._stopped_by,
            set_aside=set_aside,
            start_balance=self._session.start_balance,
            sample=describe(Path(self._config.catalog)) if self._environment.replay else None,
            title=self._environment.title,
            seconds=seconds,
        )

    async def _open_gate(self) -> JournalGate:
        loop = asyncio.get_running_loop()  # the journal speaks on its writer's thread
        return JournalGate(
            self._config,
            self._operations.ahead,
            lambda reason: _later(loop, self._journal_failed, reason),
            lambda: _later(loop, self._journal_recovered),
        )

    # -- before -------------------------------------------------------------------------------------------------------

    def _know_start_balance(self, journal: Journal) -> None:
        """A real account's history begins with the journal, not with this start."""
        first = journal.equity()[:1]
        if self._session.control is None and first:
            self._session = self._session._replace(start_balance=first[0].balance)

    def _entry_holds(self, node: TradingNode, client: Any, journal: Journal) -> EntryHolds:
        kernel = node.kernel
        holds = EntryHolds(kernel.msgbus, kernel.clock, paused_by=paused_by(journal.incidents()))
        client.entry_hold = lambda: holds.reason
        if self._config.redis is not None and self._redis is None:
            holds.incident("REDIS_ABSENT", f"running without redis {self._config.redis.address}")
        self._holds = holds
        return holds

    def _health(self, client: Any, holds: EntryHolds, settings: BinanceSettings) -> HealthMonitor:
        exchange = self._config.exchange
        return HealthMonitor(
            holds,
            self._rest(settings, client.request_budget),
            stream_up=client.user_stream_up,
            max_offset_ms=exchange.max_clock_offset_ms,
            clock_poll_secs=exchange.clock_poll_secs,
            redis=self._redis,
            on_offset=client.correct_clock,
        )

    async def _preflight(self, settings: BinanceSettings) -> None:
        self._redis = await reachable(self._config.redis)
        async with self._rest(settings) as rest:
            findings = await run_preflight(rest, symbols=self._config.all_symbols)
        failed = [
            f"{f.message} ({f.remedy})" if f.remedy else f.message for f in findings if f.severity is Severity.FAIL
        ]
        if failed:
            raise VenueError(f"not started: {'; '.join(failed)}")

    async def _restore(self, journal: Journal, settings: BinanceSettings) -> Restored:
        """Read the journal, and ask the venue what happened since it was last written."""
        symbols = self._config.symbols
        restore = journal.restore(list(symbols), self._session.market_time_ns)
        async with self._rest(settings) as rest:
            missed = await missed_fills(rest, journal, symbols, replay=self._environment.replay)
            now_ms = time.time_ns() // _MILLI_NS
            funding = await missed_funding(rest, journal, symbols, now_ms=now_ms, replay=self._environment.replay)
        ledger = restored_ledger(restore, missed, funding)
        return restored_risk(restore), ledger, restored_watch(journal, self._config)

    def _rest(self, settings: BinanceSettings, budget: RequestBudget | None = None) -> BinanceRest:
        resolved = settings.resolved()
        return BinanceRest(
            resolved.base_url_http or "",
            api_key=resolved.api_key,
            api_secret=resolved.api_secret,
            timeout_secs=settings.http_timeout_secs,
            get_attempts=_GET_ATTEMPTS,
            budget=budget,
        )

    def _build(self, restored: Restored, settings: BinanceSettings) -> TradingNode:
        config = self._config
        data_client, exec_client = client_configs(settings)
        mode = Mode(
            live=True,
            replay=self._environment.replay,
            trade_from_ns=self._session.market_time_ns,
            market_time_ns=self._session.market_time_ns if self._environment.replay else None,
            start_balance=self._session.start_balance,
            restored=restored[0],
            ledger=restored[1],
            watch=restored[2],
            poller=FundingPollerConfig(
                component_id="FundingPoller",
                instrument_ids=tuple(instrument_id(s) for s in config.symbols),
                base_url=self._session.http,
            ),
        )
        node_config = trading_node_config(config, mode, data_client, exec_client, self._redis)
        self._start_secs = node_config.timeout_connection + node_config.timeout_reconciliation + _START_GRACE_SECS
        node = TradingNode(config=node_config, loop=asyncio.get_running_loop())
        node.add_data_client_factory(VENUE, ArgonautBinanceLiveDataClientFactory)
        node.add_exec_client_factory(VENUE, ArgonautBinanceLiveExecClientFactory)
        node.build()
        cure(node.kernel.portfolio.analyzer)
        straighten(node.kernel.data_engine, node.kernel.risk_engine, node.kernel.exec_engine)
        return node

    # -- during -------------------------------------------------------------------------------------------------------

    async def _drive(
        self, node: TradingNode, gate: JournalGate, health: HealthMonitor, guards: AccountGuards
    ) -> NodeView:
        strategies = [s for s in node.trader.strategies() if isinstance(s, SignalStrategy)]
        pollers = [a for a in node.trader.actors() if isinstance(a, FundingPoller)]
        collector = IdleCollector(None if self._environment.replay else interval_ns(self._config.interval) / 1e9)
        barrier = history = None
        if self._environment.replay:
            barrier = ReplayBarrier(
                node,
                f"{self._session.ws}/argonaut/replay",
                is_ready=lambda: node.trader.is_running and all(s.ready for s in strategies),
                # Nothing decided before a barrier is lost by a kill after it.
                is_idle=lambda: (gate.kept() or gate.journal.failed) and all(p.idle for p in pollers),
                on_end=self._on_replay_end,
                node_id=self._config.trader_id,
            )
        running = asyncio.create_task(node.run_async(), name="node")
        running.add_done_callback(lambda _: self._ended.set())
        self._watch_signals()
        try:
            if await self._started(node, running):
                health.start()
                guards.start()
                history = asyncio.create_task(self._history_fetched(strategies), name="history")
                await self._funding_ready(node, pollers)
                self._operations.running()
                settle_memory()
                collector.start()
                if barrier is not None:
                    barrier.start()
                await self._until_ended(node)
                if self._stopped_by is not None:
                    await settle(node)
                if self._flatten_on_stop and self._stopped_by is not None:
                    await self._flatten()
                await self._last_payments(node)
            view = NodeView.of(node, self._config.symbols, strategies)
        finally:
            collector.stop()
            if history is not None:
                history.cancel()
            if barrier is not None:
                await barrier.stop()
            await guards.stop()
            await health.stop()
            await self._stop(node, running)
            self.redis_lost = health.redis_lost
        return view

    async def _until_ended(self, node: TradingNode) -> None:
        """Wait for the end. An engine that met an exception stops the trader and nothing else: that is an end too."""
        while not self._ended.is_set():
            if not node.trader.is_running:
                self._failure = self._failure or "the node ended by itself: see the log above"
                self._ended.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _TRADER_POLL_SECS)
        if self._stopped_by is None and self._replay is None:
            self._failure = self._failure or "the node ended by itself: see the log above"

    async def _started(self, node: TradingNode, running: "asyncio.Task[None]") -> bool:
        """Wait until the trader runs; a node that does not get there is a failure, never a zombie."""
        settled = await self._until(lambda: node.trader.is_running or running.done(), self._start_secs)
        if settled and not running.done():
            return True
        if self._stopped_by is None:
            self._failure = "the node did not start: see the log above"
        return False

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for `condition`; False when the run ended or the time is over first."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self._ended.is_set() or time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECS)
        return True

    async def _funding_ready(self, node: TradingNode, pollers: list[FundingPoller]) -> None:
        """Tell the strategies once the funding history has been published."""
        if not await self._until(lambda: all(p.ready for p in pollers), _FUNDING_SECS):
            self._failure = self._failure or "the funding history could not be fetched"
            self._ended.set()
        node.kernel.msgbus.publish(FUNDING_READY_TOPIC, True)

    async def _history_fetched(self, strategies: list[SignalStrategy]) -> None:
        """End the run if history does not come: a node that waits for ever looks well and never trades."""
        if not await self._until(lambda: all(s.ready for s in strategies), _HISTORY_SECS) and not self._ended.is_set():
            missing = ", ".join(str(s.id) for s in strategies if not s.ready)
            self._failure = self._failure or f"history could not be fetched within {_HISTORY_SECS:.0f} s for {missing}"
            self._ended.set()

    def _on_replay_end(self, result: ReplayResult) -> None:
        self._replay = result
        if result.outcome is not ReplayOutcome.FINISHED:
            self._failure = f"replay {result.outcome.value}: {result.detail}"
        self._ended.set()

    def _journal_failed(self, reason: str) -> None:
        """Tell of it at once: no entry passes the gate until the journal works again, and it cannot say so itself."""
        self._journal_failure = f"journal: {reason}"
        if self._holds is not None:
            self._holds.hold(JOURNAL, self._journal_failure)

    def _journal_recovered(self) -> None:
        self._journal_failure = None
        if self._holds is not None:
            self._holds.release(JOURNAL)

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)

    def _on_signal(self, name: str) -> None:
        self._stopped_by = name
        self._ended.set()

    async def _flatten(self) -> None:
        if not await self._operations.flatten(f"--flatten-on-stop ({self._stopped_by})"):
            self._failure = self._failure or "--flatten-on-stop: the venue is not flat: its stops are still there"

    async def _last_payments(self, node: TradingNode) -> None:
        """Record funding whose event was lost, if the venue answers; if not, the next start does it."""
        with suppress(BinanceError, TimeoutError):
            await asyncio.wait_for(execution_client(node.kernel.exec_engine).read_back_funding(), _PAYMENTS_SECS)

    async def _stop(self, node: TradingNode, running: "asyncio.Task[None]") -> None:
        """Stop the node; its stops stay at the venue."""
        if not running.done():
            await node.stop_async()
        try:
            await asyncio.wait_for(running, timeout=30.0)
        except TimeoutError:
            self._failure = self._failure or "the node did not stop within 30 s"
        except Exception as e:  # noqa: BLE001 - whatever ended the node is the failure to report
            self._failure = self._failure or f"{type(e).__name__}: {e}"


def _later(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: str) -> None:
    """Have the event loop's thread do it, unless the loop is over."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)
