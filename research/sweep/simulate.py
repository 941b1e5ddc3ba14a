"""
Simulate parameter sets on a prepared market: trades of one, figures and daily returns of many.

Deterministic: the same inputs give the same bits, whatever the number of threads or processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from research.sweep import kernel as k
from research.sweep.market import Market, Window
from research.sweep.settings import Settings
from strategies.errors import DataError
from strategies.kernel.params import CompositeParams
from strategies.kernel.step import votes_of

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]

_NOTHING = 1e-9
_YEAR = 365.0
_ENDINGS = ("", "fast_kill", "slow_kill", "liquidated", "ruined")


@dataclass(frozen=True, slots=True)
class Trades:
    """
    Closed round trips, oldest first, as arrays of equal length.

    Attributes
    ----------
    side : ndarray of int64
        +1 long, -1 short.
    entry_ns, exit_ns : ndarray of int64
        Market time as the node records it: the close of the symbol's last finished bar, UTC ns.
    entry_price, exit_price, quantity, stop, target : ndarray of float64
        Fills in quote currency and base units; the levels granted at the entry.
    gross, fees, funding, net : ndarray of float64
        USDT; funding is negative when paid.
    r : ndarray of float64
        Net result over the money between entry and first stop.
    reason : ndarray of str
        As the node's exit reasons.

    """

    side: Ints
    entry_ns: Ints
    exit_ns: Ints
    entry_price: Floats
    exit_price: Floats
    quantity: Floats
    stop: Floats
    target: Floats
    gross: Floats
    fees: Floats
    funding: Floats
    net: Floats
    r: Floats
    reason: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.side)


@dataclass(frozen=True, slots=True)
class Simulation:
    """
    One run of one parameter set.

    Attributes
    ----------
    trades : Trades
        Closed round trips.
    days : ndarray of int64
        Days since 1970-01-01 UTC.
    daily_equity : ndarray of float64
        Last equity of each day, unrealised profit included, USDT.
    start_balance, final_balance, final_equity : float
        USDT.
    max_drawdown : float
        Largest fall of equity at a bar's close from its maximum, a fraction.
    open_quantity : float
        Signed quantity still open at the end.
    ended : str
        Why trading ended early: ``fast_kill``, ``slow_kill``, ``liquidated``, ``ruined``; empty if it did not.

    """

    trades: Trades
    days: Ints
    daily_equity: Floats
    start_balance: float
    final_balance: float
    final_equity: float
    max_drawdown: float
    open_quantity: float
    ended: str

    @property
    def daily_returns(self) -> Floats:
        """Simple returns of equity per day, the first from the start balance."""
        return returns_of(self.start_balance, self.daily_equity)


@dataclass(frozen=True, slots=True)
class Grid:
    """
    Figures of N parameter sets in W windows, every window with a fresh account.

    Attributes
    ----------
    figures : dict of str to ndarray of float64, shape (N, W)
        ``trades, wins, net, gross_won, gross_lost, gross, fees, funding, r_sum, r_squares, net_squares, max_drawdown,
        balance, equity, open_quantity, bars_held, ended`` as the kernel counts them, and derived from them
        ``profit_factor`` (NaN without a loss), ``sharpe`` (daily, annualised by sqrt(365), NaN without variance),
        ``win_rate``, ``expectancy_r``.
    daily_returns : list of ndarray of float64, shape (days, N)
        Per window; empty unless asked for.
    days : list of ndarray of int64
        Per window, days since 1970-01-01 UTC.

    """

    figures: dict[str, Floats]
    daily_returns: list[Floats]
    days: list[Ints]


def simulate(
    market: Market,
    params: CompositeParams,
    settings: Settings | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Simulation:
    """
    Run one parameter set with a fresh account over ``[start_ns, end_ns)``.

    Parameters
    ----------
    market : Market
        See :func:`research.sweep.market.prepare`.
    params : CompositeParams
        Vote and distances.
    settings : Settings, optional
        ``market.settings(config)``; the market's own configuration by default.
    start_ns, end_ns : int, optional
        Bars that open in between may trade, UTC ns; all of the market by default.

    Returns
    -------
    Simulation
        The trades BacktestNode makes with the same configuration, parameters and window.

    Raises
    ------
    DataError
        Propagate: the window is not inside the market, or a figure is too large or fine for exact arithmetic.

    """
    settings = market.settings() if settings is None else settings
    window = market.window(start_ns, end_ns)
    rows, sides = _signals(window, params, settings)
    daily, metrics = np.empty(len(window.days)), np.empty(k.N_METRICS)
    trades = np.zeros((len(rows) + 1, k.T_WIDTH), np.int64)
    _run(market, window, (rows, sides), params, settings, daily, trades, metrics)
    return Simulation(
        trades=_trades(market, trades[: int(metrics[k.M_TRADES])]),
        days=window.days,
        daily_equity=daily,
        start_balance=settings.balance,
        final_balance=float(metrics[k.M_BALANCE]),
        final_equity=float(metrics[k.M_EQUITY]),
        max_drawdown=float(metrics[k.M_MAX_DRAWDOWN]),
        open_quantity=float(metrics[k.M_OPEN]),
        ended=_ENDINGS[int(metrics[k.M_ENDED])],
    )


def simulate_many(
    market: Market,
    sets: Sequence[CompositeParams],
    windows: Sequence[tuple[int, int]] | None = None,
    settings: Settings | None = None,
    *,
    returns: bool = False,
) -> Grid:
    """
    Run many parameter sets over the same windows.

    Parameters
    ----------
    market : Market
        See :func:`research.sweep.market.prepare`.
    sets : sequence of CompositeParams
        N parameter sets.
    windows : sequence of (start_ns, end_ns), optional
        W windows; one, all of the market, by default.
    settings : Settings, optional
        The market's own by default.
    returns : bool
        Also return the daily returns of every set (T x N per window).

    Raises
    ------
    DataError
        Propagate: see :func:`simulate`.

    """
    settings = market.settings() if settings is None else settings
    spans = [market.window(*w) for w in (windows if windows is not None else [(None, None)])]
    metrics = np.empty((len(sets), len(spans), k.N_METRICS))
    sharpe = np.full((len(sets), len(spans)), np.nan)
    matrices: list[Floats] = []
    none = np.empty((0, k.T_WIDTH), np.int64)
    for w, window in enumerate(spans):
        votes: dict[tuple[float, float, float], tuple[Ints, npt.NDArray[np.int8]]] = {}
        daily = np.empty((len(sets), len(window.days)))
        for n, params in enumerate(sets):
            key = (params.signal_threshold, params.adx_threshold, params.volume_multiplier)
            if key not in votes:
                votes[key] = _signals(window, params, settings)
            _run(market, window, votes[key], params, settings, daily[n], none, metrics[n, w])
        rates = returns_of(settings.balance, daily)
        sharpe[:, w] = _sharpe(rates)
        if returns:
            matrices.append(np.ascontiguousarray(rates.T))
    return Grid(figures=_figures(metrics, sharpe), daily_returns=matrices, days=[w.days for w in spans])


def returns_of(start: float, daily: Floats) -> Floats:
    """Return simple returns of the last axis (days), the first day from `start` USDT; 0 where nothing was left."""
    before = np.concatenate([np.full((*daily.shape[:-1], 1), start), daily[..., :-1]], axis=-1)
    return np.asarray((daily - before) / np.maximum(before, 1e-12))


def _signals(window: Window, params: CompositeParams, settings: Settings) -> tuple[Ints, npt.NDArray[np.int8]]:
    rows = np.empty(len(window.votes), np.int64)
    sides = np.empty(len(window.votes), np.int8)
    count = votes_of(
        window.votes,
        window.volume,
        max(window.first, settings.warmup_bars),
        float(params.signal_threshold),
        float(params.adx_threshold),
        float(params.volume_multiplier),
        rows,
        sides,
    )
    return rows[:count].copy(), sides[:count].copy()


def _run(
    market: Market,
    window: Window,
    votes: tuple[Ints, npt.NDArray[np.int8]],
    params: CompositeParams,
    settings: Settings,
    daily: Floats,
    trades: Ints,
    metrics: Floats,
) -> None:
    texts = market.texts(settings)
    status = k.run(
        market.units[window.begin : window.end],
        window.times,
        texts[window.begin : window.end],
        window.floats,
        market.rates,
        votes[0],
        votes[1],
        float(params.stop_atr),
        float(params.target_atr),
        settings.ints,
        settings.floats,
        daily,
        trades,
        metrics,
    )
    if status != k.OK:
        raise DataError(
            f"{market.symbol}: {params}: a figure is too large or too fine for exact arithmetic: use a smaller balance "
            "or coarser protection options"
        )


def _trades(market: Market, rows: Ints) -> Trades:
    instrument = market.instrument
    price, size = 10.0**instrument.price_precision, 10.0**instrument.quantity_precision
    scale = 10 ** (8 - instrument.price_precision - instrument.quantity_precision)
    net = rows[:, k.T_GROSS] - rows[:, k.T_FEES] + rows[:, k.T_FUNDING]
    risk = rows[:, k.T_QUANTITY] * np.abs(rows[:, k.T_ENTRY] - rows[:, k.T_STOP]) * scale
    return Trades(
        side=rows[:, k.T_SIDE],
        entry_ns=rows[:, k.T_ENTRY_NS],
        exit_ns=rows[:, k.T_EXIT_NS],
        entry_price=rows[:, k.T_ENTRY] / price,
        exit_price=rows[:, k.T_EXIT] / price,
        quantity=rows[:, k.T_QUANTITY] / size,
        stop=rows[:, k.T_STOP] / price,
        target=rows[:, k.T_TARGET] / price,
        gross=rows[:, k.T_GROSS] / 1e8,
        fees=rows[:, k.T_FEES] / 1e8,
        funding=rows[:, k.T_FUNDING] / 1e8,
        net=net / 1e8,
        r=np.divide(net, risk, out=np.full(len(rows), np.nan), where=risk > 0),
        reason=np.array(k.REASONS)[rows[:, k.T_REASON]],
    )


def _sharpe(rates: Floats) -> Floats:
    if rates.shape[-1] < 2:
        return np.full(rates.shape[:-1], np.nan)
    deviation = np.std(rates, axis=-1, ddof=1)
    known = deviation > 1e-15
    return np.where(known, np.mean(rates, axis=-1) / np.where(known, deviation, 1.0) * np.sqrt(_YEAR), np.nan)


def _figures(metrics: Floats, sharpe: Floats) -> dict[str, Floats]:
    at = {
        "trades": k.M_TRADES,
        "wins": k.M_WINS,
        "gross_won": k.M_GROSS_WON,
        "gross_lost": k.M_GROSS_LOST,
        "gross": k.M_GROSS,
        "fees": k.M_FEES,
        "funding": k.M_FUNDING,
        "r_sum": k.M_R_SUM,
        "r_squares": k.M_R_SQUARES,
        "net_squares": k.M_NET_SQUARES,
        "max_drawdown": k.M_MAX_DRAWDOWN,
        "balance": k.M_BALANCE,
        "equity": k.M_EQUITY,
        "open_quantity": k.M_OPEN,
        "bars_held": k.M_BARS_HELD,
        "ended": k.M_ENDED,
    }
    figures = {name: metrics[..., column].copy() for name, column in at.items()}
    trades, won, lost = figures["trades"], figures["gross_won"], figures["gross_lost"]
    some = np.maximum(trades, 1.0)
    figures["net"] = won - lost
    figures["profit_factor"] = np.where(lost > _NOTHING, won / np.maximum(lost, _NOTHING), np.nan)
    figures["win_rate"] = np.where(trades > 0, figures["wins"] / some, np.nan)
    figures["expectancy_r"] = np.where(trades > 0, figures["r_sum"] / some, np.nan)
    figures["sharpe"] = sharpe
    return figures
