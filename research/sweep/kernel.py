"""
One account, one symbol, one parameter set through bars: the node's decisions and the engine's fills, compiled.

Equal to BacktestNode trade for trade: prices, quantities and money are integers on the venue's grids wherever the node
uses decimals, and the same floats in the same order wherever the engine uses floats. Where each figure is rounded:

    stop, target, reference    float, then half-even to the tick                 actors.risk_guard, strategies.composite
    fills                      half-even to the tick after slippage              node.simulation.pricing
    quantity                   floor (risk fraction) or half-even (margin ratio)  strategies.sizing
    fee, profit, balance       float, then half away from zero to 1e-8           the engine's Money
    funding                    half-even to 1e-8                                 node.simulation.modules
    moved stop                 decimals of the floats' shortest texts, half-even  strategies.stop_moves
    activation of a trailing   decimals of the floats' shortest texts, half-even  strategies.protection_plan
    trigger of a trailing      float, then half away from zero to the digit       the engine's Price

Everything compiled stands in this one file for the reason given in ``strategies.kernel.step``: numba's cache notices a
change of the file a function stands in, not of the modules that file imports.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# --- positions in the integer settings ---
(
    TICK,  # price increment in price units (10^-price precision)
    STEP,  # quantity increment in quantity units
    MIN_QUANTITY,  # quantity units
    MAX_QUANTITY,  # in steps; 0: none
    MIN_NOTIONAL,  # price units times quantity units
    START_BALANCE,  # 1e-8 USDT, like all money here
    MONEY_SCALE,  # price units times quantity units to 1e-8 USDT
    SIZE_BY_RISK,  # 1: risk fraction, 0: margin ratio
    SIZE_NUM,  # the method's constant factors as a reduced fraction
    SIZE_DEN,
    RATIO_MAX,  # margin ratio: bounds and fall per 1e-4 USDT, all on the same scale
    RATIO_MIN,
    RATIO_FALL,
    CAP_NOTIONAL_NUM,  # largest notional as a fraction; denominator 0: none
    CAP_NOTIONAL_DEN,
    CAP_EQUITY_NUM,  # largest multiple of equity
    CAP_EQUITY_DEN,
    FEE_NUM,  # taker fee as a reduced fraction
    FEE_DEN,
    DAILY_NUM,  # daily loss; denominator 0: none
    DAILY_DEN,
    DAILY_OF_START,
    FAST_KILL,  # 0: none
    SLOW_KILL,
    ENTER_ON_EXIT_BAR,
    SLIP_UP,  # market orders: buyer's and seller's multiple of the price over SLIP_DEN
    SLIP_DOWN,
    SLIP_DEN,
    TRIGGER_UP,
    TRIGGER_DOWN,
    TRIGGER_DEN,
    FUNDING_DEN,  # money of funding: notional * rate / FUNDING_DEN; 0: not charged
    LIQUIDATION,
    TIME_STOP_NS,  # 0: none
    TRAIL,  # 0: none, 1: in R, 2: in true ranges
    TRAIL_NUM,
    TRAIL_DEN,
    TRAIL_FROM_NUM,
    TRAIL_FROM_DEN,
    TRAIL_STEP_NUM,
    TRAIL_STEP_DEN,
    TRAIL_BARS,
    EVEN,  # break-even: 0 off
    EVEN_AT_NUM,
    EVEN_AT_DEN,
    EVEN_UP,  # long's and short's multiple of the entry over EVEN_DEN
    EVEN_DOWN,
    EVEN_DEN,
    TEXT_SCALE,  # price units to units of the shortest texts
    RAW_SCALE,  # price units to the engine's stored integers, 1e-16
    VENUE,  # the venue's trailing stop: callback in basis points, 0: none
    VENUE_FROM_NUM,  # profit in R at which it begins; 0: at once
    VENUE_FROM_DEN,
    N_INTS,
) = range(54)

# --- positions in the float settings ---
PRICE_SCALE, PRICE_POWER, QUANTITY_POWER, ASSUMED, SLOW_FACTOR, MAINTENANCE, LIQUIDATION_FEE, CLOSE_COST, TICK_FLOAT = (
    range(9)
)
N_FLOATS = 9

# --- columns of bars (int64) ---
OPEN, HIGH, LOW, CLOSE = range(4)
# --- columns of the other integers of a bar ---
CLOSE_NS, FUNDING_COUNT, CLOCK_NS, DAY_INDEX = range(4)
# --- columns of the shortest texts ---
TEXT_HIGH, TEXT_LOW, TEXT_CLOSE, TEXT_BUY, TEXT_SELL, TEXT_RANGES = range(6)
# --- columns of the floats of a bar ---
F_CLOSE, F_HIGH, F_LOW, F_ATR = range(4)

# --- columns of a trade (int64) ---
T_SIDE, T_ENTRY_NS, T_EXIT_NS, T_ENTRY, T_EXIT, T_QUANTITY, T_REASON, T_GROSS, T_FEES, T_FUNDING, T_STOP, T_TARGET = (
    range(12)
)
T_WIDTH = 12

# --- the venue's trailing stop of a position (int64) ---
(
    V_FOLLOWS,  # 1: activated
    V_TRIGGER,  # price units; 0: not yet
    V_FROM,  # activation price, price units; 0: nothing reaches it
    V_FIRST,  # 1: matched before the stop
) = range(4)

# --- exit reasons ---
STOP_LOSS, TAKE_PROFIT, REVERSE_SIGNAL, TIME_STOP, LIQUIDATED, TRAILING_STOP = range(6)
REASONS = ("STOP_LOSS", "TAKE_PROFIT", "REVERSE_SIGNAL", "TIME_STOP", "LIQUIDATION", "TRAILING_STOP")

# --- metrics of a run (float64) ---
(
    M_TRADES,
    M_WINS,
    M_GROSS_WON,
    M_GROSS_LOST,
    M_GROSS,
    M_FEES,
    M_FUNDING,
    M_R_SUM,
    M_R_SQUARES,
    M_NET_SQUARES,
    M_MAX_DRAWDOWN,
    M_BALANCE,
    M_EQUITY,
    M_OPEN,  # signed quantity still open
    M_BARS_HELD,
    M_ENDED,  # 0, or 1 fast kill, 2 slow kill, 3 liquidated, 4 nothing left
) = range(16)
N_METRICS = 16

OK, TOO_FINE, NO_ROOM = 0, 1, 2
DAY_NS = 86_400_000_000_000
_BARS_KEPT = 5_000
_MONEY = 1e8
_TICKS_AT_MOST = 4e15


def _compile(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, error_model="numpy", nogil=True)(function)
    except RuntimeError:  # numba found no directory it may write its cache to: compile anew in each process
        return njit(error_model="numpy", nogil=True)(function)


# -- exact arithmetic -------------------------------------------------------------------------------------------------


@_compile
def wrapped(a: int, b: int, c: int, d: int) -> int:
    """Return ``a * b - c * d`` modulo 2**64, signed: unsigned inside, as signed overflow is not defined to LLVM."""
    return int(np.int64(np.uint64(a) * np.uint64(b) - np.uint64(c) * np.uint64(d)))


@_compile
def divide(a: int, b: int, d: int, half_even: bool) -> int:
    """Return ``a * b / d`` (a, b not negative, d below 2**61) rounded down or half-even; -1 when above 4e15."""
    estimate = float(a) * float(b) / float(d)
    if not estimate < _TICKS_AT_MOST:
        return -1
    q = int(estimate)
    r = wrapped(a, b, q, d)  # the true value is a few d
    while r < 0:
        q -= 1
        r += d
    while r >= d:
        q += 1
        r -= d
    if half_even and (2 * r > d or (2 * r == d and q % 2 == 1)):
        q += 1
    return q


@_compile
def divide_two(a: int, b: int, c: int, d: int, e: int, half_even: bool) -> int:
    """Return ``a * b * c / (d * e)`` as :func:`divide`; -2 when ``b * c`` or ``d * e`` is too large for it."""
    if float(b) * float(c) > 8e18 or float(d) * float(e) > 2e18:
        return -2
    return divide(a, b * c, d * e, half_even)


@_compile
def compare(a: int, b: int, c: int, d: int) -> int:
    """Return the sign of ``a * b - c * d`` for products below 2**110."""
    x = float(a) * float(b) - float(c) * float(d)
    if abs(x) > 4e18:
        return 1 if x > 0 else -1
    y = wrapped(a, b, c, d)  # the true value fits
    return (y > 0) - (y < 0)


@_compile
def on_grid(x: float, scale: float, step: int) -> int:
    """
    Return the multiple of `step` nearest to the shortest text of `x` times `scale`, ties to even; 0 for no price.

    `x` equals the float of the tie exactly when its text is the tie, because a tie has less than 16 digits.
    """
    if not 0.0 < x < 9e15 / scale:
        return 0
    n = int(x * scale / step) - 1
    while x > float((2 * n + 1) * step) / (2.0 * scale):
        n += 1
    if x == float((2 * n + 1) * step) / (2.0 * scale) and n % 2 != 0:
        n += 1
    return n * step


@_compile
def away(x: float) -> int:
    """Return the nearest integer, halves away from zero, as the engine rounds money."""
    whole = np.floor(abs(x))
    if abs(x) - whole >= 0.5:
        whole += 1.0
    return int(whole) if x >= 0 else -int(whole)


@_compile
def as_float(units: int, power: float) -> float:
    """Return the float of a price or quantity: the engine divides the stored integer, rounded, by 1e16."""
    return (float(units) * power) / 1e16


@_compile
def fee_of(quantity: float, price: float, numerator: int, denominator: int) -> int:
    """Return the taker fee in 1e-8 USDT."""
    notional = away(quantity * price * _MONEY)
    # Both operands are exact floats below 9e15, so this is the float of the exact quotient, as the engine has it; a
    # larger notional (2.8e5 USDT at a rate of three digits) may, at a tie, be charged 1e-8 differently.
    return away(float(notional * numerator) / (float(denominator) * _MONEY) * _MONEY)


@_compile
def slipped(price: int, up: bool, more: int, less: int, den: int, tick: int) -> int:
    """Return `price` moved against the taker, on the tick grid, at least one tick."""
    return max(divide(price, more if up else less, den * tick, True), 1) * tick


@_compile
def _high_first(opened: int, high: int, low: int, scale: int) -> bool:
    """
    Return whether the engine walks to the high before the low: to the nearer one first.

    Its distances are 128-bit integers of 1e-16 cut to 64 bits, so one of more than 922 USDT is taken for another (in
    nautilus_trader 1.231.0; ``OrderMatchingEngine._process_trade_ticks_from_bar``). The products below wrap alike.
    """
    return abs(wrapped(high - opened, scale, 0, 0)) < abs(wrapped(low - opened, scale, 0, 0))


# -- decisions --------------------------------------------------------------------------------------------------------


@_compile
def quantity_of(balance: int, reference: int, stop: int, close: int, s: np.ndarray) -> int:
    """Return the quantity granted to an entry of a flat account, in quantity units; 0: refused, -1: too fine."""
    if s[SIZE_BY_RISK]:
        cents = divide(balance, 1, 1_000_000, True)
        if cents <= 0:
            return 0
        q = divide_two(cents, s[SIZE_NUM], 1, abs(reference - stop), s[SIZE_DEN], False)
    else:
        rounded = divide(balance, 1, 10_000, True)
        if rounded <= 0:
            return 0
        ratio = s[RATIO_MAX] - (rounded - s[START_BALANCE] // 10_000) * s[RATIO_FALL]
        ratio = min(max(ratio, s[RATIO_MIN]), s[RATIO_MAX])
        q = divide_two(rounded, ratio, s[SIZE_NUM], close, s[SIZE_DEN], True)
    if q < 0:
        return -1
    if s[CAP_NOTIONAL_DEN]:
        cap = divide_two(s[CAP_NOTIONAL_NUM], 1, 1, reference, s[CAP_NOTIONAL_DEN], False)
        if cap == -2:
            return -1
        q = min(q, cap) if cap >= 0 else q
    if s[CAP_EQUITY_DEN]:
        cap = divide_two(balance, s[CAP_EQUITY_NUM], 1, reference, s[CAP_EQUITY_DEN], False)
        if cap == -2:
            return -1
        q = min(q, cap) if cap >= 0 else q
    if s[MAX_QUANTITY]:
        q = min(q, s[MAX_QUANTITY])
    q *= s[STEP]
    if q <= 0 or q < s[MIN_QUANTITY] or compare(q, reference, s[MIN_NOTIONAL], 1) < 0:
        return 0
    return q


@_compile
def breached(equity: int, day_start: int, s: np.ndarray) -> bool:
    """Return whether the day's loss reaches the limit."""
    base = s[START_BALANCE] if s[DAILY_OF_START] else day_start
    return equity < day_start and compare(day_start - equity, s[DAILY_DEN], base, s[DAILY_NUM]) >= 0


@_compile
def killed(nets: np.ndarray, count: int, s: np.ndarray, factor: float) -> int:
    """Return 1 or 2 when the fast or the slow kill switch trips on the last results (a ring), else 0."""
    size = len(nets)
    fast = s[FAST_KILL]
    if fast and fast <= size and count >= fast:
        losing = True
        for i in range(count - fast, count):
            losing = losing and nets[i % size] <= 0
        if losing:
            return 1
    slow = s[SLOW_KILL]
    if slow and slow <= size and count >= slow:
        won = 0
        lost = 0
        for i in range(count - slow, count):
            net = nets[i % size]
            if net > 0:
                won += net
            else:
                lost -= net
        if lost > 0 and (won / _MONEY) / (lost / _MONEY) < factor:
            return 2
    return 0


@_compile
def trailed(best: int, side: int, num: int, den: int, width: int, grid: int, doubtful: bool) -> int:
    """
    Return ``best - side * (num / den) * width`` in ticks of `grid`, half-even; -1 when the figures do not fit.

    With `doubtful` a tie is one of them: the node's 28 digits may fall on either side of it.
    """
    if float(num) * float(width) > 4e18 or float(den) * float(grid) > 1e18:
        return -1
    whole = best // grid
    rest = (best - whole * grid) * den - side * num * width
    d = den * grid
    q = rest // d
    r = rest - q * d
    if doubtful and 2 * r == d:
        return -1
    if 2 * r > d or (2 * r == d and (whole + q) % 2 != 0):
        q += 1
    return whole + q


@_compile
def moved_stop(
    side: int, entry: int, first: int, stop: int, best: int, close: int, ranges: int, s: np.ndarray
) -> tuple[int, int]:
    """
    Return where the stop should be (price units, 0: where it is) and what becomes of it there.

    Parameters
    ----------
    side : int
        +1 long, -1 short.
    entry, best, close : int
        Shortest texts: entry price, best price since the entry, last close.
    first, stop : int
        First stop and stop now, price units.
    ranges : int
        Sum of the last true ranges in units of the texts; negative: not enough bars.
    s : np.ndarray
        Settings.

    Returns
    -------
    tuple[int, int]
        Level, and 0: rests there, 1: the close lies beyond it, 2: the venue would refuse it, -1: too fine.

    """
    text = s[TEXT_SCALE]
    tick = s[TICK]
    grid = tick * text
    unit = (entry - first * text) * side
    if unit <= 0:
        return 0, 0
    profit = (best - entry) * side
    level = 0
    if s[EVEN] and compare(profit, s[EVEN_AT_DEN], s[EVEN_AT_NUM], unit) >= 0:
        even = divide(entry, s[EVEN_UP] if side > 0 else s[EVEN_DOWN], s[EVEN_DEN] * grid, True)
        if even < 0:
            return 0, -1
        level = even
    if s[TRAIL] and compare(profit, s[TRAIL_FROM_DEN], s[TRAIL_FROM_NUM], unit) >= 0:
        trail = 0
        if s[TRAIL] == 1:
            trail = trailed(best, side, s[TRAIL_NUM], s[TRAIL_DEN], unit, grid, False)
        elif ranges >= 0:
            # The node's mean of the ranges is rounded to 28 digits; beside a price ten times as large that vanishes.
            wide = 10.0 * s[TRAIL_NUM] * ranges > float(best) * s[TRAIL_DEN] * s[TRAIL_BARS]
            trail = trailed(best, side, s[TRAIL_NUM], s[TRAIL_DEN] * s[TRAIL_BARS], ranges, grid, wide)
        if trail < 0:
            return 0, -1
        if trail and (level == 0 or (trail - level) * side > 0):
            level = trail
    if level == 0:
        return 0, 0
    level *= tick
    gain = (level - stop) * side
    if gain < tick or (s[TRAIL] and compare(gain * text, s[TRAIL_STEP_DEN], s[TRAIL_STEP_NUM], unit) < 0):
        return 0, 0
    if (close - level * text) * side <= 0:
        return level, 1
    return level, 0


# -- the venue's trailing stop ----------------------------------------------------------------------------------------


@_compile
def _followed(last: int, side: int, s: np.ndarray, f: np.ndarray) -> int:
    """Return the trigger the engine computes from the last price; it lies on a digit, not on the tick grid."""
    x = as_float(last, f[PRICE_POWER])
    offset = x * (float(s[VENUE]) / 100.0) / 100.0
    return away((x - side * offset) * f[PRICE_SCALE])


@_compile
def _begins(entry: int, unit: int, side: int, s: np.ndarray) -> int:
    """
    Return the activation price in price units, half-even to the tick; 0: none above zero, -1: the figures do not fit.

    `entry` and `unit` (1 R) are in units of the shortest texts.
    """
    num, den, grid = s[VENUE_FROM_NUM], s[VENUE_FROM_DEN], s[TICK] * s[TEXT_SCALE]
    if side < 0 and compare(num, unit, entry, den) >= 0:
        return 0
    if float(den) * float(grid) > 2e18:
        return -1
    d = den * grid
    estimate = (float(entry) * float(den) + side * float(num) * float(unit)) / float(d)
    if not estimate < _TICKS_AT_MOST:
        return -1
    q = int(estimate)
    r = int(np.int64(np.uint64(wrapped(entry, den, q, d)) + np.uint64(wrapped(side * num, unit, 0, 0))))  # a few d
    while r < 0:
        q -= 1
        r += d
    while r >= d:
        q += 1
        r -= d
    if 2 * r > d or (2 * r == d and q % 2 == 1):
        q += 1
    return q * s[TICK]


@_compile
def _queue(trail: np.ndarray, side: int, stop: int, newer: bool, s: np.ndarray) -> None:
    """
    Note which of trailing stop and stop is matched first: the one farther from the market, of equals the older.

    So the engine sorts when an order is added (a stop that is `newer`, else the trailing stop), and never again. Its
    keys are 128-bit integers of 1e-16 cut to 64 bits, as in :func:`_high_first`.
    """
    own = wrapped(trail[V_TRIGGER] or trail[V_FROM], s[RAW_SCALE], 0, 0)
    other = wrapped(stop, s[RAW_SCALE], 0, 0)
    trail[V_FIRST] = newer if own == other else (own < other) == (side > 0)


@_compile
def _place(trail: np.ndarray, side: int, entry: int, stop: int, close: int, s: np.ndarray, f: np.ndarray) -> bool:
    """
    Place the trailing stop of a position opened at a close; return whether the figures fit.

    `entry` is a shortest text, `stop` and `close` are price units. An activation price the market has reached already
    is refused by the venue, and the order placed again without one.
    """
    trail[:] = 0
    trail[V_FOLLOWS] = 1
    unit = (entry - stop * s[TEXT_SCALE]) * side
    if s[VENUE_FROM_NUM] and (unit > 0 or (unit == 0 and side < 0)):  # slippage may have gone to a stop one tick away
        trail[V_FROM] = _begins(entry, unit, side, s)
        if trail[V_FROM] < 0:
            return False
        trail[V_FOLLOWS] = (close - trail[V_FROM]) * side >= 0
    if trail[V_FOLLOWS]:
        trail[V_TRIGGER] = _followed(close, side, s, f)
    _queue(trail, side, stop, False, s)
    return True


@_compile
def _match(
    price: int,
    last: int,
    opened: int,
    side: int,
    stop: int,
    target: int,
    trail: np.ndarray,
    s: np.ndarray,
    f: np.ndarray,
) -> tuple[int, int]:
    """
    Let the engine match its orders at `price`; return the exit's reason (-1: none) and its price before slippage.

    What follows is moved after the matching, and by the price before this one (``OrderMatchingEngine.iterate``).
    """
    back = trail[V_FOLLOWS] and (price - trail[V_TRIGGER]) * side <= 0
    if (price - stop) * side <= 0 and not (back and trail[V_FIRST]):
        return STOP_LOSS, opened if (opened - stop) * side < 0 else stop
    if back:
        trigger = trail[V_TRIGGER]
        return TRAILING_STOP, opened if (opened - trigger) * side < 0 else trigger
    if (price - target) * side >= 0:
        return TAKE_PROFIT, opened if (opened - target) * side > 0 else target
    if trail[V_FOLLOWS] == 0:
        trail[V_FOLLOWS] = (price - trail[V_FROM]) * side >= 0
    if trail[V_FOLLOWS]:
        trigger = _followed(last, side, s, f)
        if trail[V_TRIGGER] == 0 or (trigger - trail[V_TRIGGER]) * side > 0:
            trail[V_TRIGGER] = trigger
    return -1, 0


@_compile
def _walk(
    bar: np.ndarray, last: int, side: int, stop: int, target: int, trail: np.ndarray, s: np.ndarray, f: np.ndarray
) -> tuple[int, int]:
    """Walk through a bar's four prices, passing over those that move nothing; return as :func:`_match`."""
    opened, high, low, close = bar[OPEN], bar[HIGH], bar[LOW], bar[CLOSE]
    high_first = _high_first(opened, high, low, s[RAW_SCALE])
    for at in range(4):
        price = opened if at == 0 else close
        moves = price != last
        if at in (1, 2):
            upper = (at == 1) == high_first
            price = high if upper else low
            moves = price > last if upper else price < last
        if moves:
            reason, level = _match(price, last, opened, side, stop, target, trail, s, f)
            if reason >= 0:
                return reason, level
            last = price
    return -1, 0


# -- equity -----------------------------------------------------------------------------------------------------------

_P_BAR_DAY, _P_VALUE, _P_PEAK, _P_WORST, _P_FILLED, _P_BAR, _P_START = range(7)


@_compile
def _note(point: np.ndarray, daily: np.ndarray, bar: int, day: int, value: float) -> None:
    """Set the equity at the close of `bar`; only the last value of a bar becomes a point."""
    if bar != point[_P_BAR]:
        _flush(point, daily)
        point[_P_BAR] = bar
        point[_P_BAR_DAY] = day
    point[_P_VALUE] = value


@_compile
def _flush(point: np.ndarray, daily: np.ndarray) -> None:
    """Count the point that stands: drawdown, and the last equity of its day."""
    value = point[_P_VALUE]
    if value >= point[_P_PEAK]:
        point[_P_PEAK] = value
    elif point[_P_PEAK] > 0:
        point[_P_WORST] = max(point[_P_WORST], (point[_P_PEAK] - value) / point[_P_PEAK])
    day = int(point[_P_BAR_DAY])
    filled = int(point[_P_FILLED])
    for d in range(filled + 1, min(day, len(daily))):
        daily[d] = daily[d - 1] if d > 0 else point[_P_START]
    if 0 <= day < len(daily):
        daily[day] = value
        point[_P_FILLED] = day


# -- one run ----------------------------------------------------------------------------------------------------------


@_compile
def run(
    bars: np.ndarray,
    times: np.ndarray,
    texts: np.ndarray,
    floats: np.ndarray,
    rates: np.ndarray,
    signals: np.ndarray,
    sides: np.ndarray,
    stop_atr: float,
    target_atr: float,
    s: np.ndarray,
    f: np.ndarray,
    daily: np.ndarray,
    trades: np.ndarray,
    metrics: np.ndarray,
) -> int:
    """
    Trade the signals of one window.

    Parameters
    ----------
    bars : np.ndarray
        int64 (n, 4): open, high, low, close in price units; warm-up included.
    times : np.ndarray
        int64 (n, 4): close (UTC ns), settlements at or before it, the last clock step of another symbol that comes
        before this bar and after the one before (0: none), day of the equity point counted from the first (negative in
        the warm-up).
    texts : np.ndarray
        int64 (n, 6): shortest texts of high, low, close and of a buyer's and a seller's fill at the close, and the sum
        of true ranges so far; (0, 6) when no stop moves and none has an activation price.
    floats : np.ndarray
        float64 (n, 4): close, high, low as the engine's floats, ATR.
    rates : np.ndarray
        int64: funding rates over FUNDING_DEN's scale, by settlement.
    signals, sides : np.ndarray
        int64 rows of the votes that may trade, increasing, and +1 or -1.
    stop_atr, target_atr : float
        The set's distances.
    s, f : np.ndarray
        Settings, int64 (N_INTS,) and float64 (N_FLOATS,).
    daily : np.ndarray
        float64 (days,), filled with the last equity of every day.
    trades : np.ndarray
        int64 (room, T_WIDTH), filled with closed trades; no room: only counted.
    metrics : np.ndarray
        float64 (N_METRICS,), filled.

    Returns
    -------
    int
        OK, TOO_FINE (a figure does not fit the exact arithmetic) or NO_ROOM (`trades` has rows, but too few).

    """
    n = len(bars)
    tick = s[TICK]
    scale = s[MONEY_SCALE]
    balance = s[START_BALANCE]
    moves = s[TRAIL] != 0 or s[EVEN] != 0
    watch = s[DAILY_DEN] != 0
    venue = s[VENUE] != 0
    trail = np.zeros(4, np.int64)
    nets = np.zeros(500, np.int64)
    count = 0
    day, day_start, latched = (-1), balance, False
    point = np.zeros(7)
    point[_P_VALUE] = point[_P_PEAK] = point[_P_START] = balance / _MONEY
    point[_P_BAR] = point[_P_FILLED] = point[_P_BAR_DAY] = -1.0
    metrics[:] = 0.0
    k = 0
    earliest = 0
    blocked = barred = -1
    pending = 0
    shown = balance  # as of the last equity point
    i = 0
    while True:
        # -- flat: the next wish ---------------------------------------------------------------------------------------
        if pending:
            side, pending = pending, 0
        else:
            while k < len(signals) and signals[k] < earliest:
                k += 1
            if k == len(signals):
                break
            i, side = signals[k], int(sides[k])
        earliest = i + 1
        if watch:
            today = times[i, CLOSE_NS] // DAY_NS
            if today != day:
                day, day_start, latched = today, balance, False
            latched = latched or breached(balance, day_start, s)
            if latched:
                continue
        if i in (blocked, barred):
            continue
        close = bars[i, CLOSE]
        atr = floats[i, F_ATR]
        wished = floats[i, F_CLOSE] * (1.0 + side * f[ASSUMED])
        reference = on_grid(wished, f[PRICE_SCALE], tick)
        stop = on_grid(wished - side * stop_atr * atr, f[PRICE_SCALE], tick)
        target = on_grid(wished + side * target_atr * atr, f[PRICE_SCALE], tick)
        if min(reference, stop, target) <= 0:
            continue
        if not (side * stop < side * reference < side * target and side * stop < side * close < side * target):
            continue
        quantity = quantity_of(balance, reference, stop, close, s)
        if quantity < 0:
            return TOO_FINE
        if quantity == 0:
            continue
        # -- entry at the close ----------------------------------------------------------------------------------------
        entered = i
        entry = slipped(close, side > 0, s[SLIP_UP], s[SLIP_DOWN], s[SLIP_DEN], tick)
        q_float = as_float(quantity, f[QUANTITY_POWER])
        e_float = as_float(entry, f[PRICE_POWER])
        fees = fee_of(q_float, e_float, s[FEE_NUM], s[FEE_DEN])
        balance -= fees
        funding = 0
        first_stop = stop
        best = 0
        entry_text = 0
        if moves or s[VENUE_FROM_NUM]:
            entry_text = texts[i, TEXT_BUY] if side > 0 else texts[i, TEXT_SELL]
        signed = side * quantity * scale
        _note(point, daily, i, times[i, DAY_INDEX], (balance + signed * (close - entry)) / _MONEY)
        reason = -1
        exit_price = 0
        exit_ns = 0
        inside = late = False
        j = i
        if venue:
            if not _place(trail, side, entry_text, stop, close, s, f):
                return TOO_FINE
            # Orders sent on a close are matched at it; a trigger a callback away may be the close itself on few digits.
            reason, level = _match(close, close, bars[i, OPEN], side, stop, target, trail, s, f)
            if reason >= 0:
                late = True
                exit_price = slipped(level, side < 0, s[TRIGGER_UP], s[TRIGGER_DOWN], s[TRIGGER_DEN], tick)
                exit_ns = times[i, CLOSE_NS]
                if not s[ENTER_ON_EXIT_BAR]:
                    barred, blocked = blocked, j + 1
        while reason < 0:
            j += 1
            if j == n:
                break
            before = bars[j - 1, CLOSE]
            clock = times[j, CLOCK_NS]
            if clock and watch:
                equity = balance + signed * (before - entry)
                latched = latched or breached(equity, day_start, s)
                if clock // DAY_NS != day:
                    day, day_start, latched = clock // DAY_NS, equity, False
            if clock and s[LIQUIDATION] and j == entered + 1:
                last = floats[j - 1, F_CLOSE]
                worst = as_float(balance, _MONEY) + (last - e_float) * (q_float * side)
                notional = q_float * last
                if worst <= notional * f[MAINTENANCE]:
                    cost = q_float * (last * f[CLOSE_COST] + f[TICK_FLOAT])
                    left = max(worst - notional * f[LIQUIDATION_FEE], 0.0) + cost - worst
                    balance += on_grid(left, _MONEY, 1) if left > 0 else -on_grid(-left, _MONEY, 1)
                    j -= 1
                    reason = LIQUIDATED
                    exit_price = slipped(before, side < 0, s[SLIP_UP], s[SLIP_DOWN], s[SLIP_DEN], tick)
                    exit_ns = times[j, CLOSE_NS]
                    continue
            # -- the exchange walks through the bar --------------------------------------------------------------------
            opened, high, low, close = bars[j, OPEN], bars[j, HIGH], bars[j, LOW], bars[j, CLOSE]
            if venue:
                reason, level = _walk(bars[j], before, side, stop, target, trail, s, f)
            elif (low <= stop or high >= target) if side > 0 else (high >= stop or low <= target):
                if side > 0:
                    up, down = target, stop
                else:
                    up, down = stop, target
                if opened <= down:
                    level, upper = opened, False
                elif opened >= up:
                    level, upper = opened, True
                elif high >= up and (low > down or _high_first(opened, high, low, s[RAW_SCALE])):
                    level, upper = up, True
                else:
                    level, upper = down, False
                reason = TAKE_PROFIT if upper == (side > 0) else STOP_LOSS
            if reason >= 0:
                exit_price = slipped(level, side < 0, s[TRIGGER_UP], s[TRIGGER_DOWN], s[TRIGGER_DEN], tick)
                exit_ns = times[j - 1, CLOSE_NS]
                inside = True
                blocked = -1 if s[ENTER_ON_EXIT_BAR] else j
                earliest = j
                continue
            if watch and clock != times[j, CLOSE_NS]:
                equity = balance + signed * (before - entry)
                latched = latched or breached(equity, day_start, s)
                if times[j, CLOSE_NS] // DAY_NS != day:
                    day, day_start, latched = times[j, CLOSE_NS] // DAY_NS, equity, False
            # -- the bar is finished: funding, liquidation -----------------------------------------------------------
            if s[FUNDING_DEN]:
                for at in range(times[j - 1, FUNDING_COUNT], times[j, FUNDING_COUNT]):
                    rate = rates[at]
                    paid = divide(quantity * close, abs(rate), s[FUNDING_DEN], True)
                    if paid < 0:
                        return TOO_FINE
                    paid = -paid if rate * side > 0 else paid
                    funding += paid
                    balance += paid
            if s[LIQUIDATION]:
                price = floats[j, F_LOW] if side > 0 else floats[j, F_HIGH]
                wallet = as_float(balance, _MONEY)
                worst = wallet + (price - e_float) * (q_float * side)
                notional = q_float * price
                if worst <= notional * f[MAINTENANCE]:
                    at_close = wallet + (floats[j, F_CLOSE] - e_float) * (q_float * side)
                    cost = q_float * (floats[j, F_CLOSE] * f[CLOSE_COST] + f[TICK_FLOAT])
                    left = max(worst - notional * f[LIQUIDATION_FEE], 0.0) + cost - at_close
                    balance += on_grid(left, _MONEY, 1) if left > 0 else -on_grid(-left, _MONEY, 1)
                    reason = LIQUIDATED
            # -- the strategy: moved stop, then the wish -------------------------------------------------------------
            while k < len(signals) and signals[k] < j:
                k += 1
            wish = int(sides[k]) if k < len(signals) and signals[k] == j else 0
            sent = refused = False
            if reason < 0 and s[TIME_STOP_NS] and times[j, CLOSE_NS] - times[entered, CLOSE_NS] >= s[TIME_STOP_NS]:
                reason = TIME_STOP
            if moves:
                if best == 0:
                    best = texts[j, TEXT_HIGH] if side > 0 else texts[j, TEXT_LOW]
                elif side > 0:
                    best = max(best, texts[j, TEXT_HIGH])
                else:
                    best = min(best, texts[j, TEXT_LOW])
                if j - entered > _BARS_KEPT:
                    kept = texts[j - _BARS_KEPT + 1 : j + 1]
                    best = kept[:, TEXT_HIGH].max() if side > 0 else kept[:, TEXT_LOW].min()
                if reason < 0:
                    ranges = -1
                    if s[TRAIL] == 2 and j >= s[TRAIL_BARS]:
                        ranges = texts[j, TEXT_RANGES] - texts[j - s[TRAIL_BARS], TEXT_RANGES]
                    moved, fate = moved_stop(side, entry_text, first_stop, stop, best, texts[j, TEXT_CLOSE], ranges, s)
                    if fate < 0:
                        return TOO_FINE
                    if fate:
                        reason = STOP_LOSS
                    elif moved:
                        stop = moved
                        sent = True
                        refused = moved == close  # the text of the close lies above it, the close does not
            if wish == -side:
                pending = wish
                if reason < 0:
                    reason = REVERSE_SIGNAL
            elif wish == side and watch:
                latched = latched or breached(balance + signed * (close - entry), day_start, s)
            if reason < 0 and refused:
                reason = STOP_LOSS
            if venue and sent and reason < 0:
                _queue(trail, side, stop, True, s)
                reason, level = _match(close, close, opened, side, stop, target, trail, s, f)
                late = reason >= 0
            if reason < 0 or late:
                _note(point, daily, j, times[j, DAY_INDEX], (balance + signed * (close - entry)) / _MONEY)
            if reason < 0:
                continue
            if late:
                exit_price = slipped(level, side < 0, s[TRIGGER_UP], s[TRIGGER_DOWN], s[TRIGGER_DEN], tick)
            else:
                exit_price = slipped(close, side < 0, s[SLIP_UP], s[SLIP_DOWN], s[SLIP_DEN], tick)
            exit_ns = times[j, CLOSE_NS]
            earliest = j + 1
            if (reason == STOP_LOSS or late) and not s[ENTER_ON_EXIT_BAR]:
                # The guard takes an exit with this reason for one inside the bar to come. A reversal of this bar still
                # meets what the trade before left behind.
                barred, blocked = blocked, j + 1
        if reason < 0:  # the data ended
            shown = balance
            metrics[M_OPEN] = side * as_float(quantity, f[QUANTITY_POWER])
            metrics[M_BARS_HELD] += n - 1 - entered
            break
        # -- flat again -----------------------------------------------------------------------------------------------
        x_float = as_float(exit_price, f[PRICE_POWER])
        fee = fee_of(q_float, x_float, s[FEE_NUM], s[FEE_DEN])
        points = x_float - e_float if side > 0 else e_float - x_float
        shown = balance
        balance += away(q_float * points * _MONEY) - fee
        fees += fee
        gross = signed * (exit_price - entry)
        net = gross - fees + funding
        nets[count % 500] = net
        count += 1
        if watch and inside and times[j, CLOCK_NS] != times[j, CLOSE_NS]:
            latched = latched or breached(balance, day_start, s)
            if times[j, CLOSE_NS] // DAY_NS != day:
                day, day_start, latched = times[j, CLOSE_NS] // DAY_NS, balance, False
        won = net / _MONEY
        risk = quantity * abs(entry - first_stop) * scale
        metrics[M_TRADES] += 1.0
        metrics[M_WINS] += won > 0.0
        metrics[M_GROSS_WON] += max(won, 0.0)
        metrics[M_GROSS_LOST] -= min(won, 0.0)
        metrics[M_GROSS] += gross / _MONEY
        metrics[M_FEES] += fees / _MONEY
        metrics[M_FUNDING] += funding / _MONEY
        metrics[M_NET_SQUARES] += won * won
        metrics[M_BARS_HELD] += j - entered
        if risk > 0:
            metrics[M_R_SUM] += net / risk
            metrics[M_R_SQUARES] += (net / risk) * (net / risk)
        if len(trades):
            if count > len(trades):
                return NO_ROOM
            row = trades[count - 1]
            row[T_SIDE], row[T_ENTRY_NS], row[T_EXIT_NS] = side, times[entered, CLOSE_NS], exit_ns
            row[T_ENTRY], row[T_EXIT], row[T_QUANTITY], row[T_REASON] = entry, exit_price, quantity, reason
            row[T_GROSS], row[T_FEES], row[T_FUNDING] = gross, fees, funding
            row[T_STOP], row[T_TARGET] = first_stop, target
        ended = killed(nets, count, s, f[SLOW_FACTOR])
        if balance <= 0 or reason == LIQUIDATED:
            ended = 3 if s[LIQUIDATION] else 4
            if s[LIQUIDATION]:
                balance = max(balance, 0)  # what was lost beyond the account the insurance fund carries
        if not late:
            shown = balance
            _note(point, daily, j, times[j, DAY_INDEX], balance / _MONEY)
        elif j + 1 < n:  # the recorder takes it for one inside the bar to come
            shown = balance
            _note(point, daily, j + 1, times[j + 1, DAY_INDEX], balance / _MONEY)
        if ended:
            metrics[M_ENDED] = ended
            break
        i = j
    _flush(point, daily)
    for d in range(int(point[_P_FILLED]) + 1, len(daily)):
        daily[d] = point[_P_VALUE]
    metrics[M_MAX_DRAWDOWN] = point[_P_WORST]
    metrics[M_BALANCE] = shown / _MONEY
    metrics[M_EQUITY] = point[_P_VALUE]
    return OK


@_compile
def slipped_all(prices: np.ndarray, multiple: int, den: int, tick: int) -> np.ndarray:
    """Return :func:`slipped` of every price."""
    out = np.empty(len(prices), np.int64)
    for i in range(len(prices)):
        out[i] = slipped(prices[i], True, multiple, multiple, den, tick)
    return out
