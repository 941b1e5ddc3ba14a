"""The running node as the auditor sees it."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.model.identifiers import ClientOrderId

from catalog.instruments import instrument_id
from node.binance.incidents import publish_incident
from strategies.base import RESYNC_TOPIC, SignalStrategy
from strategies.order_ids import decode


class RunningNode:
    """
    Cache and message bus of a running node, and what its execution client and strategies can repair.

    Parameters
    ----------
    node : TradingNode
        Running.
    client : ArgonautBinanceFuturesExecutionClient
        Its execution client.
    symbols : sequence of str
        Venue symbols.

    """

    def __init__(self, node: Any, client: Any, symbols: Sequence[str]) -> None:
        self._kernel = node.kernel
        self._client = client
        self._ids = {symbol: instrument_id(symbol) for symbol in symbols}
        self._strategies = {
            s.config.instrument_id: s for s in node.trader.strategies() if isinstance(s, SignalStrategy)
        }

    def positions(self) -> dict[str, Decimal]:
        """See ``NodeSide``."""
        cache = self._kernel.cache
        return {
            symbol: sum((p.signed_decimal_qty() for p in cache.positions_open(instrument_id=key)), Decimal(0))
            for symbol, key in self._ids.items()
        }

    def knows(self, client_id: str) -> bool:
        """See ``NodeSide``."""
        order = self._kernel.cache.order(ClientOrderId(client_id)) if client_id else None
        return order is not None and not order.is_closed

    def protect(self, symbol: str, at_venue: frozenset[str]) -> None:
        """See ``NodeSide``."""
        key = self._ids[symbol]
        strategy = self._strategies.get(key)
        for order in self._kernel.cache.orders_open(instrument_id=key):
            ours = decode(order.client_order_id.value) is not None
            if strategy is not None and ours and order.client_order_id.value not in at_venue:
                strategy.query_order(order)
        self._kernel.msgbus.publish(RESYNC_TOPIC, symbol)

    def read_back(self, reason: str) -> None:
        """See ``NodeSide``."""
        self._client.request_resync(reason)

    def incident(self, severity: str, code: str, symbol: str, text: str) -> None:
        """See ``NodeSide``."""
        publish_incident(
            self._kernel.msgbus, self._kernel.clock, severity=severity, code=code, symbol=symbol or None, message=text
        )
