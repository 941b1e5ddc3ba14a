"""The recorder in the real engine: everything heard, in order, once, and adding up to the account."""

import random
from decimal import Decimal

import pytest
from nautilus_trader.common.config import ActorFactory, ImportableActorConfig
from nautilus_trader.model.identifiers import ComponentId

from actors.ledger import RestoredLedger
from actors.recorder import Recorder, RecorderConfig
from actors.risk_guard import RiskGuard, RiskGuardConfig
from actors.risk_state import RiskLimits
from catalog.instruments import instrument_id
from strategies.equity_points import EquityPoints
from strategies.order_ids import Leg, OrderTag, encode
from strategies.records import FillRecord, FundingRecord
from tests.actors.risk_kit import BALANCE, BAR_NS, START, Run, bars, close_of

XRP, ETH = "XRPUSDT", "ETHUSDT"
LIMITS = RiskLimits(
    max_positions=None, max_same_direction=None, daily_loss=None, fast_kill_losses=None, slow_kill_trades=None
)
LONG = ("LONG", 1.95, 2.3)
# A long entered on bar 1 at 2.0 is stopped at 1.95 inside bar 3.
STOPPED = [2.0, 2.0, (2.0, 2.02, 1.99, 2.01), (2.01, 2.01, 1.9, 1.92), 1.95, 1.95, 1.95, 1.95]


def ids(symbols):
    return tuple(map(instrument_id, symbols))


def recorder(symbols=(XRP,), restored=None, name="Recorder", **more) -> Recorder:
    config = RecorderConfig(
        instrument_ids=ids(symbols),
        restored=restored or RestoredLedger(),
        component_id=ComponentId(name),
        **({"raise_errors": True} | more),
    )
    return Recorder(config)


def make(market, scripts, the_recorder=None, **more) -> Run:
    symbols = tuple(market)
    guard = RiskGuard(
        RiskGuardConfig(instrument_ids=ids(symbols), start_balance=BALANCE, limits=LIMITS, raise_errors=True)
    )
    return Run(market, scripts, [the_recorder or recorder(symbols), guard], **more)


def stopped_run(**more) -> Run:
    return make({XRP: bars(XRP, STOPPED)}, {XRP: {1: LONG}}, **more)


def bar_of(time_ns: int) -> int:
    return (time_ns - START) // BAR_NS - 1


# -- order and content ------------------------------------------------------------------------------------------------


def test_a_decision_is_recorded_in_the_order_it_was_made():
    result = stopped_run().go()
    kinds = [r.kind for r in result.records if r.kind not in ("equity", "order")]
    assert kinds == ["signal", "verdict", "approval", "fill", "fill", "trade"]
    signal, verdict, approval = (result.of(kind)[0] for kind in ("signal", "verdict", "approval"))
    assert (signal.id, verdict.signal_id, approval.id) == (signal.id,) * 3
    assert verdict.id == f"{signal.id}/risk"
    assert {r.market_time for r in (signal, verdict, approval)} == {close_of(1)}
    assert signal.features == [1.5, None]
    assert (verdict.score, verdict.threshold) == (None, None)


def test_a_fill_is_recorded_before_its_trade_and_both_before_the_strategy_hears_of_it():
    result = stopped_run().go()
    assert result.strategies[XRP].seen_trades_at_fill == [0, 1]
    entry, exit_ = result.of("fill")
    trade = result.of("trade")[0]
    assert (entry.leg, entry.side, entry.price, entry.quantity, entry.fee) == ("ENTRY", "BUY", "2.0000", "2000.0", "2")
    assert (exit_.leg, exit_.side, exit_.price) == ("STOP", "SELL", "1.9500")
    assert trade.id == f"{XRP}/{entry.client_order_id}"
    assert (trade.entry_price, trade.exit_price, trade.stop, trade.target) == (2.0, 1.95, 1.95, 2.3)
    assert (trade.exit_reason, trade.signal_id) == ("STOP_LOSS", result.of("signal")[0].id)
    assert trade.verdicts == ["risk:passed"]
    assert trade.net_pnl == pytest.approx(-100 - 3.95)


@pytest.mark.parametrize("order", [(XRP, ETH), (ETH, XRP)])
def test_times_of_fills_do_not_depend_on_which_symbol_comes_first(order):
    market = {s: bars(s, STOPPED if s == XRP else [2_000.0] * 8) for s in order}
    result = make(market, {XRP: {1: LONG}}).go()
    trade = result.of("trade")[0]
    # The entry is sent on bar 1's close; the stop fills inside bar 3, which opens when bar 2 closes.
    assert (bar_of(trade.entry_time), bar_of(trade.exit_time)) == (1, 2)
    assert [bar_of(f.market_time) for f in result.of("fill")] == [1, 2]


def test_order_states_carry_leg_levels_and_reason():
    result = stopped_run().go()
    states = [(o.leg, o.event) for o in result.of("order")]
    assert states[:2] == [("ENTRY", "Submitted"), ("ENTRY", "Filled")]
    assert ("STOP", "Accepted") in states
    assert ("TARGET", "Canceled") in states
    stop = next(o for o in result.of("order") if o.leg == "STOP")
    assert (stop.order_type, stop.trigger_price, stop.price, stop.side) == ("STOP_MARKET", "1.9500", None, "SELL")
    assert len({o.id for o in result.of("order")}) == len(states)


# -- equity -----------------------------------------------------------------------------------------------------------


def test_points_kept_as_columns_are_the_records_that_would_have_been_published():
    published = stopped_run().go().of("equity")
    run, points = stopped_run(), EquityPoints()
    points.offer(run.engine.kernel.msgbus)
    assert run.go().of("equity") == []
    assert {p.open_positions for p in published} == {0, 1}
    assert points.records() == published


def test_points_read_in_between_are_made_once():
    points = EquityPoints()
    points.add(1, 2, 100.0, 0.1, 100.1, 1)
    first = list(points.records())
    points.add(3, 4, 99.5, 0.0, 99.5, 0)
    assert points.records()[0] is first[0]
    assert [(p.id, p.wall_time, p.equity) for p in points.records()] == [("1", 2, 100.1), ("3", 4, 99.5)]


def test_an_equity_point_ends_its_step():
    points = {bar_of(e.market_time): e for e in stopped_run().go().of("equity")}
    assert sorted(points) == list(range(8))
    assert points[0].equity == BALANCE
    # The entry of bar 1's close belongs to bar 1; the stop inside bar 3 does not belong to bar 2.
    assert (points[1].balance, points[1].unrealized, points[1].open_positions) == (9_998.0, 0.0, 1)
    assert (points[2].balance, points[2].unrealized, points[2].equity) == (9_998.0, 20.0, 10_018.0)
    assert (points[3].balance, points[3].unrealized, points[3].open_positions) == (9_896.05, 0.0, 0)
    assert points[7].equity == points[3].equity


def test_a_short_gains_when_the_price_falls():
    market = {XRP: bars(XRP, [2.0, 2.0, 1.9, 2.02])}
    points = make(market, {XRP: {1: ("SHORT", 2.1, 1.5)}}).go().of("equity")
    assert [p.unrealized for p in points] == [0.0, 0.0, pytest.approx(100.0), pytest.approx(-20.0)]


def test_funding_charged_at_a_close_is_in_that_steps_point_and_in_the_trade():
    def fund(r: Run) -> None:
        record = FundingRecord(
            id=f"{XRP}/{close_of(2) // 1_000_000}",
            market_time=close_of(2),
            wall_time=0,
            symbol=XRP,
            amount=-1.5,
            rate=None,
        )
        r.at(2, lambda: r.msgbus.publish(record.topic, record))

    trade = stopped_run(setup=fund).go().of("trade")[0]
    assert (trade.funding, trade.net_pnl) == (-1.5, pytest.approx(-105.45))


# -- adding up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_trades_of_a_random_market_add_up_to_the_account(seed):
    rng = random.Random(seed)
    market, scripts = {}, {}
    for symbol, price in ((XRP, 2.0), (ETH, 2_000.0)):
        digits = 4 if symbol == XRP else 2
        candles, script, last = [], {}, price
        for i in range(300):
            close = round(last * (1 + rng.gauss(0, 0.006)), digits)
            high = round(max(last, close) * (1 + abs(rng.gauss(0, 0.003))), digits)
            low = round(min(last, close) * (1 - abs(rng.gauss(0, 0.003))), digits)
            candles.append((last, high, low, close))
            last = close
            roll = rng.random()
            if roll < 0.2:
                sign = rng.choice((1, -1))
                levels = (close * (1 - 0.01 * sign), close * (1 + 0.02 * sign))
                script[i] = ("LONG" if sign > 0 else "SHORT", *levels)
            elif roll < 0.25:
                script[i] = "close"
        # Thin bars: entries and exits come in several fills.
        market[symbol], scripts[symbol] = bars(symbol, candles, volume=40_000 if symbol == XRP else 40), script
    the_recorder = recorder((XRP, ETH))
    result = make(market, scripts, the_recorder).go()
    final = result.final_balance
    trades = result.of("trade")
    assert len(trades) > 20, f"seed {seed}"
    assert {t.exit_reason for t in trades} == {"STOP_LOSS", "TAKE_PROFIT", "FLATTEN"}, f"seed {seed}"
    realized = sum(t.net_pnl for t in trades) + sum(float(t.realized) for t in the_recorder.ledger.open.values())
    assert realized == pytest.approx(final - BALANCE, abs=1e-6 * len(result.of("fill"))), f"seed {seed}"
    assert result.of("equity")[-1].balance == pytest.approx(final)
    assert len({t.id for t in trades}) == len(trades)
    for trade in trades:
        assert trade.signal_id is not None
        assert (trade.stop < trade.target) is (trade.side == "LONG")


# -- a restart --------------------------------------------------------------------------------------------------------


def second_start(r: Run, late: Recorder, at_bar: int) -> None:
    """Start another recorder when bar `at_bar` has closed: orders and fills are in the cache, like after a restart."""
    kernel = r.engine.kernel

    def start() -> None:
        late.register_base(kernel.portfolio, kernel.msgbus, kernel.cache, kernel.clock)
        late.start()

    r.at(at_bar, start)


def restarted(at_bar: int, restore) -> tuple[Run, list, Recorder]:
    """Run once to know the journal, again with a second recorder; return run, what the second published first, it."""
    whole = make({XRP: bars(XRP, STOPPED)}, {XRP: {1: LONG}}).go()
    late = recorder(restored=restore(whole), name="Late", raise_errors=False)
    marks: list[int] = []

    def setup(r: Run) -> None:
        r.at(at_bar, lambda: marks.append(len(r.records)))
        second_start(r, late, at_bar)
        r.at(at_bar, lambda: marks.append(len(r.records)))

    again = make({XRP: bars(XRP, STOPPED)}, {XRP: {1: LONG}}, setup=setup).go()
    return whole, again.records[marks[0] : marks[1]], late


def test_fills_of_the_time_down_are_recorded_from_the_engines_cache():
    whole, caught_up, _ = restarted(6, lambda _: RestoredLedger())
    fills = [r for r in caught_up if r.kind == "fill"]
    trade = next(r for r in caught_up if r.kind == "trade")
    assert [(f.leg, f.price, f.quantity) for f in fills] == [
        ("ENTRY", "2.0000", "2000.0"),
        ("STOP", "1.9500", "2000.0"),
    ]
    assert (trade.id, trade.net_pnl) == (whole.of("trade")[0].id, whole.of("trade")[0].net_pnl)
    assert trade.exit_time is None  # market time was not heard
    states = {(o.leg, o.event) for o in caught_up if o.kind == "order"}
    assert states == {("ENTRY", "Filled"), ("STOP", "Filled"), ("TARGET", "Canceled")}


def test_what_the_journal_knows_is_not_recorded_again():
    def known(whole: Run) -> RestoredLedger:
        return RestoredLedger(seen_fills=[f.id for f in whole.of("fill")])

    _, caught_up, late = restarted(6, known)
    assert {r.kind for r in caught_up} == {"order"}
    assert late.ledger.open == {}


def test_a_trade_open_at_the_restart_is_closed_with_everything_it_had():
    def journal(whole: Run) -> RestoredLedger:
        entry = whole.of("fill")[0]
        paid = FundingRecord(
            id=f"{XRP}/{close_of(2) // 1_000_000}",
            market_time=close_of(2),
            wall_time=0,
            symbol=XRP,
            amount=-1.5,
            rate=None,
        )
        return RestoredLedger(
            fills=[entry],
            funding=[paid],
            seen_fills=[entry.id],
            verdicts={whole.of("signal")[0].id: ["risk:passed"]},
        )

    whole, caught_up, _ = restarted(6, journal)
    assert [r.leg for r in caught_up if r.kind == "fill"] == ["STOP"]
    trade, before = next(r for r in caught_up if r.kind == "trade"), whole.of("trade")[0]
    assert (trade.id, trade.entry_time, trade.stop, trade.target) == (before.id, close_of(1), 1.95, 2.3)
    assert (trade.signal_id, trade.verdicts) == (before.signal_id, ["risk:passed"])
    assert trade.net_pnl == pytest.approx(before.net_pnl - 1.5)


def test_a_trade_the_crash_cut_off_from_its_last_fill_is_recorded():
    def journal(whole: Run) -> RestoredLedger:
        return RestoredLedger(fills=whole.of("fill"), seen_fills=[f.id for f in whole.of("fill")])

    whole, caught_up, _ = restarted(6, journal)
    assert [r.id for r in caught_up if r.kind == "trade"] == [whole.of("trade")[0].id]


def renamed(fill: FillRecord, **changes) -> FillRecord:
    from msgspec.structs import replace

    return replace(fill, **changes)


def test_fills_the_engine_invented_are_not_booked_over_a_position_that_is_right():
    def journal(whole: Run) -> RestoredLedger:
        return RestoredLedger(fills=[renamed(whole.of("fill")[0], id=f"{XRP}/real")])

    _, caught_up, late = restarted(2, journal)
    assert [r.code for r in caught_up if r.kind == "incident"] == ["fills_ignored"]
    assert [r for r in caught_up if r.kind == "fill"] == []
    assert late.ledger.wallet_change == pytest.approx(Decimal("-103.95"))  # 2,000 bought once and stopped


def test_a_position_the_fills_cannot_explain_is_adopted_and_reported():
    def journal(whole: Run) -> RestoredLedger:
        entry = whole.of("fill")[0]
        return RestoredLedger(fills=[renamed(entry, quantity="500.0")], seen_fills=[entry.id])

    _, caught_up, late = restarted(2, journal)
    assert [(r.code, r.severity) for r in caught_up if r.kind == "incident"] == [("ledger_mismatch", "critical")]
    assert late.ledger.open == {}  # the stop closed it later, at what was adopted
    assert late.ledger.wallet_change == pytest.approx(Decimal(-100) - Decimal("1.95") - 2)


def test_levels_and_signal_are_read_from_the_order_id_when_tags_are_lost():
    the_recorder = recorder()
    r = make({XRP: bars(XRP, STOPPED)}, {}, the_recorder)
    the_recorder.ledger.note_verdict(
        f"Composite:{XRP}-PERP:{close_of(1) // 1_000_000}:SHORT", "risk", "passed", passed=True
    )
    entry = FillRecord(
        id="x/1", market_time=None, wall_time=0, venue_order_id="1", symbol=XRP, leg="ENTRY", side="SELL", quantity="1",
        price="2", fee="0", liquidity="TAKER", event_time=0,
        client_order_id=encode(OrderTag("CMP", close_of(1), Leg.ENTRY, 0, 20_500, 17_001)),
    )  # fmt: skip
    execution = the_recorder.execution(entry)
    assert (execution.stop, execution.target) == (2.05, 1.7001)
    assert execution.signal_id == f"Composite:{XRP}-PERP:{close_of(1) // 1_000_000}:SHORT"
    untargeted = renamed(entry, client_order_id=encode(OrderTag("CMP", close_of(1), Leg.ENTRY, 0, 20_500, 20_500)))
    assert the_recorder.execution(untargeted).target is None
    assert the_recorder.execution(renamed(entry, client_order_id="web_1", side="BUY")).reason == "EXTERNAL"
    r.engine.dispose()


# -- faults and configuration -----------------------------------------------------------------------------------------


def test_a_defect_is_reported_and_recording_goes_on_in_live_but_ends_a_backtest():
    def defect(r: Run) -> None:
        r.at(2, lambda: r.msgbus.publish("argonaut.record.funding", FundingRecord))

    result = stopped_run(the_recorder=recorder(raise_errors=False))
    result.msgbus.unsubscribe("argonaut.record.*", result.hear)
    heard: dict[str, list] = {}
    for kind in ("incident", "trade"):
        result.msgbus.subscribe(f"argonaut.record.{kind}", heard.setdefault(kind, []).append)
    defect(result)
    result.go()
    assert [i.code for i in heard["incident"]] == ["recorder_error"]
    assert len(heard["trade"]) == 1
    with pytest.raises((AttributeError, TypeError)):
        stopped_run(setup=defect).go()


def test_the_configuration_survives_json_as_backtest_node_sends_it():
    whole = stopped_run().go()
    config = RecorderConfig(
        instrument_ids=ids((XRP,)),
        restored=RestoredLedger(fills=whole.of("fill"), seen_fills=["a"], verdicts={"s": ["risk:passed"]}),
        raise_errors=True,
        component_id=ComponentId("Recorder"),
    )
    importable = ImportableActorConfig(
        actor_path="actors.recorder:Recorder",
        config_path="actors.recorder:RecorderConfig",
        config=config.json_primitives(),
    )
    made = ActorFactory.create(importable)
    assert isinstance(made, Recorder)
    assert made.config == config
