"""Every doubt on one result, from what the result holds, the trial ledger, and the catalog where it is at hand."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.instruments import load_instruments
from node.backtest_run import BacktestResult, run_backtest
from node.config import FeesConfig, NodeConfig
from research.doubt.bootstrap import examine_intervals, examine_paired, profit_factor
from research.doubt.luck import examine_costs, examine_months, examine_order
from research.doubt.on_bars import examine_on_bars, node_config
from research.doubt.overfit import examine_overfit, examine_superiority
from research.doubt.result import Ranked, Run, read_plan, result_file
from research.doubt.sharpe import examine_sharpe
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from strategies.errors import ArgonautError
from trials import search_effort

Floats = npt.NDArray[np.float64]


class Options(NamedTuple):
    """Ledger and catalog (None: the default, and the configuration's), seed, resamples, engine re-runs."""

    ledger: Path | None = None
    catalog: Path | None = None
    seed: int = 7
    reps: int = 2_000
    rerun: bool = False


def examine_run(run: Run, options: Options, *, choice: bool = True) -> list[Doubt]:
    """
    Return every doubt on a result; without `choice` only those that are not on what it was chosen from.

    Raises
    ------
    DataError
        Fail closed: the trial ledger is damaged.

    """
    trades = run.trades
    doubts = [*_deflated(run, options), *(examine_choice(run, options) if choice else [])]
    doubts += examine_intervals(trades.net, run.returns, seed=options.seed, reps=options.reps)
    equity = run.balance + np.concatenate([[0.0], np.cumsum(trades.net)[:-1]]) if len(trades) else np.empty(0)
    doubts.append(examine_order(trades.net / np.maximum(equity, 1e-9), seed=options.seed))
    doubts.append(examine_months(trades.month, trades.net))
    doubts.append(examine_costs(trades.net, trades.fees, slippage_paid(run)))
    doubts += examine_on_bars(run, options.catalog, options.seed)
    doubts += _model(run)
    if options.rerun:
        doubts += _rerun(run, options)
    return doubts


def examine_runs(runs: dict[str, Run], options: Options) -> dict[str, list[Doubt]]:
    """
    Return every doubt on a backtest, or on each account and gate mode of a walk-forward, by name.

    What an account chose, and from what, its gate modes share: it stands once, under the account's own name.
    """
    found: dict[str, list[Doubt]] = {}
    for name, run in runs.items():
        account = name.rpartition(" ")[0]
        if name and account not in found:
            found[account] = examine_choice(run, options)
        found[name] = examine_run(run, options, choice=not name)
    return found


def examine_gates(runs: dict[str, Run], options: Options) -> list[Doubt]:
    """Return, per account of a walk-forward, the paired doubt of each gate mode against ``off`` on the same days."""
    doubts = []
    for name, run in runs.items():
        account, _, gate = name.rpartition(" ")
        off = runs.get(f"{account} off")
        if gate in ("", "off", "shadow") or off is None:
            continue
        title = f"{account}: gate {gate} against off"
        if len(off.returns) != len(run.returns):
            doubts.append(unknown(title, Reason.UNAVAILABLE, "the two runs cover different days (ruin)"))
            continue
        doubts.append(examine_paired(run.returns, off.returns, seed=options.seed, reps=options.reps, name=title))
    return doubts


def examine_study(path: Path, catalog: Path | None) -> list[Doubt]:
    """
    Return the doubts on a walk-forward's stored files and on the models it trained, each examined anew; else none.

    Raises
    ------
    DataError
        Propagate: no result there.

    """
    file = result_file(path)
    stored = file.read_bytes()
    plain = msgspec.json.decode(stored)
    if not isinstance(plain, dict) or "variants" not in plain:
        return []
    from research.walkforward.models import (  # noqa: PLC0415 - a study imports most of this project
        examine_models,
        examine_stored,
    )

    planned = read_plan(file.parent)
    if planned is None:
        why = f"{file}: the study's plan (config.json of this version) is not beside it"
        return [unknown("fold models", Reason.UNAVAILABLE, why)]
    whole = examine_stored(file.parent, planned, stored)
    return [whole, *examine_models(file.parent, planned, plain["variants"], catalog)]


def examine_ranked(ranking: list[Ranked], options: Options) -> list[Doubt]:
    """
    Return a sweep's verdicts on the first of its ranking, deflated by all that was tried until now.

    Where the returns of every set are at hand, so are the verdicts on having chosen among them: computed anew.
    """
    doubts = []
    for symbol, stored, first, matrix, ranked_on in ranking:
        effort = search_effort([symbol], ledger=options.ledger, catalog=options.catalog or ranked_on)
        fresh = {}
        if matrix is not None:
            again = [examine_overfit(matrix), examine_superiority(matrix, options.seed)]
            if effort.runs:
                again += examine_sharpe(matrix[:, first], max(effort.trials, 1.0), effort.daily_variance)
            fresh = {d.name: d for d in again}
        doubts += [msgspec.structs.replace(fresh.get(d.name, d), name=f"{symbol}: {d.name}") for d in stored]
    return doubts


def slippage_paid(run: Run) -> Floats:
    """Return the slippage of each trade in USDT as configured: market fills, and triggered exits, on entry notional."""
    backtest = run.config.get("backtest", {})
    market, trigger = (float(backtest.get(k, 0.0)) / 1e4 for k in ("slippage_bps", "trigger_slippage_bps"))
    notional = run.trades.entry * run.trades.quantity
    return np.asarray(notional * (market + np.where(run.trades.inside, trigger, market)))


def _catalog(run: Run, options: Options) -> Path | None:
    named = run.config.get("catalog")
    return options.catalog or (Path(named) if named else None)


def _deflated(run: Run, options: Options) -> list[Doubt]:
    effort = search_effort(run.symbols, ledger=options.ledger, catalog=_catalog(run, options))
    doubts = examine_sharpe(run.returns, max(effort.trials, 1.0), effort.daily_variance)
    if effort.runs == 0 and run.trial_returns is None and doubts[-1].passed is not None:
        why = "the trial ledger holds no run on these symbols: nobody knows how many were tried"
        doubts[-1] = unknown(doubts[-1].name, Reason.UNAVAILABLE, why)
    elif effort.runs == 0 and run.trial_returns is not None:
        from trials import effective_number  # noqa: PLC0415 - only where the ledger knows nothing

        matrix = run.trial_returns
        spread = matrix.std(axis=0, ddof=1)
        ratios = np.where(spread > 0, matrix.mean(axis=0) / np.where(spread > 0, spread, 1.0), 0.0)
        doubts = examine_sharpe(run.returns, effective_number(matrix), float(ratios.var(ddof=1)))
    return doubts


def examine_choice(run: Run, options: Options) -> list[Doubt]:
    """
    Return the doubts on having chosen among what was tried: from the returns of every trial where they are at hand.

    A walk-forward also stored what they said, and with it the stability of its choices.
    """
    if run.choice is not None:
        anew = {}
        if run.trial_returns is not None:
            again = (examine_overfit(run.trial_returns), examine_superiority(run.trial_returns, options.seed))
            anew = {d.name: d for d in again}
        return [anew.get(d.name, d) for d in run.choice]
    if run.trial_returns is None:
        why = "what every trial earned is not stored beside the result (trial_returns, or --trials FILE)"
        names = ("probability of backtest overfitting", "reality check")
        return [unknown(name, Reason.UNAVAILABLE, why) for name in names]
    return [examine_overfit(run.trial_returns), examine_superiority(run.trial_returns, options.seed)]


def _model(run: Run) -> list[Doubt]:
    gate = run.config.get("gate", {})
    if gate.get("mode", "off") == "off":
        return []
    from research.doubt.model import examine_model, examine_training_period, read_manifest  # noqa: PLC0415 - with a gate

    folder = Path(gate.get("model_dir", ""))
    doubts = examine_model(folder)
    try:
        doubts.append(examine_training_period(read_manifest(folder), run.start))
    except (OSError, ValueError) as e:
        doubts.append(unknown("model against test period", Reason.UNAVAILABLE, f"{folder}: {e}"))
    return doubts


def _rerun(run: Run, options: Options) -> list[Doubt]:
    """Run the engine again with costs twice and three times, and with orders that arrive a bar late."""
    names = ("costs in the engine", "one bar late in the engine")
    if run.windows is not None:
        why = "a walk-forward has parameters of their own in every window: examine one window's run"
        return [unknown(n, Reason.UNAVAILABLE, why) for n in names]
    try:
        config = node_config(run, options.catalog)
        rate = config.backtest.fees
        if rate is None:
            spec = load_instruments()[config.symbols[0]]
            rate = FeesConfig(maker=str(spec.maker_fee), taker=str(spec.taker_fee))
        results = {f"x{k}": run_backtest(_costlier(config, rate, k), log_level="OFF") for k in (1, 2, 3)}
        late = run_backtest(_with(config, latency_ms=1_000.0), log_level="OFF")
    except (ArgonautError, KeyError) as e:
        return [unknown(n, Reason.UNAVAILABLE, f"cannot be run again: {e}") for n in names]
    table = {k: _brief(r) for k, r in results.items()}
    text = ", ".join(f"{k}: {v['net']:+.2f}" for k, v in table.items())
    once, twice = table["x1"]["net"], table["x2"]["net"]
    costs = stands(names[0], f"net at costs {text}", **table)
    if once > 0 and twice <= 0:
        costs = falls(names[0], Reason.COSTS_EAT_IT, f"net at costs {text}", **table)
    brief = _brief(late)
    text = f"net {once:+.2f} on time, {brief['net']:+.2f} one bar late"
    delay = stands(names[1], text, on_time=table["x1"], late=brief)
    if once > 0 and brief["net"] <= 0:
        delay = falls(names[1], Reason.DELAY_EATS_IT, text, on_time=table["x1"], late=brief)
    return [costs, delay]


def _costlier(config: NodeConfig, rate: FeesConfig, times: int) -> NodeConfig:
    fees = FeesConfig(maker=str(float(rate.maker) * times), taker=str(float(rate.taker) * times))
    b = config.backtest
    return _with(
        config,
        fees=fees,
        slippage_bps=b.slippage_bps * times,
        trigger_slippage_bps=b.trigger_slippage_bps * times,
    )


def _with(config: NodeConfig, **changes: Any) -> NodeConfig:
    return msgspec.structs.replace(config, backtest=msgspec.structs.replace(config.backtest, **changes))


def _brief(result: BacktestResult) -> dict[str, Any]:
    nets = np.array([t.net_pnl for t in result.trades])
    factor = profit_factor(nets)
    return {"trades": len(nets), "net": float(nets.sum()), "profit_factor": factor if np.isfinite(factor) else None}
