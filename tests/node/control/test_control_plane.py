"""Commands in, effects out: parsing, doors, inbox, and what happens while the loop hangs. One process, no venue."""

import asyncio
import threading
import time
from http import HTTPStatus

import aiohttp
import msgspec
import pytest

from node.control.commands import Action, Command, command_of
from node.control.config import OperateConfig
from node.control.direct import FlattenReport
from node.control.plane import CONTROL_TOPIC, ControlPlane
from node.control.run_directory import NodeProcess, RunDirectory, default_path, incident, start_ticks
from strategies.errors import ConfigError

FLAT = FlattenReport(flat=True, closed={}, remaining={}, errors=[])
FACTS = {"market_time": None, "replay": True, "feed_age_secs": None}


class Bus:
    def __init__(self):
        self.heard = []

    def publish(self, topic, message):
        assert topic == CONTROL_TOPIC
        self.heard.append((message["action"], message["symbol"], message["who"]))


class Plane:
    """A control plane with everything around it visible."""

    def __init__(self, path, report=FLAT):
        self.directory = RunDirectory(path)
        process = self.directory.claim("venue", None)
        self.bus = Bus()
        self.records = []
        self.flattened = []
        self.stopped = []
        self.report = report
        self.plane = ControlPlane(
            directory=self.directory,
            process=process,
            config=OperateConfig(loop_patience_secs=0.2),
            symbols=("XRPUSDT", "BTCUSDT"),
            record=self.records.append,
            flatten_direct=self.flatten,
            stop=self.stopped.append,
            facts=lambda: dict(FACTS),
        )

    def flatten(self, symbols):
        assert threading.current_thread() is not threading.main_thread()
        self.flattened.append(symbols)
        return self.report

    def said(self, code):
        return [r.message for r in self.records if r.code == code]

    async def post(self, path, body=b"", token=None):
        headers = {"Authorization": f"Bearer {token or self.directory.token()}"}
        url = f"http://127.0.0.1:{self.plane.port}/{path}"
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()


async def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture(name="plane")
async def plane_fixture(tmp_path):
    plane = Plane(tmp_path / "run")
    plane.plane.start()
    yield plane
    await asyncio.to_thread(plane.plane.close)
    plane.directory.release()


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("explode", b"", "unknown command 'explode', known are pause"),
        ("kill", b"[]", "JSON object"),
        ("kill", b'{"symbol": 1}', "JSON object"),
        ("kill", b'{"symbl": "XRPUSDT"}', "unknown key 'symbl'"),
        ("kill", b"{", "JSON object"),
    ],
)
def test_a_mistake_is_named(action, body, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        command_of(action, body, via="http")


@pytest.mark.parametrize(
    "command", [Command(action=Action.KILL, symbol="DOGEUSDT"), Command(action=Action.STOP, symbol="XRPUSDT")]
)
def test_a_symbol_where_none_belongs_is_refused(command):
    with pytest.raises(ConfigError, match="symbol"):
        command.checked(("XRPUSDT",))


def test_who_cannot_break_a_line():
    assert Command(action=Action.KILL, who="a\nb" * 90).checked(()).who.startswith("a ba b")


def test_where_the_run_directory_lies(tmp_path):
    assert str(default_path(None, "sqlite:///var/demo/journal.sqlite", "A-1")) == "var/demo/journal.run"
    assert str(default_path(None, "postgresql+psycopg://u:p@h/d", "A-1")) == "var/run/A-1"
    assert default_path(str(tmp_path), "sqlite:///x", "A-1") == tmp_path


async def test_commands_reach_the_bus_by_every_way(plane):
    plane.plane.run(plane.bus)
    assert (await plane.post("pause", b'{"who": "me"}'))[0] == HTTPStatus.OK
    (plane.directory.commands / "kill.json").write_text('{"symbol": "XRPUSDT", "who": "them"}')
    await until(lambda: len(plane.bus.heard) == 2)
    assert plane.bus.heard == [("pause", None, "me via http"), ("kill", "XRPUSDT", "them via file")]
    assert plane.said("control") == ["pause by me via http", "kill XRPUSDT by them via file"]
    assert plane.flattened == []
    assert list(plane.directory.commands.iterdir()) == []
    assert (await plane.post("stop", b'{"who": "me"}'))[0] == HTTPStatus.OK
    assert plane.stopped == ["me"]


async def test_what_is_no_command_is_refused_and_told(plane):
    plane.plane.run(plane.bus)
    (plane.directory.commands / "explode").touch()
    (plane.directory.commands / "kill").write_text("x" * 5000)
    await until(lambda: len(plane.said("control_refused")) == 2)
    for path, token, status in (("kill", "guess", 401), ("explode", None, 400), ("", None, 400)):
        assert (await plane.post(path, token=token))[0] == status
    assert (await plane.post("kill", b"x" * 5000))[0] == HTTPStatus.BAD_REQUEST
    assert plane.bus.heard == []


async def test_a_loop_that_hangs_is_gone_around(plane):
    plane.plane.run(plane.bus)
    outcomes = {}

    def command(action):
        outcomes[action] = plane.plane.submit(Command(action=action, who="me", via="test"))

    threads = [threading.Thread(target=command, args=(a,)) for a in (Action.KILL, Action.PAUSE, Action.RESUME)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # blocks the loop
    assert outcomes[Action.KILL].done
    assert outcomes[Action.KILL].direct
    assert plane.flattened == [("XRPUSDT", "BTCUSDT")]
    assert outcomes[Action.PAUSE].done  # recorded for the next start
    assert not outcomes[Action.RESUME].done
    assert plane.said("kill") == ["by me via test, before the node could take it"]
    assert len(plane.said("pause")) == len(plane.said("control_direct")) == 1
    await until(lambda: len(plane.bus.heard) == 3)  # queued, and taken when the loop woke


async def test_what_could_not_be_flattened_is_critical(tmp_path):
    plane = Plane(tmp_path / "run", FlattenReport(flat=False, closed={}, remaining={"XRPUSDT": "3"}, errors=["x"]))
    outcome = await asyncio.to_thread(plane.plane.submit, Command(action=Action.FLATTEN))
    assert not outcome.done
    assert "XRPUSDT 3" in outcome.detail
    assert [r.severity for r in plane.records if r.code == "control_direct"] == ["critical"]
    plane.plane._http.close()
    plane.directory.release()


async def test_commands_given_while_it_starts_are_held_and_latches_survive_a_crash(plane):
    status, answer = await plane.post("pause")
    assert (status, answer["detail"]) == (200, "pause is held until the node has started")
    assert plane.said("pause")  # a crash now: the next start is paused
    assert (await plane.post("kill"))[1]["direct"] is True
    assert plane.flattened == [("XRPUSDT", "BTCUSDT")]
    plane.plane.run(plane.bus)
    assert [h[0] for h in plane.bus.heard] == ["pause", "kill"]


async def test_the_inbox_goes_to_the_journal_and_latches_in_it_are_obeyed(plane):
    plane.plane.run(plane.bus)
    plane.directory.leave(incident("warning", "node_hangs", "it hung", source="watchdog"))
    plane.directory.leave(incident("critical", "kill", "watchdog: naked", symbol="XRPUSDT", source="watchdog"))
    (plane.directory.inbox / "0.json").write_text("{")
    await until(lambda: plane.bus.heard and not plane.directory.left())
    assert plane.bus.heard == [("kill", "XRPUSDT", "watchdog: naked via inbox")]
    assert plane.said("node_hangs") == ["it hung"]
    assert plane.said("kill") == ["watchdog: naked"]


async def test_files_from_before_the_start_only_make_it_safer(tmp_path):
    plane = Plane(tmp_path / "run")
    for name in ("resume", "flatten", "pause", "rearm.json", "kill.json"):
        (plane.directory.commands / name).touch()
    plane.plane.run(plane.bus)
    plane.plane.start()
    await until(lambda: len(plane.bus.heard) == 2)
    assert sorted(h[0] for h in plane.bus.heard) == ["kill", "pause"]
    assert len(plane.said("control_refused")) == 3
    await asyncio.to_thread(plane.plane.close)
    plane.directory.release()


async def test_the_heartbeat_beats_and_stops_when_the_loop_does(plane):
    first = plane.directory.beat()
    assert first is not None
    assert first.phase == "starting"
    plane.plane.run(plane.bus)
    await until(lambda: (b := plane.directory.beat()) is not None and b.phase == "running")
    time.sleep(0.8)  # noqa: ASYNC251 - the loop hangs: that is the test
    assert plane.directory.beat().age_secs() > 0.6
    await until(lambda: plane.directory.beat().loop_lag_secs > 0.2)


def test_a_second_node_is_refused_until_the_first_ended(tmp_path):
    first, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    mine = first.claim("venue", "http://127.0.0.1:1")
    assert second.process() == mine
    assert mine.alive()
    with pytest.raises(ConfigError, match=f"in use by another node \\(pid {mine.pid}\\)"):
        second.claim("venue", None)
    first.release()
    assert second.process() is None
    second.claim("venue", None)
    second.release()


def test_a_run_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        RunDirectory(tmp_path / "file" / "run").claim("venue", None)


def test_damaged_files_count_as_absent(tmp_path):
    directory = RunDirectory(tmp_path)
    assert (directory.process(), directory.beat(), directory.token()) == (None, None, None)
    (tmp_path / "node.json").write_text("{")
    (tmp_path / "heartbeat.json").write_bytes(b"\xff")
    assert (directory.process(), directory.beat()) == (None, None)
    gone = NodeProcess(pid=2**22 + 1, start_ticks=1, started=0, environment="venue")
    (tmp_path / "node.json").write_bytes(msgspec.json.encode(gone))
    assert directory.process() == gone
    assert not gone.alive()
    assert start_ticks(gone.pid) is None
