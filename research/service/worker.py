"""
A worker: takes jobs one after the other and runs each in a process of its own.

``python -m research.service.worker`` is started by ``python -m research.service``; more may be started on any machine
that reaches the database and the folders. The database's address comes from ``$ARGONAUT_SERVICE_JOURNAL``.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research.service.processes import PARENT_VARIABLE, die_with_parent
from strategies.errors import ArgonautError, ConfigError, JournalError
from strategies.startup import run_command

if TYPE_CHECKING:
    from research.service.jobs import Queue, Taken

JOURNAL_VARIABLE = "ARGONAUT_SERVICE_JOURNAL"
_KILL_SECONDS = 10.0


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.service.worker", description="Take backtest jobs from the database and run them."
    )
    p.add_argument("--lease", type=float, default=30.0, metavar="SECONDS", help="time a sign of life is good for (30)")
    p.add_argument("--poll", type=float, default=0.5, metavar="SECONDS", help="pause when there is no job (0.5)")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    url = os.environ.get(JOURNAL_VARIABLE)
    if not url:
        raise ConfigError(f"{JOURNAL_VARIABLE}: not set: the address of the database with the jobs")
    if not 0.5 <= args.lease <= 3600 or not 0.01 <= args.poll <= 60:
        raise ConfigError("--lease: 0.5 to 3600 seconds; --poll: 0.01 to 60 seconds")
    from research.service.jobs import Queue  # noqa: PLC0415 - keeps --help fast

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if PARENT_VARIABLE in os.environ:
        die_with_parent("SIGTERM")
    queue = Queue(url)
    queue.prepare()
    Worker(queue, lease=args.lease, poll=args.poll, ledger=args.ledger).run(stop)
    queue.close()
    return 0


class Worker:
    """
    The loop of one worker.

    Parameters
    ----------
    queue : Queue
        The jobs.
    lease : float
        Seconds the job stays ours without a sign of life.
    poll : float
        Seconds between looks at an empty queue.
    ledger : Path or None
        Trial ledger.

    """

    def __init__(self, queue: "Queue", *, lease: float, poll: float, ledger: Path | None) -> None:
        self._queue, self._lease, self._poll, self._ledger = queue, lease, poll, ledger
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, stop: threading.Event) -> None:
        """Take and run jobs until `stop` is set; a database that is away is waited for (defer)."""
        while not stop.is_set():
            try:
                job = self._queue.take(self._name, self._lease)
                if job is None:
                    stop.wait(self._poll)
                    continue
                self._run_one(job, stop)
            except JournalError as e:
                _say(str(e))
                stop.wait(max(self._poll, 1.0))

    def _run_one(self, job: "Taken", stop: threading.Event) -> None:
        folder = Path(tempfile.mkdtemp(prefix="argonaut-job-"))
        try:
            (folder / "config.json").write_text(job.config, encoding="utf-8")
            child = _Child(folder)
            try:
                code = self._watch(job, child, stop)
            finally:
                child.end()
            if code is not None:
                self._conclude(job, folder, code)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, job: "Taken", child: "_Child", stop: threading.Event) -> int | None:
        """Return the child's exit code, or None when the job ended otherwise or is no longer ours."""
        renewed = time.monotonic()
        while (code := child.wait(0.1)) is None:
            if stop.is_set():
                child.end()
                self._queue.give_back(job)
                return None
            if time.monotonic() - renewed < min(self._lease / 4, 1.0):
                continue
            try:
                answer = self._queue.renew(job, self._lease, child.progress)
                renewed = time.monotonic()
            except JournalError as e:
                _say(str(e))
                if time.monotonic() - renewed < self._lease:
                    continue
                answer = "lost"  # nobody heard of us for a lease: another may have it
            if answer == "cancel":
                child.end()
                self._queue.cancelled(job)
                return None
            if answer == "lost":
                _say(f"job {job.id}: taking {job.attempt} was lost to another worker: stopped")
                return None
        return code

    def _conclude(self, job: "Taken", folder: Path, code: int) -> None:
        result = folder / "result.json"
        if code == 0 and result.is_file():
            payload = result.read_text(encoding="utf-8")
            try:
                trial = self._record(job, payload)
            except ArgonautError as e:
                self._queue.fail(job, str(e))
                return
            if not self._queue.finish(job, result=payload, trial=trial):
                _say(f"job {job.id}: taking {job.attempt} is no longer ours: its result is not stored")
        elif code == 2 and (folder / "error.txt").is_file():
            self._queue.fail(job, (folder / "error.txt").read_text(encoding="utf-8"))
        elif code < 0:
            self._queue.again(job, f"the run was ended by signal {-code} (out of memory?)")
        else:
            lines = (folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            self._queue.fail(job, f"the run failed: {lines[-1] if lines else f'exit code {code}'}")

    def _record(self, job: "Taken", payload: str) -> str:
        import msgspec  # noqa: PLC0415 - keeps --help fast

        from trials import record_backtest  # noqa: PLC0415

        plain: dict[str, Any] = msgspec.json.decode(payload)
        entry = record_backtest(
            config=plain["config"],
            strategy_params=plain["strategy_params"],
            data_hash=plain["data_hash"],
            sharpe=plain["statistics"]["sharpe"],
            command=["research.service", job.id],
            result=f"backtest_results/{job.id}",
            ledger=self._ledger,
        )
        return entry.digest


class _Child:
    """The process of one run, and how far it says it is."""

    def __init__(self, folder: Path) -> None:
        self.progress = 0.0
        self._errors = (folder / "stderr.txt").open("wb")
        secret = {JOURNAL_VARIABLE, "ARGONAUT_SERVICE_TOKEN"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "research.service.runner", str(folder)],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if k not in secret} | {PARENT_VARIABLE: str(os.getpid())},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, or None while it runs."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(_KILL_SECONDS)
        return code

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_KILL_SECONDS)
        self._reader.join(_KILL_SECONDS)
        self._errors.close()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:  # never: it was asked for
            return
        with stream:
            for line in stream:
                try:
                    self.progress = float(line)
                except ValueError:
                    continue


def _say(text: str) -> None:
    sys.stderr.write(f"worker: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    run_command(main)
