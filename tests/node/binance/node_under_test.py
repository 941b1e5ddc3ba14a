"""
A minimal trading node in a process of its own, driven line by line in JSON over stdin and stdout.

``python node_under_test.py --client ours|stock --http URL --ws URL --directory DIR``: prints ``{"event":"running"}``
once its strategy has started, then answers every command line with one line. Not a test: the tests start and kill it.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance.factories import BinanceLiveDataClientFactory, BinanceLiveExecClientFactory
from nautilus_trader.config import LiveExecEngineConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy

from node.binance.config import INFLIGHT_CHECK_RETRIES, BinanceSettings, client_configs
from node.binance.factories import ArgonautBinanceLiveDataClientFactory, ArgonautBinanceLiveExecClientFactory

XRP = InstrumentId.from_str("XRPUSDT-PERP.BINANCE")


class Puppet(Strategy):
    """Does what it is told and remembers what it hears."""

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self.heard: list[list[str]] = []
        self.incidents: list[str] = []

    def on_start(self) -> None:
        self.msgbus.subscribe("argonaut.record.incident", lambda record: self.incidents.append(record.code))
        emit({"event": "running"})

    def on_order_event(self, event: Any) -> None:
        self.heard.append([type(event).__name__, event.client_order_id.value])

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "market" | "limit" | "stop" | "target":
                return {"id": self._submit(command)}
            case "cancel":
                self.cancel_order(self.cache.order(ClientOrderId(command["id"])))
                return {}
            case "query":
                self.query_order(self.cache.order(ClientOrderId(command["id"])))
                return {}
            case "state":
                return self._state()
        raise ValueError(command)

    def _submit(self, command: dict[str, Any]) -> str:
        instrument = self.cache.instrument(XRP)
        side = OrderSide[command["side"]]
        quantity = instrument.make_qty(Decimal(command["quantity"]))
        if command["do"] == "market":
            order = self.order_factory.market(XRP, side, quantity, reduce_only=command.get("reduce_only", False))
        elif command["do"] == "limit":
            order = self.order_factory.limit(XRP, side, quantity, instrument.make_price(Decimal(command["price"])))
        else:
            kind = self.order_factory.stop_market if command["do"] == "stop" else self.order_factory.market_if_touched
            trigger = instrument.make_price(Decimal(command["trigger"]))
            order = kind(XRP, side, quantity, trigger, reduce_only=True)
        self.submit_order(order)
        return str(order.client_order_id)

    def _state(self) -> dict[str, Any]:
        account = self.portfolio.account(XRP.venue)
        return {
            "net": str(self.portfolio.net_position(XRP).normalize()),
            "wallet": str(next(iter(account.balances_total().values())).as_decimal()),
            "orders": {o.client_order_id.value: _order(o) for o in self.cache.orders()},
            "heard": self.heard,
            "incidents": self.incidents,
        }


def _order(order: Any) -> dict[str, Any]:
    fills = [e for e in order.events if type(e).__name__ == "OrderFilled"]
    return {
        "type": order.type_string(),
        "status": order.status_string(),
        "venue_order_id": str(order.venue_order_id),
        "strategy": str(order.strategy_id),
        "filled": str(order.filled_qty.as_decimal().normalize()),
        "fills": [
            {"trade_id": f.trade_id.value, "price": str(f.last_px), "fee": str(f.commission.as_decimal())}
            for f in fills
        ],
    }


answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")


def emit(message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def log_to(file: Path) -> None:
    """Send everything else that is written to `file`, at once and unbuffered (Nautilus's own log file is neither)."""
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)


def build(arguments: argparse.Namespace) -> tuple[TradingNode, Puppet]:
    settings = BinanceSettings(
        base_url_http=arguments.http,
        base_url_ws=arguments.ws,
        api_key="demo",
        api_secret="demo",
        symbols=("XRPUSDT",),
        recv_window_ms=2_000,
        http_timeout_secs=arguments.timeout_secs,
    )
    data, execution = client_configs(settings)
    ours = arguments.client == "ours"
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("TESTER-001"),
            data_clients={"BINANCE": data},
            exec_clients={"BINANCE": execution},
            exec_engine=LiveExecEngineConfig(
                reconciliation=True,
                inflight_check_retries=INFLIGHT_CHECK_RETRIES if ours else 5,
                reconciliation_startup_delay_secs=0.1,
                inflight_check_interval_ms=500,
                inflight_check_threshold_ms=1_000,
            ),
            logging=LoggingConfig(log_level="INFO", log_colors=False),
            timeout_connection=20.0,
            timeout_disconnection=2.0,
            timeout_post_stop=0.2,
        )
    )
    if ours:
        node.add_data_client_factory("BINANCE", ArgonautBinanceLiveDataClientFactory)
        node.add_exec_client_factory("BINANCE", ArgonautBinanceLiveExecClientFactory)
    else:
        node.add_data_client_factory("BINANCE", BinanceLiveDataClientFactory)
        node.add_exec_client_factory("BINANCE", BinanceLiveExecClientFactory)
    puppet = Puppet(StrategyConfig(strategy_id="PUPPET", oms_type="NETTING", external_order_claims=[XRP]))
    node.trader.add_strategy(puppet)
    node.build()
    return node, puppet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=("ours", "stock"), required=True)
    parser.add_argument("--http", required=True)
    parser.add_argument("--ws", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--timeout-secs", type=int, default=5)
    arguments = parser.parse_args()
    log_to(arguments.directory / "node.log")
    node, puppet = build(arguments)
    loop = node.get_event_loop()
    assert loop is not None

    def answer(line: str) -> None:
        try:
            emit(puppet.obey(json.loads(line)))
        except Exception as e:  # noqa: BLE001 - the test reads it
            emit({"error": repr(e)})

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(answer, line)
        loop.call_soon_threadsafe(lambda: asyncio.ensure_future(node.stop_async()))

    threading.Thread(target=listen, daemon=True).start()
    node.run()
    node.dispose()


if __name__ == "__main__":
    main()
