"""What goes out on the market streams while the price moves."""

import re
from collections import Counter
from decimal import Decimal
from typing import Any

from node.venue.books import Order
from node.venue.feed import Bar, Feed
from node.venue.instruments import Instrument
from node.venue.matching import MatchingEngine
from node.venue.streams import MarketStreams

LEVELS = 20
LOTS = 1000
DAY_MS = 86_400_000
_IDS_PER_UPDATE = 3

_PARTIAL_DEPTH = re.compile(r"@depth(5|10|20)\b")
_MINI_FIELDS = {
    "c": "lastPrice",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
}
_TICKER_FIELDS = {
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "Q": "lastQty",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}


_INDEX_FIELDS = {
    "i": "index",
    "b": "bidBuffer",
    "a": "askBuffer",
    "B": "bidRate",
    "A": "askRate",
    "q": "autoExchangeBidBuffer",
    "g": "autoExchangeAskBuffer",
    "Q": "autoExchangeBidRate",
    "G": "autoExchangeAskRate",
}


class Publisher:
    """Turns the engine's price path and finished bars into stream messages."""

    def __init__(self, feed: Feed, engine: MatchingEngine, markets: MarketStreams) -> None:
        self._feed = feed
        self._engine = engine
        self._markets = markets
        self._trades = 0
        self._updates: Counter[str] = Counter()
        self._published: dict[str, Decimal] = {}

    def path(self, symbol: str) -> None:
        """Publish what every price the last walk visited means to trade, quote and depth streams, if anyone listens."""
        streams = self._markets.streams()
        name = symbol.lower()
        trade, single, quote = f"{name}@aggTrade", f"{name}@trade", f"{name}@bookTicker"
        # The book with retail orders is the book: nobody rests any here.
        depth = [s for s in sorted(streams) if s.startswith((f"{name}@depth", f"{name}@rpiDepth"))]
        before = self._published.get(symbol)
        for at, price in self._engine.points:
            if at != symbol:
                continue
            self._trades += 1
            self._updates[symbol] += _IDS_PER_UPDATE
            if trade in streams:
                self._markets.publish(trade, self.trade_event(symbol, price))
            if single in streams:
                self._markets.publish(single, self.single_trade_event(symbol, price))
            for stream in (quote, "!bookTicker"):
                if stream in streams:
                    self._markets.publish(stream, self.quote_event(symbol, price))
            for stream in depth:
                self._markets.publish(stream, self.depth_event(symbol, stream, before, price))
            before = self._published[symbol] = price

    def depth_event(self, symbol: str, stream: str, before: Decimal | None, price: Decimal) -> dict[str, Any]:
        """Return a depthUpdate: the changes since the last price, or for ``@depth5/10/20`` the best levels."""
        instrument = self._engine.instruments[symbol]
        found = _PARTIAL_DEPTH.search(stream)
        bids, asks = ladder(instrument, price, int(found[1]) if found else LEVELS)
        if not found and before is not None:
            old_bids, old_asks = ladder(instrument, before, LEVELS)
            bids = {p: "0" for p in old_bids if p not in bids} | bids
            asks = {p: "0" for p in old_asks if p not in asks} | asks
        now = self._engine.books.clock.wall_ms()
        return {
            "e": "depthUpdate",
            "E": now,
            "T": now,
            "s": symbol,
            "U": self._updates[symbol] - _IDS_PER_UPDATE + 1,
            "u": self._updates[symbol],
            "pu": self._updates[symbol] - _IDS_PER_UPDATE,
            "b": [list(row) for row in bids.items()],
            "a": [list(row) for row in asks.items()],
        }

    def update_id(self, symbol: str) -> int:
        """
        Return the number of the book as REST depth prints it: one beyond the newest update.

        So the next update of a depth stream spans it (``U <= lastUpdateId <= u``), as clients demand of the first one
        they apply, also when the market stood still between snapshot and stream.
        """
        return self._updates[symbol] + 1

    def closed(self, symbol: str, bar: Bar) -> None:
        """Publish a finished bar, then the mark price at its close."""
        now = self._engine.books.clock.wall_ms()
        stream = f"{symbol.lower()}@kline_{self._feed.interval}"
        self._markets.publish_closed_kline(stream, self._feed.kline_event(symbol, bar, now, closed=True))
        self.other_bars(symbol, bar, now)
        self.continuous(symbol, bar, now)
        self.mark(symbol)
        self.marks()
        self.day(symbol, now)

    def day(self, symbol: str, now: int) -> None:
        """Publish the statistics of the last 24 hours of market time, if anyone listens."""
        streams = self._markets.streams()
        full, small = f"{symbol.lower()}@ticker", f"{symbol.lower()}@miniTicker"
        if not {full, small, "!ticker@arr", "!miniTicker@arr"} & streams:
            return
        row = day_statistics(self._feed, self._engine, symbol)
        short = {name: row[key] for name, key in _MINI_FIELDS.items()}
        mini = {"e": "24hrMiniTicker", "E": now, "s": symbol, **short}
        self._markets.publish(small, mini)
        self._markets.publish("!miniTicker@arr", [mini])
        rest = {name: row[key] for name, key in _TICKER_FIELDS.items()}
        event = {"e": "24hrTicker", "E": now, "s": symbol, **short, **rest}
        self._markets.publish(full, event)
        self._markets.publish("!ticker@arr", [event])

    def other_bars(self, symbol: str, bar: Bar, now: int) -> None:
        """Publish the klines of other lengths that `bar` completes, if anyone listens."""
        prefix = f"{symbol.lower()}@kline_"
        for stream in sorted(self._markets.streams()):
            interval = stream.removeprefix(prefix)
            if not stream.startswith(prefix) or interval == self._feed.interval:
                continue
            for whole in self._feed.completed(symbol, bar, interval):
                data = self._feed.kline_event(symbol, whole, now, closed=True, interval=interval)
                self._markets.publish_closed_kline(stream, data)

    def continuous(self, symbol: str, bar: Bar, now: int) -> None:
        """Publish `bar`, and those of other lengths it completes, on the streams of the pair's perpetual contract."""
        prefix = f"{symbol.lower()}_perpetual@continuousKline_"
        for stream in sorted(self._markets.streams()):
            interval = stream.removeprefix(prefix)
            if not stream.startswith(prefix):
                continue
            wholes = [bar] if interval == self._feed.interval else self._feed.completed(symbol, bar, interval)
            for whole in wholes:
                row = self._feed.kline_event(symbol, whole, now, closed=True, interval=interval)["k"]
                kline = {name: value for name, value in row.items() if name != "s"}
                event = {"e": "continuous_kline", "E": now, "ps": symbol, "ct": "PERPETUAL", "k": kline}
                self._markets.publish(stream, event)

    def mark(self, symbol: str) -> None:
        """Publish the mark price at the last public close."""
        bar = self._feed.last_public(symbol)
        streams = self._markets.streams()
        names = [n for n in (f"{symbol.lower()}@markPrice", f"{symbol.lower()}@markPrice@1s") if n in streams]
        if bar is None or not names:
            return
        event = self.mark_event(symbol, bar.close)
        for name in names:
            self._markets.publish(name, event)

    def marks(self) -> None:
        """Publish all mark prices as one array, if anyone listens."""
        streams = self._markets.streams()
        names = [n for n in ("!markPrice@arr", "!markPrice@arr@1s") if n in streams]
        if not names:
            return
        bars = {symbol: self._feed.last_public(symbol) for symbol in self._engine.instruments}
        events = [self.mark_event(symbol, bar.close) for symbol, bar in bars.items() if bar is not None]
        for name in names:
            self._markets.publish(name, events)

    def asset_indices(self) -> None:
        """Publish the asset indices, if anyone listens."""
        streams = self._markets.streams()
        if not any(s.endswith(("@assetIndex", "!assetIndex@arr")) for s in streams):
            return
        now = self._engine.books.clock.wall_ms()
        events = []
        for row in index_rows(self._engine, now):
            short = {name: row[key] for name, key in _INDEX_FIELDS.items()}
            events.append({"e": "assetIndexUpdate", "E": now, "s": row["symbol"], **short})
            self._markets.publish(f"{row['symbol'].lower()}@assetIndex", events[-1])
        self._markets.publish("!assetIndex@arr", events)

    def contract(self, symbol: str) -> None:
        """Publish that the trading status of a contract has changed."""
        info = self._engine.instruments[symbol].info
        event = {
            "e": "contractInfo",
            "E": self._engine.books.clock.wall_ms(),
            "s": symbol,
            "ps": info["pair"],
            "ct": info["contractType"],
            "dt": info["deliveryDate"],
            "ot": info["onboardDate"],
            "cs": self._engine.statuses.get(symbol, "TRADING"),
        }
        self._markets.publish("!contractInfo", event)

    def forced(self, order: Order) -> None:
        """Publish a liquidation or ADL order on the forceOrder streams."""
        text = self._engine.instruments[order.symbol]
        event = {
            "e": "forceOrder",
            "E": order.updated_ms,
            "o": {
                "s": order.symbol,
                "S": order.side,
                "o": order.kind,
                "f": order.time_in_force,
                "q": text.quantity_text(order.quantity),
                "p": text.price_text(order.price),
                "ap": text.price_text(order.average),
                "X": order.status,
                "l": text.quantity_text(order.executed),
                "z": text.quantity_text(order.executed),
                "T": order.updated_ms,
            },
        }
        for stream in (f"{order.symbol.lower()}@forceOrder", "!forceOrder@arr"):
            self._markets.publish(stream, event)

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
            "ap": text,
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

    def single_trade_event(self, symbol: str, price: Decimal) -> dict[str, Any]:
        """Return a trade of one step at `price`."""
        instrument = self._engine.instruments[symbol]
        now = self._engine.books.clock.wall_ms()
        return {
            "e": "trade",
            "E": now,
            "T": now,
            "s": symbol,
            "t": self._trades,
            "p": instrument.price_text(price),
            "q": instrument.quantity_text(instrument.step),
            "X": "MARKET",
            "m": False,
        }

    def quote_event(self, symbol: str, price: Decimal) -> dict[str, Any]:
        """Return a bookTicker: bid and ask are both the last price, as the engine fills without a spread."""
        instrument = self._engine.instruments[symbol]
        now = self._engine.books.clock.wall_ms()
        size = instrument.quantity_text(instrument.step * LOTS)
        text = instrument.price_text(price)
        return {
            "e": "bookTicker",
            "u": self._updates[symbol],
            "s": symbol,
            "b": text,
            "B": size,
            "a": text,
            "A": size,
            "T": now,
            "E": now,
        }


def ladder(instrument: Instrument, price: Decimal, levels: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return bids and asks around `price`, one tick apart, as price and size texts."""
    size = instrument.quantity_text(instrument.step * LOTS)
    bids = {instrument.price_text(price - n * instrument.tick): size for n in range(levels)}
    asks = {instrument.price_text(price + n * instrument.tick): size for n in range(levels)}
    return bids, asks


def index_rows(engine: MatchingEngine, now_ms: int) -> list[dict[str, Any]]:
    """
    Return the rows of ``/fapi/v1/assetIndex``: USDT at par, every base asset at its last price.

    The venue takes USDT as margin and nothing else, so that no asset bears a haircut: all buffers are zero.
    """
    prices = {"USDT": Decimal(1)}
    for symbol, price in engine.prices.items():
        prices[engine.instruments[symbol].info["baseAsset"]] = price
    rows = []
    for asset, price in prices.items():
        buffers = dict.fromkeys((_INDEX_FIELDS[n] for n in "baqg"), "0.00000000")
        rates = dict.fromkeys((_INDEX_FIELDS[n] for n in "iBAQG"), f"{price:.8f}")
        rows.append({"symbol": f"{asset}USD", "time": now_ms, **buffers, **rates})
    return rows


def day_statistics(feed: Feed, engine: MatchingEngine, symbol: str) -> dict[str, Any]:
    """Return the row of ``/fapi/v1/ticker/24hr``: the last price, and the public bars of the last 24 hours."""
    instrument = engine.instruments[symbol]
    now = feed.public_ms(symbol)
    bars = feed.public_since(symbol, now - DAY_MS)
    last = engine.prices.get(symbol, bars[-1].close if bars else instrument.tick)
    first = bars[0].open if bars else last
    volume = sum((b.volume for b in bars), Decimal(0))
    quote = sum((b.volume * (b.open + b.high + b.low + b.close) / 4 for b in bars), Decimal(0))
    text = instrument.price_text
    return {
        "symbol": symbol,
        "priceChange": text(last - first),
        "priceChangePercent": f"{(last - first) / first * 100:.3f}",
        "weightedAvgPrice": text(quote / volume if volume else last),
        "lastPrice": text(last),
        "lastQty": instrument.quantity_text(instrument.step),
        "openPrice": text(first),
        "highPrice": text(max((b.high for b in bars), default=last).max(last)),
        "lowPrice": text(min((b.low for b in bars), default=last).min(last)),
        "volume": instrument.quantity_text(volume),
        "quoteVolume": f"{quote:.2f}",
        "openTime": now - DAY_MS,
        "closeTime": now,
        "firstId": bars[0].open_ms // feed.step_ms if bars else 0,
        "lastId": bars[-1].open_ms // feed.step_ms if bars else 0,
        "count": len(bars),
    }
