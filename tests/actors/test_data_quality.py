"""The live gate on data, with the real risk guard in the real engine: blocked while bars are bad, free afterwards."""

import random
import re

import pytest
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.identifiers import ComponentId
from nautilus_trader.model.objects import Price, Quantity

from actors.data_quality import DataQuality, DataQualityConfig
from actors.recorder import Recorder, RecorderConfig
from actors.risk_guard import CONTROL_TOPIC, RiskGuard, RiskGuardConfig
from actors.risk_state import RiskLimits
from catalog.instruments import bar_type, instrument_id
from node.assembly import Mode, components
from node.config import DataQualityConfig as Section
from node.config import NodeConfig, StrategyConfig
from tests.actors.risk_kit import BALANCE, BAR_NS, START, Run, bars

XRP = "XRPUSDT"
LONG = ("LONG", 1.5, 3.0)
LOOSE = RiskLimits(
    max_positions=None, max_same_direction=None, daily_loss=None, fast_kill_losses=None, slow_kill_trades=None
)


def market(count: int = 60) -> list:
    source, price, closes = random.Random(7), 2.0, []
    for _ in range(count):
        price = round(price * (1 + source.uniform(-0.002, 0.002)), 4)
        closes.append(price)
    return bars(XRP, closes)


def run(series: list, *signals: int, setup=None, judged: bool = True, **options) -> Run:
    guard = RiskGuard(
        RiskGuardConfig(
            instrument_ids=(instrument_id(XRP),), limits=LOOSE, start_balance=BALANCE, raise_errors=True,
            component_id=ComponentId("RiskGuard"),
        )
    )  # fmt: skip
    recorder = Recorder(
        RecorderConfig(instrument_ids=(instrument_id(XRP),), raise_errors=True, component_id=ComponentId("Recorder"))
    )
    quality = DataQuality(
        DataQualityConfig(
            bar_types=(bar_type(XRP, "15m"),), raise_errors=True, component_id=ComponentId("DataQuality"), **options
        )
    )
    actors = [guard, recorder, *([quality] if judged else [])]
    return Run({XRP: series}, {XRP: dict.fromkeys(signals, LONG)}, actors, obey=False, setup=setup).go()


def answers(result: Run) -> list[tuple[int, str]]:
    return [((v.market_time - START) // BAR_NS - 1, v.reason) for v in result.of("verdict")]


def incidents(result: Run, code: str) -> list[str]:
    return [i.message for i in result.of("incident") if i.code == code]


def spoiled(series: list, at: int, **changes) -> list:
    from nautilus_trader.model.data import Bar

    old = series[at]
    fields = {n: changes.get(n, getattr(old, n)) for n in ("open", "high", "low", "close", "volume")}
    new = Bar(old.bar_type, *fields.values(), old.ts_event, old.ts_init)
    return [*series[:at], new, *series[at + 1 :]]


def test_clean_bars_change_nothing():
    with_gate, without = run(market(), 40, 50), run(market(), 40, 50, judged=False)
    assert answers(with_gate) == answers(without)
    assert {reason for _, reason in answers(with_gate)} == {"passed"}
    assert incidents(with_gate, "data_quality") == []


def test_a_jump_blocks_the_signal_of_its_own_bar_and_two_clean_bars_free_it():
    series = market()
    price = series[45].close.as_double()
    jump = bars(XRP, [b.close.as_double() for b in series[:45]] + [price * 1.2] * 15)
    result = run(jump, 44, 45, 46, 47, 48)
    assert answers(result) == [(44, "passed"), (45, "paused"), (46, "paused"), (47, "passed"), (48, "passed")]
    assert "jump of +2" in incidents(result, "data_quality")[0]
    assert len(incidents(result, "resume")) == 1


def test_a_gap_blocks():
    series = market()
    result = run(series[:45] + series[48:], 44, 48, 49, 50)
    assert answers(result) == [(44, "passed"), (48, "paused"), (49, "paused"), (50, "passed")]
    assert "gap: 3 bars missing" in incidents(result, "data_quality")[0]


def test_silence_blocks_unless_it_is_allowed():
    silent = spoiled(market(), 45, volume=Quantity(0, 1))
    assert answers(run(silent, 45, 47)) == [(45, "paused"), (47, "passed")]
    assert answers(run(silent, 45, 47, block_silence=False)) == [(45, "passed"), (47, "passed")]


@pytest.mark.parametrize("when", [40, 46])
def test_a_persons_pause_is_not_lifted(when):
    silent = spoiled(market(), 45, volume=Quantity(0, 1))

    def person(result: Run) -> None:
        message = {"action": "pause", "symbol": XRP, "who": "operator"}
        result.at(when, lambda: result.msgbus.publish(CONTROL_TOPIC, message))

    result = run(silent, 39, 55, setup=person)
    assert answers(result) == [(39, "passed"), (55, "paused")]
    assert incidents(result, "resume") == []


def test_wall_time_staleness_pauses_and_a_bar_frees():
    series = market()
    late = series[:45] + series[46:]  # the clock of a backtest stands for the wall: a bar is 900 s
    result = run(late, 44, 47, 50, stale_secs=1_000.0)
    assert any(text.startswith("entries paused: no bar for") for text in incidents(result, "data_quality"))
    assert answers(result)[0] == (44, "passed")
    assert answers(result)[-1] == (50, "passed")


def test_a_wide_spread_blocks_until_it_is_narrow_and_bars_are_clean():
    series, asked = market(), []

    def quotes(result: Run) -> None:
        ticks = []
        for at, bar in enumerate(series[:-1]):
            bid = bar.close.as_double() * 0.999
            ask = bid * (1.01 if 45 <= at < 47 else 1.0002)  # 100 bps, else 2
            sizes = (Quantity(100, 1), Quantity(100, 1))
            when = bar.ts_event - 1_000_000_000
            ticks.append(QuoteTick(instrument_id(XRP), Price(bid, 4), Price(ask, 4), *sizes, when, when))
        result.engine.add_data(ticks)
        engine = result.engine.kernel.data_engine
        result.at(50, lambda: asked.extend(engine.subscribed_quote_ticks()))

    result = run(series, 44, 45, 46, 47, 48, 49, setup=quotes, max_spread_bps=20.0)
    assert answers(result) == [
        (44, "passed"),
        (45, "paused"),
        (46, "paused"),
        (47, "paused"),
        (48, "passed"),
        (49, "passed"),
    ]
    assert re.search(r"spread (99|100)\.\d bps, 20 allowed", incidents(result, "data_quality")[0])
    assert asked == [instrument_id(XRP)], "live, the exchange sends quotes only to those who ask"


def test_absent_unless_configured_and_no_wall_time_in_a_replay(tmp_path):
    file = tmp_path / "strategy.yaml"
    file.write_text("{}\n")
    config = NodeConfig(strategy=StrategyConfig(file=str(file)), symbols=(XRP,))
    assert [a.actor_path for a in components(config, Mode(live=True))[0]] == [
        "actors.recorder:Recorder",
        "actors.risk_guard:RiskGuard",
    ]
    watched = NodeConfig(strategy=StrategyConfig(file=str(file)), symbols=(XRP,), data_quality=Section(stale_secs=60.0))
    for mode, stale in (
        (Mode(live=True), 60.0),
        (Mode(live=True, replay=True), None),
        (Mode(live=False), None),
    ):
        actor = components(watched, mode)[0][2]
        assert actor.actor_path == "actors.data_quality:DataQuality"
        assert actor.config["stale_secs"] == stale
    every = Section(
        jump_scales=9.0, jump_floor=0.02, release_bars=3, block_silence=False, stale_secs=5.0, max_spread_bps=7
    )
    wired = NodeConfig(strategy=StrategyConfig(file=str(file)), symbols=(XRP,), data_quality=every)
    told = components(wired, Mode(live=True))[0][2].config
    assert {name: told[name] for name in Section.__struct_fields__} == {
        name: getattr(every, name) for name in Section.__struct_fields__
    }
