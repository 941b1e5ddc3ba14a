"""
``python -m node.supervisor``: keep a live node running.

Starts ``python -m node.live`` (options after ``--`` are handed on), starts it again with growing pauses when it dies,
passes SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 on, and with ``--watchdog`` keeps a watchdog beside it. Exit code: that of a
node that ended with 0 or was told to stop (1 if it had to be killed); 2 for a mistake in the configuration, which no
restart can mend; 3 after too many fast failures: the account was flattened and latched.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from strategies.errors import ConfigError
from strategies.startup import EXIT_USAGE, run_command

if TYPE_CHECKING:
    from node.config import NodeConfig

GAVE_UP = 3
_POLL_SECS = 0.05
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m node.supervisor", description="Keep a live node running; see docs/operations.md."
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="node configuration (YAML)")
    p.add_argument("--venue-url", metavar="URL", help="address of a running simulated venue")
    p.add_argument("--watchdog", action="store_true", help="keep a watchdog beside the node")
    p.add_argument("node", nargs="*", metavar="OPTION", help="after --: options of node.live")
    return p


class Supervisor:
    """
    Restarts one node.

    Parameters
    ----------
    config : NodeConfig
        Its configuration; ``operate.supervisor`` is the patience.
    node, watchdog : list[str]
        Command lines; an empty second one: no watchdog.

    """

    def __init__(self, config: "NodeConfig", node: list[str], watchdog: list[str]) -> None:
        self._config = config.operate.supervisor
        self._node_command = node
        self._watchdog_command = watchdog
        self._node: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._stopping: float | None = None

    def run(self) -> int:
        """Run until the node ends in good order, is told to stop, or fails too often; return the exit code."""
        for number in _PASSED_ON:
            signal.signal(number, self._on_signal)
        try:
            return self._run()
        finally:
            if self._watchdog is not None and self._watchdog.poll() is None:
                self._watchdog.terminate()
                self._watchdog.wait()

    def _run(self) -> int:
        fast = 0
        while True:
            began = time.monotonic()
            code = self._life()
            lived = time.monotonic() - began
            if self._stopping is not None or code == 0:
                return code if code >= 0 else 1
            if code == EXIT_USAGE:
                _say("the node refused its configuration: not started again")
                return EXIT_USAGE
            fast = fast + 1 if lived < self._config.fast_failure_secs else 0
            if fast >= self._config.max_fast_failures:
                _say(f"GIVING UP: {fast} failures in a row within {self._config.fast_failure_secs:.0f} s of a start")
                return GAVE_UP
            pause = min(self._config.first_delay_secs * 2 ** max(0, fast - 1), self._config.longest_delay_secs)
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            _say(f"the node ended after {lived:.1f} s with {how}: again in {pause:.1f} s")
            if not self._wait(pause):
                return 0

    def _life(self) -> int:
        self._node = subprocess.Popen(self._node_command)
        _say(f"node started, pid {self._node.pid}")
        while (code := self._node.poll()) is None:
            self._keep_watchdog()
            if self._stopping is not None and time.monotonic() - self._stopping > self._config.stop_secs:
                _say(f"the node did not stop within {self._config.stop_secs:.0f} s: killed; its stops are at the venue")
                self._node.kill()
            time.sleep(_POLL_SECS)
        self._node = None
        return code

    def _keep_watchdog(self) -> None:
        if self._watchdog_command and (self._watchdog is None or self._watchdog.poll() is not None):
            if self._watchdog is not None:
                _say(f"the watchdog ended with {self._watchdog.returncode}: started again")
                time.sleep(_POLL_SECS * 10)
            self._watchdog = subprocess.Popen(self._watchdog_command)

    def _wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._stopping is not None:
                return False
            self._keep_watchdog()
            time.sleep(_POLL_SECS)
        return True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT) and self._stopping is None:
            self._stopping = time.monotonic()
        if self._node is not None and self._node.poll() is None:
            self._node.send_signal(number)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from node.config import load_config  # noqa: PLC0415 - keeps --help fast

    config = load_config(args.config)
    if config.environment == "venue" and args.venue_url is None:
        raise ConfigError("--venue-url is needed: a venue that the node starts itself dies with it, and its books too")
    common = ["--config", str(args.config), *(["--venue-url", args.venue_url] if args.venue_url else [])]
    watchdog = [sys.executable, "-m", "node.watchdog", *common] if args.watchdog else []
    code = Supervisor(config, [sys.executable, "-m", "node.live", *common, *args.node], watchdog).run()
    if code == GAVE_UP:
        _flatten(config, args.venue_url)
    return code


def _flatten(config: "NodeConfig", venue_url: str | None) -> None:
    """Leave nothing open that nobody looks after."""
    import asyncio  # noqa: PLC0415 - keeps --help fast

    from node.control.client import ControlClient  # noqa: PLC0415

    client = ControlClient(config, os.environ, venue_url=venue_url, who="supervisor")
    asyncio.run(client.give("kill", None, flatten_first=False, direct=True, as_json=False, out=sys.stderr))


def _say(text: str) -> None:
    sys.stderr.write(f"supervisor: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    run_command(main)
