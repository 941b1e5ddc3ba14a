"""A backtest whose account rests produces, bit for bit, what one produces in which everybody hears every bar."""

import random

import msgspec
import pytest
from nautilus_trader.common.component import MessageBus, TestClock
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import TraderId
from nautilus_trader.model.objects import Price, Quantity

from actors.model_folder import MANIFEST, encode_manifest
from catalog import tables
from catalog.checks import Series
from catalog.generator import generate
from catalog.instruments import bar_type, load_instruments
from catalog.writer import put_series
from node.backtest_run import run_backtest
from node.config import load_config
from node.report import result_to_plain
from node.simulation.resting_clock import RestingClock, resting_clock
from research.folder_swap import put_in_place, write_beside
from research.testing import small_model
from strategies.market_clock import market_clock
from tests.node.conftest import CONFIG, MARKET_DAYS, MARKET_START, PARAMS, SYMBOLS

STEP = 900_000_000_000
DAY_NS = 96 * STEP
LEVELS = {"stop_atr": 1.5, "target_atr": 3.0}
SHADOW = "gate: {{mode: shadow, model_dir: {model}, drift: {{window: 20, every: 5}}}}\ncounterfactual: {{}}\n"
ALONE = ("context: [BTCUSDT, ETHUSDT]", "context: []")
MOVING = """\
  protection:
    trailing: {{by: bars, distance: 2.0, unit: r, activate_r: 0.5, step_r: 0.1}}
    break_even: {{at_r: 1.0, offset_bps: 10}}
    time_stop_bars: 20
"""
CASES = {
    "one symbol alone": [ALONE],
    "one symbol with context": [],
    "three symbols": [("symbols: [XRPUSDT]", "symbols: [BTCUSDT, ETHUSDT, XRPUSDT]")],
    "limits that latch by day": [ALONE, ("daily_loss: null", "daily_loss: 0.005")],
    "kill switches": [
        ("symbols: [XRPUSDT]", "symbols: [ETHUSDT, XRPUSDT]"),
        ("fast_kill_losses: null", "fast_kill_losses: 3"),
    ],
    "trailing and time stops": [ALONE, ("risk:\n", MOVING + "risk:\n")],
    "latency": [("  slippage_bps: 1", "  slippage_bps: 1\n  latency_ms: 250")],
    "data quality watched": [("risk:\n", "data_quality: {{jump_scales: 6.0, jump_floor: 0.001}}\nrisk:\n")],
    "a model in shadow, drift and blocked signals watched": [("risk:\n", SHADOW + "risk:\n")],
    "a gate that blocks": [("risk:\n", SHADOW.replace("shadow", "enforce") + "risk:\n")],
}


def configured(folder, catalog, changes):
    text = CONFIG
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    model = small_model(strategy=dict.fromkeys(SYMBOLS, LEVELS))
    put_in_place(
        write_beside(folder / "model", model.files | {MANIFEST: encode_manifest(model.manifest)}), folder / "model"
    )
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "node.yaml").write_text(text.format(catalog=catalog, model=folder / "model"))
    return load_config(folder / "node.yaml")


def both(config, monkeypatch):
    """Return the results of resting and of restless runs, and how many bars were kept back in the first."""
    kept = [0]
    catch_up = RestingClock._catch_up

    def counted(self):
        kept[0] += len(self._kept)
        catch_up(self)

    monkeypatch.setattr(RestingClock, "_catch_up", counted)
    resting = run_backtest(config, log_level="OFF")
    monkeypatch.setattr(RestingClock, "_may_rest", lambda *_: False)
    before = kept[0]
    restless = run_backtest(config, log_level="OFF")
    assert kept[0] == before
    return plain(resting), plain(restless), before


def plain(result):
    """Return all of a result, the simulated wall times too."""
    facts = result_to_plain(result)
    del facts["run_seconds"]
    return facts


@pytest.mark.parametrize("case", CASES)
def test_resting_changes_nothing_but_the_time_it_takes(case, market, tmp_path, monkeypatch):
    resting, restless, kept = both(configured(tmp_path, market, CASES[case]), monkeypatch)
    for name, facts in restless.items():
        assert resting[name] == facts, name
    assert resting["trades"]
    assert kept > resting["bars"] / 4, "the account must have rested for the comparison to tell anything"


@pytest.mark.parametrize("alone", [True, False])
def test_holes_in_the_data_are_slept_through_alike(alone, tmp_path, monkeypatch, seed):
    """Bars of each symbol missing here and there, another symbol's first bar coming late: all the same."""
    rng = random.Random(seed)
    catalog = tmp_path / "holes"
    specs = load_instruments()
    end = MARKET_START + MARKET_DAYS * DAY_NS
    series = generate([tables.grid_of(specs[s]) for s in SYMBOLS], "15m", MARKET_START, end, 7)
    for symbol, (bars, funding) in series.items():
        count = len(bars.time)
        lost = {rng.randrange(1, count - 1) for _ in range(40)}
        for _ in range(3):
            first = rng.randrange(600, count - 200)
            lost |= set(range(first, first + rng.randrange(2, 150)))
        rows = [i for i in range(count) if i not in lost]
        part = Series(time=bars.time[rows], values=bars.values[rows])
        put_series(part, funding, catalog=catalog, symbol=symbol, interval="15m", origin="generator")
    changes = CASES["one symbol alone" if alone else "three symbols"]
    resting, restless, kept = both(configured(tmp_path, catalog, changes), monkeypatch)
    assert resting == restless, f"seed {seed}"
    assert kept > resting["bars"] / 4
    if not alone:
        assert any(i["code"] == "context_missing" for i in resting["incidents"]), f"seed {seed}"


class Sleeper:
    """Rests whenever it is asked."""

    def __init__(self):
        self.naps = []

    def may_rest(self):
        return True

    def rested(self, nap):
        self.naps.append(nap)


def make(ts, symbol="XRPUSDT", interval="15m"):
    one = Price(1.0, 4)
    return Bar(bar_type(symbol, interval), one, one, one, one, Quantity(1, 1), ts, ts + 7)


@pytest.fixture(name="bus")
def bus_fixture():
    return MessageBus(TraderId("T-1"), TestClock())


@pytest.fixture(name="clock")
def clock_fixture(bus):
    clock = resting_clock(bus)
    clock.expect(bar_type("XRPUSDT", "15m"))
    return clock


def send(bus, *bars):
    for bar in bars:
        bus.publish(f"data.bars.{bar.bar_type}", bar)


def test_it_is_the_clock_of_its_bus_and_whoever_reads_it_reads_the_present(bus, clock):
    sleeper, heard, advances = Sleeper(), [], []
    clock.hear(heard.append, 900, sleeper)
    clock.listen(lambda before, now: advances.append((before, now)))
    bars = [make(STEP * n) for n in range(1, 6)]
    send(bus, *bars)
    assert heard == bars[:1], "from the second step on nobody needs to hear"
    assert advances == [(None, STEP)]
    assert market_clock(bus).now == 5 * STEP
    assert advances == [(None, STEP), (STEP, 5 * STEP)]
    (nap,) = sleeper.naps
    assert nap.steps == [(STEP * n, STEP * n + 7) for n in range(2, 6)]
    assert nap.newest == bars[-1:]


def test_a_step_begun_awake_is_heard_to_its_end(bus, clock):
    sleeper, heard = Sleeper(), []
    clock.expect(bar_type("BTCUSDT", "15m"))
    clock.hear(heard.append, 900, sleeper)
    bars = [make(STEP), make(STEP, "BTCUSDT"), make(2 * STEP, "BTCUSDT"), make(2 * STEP), make(3 * STEP)]
    send(bus, *bars)
    assert heard == bars[:2]
    clock.wake()
    assert sleeper.naps[0].steps == [(2 * STEP, 2 * STEP + 7), (3 * STEP, 3 * STEP + 7)]
    assert sleeper.naps[0].newest == [bars[4], bars[2]]
    late = make(3 * STEP, "BTCUSDT")
    send(bus, late)
    assert heard[-1] is late


def test_a_look_at_the_time_within_a_step_splits_it_in_two_without_a_second_advance(bus, clock):
    sleeper, advances = Sleeper(), []
    clock.hear(lambda _: None, 900, sleeper)
    clock.listen(lambda before, now: advances.append((before, now)))
    send(bus, make(STEP), make(2 * STEP))
    assert clock.now == 2 * STEP
    send(bus, make(2 * STEP, "BTCUSDT"))
    assert clock.now == 2 * STEP
    send(bus, make(2 * STEP, "ETHUSDT"), make(3 * STEP))
    assert clock.now == 3 * STEP
    assert advances == [(None, STEP), (STEP, 2 * STEP), (2 * STEP, 3 * STEP)]
    assert [[time for time, _ in nap.steps] for nap in sleeper.naps] == [[2 * STEP]] * 3 + [[3 * STEP]]


@pytest.mark.parametrize("topic", ["events.order.X-1", "events.position.X-1", "events.account.BINANCE-1"])
def test_what_moves_without_notice_wakes_everybody_up(bus, clock, topic):
    sleeper = Sleeper()
    clock.hear(lambda _: None, 900, sleeper)
    send(bus, make(STEP), make(2 * STEP))
    assert clock.resting
    bus.publish(topic, object())
    assert not clock.resting
    assert len(sleeper.naps) == 1


def test_one_who_wants_every_bar_keeps_everybody_awake(bus, clock):
    heard = []
    clock.hear(lambda _: None, 900, Sleeper())
    clock.hear(heard.append, 100)
    bars = [make(STEP * n) for n in range(1, 4)]
    send(bus, *bars)
    assert heard == bars
    clock.ignore(heard.append)
    send(bus, make(4 * STEP))
    assert clock.resting


def test_bars_of_several_lengths_are_all_heard(bus, clock):
    heard = []
    clock.hear(heard.append, 900, Sleeper())
    clock.expect(bar_type("XRPUSDT", "1m"))
    send(bus, make(STEP), make(2 * STEP))
    assert len(heard) == 2


def test_a_long_rest_does_not_keep_all_of_history(bus, clock):
    sleeper = Sleeper()
    clock.hear(lambda _: None, 900, sleeper)
    send(bus, *[make(STEP * n) for n in range(1, 5_000)])
    assert [len(nap.steps) for nap in sleeper.naps] == [4_096]
    assert clock.now == 4_999 * STEP


def test_the_results_compared_are_whole(market, tmp_path):
    """What :func:`plain` leaves out of a result is how long it took, nothing else."""
    result = run_backtest(configured(tmp_path, market, []), log_level="OFF")
    assert set(plain(result)) == set(msgspec.to_builtins(result)) - {"run_seconds"}
