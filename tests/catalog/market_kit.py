"""Clean data of every raw kind as the exchange would send it: CSV header and rows, from a seed."""

from dataclasses import dataclass, field

import numpy as np

from catalog.instruments import interval_ns
from catalog.raw.kinds import BOOK_LEVELS, KINDS

START_MS = 1_741_132_800_000  # 2025-03-05T00:00:00Z
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
INTERVALS = {"klines": "1m", "mark_klines": "15m", "index_klines": "15m", "premium_klines": "15m"}

type Row = list[str]


@dataclass
class Sheet:
    """A CSV: kind, interval, header, rows."""

    kind: str
    interval: str | None
    header: Row
    rows: list[Row] = field(default_factory=list)

    def at(self, name: str) -> int:
        return self.header.index(name)

    def column(self, name: str) -> list[str]:
        return [row[self.at(name)] for row in self.rows]

    def copy(self) -> "Sheet":
        return Sheet(self.kind, self.interval, list(self.header), [list(row) for row in self.rows])

    @property
    def time(self) -> str:
        return KINDS[self.kind].columns[0].name

    def lines(self) -> list[str]:
        return [",".join(self.header), *(",".join(row) for row in self.rows)]


def sheet(kind: str, seed: int = 1, days: int = 1, start_ms: int = START_MS) -> Sheet:
    """Return `days` of clean rows of a kind."""
    source = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    interval = INTERVALS.get(kind)
    header = [column.name for column in KINDS[kind].columns]
    rows = _MAKERS[kind](source, days, start_ms, interval_ns(interval) // 1_000_000 if interval else 0)
    return Sheet(kind, interval, header, rows)


def _walk(source: np.random.Generator, count: int, scale: float = 0.0008) -> np.ndarray:
    return np.round(24_500 * np.exp(np.cumsum(source.normal(0, scale, count)))).astype(np.int64)


def _candles(source: np.random.Generator, count: int, scale: float) -> list[np.ndarray]:
    close = _walk(source, count, scale)
    opened = np.concatenate([[24_500], close[:-1]])
    reach = 24_500 * scale / 2
    high = np.maximum(opened, close) + np.rint(np.abs(source.normal(0, reach, count))).astype(np.int64)
    low = np.minimum(opened, close) - np.rint(np.abs(source.normal(0, reach, count))).astype(np.int64)
    return [opened, high, low, close]


def _klines(source: np.random.Generator, days: int, start: int, step: int) -> list[Row]:
    count = days * DAY_MS // step
    candles = _candles(source, count, 0.0008)
    units = np.maximum(np.rint(400_000 * np.exp(source.normal(0, 0.4, count))), 10).astype(np.int64)
    taker = np.rint(units * source.uniform(0.3, 0.7, count)).astype(np.int64)
    trades = source.integers(50, 900, count)
    rows = []
    for i in range(count):
        opened, high, low, close = (int(c[i]) for c in candles)
        volume, buy = int(units[i]), int(taker[i])
        middle = (opened + close + high + low) // 4
        rows.append(
            [
                str(start + i * step),
                *(f"{p / 1e4:.4f}" for p in (opened, high, low, close)),
                f"{volume / 10:.1f}",
                f"{volume * middle / 1e5:.5f}",
                str(trades[i]),
                f"{buy / 10:.1f}",
                f"{buy * middle / 1e5:.5f}",
            ]
        )
    return rows


def _prices(source: np.random.Generator, days: int, start: int, step: int) -> list[Row]:
    count = days * DAY_MS // step
    candles = [c * 10_000 + 4_321 for c in _candles(source, count, 0.002)]
    return [[str(start + i * step), *(f"{int(c[i]) / 1e8:.8f}" for c in candles)] for i in range(count)]


def _premiums(source: np.random.Generator, days: int, start: int, step: int) -> list[Row]:
    count = days * DAY_MS // step
    close = np.rint(source.normal(-20_000, 9_000, count)).astype(np.int64)
    opened = np.concatenate([[-20_000], close[:-1]])
    high = np.maximum(opened, close) + source.integers(0, 9_000, count)
    low = np.minimum(opened, close) - source.integers(0, 9_000, count)
    return [
        [str(start + i * step), *(f"{int(c[i]) / 1e8:.8f}" for c in (opened, high, low, close))] for i in range(count)
    ]


def _ticks(source: np.random.Generator, days: int, start: int, count: int = 3_000) -> tuple[np.ndarray, np.ndarray]:
    time = start + np.sort(source.integers(0, days * DAY_MS, count * days))
    return time, _walk(source, count * days, 0.0001)


def _agg_trades(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    time, price = _ticks(source, days, start)
    first = 900_000 + np.cumsum(source.integers(1, 4, len(time)))
    last = np.append(first[1:] - 1, first[-1])
    size = np.maximum(np.rint(source.lognormal(5, 1, len(time)) * 10), 1).astype(np.int64)
    side = source.random(len(time)) < 0.5
    return [
        [
            str(time[i]),
            str(70_000 + i),
            f"{price[i] / 1e4:.4f}",
            f"{size[i] / 10:.1f}",
            str(first[i]),
            str(last[i]),
            "true" if side[i] else "false",
        ]
        for i in range(len(time))
    ]


def _trades(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    time, price = _ticks(source, days, start)
    size = np.maximum(np.rint(source.lognormal(5, 1, len(time)) * 10), 1).astype(np.int64)
    side = source.random(len(time)) < 0.5
    return [
        [
            str(time[i]),
            str(900_000 + i),
            f"{price[i] / 1e4:.4f}",
            f"{size[i] / 10:.1f}",
            f"{size[i] * price[i] / 1e5:.5f}",
            "true" if side[i] else "false",
        ]
        for i in range(len(time))
    ]


def _book_ticker(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    time, price = _ticks(source, days, start)
    number = 5_000_000 + np.cumsum(source.integers(1, 50, len(time)))
    spread, sizes = source.integers(1, 3, len(time)), source.integers(1, 900_000, (len(time), 2))
    late = source.integers(1, 6, len(time))
    return [
        [
            str(time[i]),
            str(number[i]),
            f"{price[i] / 1e4:.4f}",
            f"{sizes[i, 0] / 10:.1f}",
            f"{(price[i] + spread[i]) / 1e4:.4f}",
            f"{sizes[i, 1] / 10:.1f}",
            str(time[i] + late[i]),
        ]
        for i in range(len(time))
    ]


def _book_snapshots(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    time, price = _ticks(source, days, start, 1_200)
    rows = []
    for i in range(len(time)):
        cells = [str(time[i])]
        for level in range(BOOK_LEVELS):
            sizes = source.integers(1, 900_000, 2)
            cells += [f"{(price[i] + 1 + level) / 1e4:.4f}", f"{sizes[0] / 10:.1f}"]
            cells += [f"{(price[i] - level) / 1e4:.4f}", f"{sizes[1] / 10:.1f}"]
        rows.append(cells)
    return rows


def _book_depth(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    rows = []
    for i in range(days * DAY_MS // (5 * MINUTE_MS)):
        depth = 0.0
        for percent in (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5):
            depth = 1e6 * abs(percent) * float(np.exp(source.normal(0, 0.1)))
            rows.append([str(start + i * 5 * MINUTE_MS), f"{percent}.00", f"{depth:.3f}", f"{depth * 2.45:.8f}"])
    return rows


def _figures(source: np.random.Generator, days: int, start: int, level: float, names: int) -> list[Row]:
    count = days * DAY_MS // (5 * MINUTE_MS)
    values = level * np.exp(np.cumsum(source.normal(0, 1e-3, (count, names)), axis=0))
    return [[str(start + i * 5 * MINUTE_MS), *(f"{v:.8f}" for v in values[i])] for i in range(count)]


def _open_interest(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    return _figures(source, days, start, 2.5e8, 2)


def _ratios(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    return _figures(source, days, start, 1.4, 4)


def _metrics(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    interest, ratios = _open_interest(source, days, start, 0), _ratios(source, days, start, 0)
    return [[*a, *b[1:]] for a, b in zip(interest, ratios, strict=True)]


def _funding(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    return [
        [str(start + i * 8 * HOUR_MS), "8", f"{source.normal(0.0001, 0.00005):.8f}"] for i in range(max(days * 3, 30))
    ]


def _liquidations(source: np.random.Generator, days: int, start: int, _: int) -> list[Row]:
    time, price = _ticks(source, days, start, 200)
    rows = []
    for i in range(len(time)):
        size, side = f"{source.integers(1, 90_000) / 10:.1f}", "SELL" if source.random() < 0.5 else "BUY"
        cells = [str(time[i]), side, "LIMIT", "IOC", size, f"{price[i] / 1e4:.4f}", f"{price[i] / 1e4:.4f}", "FILLED"]
        rows.append([*cells, size, size])
    return rows


_MAKERS = {
    "klines": _klines,
    "mark_klines": _prices,
    "index_klines": _prices,
    "premium_klines": _premiums,
    "agg_trades": _agg_trades,
    "trades": _trades,
    "book_ticker": _book_ticker,
    "book_snapshots": _book_snapshots,
    "book_depth": _book_depth,
    "metrics": _metrics,
    "open_interest": _open_interest,
    "ratios": _ratios,
    "funding": _funding,
    "liquidations": _liquidations,
}
