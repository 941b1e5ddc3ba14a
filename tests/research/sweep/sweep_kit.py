"""Random parameters, protection, sizing, limits and costs for the comparison of the two simulations."""

import os
from pathlib import Path

import msgspec
import numpy as np

import research.sweep.simulate as simulation
from actors.risk_state import RiskLimits
from catalog.ingest import main as ingest
from node.config import BacktestConfig, FeesConfig, RiskConfig
from strategies.base import Wish
from strategies.composite import _FEATURES, Composite
from strategies.kernel.columns import FEATURE_SCHEMA
from strategies.kernel.params import CompositeParams
from strategies.messages import Side
from strategies.protection_plan import BarTrailing, BreakEven, ProtectionConfig, VenueTrailing
from strategies.sizing import MarginRatio, RiskFraction

ROOT = Path(__file__).parents[3]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
STEP = 900_000_000_000
DAY = 96 * STEP
START = 1_743_465_600_000_000_000  # 2025-04-01


def _data():
    for candidate in (os.environ.get("ARGONAUT_DATA"), ROOT.parent / "shared" / "data"):
        if candidate and (Path(candidate) / "um_klines_15m" / "XRPUSDT.csv.gz").is_file():
            return Path(candidate)
    return None


DATA = _data()


def on(config, catalog, symbol, context=()):
    """Return `config` for one symbol of a catalog."""
    return msgspec.structs.replace(config, catalog=str(catalog), symbols=(symbol,), context=context)


def _choice(random, *values):
    return values[int(random.integers(len(values)))]


def random_params(random):
    return CompositeParams(
        signal_threshold=_choice(random, 1, 2, 2, 3, 3, 4),
        adx_threshold=float(_choice(random, 0, 10, 15, 20, 25, round(float(random.uniform(0, 35)), 2))),
        volume_multiplier=float(_choice(random, 0, 1, 1.2, 1.5, 2.5, round(float(random.uniform(0, 4)), 3))),
        stop_atr=float(_choice(random, 0.3, 1, 1.5, 2, round(float(random.uniform(0.2, 5)), 3))),
        target_atr=float(_choice(random, 0.5, 1, 2, 4, round(float(random.uniform(0.2, 8)), 3))),
    )


def random_venue_trailing(random):
    return VenueTrailing(
        callback=float(_choice(random, 0.001, 0.002, 0.005, 0.01, round(int(random.integers(1, 60)) / 1000, 3))),
        activate_r=float(_choice(random, 0, 0, 1e-6, 0.01, 0.2, 0.5, 1, 100, round(float(random.uniform(0, 3)), 6))),
    )


def random_protection(random):
    trailing = None
    by = random.random()
    if by < 0.4:
        trailing = BarTrailing(
            distance=float(_choice(random, 0.5, 1, 1.5, 2, round(float(random.uniform(0.1, 4)), 2))),
            unit=_choice(random, "r", "atr"),
            activate_r=float(_choice(random, 0, 0.5, 1, round(float(random.uniform(0, 2)), 2))),
            step_r=float(_choice(random, 0, 0.1, 0.25, round(float(random.uniform(0, 0.5)), 2))),
            atr_bars=int(_choice(random, 1, 5, 14, 14, 50)),
        )
    elif by < 0.75:
        trailing = random_venue_trailing(random)
    even = None
    if random.random() < 0.4:
        even = BreakEven(
            at_r=float(_choice(random, 0.25, 0.5, 1, round(float(random.uniform(0.1, 2)), 2))),
            offset_bps=float(_choice(random, 0, 5, 10, round(float(random.uniform(0, 30)), 1))),
        )
    return ProtectionConfig(
        trailing=trailing,
        break_even=even,
        time_stop_bars=_choice(random, None, None, None, 1, 4, 24, 96, int(random.integers(1, 300))),
        trigger=_choice(random, "last", "mark"),
    )


def _sometimes(random, share, *values):
    return _choice(random, *values) if random.random() < share else None


def random_limits(random, balance):
    return RiskLimits(
        max_positions=_choice(random, None, 1, 3),
        max_same_direction=_choice(random, None, 1, 2),
        max_order_notional=_sometimes(random, 0.3, balance * 0.7, round(balance * float(random.uniform(0.05, 6)), 2)),
        max_total_notional=_sometimes(random, 0.3, balance * 2, round(balance * float(random.uniform(0.05, 6)), 2)),
        max_leverage=_sometimes(random, 0.4, 0.5, 1.0, 3.0, round(float(random.uniform(0.1, 8)), 2)),
        account_leverage=_sometimes(random, 0.4, 1.0, 10.0, 20.0),
        daily_loss=_sometimes(random, 0.6, 0.005, 0.02, 0.05, round(float(random.uniform(0.001, 0.2)), 4)),
        daily_loss_base=_choice(random, "day_start_equity", "start_balance"),
        fast_kill_losses=_sometimes(random, 0.4, 3, 6, 8),
        slow_kill_trades=_sometimes(random, 0.4, 5, 15, 40),
        slow_kill_profit_factor=float(_choice(random, 0.3, 0.75, round(float(random.uniform(0.2, 1.2)), 2))),
        enter_on_exit_bar=bool(random.random() < 0.5),
    )


def random_config(base, random, *, start=None, end=None, funding=True):
    """Return `base` with everything a sweep may simulate chosen at random."""
    balance = float(_choice(random, 150, 1000, 10_000, 250_000, round(float(random.uniform(100, 50_000)), 2)))
    if random.random() < 0.5:
        sizing = RiskFraction(
            risk_fraction=float(_choice(random, 0.001, 0.01, 0.05, round(float(random.uniform(0.001, 0.3)), 4)))
        )
    else:
        low = round(float(random.uniform(0.05, 0.5)), 2)
        sizing = MarginRatio(
            max_ratio=round(float(random.uniform(low, 1.0)), 2),
            min_ratio=low,
            step_per_usdt=float(_choice(random, 0, 0.0006, round(float(random.uniform(0, 0.01)), 5))),
            leverage=float(_choice(random, 1, 5, 10, 20, 50)),
        )
    fees = _choice(
        random,
        None,
        FeesConfig(maker="0.0002", taker="0.0005"),
        FeesConfig(maker="0.0001", taker="0.00045"),
        FeesConfig(maker="0", taker="0"),
        FeesConfig(maker="0", taker="0.000317"),
    )
    backtest = BacktestConfig(
        start=start,
        end=end,
        balance=balance,
        leverage=int(_choice(random, 5, 10, 20, 50)),
        fees=fees,
        slippage_bps=float(_choice(random, 0, 1, 2.5, round(float(random.uniform(0, 20)), 2))),
        trigger_slippage_bps=float(_choice(random, 0, 1, 3, round(float(random.uniform(0, 20)), 2))),
        funding=funding and bool(random.random() < 0.7),
        liquidation=bool(random.random() < 0.7),
    )
    strategy = msgspec.structs.replace(
        base.strategy,
        warmup_bars=int(_choice(random, 0, 60, 200, 1000, int(random.integers(0, 2000)))),
        history_bars=int(_choice(random, 0, 100, 1500, int(random.integers(0, 2500)))),
        assumed_slippage=float(_choice(random, 0, 0.0001, round(float(random.uniform(0, 0.002)), 5))),
        protection=random_protection(random),
    )
    return msgspec.structs.replace(
        base,
        symbols=(base.symbols[0],),
        strategy=strategy,
        risk=RiskConfig(limits=random_limits(random, balance), sizing=sizing),
        backtest=backtest,
    )


def scripted_catalog(folder, symbol, prices, digits):
    """Return a catalog of 15m bars from START on; `prices` are rows of open, high, low and close."""
    lines = ["open_time,open,high,low,close,volume"]
    lines += [
        f"{(START + STEP * i) // 10**6}," + ",".join(f"{price:.{digits}f}" for price in bar) + ",100000"
        for i, bar in enumerate(zip(*prices, strict=True))
    ]
    (folder / "x.csv").write_text("\n".join(lines) + "\n")
    common = ["--symbol", symbol, "--from", str(folder / "x.csv"), "--catalog", str(folder / "catalog")]
    assert not ingest(["klines", "--interval", "15m", *common])
    return folder / "catalog"


def script(monkeypatch, params, votes):
    """Let both simulations hear `votes`, +1, -1 or 0 a bar, instead of the composite's; all else stays theirs."""

    def evaluate(self, row, funding):
        self._kernel.advance(row.open, row.high, row.low, row.close, row.volume, np.nan, np.nan, funding, np.nan)
        sign, atr = votes[(row.close_ns - START) // STEP - 1], self._atr
        out = self._kernel.complete()
        if not sign or not atr > 0:
            return None
        stop, target = row.close - sign * params.stop_atr * atr, row.close + sign * params.target_atr * atr
        side = Side.LONG if sign > 0 else Side.SHORT
        return Wish(side, 1.0, row.close, stop, target, atr, out[_FEATURES], FEATURE_SCHEMA)

    def signals(window, _params, _settings):
        rows = [i for i in range(window.first, len(votes)) if votes[i]]
        return np.array(rows, dtype=np.int64), np.array([votes[i] for i in rows], dtype=np.int8)

    monkeypatch.setattr(Composite, "evaluate", evaluate)
    monkeypatch.setattr(simulation, "_signals", signals)
