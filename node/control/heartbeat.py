"""
The heartbeat: a callback of the event loop that writes ``heartbeat.json`` twice a second.

It is written by the loop and not by a thread on purpose: a loop that hangs must be seen to hang.

Errors: a heartbeat that cannot be written (full disk) is skipped (**degraded**); the watchdog then sees an old one.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from node.control.run_directory import Beat, NodeProcess, RunDirectory

INTERVAL_SECS = 0.5
BLOCK_VARIABLE = "ARGONAUT_TEST_BLOCK_LOOP"
"""
Names a file. When it appears, the loop is blocked for the seconds written in it, once. For tests; inert when unset.
"""


class Heartbeat:
    """
    Beats until it is stopped.

    Parameters
    ----------
    directory : RunDirectory
        Where.
    process : NodeProcess
        Who.
    loop : asyncio.AbstractEventLoop
        Whose life it shows.
    facts : Callable[[], dict[str, Any]]
        Fields of :class:`Beat` that change: market_time, feed_age_secs, latches, positions, replay.

    """

    def __init__(
        self,
        directory: RunDirectory,
        process: NodeProcess,
        loop: asyncio.AbstractEventLoop,
        facts: Callable[[], dict[str, Any]],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.phase = "starting"
        self.last: Beat | None = None
        self._directory = directory
        self._process = process
        self._loop = loop
        self._facts = facts
        self._due = loop.time()
        self._handle: asyncio.TimerHandle | None = None
        block = environ.get(BLOCK_VARIABLE)
        self._block = Path(block) if block else None

    def start(self) -> None:
        """Beat now and from now on."""
        self._due = self._loop.time()
        self._beat()

    def stop(self) -> None:
        """Beat no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _beat(self) -> None:
        now = self._loop.time()
        lag = max(0.0, now - self._due)
        self._due = now + INTERVAL_SECS
        self._handle = self._loop.call_at(self._due, self._beat)
        self.last = Beat(
            pid=self._process.pid,
            start_ticks=self._process.start_ticks,
            monotonic=time.monotonic_ns(),
            wall_time=time.time_ns(),
            phase=self.phase,
            loop_lag_secs=round(lag, 6),
            **self._facts(),
        )
        try:
            self._directory.write("heartbeat.json", self.last)
        except OSError:
            return
        if self._block is not None and self._block.exists():
            seconds = float(self._block.read_text(encoding="utf-8"))
            self._block.unlink()
            time.sleep(seconds)
