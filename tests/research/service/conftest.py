"""A running service: real sockets, real workers, real databases."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.node.journal.conftest import backend, cluster, url

__all__ = ["backend", "cluster", "url"]

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-of-twenty-four-chars"
PARAMS = "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5, stop_atr: 1.5, target_atr: 3.0}\n"
NAMED = """\
symbols: [XRPUSDT]
catalog: var/market
strategy: {file: strategies/vote.yaml, warmup_bars: 60, history_bars: 100}
backtest: {start: "2025-05-10", end: "2025-05-14", slippage_bps: 1}
"""


def eventually(check, seconds=300.0):
    """Return the first true value of `check`, asked again until then."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


class Service:
    """The service as its own process, and a client of it."""

    def __init__(self, folder, catalogs, url):
        self.folder, self.url = folder, url
        self.process = self.client = None
        self.ledger = folder / "trials.jsonl"
        for name in ("config/strategies", "strategies", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "config/named.yaml").write_text(NAMED)
        (folder / "config/strategies/vote.yaml").write_text(PARAMS)
        (folder / "strategies/vote.yaml").write_text(PARAMS)
        self.arguments = [
            "--port", "0", "--configs", folder / "config", "--strategies", folder / "strategies",
            "--catalogs", catalogs, "--models", folder / "models", "--ledger", self.ledger,
        ]  # fmt: skip

    def start(self, *more, workers=1):
        environment = os.environ | {"ARGONAUT_SERVICE_TOKEN": TOKEN, "ARGONAUT_SERVICE_JOURNAL": self.url}
        command = [
            sys.executable,
            "-m",
            "research.service",
            *self.arguments,
            "--workers",
            workers,
            "--lease",
            "10",
            "--rate",
            "100000",
            *more,
        ]
        self.errors = (self.folder / "stderr.txt").open("ab")
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=self.errors
        )
        line = self.process.stdout.readline()
        assert line, (self.folder / "stderr.txt").read_text()
        self.address = json.loads(line)["url"]
        self.client = httpx.Client(
            base_url=self.address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False
        )
        return self

    def stop(self, number=signal.SIGTERM):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(40)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        self.client.close()
        self.process = None

    def submit(self, **body):
        answer = self.client.post("/backtests", json=body or {"name": "named"})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def state(self, identity):
        answer = self.client.get(f"/backtests/{identity}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until(self, identity, *states, seconds=300.0):
        def look():
            found = self.state(identity)
            return found if found["state"] in states else None

        return eventually(look, seconds)

    def workers(self):
        """Return the process ids of the service's workers."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and f"PPid:\t{self.process.pid}\n" in (entry / "status").read_text():
                    found.append(int(entry.name))
        return found


@pytest.fixture(name="catalogs", scope="session")
def catalogs_fixture(tmp_path_factory, market_catalog):
    """Return a folder with the generated market as the catalog `market`."""
    folder = tmp_path_factory.mktemp("catalogs")
    shutil.copytree(market_catalog, folder / "market")
    return folder


@pytest.fixture(name="make_service")
def make_service_fixture(tmp_path, catalogs):
    made = []

    def make(url):
        made.append(Service(tmp_path / f"service{len(made)}", catalogs, url))
        return made[-1]

    yield make
    for service in made:
        service.stop()
