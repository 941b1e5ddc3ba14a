"""The composite shell: the kernel's vote becomes a wish with levels; everything else is the frame's."""

import math

import numpy as np
import pytest
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import ClientOrderId, Venue
from nautilus_trader.model.objects import Money

from catalog.instruments import bar_type, instrument_id
from strategies.bar_sync import BarRow
from strategies.composite import Composite, CompositeConfig
from strategies.kernel.columns import COLUMNS, EXTRAS, FEATURE_SCHEMA, FEATURES
from strategies.kernel.composite import run_batch
from strategies.kernel.params import CompositeParams
from strategies.messages import SIGNAL, Side, topic
from strategies.order_ids import Leg, decode
from tests.strategies.engine_kit import INSTRUMENTS, bars, close_of

PARAMS = CompositeParams(signal_threshold=2, adx_threshold=15.0, volume_multiplier=1.2, stop_atr=1.5, target_atr=3.0)
CONTEXT = (bar_type("BTCUSDT", "15m"), bar_type("ETHUSDT", "15m"))
ROWS = 900


def config(**changes):
    fields = {
        "instrument_id": instrument_id("XRPUSDT"),
        "bar_type": bar_type("XRPUSDT", "15m"),
        "context_bar_types": CONTEXT,
        "code": "CMPXRP",
        "params": PARAMS,
        "warmup_bars": 0,
        "oms_type": "NETTING",
        "external_order_claims": [instrument_id("XRPUSDT")],
    }
    return CompositeConfig(**(fields | changes))


def market(seed, rows=ROWS, price=2.0, digits=4):
    """Return (n, 5) open, high, low, close, volume on the grid, with surges and calm stretches."""
    rng = np.random.default_rng(seed)
    size = np.repeat(rng.choice([0.001, 0.004, 0.01], rows // 30 + 1), 30)[:rows]
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 1, rows) * size)), digits)
    opened = np.concatenate([[close[0]], close[:-1]])
    wick = np.round(np.abs(rng.normal(0, 0.5, (2, rows))) * size * price, digits)
    high, low = np.maximum(opened, close) + wick[0], np.minimum(opened, close) - wick[1]
    volume = np.round(rng.lognormal(10, 0.8, rows))
    return np.column_stack([opened, np.round(high, digits), np.round(low, digits), close, volume])


def rows_of(table, context):
    return [BarRow(close_of(i), *map(float, row), context[i]) for i, row in enumerate(table)]


@pytest.fixture(name="table", scope="module")
def table_fixture():
    return market(5)


@pytest.fixture(name="expected", scope="module")
def expected_fixture(table):
    columns = {n: table[:, i] for i, n in enumerate(("open", "high", "low", "close", "volume"))}
    sides = {"btc_close": table[:, 3] * 30_000, "eth_close": table[:, 3] * 1_000, "funding": np.full(ROWS, 1e-4)}
    return run_batch(PARAMS, {**columns, **sides})


def evaluated(strategy, table, funding=1e-4):
    context = [(float(c) * 30_000, float(c) * 1_000) for c in table[:, 3]]
    wishes = []
    for row in rows_of(table, context):
        wish = strategy.evaluate(row, funding)
        wishes.append(wish if wish is None else wish._replace(features=wish.features.copy()))
    return wishes


def test_wishes_are_the_votes_of_the_batch_with_levels_in_atr(table, expected):
    wishes = evaluated(Composite(config()), table)
    at = {name: i for i, name in enumerate(COLUMNS)}
    votes = expected[:, at["signal"]]
    assert {-1.0, 0.0, 1.0} == set(votes), "the market must vote both ways"
    picked = [at[name] for name in (*FEATURES, *EXTRAS)]
    for i, wish in enumerate(wishes):
        if votes[i] == 0:
            assert wish is None
            continue
        side = Side.LONG if votes[i] > 0 else Side.SHORT
        atr, close = expected[i, at["atr"]], table[i, 3]
        assert wish.side is side
        assert wish.strength == expected[i, at["score_long" if side is Side.LONG else "score_short"]]
        assert wish.reference_price == close
        assert wish.stop_price == close - side.sign * 1.5 * atr
        assert wish.target_price == close + side.sign * 3.0 * atr
        assert (wish.atr, wish.schema) == (atr, FEATURE_SCHEMA)
        assert wish.features.tobytes() == expected[i, picked].tobytes()


def test_levels_start_where_the_entry_is_expected_to_fill(table):
    plain, slipped = (evaluated(Composite(config(assumed_slippage=s)), table) for s in (0.0, 0.0001))
    pairs = [(a, b) for a, b in zip(plain, slipped, strict=True) if a is not None]
    assert pairs
    for a, b in pairs:
        worse = a.reference_price * (1.0 + a.side.sign * 0.0001)
        assert b.reference_price == worse
        assert b.stop_price == pytest.approx(a.stop_price + worse - a.reference_price, rel=1e-12)


def test_a_config_without_context_gives_the_same_votes(table):
    alone = Composite(config(context_bar_types=()))
    rows = rows_of(table, [()] * ROWS)
    wishes = [alone.evaluate(row, math.nan) for row in rows]
    full = evaluated(Composite(config()), table)
    assert [w and w.side for w in wishes] == [w and w.side for w in full]


def test_per_symbol_parameters_change_levels_only_where_they_should(table):
    wide = CompositeParams(**{name: getattr(PARAMS, name) for name in PARAMS.__struct_fields__} | {"stop_atr": 4.0})
    a, b = evaluated(Composite(config()), table), evaluated(Composite(config(params=wide)), table)
    assert [w and (w.side, w.target_price) for w in a] == [w and (w.side, w.target_price) for w in b]
    assert all(x.stop_price != y.stop_price for x, y in zip(a, b, strict=True) if x is not None)


class TestInTheEngine:
    def engine(self, table, **changes):
        engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
        engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(10_000, USDT)])
        scale = {"BTCUSDT": 30_000, "ETHUSDT": 1_000, "XRPUSDT": 1}
        for symbol, factor in scale.items():
            engine.add_instrument(INSTRUMENTS[symbol])
            engine.add_data(bars([tuple(row[:4] * factor) for row in table], symbol), sort=False)
        engine.sort_data()
        strategy = Composite(config(**changes))
        engine.add_strategy(strategy)
        signals = []
        engine.kernel.msgbus.subscribe(topic(SIGNAL), signals.append)
        return engine, strategy, signals

    def test_a_reset_engine_gives_the_same_signals(self, table):
        engine, _, signals = self.engine(table, params=CompositeParams(signal_threshold=1, adx_threshold=5.0))
        engine.run()
        first = [s.to_dict() for s in signals]
        assert first
        signals.clear()
        engine.reset()
        engine.run()
        again = [s.to_dict() for s in signals]
        assert [str(s) for s in again] == [str(s) for s in first]
        engine.dispose()

    def test_a_persons_position_is_protected_by_the_newest_atr(self, table):
        engine, strategy, _ = self.engine(table, params=CompositeParams(signal_threshold=99))
        bought = []
        evaluate = strategy.evaluate

        def evaluate_and_buy(row, funding):
            wish = evaluate(row, funding)
            if len(bought) == 0 and row.close_ns == close_of(200):
                order = strategy.order_factory.market(
                    strategy._id, OrderSide.SELL, INSTRUMENTS["XRPUSDT"].make_qty(50),
                    client_order_id=ClientOrderId("web_1"),
                )  # fmt: skip
                bought.append((float(row.close), strategy._atr))
                strategy.submit_order(order)
            return wish

        strategy.evaluate = evaluate_and_buy
        engine.run()
        close, atr = bought[0]
        legs = {}
        for order in engine.cache.orders():
            tag = decode(order.client_order_id.value)
            if tag is not None and tag.leg not in legs and tag.leg in (Leg.STOP, Leg.TARGET):
                legs[tag.leg] = order
        assert float(legs[Leg.STOP].trigger_price) == pytest.approx(close + 1.5 * atr, abs=6e-5)
        assert float(legs[Leg.TARGET].trigger_price) == pytest.approx(close - 4.0 * atr, abs=6e-5)
        assert legs[Leg.STOP].side == OrderSide.BUY
        engine.dispose()

    def test_before_any_bar_there_are_no_emergency_levels(self):
        strategy = Composite(config())
        assert strategy.emergency_levels(None) is None
        strategy._last = rows_of(market(1, 2), [(1.0, 1.0)] * 2)[0]
        assert strategy.emergency_levels(None) is None, "no ATR yet"
