"""
The simulated venue as a child process of the live node, for `environment: venue` without ``--venue-url``.

It dies with the node (also on kill -9): a venue nobody watches would hold a port and a stale account. Where its books
must outlive the node, start ``python -m node.venue`` yourself and pass ``--venue-url``.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from strategies.errors import VenueError

_PR_SET_PDEATHSIG = 1
_READY_SECONDS = 180.0  # the first start may have to prepare sample data


class VenueUrls(NamedTuple):
    """Where a venue listens."""

    http: str
    ws: str
    control: str
    session: str

    @classmethod
    def of(cls, base: str) -> "VenueUrls":
        """Return the URLs of a venue given by its HTTP address."""
        base = base.rstrip("/")
        if not base.startswith("http://"):
            raise VenueError(f"--venue-url {base!r}: expected something like http://127.0.0.1:8899")
        return cls(base, "ws" + base.removeprefix("http"), f"{base}/argonaut", "")


class EmbeddedVenue:
    """
    A venue process: started, awaited, stopped.

    Parameters
    ----------
    config : Path
        Configuration of the venue.
    catalog : str
        Catalog it replays; replaces the configuration's.
    module : str
        ``node.venue``, or ``node.paper``, which takes its market from the exchange and needs no catalog.

    """

    def __init__(self, config: Path, catalog: str, *, module: str = "node.venue") -> None:
        self._command = [sys.executable, "-m", module, "--config", str(config)]
        if module == "node.venue":
            self._command += ["--catalog", catalog]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> VenueUrls:
        """
        Start the process and return its URLs when it is ready. Blocks.

        Call it on the main thread: Linux counts the *thread* that started a child as the parent it dies with.

        Raises
        ------
        VenueError
            Fatal: the venue did not become ready; its own last line says why.

        """
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, no Python locks involved
        )
        timer = threading.Timer(_READY_SECONDS, self._process.kill)
        timer.start()
        try:
            stdout = self._process.stdout
            for line in stdout if stdout is not None else ():
                ready = _ready(line)
                if ready is not None:
                    threading.Thread(target=_drain, args=(stdout,), daemon=True).start()
                    return ready
        finally:
            timer.cancel()
        code = self._process.wait()
        raise VenueError(f"the simulated venue did not start (exit code {code}): see its message above")

    def stop(self) -> None:
        """End the process: politely, then not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _ready(line: str) -> VenueUrls | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("event") != "ready":
        return None
    return VenueUrls(message["http"], message["ws"], message["control"], message["session"])


def _drain(stream: object) -> None:
    for _ in stream:  # type: ignore[attr-defined]  # a text stream
        pass


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
