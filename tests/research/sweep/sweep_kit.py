"""Random parameters, protection, sizing, limits and costs for the comparison of the two simulations."""

import os
from pathlib import Path

import msgspec

from actors.risk_state import RiskLimits
from node.config import BacktestConfig, FeesConfig, RiskConfig
from strategies.kernel.params import CompositeParams
from strategies.protection_plan import BarTrailing, BreakEven, ProtectionConfig
from strategies.sizing import MarginRatio, RiskFraction

ROOT = Path(__file__).parents[3]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
STEP = 900_000_000_000
DAY = 96 * STEP


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


def random_protection(random):
    trailing = None
    if random.random() < 0.5:
        trailing = BarTrailing(
            distance=float(_choice(random, 0.5, 1, 1.5, 2, round(float(random.uniform(0.1, 4)), 2))),
            unit=_choice(random, "r", "atr"),
            activate_r=float(_choice(random, 0, 0.5, 1, round(float(random.uniform(0, 2)), 2))),
            step_r=float(_choice(random, 0, 0.1, 0.25, round(float(random.uniform(0, 0.5)), 2))),
            atr_bars=int(_choice(random, 1, 5, 14, 14, 50)),
        )
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
