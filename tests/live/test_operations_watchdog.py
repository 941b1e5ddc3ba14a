"""The watchdog and the supervisor with real nodes: hang, repeated failure, a stop that is gone."""

import signal
import sys
import time
from collections.abc import Iterator

import pytest

from tests.live.conftest import Demo, VenueProcess
from tests.live.operate_kit import Bench, eventually


@pytest.fixture(name="bench")
def bench_fixture(demo: Demo, venue: VenueProcess) -> Iterator[Bench]:
    bench = Bench(demo, venue)
    yield bench
    bench.close()


def test_a_hanging_node_is_killed_and_restarted_and_at_the_second_time_flattened(bench: Bench) -> None:
    bench.configure(
        watchdog={"hang_secs": 3, "poll_secs": 0.5, "naked_secs": 20, "max_failures": 2},
        supervisor={"first_delay_secs": 0.2, "max_fast_failures": 9},
    )
    supervisor = bench.start("node.supervisor", "--watchdog")
    first = bench.until_running()
    held = bench.until_open()

    bench.block_loop(600)
    second = bench.until_running(other_than=first)
    assert bench.positions() == held
    eventually(lambda: len(bench.stops()) == 2 * len(held), 10, "stop and target after the restart")
    assert any("the event loop hangs" in i["message"] for i in bench.incidents("node_hangs"))

    bench.block_loop(600)
    eventually(lambda: not bench.positions() and not bench.stops(), 30, "flat after the second failure")
    bench.until_running(other_than=second)
    eventually(lambda: bench.latches() == ["killed *"], 10, "latch after the restart")
    assert len(bench.incidents("watchdog_gave_up")) == 2  # that it gives up, and what came of it

    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) in (0, 1)  # 1: the summary counts the time without a node as naked
    assert bench.directory.process() is None


def test_a_position_that_nobody_protects_is_closed_and_its_symbol_latched(bench: Bench) -> None:
    bench.configure(watchdog={"hang_secs": 120, "poll_secs": 0.5, "naked_secs": 1.5})
    bench.start("node.live")
    bench.start("node.watchdog")
    held = bench.until_open()
    symbol = min(held)
    others = {s: q for s, q in held.items() if s != symbol}

    bench.block_loop(10)  # else the node would place the stop again
    (stop,) = [a for a in bench.stops() if a["symbol"] == symbol and a["type"] == "STOP_MARKET"]
    bench.control(action="cancel", algo_id=stop["algo_id"])
    began = time.monotonic()
    eventually(lambda: bench.positions() == others, 9, "closed by the watchdog")
    sys.stdout.write(f"stop cancelled → closed: {time.monotonic() - began:.2f} s (patience 1.5 s)\n")
    eventually(lambda: not [a for a in bench.stops() if a["symbol"] == symbol], 5, "its target cancelled")
    eventually(lambda: bench.latches() == [f"killed {symbol}"], 30, "latched when the loop woke")
    assert any("without a stop" in i["message"] for i in bench.incidents("naked_closed"))
