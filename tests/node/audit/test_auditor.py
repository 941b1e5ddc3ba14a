"""The auditor, the reconcile command and the dead man's switch against a real venue and a real journal."""

import asyncio
import time
from decimal import Decimal

import msgspec
import pytest

from node.audit.auditor import HOLD, Auditor
from node.audit.config import AuditConfig, DeadManConfig
from node.audit.dead_man import DeadManSwitch
from node.audit.snapshot import JournalBooks
from node.binance.rest import BinanceRest
from node.journal import open_journal
from node.reconcile import reconcile
from strategies.order_ids import Leg, OrderTag, encode
from strategies.records import FillRecord
from strategies.yaml_config import convert

XRP = "XRPUSDT"
MINUTE = 60_000_000_000


def ours(leg: Leg, attempt: int = 0) -> str:
    return encode(OrderTag("CMPXRP", 28_000_000 * MINUTE, leg, attempt))


class NodeKit:
    """A node as the auditor sees one: says what the test says, remembers what it was asked."""

    def __init__(self) -> None:
        self.net = Decimal(0)
        self.known: set[str] = set()
        self.protected: list[tuple[str, frozenset[str]]] = []
        self.read_backs: list[str] = []
        self.incidents: list[tuple[str, str]] = []
        self.held: dict[str, str] = {}

    def positions(self) -> dict[str, Decimal]:
        return {XRP: self.net}

    def knows(self, client_id: str) -> bool:
        return client_id in self.known

    def protect(self, symbol: str, at_venue: frozenset[str]) -> None:
        self.protected.append((symbol, at_venue))

    def read_back(self, reason: str) -> None:
        self.read_backs.append(reason)

    def incident(self, severity: str, code: str, symbol: str, text: str) -> None:
        assert text.startswith(symbol)
        self.incidents.append((severity, code))

    def hold(self, key: str, text: str) -> None:
        self.held[key] = text

    def release(self, key: str) -> None:
        self.held.pop(key, None)


class Bench:
    """Venue, journal, node and auditor."""

    def __init__(self, venue, tmp_path) -> None:
        self.venue, self.client = venue, venue.client
        self.node = NodeKit()
        self.journal = open_journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
        self.rest = BinanceRest(venue.http, "demo", "demo")
        books = JournalBooks(self.journal, [XRP])
        self.auditor = Auditor(AuditConfig(interval_secs=0.05), self.rest, [XRP], self.node, books, self.node)

    async def trade(self, side: str, quantity: str, *, record: bool = True, believe: bool = True) -> None:
        await self.client.order(XRP, side, "MARKET", quantity)
        signed = Decimal(quantity) * (1 if side == "BUY" else -1)
        if believe:
            self.node.net += signed
        if record:
            await self.record()

    async def record(self, made_ns: int | None = None) -> None:
        """Put the newest trade into the journal, as recorded now or at `made_ns`."""
        trade = (await self.client.call("GET", "/fapi/v1/userTrades", symbol=XRP))[-1]
        now = made_ns or time.time_ns()
        self.journal.record(
            FillRecord(
                id=f"{XRP}/{trade['id']}",
                market_time=None,
                wall_time=now,
                client_order_id="x",
                venue_order_id=str(trade["orderId"]),
                symbol=XRP,
                leg=None,
                side=trade["side"],
                quantity=trade["qty"],
                price=trade["price"],
                fee=trade["commission"],
                liquidity="TAKER",
                event_time=now,
            )
        )
        self.journal.flush()

    async def leg(self, leg: Leg, quantity: str, side: str = "SELL", attempt: int = 0, factor: str = "0.9") -> str:
        price = Decimal((await self.client.call("GET", "/fapi/v1/ticker/price", symbol=XRP, signed=False))["price"])
        kind = "STOP_MARKET" if leg is Leg.STOP else "TAKE_PROFIT_MARKET"
        level = (price * Decimal(factor)).quantize(Decimal("0.0001"))
        name = ours(leg, attempt)
        await self.client.algo(
            *(XRP, side, kind), quantity=quantity, triggerPrice=str(level), reduceOnly="true", clientAlgoId=name
        )
        return name

    async def looks(self, count: int) -> list[list[str]]:
        return [[d.kind.value for d in await self.auditor.look()] for _ in range(count)]


@pytest.fixture
async def bench(venue, tmp_path):
    made = Bench(venue, tmp_path)
    yield made
    await made.auditor.stop()
    made.journal.close()


async def test_a_protected_position_is_left_alone(bench):
    await bench.trade("BUY", "10")
    await bench.leg(Leg.STOP, "10")
    await bench.leg(Leg.TARGET, "10", factor="1.1")
    assert await bench.looks(3) == [[], [], []]
    assert (bench.node.protected, bench.node.incidents, bench.node.held) == ([], [], {})


async def test_what_is_seen_once_is_on_its_way(bench):
    await bench.trade("BUY", "10")
    assert await bench.looks(1) == [["missing_stop"]]
    await bench.leg(Leg.STOP, "10")
    assert await bench.looks(2) == [[], []]
    assert bench.node.protected == []
    assert bench.node.incidents == []


async def test_a_missing_stop_is_repaired_and_holds_entries_only_when_that_does_not_help(bench):
    await bench.trade("BUY", "10")
    target = await bench.leg(Leg.TARGET, "10", factor="1.1")
    await bench.looks(2)
    assert bench.node.protected == [(XRP, frozenset({target}))]
    assert bench.node.incidents == [("warning", "audit_missing_stop")]
    assert bench.node.held == {}
    await bench.looks(2)
    assert "no stop at the venue" in bench.node.held[HOLD]
    assert bench.node.incidents == [("warning", "audit_missing_stop")], "told once"
    await bench.leg(Leg.STOP, "10")
    await bench.looks(1)
    assert bench.node.held == {}


async def test_an_orphan_nobody_knows_is_cancelled_at_the_venue(bench):
    await bench.trade("BUY", "10")
    await bench.leg(Leg.STOP, "10")
    await bench.trade("SELL", "10")
    assert await bench.looks(2) == [["orphan_order"], ["orphan_order"]]
    assert (await bench.venue.client.books())["open_algo_orders"] == []
    assert await bench.looks(1) == [[]]


async def test_an_orphan_the_node_knows_is_the_nodes_to_cancel(bench):
    await bench.trade("BUY", "10")
    bench.node.known.add(await bench.leg(Leg.STOP, "10"))
    await bench.trade("SELL", "10")
    await bench.looks(2)
    assert [symbol for symbol, _ in bench.node.protected] == [XRP]
    assert len((await bench.venue.client.books())["open_algo_orders"]) == 1


async def test_another_position_than_believed_is_read_back_and_holds_entries(bench):
    await bench.trade("BUY", "10")
    await bench.leg(Leg.STOP, "10")
    bench.node.net = Decimal(7)
    assert await bench.looks(2) == [["position_mismatch"]] * 2
    assert len(bench.node.read_backs) == 1
    assert "the venue holds 10.0, the node believes 7" in bench.node.held[HOLD]
    assert bench.node.incidents == [("critical", "audit_position_mismatch")]
    bench.node.net = Decimal(10)
    await bench.looks(1)
    assert bench.node.held == {}


async def test_a_trade_the_journal_lacks_holds_entries(bench):
    await bench.trade("BUY", "10")
    await bench.leg(Leg.STOP, "10")
    assert await bench.looks(1) == [[]]
    await bench.trade("BUY", "5", record=False)
    await bench.trade("SELL", "5", record=False)
    assert await bench.looks(2) == [["journal_gap"]] * 2
    assert "2 trade(s) not in the journal" in bench.node.held[HOLD]


async def test_a_position_older_than_the_journal_is_no_gap(bench):
    await bench.trade("BUY", "10", record=False)
    await bench.leg(Leg.STOP, "10")
    assert await bench.looks(2) == [[], []]


async def test_a_first_fill_that_reaches_the_journal_after_the_first_look_counts_once(bench):
    bench.auditor.begin()
    await bench.trade("BUY", "10", record=False, believe=False)
    await bench.leg(Leg.STOP, "10")
    assert await bench.looks(1) == [["position_mismatch", "journal_gap"]]
    bench.node.net = Decimal(10)
    await bench.record()
    assert await bench.looks(2) == [[], []]


@pytest.mark.parametrize("looks_between", [0, 1])
async def test_a_first_fill_made_before_the_auditor_began_and_written_after_counts_once(bench, looks_between):
    await bench.trade("BUY", "10", record=False)
    await bench.leg(Leg.STOP, "10")
    made = time.time_ns()
    bench.auditor.begin()
    assert await bench.looks(looks_between) == [[]] * looks_between
    await bench.record(made)
    assert await bench.looks(2) == [[], []]


async def test_a_position_older_than_the_journal_and_a_fill_after_it_add_up(bench):
    await bench.trade("BUY", "10", record=False)
    await bench.leg(Leg.STOP, "15")
    bench.auditor.begin()
    await bench.trade("BUY", "5")
    assert await bench.looks(2) == [[], []]


async def test_a_foreign_order_that_can_open_a_position_holds_entries(bench):
    await bench.client.order(XRP, "BUY", "LIMIT", "10", price="1.5000", timeInForce="GTC", newClientOrderId="web_1")
    assert await bench.looks(2) == [["foreign_order"]] * 2
    assert "web_1" in bench.node.held[HOLD]


async def test_a_persons_stop_is_told_and_holds_nothing(bench):
    await bench.trade("BUY", "10")
    await bench.client.algo(
        *(XRP, "SELL", "STOP_MARKET"), quantity="10", triggerPrice="1.5000", reduceOnly="true", clientAlgoId="web_2"
    )
    assert await bench.looks(2) == [["foreign_order"]] * 2
    assert bench.node.held == {}
    assert bench.node.incidents == [("info", "audit_foreign_order")]


async def test_it_runs_by_itself_and_says_when_it_is_blind(bench):
    bench.auditor.start()
    await _until(lambda: bench.auditor.looks >= 2)
    await bench.venue.client.control(
        "fault", method="GET", path="/fapi/v2/positionRisk", status=503, code=-1, message="down", times=100
    )
    await _until(lambda: ("warning", "audit_blind") in bench.node.incidents)
    assert bench.node.held == {}, "a look that failed shows no difference"


async def _until(condition, secs: float = 10.0) -> None:
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# -- by hand ----------------------------------------------------------------------------------------------------------


async def test_reconcile_tells_and_with_dry_run_changes_nothing(bench):
    await bench.trade("BUY", "10")
    await bench.leg(Leg.STOP, "10")
    assert await reconcile(bench.rest, bench.journal, [XRP], dry_run=True) == ([], [])
    await bench.trade("SELL", "10")
    found, repaired = await reconcile(bench.rest, bench.journal, [XRP], dry_run=True)
    assert [d.kind.value for d in found] == ["orphan_order"]
    assert repaired == []
    assert len((await bench.client.books())["open_algo_orders"]) == 1
    found, repaired = await reconcile(bench.rest, bench.journal, [XRP], dry_run=False)
    assert repaired == found != []
    assert (await bench.client.books())["open_algo_orders"] == []
    assert await reconcile(bench.rest, bench.journal, [XRP], dry_run=False) == ([], [])


# -- the dead man's switch --------------------------------------------------------------------------------------------


def test_the_switch_is_off_by_default_and_refused_where_it_kills_stops():
    assert not convert({}, DeadManConfig, "test").enabled
    for tree in ({"enabled": True}, {"enabled": True, "venue_cancels_stops": True}):
        with pytest.raises(Exception, match="stops"):
            convert(tree, DeadManConfig, "test")
    assert convert({"enabled": True, "venue_cancels_stops": False}, DeadManConfig, "test").enabled


@pytest.mark.parametrize("cancels_algos", [False, True], ids=["stops stay", "stops go"])
async def test_when_the_node_dies_resting_orders_go_and_the_venues_rule_decides_over_stops(
    start_venue, tmp_path, cancels_algos
):
    venue = await start_venue({"execution": {"countdown_cancels_algos": cancels_algos}})
    bench = Bench(venue, tmp_path)
    await bench.trade("BUY", "10")
    await bench.leg(Leg.STOP, "10")
    await bench.client.order(XRP, "BUY", "LIMIT", "10", price="1.5000", timeInForce="GTC")
    reports: list[tuple[str, str]] = []
    config = DeadManConfig(enabled=True, countdown_secs=3, venue_cancels_stops=False)
    config = msgspec.structs.replace(config, countdown_secs=1)  # below what a person may set: the test must not wait
    switch = DeadManSwitch(config, BinanceRest(venue.http, "demo", "demo"), [XRP], lambda *r: reports.append(r))
    switch.start()
    await _until(lambda: switch.beats >= 5)
    assert len((await bench.client.books())["open_orders"]) == 1, "renewed: nothing is cancelled"
    switch._task.cancel()
    deadline = time.monotonic() + 10
    while (books := await bench.client.books())["open_orders"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert len(books["open_algo_orders"]) == (0 if cancels_algos else 1)
    assert reports == []
    await switch.stop()
    bench.journal.close()
    await bench.rest.close()


async def test_a_stop_disarms_the_switch(bench):
    await bench.client.order(XRP, "BUY", "LIMIT", "10", price="1.5000", timeInForce="GTC")
    config = msgspec.structs.replace(
        DeadManConfig(enabled=True, countdown_secs=3, venue_cancels_stops=False), countdown_secs=1
    )
    switch = DeadManSwitch(config, BinanceRest(bench.venue.http, "demo", "demo"), [XRP], lambda *_: None)
    switch.start()
    await _until(lambda: switch.beats >= 1)
    await switch.stop()
    assert bench.venue.venue.countdowns == {}
    assert len((await bench.client.books())["open_orders"]) == 1
