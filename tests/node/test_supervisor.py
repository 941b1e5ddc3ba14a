"""The supervisor with small processes in the node's place."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SUPERVISE = """
import sys
from types import SimpleNamespace
from node.control.config import OperateConfig, SupervisorConfig
from node.supervisor import Supervisor
patience = SupervisorConfig(
    first_delay_secs=0.05, longest_delay_secs=0.1, fast_failure_secs={fast}, max_fast_failures=3, stop_secs={stop}
)
config = SimpleNamespace(operate=OperateConfig(supervisor=patience))
sys.exit(Supervisor(config, [sys.executable, "-c", {node!r}, {state!r}], {watchdog!r}).run())
"""
COUNT = """\
import sys, pathlib
p = pathlib.Path(sys.argv[1])
n = len(p.read_text()) if p.exists() else 0
p.write_text("x" * (n + 1))
"""
WAIT = "import signal, time\n{handlers}print('up', flush=True)\nwhile True: time.sleep(0.01)"


@pytest.fixture(name="supervise")
def supervise_fixture(tmp_path):
    """Return a function that starts a supervisor over a line of Python; all are ended."""
    started = []

    def start(node, *, fast=60.0, stop=60.0, watchdog=()):
        code = SUPERVISE.format(
            fast=fast,
            stop=stop,
            node=COUNT + textwrap.dedent(node),
            state=str(tmp_path / "starts"),
            watchdog=list(watchdog),
        )
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def starts(tmp_path):
    return len((tmp_path / "starts").read_text())


@pytest.mark.parametrize(
    ("node", "code", "count"),
    [
        ("sys.exit(0)", 0, 1),
        ("sys.exit(2)", 2, 1),  # a mistake in the configuration is not mended by a restart
        ("sys.exit(1)", 3, 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 3, 3),
        ("sys.exit(1 if n < 2 else 0)", 0, 3),
    ],
)
def test_what_is_started_again(supervise, tmp_path, node, code, count):
    process = supervise(node)
    assert process.wait(30) == code
    assert starts(tmp_path) == count
    said = process.stderr.read()
    assert ("GIVING UP: 3 failures in a row" in said) is (code == 3)


def test_long_lives_do_not_count_as_fast_failures(supervise, tmp_path):
    process = supervise("import time; time.sleep(0.05); sys.exit(0 if n == 5 else 1)", fast=0.01)
    assert process.wait(30) == 0
    assert starts(tmp_path) == 6


def test_signals_reach_the_node_and_sigterm_ends_both(supervise, tmp_path):
    handlers = (
        "signal.signal(signal.SIGUSR1, lambda *_: print('paused', flush=True))\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('stopping', flush=True), sys.exit(0)))\n"
    )
    process = supervise(WAIT.format(handlers=handlers))
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == "paused\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    assert process.wait(30) == 0
    assert starts(tmp_path) == 1


def test_a_node_that_does_not_stop_is_killed(supervise):
    process = supervise(WAIT.format(handlers="signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"), stop=0.3)
    assert process.stdout.readline() == "up\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1
    assert 0.3 <= time.monotonic() - began < 20


def test_the_watchdog_is_kept_alive_and_ended_with_it(supervise, tmp_path):
    mark = tmp_path / "watchdogs"
    dog = [sys.executable, "-c", f"open({str(mark)!r}, 'a').write('w')"]
    process = supervise("import time; time.sleep(2); sys.exit(0)", watchdog=dog)
    assert process.wait(30) == 0
    assert len(mark.read_text()) >= 2
