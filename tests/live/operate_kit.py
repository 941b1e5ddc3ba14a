"""A venue with an open position, a node beside it, and everything a test of control needs to see."""

import asyncio
import io
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import aiohttp
import yaml

from node import cli
from node.control.run_directory import RunDirectory
from node.live_run import get_json
from strategies.errors import ArgonautError
from strategies.startup import EXIT_USAGE
from tests.live.conftest import ROOT, Demo, VenueProcess


def eventually(condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Return the first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


def post(url: str, body: dict[str, Any], token: str = "") -> tuple[int, Any]:
    """Send JSON; return status and answer."""

    async def send() -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
            return response.status, await response.json()

    return asyncio.run(send())


class Bench:
    """Processes around one demonstration."""

    def __init__(self, demo: Demo, venue: VenueProcess) -> None:
        self.demo = demo
        self.venue = venue
        self.directory = RunDirectory(demo.directory / "journal.run")
        self.block = demo.directory / "block"
        self.log = demo.directory / "node.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def configure(self, **operate: Any) -> None:
        """Set keys of ``operate`` in the node's configuration."""
        config = yaml.safe_load(self.demo.config.read_text())
        config["operate"] = operate
        self.demo.config.write_text(yaml.safe_dump(config))

    def start(self, module: str, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a command on the demonstration's configuration."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                self.demo.command(module, "--config", str(self.demo.config), "--venue-url", self.venue.url, *arguments),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | {"ARGONAUT_TEST_BLOCK_LOOP": str(self.block)} | (environ or {}),
            )
        self._processes.append(process)
        return process

    def command(self, *arguments: str) -> tuple[int, str]:
        """Give ``node.cli`` a command, in this process; return its exit code and what it printed."""
        out = io.StringIO()
        with redirect_stdout(out):
            try:
                code = cli.main([*arguments, "--config", str(self.demo.config)])
            except ArgonautError as e:
                return EXIT_USAGE, str(e)
        return code, out.getvalue()

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)

    # -- the venue ----------------------------------------------------------------------------------------------------

    def books(self) -> dict[str, Any]:
        """Return the venue's books."""
        found = asyncio.run(get_json(f"{self.venue.url}/argonaut/books"))
        assert isinstance(found, dict)
        return found

    def control(self, **body: Any) -> None:
        """Give the venue an action."""
        status, answer = post(f"{self.venue.url}/argonaut/control", body)
        assert status == 200, answer

    def positions(self) -> dict[str, float]:
        """Return open positions by symbol."""
        found = {s: float(p["quantity"]) for s, p in self.books()["positions"].items()}
        return {s: quantity for s, quantity in found.items() if quantity}

    def stops(self) -> list[dict[str, Any]]:
        """Return resting conditional orders."""
        return list(self.books()["open_algo_orders"])

    def until_open(self) -> dict[str, float]:
        """Let the replay run until a position is open and protected, hold it there, return the positions."""

        self.control(action="speed", speed=40)
        eventually(self.positions, 90, self.log.read_text()[-2000:] if self.log.exists() else "")
        self.control(action="pause")
        eventually(lambda: len(self.stops()) >= 2 * len(self.positions()), 20, "stops")
        return self.positions()

    # -- the node -----------------------------------------------------------------------------------------------------

    def latches(self) -> list[str]:
        """Return the latches of the node's last heartbeat."""
        beat = self.directory.beat()
        return [] if beat is None else beat.latches

    def until_running(self, other_than: int = 0) -> int:
        """Wait for a node that runs and is not process `other_than`; return its process id."""

        def running() -> int | None:
            process, beat = self.directory.process(), self.directory.beat()
            if process is None or beat is None or beat.phase != "running" or beat.pid != process.pid:
                return None
            return process.pid if process.alive() and process.pid != other_than else None

        return int(eventually(running, 90, "a running node"))

    def block_loop(self, secs: float) -> None:
        """Block the node's event loop; return when it is blocked."""
        self.block.write_text(str(secs))
        eventually(lambda: not self.block.exists(), 20, "the hook that blocks the loop")

    # -- the journal --------------------------------------------------------------------------------------------------

    def incidents(self, code: str | None = None) -> list[dict[str, Any]]:
        """Return what the journal says."""
        from node.journal import open_journal
        from strategies.records import IncidentRecord

        journal = open_journal(f"sqlite:///{self.demo.directory / 'journal.sqlite'}", read_only=True)
        try:
            found = [i for i in journal.records(IncidentRecord) if code in (None, i.code)]
            return [{"code": i.code, "symbol": i.symbol, "message": i.message} for i in found]
        finally:
            journal.close()
