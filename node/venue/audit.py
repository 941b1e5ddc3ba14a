"""Reports for tests and people: the books as JSON, and how long positions stood without a stop."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from node.venue.books import AlgoOrder, Fill, Order, Position
from node.venue.instruments import Instrument
from node.venue.venue import Venue

type Json = dict[str, Any]


def session_report(venue: Venue) -> Json:
    """Return what ``GET /argonaut/session`` answers."""
    replay = venue.replay
    return {
        "session": venue.session,
        "symbols": list(venue.instruments),
        "interval": venue.feed.interval,
        "interval_ms": venue.feed.step_ms,
        "start_ms": venue.feed.start_ms,
        "market_time_ms": venue.clock.market_ms,
        "wall_time_ms": venue.clock.wall_ms(),
        "state": replay.state,
        "reason": replay.reason,
        "speed": replay.speed,
        "bars": replay.bars,
        "barriers": replay.barriers,
        "node": replay.node,
        "user_connections": len(venue.users.connections),
        "market_connections": len(venue.markets.connections),
        "subscriptions": sorted(venue.markets.streams()),
    }


def open_report(venue: Venue) -> Json:
    """Return what ``GET /argonaut/open`` answers: the part of the books that is now, without history."""
    books, instruments = venue.books, venue.instruments
    return {
        **session_report(venue),
        "positions": {p.symbol: position_report(venue, p) for p in books.positions.values()},
        "hedge_positions": [position_report(venue, p) for p in books.legs.values() if p.quantity],
        "open_orders": [order_report(o, instruments[o.symbol]) for o in books.open_orders.values()],
        "open_algo_orders": [algo_report(a, instruments[a.symbol]) for a in books.open_algos.values()],
        "counters": dict(books.counters),
    }


def books_report(venue: Venue) -> Json:
    """Return what ``GET /argonaut/books`` answers: decimals as strings, prices and sizes with the exchange's digits."""
    books, account, instruments = venue.books, venue.engine.account, venue.instruments
    totals = account.totals()
    return {
        **session_report(venue),
        "wallet": _text(books.wallet),
        "start_balance": _text(books.start_balance),
        "unrealised": _text(totals.unrealised),
        "margin_balance": _text(totals.margin_balance),
        "available": _text(totals.available),
        "maintenance_margin": _text(totals.maintenance),
        "realised": _text(books.income_total("REALIZED_PNL")),
        "fees": _text(-books.income_total("COMMISSION")),
        "funding_total": _text(books.income_total("FUNDING_FEE")),
        "insurance": _text(books.income_total("INSURANCE_CLEAR")),
        "prices": {s: instruments[s].price_text(p) for s, p in venue.engine.prices.items()},
        "positions": {p.symbol: position_report(venue, p) for p in books.positions.values()},
        "hedge_mode": books.hedge,
        "hedge_positions": [position_report(venue, p) for p in books.legs.values() if p.quantity],
        "cross_wallet": _text(books.cross_wallet),
        "open_orders": [order_report(o, instruments[o.symbol]) for o in books.open_orders.values()],
        "open_algo_orders": [algo_report(a, instruments[a.symbol]) for a in books.open_algos.values()],
        "orders": [order_report(o, instruments[o.symbol]) for o in books.orders.values()],
        "algo_orders": [algo_report(a, instruments[a.symbol]) for a in books.algos.values()],
        "fills": [fill_report(f, instruments[f.symbol]) for f in books.fills],
        "funding": [
            {"symbol": i.symbol, "amount": _text(i.amount), "market_ms": i.market_ms, "wall_ms": i.wall_ms}
            for i in books.incomes
            if i.kind == "FUNDING_FEE"
        ],
        "incidents": books.incidents,
        "scenario": [row for scenario in venue.scenarios for row in scenario.report()],
        "rejects": [i for i in books.incidents if i["what"] == "reject"],
        "counters": {
            **books.counters,
            **{f"user {k}": v for k, v in venue.users.counters.items()},
            "user_events_delivered": venue.users.delivered,
            "closed_klines_delivered": venue.markets.closed_klines,
        },
        "timeline": books.timeline,
    }


def position_report(venue: Venue, position: Position) -> Json:
    """Return a position."""
    price = venue.engine.prices.get(position.symbol, position.entry_price)
    return {
        "symbol": position.symbol,
        "position_side": position.position_side,
        "quantity": venue.instruments[position.symbol].quantity_text(position.quantity),
        "entry_price": _text(position.entry_price),
        "realised": _text(position.realised),
        "leverage": position.leverage,
        "margin_type": position.margin_type,
        "isolated_wallet": _text(position.isolated_wallet),
        "unrealised": _text(position.unrealised(price)),
    }


def order_report(order: Order, instrument: Instrument) -> Json:
    """Return an order with its history."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "algo_id": order.algo_id,
        "symbol": order.symbol,
        "side": order.side,
        "position_side": order.position_side,
        "type": order.kind,
        "time_in_force": order.time_in_force,
        "quantity": instrument.quantity_text(order.quantity),
        "executed": instrument.quantity_text(order.executed),
        "price": instrument.price_text(order.price),
        "average": _text(order.average),
        "reduce_only": order.reduce_only,
        "status": order.status,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
        "market_ms": order.market_ms,
        "history": order.history,
    }


def algo_report(algo: AlgoOrder, instrument: Instrument) -> Json:
    """Return an algo order with its history."""
    return {
        "algo_id": algo.algo_id,
        "client_algo_id": algo.client_algo_id,
        "order_id": algo.order_id,
        "symbol": algo.symbol,
        "side": algo.side,
        "position_side": algo.position_side,
        "type": algo.kind,
        "quantity": instrument.quantity_text(algo.quantity),
        "executed": instrument.quantity_text(algo.executed),
        "trigger_price": instrument.price_text(algo.trigger_price),
        "price": instrument.price_text(algo.price),
        "average": _text(algo.average),
        "reduce_only": algo.reduce_only,
        "close_position": algo.close_position,
        "status": algo.status,
        "fail_reason": algo.fail_reason,
        "created_ms": algo.created_ms,
        "updated_ms": algo.updated_ms,
        "market_ms": algo.market_ms,
        "history": algo.history,
    }


def fill_report(fill: Fill, instrument: Instrument) -> Json:
    """Return a trade. `kind` is the type of the order a client sent, e.g. STOP_MARKET."""
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "client_order_id": fill.client_order_id,
        "algo_id": fill.algo_id,
        "symbol": fill.symbol,
        "side": fill.side,
        "position_side": fill.position_side,
        "kind": fill.kind,
        "price": instrument.price_text(fill.price),
        "quantity": instrument.quantity_text(fill.quantity),
        "commission": _text(fill.commission),
        "realised": _text(fill.realised),
        "maker": fill.maker,
        "wall_ms": fill.wall_ms,
        "market_ms": fill.market_ms,
    }


@dataclass(frozen=True, slots=True)
class ProtectionGap:
    """
    A stretch during which a position was larger than the stops that covered it.

    Attributes
    ----------
    symbol : str
        Venue symbol.
    start_ms, end_ms : int
        Wall time, UTC ms; `end_ms` is the time of the report if the gap is still open.
    open : bool
        Whether it lasts still.
    naked : Decimal
        Largest uncovered quantity during the gap, base currency.

    """

    symbol: str
    start_ms: int
    end_ms: int
    open: bool
    naked: Decimal

    @property
    def duration_ms(self) -> int:
        """Length in wall ms."""
        return self.end_ms - self.start_ms


def protection_gaps(books: Json) -> list[ProtectionGap]:
    """
    Return every stretch in which a position was not covered in full by live stops, from a books report's timeline.

    A stop covers a position if it would close it: opposite side, reduce-only or close-position, still armed.
    Take-profit orders cover nothing. Gaps shorter than a wall millisecond have a duration of 0 and are listed too.

    Parameters
    ----------
    books : dict
        Answer of ``GET /argonaut/books``.

    """
    size: dict[str, Decimal] = {}
    stops: dict[str, dict[int, Json]] = {}
    since: dict[str, tuple[int, Decimal]] = {}
    gaps: list[ProtectionGap] = []
    for entry in books["timeline"]:
        side, now = entry.get("position_side", "BOTH"), entry["wall_ms"]
        symbol = entry["symbol"] if side == "BOTH" else f"{entry['symbol']}:{side}"
        live = stops.setdefault(symbol, {})
        if entry["kind"] == "position":
            size[symbol] = Decimal(entry["quantity"])
        elif entry["live"]:
            live[entry["algo_id"]] = entry
        else:
            live.pop(entry["algo_id"], None)
        naked = _naked(size.get(symbol, Decimal(0)), live)
        if naked > 0:
            start, most = since.get(symbol, (now, naked))
            since[symbol] = (start, max(most, naked))
        elif symbol in since:
            start, most = since.pop(symbol)
            gaps.append(ProtectionGap(symbol, start, now, open=False, naked=most))
    end = books["wall_time_ms"]
    gaps.extend(ProtectionGap(s, start, end, open=True, naked=most) for s, (start, most) in since.items())
    return gaps


def _naked(size: Decimal, stops: dict[int, Json]) -> Decimal:
    if not size:
        return Decimal(0)
    closing = "SELL" if size > 0 else "BUY"
    covered = Decimal(0)
    for stop in stops.values():
        if stop["side"] != closing:
            continue
        if stop["close_position"]:
            return Decimal(0)
        if stop["reduce_only"]:
            covered += Decimal(stop["quantity"])
    return max(abs(size) - covered, Decimal(0))


def _text(value: Decimal) -> str:
    return f"{value:f}"
