"""The mirrored market: bars that are appended as they close, and prices that come from the exchange's trades."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from node.venue.feed import Bar, Feed
from node.venue.instruments import Instrument
from node.venue.venue import Venue

type Row = Sequence[Any]


class LiveFeed(Feed):
    """
    A feed that grows. Everything in it is public; there is nothing to replay.

    Parameters
    ----------
    instruments : Mapping[str, Instrument]
        Instruments by symbol.
    bars : Mapping[str, Sequence[Bar]]
        Finished bars by symbol, ascending.
    interval : str
        Interval of `bars`.
    start_ms : int
        UTC ms when the account was opened.
    funding : Mapping[str, Sequence[tuple[int, Decimal]]]
        Settlements so far by symbol, ascending.

    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        bars: Mapping[str, Sequence[Bar]],
        interval: str,
        start_ms: int,
        funding: Mapping[str, Sequence[tuple[int, Decimal]]],
    ) -> None:
        owned = {symbol: list(rows) for symbol, rows in bars.items()}
        super().__init__(instruments, owned, interval, start_ms, funding)
        self._owned = owned
        for series in self.series.values():
            series.visible = series.first = len(series.bars)

    def append(self, symbol: str, bar: Bar) -> bool:
        """Add a finished bar; False for one that is known or older than the newest (a duplicate of a reconnect)."""
        series = self.series[symbol]
        if series.open_ms and bar.open_ms <= series.open_ms[-1]:
            return False
        self._owned[symbol].append(bar)
        series.open_ms.append(bar.open_ms)
        series.visible = series.first = len(series.bars)
        return True

    def settle(self, symbol: str, time_ms: int, rate: Decimal) -> bool:
        """Add a settlement; False if it is known."""
        series = self.series[symbol]
        time_ms = time_ms // 60_000 * 60_000
        if series.funding_ms and time_ms <= series.funding_ms[-1]:
            return False
        series.funding_ms.append(time_ms)
        series.funding_rate.append(rate)
        return True


class Mirror:
    """
    Turns what the exchange says into what happens at the venue.

    A trade moves the price and with it triggers and fills; a finished candle becomes history and is published; all else
    is handed on as it came. Bars that closed while the line was down are walked as the replay walks them, so a stop
    that was passed meanwhile has been hit.

    Parameters
    ----------
    venue : Venue
        The venue acted on.
    feed : LiveFeed
        Its feed.

    """

    def __init__(self, venue: Venue, feed: LiveFeed) -> None:
        self._venue = venue
        self._feed = feed
        self._instruments = venue.instruments
        self.trades = 0
        self.bars = 0

    def on_message(self, stream: str, data: dict[str, Any]) -> None:
        """Take one message of a public stream into account."""
        match data.get("e"):
            case "aggTrade":
                self._trade(stream, data)
            case "kline":
                self._kline(stream, data)
            case _:
                self._venue.markets.publish(stream, data)

    def _trade(self, stream: str, data: dict[str, Any]) -> None:
        symbol = data["s"]
        self.trades += 1
        self._move(symbol, Decimal(data["p"]))
        self._venue.markets.publish(stream, data)

    def _move(self, symbol: str, price: Decimal) -> None:
        """Move the price; what that did to the account is kept before any socket is written to."""
        books = self._venue.books
        before = (len(books.fills), len(books.timeline), len(books.orders))
        self._venue.engine.set_price(symbol, price)
        if (len(books.fills), len(books.timeline), len(books.orders)) != before:
            self._venue.keep()

    def _kline(self, stream: str, data: dict[str, Any]) -> None:
        k = data["k"]
        if not k["x"]:
            self._venue.markets.publish(stream, data)
            return
        symbol = data["s"]
        bar = bar_of((k["t"], k["o"], k["h"], k["l"], k["c"], k["v"]))
        if not self._feed.append(symbol, bar):
            return
        self.bars += 1
        self._venue.clock.advance(bar.open_ms + self._feed.step_ms)
        # Trades and candles travel on lines of their own: what a late or lost trade would have reached, the candle has.
        self._move(symbol, bar.close)
        self._venue.markets.publish_closed_kline(stream, data)

    def catch_up(self, symbol: str, bars: Sequence[Bar]) -> int:
        """
        Walk the finished candles that closed while the line was down; return how many.

        They are not published: the exchange does not send them again either, and the node asks for them over REST.
        """
        walked = 0
        for bar in bars:
            if not self._feed.append(symbol, bar):
                continue
            self._venue.clock.advance(bar.open_ms + self._feed.step_ms)
            self._venue.engine.walk(symbol, self._feed.path(symbol, len(self._feed.series[symbol].bars) - 1))
            walked += 1
        if walked:
            self._venue.keep()
        return walked

    def settle(self, symbol: str, time_ms: int, rate: Decimal, mark: Decimal | None) -> bool:
        """Settle funding once per settlement time, at the exchange's rate and mark price."""
        if not self._feed.settle(symbol, time_ms, rate):
            return False
        price = mark if mark is not None else self._venue.engine.prices.get(symbol)
        if price is not None:
            self._venue.engine.settlement.fund(symbol, rate, price)
            self._venue.keep()
        return True


def bar_of(row: Row) -> Bar:
    """Return a REST kline row (open time, open, high, low, close, volume, …) as a bar."""
    return Bar(int(row[0]), *(Decimal(row[i]) for i in range(1, 6)))
