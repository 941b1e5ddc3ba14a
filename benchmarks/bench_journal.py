"""
What recording costs the event loop, and how fast the writer thread is. Run: ``python benchmarks/bench_journal.py``.

``record()`` is timed against appending to a deque while the writer commits to SQLite with full durability, at a pace a
fast replay reaches; `late` is how long an event loop that wakes every millisecond is held up by the writer's share of
the interpreter.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from node.journal import open_journal
from strategies.records import SignalRecord


def signal(number: int) -> SignalRecord:
    return SignalRecord(
        id=f"CMP:XRPUSDT:{number}",
        market_time=number,
        wall_time=number,
        strategy="CMP",
        symbol="XRPUSDT",
        side="LONG",
        strength=4.0,
        reference_price=2.5,
        stop_price=2.4,
        target_price=2.8,
        features=[number * 0.1] * 44,
        schema="0123456789abcdef",
    )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def pace(put: Callable[[Any], None], records: list[Any], per_tick: int) -> tuple[list[float], list[float]]:
    """Hand over `per_tick` records every millisecond; return seconds per call and seconds the loop woke late."""
    calls, late = [], []
    clock = time.perf_counter
    for start in range(0, len(records), per_tick):
        due = clock() + 0.001
        await asyncio.sleep(0.001)
        late.append(max(0.0, clock() - due))
        for record in records[start : start + per_tick]:
            before = clock()
            put(record)
            calls.append(clock() - before)
    return calls, late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--per-tick", type=int, default=2, help="records per millisecond")
    parser.add_argument("--url", help="journal to write (default: a new SQLite file)")
    options = parser.parse_args()
    records = [signal(number) for number in range(options.records)]
    queue: deque[Any] = deque()
    base_calls, base_late = asyncio.run(pace(queue.append, records, options.per_tick))
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(options.url or f"sqlite:///{folder}/journal.sqlite")
        calls, late = asyncio.run(pace(journal.record, records, options.per_tick))
        journal.flush(60)
        burst = [signal(number) for number in range(options.records, 2 * options.records)]
        started = time.perf_counter()
        for record in burst:
            journal.record(record)
        journal.flush(60)
        rate = len(burst) / (time.perf_counter() - started)
        journal.close()
    micro = 1e6
    print(
        json.dumps(
            {
                "records": options.records,
                "deque_append_us": {
                    "median": statistics.median(base_calls) * micro,
                    "p99": quantile(base_calls, 0.99) * micro,
                },
                "record_us": {"median": statistics.median(calls) * micro, "p99": quantile(calls, 0.99) * micro},
                "p99_ratio": quantile(calls, 0.99) / quantile(base_calls, 0.99),
                "loop_late_ms": {
                    "without_p99": quantile(base_late, 0.99) * 1e3,
                    "with_p99": quantile(late, 0.99) * 1e3,
                    "with_max": max(late) * 1e3,
                },
                "records_per_second": round(rate),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
