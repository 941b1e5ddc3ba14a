"""`python -m node.record` as people run it: killed without warning, started again, ended in good order."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import yaml

from catalog.recording import tape
from catalog.recording.segments import RecorderLock, seal
from tests.node.recording.test_recorder_replay import SYMBOLS, make_venue

ROOT = Path(__file__).resolve().parents[3]


async def until(condition: Callable[[], bool], process: subprocess.Popen[str], secs: float = 90.0) -> None:
    deadline = time.monotonic() + secs
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"not within {secs} s"
        await asyncio.sleep(0.02)


def size(root: Path) -> int:
    return sum(file.stat().st_size for file in (root / "segments").glob("*"))


async def test_killed_and_started_again_it_goes_on_and_says_what_it_has(tmp_path: Path) -> None:
    root = tmp_path / "recording"
    server = make_venue(speed=5)
    await server.start()
    try:
        urls = server.urls()
        record = {"directory": str(root), "raw": str(tmp_path / "raw"), "intervals": ["1m"], "poll_secs": 0.2}
        config = {"environment": "venue", "symbols": list(SYMBOLS), "base_url_http": urls["http"]}
        path = tmp_path / "record.yaml"
        path.write_text(yaml.safe_dump(config | {"base_url_ws": urls["ws"], "record": record}))
        command = [sys.executable, "-m", "node.record", "--config", str(path), "--json"]

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                command, cwd=ROOT, env=dict(os.environ), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

        process = start()
        await until(lambda: "xrpusdt@aggTrade" in server.venue.markets.streams(), process)
        server.venue.replay.resume()
        await until(lambda: size(root) > 20_000, process)
        server.venue.replay.pause()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        lock = RecorderLock(root)
        seal(root)
        before = list(tape.entries(root))
        lock.release()
        assert before
        process = start()
        await until(lambda: "xrpusdt@aggTrade" in server.venue.markets.streams(), process)
        server.venue.replay.resume()
        await until(lambda: any(f.suffix == ".open" and f.stat().st_size > 10_000 for f in root.rglob("*")), process)
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 0, err
        done = json.loads(out.splitlines()[-1])
    finally:
        await server.stop()
    tape.merge(root, tmp_path / "raw")
    found = list(tape.entries(root))
    assert found[: len(before)] == before
    assert [e.sequence for e in found] == list(range(1, done["committed"] + 1))
    assert all(a.ts_init < b.ts_init for a, b in pairwise(found))
    assert done["dropped"] == done["waiting"] == 0
