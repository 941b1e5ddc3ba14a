"""Every way to command a live node, in processes of its own, asserted from the venue's books and the journal."""

import json
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from tests.live.conftest import Demo, VenueProcess
from tests.live.operate_kit import Bench, eventually, post


@pytest.fixture(name="bench")
def bench_fixture(demo: Demo, venue: VenueProcess) -> Iterator[Bench]:
    bench = Bench(demo, venue)
    yield bench
    bench.close()


def flat(bench: Bench) -> bool:
    return not bench.positions() and not bench.stops()


def test_a_node_in_position_obeys_http_file_and_signal(bench: Bench) -> None:
    node = bench.start("node.live", "--flatten-on-stop")
    held = bench.until_open()

    # Pause by signal, seen in the status; resume by HTTP.
    node.send_signal(signal.SIGUSR1)

    def latches() -> list[str]:
        status = json.loads(bench.command("status", "--json")[1])
        assert status["venue"]["positions"].keys() == held.keys()
        assert status["venue"]["naked"] == {}
        return status["control"]["latches"]

    eventually(lambda: "paused *" in latches(), 10)
    assert bench.command("resume") == (0, "resume delivered\n")
    eventually(lambda: latches() == [], 10)

    # A mistake is one line.
    code, line = bench.command("kill", "DOGEUSDT")
    assert code == 2
    assert "unknown symbol 'DOGEUSDT'" in line
    # Without the token the door stays shut.
    process = bench.directory.process()
    assert process is not None
    assert (bench.directory.path / "token").stat().st_mode & 0o777 == 0o600
    door = f"http://127.0.0.1:{process.port}"
    assert post(f"{door}/kill", {})[0] == post(f"{door}/kill", {}, token="guess")[0] == 401
    assert bench.positions() == held

    # Kill: the venue is flat within a second of the request, its stops are gone, the latch holds.
    began = time.monotonic()
    status, answer = post(f"{door}/kill", {"who": "tester"}, token=bench.directory.token() or "")
    assert (status, answer["done"]) == (200, True)
    eventually(lambda: not bench.positions(), 10)
    took = time.monotonic() - began
    sys.stdout.write(f"kill → venue flat: {took * 1000:.0f} ms\n")
    assert took < 1.0
    eventually(lambda: flat(bench), 5)
    eventually(lambda: bench.latches() == ["killed *"], 5)

    # No entry while it is latched, however long the replay goes on.
    fills = len(bench.books()["fills"])
    bars = bench.books()["bars"]
    bench.control(action="speed", speed=200)
    bench.control(action="resume")
    eventually(lambda: bench.books()["bars"] > bars + 300, 60)
    assert len(bench.books()["fills"]) == fills

    # Rearm by file: it trades again; SIGUSR2 pauses and flattens.
    (bench.directory.commands / "rearm").touch()
    held = bench.until_open()
    assert held
    node.send_signal(signal.SIGUSR2)
    eventually(lambda: flat(bench), 10)
    eventually(lambda: bench.latches() == ["paused *"], 10)

    # Resumed it trades again; stop ends it in good order, flat because that was asked for at its start.
    assert bench.command("resume")[0] == 0
    bench.control(action="resume")
    bench.until_open()
    assert bench.command("stop")[0] == 0
    node.wait(30)
    assert flat(bench)
    assert bench.directory.process() is None
    said = [i["message"] for i in bench.incidents("control")]
    assert [m.split(" by ")[0] for m in said] == [
        "pause", "resume", "kill", "rearm", "pause", "flatten", "resume", "stop", "pause", "flatten",
    ]  # fmt: skip
    assert "kill by tester via http" in said
    assert "pause by SIGUSR1 via signal" in said


def test_kill_works_while_the_event_loop_hangs(bench: Bench) -> None:
    node = bench.start("node.live")
    bench.until_open()
    bench.block.write_text("6")
    eventually(lambda: not bench.block.exists(), 10)
    began = time.monotonic()
    code, said = bench.command("kill")
    took = time.monotonic() - began
    assert code == 0, said
    assert "flat at the venue" in said
    assert flat(bench)
    assert took < 6.0, "the loop woke before"
    # The loop wakes, takes the command that waited, and the latch holds; also after a restart.
    eventually(lambda: bench.latches() == ["killed *"], 20)
    node.kill()
    node.wait(10)
    node = bench.start("node.live")
    assert bench.until_running() == node.pid
    eventually(lambda: bench.latches() == ["killed *"], 5)
    assert bench.incidents("control_direct")


def test_sigterm_keeps_stops_and_kill_without_a_node_acts_at_the_venue_and_latches_the_next(bench: Bench) -> None:
    node = bench.start("node.live")
    held = bench.until_open()
    stops = len(bench.stops())
    node.terminate()
    node.wait(30)
    assert bench.positions() == held
    assert len(bench.stops()) == stops >= 2 * len(held)

    assert bench.command("resume")[0] == 1  # nobody there to resume
    code, said = bench.command("kill", "--who", "night shift", "--venue-url", bench.venue.url)
    assert code == 0, said
    assert "latched for the next start" in said
    assert flat(bench)

    node = bench.start("node.live")
    assert bench.until_running() == node.pid
    eventually(lambda: bench.latches() == ["killed *"], 5)
    assert any("night shift" in i["message"] for i in bench.incidents("kill"))
    # A second node with the same run directory is refused.
    second = bench.demo.run("node.live", "--config", str(bench.demo.config), "--venue-url", bench.venue.url)
    assert second.returncode == 2
    assert f"in use by another node (pid {node.pid})" in second.stderr
