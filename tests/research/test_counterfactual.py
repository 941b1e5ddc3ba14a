"""What blocked signals would have made, live: the labels' answer, across a restart, and never heard by what decides."""

import math
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nautilus_trader.model.data import Bar, BarType, FundingRateUpdate
from nautilus_trader.model.objects import Price, Quantity

from actors.counterfactual import Counterfactuals
from catalog.instruments import bar_type, instrument_id
from catalog.reader import load_bars, load_funding
from node.backtest_run import run_backtest
from node.config import CounterfactualConfig, parse_time
from node.journal import open_journal
from node.watching import RestoredWatch, counterfactuals_config, restored_watch
from research.gate_effect import counterfactuals
from research.testing import small_model
from research.training import publish
from strategies.errors import ConfigError
from strategies.messages import SIGNAL, VERDICT, Signal, Verdict, topic
from strategies.records import TOPIC
from tests.actors.test_ml_filter import Bench
from tests.research.test_labels_engine import END, START, node_config

STEP = 15 * 60 * 10**9


@pytest.fixture(name="config", scope="module")
def config_fixture(market_catalog, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counterfactual")
    levels = {s: {"stop_atr": 1.0, "target_atr": 1.5} for s in ("BTCUSDT", "ETHUSDT", "XRPUSDT")}
    config = msgspec.structs.replace(node_config(market_catalog, folder), symbols=("XRPUSDT", "ETHUSDT"))
    model, _ = publish(small_model(strategy=levels), folder / "model")
    rows = [[math.nan if x is None else x for x in s.features] for s in run_backtest(config).signals]
    middle = float(np.median([model.score(np.array(row)) for row in rows]))
    publish(small_model(strategy=levels, threshold=middle), folder / "model")
    gate = msgspec.structs.replace(config.gate, model_dir=str(folder / "model"), mode="enforce")
    return msgspec.structs.replace(config, gate=gate, counterfactual=CounterfactualConfig(horizon_bars=10))


@pytest.fixture(name="run", scope="module")
def run_fixture(config):
    return run_backtest(config)


def test_outcomes_are_the_labels_and_nothing_that_decides_is_changed(config, run):
    labels = {c.signal_id: c for c in counterfactuals(config, run.signals, run.verdict_records, horizon_bars=10)}
    assert len({o.id for o in run.outcomes}) == len(run.outcomes) > 40
    for told in run.outcomes:
        label = labels[told.id]
        assert (told.outcome, told.blocked_by, told.resolved_time) == (label.outcome, label.blocked_by, label.resolved)
        assert told.net_r == pytest.approx(label.net_r, rel=1e-9)
        assert told.score == label.score
        assert told.market_time == told.resolved_time <= told.signal_time + 10 * STEP
    assert {o.outcome for o in run.outcomes} == {"stop", "target", "horizon"}
    assert {o.blocked_by for o in run.outcomes} > {"ml:ml_below_threshold"}, "the guard's are followed too"
    blocked = {s for s, c in labels.items() if c.blocked_by}
    open_at_end = {s for s in blocked if labels[s].close_time > parse_time(END, "end") - 11 * STEP}
    assert blocked - {o.id for o in run.outcomes} <= open_at_end
    alone = run_backtest(msgspec.structs.replace(config, counterfactual=None))
    assert alone.outcomes == []
    for name in ("fills", "verdict_records", "signals"):
        facts = [[msgspec.structs.replace(r, wall_time=0) for r in getattr(result, name)] for result in (run, alone)]
        assert facts[0] == facts[1], name


def test_in_shadow_what_would_have_been_blocked_is_followed(config):
    gate = msgspec.structs.replace(config.gate, mode="shadow")
    backtest = msgspec.structs.replace(config.backtest, end="2025-04-24")
    found = run_backtest(msgspec.structs.replace(config, gate=gate, backtest=backtest))
    assert "ml:shadow" in {o.blocked_by for o in found.outcomes}


def test_a_stop_that_moves_is_refused(config):
    protection = msgspec.convert({"break_even": {"at_r": 1.0}}, type(config.strategy.protection))
    moved = msgspec.structs.replace(config, strategy=msgspec.structs.replace(config.strategy, protection=protection))
    with pytest.raises(ConfigError, match=r"break_even: outcomes follow fixed stops only"):
        counterfactuals_config(moved, RestoredWatch(), live=True)


class Node:
    """The follower alone on a bus, fed with the messages, bars and settlements of a recorded run."""

    def __init__(self, config, journal=None):
        restored = RestoredWatch() if journal is None else restored_watch(journal, config)
        self.bench = Bench()
        self.outcomes = []
        self.bench.msgbus.subscribe(f"{TOPIC}.outcome", self.outcomes.append)
        settings = counterfactuals_config(config, restored, live=True)
        self.actor = Counterfactuals(settings)
        self.bench.start(self.actor)
        for symbol in config.symbols:
            rates = load_funding(Path(config.catalog), symbol)
            for time, rate in zip(rates.time.tolist(), rates.rate.tolist(), strict=True):
                update = FundingRateUpdate(instrument_id(symbol), Decimal(f"{rate:.8f}"), time, time)
                self.bench.msgbus.publish(f"data.funding_rates.BINANCE.{update.instrument_id.symbol}", update)

    def bar(self, bar, *, live=True):
        self.bench.cache.add_bar(bar)
        if live:
            self.bench.msgbus.publish(f"data.bars.{bar.bar_type}", bar)

    def decide(self, signal, verdicts):
        self.bench.msgbus.publish(topic(SIGNAL), message_of(signal))
        for v in verdicts:
            self.bench.msgbus.publish(topic(VERDICT), verdict_of(v, signal))


def message_of(s):
    return Signal(
        ts_event=s.market_time, ts_init=s.market_time, instrument_id=instrument_id(s.symbol), signal_id=s.id,
        strategy=s.strategy, side=s.side, strength=s.strength, reference_price=s.reference_price,
        stop_price=s.stop_price, target_price=s.target_price, atr=1.0, bar_close=s.market_time, schema=s.schema,
        features=b"",
    )  # fmt: skip


def verdict_of(v, s):
    return Verdict(
        ts_event=s.market_time, ts_init=s.market_time, instrument_id=instrument_id(s.symbol), signal_id=s.id,
        gate=v.gate, passed=v.passed, reason=v.reason, score=math.nan if v.score is None else v.score,
        threshold=math.nan, detail=v.detail, bar_close=s.market_time,
    )  # fmt: skip


def bars_of(config, symbol, start, end):
    kind = BarType.from_str(str(bar_type(symbol, config.interval)))
    found = load_bars(Path(config.catalog), symbol, config.interval, start, end)
    for i, opened in enumerate(found.open_time.tolist()):
        prices = [Price.from_str(f"{getattr(found, n)[i]:.4f}") for n in ("open", "high", "low", "close")]
        yield Bar(kind, *prices, Quantity.from_str("1"), opened + STEP, opened + STEP)


@pytest.mark.parametrize("hole", [0, 7], ids=["short", "bars missed meanwhile"])
def test_a_restart_takes_up_what_was_open(config, run, tmp_path, hole):
    """Killed in the middle: the next process has the journal, and the history the strategies ask for."""
    one = msgspec.structs.replace(config, symbols=("XRPUSDT",))
    start, end = parse_time(START, "start"), parse_time(START, "start") + 8 * 96 * STEP
    bars = list(bars_of(config, "XRPUSDT", start, end))
    signals = {s.market_time: s for s in run.signals if s.symbol == "XRPUSDT" and s.market_time <= end}
    verdicts = {}
    for v in run.verdict_records:
        verdicts.setdefault(v.signal_id, []).append(v)
    open_journal_ = open_journal(f"sqlite:///{tmp_path}/j.sqlite")
    ends = {o.id: o.resolved_time for o in run.outcomes if o.resolved_time <= end}
    longest = max(signals.values(), key=lambda s: ends.get(s.id, 0) - s.market_time)
    killed = next(i for i, b in enumerate(bars) if b.ts_event == longest.market_time + 2 * STEP)
    still_open = sum(s.market_time <= bars[killed].ts_event < ends.get(s.id, 0) for s in signals.values())
    assert still_open >= 1

    def feed(node, part, journal=None):
        for bar in part:
            before = len(node.outcomes)
            node.bar(bar)
            signal = signals.get(bar.ts_event)
            if signal is not None:
                node.decide(signal, verdicts[signal.id])
            if journal is not None:
                for record in [*([signal, *verdicts[signal.id]] if signal else []), *node.outcomes[before:]]:
                    journal.record(record)

    whole, first = Node(one), Node(one)
    feed(whole, bars)
    feed(first, bars[: killed + 1], open_journal_)
    assert first.actor.following == still_open
    open_journal_.flush()
    second = Node(one, open_journal_)
    assert second.actor.following == still_open
    for bar in bars[: killed + 1 + hole]:
        second.bar(bar, live=False)
    missed = {b.ts_event for b in bars[killed + 1 : killed + 1 + hole]}
    feed(second, bars[killed + 1 + hole :])
    open_journal_.close()

    def facts(outcomes):
        return {o.id: msgspec.structs.replace(o, wall_time=0) for o in outcomes}

    expected = {i: o for i, o in facts(whole.outcomes).items() if o.signal_time not in missed}
    assert len(expected) >= 8
    assert facts([*first.outcomes, *second.outcomes]) == expected
    assert {o.id for o in first.outcomes}.isdisjoint({o.id for o in second.outcomes})
    told = facts(run.outcomes)
    assert all(o == told[i] for i, o in expected.items()), "and it is what the engine's run told"


def test_bars_that_stay_missing_are_said_to_be(config, run):
    one = msgspec.structs.replace(config, symbols=("XRPUSDT",))
    signal = next(s for s in run.signals if s.symbol == "XRPUSDT")
    node = Node(one)
    bars = list(bars_of(config, "XRPUSDT", signal.market_time, signal.market_time + 30 * STEP))
    blocked = [msgspec.structs.replace(v, passed=False) for v in run.verdict_records if v.signal_id == signal.id][:1]
    node.decide(signal, blocked)
    for bar in bars[1:]:  # the first bar behind the signal never came
        node.bar(bar)
    (told,) = node.outcomes
    assert (told.outcome, told.net_r, told.entry_price) == ("unresolved", None, None)
    assert node.actor.following == 0
