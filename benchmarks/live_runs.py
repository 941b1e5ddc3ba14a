"""Part of ``bench_live_latency.py``: whole nodes against a venue in a process of its own, and what they took."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.live_market import twenty_symbols
from research.testing import small_model
from research.training import publish
from tests.faults.harness import ROOT, Run, covered, live_stops, net
from tests.live.conftest import LOOSE

SHORT_HISTORY = 1_500
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
_MEGA = 2**20


@dataclass(frozen=True)
class Row:
    """One line of the table: name, figures, ratio to the machine's own pace, target and whether it is met."""

    name: str
    value: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` of `values` lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def spread(values: list[float]) -> str:
    """Return median, 90th and 99th percentile and maximum as text."""
    parts = (*(quantile(values, share) for share in (0.5, 0.9, 0.99)), max(values))
    return " / ".join(f"{x:.2f}" for x in parts) + " ms"


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
    """Seconds until an interpreter has imported the live node's Nautilus parts; the better of two."""
    found = []
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import nautilus_trader.live.node"], check=True, cwd=ROOT)
        found.append(time.perf_counter() - began)
    return min(found)


def long_run(directory: Path, market: Path, days: int, node: dict[str, Any], *, memory: bool) -> list[Row]:
    """Latencies of every entry, and, if asked for, memory hour by hour."""
    run = Run(directory, market, seed=0)
    measured = directory / "measured.jsonl"
    probe = [sys.executable, str(ROOT / "benchmarks" / "live_probe.py"), str(measured)]
    try:
        run.start(days=days, module=probe, node=node)
        trips = asyncio.run(round_trips(run.venue_url))
        began = time.perf_counter()
        run.control("resume")
        run.until(lambda s: s["state"] == "finished", what="the end", path="session", secs=3600)
        wall = time.perf_counter() - began
        run.wait()
    finally:
        run.close()
    lines = [json.loads(line) for line in measured.read_text().splitlines()]
    rows = _latencies([line["entry"] for line in lines if "entry" in line], trips)
    return rows + _memory([line for line in lines if "rss" in line], wall) if memory else rows


def gated(directory: Path, market: Path, days: int) -> list[Row]:
    """Latencies of every entry behind the model's gate, which says yes to all, so that they are the same entries."""
    levels = {s: {"stop_atr": LOOSE["stop_atr"], "target_atr": LOOSE["target_atr"]} for s in SYMBOLS}
    model = directory / "model"
    publish(small_model(strategy=levels, threshold=0.0), model)
    node = {"journal_durability": "process", "gate": {"mode": "enforce", "model_dir": str(model)}}
    return long_run(directory, market, days, node, memory=False)


def _latencies(every: list[dict[str, list[int]]], trips: list[float]) -> list[Row]:
    trip = quantile(trips, 0.5)
    # Who reverses a position waits for the fill of the exit before the entry is decided.
    entries = [e for e in every if not e["bar"][0] < e["fill"][0] < e["approved"][0]]

    def spans(begin: str, end: str, clock: int = 0) -> list[float]:
        return [(e[end][clock] - e[begin][clock]) / 1e6 for e in entries]

    def ours(clock: int) -> list[float]:
        waits = spans("asked", "written", clock)
        return [whole - wait for whole, wait in zip(spans("bar", "sent", clock), waits, strict=True)]

    wall, cpu = ours(0), ours(1)
    target = quantile(cpu, 0.99)
    # Of two that one candle decides the first leaves when the second has been decided too, and the second is behind it.
    bars = Counter(e["bar"][0] for e in entries)
    alone = [x for x, e in zip(cpu, entries, strict=True) if bars[e["bar"][0]] == 1]
    rows = [
        Row("bare HTTP round trip to the venue", spread(trips), "1.0 (p50)"),
        Row("bar's message -> approved", spread(spans("bar", "approved"))),
        Row("our part: bar's message -> HTTP client, wall", spread(wall), "", "p99 <= 1 ms", quantile(wall, 0.99) <= 1),
        Row("  the same, time on the core", spread(cpu), "", "p99 <= 1 ms", target <= 1),
        Row("  the same, of the candle's only entry", spread(alone), "", "p99 <= 1 ms", quantile(alone, 0.99) <= 1),
        Row("wait for the journal", spread(spans("asked", "written"))),
        Row("bar's message -> order on the wire, all of it", spread(spans("bar", "sent"))),
        Row("order on the wire -> answer", spread(spans("sent", "answered"))),
        Row("order on the wire -> fill event", spread(spans("sent", "filled"))),
    ]
    medians = [spans("bar", "approved"), wall, cpu, alone, spans("asked", "written"), spans("bar", "sent")]
    medians += [spans("sent", "answered"), spans("sent", "filled")]
    with_ratio = [
        Row(r.name, r.value, f"{quantile(m, 0.5) / trip:.1f}", r.target, r.met)
        for r, m in zip(rows[1:], medians, strict=True)
    ]
    left_out = f"{len(entries)}, without {len(every) - len(entries)} reversals, which wait for the exit's fill"
    return [Row("", "p50 / p90 / p99 / max"), rows[0], *with_ratio, Row("  entries measured", left_out)]


def _memory(samples: list[dict[str, float]], wall: float) -> list[Row]:
    settled = samples[24:] if len(samples) > 48 else samples[len(samples) // 2 :]
    slope = _slope([(s["hour"], s["rss"] / _MEGA) for s in settled])
    hours = settled[-1]["hour"] - settled[0]["hour"]
    return [
        Row("RSS at the start", f"{samples[0]['rss'] / _MEGA:.0f} MB"),
        Row(
            f"RSS after {samples[-1]['hour'] - samples[0]['hour']:.0f} simulated hours",
            f"{samples[-1]['rss'] / _MEGA:.0f} MB",
        ),
        Row("RSS slope after the first day", f"{slope:.3f} MB per simulated hour", "", "< 1 MB/h", slope < 1),
        Row("  pace", f"{hours / max(settled[-1]['at'] - settled[0]['at'], 1e-9):.1f} simulated hours/s, {wall:.0f} s"),
    ]


def _slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line."""
    count = len(points)
    middle_x, middle_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def starts(directory: Path, market: Path, bare: float) -> list[Row]:
    """Time and weight of a start, by number of symbols."""
    rows = [Row("bare interpreter with Nautilus's live node", f"{bare:.2f} s", "1.0")]
    made = directory / "made"
    instruments = directory / "instruments.yaml"
    twenty = twenty_symbols(made, instruments, "2025-08-01", "2025-09-14")
    data = {"data": {"symbols": twenty, "instruments": str(instruments)}}
    for symbols, catalog, venue in (
        (["XRPUSDT"], market, {}),
        (["BTCUSDT", "ETHUSDT", "XRPUSDT"], market, {}),
        (twenty, made, data),
    ):
        folder = directory / str(len(symbols))
        folder.mkdir()
        run = Run(folder, catalog, seed=0)
        try:
            run.start(node={"symbols": symbols}, venue=venue)
            took = time.time() - run.starts[-1]
            assert run.node is not None  # noqa: S101 - started above
            weight = psutil.Process(run.node.pid).memory_info().rss / _MEGA
        finally:
            run.close()
        name = f"start to ready, {len(symbols)} symbol{'s' if len(symbols) > 1 else ''}"
        rows.append(Row(name, f"{took:.2f} s, {weight:.0f} MB", f"{took / bare:.1f}"))
    return rows


def restart(directory: Path, market: Path, bare: float) -> Row:
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
    name = "cold restart -> protected (no stop left at the venue)"
    return Row(name, f"{took:.2f} s", f"{took / bare:.1f}", "<= 5 s", took <= 5)


def kill_to_flat(directory: Path, market: Path, times: int = 3) -> list[Row]:
    """From the start of the command's process to the last position closed, `times` times over."""
    flats, whole = [], []
    run = Run(directory, market, seed=1)
    try:
        run.start()
        for number in range(times):
            if number:
                _command(run, "rearm")
            run.to_position()
            began = time.time()
            done = _command(run, "kill")
            whole.append(time.time() - began)
            books = run.books()
            closed = [e for e in books["timeline"] if e["kind"] == "position" and not Decimal(e["quantity"])]
            assert not net(books), done.stdout + done.stderr  # noqa: S101 - the benchmark is void otherwise
            flats.append(max(e["wall_ms"] for e in closed) / 1000 - began)
    finally:
        run.close()
    text = f"{min(flats):.2f} to {max(flats):.2f} s"
    return [
        Row("kill: process of the command starts -> venue flat", text, "", "<= 1 s", max(flats) <= 1),
        Row("  until the command has asked the venue and ended", f"{max(whole):.2f} s"),
    ]


def kill_without_node(directory: Path, market: Path, times: int = 3) -> list[Row]:
    """The same with the node killed -9 before: the command imports what it needs and goes to the venue itself."""
    flats, whole = [], []
    run = Run(directory, market, seed=2)
    try:
        run.start()
        for number in range(times):
            if number:
                run.start_node()
                _command(run, "rearm")
            run.to_position()
            run.kill()
            began = time.time()
            done = _command(run, "kill")
            whole.append(time.time() - began)
            books = run.books()
            closed = [e for e in books["timeline"] if e["kind"] == "position" and not Decimal(e["quantity"])]
            assert not net(books), done.stdout + done.stderr  # noqa: S101 - the benchmark is void otherwise
            flats.append(max(e["wall_ms"] for e in closed) / 1000 - began)
    finally:
        run.close()
    text = f"{min(flats):.2f} to {max(flats):.2f} s"
    return [
        Row("kill without a node: process starts -> venue flat", text, "", "<= 1 s", max(flats) <= 1),
        Row("  until the command has ended", f"{max(whole):.2f} s"),
    ]


def _command(run: Run, action: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli", action, "--config", str(run.demo.config)]
    return subprocess.run(
        [*command, "--venue-url", run.venue_url], cwd=ROOT, capture_output=True, text=True, check=False
    )


def load() -> str:
    """Return what else the machine was doing."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
