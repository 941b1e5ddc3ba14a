"""The guard in the real engine: what it grants, what it remembers, and that it fails closed."""

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from nautilus_trader.common.config import ActorFactory, ImportableActorConfig
from nautilus_trader.model.enums import OrderSide, TradingState
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, ComponentId
from nautilus_trader.model.objects import Price, Quantity

from actors.recorder import Recorder, RecorderConfig
from actors.risk_guard import CONTROL_TOPIC, RiskGuard, RiskGuardConfig
from actors.risk_state import Latch, RestoredRisk, RiskLimits
from catalog.instruments import instrument_id
from strategies.messages import SIGNAL, VERDICT, Side, Verdict, topic
from strategies.order_ids import Leg, OrderTag, encode
from strategies.records import IncidentRecord, TradeRecord
from strategies.sizing import MarginRatio, RiskFraction
from tests.actors.risk_kit import BALANCE, BAR_NS, DAY_NS, START, Run, bars, close_of, make_signal

XRP, ETH, BTC = "XRPUSDT", "ETHUSDT", "BTCUSDT"
FLAT = {XRP: 2.0, ETH: 2_000.0, BTC: 60_000.0}
LOOSE = RiskLimits(
    max_positions=None, max_same_direction=None, daily_loss=None, fast_kill_losses=None, slow_kill_trades=None
)


def guard(symbols=(XRP,), limits=LOOSE, **more) -> RiskGuard:
    fields = {"start_balance": BALANCE, "raise_errors": True, "component_id": ComponentId("RiskGuard")} | more
    return RiskGuard(RiskGuardConfig(instrument_ids=tuple(map(instrument_id, symbols)), limits=limits, **fields))


def recorder(symbols=(XRP,)) -> Recorder:
    ids = tuple(map(instrument_id, symbols))
    return Recorder(RecorderConfig(instrument_ids=ids, raise_errors=True, component_id=ComponentId("Recorder")))


def quiet(symbols=(XRP,), n=12) -> dict:
    """A market that stands still."""
    return {s: bars(s, [FLAT[s]] * n) for s in symbols}


def run(market, scripts, the_guard, **more) -> Run:
    symbols = tuple(market)
    return Run(market, scripts, [the_guard, recorder(symbols)], **more).go()


def answers(result: Run) -> list[tuple[int, str, str]]:
    """(bar index, symbol, reason) of every Verdict."""
    return [((v.market_time - START) // BAR_NS - 1, v.symbol, v.reason) for v in result.of("verdict")]


def codes(result: Run) -> list[str]:
    return [i.code for i in result.of("incident")]


LONG = ("LONG", 1.95, 2.3)


# -- grants -----------------------------------------------------------------------------------------------------------


def test_an_approval_carries_size_and_levels_on_the_venues_grid():
    result = run(quiet(), {XRP: {2: ("LONG", 1.950049, 2.30005)}}, guard())
    approval = result.of("approval")[0]
    assert (approval.quantity, approval.stop_price, approval.target_price) == ("2000.0", "1.9500", "2.3000")
    assert approval.risk_amount == 100.0
    assert result.of("fill")[0].quantity == "2000.0"
    assert answers(result) == [(2, XRP, "passed")]


def test_equity_for_sizing_includes_unrealised_profit_and_the_balance_for_margin_ratio_does_not():
    market = {XRP: bars(XRP, [2.0, 2.0, 2.0, 2.2, 2.2, 2.2]), ETH: bars(ETH, [2_000.0] * 6)}
    scripts = {XRP: {1: LONG}, ETH: {3: ("SHORT", 2_100.0, 1_700.0)}}
    result = run(market, scripts, guard((XRP, ETH)))
    # 10,000 - fee 2.00 + 2,000 XRP x 0.20 = 10,398 -> 1 % / 100 USDT per ETH
    assert result.of("approval")[1].quantity == "1.039"
    by_margin = guard((XRP, ETH), sizing=MarginRatio(max_ratio=0.1, min_ratio=0.1, leverage=1.0, step_per_usdt=0.0))
    result = run(market, scripts, by_margin)
    # 5,000 x 0.1 / 2.0 = 250 XRP, fee 0.25; then (9,999.75 / 2) x 0.1 / 2,000
    assert [a.quantity for a in result.of("approval")] == ["250.0", "0.250"]


def test_limits_in_part_used_shrink_the_size_and_used_up_refuse():
    limits = msgspec.structs.replace(LOOSE, max_total_notional=6_000.0)
    scripts = {XRP: {1: LONG}, ETH: {2: ("LONG", 1_980.0, 2_100.0)}, BTC: {3: ("LONG", 59_000.0, 66_000.0)}}
    result = run(quiet((XRP, ETH, BTC)), scripts, guard((XRP, ETH, BTC), limits))
    assert [a.quantity for a in result.of("approval")] == ["2000.0", "1.000"]  # 4,000 + 2,000 USDT
    assert answers(result)[-1] == (3, BTC, "total_notional")
    assert "bound by total_notional" in result.of("verdict")[1].detail


@pytest.mark.parametrize(
    ("limits", "quantity"),
    [
        ({"max_order_notional": 1_000.0}, "500.0"),
        ({"max_leverage": 0.2}, "1000.0"),
        ({"account_leverage": 0.1}, "500.0"),
    ],
)
def test_each_cap_reaches_the_order(limits, quantity):
    result = run(quiet(), {XRP: {1: LONG}}, guard(limits=msgspec.structs.replace(LOOSE, **limits)))
    assert result.of("fill")[0].quantity == quantity


def test_the_market_lot_limit_of_the_venue_binds():
    result = run(quiet(), {XRP: {1: LONG}}, guard(market_max_quantity={XRP: "123.45"}))
    assert result.of("fill")[0].quantity == "123.4"


@pytest.mark.parametrize(
    ("reason", "limits", "sizing"),
    [
        ("below_minimum", {}, RiskFraction(risk_fraction=0.000001)),
        ("margin", {"account_leverage": 0.0001}, RiskFraction()),
        ("leverage", {"max_leverage": 0.0001}, RiskFraction()),
    ],
)
def test_too_little_is_nothing(reason, limits, sizing):
    result = run(quiet(), {XRP: {1: LONG}}, guard(limits=msgspec.structs.replace(LOOSE, **limits), sizing=sizing))
    assert answers(result) == [(1, XRP, reason)]
    assert result.of("approval") == result.of("fill") == []


# -- one decision at a time -------------------------------------------------------------------------------------------


def test_two_signals_of_one_step_cannot_exceed_a_limit_together():
    limits = msgspec.structs.replace(LOOSE, max_positions=1)
    scripts = {XRP: {1: LONG, 3: LONG}, ETH: {1: ("LONG", 1_980.0, 2_100.0)}}
    result = run(quiet((XRP, ETH)), scripts, guard((XRP, ETH), limits))
    assert answers(result) == [(1, XRP, "passed"), (1, ETH, "max_positions"), (3, XRP, "position_open")]
    same = msgspec.structs.replace(LOOSE, max_same_direction=1)
    result = run(quiet((XRP, ETH)), scripts, guard((XRP, ETH), same))
    assert answers(result)[1] == (1, ETH, "same_direction")


def test_a_grant_counts_until_its_order_ends_or_never_comes():
    limits = msgspec.structs.replace(LOOSE, max_positions=1)
    scripts = {XRP: {1: LONG}, ETH: {1: ("LONG", 1_980.0, 2_100.0), 2: ("LONG", 1_980.0, 2_100.0)}}
    result = run(quiet((XRP, ETH)), scripts, guard((XRP, ETH), limits), obey=False)
    assert answers(result) == [(1, XRP, "passed"), (1, ETH, "max_positions"), (2, ETH, "passed")]
    assert codes(result) == ["approval_unused", "approval_unused"]


def test_a_denied_entry_frees_its_slot_at_once():
    limits = msgspec.structs.replace(LOOSE, max_positions=1)
    scripts = {XRP: {1: LONG}, ETH: {1: ("LONG", 1_980.0, 2_100.0)}}

    def halt(r: Run) -> None:
        r.at(1, lambda: r.engine.kernel.risk_engine.set_trading_state(TradingState.HALTED))

    result = run(quiet((XRP, ETH)), scripts, guard((XRP, ETH), limits), setup=halt)
    assert [o.event for o in result.of("order")] == ["Denied", "Denied"]
    assert answers(result) == [(1, XRP, "passed"), (1, ETH, "passed")]


def test_the_same_signal_is_approved_once():
    the_guard = guard()
    signal = make_signal(XRP, Side.LONG, (2.0, 1.95, 2.3), close_of(1), strategy="nobody")

    def repeat(r: Run) -> None:
        def hear(bar) -> None:
            if bar.ts_event == close_of(1):
                for _ in range(2):
                    the_guard.publish_data(SIGNAL, signal)
                the_guard._grants.clear()  # as if the order had been refused meanwhile
                the_guard.publish_data(SIGNAL, signal)

        r.msgbus.subscribe("data.bars.*", hear)

    result = run(quiet(), {}, the_guard, setup=repeat)
    assert [a[2] for a in answers(result)] == ["passed", "order_pending", "order_pending"]
    assert [v.detail for v in result.of("verdict")][1:] == [
        "XRPUSDT already has an entry under way",
        "this signal was approved before",
    ]
    assert len(result.of("approval")) == 1


def test_an_entry_that_rests_at_the_venue_from_before_a_restart_is_pending():
    def rest(r: Run) -> None:
        def send() -> None:
            strategy = r.strategies[XRP]
            tag = OrderTag("XRP", close_of(0), Leg.ENTRY, 0, 1, 2)
            order = strategy.order_factory.limit(
                instrument_id(XRP),
                OrderSide.BUY,
                Quantity.from_str("10.0"),
                Price.from_str("1.0000"),
                client_order_id=ClientOrderId(encode(tag)),
            )
            strategy.submit_order(order)

        r.at(1, send)

    result = run(quiet(), {XRP: {3: LONG}}, guard(), setup=rest)
    assert answers(result) == [(3, XRP, "order_pending")]


# -- exit bar ---------------------------------------------------------------------------------------------------------

STOPPED = [2.0, 2.0, 2.0, (2.0, 2.0, 1.94, 1.96), 1.96, 1.96, 1.96]


@pytest.mark.parametrize(("allowed", "expected"), [(True, "passed"), (False, "exit_bar")])
def test_entering_on_the_bar_that_stopped_out_is_an_option(allowed, expected):
    limits = msgspec.structs.replace(LOOSE, enter_on_exit_bar=allowed)
    again = ("LONG", 1.90, 2.3)
    for order in ((XRP, ETH), (ETH, XRP)):  # whichever symbol's bar comes first
        market = {s: bars(s, STOPPED if s == XRP else [2_000.0] * 7) for s in order}
        result = run(market, {XRP: {1: LONG, 3: again}}, guard(order, limits))
        assert result.of("trade")[0].exit_reason == "STOP_LOSS"
        assert answers(result) == [(1, XRP, "passed"), (3, XRP, expected)]


def test_the_bar_after_the_exit_bar_and_exits_at_a_close_do_not_block():
    limits = msgspec.structs.replace(LOOSE, enter_on_exit_bar=False)
    result = run({XRP: bars(XRP, STOPPED)}, {XRP: {1: LONG, 4: ("LONG", 1.90, 2.3)}}, guard(limits=limits))
    assert answers(result)[-1] == (4, XRP, "passed")
    result = run(quiet(), {XRP: {1: LONG, 3: "close", 4: LONG}}, guard(limits=limits))
    assert result.of("trade")[0].exit_reason == "FLATTEN"
    assert answers(result)[-1] == (4, XRP, "passed")


# -- kill switches ----------------------------------------------------------------------------------------------------


def losing_market(rounds: int) -> tuple[dict, dict]:
    """Enter on bars 1, 4, 7 …, be stopped in the bar after."""
    candles, script = [2.0], {}
    for i in range(rounds):
        candles += [2.0, (2.0, 2.0, 1.94, 2.0), 2.0]
        script[1 + 3 * i] = LONG
    return {XRP: bars(XRP, candles)}, {XRP: script}


def test_fast_kill_blocks_until_rearmed_and_says_so_once():
    limits = msgspec.structs.replace(LOOSE, fast_kill_losses=3)
    market, scripts = losing_market(7)

    def rearm(r: Run) -> None:
        r.at(15, lambda: r.msgbus.publish(CONTROL_TOPIC, {"action": "rearm", "symbol": XRP, "who": "test"}))

    result = run(market, scripts, guard(limits=limits), setup=rearm)
    reasons = [a[2] for a in answers(result)]
    assert reasons == ["passed"] * 3 + ["fast_kill"] * 2 + ["passed"] * 2
    assert codes(result) == ["fast_kill", "rearm"]
    incident = result.of("incident")[0]
    assert (incident.symbol, incident.severity) == (XRP, "critical")


def test_slow_kill_looks_at_fees_too_and_spares_other_symbols():
    limits = msgspec.structs.replace(LOOSE, slow_kill_trades=4)
    market, scripts = losing_market(6)
    market[ETH] = bars(ETH, [2_000.0] * len(market[XRP]))
    scripts[ETH] = {16: ("LONG", 1_980.0, 2_100.0)}
    result = run(market, scripts, guard((XRP, ETH), limits))
    assert [a[2] for a in answers(result) if a[1] == XRP] == ["passed"] * 4 + ["slow_kill"] * 2
    assert [a[2] for a in answers(result) if a[1] == ETH] == ["passed"]


def test_restored_losses_count_and_a_restored_latch_holds():
    limits = msgspec.structs.replace(LOOSE, fast_kill_losses=3)
    market, scripts = losing_market(3)
    result = run(market, scripts, guard(limits=limits, restored=RestoredRisk(trade_pnls={XRP: [-1.0, -2.0]})))
    assert [a[2] for a in answers(result)] == ["passed", "fast_kill", "fast_kill"]
    for scope, reason in ((XRP, "killed"), ("*", "killed"), (ETH, "passed")):
        restored = RestoredRisk(latches=[(Latch.KILLED, scope)])
        assert run(quiet(), {XRP: {1: LONG}}, guard(restored=restored)).of("verdict")[0].reason == reason


def test_trades_closed_while_the_node_was_down_reach_the_guard_before_its_own_start():
    limits = msgspec.structs.replace(LOOSE, fast_kill_losses=1)
    trade = TradeRecord(
        id="t", market_time=None, wall_time=0, symbol=XRP, side="LONG", entry_time=None, exit_time=None,
        entry_price=1.0, exit_price=1.0, quantity=1.0, stop=None, target=None, exit_reason="STOP_LOSS", gross_pnl=-1.0,
        fees=0.0, funding=0.0, net_pnl=-1.0, signal_id=None, verdicts=[],
    )  # fmt: skip
    result = run(quiet(), {XRP: {1: LONG}}, guard(limits=limits), setup=lambda r: r.msgbus.publish(trade.topic, trade))
    assert answers(result) == [(1, XRP, "fast_kill")]


# -- daily loss -------------------------------------------------------------------------------------------------------


def falling_market() -> dict:
    """XRP falls 10 % in bar 3 and stays; ETH stands still. Bar 95 completes the day."""
    return {XRP: bars(XRP, [2.0] * 3 + [1.8] * 110), ETH: bars(ETH, [2_000.0] * 113)}


def test_daily_loss_counts_open_positions_holds_all_day_and_ends_with_it():
    limits = msgspec.structs.replace(LOOSE, daily_loss=0.01)
    eth = ("LONG", 1_980.0, 2_100.0)
    scripts = {XRP: {1: ("LONG", 1.5, 2.5)}, ETH: {2: eth, 3: "close", 4: eth, 90: eth, 94: eth, 95: eth}}
    result = run(falling_market(), scripts, guard((XRP, ETH), limits))
    reasons = {a[0]: a[2] for a in answers(result) if a[1] == ETH}
    # 200 XRP lose 40 USDT on the 10,000 of the day's start: not 1 %. The stop at 1.5 sizes 200.
    assert reasons[4] == "passed"
    scripts[XRP] = {1: ("LONG", 1.79, 2.5)}  # 476.1 XRP x 0.2 = 95 USDT, with fees of both still below 100
    bigger = guard((XRP, ETH), limits, sizing=RiskFraction(risk_fraction=0.012))  # 571.4 XRP: 114 USDT
    result = run(falling_market(), scripts, bigger)
    reasons = {a[0]: a[2] for a in answers(result) if a[1] == ETH}
    assert reasons == {2: "passed", 4: "daily_loss", 90: "daily_loss", 94: "daily_loss", 95: "passed"}
    assert codes(result) == ["daily_loss"]
    assert result.of("trade")[0].symbol == ETH  # the limit blocked entries, not the exit on bar 3


def test_a_daily_loss_between_two_signals_is_not_forgotten_when_equity_recovers():
    limits = msgspec.structs.replace(LOOSE, daily_loss=0.01)
    market = {XRP: bars(XRP, [2.0, 2.0, 2.0, 1.9, 2.0, 2.0, 2.0]), ETH: bars(ETH, [2_000.0] * 7)}
    scripts = {XRP: {1: ("LONG", 1.8, 2.5)}, ETH: {5: ("LONG", 1_980.0, 2_100.0)}}
    # 2 % / 0.2 are 1,000 XRP: 100 USDT and the fee below the day's start on bar 3 alone.
    result = run(market, scripts, guard((XRP, ETH), limits, sizing=RiskFraction(risk_fraction=0.02)))
    assert answers(result)[-1] == (5, ETH, "daily_loss")
    assert [(i.market_time - START) // BAR_NS - 1 for i in result.of("incident")] == [4]


@pytest.mark.parametrize(("day", "expected"), [(0, "daily_loss"), (-1, "passed")])
def test_the_days_start_is_restored_only_on_its_day(day, expected):
    limits = msgspec.structs.replace(LOOSE, daily_loss=0.05)
    restored = RestoredRisk(day=START // DAY_NS + day, day_start_equity=BALANCE * 1.06)
    result = run(quiet(), {XRP: {1: LONG}}, guard(limits=limits, restored=restored))
    assert answers(result) == [(1, XRP, expected)]


# -- a person's word --------------------------------------------------------------------------------------------------


def test_pause_kill_resume_and_rearm():
    each = dict.fromkeys(range(1, 12), ("LONG", 1.95, 2.3))
    commands = {
        1: {"action": "pause", "who": "anna"},
        3: {"action": "resume", "who": "anna"},
        4: {"action": "kill", "symbol": XRP, "who": "ben"},
        5: {"action": "kill", "symbol": XRP, "who": "ben"},
        6: {"action": "resume"},
        7: {"action": "rearm", "symbol": XRP},
        8: {"action": "pause", "symbol": ETH},
        9: {"action": "flatten"},
        10: {"action": "kill", "symbol": "DOGE"},
        11: {"action": "self-destruct"},
    }

    def say(r: Run) -> None:
        for bar, message in commands.items():
            r.at(bar, lambda m=message: r.msgbus.publish(CONTROL_TOPIC, m))

    limits = msgspec.structs.replace(LOOSE, one_per_symbol=False)
    result = run(quiet((XRP, ETH)), {XRP: each}, guard((XRP, ETH), limits), obey=False, setup=say)
    reasons = {a[0]: a[2] for a in answers(result)}
    assert [reasons[i] for i in range(1, 7)] == ["paused", "paused", "passed", "killed", "killed", "killed"]
    assert [reasons[i] for i in range(7, 12)] == ["passed"] * 5
    kept = [c for c in codes(result) if c != "approval_unused"]
    assert kept == ["pause", "resume", "kill", "resume", "rearm", "pause", "control_refused"]
    assert "anna" in result.of("incident")[0].message


# -- the chain and its faults -----------------------------------------------------------------------------------------


def test_behind_another_gate_only_its_passed_signals_are_judged():
    the_guard = guard(upstream="ml")

    def gate(r: Run) -> None:
        def answer(signal) -> None:
            passed = signal.bar_close == close_of(3)
            for name, ok in (("other", True), ("ml", passed)):
                the_guard.publish_data(
                    VERDICT,
                    Verdict(
                        signal.ts_event,
                        signal.ts_init,
                        instrument_id=signal.instrument_id,
                        signal_id=signal.signal_id,
                        gate=name,
                        passed=ok,
                        reason="passed" if ok else "ml_below_threshold",
                        score=0.5,
                        threshold=0.4,
                        detail="",
                        bar_close=signal.bar_close,
                    ),
                )

        r.msgbus.subscribe(topic(SIGNAL), answer)

    result = run(quiet(), {XRP: {1: LONG, 3: LONG}}, the_guard, setup=gate)
    assert [(v.gate, v.passed) for v in result.of("verdict")] == [
        ("other", True),
        ("ml", False),
        ("other", True),
        ("ml", True),
        ("risk", True),
    ]
    assert len(result.of("approval")) == 1


def bad_signal(the_guard: RiskGuard, **changes):
    """Publish, at bar 1, a signal nobody can judge."""

    def setup(r: Run) -> None:
        signal = make_signal(XRP, Side.LONG, (2.0, 1.95, 2.3), close_of(1), **changes)
        # The guard hears it after its own bookkeeping of the bar: strategies are last.
        r.msgbus.subscribe(
            "data.bars.*", lambda b: b.ts_event == close_of(1) and the_guard.publish_data(SIGNAL, signal)
        )

    return setup


@pytest.mark.parametrize("changes", [{"side": "SIDEWAYS"}, {"instrument_id": instrument_id(ETH)}])
def test_what_cannot_be_judged_is_blocked_in_live_and_ends_a_backtest(changes):
    live = guard(raise_errors=False)
    result = run(quiet(), {}, live, setup=bad_signal(live, **changes))
    assert [v.reason for v in result.of("verdict")] == ["guard_error"]
    assert result.of("verdict")[0].passed is False
    assert codes(result) == ["guard_error"]
    strict = guard()
    with pytest.raises((ValueError, LookupError)):
        run(quiet(), {}, strict, setup=bad_signal(strict, **changes))


def test_prices_that_are_not_numbers_are_bad_levels_not_a_crash():
    the_guard = guard()
    result = run(quiet(), {}, the_guard, setup=bad_signal(the_guard, stop_price=float("nan")))
    assert [v.reason for v in result.of("verdict")] == ["bad_levels"]


def test_a_defect_in_bookkeeping_blocks_until_rearmed():
    def defect(r: Run) -> None:
        r.at(1, lambda: r.msgbus.publish("argonaut.record.trade", "not a trade"))
        r.at(4, lambda: r.msgbus.publish(CONTROL_TOPIC, {"action": "rearm", "symbol": XRP}))
        r.at(6, lambda: r.msgbus.publish(CONTROL_TOPIC, {"action": "rearm"}))

    the_guard = guard(raise_errors=False)
    market = quiet()
    r = Run(market, {XRP: {1: LONG, 3: LONG, 5: LONG, 7: LONG}}, [the_guard], setup=defect)
    r.msgbus.unsubscribe("argonaut.record.*", r.hear)
    incidents: list[IncidentRecord] = []
    r.msgbus.subscribe("argonaut.record.incident", incidents.append)
    verdicts: list[Verdict] = []
    r.msgbus.subscribe(topic(VERDICT), verdicts.append)
    # The strategy of the kit listens to trades too; it must not be the one that fails.
    r.strategies[XRP]._count_trade = lambda _: None
    r.go()
    assert [v.reason for v in verdicts] == ["guard_error", "guard_error", "guard_error", "passed"]
    assert [i.code for i in incidents] == ["guard_error"] * 3 + ["rearm", "guard_error", "rearm"]
    assert "AttributeError" in incidents[0].message


def test_without_an_account_or_a_bar_there_is_no_entry():
    the_guard = guard()
    early = make_signal(XRP, Side.LONG, (2.0, 1.95, 2.3), close_of(0))
    r = Run(quiet(), {XRP: {}}, [the_guard, recorder()])
    r.strategies[XRP].on_start = lambda: the_guard.publish_data(SIGNAL, early)
    r.go()
    assert [v.reason for v in r.of("verdict")] == ["clock_unset"]
    poor = guard(currency="BUSD")  # the account holds none
    assert [a[2] for a in answers(run(quiet(), {XRP: {1: LONG}}, poor))] == ["no_equity"]


@pytest.mark.parametrize(("bars_ahead", "reason"), [(1.9, "passed"), (2.1, "stale_feed")])
def test_a_stale_feed_is_told_by_wall_time_alone(bars_ahead, reason):
    the_guard = guard(limits=msgspec.structs.replace(LOOSE, stale_after_bars=2.0))
    state = the_guard.state
    wall = close_of(1) + int(bars_ahead * BAR_NS)
    the_guard.state = lambda: replace(state(), wall_time=wall)
    assert answers(run(quiet(), {XRP: {1: LONG}}, the_guard)) == [(1, XRP, reason)]


def test_the_configuration_survives_json_as_backtest_node_sends_it():
    config = RiskGuardConfig(
        instrument_ids=(instrument_id(XRP), instrument_id(ETH)),
        start_balance=1_000.0,
        sizing=MarginRatio(leverage=20.0),
        limits=RiskLimits(max_leverage=5.0, daily_loss=None),
        market_max_quantity={XRP: "1000"},
        restored=RestoredRisk(trade_pnls={XRP: [1.0, -2.5]}, latches=[(Latch.FAST_KILL, XRP)], day=20_000),
        raise_errors=True,
        component_id=ComponentId("RiskGuard"),
    )
    importable = ImportableActorConfig(
        actor_path="actors.risk_guard:RiskGuard",
        config_path="actors.risk_guard:RiskGuardConfig",
        config=config.json_primitives(),
    )
    made = ActorFactory.create(importable)
    assert isinstance(made, RiskGuard)
    assert made.config == config
    assert made.latches.active == {(Latch.FAST_KILL, XRP)}
    assert made.latches.trade_pnls == {XRP: [1.0, -2.5]}


def test_a_partly_filled_entry_counts_as_position_and_as_what_is_still_to_come():
    the_guard = guard()
    seen: list[tuple[Decimal, Decimal]] = []

    def look(event) -> None:
        if isinstance(event, OrderFilled):
            state = the_guard.state()
            parts = [sum((e.notional for e in es), Decimal(0)) for es in (state.positions, state.pending)]
            seen.append((parts[0], parts[1]))

    thin = {XRP: bars(XRP, [2.0] * 5, volume=4_000)}
    result = run(thin, {XRP: {1: LONG}}, the_guard, setup=lambda r: r.msgbus.subscribe("events.order.*", look, 5))
    assert [f.quantity for f in result.of("fill")] == ["1000.0", "1000.0"]
    assert seen == [(2_000, 2_000), (4_000, 0)]
