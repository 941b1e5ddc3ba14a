"""The ledger: any sequence of fills adds up, and every round trip says what it was."""

import copy
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import EXTERNAL, Execution, TradeLedger, exit_reason
from actors.ledger_start import in_order
from strategies.messages import Side
from strategies.order_ids import Leg, OrderTag, encode
from strategies.records import FillRecord, FundingRecord

MINUTE = 60_000_000_000
HOUR_MS = 3_600_000


def fill(n, side, quantity, price, *, fee="0", order=None, time=None, symbol="XRPUSDT", **more) -> Execution:
    return Execution(
        id=f"{symbol}/{n}",
        symbol=symbol,
        client_order_id=order or f"order-{n}",
        is_buy=side == "BUY",
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        reason=more.pop("reason", EXTERNAL),
        market_time=n * MINUTE if time is None else time,
        wall_time=n,
        **more,
    )


def funding(ms, amount, symbol="XRPUSDT") -> FundingRecord:
    return FundingRecord(
        id=f"{symbol}/{ms}", market_time=ms * 1_000_000, wall_time=0, symbol=symbol, amount=amount, rate=None
    )


def test_a_round_trip():
    ledger = TradeLedger()
    ledger.note_verdict("sig", "ml", "shadow", passed=True)
    ledger.note_verdict("sig", "risk", "passed", passed=True)
    assert ledger.apply(fill(1, "BUY", 10, 2, fee="0.1", order="E", signal_id="sig", stop=1.9, target=2.4)) is None
    assert ledger.net("XRPUSDT") == 10
    trade = ledger.apply(fill(2, "SELL", 10, "2.4", fee="0.2", reason="TAKE_PROFIT"))
    assert trade is not None
    assert (trade.id, trade.side, trade.signal_id) == ("XRPUSDT/E", "LONG", "sig")
    assert (trade.entry_time, trade.exit_time) == (MINUTE, 2 * MINUTE)
    assert (trade.entry_price, trade.exit_price, trade.quantity) == (2.0, 2.4, 10.0)
    assert (trade.gross_pnl, trade.fees, trade.net_pnl) == (4.0, 0.3, 3.7)
    assert (trade.stop, trade.target, trade.exit_reason) == (1.9, 2.4, "TAKE_PROFIT")
    assert trade.verdicts == ["ml:shadow", "risk:passed"]
    assert ledger.open == {}


def test_a_short_scaled_out_in_parts_is_one_trade_closed_by_its_last_fill():
    ledger = TradeLedger()
    ledger.apply(fill(1, "SELL", 6, 10, order="E"))
    ledger.apply(fill(2, "SELL", 4, 12, order="E"))
    assert ledger.apply(fill(3, "BUY", 3, 9, reason="TAKE_PROFIT")) is None
    assert ledger.open["XRPUSDT"].realized == Decimal("5.4")  # 3 x (10.8 - 9)
    trade = ledger.apply(fill(4, "BUY", 7, 13, reason="STOP_LOSS"))
    assert trade is not None
    assert (trade.side, trade.quantity, trade.exit_reason) == ("SHORT", 10.0, "STOP_LOSS")
    assert trade.entry_price == pytest.approx(10.8)
    assert trade.exit_price == pytest.approx(11.8)
    assert trade.net_pnl == pytest.approx(108 - 118)


def test_a_fill_across_zero_is_split_and_its_fee_with_it():
    ledger = TradeLedger()
    ledger.apply(fill(1, "BUY", 4, 100, fee="0.4", order="A"))
    trade = ledger.apply(fill(2, "SELL", 10, 110, fee="1.0", order="B", reason="REVERSE_SIGNAL"))
    assert trade is not None
    assert (trade.id, trade.gross_pnl, trade.fees) == ("XRPUSDT/A", 40.0, 0.8)
    opened = ledger.open["XRPUSDT"]
    assert (opened.id, opened.net, opened.fees) == ("XRPUSDT/B", Decimal(-6), Decimal("0.6"))


def test_an_entry_order_that_opens_twice_gives_two_trades_with_two_ids():
    ledger = TradeLedger()
    ids = []
    for n in (1, 3):
        ledger.apply(fill(n, "BUY", 1, 10, order="E"))
        trade = ledger.apply(fill(n + 1, "SELL", 1, 10, order=f"X{n}"))
        assert trade is not None
        ids.append(trade.id)
    assert ids == ["XRPUSDT/E", "XRPUSDT/E/2"]


def test_a_fill_told_twice_counts_once():
    ledger = TradeLedger()
    for _ in range(3):
        ledger.apply(fill(1, "BUY", 1, 10))
    assert ledger.net("XRPUSDT") == 1
    ledger.declare_seen(["XRPUSDT/2"])
    assert ledger.apply(fill(2, "SELL", 1, 10)) is None
    assert ledger.net("XRPUSDT") == 1


def test_funding_belongs_to_the_position_it_was_charged_on():
    ledger = TradeLedger()
    eight = 8 * HOUR_MS
    ledger.apply(fill(1, "BUY", 1, 10, time=7 * HOUR_MS * 1_000_000))
    ledger.apply_funding(funding(eight, -0.25))
    ledger.apply_funding(funding(eight, -0.25))  # told twice
    trade = ledger.apply(fill(2, "SELL", 1, 10, time=eight * 1_000_000))
    assert trade is not None
    assert (trade.funding, trade.net_pnl) == (-0.25, -0.25)
    ledger.apply(fill(3, "SELL", 1, 10, time=eight * 1_000_000))  # opened on the close at the settlement: not charged
    ledger.apply_funding(funding(eight - 1, 0.5))
    assert ledger.open["XRPUSDT"].funding == 0
    ledger.apply_funding(funding(1, 1.0, symbol="BTCUSDT"))
    assert ledger.unattached_funding == Decimal("1.5")
    assert ledger.wallet_change == Decimal("1.25")


def test_a_refused_signal_leaves_nothing_behind_and_unused_ones_do_not_pile_up():
    ledger = TradeLedger()
    ledger.note_verdict("a", "ml", "passed", passed=True)
    ledger.note_verdict("a", "risk", "paused", passed=False)
    for n in range(5_000):
        ledger.note_verdict(f"C:XRPUSDT-PERP:{n}:LONG", "risk", "passed", passed=True)
    assert len(ledger._verdicts) <= 1_024
    assert ledger.signal_of("XRPUSDT-PERP", 4_999 * 1_000_000, Side.LONG) == "C:XRPUSDT-PERP:4999:LONG"
    assert ledger.signal_of("XRPUSDT-PERP", 4_999 * 1_000_000, Side.SHORT) is None


def code(leg: Leg) -> str:
    return encode(OrderTag("CMP", 29_000_000 * MINUTE, leg, 0))


@pytest.mark.parametrize(
    ("client_order_id", "tags", "expected"),
    [
        (code(Leg.STOP), ["exit:STOP_LOSS"], "STOP_LOSS"),
        (code(Leg.EXIT), ["exit:REVERSE_SIGNAL"], "REVERSE_SIGNAL"),
        (code(Leg.EXIT), ["other", "exit:PROTECTION_FAILED"], "PROTECTION_FAILED"),
        (code(Leg.EXIT), ["exit:END_OF_DATA"], "END_OF_DATA"),
        (code(Leg.STOP), [], "STOP_LOSS"),
        (code(Leg.TARGET), [], "TAKE_PROFIT"),
        (code(Leg.EXIT), [], "FLATTEN"),
        (code(Leg.ENTRY), ["signal:x"], "REVERSE_SIGNAL"),
        ("autoclose-1234567890", [], "LIQUIDATION"),
        ("adl_autoclose", [], "LIQUIDATION"),
        ("web_a1B2", [], EXTERNAL),
    ],
)
def test_exit_reasons(client_order_id, tags, expected):
    assert exit_reason(client_order_id, tags) == expected


# -- properties -------------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["XRPUSDT", "BTCUSDT"]),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 50).map(lambda n: Decimal(n) / 10),
        st.integers(1, 40_000).map(lambda n: Decimal(n) / 10_000),
        st.integers(-20, 500).map(lambda n: Decimal(n) / 100_000),
    )
    | st.tuples(st.sampled_from(["XRPUSDT", "BTCUSDT"]), st.integers(-500, 500)),
    max_size=60,
)


def play(sequence):
    """Return ledger, trades, executions, and cash: what a wallet that knows no positions would hold."""
    ledger, trades, executions = TradeLedger(), [], []
    cash = {"XRPUSDT": Decimal(0), "BTCUSDT": Decimal(0)}
    for n, step in enumerate(sequence, start=1):
        if len(step) == 2:
            symbol, cents = step
            cash[symbol] += Decimal(cents) / 100
            ledger.apply_funding(funding(n * 60_000, cents / 100, symbol))
            continue
        symbol, side, quantity, price, fee = step
        execution = fill(n, side, quantity, price, fee=fee, symbol=symbol, order=f"o{n % 7}")
        executions.append(execution)
        cash[symbol] += (-1 if side == "BUY" else 1) * quantity * price - fee
        trade = ledger.apply(execution)
        if trade is not None:
            trades.append(trade)
    return ledger, trades, executions, cash


@given(steps)
def test_results_add_up_to_the_wallet(sequence):
    ledger, trades, _, cash = play(sequence)
    open_cost = sum((t.side.sign * t.cost for t in ledger.open.values()), Decimal(0))
    assert abs(ledger.wallet_change - (sum(cash.values()) + open_cost)) < Decimal("1e-18")
    closed = sum(t.net_pnl for t in trades)
    still_open = sum((t.realized for t in ledger.open.values()), ledger.unattached_funding)
    assert closed + float(still_open) == pytest.approx(float(ledger.wallet_change), abs=1e-9)


@given(steps)
def test_quantities_add_up_and_ids_are_unique(sequence):
    ledger, trades, executions, _ = play(sequence)
    for symbol in ("XRPUSDT", "BTCUSDT"):
        signed = sum(((1 if e.is_buy else -1) * e.quantity for e in executions if e.symbol == symbol), Decimal(0))
        assert ledger.net(symbol) == signed
        traded = float(sum((e.quantity for e in executions if e.symbol == symbol), Decimal(0)))
        now = ledger.open.get(symbol)
        rest = 0.0 if now is None else float(now.entered + now.exited)
        assert 2 * sum(t.quantity for t in trades if t.symbol == symbol) + rest == pytest.approx(traded)
    ids = [t.id for t in trades] + [t.id for t in ledger.open.values()]
    assert len(ids) == len(set(ids))
    for trade in trades:
        sign = 1 if trade.side == "LONG" else -1
        assert trade.gross_pnl == pytest.approx(
            sign * (trade.exit_price - trade.entry_price) * trade.quantity, abs=1e-9
        )
        assert trade.net_pnl == pytest.approx(trade.gross_pnl - trade.fees + trade.funding, abs=1e-9)


@given(steps, st.integers(0, 60))
def test_a_restart_anywhere_gives_the_same_trades(sequence, cut):
    ledger, trades, executions, _ = play([s for s in sequence if len(s) == 5])
    first, again = TradeLedger(), []
    for execution in executions[:cut]:
        again += filter(None, [first.apply(execution)])
    second = copy.deepcopy(first)
    for execution in executions:  # the venue reports everything once more
        again += filter(None, [second.apply(execution)])
    assert again == trades
    assert second.wallet_change == ledger.wallet_change


def test_restored_facts_are_replayed_in_market_order():
    def record(n, time):
        return FillRecord(
            id=str(n),
            market_time=time,
            wall_time=0,
            client_order_id="",
            venue_order_id="",
            symbol="X",
            leg=None,
            side="BUY",
            quantity="1",
            price="1",
            fee="0",
            liquidity="TAKER",
            event_time=0,
        )

    fills = [record(1, 10 * HOUR_MS * 1_000_000), record(2, None), record(3, 20 * HOUR_MS * 1_000_000)]
    paid = [funding(16 * HOUR_MS, 1.0), funding(20 * HOUR_MS, 1.0)]
    assert in_order(fills, paid) == [fills[0], fills[1], paid[0], paid[1], fills[2]]
