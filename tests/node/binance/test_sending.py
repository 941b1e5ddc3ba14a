"""The short ways in and out of the node give what upstream's long ones do."""

import asyncio
import random
import string
import threading
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import pytest
from nautilus_trader.adapters.binance.common.enums import BinanceFuturesPositionSide
from nautilus_trader.adapters.binance.data import BinanceCommonDataClient
from nautilus_trader.adapters.binance.execution import BinanceCommonExecutionClient
from nautilus_trader.common.component import LiveClock, Logger
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.live.enqueue import ThrottledEnqueuer
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId, StrategyId, TraderId
from nautilus_trader.model.objects import Quantity
from nautilus_trader.model.orders import MarketOrder

from node.binance.barrier import execution_client
from node.binance.http import query_of
from node.binance.queues import LoopEnqueuer, straighten

ANSWER = b'{"orderId":7,"symbol":"XRPUSDT","clientOrderId":"CMPXRP-1-E0","status":"NEW"}'
REFUSAL = b'{"code":-2019,"msg":"Margin is insufficient."}'


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class Wire:
    """Takes the place of the socket: keeps what is sent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.sent: list[tuple[str, str, dict[str, str], list[str]]] = []

    async def request(self, method: Any, *, url: str, headers: Any, keys: list[str]) -> Answer:
        assert headers["X-MBX-APIKEY"]
        parts = urlsplit(url)
        self.sent.append((str(method), parts.path, dict(parse_qsl(parts.query, strict_parsing=True)), keys))
        return self.answer


def market_order(side: OrderSide, *, reduce_only: bool) -> MarketOrder:
    return OrderFactory(TraderId("T-1"), StrategyId("S-1"), LiveClock()).market(
        instrument_id=InstrumentId.from_str("XRPUSDT-PERP.BINANCE"),
        order_side=side,
        quantity=Quantity.from_str("1234.5"),
        reduce_only=reduce_only,
        client_order_id=ClientOrderId("CMPXRP-1-E0-a-b"),
    )


@pytest.mark.parametrize("side", [OrderSide.BUY, OrderSide.SELL])
@pytest.mark.parametrize("reduce_only", [False, True])
async def test_a_market_order_has_upstreams_parameters(
    built_node: TradingNode, side: OrderSide, *, reduce_only: bool
) -> None:
    client: Any = execution_client(built_node.kernel.exec_engine)
    wire = client._http_client._client = Wire(Answer(200, ANSWER))
    order = market_order(side, reduce_only=reduce_only)
    await BinanceCommonExecutionClient._submit_market_order(
        client, order, BinanceFuturesPositionSide.BOTH, price_match=None, close_position=False
    )
    await client._send_market(order)
    theirs, ours = wire.sent
    for _, _, query, _ in (theirs, ours):
        signed = {k: v for k, v in query.items() if k != "signature"}
        assert query.pop("signature") == client._http_client._get_sign(urlencode(signed))
        assert int(query.pop("timestamp")) > 1_700_000_000_000
    assert ours == theirs
    assert ours[2]["reduceOnly"] == str(reduce_only)


@pytest.mark.parametrize("answer", [Answer(200, ANSWER), Answer(400, REFUSAL), Answer(503, b"")])
async def test_the_engine_is_told_what_upstream_tells_it(built_node: TradingNode, answer: Answer) -> None:
    client: Any = execution_client(built_node.kernel.exec_engine)
    client._http_client._client = Wire(answer)
    told: list[list[tuple[str, dict[str, Any]]]] = []
    for name in ("generate_order_submitted", "generate_order_rejected", "generate_order_denied"):

        def tell(_name: str = name, **fields: Any) -> None:
            fields.pop("ts_event")
            told[-1].append((_name, {k: v for k, v in fields.items() if v is not False}))

        setattr(client, name, tell)
    client._recovery._on_unknown = lambda order, _: told[-1].append(("unknown", {"order": order.client_order_id}))
    order = market_order(OrderSide.BUY, reduce_only=False)
    told.append([])
    await BinanceCommonExecutionClient._submit_order_inner(client, order, BinanceFuturesPositionSide.BOTH)
    told.append([])
    await client._submit_order_inner(order, BinanceFuturesPositionSide.BOTH)
    assert told[0] == told[1]
    assert [name for name, _ in told[1]] == {
        200: ["generate_order_submitted"],
        400: ["generate_order_submitted", "generate_order_rejected"],
        503: ["generate_order_submitted", "unknown"],
    }[answer.status]


def test_a_query_is_what_urlencode_makes(seed: int) -> None:
    rng = random.Random(seed)
    letters = string.printable + "äß€"
    for _ in range(500):
        given: dict[str, Any] = {
            rng.choice(("symbol", "signature", "price")) + str(i): "".join(rng.choices(letters, k=rng.randrange(12)))
            for i in range(rng.randrange(5))
        }
        given["number"] = rng.choice((1, -1.5, True))
        assert query_of(given) == urlencode(given), f"seed {seed}: {given}"


def candle(*, closed: bool, stream: str = "xrpusdt@kline_15m") -> bytes:
    k = {"t": 1_757_000_000_000, "T": 1_757_000_699_999, "s": "XRPUSDT", "i": "15m", "f": 1, "L": 9, "n": 9}
    k |= {"o": "2.8100", "h": "2.9000", "l": "2.8001", "c": "2.8555", "v": "12345.6", "x": closed}
    k |= {"q": "1.5", "V": "1.5", "Q": "1.5", "B": "0"}
    return msgspec.json.encode({"stream": stream, "data": {"e": "kline", "E": 1, "s": "XRPUSDT", "k": k}})


async def test_a_candle_becomes_the_bar_upstream_makes_of_it(built_node: TradingNode) -> None:
    client: Any = next(iter(built_node.kernel.data_engine._clients.values()))
    bars: list[Bar] = []
    client._handle_data = bars.append
    client._handle_ws_message(candle(closed=False))
    client._handle_ws_message(candle(closed=False, stream="xrpusdt@kline_15m")[:40])  # torn: logged, nothing more
    assert not bars
    client._handle_ws_message(candle(closed=True))
    BinanceCommonDataClient._handle_kline(client, candle(closed=True))
    ours, theirs = bars
    assert type(ours) is Bar
    names = ("bar_type", "open", "high", "low", "close", "volume", "ts_event")
    assert [getattr(ours, n) for n in names] == [getattr(theirs, n) for n in names]
    assert ours.ts_init <= theirs.ts_init


class Engine:
    """Something with queues of engines."""

    def __init__(self, maxsize: int) -> None:
        self.queue: asyncio.Queue[int] = asyncio.Queue(maxsize)
        clock = LiveClock()
        self._cmd_enqueuer: ThrottledEnqueuer[int] = ThrottledEnqueuer(
            "queue", self.queue, asyncio.get_running_loop(), clock, Logger("test")
        )


async def test_a_queue_takes_what_comes_from_its_loop_at_once_and_in_order() -> None:
    engine = Engine(1_000)
    straighten(engine)
    assert isinstance(engine._cmd_enqueuer, LoopEnqueuer)
    for number in range(100):
        engine._cmd_enqueuer.enqueue(number)
    assert engine.queue.qsize() == 100
    thread = threading.Thread(target=lambda: [engine._cmd_enqueuer.enqueue(n) for n in range(100, 200)])
    thread.start()
    thread.join()
    assert engine.queue.qsize() == 100  # from another thread: by the loop
    assert [await asyncio.wait_for(engine.queue.get(), 10) for _ in range(200)] == list(range(200))


async def test_a_full_queue_loses_nothing() -> None:
    engine = Engine(2)
    straighten(engine)
    for number in range(10):
        engine._cmd_enqueuer.enqueue(number)
    assert sorted([await asyncio.wait_for(engine.queue.get(), 10) for _ in range(10)]) == list(range(10))


async def test_every_queue_of_a_built_node_is_straight(built_node: TradingNode) -> None:
    kernel = built_node.kernel
    engines: list[Any] = [kernel.data_engine, kernel.risk_engine, kernel.exec_engine]
    straighten(*engines)
    found = [v for e in engines for n in dir(e) if n.endswith("_enqueuer") for v in [getattr(e, n)]]
    assert len(found) == 8
    assert all(type(enqueuer) is LoopEnqueuer for enqueuer in found)
