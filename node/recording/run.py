"""A node that only listens: the data client and the recorder, without keys, strategies or an execution client."""

import asyncio
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType, BinanceEnvironment
from nautilus_trader.adapters.binance.common.urls import get_http_base_url
from nautilus_trader.adapters.binance.config import BinanceInstrumentProviderConfig
from nautilus_trader.common.config import ImportableActorConfig, LoggingConfig
from nautilus_trader.live.config import LiveDataEngineConfig, LiveExecEngineConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode

from catalog.instruments import bar_type, instrument_id
from catalog.recording.segments import RecorderLock
from node.binance.config import ArgonautDataClientConfig
from node.binance.factories import ArgonautBinanceLiveDataClientFactory
from node.recording.actor import MarketRecorder, MarketRecorderConfig
from node.recording.config import RecordConfig, RecordingConfig
from strategies.errors import DataError, VenueError

_VENUE = "BINANCE"
_ENVIRONMENTS = {
    "live": BinanceEnvironment.LIVE,
    "testnet": BinanceEnvironment.TESTNET,
    "demo": BinanceEnvironment.DEMO,
    "venue": BinanceEnvironment.TESTNET,
}
_START_SECS = 90.0
_POLL_SECS = 0.05


def recorder_config(symbols: tuple[str, ...], record: RecordingConfig, base_url: str) -> ImportableActorConfig:
    """Return the recorder as a node's configuration names it; `base_url` is the REST interface."""
    typed = MarketRecorderConfig(
        component_id="MarketRecorder",
        instrument_ids=tuple(instrument_id(s) for s in symbols),
        bar_types=tuple(bar_type(s, interval) for s in symbols for interval in record.intervals),
        base_url=base_url if record.statistics else "",
        directory=record.directory,
        raw=record.raw,
        trades=record.trades,
        quotes=record.quotes,
        marks=record.marks,
        liquidations=record.liquidations,
        poll_secs=record.poll_secs,
        most_waiting=record.most_waiting,
        segment_bytes=record.segment_mb << 20,
    )
    return ImportableActorConfig(
        actor_path="node.recording.actor:MarketRecorder",
        config_path="node.recording.actor:MarketRecorderConfig",
        config=typed.json_primitives(),
    )


def recording_node(config: RecordConfig, *, more: tuple[ImportableActorConfig, ...] = ()) -> TradingNode:
    """Return the built node on the running event loop; `more` actors listen beside the recorder."""
    environment = _ENVIRONMENTS[config.environment]
    kind = BinanceAccountType.USDT_FUTURES
    http = config.base_url_http or get_http_base_url(kind, environment, is_us=False)
    client = ArgonautDataClientConfig(
        account_type=kind,
        environment=environment,
        base_url_http=http,
        base_url_ws=config.base_url_ws,
        instrument_provider=BinanceInstrumentProviderConfig(
            load_ids=frozenset(instrument_id(s) for s in config.symbols), query_commission_rates=False
        ),
    )
    node = TradingNode(
        TradingNodeConfig(
            trader_id=config.trader_id,
            actors=[*more, recorder_config(config.symbols, config.record, http)],
            data_clients={_VENUE: client},
            data_engine=LiveDataEngineConfig(validate_data_sequence=False, graceful_shutdown_on_exception=True),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            logging=LoggingConfig(log_level=config.log_level, log_colors=False),
            timeout_connection=60.0,
            timeout_disconnection=5.0,
            timeout_post_stop=0.5,
        ),
        loop=asyncio.get_running_loop(),
    )
    node.add_data_client_factory(_VENUE, ArgonautBinanceLiveDataClientFactory)
    node.build()
    return node


async def run_recorder(config: RecordConfig) -> dict[str, Any]:
    """
    Record until a signal ends it; return what was recorded.

    Raises
    ------
    DataError, VenueError
        Fatal: the directory is taken or cannot be written; the exchange does not answer at the start.

    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    RecorderLock(Path(config.record.directory)).release()  # says so before anything connects
    node = recording_node(config)
    running = asyncio.create_task(node.run_async(), name="recorder")
    running.add_done_callback(lambda _: ended.set())
    recorder = next(a for a in node.trader.actors() if isinstance(a, MarketRecorder))
    started = time.monotonic()
    try:
        while recorder.writer is None and not ended.is_set():
            if recorder.failure is not None:
                raise DataError(recorder.failure)
            if time.monotonic() - started > _START_SECS:
                raise VenueError("the recorder did not start: see the log above")
            await asyncio.sleep(_POLL_SECS)
        writer = recorder.writer
        await ended.wait()
    finally:
        if not running.done():
            await node.stop_async()
        with suppress(asyncio.CancelledError):
            await running
    if writer is None:
        raise VenueError("the recorder did not start: see the log above")
    return {"committed": writer.committed, "dropped": writer.dropped, "waiting": writer.waiting}
