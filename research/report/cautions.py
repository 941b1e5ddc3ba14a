"""The warnings box: each warning has a name, so that a test and a reader can look for it."""

from collections.abc import Iterator
from enum import StrEnum, unique

import msgspec
import numpy as np

from research.doubt.luck import examine_months
from research.doubt.sharpe import examine_sharpe
from research.report.readings import month_of
from research.report.subject import Run

FEW_TRADES = 30
TRADES_PER_PARAMETER = 10
DEEP = 0.3
_NO_MODEL = ("ml_no_model", "ml_broken_model", "ml_expired", "ml_schema_mismatch", "ml_levels_mismatch", "ml_error")


@unique
class Caution(StrEnum):
    """Why a result is to be doubted."""

    SYNTHETIC = "synthetic"
    UNKNOWN_ORIGIN = "unknown_origin"
    NOT_RECORDED = "not_in_the_trial_ledger"
    RUIN = "ruin"
    NO_TRADES = "no_trades"
    FEW_TRADES = "few_trades"
    MANY_PARAMETERS = "many_parameters"
    MANY_TRIALS = "many_trials"
    ONE_MONTH = "one_month_carries_it"
    COVERS_ONE = "profit_factor_covers_one"
    NO_INTERVAL = "no_interval"
    DEFLATED = "deflated_sharpe"
    PARTLY_TESTED = "partly_tested"
    DRAWDOWN = "deep_drawdown"
    GATE_NO_EFFECT = "gate_no_effect"
    GATE_WITHOUT_MODEL = "gate_without_model"
    FORCED_EXITS = "forced_exits"
    INCIDENTS = "incidents"


class Warned(msgspec.Struct, frozen=True):
    """One warning."""

    caution: Caution
    text: str


def cautions(run: Run, effort: tuple[float, float] | None = None) -> list[Warned]:
    """
    Return what speaks against believing a run, the gravest first.

    Parameters
    ----------
    run : Run
        The run.
    effort : (float, float), optional
        Effective number of trials, and the variance of their daily Sharpe ratios, from the trial ledger.

    """
    return [Warned(c, t) for part in (_data(run), _counts(run), _profit(run, effort), _course(run)) for c, t in part]


type _Found = Iterator[tuple[Caution, str]]


def _data(run: Run) -> _Found:
    if run.synthetic:
        yield Caution.SYNTHETIC, "SYNTHETIC data: no figure says anything about a market"
    elif run.synthetic is None:
        yield Caution.UNKNOWN_ORIGIN, "the origin of the data is not recorded in the catalog; they may be SYNTHETIC"
    if not run.recorded:
        text = "the run is in no line of this trial ledger: how many were tried before it is not known"
        yield Caution.NOT_RECORDED, text
    if run.ended == "ruin":
        yield Caution.RUIN, "the account was ruined: the walk ended there, later windows were not traded"


def _counts(run: Run) -> _Found:
    trades = run.statistics.trades
    if trades == 0:
        yield Caution.NO_TRADES, "no trade: nothing was shown"
    elif trades < FEW_TRADES:
        yield Caution.FEW_TRADES, f"{trades} trades are too few to conclude anything (fewer than {FEW_TRADES})"
    if run.tuned and trades < TRADES_PER_PARAMETER * run.tuned:
        each = f"fewer than {TRADES_PER_PARAMETER} trades for each"
        yield Caution.MANY_PARAMETERS, f"{run.tuned} parameters were fitted, {trades} trades made: {each}"
    if run.tried > max(trades, 1):
        yield Caution.MANY_TRIALS, f"{run.tried} sets were tried over all folds, and {trades} trades judge them"


def _profit(run: Run, effort: tuple[float, float] | None) -> _Found:
    s = run.statistics
    months = examine_months([month_of(t.exit_time) for t in run.trades], np.array([t.net_pnl for t in run.trades]))
    if months.passed is False:
        yield Caution.ONE_MONTH, f"one month carries the profit: {months.detail}"
    bounds = run.intervals.get("profit_factor")
    if s.trades and bounds is None:
        yield Caution.NO_INTERVAL, f"{s.trades} trades, too few or too one-sided for an interval of the profit factor"
    elif bounds is not None and bounds[0] <= 1.0 <= bounds[1]:
        factor = "-" if s.profit_factor is None else f"{s.profit_factor:.2f}"
        yield (
            Caution.COVERS_ONE,
            f"profit factor {factor}: its 95 % interval {bounds[0]:.2f} to {bounds[1]:.2f} covers 1, no edge is shown",
        )
    if effort is not None and len(run.daily_returns) > 1:
        for doubt in examine_sharpe(np.array(run.daily_returns), *effort):
            if doubt.name == "deflated Sharpe" and doubt.passed is False:
                yield Caution.DEFLATED, f"deflated Sharpe ratio: {doubt.detail}"


def _course(run: Run) -> _Found:
    s = run.statistics
    if run.tested_share is not None and run.tested_share < 0.999:
        yield (
            Caution.PARTLY_TESTED,
            f"{run.tested_share:.1%} of the history at hand was tested; the rest was needed to choose on",
        )
    if s.max_drawdown >= DEEP:
        yield Caution.DRAWDOWN, f"equity fell by {s.max_drawdown:.1%} from its highest point"
    gate = run.gate_figures
    if gate is not None:
        absent = sum(gate.reasons.get(reason, 0) for reason in _NO_MODEL)
        if absent:
            yield Caution.GATE_WITHOUT_MODEL, f"{absent} signals met a gate that had no usable model"
        if gate.net_r_difference_95 is None:
            counts = f"{gate.passed} signals above and {gate.blocked} below the threshold"
            yield Caution.GATE_NO_EFFECT, f"gate: {counts} are too few to show that it chooses"
        elif gate.net_r_difference_95[0] <= 0.0:
            low, high = gate.net_r_difference_95
            text = f"signals above minus below the threshold {low:+.2f} to {high:+.2f} net R (95 %)"
            yield Caution.GATE_NO_EFFECT, f"gate: {text}, not shown to choose better than chance"
    forced = sum(t.exit_reason == "END_OF_FOLD" for t in run.trades)
    if forced:
        yield Caution.FORCED_EXITS, f"{forced} of {s.trades} trades were closed only because a test window ended"
    if run.incidents:
        listed = ", ".join(f"{name} ({count})" for name, count in run.incidents.items())
        yield Caution.INCIDENTS, f"incidents during the run: {listed}"
