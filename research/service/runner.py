"""
One backtest in a process of its own: ``python -m research.service.runner FOLDER``, started by a worker.

Reads ``config.json``, writes ``result.json`` or ``error.txt`` (exit code 2), prints its progress (0 to 1) line by line.
It dies with its worker: whoever holds no lease must not compute.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from research.service.processes import die_with_parent
from strategies.errors import ArgonautError
from strategies.startup import run_command

_EVERY_SECONDS = 0.2


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    p = argparse.ArgumentParser(prog="python -m research.service.runner", description="Run one job of the service.")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="holds config.json, receives result.json")
    folder: Path = p.parse_args(argv).folder
    die_with_parent("SIGKILL")
    import msgspec  # noqa: PLC0415 - keeps --help fast

    from node.backtest_run import resolve_window, run_backtest  # noqa: PLC0415
    from node.config import NodeConfig  # noqa: PLC0415
    from node.report import write_json  # noqa: PLC0415

    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=NodeConfig)
        window = resolve_window(config)
        span = max(window.end_ns - window.start_ns, 1)
        result = run_backtest(config, log_level="OFF", watch=_Progress(window.start_ns, span).attach)
        write_json(result, folder / "result.json")
    except (ArgonautError, msgspec.MsgspecError) as e:
        (folder / "error.txt").write_text(" ".join(str(e).split()), encoding="utf-8")
        return 2
    return 0


class _Progress:
    """Prints how far market time has come, a few times a second."""

    def __init__(self, start_ns: int, span: int) -> None:
        self._start, self._span = start_ns, span
        self._next = 0.0

    def attach(self, msgbus: Any) -> None:
        from strategies.market_clock import market_clock  # noqa: PLC0415 - `--help` imports nothing heavy

        market_clock(msgbus).listen(self._on_step)

    def _on_step(self, _: int | None, time_ns: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_SECONDS
            sys.stdout.write(f"{(time_ns - self._start) / self._span:.4f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    run_command(main)
