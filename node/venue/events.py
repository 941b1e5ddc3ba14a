"""User-stream events with the exchange's field names, types and number formats."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from node.venue.account import Account
from node.venue.books import AlgoOrder, Books, Fill, Order, Position
from node.venue.instruments import Instrument

type Event = dict[str, Any]

LIQUIDATED = "autoclose-"
"""How the client ids of liquidation orders begin."""


def amount_text(value: Decimal) -> str:
    """Return a USDT amount with the eight digits the exchange prints."""
    return f"{value:.8f}"


class EventFactory:
    """Builds the events of one account. Times are wall ms; every field the documentation lists is present."""

    def __init__(self, books: Books, instruments: Mapping[str, Instrument], account: Account) -> None:
        self._books = books
        self._instruments = instruments
        self._account = account

    def trigger_reject(self, algo: AlgoOrder, order_id: int, reason: str) -> Event:
        """CONDITIONAL_ORDER_TRIGGER_REJECT: the order reached its trigger and was refused."""
        now = algo.updated_ms
        return {
            "e": "CONDITIONAL_ORDER_TRIGGER_REJECT",
            "E": now,
            "T": now,
            "or": {"s": algo.symbol, "i": order_id, "r": reason},
        }

    def order_update(self, order: Order, execution: str, fill: Fill | None = None) -> Event:
        """ORDER_TRADE_UPDATE for `order`: `execution` is NEW, TRADE, CANCELED, EXPIRED, AMENDMENT or CALCULATED."""
        instrument = self._instruments[order.symbol]
        margin = self._account.symbol(order.symbol, order.position_side)
        now = order.updated_ms
        # The user stream names a liquidation as such; over REST the same order is a limit order.
        kind = "LIQUIDATION" if order.client_order_id.startswith(LIQUIDATED) else order.kind
        body: Event = {
            "s": order.symbol,
            "c": order.client_order_id,
            "S": order.side,
            "o": kind,
            "f": order.time_in_force,
            "q": instrument.quantity_text(order.quantity),
            "p": instrument.price_text(order.price) if order.price else "0",
            "ap": instrument.price_text(order.average) if order.executed else "0",
            "sp": "0",
            "x": execution,
            "X": order.status,
            "i": order.order_id,
            "l": instrument.quantity_text(fill.quantity) if fill else "0",
            "z": instrument.quantity_text(order.executed) if order.executed else "0",
            "L": instrument.price_text(fill.price) if fill else "0",
            "n": amount_text(fill.commission) if fill else "0",
            "N": "USDT",
            "T": now,
            "t": fill.trade_id if fill else 0,
            "b": f"{margin.bid_notional:.5f}" if margin.bid_notional else "0",
            "a": f"{margin.ask_notional:.5f}" if margin.ask_notional else "0",
            "m": fill.maker if fill else False,
            "R": order.reduce_only,
            "wt": order.working_type,
            "ot": kind,
            "ps": order.position_side,
            "cp": order.close_position,
            "rp": amount_text(fill.realised) if fill else "0",
            "pP": False,
            "si": 0,
            "ss": 0,
            "V": order.prevention,
            "pm": order.price_match,
            "gtd": order.good_till_ms,
        }
        return {"e": "ORDER_TRADE_UPDATE", "T": now, "E": now, "o": body}

    def trade_lite(self, order: Order, fill: Fill) -> Event:
        """TRADE_LITE for one trade."""
        instrument = self._instruments[order.symbol]
        return {
            "e": "TRADE_LITE",
            "E": order.updated_ms,
            "T": order.updated_ms,
            "s": order.symbol,
            "q": instrument.quantity_text(order.quantity),
            "p": instrument.price_text(order.price) if order.price else "0",
            "m": fill.maker,
            "c": order.client_order_id,
            "S": order.side,
            "L": instrument.price_text(fill.price),
            "l": instrument.quantity_text(fill.quantity),
            "t": fill.trade_id,
            "i": order.order_id,
        }

    def algo_update(self, algo: AlgoOrder) -> Event:
        """ALGO_UPDATE with the order's present status."""
        instrument = self._instruments[algo.symbol]
        triggered = algo.order_id > 0
        body: Event = {
            "caid": algo.client_algo_id,
            "aid": algo.algo_id,
            "at": "CONDITIONAL",
            "o": algo.kind,
            "s": algo.symbol,
            "S": algo.side,
            "ps": algo.position_side,
            "f": algo.time_in_force,
            "q": instrument.quantity_text(algo.quantity),
            "X": algo.status,
            "ai": str(algo.order_id) if triggered else "",
            "ap": instrument.price_text(algo.average) if algo.executed else "0",
            "aq": instrument.quantity_text(algo.executed) if algo.executed else "0",
            "act": ("LIMIT" if algo.is_limit else "MARKET") if triggered else "0",
            "tp": instrument.price_text(algo.trigger_price),
            "p": instrument.price_text(algo.price) if algo.price else "0",
            "V": algo.prevention,
            "wt": algo.working_type,
            "pm": algo.price_match,
            "cp": algo.close_position,
            "pP": algo.price_protect,
            "R": algo.reduce_only,
            "tt": algo.trigger_ms,
            "gtd": algo.good_till_ms,
        }
        if algo.callback_rate is not None:
            body["cr"] = str(algo.callback_rate)
            body["AP"] = instrument.price_text(algo.activation_price or algo.trigger_price)
        if algo.fail_reason:
            body["rm"] = algo.fail_reason
        return {"e": "ALGO_UPDATE", "T": algo.updated_ms, "E": algo.updated_ms, "o": body}

    def account_update(self, reason: str, positions: Iterable[Position], change: Decimal = Decimal(0)) -> Event:
        """ACCOUNT_UPDATE: wallet and the given positions; `change` is a balance change other than profit and fees."""
        now = self._books.clock.event_ms()
        wallet = amount_text(self._books.wallet)
        rows = []
        for position in positions:
            margin = self._account.symbol(position.symbol, position.position_side)
            instrument = self._instruments[position.symbol]
            rows.append(
                {
                    "s": position.symbol,
                    "pa": instrument.quantity_text(position.quantity),
                    "ep": amount_text(position.entry_price) if position.quantity else "0",
                    "bep": amount_text(position.break_even()) if position.quantity else "0",
                    "cr": amount_text(position.realised),
                    "up": amount_text(margin.unrealised),
                    "mt": "cross" if position.margin_type == "CROSSED" else "isolated",
                    "iw": amount_text(position.isolated_wallet) if position.isolated else "0",
                    "ps": position.position_side,
                    "ma": "USDT",
                },
            )
        balance = {
            "a": "USDT",
            "wb": wallet,
            "cw": amount_text(self._books.cross_wallet),
            "bc": amount_text(change) if change else "0",
        }
        return {"e": "ACCOUNT_UPDATE", "T": now, "E": now, "a": {"B": [balance], "P": rows, "m": reason}}

    def funding_update(self, change: Decimal, position: Position) -> Event:
        """
        ACCOUNT_UPDATE of a funding settlement: without positions, except an isolated one, as on the exchange.

        ``T`` is the settlement, so market time: the one account payload that is not stamped with wall time, because a
        client can tell only from it which settlement a payment belongs to.
        """
        return {
            **self.account_update("FUNDING_FEE", [position] if position.isolated else [], change),
            "T": self._books.clock.market_ms,
        }

    def leverage_update(self, position: Position) -> Event:
        """ACCOUNT_CONFIG_UPDATE after a change of leverage."""
        now = self._books.clock.event_ms()
        return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now, "T": now, "ac": {"s": position.symbol, "l": position.leverage}}

    def mode_update(self) -> Event:
        """ACCOUNT_CONFIG_UPDATE after a change between single-asset and multi-assets mode."""
        now = self._books.clock.event_ms()
        return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now, "T": now, "ai": {"j": self._books.multi_assets}}

    def margin_call(self, positions: Iterable[Position], prices: Mapping[str, Decimal]) -> Event:
        """MARGIN_CALL for the given positions."""
        return {
            "e": "MARGIN_CALL",
            "E": self._books.clock.event_ms(),
            "cw": amount_text(self._books.cross_wallet),
            "p": [
                {
                    "s": p.symbol,
                    "ps": p.position_side,
                    "pa": self._instruments[p.symbol].quantity_text(p.quantity),
                    "mt": p.margin_type,
                    "iw": amount_text(p.isolated_wallet) if p.isolated else "0",
                    "mp": self._instruments[p.symbol].price_text(prices[p.symbol]),
                    "up": amount_text(self._account.symbol(p.symbol, p.position_side).unrealised),
                    "mm": amount_text(self._account.symbol(p.symbol, p.position_side).maintenance),
                }
                for p in positions
            ],
        }
