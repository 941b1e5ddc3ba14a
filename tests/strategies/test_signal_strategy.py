"""The frame of every strategy: joining, warming up, deciding once per bar, and never on what is gone."""

import math

import pytest
from nautilus_trader.model.data import FundingRateUpdate

from catalog.instruments import bar_type, instrument_id
from tests.strategies.engine_kit import BAR_NS, START, Run, bars, close_of

FLAT = [1.0] * 8
EVERY_BAR = dict.fromkeys(range(12), ("LONG", 0.9, 1.2))
CONTEXT = (bar_type("BTCUSDT", "15m"), bar_type("ETHUSDT", "15m"))


def signal_bars(run):
    return [(s.bar_close - START) // BAR_NS - 1 for s in run.signals]


def funding(time, rate):
    return FundingRateUpdate(instrument_id("XRPUSDT"), rate, time, time)


def test_a_signal_carries_what_was_wished_on_that_bar():
    run = Run([1.0, 1.01, 1.02], {1: ("SHORT", 1.1, 0.9)}).go()
    (signal,) = run.signals
    assert signal.instrument_id == instrument_id("XRPUSDT")
    assert (signal.side, signal.strength, signal.atr, signal.schema) == ("SHORT", 3.0, 0.01, "test")
    assert (signal.reference_price, signal.stop_price, signal.target_price) == (1.01, 1.1, 0.9)
    assert signal.bar_close == signal.ts_event == signal.ts_init == close_of(1)
    assert signal.strategy == run.strategy.id.value
    assert signal.signal_id == f"Scripted:XRPUSDT-PERP:{close_of(1) // 1_000_000}:SHORT"
    row = signal.feature_row()
    assert row[0] == 1.0
    assert math.isnan(row[1])


@pytest.mark.parametrize(("warmup", "first"), [(0, 0), (1, 1), (5, 5), (8, None)])
def test_no_signal_before_the_rows_of_warm_up(warmup, first):
    run = Run(FLAT, EVERY_BAR, warmup_bars=warmup, refuse=tuple(range(12))).go()
    assert signal_bars(run) == ([] if first is None else list(range(first, 8)))
    assert len(run.strategy.rows) == 8, "warm-up rows are digested too"


@pytest.mark.parametrize(
    ("from_ns", "first"), [(START, 0), (close_of(2) - 1, 2), (close_of(2), 3), (close_of(9), None)]
)
def test_rows_up_to_trade_from_only_warm_up(from_ns, first):
    run = Run(FLAT, EVERY_BAR, trade_from_ns=from_ns, refuse=tuple(range(12))).go()
    assert signal_bars(run) == ([] if first is None else list(range(first, 8)))
    assert len(run.strategy.rows) == 8


def test_a_bar_sees_only_settlements_strictly_before_its_close():
    data = [
        funding(close_of(0) - 1, "0.0001"),
        funding(close_of(2), "0.0002"),
        funding(close_of(4) + 7_000_000, "0.0003"),
    ]
    run = Run(FLAT[:7], {}, data=data).go()
    assert run.strategy.fundings == [0.0001, 0.0001, 0.0001, 0.0002, 0.0002, 0.0003, 0.0003]


def test_before_the_first_settlement_funding_is_unknown_and_order_of_arrival_does_not_matter():
    data = [funding(close_of(1), "0.0001")]
    run = Run(FLAT[:5], {}, data=data)

    def late(strategy):
        strategy._on_funding(funding(close_of(3) - 2, "0.0005"))
        strategy._on_funding(funding(close_of(3) - 1, "0.0004"))
        strategy._on_funding(funding(close_of(3) - 2, "0.0005"))

    run.strategy.actions = {3: late}
    run.go()
    assert [str(x) for x in run.strategy.fundings] == ["nan", "nan", "0.0001", "0.0001", "0.0004"]


def test_the_reverse_wish_dies_with_its_bar():
    # With latency the close of bar 1 arrives on bar 2: by then the wish is gone and nothing is entered.
    script = {0: ("LONG", 0.9, 1.2), 3: ("SHORT", 1.1, 0.9)}
    run = Run(FLAT, script, latency_ns=1_000_000).go()
    assert [leg for leg, *_ in run.fills] == ["ENTRY", "EXIT"]
    assert signal_bars(run) == [0]
    assert run.position is None


def test_a_stop_faster_than_the_reverse_does_not_enter_on_an_old_wish():
    candles = [1.0, 1.0, 1.0, 1.0, (1.0, 1.0, 0.85, 0.95), 0.95, 0.95]
    run = Run(candles, {0: ("LONG", 0.9, 1.2), 3: ("SHORT", 1.1, 0.7)}, latency_ns=1_000_000).go()
    assert [leg for leg, *_ in run.fills] == ["ENTRY", "STOP"]
    assert signal_bars(run) == [0]


def test_rows_without_their_context_decide_nothing_and_say_so():
    context = [*bars(FLAT, "BTCUSDT"), *bars(FLAT, "ETHUSDT", skip=frozenset({3}))]
    run = Run(FLAT, EVERY_BAR, data=context, context_bar_types=CONTEXT, refuse=tuple(range(12))).go()
    assert signal_bars(run) == [0, 1, 2, 4, 5, 6, 7]
    assert [r.complete for r in run.strategy.rows] == [True, True, True, False, True, True, True, True]
    assert run.incidents == [("warning", "context_missing")]


@pytest.mark.parametrize("wait", [0.0, 2.0])
def test_the_waiting_time_releases_a_row_before_the_next_bar(wait):
    context = [*bars(FLAT, "BTCUSDT"), *bars(FLAT, "ETHUSDT", skip=frozenset({7}))]
    config = {"context_bar_types": CONTEXT, "context_wait_secs": wait, "refuse": tuple(range(12))}
    late = [funding(close_of(9), "0.0001")]  # data that lets simulated time go on after the last bar
    run = Run(FLAT, EVERY_BAR, data=[*context, *late], **config).go()
    assert len(run.strategy.rows) == (8 if wait else 7)
    assert signal_bars(run) == [0, 1, 2, 3, 4, 5, 6]


def test_protection_is_looked_after_on_every_bar_even_when_nothing_may_be_decided():
    # A row without context: the position a person opened meanwhile gets its levels none the less.
    context = [*bars(FLAT, "BTCUSDT"), *bars(FLAT, "ETHUSDT", skip=frozenset({3}))]
    run = Run(FLAT, {}, data=context, context_bar_types=CONTEXT, emergency=(0.9, 1.2))
    seen = []
    run.strategy.protection.on_bar = lambda real=run.strategy.protection.on_bar: (seen.append(1), real())
    run.go()
    assert len(seen) == 8


def test_an_instrument_that_is_not_there_stops_the_strategy():
    run = Run(FLAT, EVERY_BAR, instrument_id=instrument_id("BTCUSDT"), external_order_claims=None).go()
    assert run.signals == []
    assert run.strategy.is_stopped


def test_signals_of_other_strategies_are_not_entered():
    run = Run(FLAT, {0: ("LONG", 0.9, 1.2)}, order_id_tag="A")
    original = run.approval

    def foreign(signal):
        approval = original(signal)
        approval.strategy = "Scripted-B"
        return approval

    run.approval = foreign
    run.go()
    assert run.signals
    assert run.cache.orders() == []


class TestHistory:
    """History requested from a venue; here the test is the venue."""

    def make(self, **config):
        self.asked = asked = []
        run = Run(FLAT, EVERY_BAR, history_bars=4, refuse=tuple(range(12)), **config)

        def request(start, end):
            asked.append((start, end))
            run.strategy._asked_ns = run.strategy.clock.timestamp_ns()
            run.strategy._awaited = {run.strategy.config.bar_type}

        run.strategy._request = request
        return run

    def answer(self, candles, first):
        """Return an action that delivers history whose first bar has index `first`."""

        def act(strategy):
            for bar in bars(candles):
                shifted = type(bar)(
                    bar.bar_type, bar.open, bar.high, bar.low, bar.close, bar.volume,
                    bar.ts_event + first * BAR_NS, bar.ts_init + first * BAR_NS,
                )  # fmt: skip
                strategy.on_historical_data(shifted)
            strategy._on_history_complete(strategy.config.bar_type)

        return act

    def test_nothing_is_decided_before_history_and_live_bars_follow_without_gap_or_repeat(self):
        run = self.make(history_end_ns=START)
        run.strategy.actions = {2: self.answer([1.0] * 6, -4)}
        run.go()
        assert self.asked[0] == (START - 4 * BAR_NS, START)
        closes = [r.close_ns for r in run.strategy.rows]
        assert closes == [close_of(i) for i in range(-4, 8)]
        assert signal_bars(run) == [2, 3, 4, 5, 6, 7], "of what came while warming only the newest bar may decide"

    def test_history_that_never_comes_means_no_entries(self):
        run = self.make()
        run.go()
        assert run.signals == []
        assert not run.strategy.ready
        assert run.strategy.rows == []
        assert len(self.asked) == 8, "at the start, which is the first bar, and on every later bar"
        assert set(run.incidents) == {("warning", "history_missing")}

    def test_a_gap_whose_request_failed_is_asked_for_again(self):
        run = self.make(history_end_ns=START, skip=(3,))
        run.strategy.actions = {0: self.answer([1.0] * 4, -4), 6: self.answer([1.0] * 3, 3)}
        run.go()
        assert self.asked[-2:] == [(close_of(2), close_of(5)), (close_of(2), close_of(6))]
        assert [r.close_ns for r in run.strategy.rows] == [close_of(i) for i in range(-4, 8)]
        assert ("warning", "history_missing") in run.incidents

    def test_protection_does_not_wait_for_history(self):
        run = self.make(emergency=(0.9, 1.2))
        seen = []
        real = run.strategy.protection.on_bar
        run.strategy.protection.on_bar = lambda: (seen.append(1), real())
        run.go()
        assert len(seen) == 8

    def test_history_is_held_until_funding_is_known(self):
        run = self.make(history_end_ns=START, wait_for_funding=True)

        def funding_ready(strategy):
            strategy._on_funding(funding(START - 1, "0.0007"))
            strategy.msgbus.publish("argonaut.funding_ready", True)

        run.strategy.actions = {1: self.answer([1.0] * 4, -4), 3: funding_ready}
        run.go()
        assert signal_bars(run) == [3, 4, 5, 6, 7]
        assert set(run.strategy.fundings[4:]) == {0.0007}

    def test_a_gap_is_asked_for_and_filled_in_order(self):
        run = self.make(history_end_ns=START, skip=(4,))
        run.strategy.actions = {0: self.answer([1.0] * 4, -4), 6: self.answer([1.0] * 2, 4)}
        run.go()
        assert (close_of(3), close_of(5)) in self.asked
        closes = [r.close_ns for r in run.strategy.rows]
        assert closes == [close_of(i) for i in range(-4, 8)]
        assert ("warning", "bar_gap") in run.incidents
        assert signal_bars(run) == [0, 1, 2, 3, 6, 7]
