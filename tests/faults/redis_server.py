"""A redis-server process of a test's own: started, stalled, killed, started again on the same port."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from node.redis_link import RedisConfig, RedisError, ping

START_SECS = 10.0
AVAILABLE = shutil.which("redis-server") is not None


class RedisServer:
    """
    One server without persistence: killed is empty.

    Parameters
    ----------
    directory : Path
        Its working directory.
    start : bool
        False: only the port is taken, nobody listens there yet.

    """

    def __init__(self, directory: Path, *, start: bool = True) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        if start:
            self.start()

    @property
    def tree(self) -> dict[str, Any]:
        """The section ``redis`` of a node's configuration."""
        return {"port": self.port, "timeout_secs": 0.5, "poll_secs": 0.3, "cache": True, "streams": True}

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECS
        while True:
            try:
                asyncio.run(ping(RedisConfig(port=self.port)))
            except RedisError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.02)
            else:
                return

    @property
    def alive(self) -> bool:
        """Whether the process runs (stalled or not)."""
        return self._process is not None and self._process.poll() is None

    def stall(self) -> None:
        """Let it accept connections and answer nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a stall."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
