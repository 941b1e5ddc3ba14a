"""A catalog with market data and a demonstration that trades often, for tests that run whole nodes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from catalog.sample import prepare

ROOT = Path(__file__).resolve().parents[2]
START, END = "2025-09-08", "2025-09-13"
LOOSE = {"signal_threshold": 2, "adx_threshold": 15.0, "volume_multiplier": 1.5, "stop_atr": 1.0, "target_atr": 1.5}


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real data where they are present, else the seeded generator's."""
    catalog = tmp_path_factory.mktemp("market") / "catalog"
    shared = ROOT.parent / "shared" / "data"
    source = "env" if os.environ.get("ARGONAUT_DATA") else "shared" if shared.is_dir() else "synthetic"
    prepare(catalog, source=source)
    return catalog


class Demo:
    """Configuration files of a small demonstration in a directory of its own."""

    def __init__(self, directory: Path, market: Path) -> None:
        self.directory = directory
        self.market = market
        self.config = directory / "demo.yaml"
        self.venue = directory / "venue.yaml"

    def write(self, *, start: str = START, end: str = END, gate: dict[str, Any] | None = None, **sections: Any) -> None:
        """Write demo.yaml and venue.yaml for a window, with a vote loose enough to trade many times a day."""
        demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
        venue = yaml.safe_load((ROOT / "config" / "venue.yaml").read_text())
        demo["catalog"] = venue["data"]["catalog"] = str(self.market)
        demo["journal"] = f"sqlite:///{self.directory / 'journal.sqlite'}"
        demo["strategy"]["file"] = "loose.yaml"
        demo["gate"] = gate or {"mode": "off"}
        demo.update(sections)
        demo["risk"]["sizing"]["risk_fraction"] = 0.001
        demo["risk"]["limits"].update(fast_kill_losses=None, slow_kill_trades=None, daily_loss=0.5)
        demo["backtest"].update(start=start, end=end)
        venue["data"].update(start=start, end=end)
        (self.directory / "loose.yaml").write_text(yaml.safe_dump({"params": LOOSE}))
        self.config.write_text(yaml.safe_dump(demo))
        self.venue.write_text(yaml.safe_dump(venue))

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command line of one of the project's commands."""
        return [sys.executable, "-m", module, *arguments]

    def run(self, module: str, *arguments: str, timeout: float = 240.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(module, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

    def result(self, name: str) -> dict[str, Any]:
        """Read a JSON result."""
        found = msgspec.json.decode((self.directory / name).read_bytes())
        assert isinstance(found, dict)
        return found


@pytest.fixture
def demo(tmp_path: Path, market: Path) -> Demo:
    """A demonstration that has been written with the default window."""
    made = Demo(tmp_path, market)
    made.write()
    return made


class VenueProcess:
    """``python -m node.venue`` as a process of its own, so that its books outlive the node."""

    def __init__(self, demo: Demo, *options: str) -> None:
        self._process = subprocess.Popen(
            demo.command("node.venue", "--config", str(demo.venue), *options),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        assert ready["event"] == "ready"
        self.url: str = ready["http"]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def venue(demo: Demo) -> Iterator[VenueProcess]:
    """A running venue."""
    process = VenueProcess(demo)
    yield process
    process.stop()
