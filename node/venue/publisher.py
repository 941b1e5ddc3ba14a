"""What goes out on the market streams while the price moves."""

from decimal import Decimal
from typing import Any

from node.venue.feed import Bar, Feed
from node.venue.matching import MatchingEngine
from node.venue.streams import MarketStreams

_TOP_LOTS = 1000


class Publisher:
    """Turns the engine's price path and finished bars into stream messages."""

    def __init__(self, feed: Feed, engine: MatchingEngine, markets: MarketStreams) -> None:
        self._feed = feed
        self._engine = engine
        self._markets = markets
        self._trades = 0
        self._updates = 0

    def path(self, symbol: str) -> None:
        """Publish one aggregate trade and one best quote for every price the last walk visited, if anyone listens."""
        streams = self._markets.streams()
        trade, quote = f"{symbol.lower()}@aggTrade", f"{symbol.lower()}@bookTicker"
        if trade not in streams and quote not in streams:
            return
        for _, price in self._engine.points:
            self._trades += 1
            self._updates += 1
            self._markets.publish(trade, self.trade_event(symbol, price))
            self._markets.publish(quote, self.quote_event(symbol, price))

    def closed(self, symbol: str, bar: Bar) -> None:
        """Publish a finished bar, then the mark price at its close."""
        now = self._engine.books.clock.wall_ms()
        stream = f"{symbol.lower()}@kline_{self._feed.interval}"
        self._markets.publish_closed_kline(stream, self._feed.kline_event(symbol, bar, now, closed=True))
        self.longer_bars(symbol, bar, now)
        self.mark(symbol)

    def longer_bars(self, symbol: str, bar: Bar, now: int) -> None:
        """Publish the longer klines that `bar` completes, if anyone listens."""
        prefix = f"{symbol.lower()}@kline_"
        for stream in self._markets.streams():
            interval = stream.removeprefix(prefix)
            if not stream.startswith(prefix) or interval == self._feed.interval:
                continue
            merged = self._feed.completed(symbol, bar, interval)
            if merged is not None:
                data = self._feed.kline_event(symbol, merged, now, closed=True, interval=interval)
                self._markets.publish_closed_kline(stream, data)

    def mark(self, symbol: str) -> None:
        """Publish the mark price at the last public close."""
        bar = self._feed.last_public(symbol)
        streams = self._markets.streams()
        names = [n for n in (f"{symbol.lower()}@markPrice", f"{symbol.lower()}@markPrice@1s") if n in streams]
        everyone = [n for n in ("!markPrice@arr", "!markPrice@arr@1s") if n in streams]
        if bar is None or not (names or everyone):
            return
        event = self.mark_event(symbol, bar.close)
        for name in names:
            self._markets.publish(name, event)
        for name in everyone:
            self._markets.publish(name, [event])

    def mark_event(self, symbol: str, price: Decimal) -> dict[str, Any]:
        """
        Return a markPriceUpdate: mark and index are the last close, `r` is the rate of the last settlement.

        The exchange sends the running estimate of the coming rate; the data hold only what was settled, and sending the
        coming rate would show the future.
        """
        now = self._feed.public_ms(symbol)
        text = self._engine.instruments[symbol].price_text(price)
        return {
            "e": "markPriceUpdate",
            "E": self._engine.books.clock.wall_ms(),
            "s": symbol,
            "p": text,
            "i": text,
            "P": text,
            "r": f"{self._feed.last_rate(symbol, now):.8f}",
            "T": self._feed.next_funding_ms(symbol, now),
        }

    def trade_event(self, symbol: str, price: Decimal) -> dict[str, Any]:
        """Return an aggTrade of one step at `price`."""
        instrument = self._engine.instruments[symbol]
        now = self._engine.books.clock.wall_ms()
        return {
            "e": "aggTrade",
            "E": now,
            "a": self._trades,
            "s": symbol,
            "p": instrument.price_text(price),
            "q": instrument.quantity_text(instrument.step),
            "nq": instrument.quantity_text(instrument.step),
            "f": self._trades,
            "l": self._trades,
            "T": now,
            "m": False,
        }

    def quote_event(self, symbol: str, price: Decimal) -> dict[str, Any]:
        """Return a bookTicker: bid and ask are both the last price, as the engine fills without a spread."""
        instrument = self._engine.instruments[symbol]
        now = self._engine.books.clock.wall_ms()
        size = instrument.quantity_text(instrument.step * _TOP_LOTS)
        text = instrument.price_text(price)
        return {
            "e": "bookTicker",
            "u": self._updates,
            "s": symbol,
            "b": text,
            "B": size,
            "a": text,
            "A": size,
            "T": now,
            "E": now,
        }
