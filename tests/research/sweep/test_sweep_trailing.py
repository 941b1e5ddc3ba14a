"""The venue's trailing stop: the walk through a bar as the engine takes it, on paths that reach every corner of it."""

from decimal import Decimal
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from nautilus_trader.model.enums import PositionSide
from nautilus_trader.model.objects import Price

from research.sweep import kernel as k
from research.sweep.check import first_difference, node_run
from research.sweep.market import _shortest_texts, prepare
from research.sweep.settings import Instrument, settings_of
from research.sweep.simulate import simulate
from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.protection_plan import BreakEven, Plan, ProtectionConfig, VenueTrailing, trailing_order
from tests.research.sweep.sweep_kit import (
    SYMBOLS,
    _choice,
    on,
    random_config,
    random_venue_trailing,
    script,
    scripted_catalog,
)

BARS, FIRST = 300, 70
GRIDS = {
    # digits, ticks of the closes (one finer than the venue's), prices: few digits, and around the cut to 64 bits
    "BTCUSDT": (2, (0.1, 0.01), (600.0, 950.0, 5_000.0, 65_000.0)),
    "ETHUSDT": (2, (0.01,), (1.5, 20.0, 930.0, 2_760.0)),
    "XRPUSDT": (4, (0.0001,), (0.008, 0.02, 0.3, 2.5)),
}


def path_of(random, symbol):
    """Return open, high, low and close of a random path on the symbol's digits: gaps, and bars without wicks."""
    digits, ticks, prices = GRIDS[symbol]
    tick, price = _choice(random, *ticks), _choice(random, *prices)
    vol = float(_choice(random, 0.002, 0.005, 0.01, 0.02))
    close = price * np.exp(np.clip(np.cumsum(vol * random.normal(size=BARS)), -1.0, 1.0))
    opened = np.concatenate([close[:1], close[:-1]])
    opened = np.where(random.random(BARS) < 0.3, opened * np.exp(0.5 * vol * random.normal(size=BARS)), opened)
    wicks = vol * np.abs(random.normal(size=(2, BARS))) * (random.random((2, BARS)) < 0.8)
    high, low = np.maximum(opened, close) * (1 + wicks[0]), np.minimum(opened, close) * (1 - wicks[1])
    return tuple(np.maximum(np.round(np.round(x / tick) * tick, digits), tick) for x in (opened, high, low, close))


def scripted_config(random, base, catalog, symbol):
    """Return a random configuration that trades to the end, with a trailing stop by the venue."""
    made = random_config(on(base, catalog, symbol), random, funding=False)
    even = BreakEven(
        at_r=float(_choice(random, 0.05, 0.25, 0.5, 1)), offset_bps=float(_choice(random, 0, 5, 10, 30, 60))
    )
    protection = ProtectionConfig(
        trailing=random_venue_trailing(random),
        break_even=_choice(random, None, even),
        time_stop_bars=_choice(random, None, None, 1, 4, 24),
        trigger=_choice(random, "last", "mark"),
    )
    strategy = msgspec.structs.replace(
        made.strategy, protection=protection, warmup_bars=60, history_bars=0, assumed_slippage=0.0
    )
    limits = msgspec.structs.replace(made.risk.limits, fast_kill_losses=None, slow_kill_trades=None)
    backtest = msgspec.structs.replace(made.backtest, slippage_bps=float(_choice(random, 0, 0, 1, 5, 15)))
    risk = msgspec.structs.replace(made.risk, limits=limits)
    return msgspec.structs.replace(made, strategy=strategy, risk=risk, backtest=backtest)


def both(monkeypatch, folder, base, seed):
    """Return configuration, market and parameters of one random scripted path, which both simulations will hear."""
    random, symbol = np.random.default_rng(seed), SYMBOLS[seed % len(SYMBOLS)]
    catalog = scripted_catalog(folder, symbol, path_of(random, symbol), GRIDS[symbol][0])
    config = scripted_config(random, base, catalog, symbol)
    sides = np.where(random.random(BARS) < _choice(random, 0.05, 0.3, 1.0), random.choice([-1, 1], BARS), 0)
    sides[:FIRST] = 0
    params = CompositeParams(
        signal_threshold=1,
        adx_threshold=0.0,
        volume_multiplier=0.0,
        stop_atr=float(_choice(random, 0.3, 1, 2, 4, 6)),
        target_atr=float(_choice(random, 0.5, 1, 2, 6, 15)),
    )
    script(monkeypatch, params, sides.tolist())
    return config, prepare(config, symbol), params


# Chosen of four hundred, so that every rule of the walk, left out or turned round, changes the trades of one of them:
# exits at the entry's own close (47, 92, 200), on the close of a moved stop (14, 51, 318), on the last bar (200, 318);
# stop and trailing stop at one price, in either order (14, 51, 283, 318); closes beside the tick grid and triggers too.
SEEDS = (14, 47, 51, 92, 200, 283, 318)


@pytest.mark.parametrize("seed", SEEDS)
def test_scripted_paths_end_in_the_engines_trades(monkeypatch, tmp_path, base, seed):
    config, market, params = both(monkeypatch, tmp_path, base, seed)
    ours = simulate(market, params)
    node = node_run(config, market.symbol, params, market.start_ns, market.end_ns)
    assert first_difference(ours, node) is None
    assert "TRAILING_STOP" in ours.trades.reason


def test_the_trigger_is_the_engines_price():
    """As ``TrailingStopCalculator.calculate_with_last``, which only the engine can call."""
    random = np.random.default_rng(11)
    s, f = np.zeros(k.N_INTS, np.int64), np.zeros(k.N_FLOATS)
    for digits in (1, 2, 4):
        f[k.PRICE_SCALE], f[k.PRICE_POWER] = 10.0**digits, 10.0 ** (16 - digits)
        for units in random.integers(1, 12_000_000, 2_000).tolist():
            s[k.VENUE] = int(random.integers(1, 101)) * 10
            last = float(Price(Decimal(units).scaleb(-digits), digits))
            offset = last * (float(s[k.VENUE]) / 100) / 100
            for side in (1, -1):
                trigger = Price(last - side * offset, digits).as_decimal()
                assert Decimal(k._followed(units, side, s, f)).scaleb(-digits) == trigger


def test_the_activation_price_is_that_of_the_order_sent(base):
    """Prices of two digits, whose floats' texts have more, on a tick of ten units; some stops lie at the entry."""
    random = np.random.default_rng(12)
    tick = Decimal("0.10")
    units = random.integers(1_000, 1_200_000, 3_000) * 10
    texts, digits = _shortest_texts(units, 2)
    factory = SimpleNamespace(trailing_stop_market=lambda **fields: fields["activation_price"])
    none = Decimal(0)
    instrument = Instrument("X", 2, 3, tick, Decimal("0.001"), none, None, none, none, none, none, none)
    kinds, trail = set(), np.zeros(4, np.int64)
    for entry, text in zip(units.tolist(), texts.tolist(), strict=True):
        side = 1 if random.random() < 0.5 else -1
        stop = max(entry - side * _choice(random, 0, *random.integers(1, 2_000, 20).tolist()) * 10, 10)
        share = max(float(random.uniform(0, 3)), 0.1) * _choice(random, 1, 1, 30)
        rule = VenueTrailing(callback=0.01, activate_r=round(share, int(random.integers(1, 7))))
        protection = ProtectionConfig(trailing=rule)
        strategy = msgspec.structs.replace(base.strategy, protection=protection)
        settings = settings_of(msgspec.structs.replace(base, strategy=strategy), instrument, 8, digits)
        position = SimpleNamespace(
            avg_px_open=float(Price(Decimal(entry).scaleb(-2), 2)),
            side=PositionSide.LONG if side > 0 else PositionSide.SHORT,
        )
        plan = Plan(0, Price(Decimal(stop).scaleb(-2), 2), None)
        sent = trailing_order({}, factory, rule, plan, position, tick, at_once=False)
        # The close lies a tick on the side of the stop: the entry slipped, nothing is reached yet.
        assert k._place(trail, side, text, stop, entry - side * 10, settings.ints, settings.floats)
        assert bool(trail[k.V_FOLLOWS]) == (sent is None)
        if sent is not None:
            assert Decimal(int(trail[k.V_FROM])).scaleb(-2) == max(sent.as_decimal(), 0)
        kinds.add("at once" if sent is None else "none above zero" if sent <= 0 else "a price")
    assert kinds == {"at once", "none above zero", "a price"}


def test_a_finer_activation_than_the_nodes_decimals_hold_is_refused(base, generated):
    protection = ProtectionConfig(trailing=VenueTrailing(callback=0.01, activate_r=0.123456789))
    made = on(base, generated, "XRPUSDT")
    made = msgspec.structs.replace(made, strategy=msgspec.structs.replace(made.strategy, protection=protection))
    with pytest.raises(ConfigError, match=r"activate_r: 0\.123456789 has too many digits"):
        prepare(made, "XRPUSDT").settings()
