"""
How orders leave: the shortest way from the engine's queue to the HTTP client.

Every entry and every close is a market order, and each waits for what is done before it is sent. Upstream describes it
three times for a log, waits for another turn of the event loop, and writes and reads back its parameters as JSON. What
reaches the venue, and what the engine is told, is the same (``tests/node/binance/test_sending.py``).
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from nautilus_trader.adapters.binance.http.error import BinanceError
from nautilus_trader.common.enums import LogColor
from nautilus_trader.core.nautilus_pyo3 import HttpMethod
from nautilus_trader.model.enums import OrderSide, OrderType, TimeInForce
from nautilus_trader.model.orders import Order

from node.binance.reconciliation import ReconcilingExecutionClient


class SendingExecutionClient(ReconcilingExecutionClient):
    """Binance USD-M execution that sends without detours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._submit_market = self._recovery.guard(self._send_market)
        self._venue_symbols: dict[str, str] = {}

    def submit_order(self, command: Any) -> None:
        """Begin to send an order, at once: what can be done before the first wait is."""
        name = command.order.client_order_id.value
        self._begin(self._submit_order(command), f"submit_order {name}")
        self._log.info(f"Submit {name}", LogColor.BLUE)

    def cancel_order(self, command: Any) -> None:
        """Begin to cancel an order, as :meth:`submit_order` begins to send one."""
        name = command.client_order_id.value
        self._begin(self._cancel_order(command), f"cancel_order {name}")
        self._log.info(f"Cancel {name}", LogColor.BLUE)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.Task(work, loop=self._loop, name=name, eager_start=True)
        task.add_done_callback(partial(self._on_task_completed, None, None, LogColor.NORMAL))
        self._tasks.add(task)

    async def _submit_order_inner(self, order: Order, position_side: Any, params: dict[str, Any] | None = None) -> None:
        """
        Send an order; whatever is not one of our market orders in one-way mode goes upstream's way.

        Error contract: as upstream's. What the venue refuses becomes ``OrderRejected``, an unknown outcome a look-up.
        """
        if (
            order.order_type != OrderType.MARKET
            or params
            or order.is_closed
            or order.is_quote_quantity
            or order.time_in_force != TimeInForce.GTC
            or self._is_dual_side_position
            or self._retry_manager_pool.max_retries
        ):
            await super()._submit_order_inner(order, position_side, params)
            return
        self.generate_order_submitted(
            strategy_id=order.strategy_id,
            instrument_id=order.instrument_id,
            client_order_id=order.client_order_id,
            ts_event=self._clock.timestamp_ns(),
        )
        try:
            await self._submit_market(order)
        except BinanceError as e:
            self._log_retry_error(f"Failed on submit_order {order.client_order_id!r}: {e!r}", e)
            self.generate_order_rejected(
                strategy_id=order.strategy_id,
                instrument_id=order.instrument_id,
                client_order_id=order.client_order_id,
                reason=str(e),
                ts_event=self._clock.timestamp_ns(),
            )

    async def _send_market(self, order: Order) -> None:
        endpoint = self._http_account._endpoint_order  # noqa: SLF001 - its keys and its decoder, nothing else
        name = order.instrument_id.symbol.value
        symbol = self._venue_symbols.get(name)
        if symbol is None:
            symbol = self._venue_symbols[name] = self.venue_symbol(order.instrument_id)
        answer = await self._http_client.sign_request(
            HttpMethod.POST,
            endpoint.url_path,
            {
                "symbol": symbol,
                "timestamp": "",  # set when it is signed
                "side": "BUY" if order.side == OrderSide.BUY else "SELL",
                "type": "MARKET",
                "positionSide": "BOTH",
                "quantity": str(order.quantity),
                "newClientOrderId": order.client_order_id.value,
                "reduceOnly": str(self._determine_reduce_only(order)),
                "recvWindow": str(self._recv_window),
            },
            [endpoint._ratelimiter_key, "binance:global"],  # noqa: SLF001 - as above
        )
        endpoint._resp_decoder.decode(answer)  # noqa: SLF001 - an answer that cannot be read is none
