"""
A node configuration as the numbers the kernel computes with, or one clear line on what a sweep cannot simulate.

Decimals become reduced fractions of integers, so the kernel's arithmetic is the node's, not an approximation of it.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog.instruments import InstrumentSpec, interval_ns
from node.config import NodeConfig
from research.sweep import kernel as k
from strategies.errors import ConfigError
from strategies.protection_plan import BarTrailing, VenueTrailing
from strategies.sizing import RiskFraction, exact

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]

MONEY = 10**8
_LARGEST = 2**61
_FINEST_FEE = 9 * 10**7  # times 1e8 it is still an exact float
_FINEST_ACTIVATION = 8  # digits: the node's 28 then hold every activation price exactly
_KILL_MEMORY = 500  # actors.latches keeps so many results


@dataclass(frozen=True, slots=True)
class Instrument:
    """
    What the engine knows of one instrument.

    Attributes
    ----------
    symbol : str
        Venue symbol.
    price_precision, quantity_precision : int
        Digits after the point.
    tick, step, min_quantity, min_notional, taker_fee, maintenance, liquidation_fee : Decimal
        Increments and limits; rates are fractions.
    max_quantity : Decimal or None
        Largest market order.

    """

    symbol: str
    price_precision: int
    quantity_precision: int
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal | None
    min_notional: Decimal
    taker_fee: Decimal
    maintenance: Decimal
    liquidation_fee: Decimal
    spec_taker_fee: Decimal


def instrument_of(stored: Any, spec: InstrumentSpec) -> Instrument:
    """Return the figures of a Nautilus instrument from the catalog, with what only config/instruments.yaml knows."""
    maxima = [Decimal(spec.market_max_quantity)]
    if stored.max_quantity is not None:
        maxima.append(stored.max_quantity.as_decimal())
    return Instrument(
        symbol=spec.symbol,
        price_precision=stored.price_precision,
        quantity_precision=stored.size_precision,
        tick=stored.price_increment.as_decimal(),
        step=stored.size_increment.as_decimal(),
        min_quantity=Decimal(0) if stored.min_quantity is None else stored.min_quantity.as_decimal(),
        max_quantity=min(maxima),
        min_notional=Decimal(0) if stored.min_notional is None else stored.min_notional.as_decimal(),
        taker_fee=stored.taker_fee,
        maintenance=Decimal(spec.brackets[0].maintenance_rate) if spec.brackets else Decimal(0),
        liquidation_fee=Decimal(spec.liquidation_fee),
        spec_taker_fee=Decimal(spec.taker_fee),
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Everything of a configuration that is the same for every parameter set.

    Attributes
    ----------
    ints, floats : ndarray
        The kernel's settings.
    balance : float
        USDT at the start of every run.
    moves : bool
        Whether a stop may move or have an activation price, so that the shortest texts of prices are needed.
    slippage_bps : float
        Of market orders.
    warmup_bars : int
        Rows before the first signal may be made.

    """

    ints: Ints
    floats: Floats
    balance: float
    moves: bool
    slippage_bps: float
    warmup_bars: int


def refuse_unsupported(config: NodeConfig) -> None:
    """
    Refuse what a sweep does not simulate.

    Raises
    ------
    ConfigError
        Fatal: names the key and the remedy.

    """
    remedies = {
        "strategy.name": (config.strategy.name != "composite", "only `composite` has a compiled twin"),
        "gate.mode": (config.gate.mode != "off", "parameters are swept without the ML gate: set `off`"),
        "data_quality": (config.data_quality is not None, "pauses are not simulated: leave the section out"),
        "backtest.latency_ms": (config.backtest.latency_ms > 0, "on bars any latency means the next bar: set 0"),
        "risk.limits.one_per_symbol": (not config.risk.limits.one_per_symbol, "adding to positions: set true"),
    }
    for key, (wrong, remedy) in remedies.items():
        if wrong:
            raise ConfigError(f"{key}: a sweep cannot simulate this: {remedy}")


def settings_of(config: NodeConfig, instrument: Instrument, rate_scale: int, text_digits: int) -> Settings:
    """
    Return the kernel's settings.

    Parameters
    ----------
    config : NodeConfig
        Limits, sizing, protection, costs. The account is the symbol's own: its balance is ``backtest.balance``.
    instrument : Instrument
        Grids and fees.
    rate_scale : int
        Funding rates are integers over ``10**rate_scale``.
    text_digits : int
        Digits after the point of the shortest texts of prices.

    Raises
    ------
    ConfigError
        Fatal: see :func:`refuse_unsupported`; or a figure has too many digits for exact arithmetic.

    """
    refuse_unsupported(config)
    ints = np.zeros(k.N_INTS, np.int64)
    floats = np.zeros(k.N_FLOATS)
    p, q = instrument.price_precision, instrument.quantity_precision
    if p + q > 8:
        raise ConfigError(f"{instrument.symbol}: price and quantity have more than 8 digits together")

    def put(at: int, value: Fraction | Decimal | int, what: str) -> None:
        number = Fraction(value)
        if number.denominator != 1 or abs(number.numerator) >= _LARGEST:
            raise ConfigError(f"{what}: {float(number)!r} has too many digits for a sweep: round it")
        ints[at] = number.numerator

    def put_fraction(at: int, den_at: int, value: Fraction, what: str) -> None:
        put(at, value.numerator, what)
        put(den_at, value.denominator, what)

    per_price, per_quantity = 10**p, 10**q
    step = Fraction(instrument.step)
    put(k.TICK, Fraction(instrument.tick) * per_price, "price_tick")
    put(k.STEP, step * per_quantity, "quantity_step")
    put(k.MIN_QUANTITY, Fraction(instrument.min_quantity) * per_quantity, "min_quantity")
    if instrument.max_quantity is not None:
        put(k.MAX_QUANTITY, Fraction(instrument.max_quantity) // step, "max_quantity")
    put(k.MIN_NOTIONAL, Fraction(instrument.min_notional) * per_price * per_quantity, "min_notional")
    put(k.START_BALANCE, Fraction(exact(config.backtest.balance)) * MONEY, "backtest.balance")
    put(k.MONEY_SCALE, 10 ** (8 - p - q), "digits")

    steps = per_price / step  # quantity in steps is money (USDT) times this over price units
    sizing = config.risk.sizing
    if isinstance(sizing, RiskFraction):
        ints[k.SIZE_BY_RISK] = 1
        share = Fraction(exact(sizing.risk_fraction)) * steps / 100
        put_fraction(k.SIZE_NUM, k.SIZE_DEN, share, "risk.sizing.risk_fraction")
    else:
        if ints[k.START_BALANCE] % 10_000:
            raise ConfigError(f"backtest.balance: {config.backtest.balance} has more than 4 digits: round it")
        fall = Fraction(exact(sizing.step_per_usdt)) / 10_000
        high, low = Fraction(exact(sizing.max_ratio)), Fraction(exact(sizing.min_ratio))
        scale = _common_denominator(fall, high, low)
        put(k.RATIO_FALL, fall * scale, "risk.sizing.step_per_usdt")
        put(k.RATIO_MAX, high * scale, "risk.sizing.max_ratio")
        put(k.RATIO_MIN, low * scale, "risk.sizing.min_ratio")
        lever = Fraction(exact(sizing.leverage)) * steps / 10_000 / scale
        put_fraction(k.SIZE_NUM, k.SIZE_DEN, lever, "risk.sizing.leverage")

    limits = config.risk.limits
    notionals = [Fraction(exact(x)) for x in (limits.max_order_notional, limits.max_total_notional) if x is not None]
    if notionals:
        put_fraction(k.CAP_NOTIONAL_NUM, k.CAP_NOTIONAL_DEN, min(notionals) * steps, "risk.limits: notional")
    levers = [Fraction(exact(x)) for x in (limits.max_leverage, limits.account_leverage) if x is not None]
    if levers:
        put_fraction(k.CAP_EQUITY_NUM, k.CAP_EQUITY_DEN, min(levers) * steps / MONEY, "risk.limits: leverage")
    if limits.daily_loss is not None:
        put_fraction(k.DAILY_NUM, k.DAILY_DEN, Fraction(exact(limits.daily_loss)), "risk.limits.daily_loss")
        ints[k.DAILY_OF_START] = limits.daily_loss_base == "start_balance"
    ints[k.FAST_KILL] = min(limits.fast_kill_losses or 0, _KILL_MEMORY + 1)
    ints[k.SLOW_KILL] = min(limits.slow_kill_trades or 0, _KILL_MEMORY + 1)
    floats[k.SLOW_FACTOR] = limits.slow_kill_profit_factor
    ints[k.ENTER_ON_EXIT_BAR] = limits.enter_on_exit_bar

    backtest = config.backtest
    for (up, down, den), bps in (
        ((k.SLIP_UP, k.SLIP_DOWN, k.SLIP_DEN), backtest.slippage_bps),
        ((k.TRIGGER_UP, k.TRIGGER_DOWN, k.TRIGGER_DEN), backtest.trigger_slippage_bps),
    ):
        _around_one(put, (up, down, den), Fraction(Decimal(str(bps))), "backtest: slippage")
    fee = instrument.taker_fee if backtest.fees is None else Decimal(backtest.fees.taker)
    if Fraction(fee).denominator > _FINEST_FEE:
        raise ConfigError(f"backtest.fees.taker: {fee} has too many digits for a sweep: round it")
    put_fraction(k.FEE_NUM, k.FEE_DEN, Fraction(fee), "backtest.fees.taker")
    if backtest.funding:
        digits = p + q + rate_scale - 8
        if digits < 0:
            raise ConfigError("funding rates: too few digits")  # rate_scale is at least 8
        put(k.FUNDING_DEN, 10**digits, "funding rates")
    taker = instrument.spec_taker_fee if backtest.fees is None else Decimal(backtest.fees.taker)
    ints[k.LIQUIDATION] = backtest.liquidation
    floats[k.MAINTENANCE] = float(instrument.maintenance)
    floats[k.LIQUIDATION_FEE] = float(instrument.liquidation_fee)
    floats[k.CLOSE_COST] = float(taker) + backtest.slippage_bps / 10_000

    protection = config.strategy.protection
    if protection.time_stop_bars is not None:
        ints[k.TIME_STOP_NS] = min(protection.time_stop_bars * interval_ns(config.interval), 2**62)
    trailing = protection.trailing
    if isinstance(trailing, BarTrailing):
        ints[k.TRAIL] = 1 if trailing.unit == "r" else 2
        ints[k.TRAIL_BARS] = trailing.atr_bars
        for at, value, what in (
            (k.TRAIL_NUM, trailing.distance, "distance"),
            (k.TRAIL_FROM_NUM, trailing.activate_r, "activate_r"),
            (k.TRAIL_STEP_NUM, trailing.step_r, "step_r"),
        ):
            put_fraction(at, at + 1, Fraction(exact(value)), f"protection.trailing.{what}")
    elif isinstance(trailing, VenueTrailing):
        ints[k.VENUE] = int((exact(trailing.callback) * 10_000).to_integral_value())
        share = exact(trailing.activate_r)
        if -int(share.as_tuple().exponent) > _FINEST_ACTIVATION:
            raise ConfigError(f"protection.trailing.activate_r: {share} has too many digits for a sweep: round it")
        put_fraction(k.VENUE_FROM_NUM, k.VENUE_FROM_DEN, Fraction(share), "protection.trailing.activate_r")
    even = protection.break_even
    if even is not None:
        ints[k.EVEN] = 1
        put_fraction(k.EVEN_AT_NUM, k.EVEN_AT_DEN, Fraction(exact(even.at_r)), "protection.break_even.at_r")
        offset = Fraction(exact(even.offset_bps))
        _around_one(put, (k.EVEN_UP, k.EVEN_DOWN, k.EVEN_DEN), offset, "protection.break_even.offset_bps")
    put(k.TEXT_SCALE, 10 ** (text_digits - p), "texts")
    ints[k.RAW_SCALE] = 10 ** (16 - p)

    floats[k.PRICE_SCALE] = 10.0**p
    floats[k.PRICE_POWER] = 10.0 ** (16 - p)
    floats[k.QUANTITY_POWER] = 10.0 ** (16 - q)
    floats[k.ASSUMED] = config.strategy.assumed_slippage
    floats[k.TICK_FLOAT] = float(instrument.tick)
    moves = bool(ints[k.TRAIL] or ints[k.EVEN] or ints[k.VENUE_FROM_NUM])
    return Settings(
        ints=ints,
        floats=floats,
        balance=config.backtest.balance,
        moves=moves,
        slippage_bps=config.backtest.slippage_bps,
        warmup_bars=config.strategy.warmup_bars,
    )


def _around_one(put: Any, at: tuple[int, int, int], bps: Fraction, what: str) -> None:
    """Store ``1 + bps / 10000`` and ``1 - bps / 10000`` over one denominator."""
    den = _common_denominator(bps / 10_000)
    moved = bps / 10_000 * den
    for position, value in zip(at, (den + moved, den - moved, Fraction(den)), strict=True):
        put(position, value, what)


def _common_denominator(*values: Fraction) -> int:
    return int(np.lcm.reduce([v.denominator for v in values], dtype=object))
