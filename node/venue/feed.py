"""Bars and funding rates the venue replays, and what of them a client may see at the present market time."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from node.venue.instruments import Instrument
from node.venue.intervals import INTERVALS, MILLIS, Bar, closing, interval_ms, merged, opening
from node.venue.path import BarPath

__all__ = ["FUNDING_HOURS", "Bar", "Feed", "interval_ms"]

FUNDING_HOURS = 8
_FUNDING_MS = FUNDING_HOURS * MILLIS["h"]
_SNAP_MS = 60_000


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

        `start` and `end` are UTC ms on open times, both inclusive; without `start` the newest bars up to `end`. Other
        intervals than the replayed one are made of its finished bars (:mod:`node.venue.intervals`).
        """
        instrument = self._instruments[symbol]
        rows = self.bars(symbol, interval, start, end, limit)
        return [_row(bar, closing(interval, bar.open_ms), instrument) for bar in rows]

    def bars(self, symbol: str, interval: str, start: int | None, end: int | None, limit: int) -> Sequence[Bar]:
        """Return what :meth:`klines` prints, as bars."""
        series = self.series[symbol]
        last = series.visible if end is None else min(bisect_right(series.open_ms, end), series.visible)
        if interval == self.interval:
            first = 0 if start is None else bisect_left(series.open_ms, start)
            return (
                series.bars[first : min(last, first + limit)]
                if start is not None
                else _newest(series.bars[:last], limit)
            )
        instrument = self._instruments[symbol]
        length = interval_ms(interval)
        if end is not None:  # the bar that opens at or before `end` needs the replayed bars up to its close
            last = min(bisect_left(series.open_ms, closing(interval, opening(interval, end))), series.visible)
        # As many replayed bars as can be needed, and one more bar on either side, where one may be begun or cut.
        needed = (limit + 2) * length // self.step_ms + 2
        if start is not None:
            first = bisect_left(series.open_ms, start - self.step_ms + 1)
            last = min(last, first + needed)
        else:
            first = max(last - needed, 0)
        while True:
            found = merged(series.bars[first:last], self.step_ms, interval, instrument.tick, instrument.step)
            found = [b for b in found if (start is None or b.open_ms >= start) and (end is None or b.open_ms <= end)]
            if start is not None:
                return found[:limit]
            if len(found) >= limit or not first:
                return _newest(found, limit)
            first = 0  # bars are missing: look at all of them

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
        row = _row(bar, closing(interval, bar.open_ms), self._instruments[symbol])
        number = bar.open_ms // interval_ms(interval) * 1000
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

    def completed(self, symbol: str, bar: Bar, interval: str) -> Sequence[Bar]:
        """Return the bars of another interval that `bar`, the newest public one, completes: none, one, or its parts."""
        if interval not in INTERVALS:
            return ()
        series = self.series[symbol]
        end = bar.open_ms + self.step_ms
        begin = opening(interval, bar.open_ms)
        group = series.bars[bisect_left(series.open_ms, begin) : series.visible]
        instrument = self._instruments[symbol]
        found = merged(group, self.step_ms, interval, instrument.tick, instrument.step)
        return [b for b in found if bar.open_ms < closing(interval, b.open_ms) <= end]

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


def _newest(rows: Sequence[Bar], limit: int) -> Sequence[Bar]:
    return rows[max(len(rows) - limit, 0) :]


def _row(bar: Bar, end_ms: int, instrument: Instrument) -> list[Any]:
    """
    Return a kline that ends at `end_ms` as REST prints it.

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
        end_ms - 1,
        f"{quote:.5f}",
        100,
        quantity(bar.volume / 2),
        f"{quote / 2:.5f}",
        "0",
    ]
