"""The compiled simulation makes the trades of BacktestNode: random sets, three symbols, generated and real months."""

import multiprocessing
import os
import sys

import numpy as np
import pytest

from research.sweep.check import first_difference, node_run
from research.sweep.market import prepare
from research.sweep.simulate import simulate
from tests.research.sweep.sweep_kit import DATA, SYMBOLS, on, random_config, random_params


def compare(base, catalog, seed, symbol, window):
    """Return (difference or None, trades, reasons) of one random configuration."""
    random = np.random.default_rng([seed, SYMBOLS.index(symbol)])
    context = () if random.random() < 0.5 else ("BTCUSDT", "ETHUSDT")
    config = random_config(on(base, catalog, symbol, context), random, start=window[0], end=window[1])
    params = random_params(random)
    market = prepare(config, symbol)
    ours = simulate(market, params)
    node = node_run(config, symbol, params, market.start_ns, market.end_ns)
    return first_difference(ours, node), len(ours.trades), {*ours.trades.reason.tolist(), ours.ended}


def _run(job):
    seed, symbol, window, catalog, base = job
    try:
        return (seed, symbol, *compare(base, catalog, seed, symbol, window))
    except Exception as e:  # noqa: BLE001 - the worker's fault must name its seed
        return seed, symbol, f"{type(e).__name__}: {e}", 0, set()


def report(outcomes):
    differences = [f"seed {seed} {symbol}: {difference}" for seed, symbol, difference, _, _ in outcomes if difference]
    assert not differences, "\n".join(differences)
    reasons = set().union(*(reasons for *_, reasons in outcomes))
    return sum(trades for _, _, _, trades, _ in outcomes), reasons


def jobs(seeds, window, catalog, base):
    return [(seed, symbol, window, catalog, base) for seed in seeds for symbol in SYMBOLS]


def test_twenty_five_sets_of_three_generated_symbols(generated, base):
    outcomes = [_run(job) for job in jobs(range(25), ("2025-04-20", "2025-04-27"), generated, base)]
    trades, reasons = report(outcomes)
    assert trades > 250
    assert {"STOP_LOSS", "TAKE_PROFIT", "REVERSE_SIGNAL", "TIME_STOP", "TRAILING_STOP"} <= reasons


def test_a_few_sets_of_all_generated_days(generated, base):
    outcomes = [_run(job) for job in jobs(range(112, 113), ("2025-04-03", "2025-06-29"), generated, base)]
    assert report(outcomes)[0] > 100


@pytest.mark.soak
def test_two_hundred_sets_of_three_symbols(request, base):
    """Each over four random weeks, real ones where they lie; SWEEP_SEED, SWEEP_SETS and SWEEP_DAYS choose others."""
    catalog = request.getfixturevalue("real" if DATA is not None else "generated")
    first, sets = int(os.environ.get("SWEEP_SEED", "1000")), int(os.environ.get("SWEEP_SETS", "200"))
    days = int(os.environ.get("SWEEP_DAYS", "28"))
    work = []
    for seed in range(first, first + sets):
        day = np.datetime64("2025-04-03") + np.random.default_rng(seed).integers(150 if DATA is not None else 60)
        work += jobs([seed], (str(day), str(day + np.timedelta64(days, "D"))), catalog, base)
    sys.stderr.write(f"seeds {first} to {first + sets - 1}\n")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        outcomes = []
        for outcome in pool.imap_unordered(_run, work):
            outcomes.append(outcome)
            if outcome[2] or len(outcomes) % 25 == 0:
                sys.stderr.write(f"{len(outcomes)} of {len(work)}: {outcome}\n")
    trades, reasons = report(outcomes)
    sys.stderr.write(f"{len(outcomes)} runs, {trades} trades equal, reasons {sorted(reasons)}\n")
    assert trades > 10 * sets
    exits = {"STOP_LOSS", "TAKE_PROFIT", "REVERSE_SIGNAL", "TIME_STOP", "TRAILING_STOP"}
    assert exits | {"fast_kill", "slow_kill"} <= reasons
