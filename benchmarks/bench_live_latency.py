"""
How quick and how heavy the live node is. Run: ``python benchmarks/bench_live_latency.py [--days 10]``.

The production node runs against the venue in a process of its own; ratios are to what the machine itself takes in the
same run: a bare HTTP round trip to that venue and the start of a bare interpreter with Nautilus imported.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import aiohttp
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from catalog.sample import prepare  # noqa: E402 - as above
from tests.faults.harness import Run, covered, live_stops, net  # noqa: E402 - needs the repository on the path

type Row = tuple[str, str, str]


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def round_trips(url: str, count: int = 300) -> list[float]:
    """Milliseconds of bare requests."""
    found = []
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            began = time.perf_counter()
            async with session.get(f"{url}/fapi/v1/time") as answer:
                await answer.read()
            found.append((time.perf_counter() - began) * 1000)
    return found


def bare_start() -> float:
    """Seconds until an interpreter has imported the live node's Nautilus parts."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import nautilus_trader.live.node"], check=True, cwd=ROOT)
    return time.perf_counter() - began


def long_run(directory: Path, market: Path, days: int) -> list[Row]:
    """Latencies of every entry, and memory hour by hour."""
    run = Run(directory, market, seed=0)
    measured = directory / "measured.jsonl"
    probe = [sys.executable, str(ROOT / "benchmarks" / "live_probe.py"), str(measured)]
    try:
        run.start(days=days, module=probe)
        trips = asyncio.run(round_trips(run.venue_url))
        began = time.perf_counter()
        run.control("resume")
        run.until(lambda s: s["state"] == "finished", what="the end", path="session", secs=3600)
        wall = time.perf_counter() - began
        run.wait()
    finally:
        run.close()
    lines = [json.loads(line) for line in measured.read_text().splitlines()]
    entries = [line["entry"] for line in lines if "entry" in line]
    memory = [line for line in lines if "rss" in line]
    trip = quantile(trips, 0.5)
    rows = [("bare HTTP round trip to the venue", f"{trip:.2f} / {quantile(trips, 0.99):.2f} ms", "1.0 (p50)")]
    for name, begin, end in (
        ("bar received -> approved", "bar", "approved"),
        ("approved -> order on the wire (journal on disk)", "approved", "sent"),
        ("bar received -> order on the wire", "bar", "sent"),
        ("order on the wire -> answer", "sent", "answered"),
        ("order on the wire -> fill event", "sent", "filled"),
    ):
        spans = [(e[end] - e[begin]) / 1e6 for e in entries]
        middle = quantile(spans, 0.5)
        rows.append((name, f"{middle:.2f} / {quantile(spans, 0.99):.2f} ms", f"{middle / trip:.1f}"))
    rows.append(("  entries measured", str(len(entries)), ""))
    settled = memory[24:] or memory
    hours = settled[-1]["hour"] - settled[0]["hour"]
    growth = (settled[-1]["rss"] - settled[0]["rss"]) / 2**20
    real_hours = (settled[-1]["at"] - settled[0]["at"]) / 3600
    rows += [
        ("RSS at the start", f"{memory[0]['rss'] / 2**20:.0f} MB", ""),
        (
            f"RSS after {memory[-1]['hour'] - memory[0]['hour']} simulated hours",
            f"{memory[-1]['rss'] / 2**20:.0f} MB",
            "",
        ),
        ("RSS slope after the first day", f"{growth / max(hours, 1):.3f} MB per simulated hour", ""),
        ("  pace", f"{hours / max(real_hours, 1e-9) / 3600:.1f} simulated hours per second, {wall:.0f} s", ""),
    ]
    return rows


def starts(directory: Path, market: Path, bare: float) -> list[Row]:
    """Time and weight of a start, by number of symbols."""
    rows: list[Row] = [("bare interpreter with Nautilus's live node", f"{bare:.2f} s", "1.0")]
    for symbols in (["XRPUSDT"], ["BTCUSDT", "ETHUSDT", "XRPUSDT"]):
        folder = directory / str(len(symbols))
        folder.mkdir()
        run = Run(folder, market, seed=0)
        try:
            run.start(node={"symbols": symbols})
            took = time.time() - run.starts[-1]
            assert run.node is not None  # noqa: S101 - started above
            weight = psutil.Process(run.node.pid).memory_info().rss / 2**20
        finally:
            run.close()
        name = f"start to ready, {len(symbols)} symbol{'s' if len(symbols) > 1 else ''}"
        rows.append((name, f"{took:.2f} s, {weight:.0f} MB", f"{took / bare:.1f}"))
    return rows


def restart(directory: Path, market: Path) -> Row:
    """Kill -9, the stop cancelled meanwhile, from the start of the new process to the resting stop."""
    run = Run(directory, market, seed=1)
    try:
        run.start()
        run.to_position()
        run.kill()
        run.control("cancel", algo_id=live_stops(run.books(), run.symbol)[0]["algo_id"])
        began = time.time()
        run.start_node(wait=False)
        run.until(lambda b: covered(b, run.symbol), what="a stop")
        took = time.time() - began
    finally:
        run.close()
    return ("cold restart -> protected (no stop left at the venue)", f"{took:.2f} s", "")


def kill_to_flat(directory: Path, market: Path) -> Row:
    """From the command's arrival at the control interface to the last position closed in the venue's books."""
    run = Run(directory, market, seed=1)
    try:
        run.start()
        run.to_position()
        command = [sys.executable, "-m", "node.cli", "kill", "--config", str(run.demo.config)]
        began = time.time()
        done = subprocess.run(
            [*command, "--venue-url", run.venue_url], cwd=ROOT, capture_output=True, text=True, check=False
        )
        took = time.time() - began
        books = run.books()
        flat_ms = max(e["wall_ms"] for e in books["timeline"] if e["kind"] == "position" and not Decimal(e["quantity"]))
        assert not net(books), done.stdout + done.stderr  # noqa: S101 - the benchmark is void otherwise
    finally:
        run.close()
    return (
        "kill: command typed -> venue flat",
        f"{flat_ms / 1000 - began:.2f} s",
        f"of {took:.2f} s for the whole command",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=10, help="simulated days of the long run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        market = directory / "catalog"
        shared = ROOT.parent / "shared" / "data"
        prepare(
            market, source="env" if os.environ.get("ARGONAUT_DATA") else "shared" if shared.is_dir() else "synthetic"
        )
        folders = [directory / part for part in ("long", "starts", "restart", "kill")]
        for folder in folders:
            folder.mkdir()
        rows = [
            *long_run(folders[0], market, options.days),
            *starts(folders[1], market, bare_start()),
            restart(folders[2], market),
            kill_to_flat(folders[3], market),
        ]
    width = max(len(name) for name, _, _ in rows)
    print(f"{'':{width}}  p50 / p99 or value                ratio")
    for row_name, value, ratio in rows:
        print(f"{row_name:{width}}  {value:32}  {ratio}")


if __name__ == "__main__":
    main()
