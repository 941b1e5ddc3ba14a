"""Bars and funding rates the venue replays, and what of them a client may see at the present market time."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from node.venue.errors import error
from node.venue.instruments import Instrument
from node.venue.path import BarPath

MILLIS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
FUNDING_HOURS = 8
_FUNDING_MS = FUNDING_HOURS * MILLIS["h"]
_SNAP_MS = 60_000

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")


def interval_ms(interval: str) -> int:
    """Return a bar interval in ms (-1120 for one the exchange does not know)."""
    if interval not in INTERVALS:
        raise error(-1120)
    return int(interval[:-1]) * MILLIS[interval[-1]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One finished bar; `open_ms` UTC ms, prices USDT, volume base currency."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(slots=True)
class Series:
    """All bars of one symbol, ascending and gap-free or not, and how many of them are public."""

    symbol: str
    bars: Sequence[Bar]
    open_ms: list[int]
    first: int
    visible: int
    funding_ms: list[int] = field(default_factory=list)
    funding_rate: list[Decimal] = field(default_factory=list)


class Feed:
    """
    The replayed market.

    Parameters
    ----------
    instruments : Mapping[str, Instrument]
        Instruments by symbol; its order is the order of publication at equal times.
    bars : Mapping[str, Sequence[Bar]]
        Bars by symbol, ascending.
    interval : str
        Interval of `bars`.
    start_ms : int
        Open time of the first bar to replay; earlier ones are history.
    funding : Mapping[str, Sequence[tuple[int, Decimal]]]
        Settlement times (UTC ms) and rates by symbol, ascending.

    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        bars: Mapping[str, Sequence[Bar]],
        interval: str,
        start_ms: int,
        funding: Mapping[str, Sequence[tuple[int, Decimal]]],
    ) -> None:
        self.interval = interval
        self.step_ms = interval_ms(interval)
        self.start_ms = start_ms
        self._instruments = instruments
        self.series: dict[str, Series] = {}
        for symbol in instruments:
            opens = [b.open_ms for b in bars[symbol]]
            first = bisect_left(opens, start_ms)
            settlements = [(_snap(t), rate) for t, rate in funding.get(symbol, ())]
            self.series[symbol] = Series(
                symbol=symbol,
                bars=bars[symbol],
                open_ms=opens,
                first=first,
                visible=first,
                funding_ms=[t for t, _ in settlements],
                funding_rate=[r for _, r in settlements],
            )

    def steps(self) -> Iterator[tuple[int, list[tuple[str, int]]]]:
        """Yield ``(close time in ms, [(symbol, index), ...])`` in time order, symbols in configured order."""
        cursors = {symbol: max(series.first, series.visible) for symbol, series in self.series.items()}
        while True:
            heads = [
                self.series[symbol].open_ms[at] for symbol, at in cursors.items() if at < len(self.series[symbol].bars)
            ]
            if not heads:
                return
            now = min(heads)
            step = []
            for symbol, at in cursors.items():
                series = self.series[symbol]
                if at < len(series.bars) and series.open_ms[at] == now:
                    step.append((symbol, at))
                    cursors[symbol] = at + 1
            yield now + self.step_ms, step

    def bar(self, symbol: str, index: int) -> Bar:
        """Return a bar by index."""
        return self.series[symbol].bars[index]

    def path(self, symbol: str, index: int) -> BarPath:
        """Return a bar as the matching engine walks it."""
        bar = self.series[symbol].bars[index]
        return BarPath(bar.open, bar.high, bar.low, bar.close, bar.volume, bar.open_ms + self.step_ms)

    def previous_close_ms(self, symbol: str, index: int) -> int:
        """Return the close of the bar replayed before; of a replay's first bar, its open. Missing bars lie between."""
        series = self.series[symbol]
        return series.open_ms[index - 1] + self.step_ms if index > series.first else series.open_ms[index]

    def reveal(self, symbol: str, index: int) -> None:
        """Make a bar public."""
        self.series[symbol].visible = index + 1

    def first_price(self, symbol: str) -> Decimal | None:
        """Return the last public close before the replay, else the first open; None without bars."""
        series = self.series[symbol]
        if series.visible:
            return series.bars[series.visible - 1].close
        return series.bars[0].open if series.bars else None

    def last_public(self, symbol: str) -> Bar | None:
        """Return the newest public bar."""
        series = self.series[symbol]
        return series.bars[series.visible - 1] if series.visible else None

    def public_since(self, symbol: str, open_ms: int) -> Sequence[Bar]:
        """Return the public bars of the replayed interval that open at or after `open_ms`, ascending."""
        series = self.series[symbol]
        return series.bars[bisect_left(series.open_ms, open_ms) : series.visible]

    def public_ms(self, symbol: str) -> int:
        """Return market time as this symbol's published bars tell it: the close of the newest public bar."""
        bar = self.last_public(symbol)
        return self.start_ms if bar is None else bar.open_ms + self.step_ms

    # -- klines --------------------------------------------------------------------------------------------------------

    def klines(self, symbol: str, interval: str, start: int | None, end: int | None, limit: int) -> list[list[Any]]:
        """
        Return public klines as REST prints them, ascending, at most `limit`.

        `start` and `end` are UTC ms on open times, both inclusive; without `start` the newest bars up to `end`. An
        interval longer than the replayed one is put together from finished bars; a shorter one is refused (-1120).
        """
        instrument = self._instruments[symbol]
        if interval_ms(interval) == self.step_ms:
            rows, opens = self.series[symbol].bars, self.series[symbol].open_ms
            end_index = self.series[symbol].visible
        else:
            rows = self._merged(symbol, interval)
            opens = [b.open_ms for b in rows]
            end_index = len(rows)
        high = end_index if end is None else min(bisect_right(opens, end), end_index)
        low = 0 if start is None else bisect_left(opens, start)
        chosen = rows[low : min(high, low + limit)] if start is not None else rows[max(high - limit, 0) : high]
        length = interval_ms(interval)
        return [_row(bar, length, instrument) for bar in chosen]

    def kline_event(
        self,
        symbol: str,
        bar: Bar,
        now_ms: int,
        *,
        closed: bool,
        interval: str = "",
    ) -> dict[str, Any]:
        """Return the data of a kline stream message; `interval` is the replayed one unless given."""
        interval = interval or self.interval
        length = interval_ms(interval)
        row = _row(bar, length, self._instruments[symbol])
        number = bar.open_ms // length * 1000
        return {
            "e": "kline",
            "E": now_ms,
            "s": symbol,
            "k": {
                "t": row[0],
                "T": row[6],
                "s": symbol,
                "i": interval,
                "f": number,
                "L": number + row[8] - 1,
                "o": row[1],
                "c": row[4],
                "h": row[2],
                "l": row[3],
                "v": row[5],
                "n": row[8],
                "x": closed,
                "q": row[7],
                "V": row[9],
                "Q": row[10],
                "B": "0",
            },
        }

    def completed(self, symbol: str, bar: Bar, interval: str) -> Bar | None:
        """Return the longer bar that `bar`, the newest public one, completes; None if it completes none."""
        if interval not in INTERVALS:
            return None
        length = interval_ms(interval)
        if length % self.step_ms or (bar.open_ms + self.step_ms) % length:
            return None
        series = self.series[symbol]
        parts = length // self.step_ms
        group = series.bars[max(series.visible - parts, 0) : series.visible]
        whole = len(group) == parts and group[0].open_ms == bar.open_ms + self.step_ms - length
        return _merge(group) if whole else None

    def _merged(self, symbol: str, interval: str) -> Sequence[Bar]:
        series = self.series[symbol]
        length = interval_ms(interval)
        if length % self.step_ms:
            raise error(-1120)
        parts = length // self.step_ms
        merged: list[Bar] = []
        group: list[Bar] = []
        for bar in series.bars[: series.visible]:
            if group and bar.open_ms // length != group[0].open_ms // length:
                group = []
            group.append(bar)
            if len(group) == parts:
                merged.append(_merge(group))
                group = []
        return merged

    # -- funding -------------------------------------------------------------------------------------------------------

    def settlements(self, symbol: str, after_ms: int, until_ms: int) -> list[tuple[int, Decimal]]:
        """Return ``(time, rate)`` of the settlements in ``(after, until]``."""
        series = self.series[symbol]
        low, high = bisect_right(series.funding_ms, after_ms), bisect_right(series.funding_ms, until_ms)
        return list(zip(series.funding_ms[low:high], series.funding_rate[low:high], strict=True))

    def last_rate(self, symbol: str, now_ms: int) -> Decimal:
        """Return the rate of the newest settlement at or before `now_ms`; 0 if there is none."""
        series = self.series[symbol]
        at = bisect_right(series.funding_ms, now_ms)
        return series.funding_rate[at - 1] if at else Decimal(0)

    def next_funding_ms(self, symbol: str, now_ms: int) -> int:
        """Return the next settlement time after `now_ms`: of the data, else of the eight-hour grid."""
        series = self.series[symbol]
        at = bisect_right(series.funding_ms, now_ms)
        grid = (now_ms // _FUNDING_MS + 1) * _FUNDING_MS
        return min(grid, series.funding_ms[at]) if at < len(series.funding_ms) else grid

    def close_at(self, symbol: str, time_ms: int) -> Decimal | None:
        """Return the close of the public bar that ends at or last before `time_ms`: the mark of a settlement."""
        series = self.series[symbol]
        at = min(bisect_right(series.open_ms, time_ms - self.step_ms), series.visible)
        return series.bars[at - 1].close if at else None


def _snap(time_ms: int) -> int:
    """Settlement times in the exchange's files carry a few ms of delay; move them back to their minute."""
    return time_ms // _SNAP_MS * _SNAP_MS


def _merge(group: Sequence[Bar]) -> Bar:
    return Bar(
        open_ms=group[0].open_ms,
        open=group[0].open,
        high=max(b.high for b in group),
        low=min(b.low for b in group),
        close=group[-1].close,
        volume=sum((b.volume for b in group), Decimal(0)),
    )


def _row(bar: Bar, length: int, instrument: Instrument) -> list[Any]:
    """
    Return a kline as REST prints it.

    The data hold no trade counts and no taker share: the count is a fixed 100, the taker share one half, the quote
    volume the base volume times the mean of open, high, low and close.
    """
    price, quantity = instrument.price_text, instrument.quantity_text
    quote = bar.volume * (bar.open + bar.high + bar.low + bar.close) / 4
    return [
        bar.open_ms,
        price(bar.open),
        price(bar.high),
        price(bar.low),
        price(bar.close),
        quantity(bar.volume),
        bar.open_ms + length - 1,
        f"{quote:.5f}",
        100,
        quantity(bar.volume / 2),
        f"{quote / 2:.5f}",
        "0",
    ]
