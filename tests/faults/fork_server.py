"""
Starts commands of the project in a tenth of the time: everything is imported once, then every command is a fork.

``ForkServer`` talks to a helper process (this module as a script) over its pipes, one JSON object a line. A forked
command is a process of its own, with its own pid, signals and exit code: SIGKILL hits it as it hits any other. What a
fork does not show is the time of the imports; restart times are measured elsewhere, with real starts.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = (
    "node.live_run",
    "node.live_summary",
    "node.report",
    "node.venue.app",
    "node.venue.control",
    "node.venue.loader",
    "node.venue.scenario",
    "node.venue.state",
    "node.venue.venue",
    "uvloop",
)
_POLL_SECS = 0.01


class Forked:
    """A command under way; the part of ``subprocess.Popen`` that tests use."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        """Return the exit code (negative: the signal), None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)["code"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; ``subprocess.TimeoutExpired`` when it does not come in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
            time.sleep(_POLL_SECS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


class ForkServer:
    """The helper process; ends with :meth:`close`, and by itself when its parent is gone."""

    def __init__(self) -> None:
        environ = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            # Threads of a numerical library, idle since the import, are no danger to a fork: not worth a warning each.
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.faults.fork_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        self._lock = threading.Lock()
        assert self.ask(ready=True)["ready"]

    def start(self, module: str, arguments: Sequence[str], output: Path) -> Forked:
        """Run ``python -m module arguments``, its output appended to `output`."""
        pid = self.ask(module=module, arguments=list(arguments), output=str(output))["pid"]
        return Forked(self, pid)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a question to the helper and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End it and every command it still runs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def _serve(source: IO[str], answers: IO[str]) -> None:
    for module in PRELOADED:
        __import__(module)
    running: set[int] = set()
    for line in source:
        question = json.loads(line)
        if "module" in question:
            answer: dict[str, Any] = {"pid": _fork(question)}
            running.add(answer["pid"])
        elif "poll" in question:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if pid else None}
            running.discard(pid)
        else:
            answer = {"ready": True}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _fork(question: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        output = os.open(question["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, wanted in ((0, nothing), (1, output), (2, output)):
            os.dup2(wanted, target)
        os.environ.pop("OMP_NUM_THREADS", None)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - for life
        sys.argv = [question["module"], *question["arguments"]]
        try:
            runpy.run_module(question["module"], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else (0 if e.code is None else 1)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers_pipe:
        os.dup2(2, 1)  # whatever an import prints must not look like an answer
        _serve(sys.stdin, answers_pipe)
