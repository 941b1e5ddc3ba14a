"""
The gate on against the gate off: the same configuration, the same bars, both runs in the engine of record.

``python -m research.gate_effect --config config/demo.yaml --json var/research/gate.json``

Per signal: what the passed ones paid against all (labels of the node's own costs, blocks of days resampled). On equity:
daily returns of both runs, blocks of days resampled together. What blocked signals would have made is in the JSON, by
reason.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strategies.startup import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.config import NodeConfig
    from strategies.records import SignalRecord, VerdictRecord


class Counterfactual(NamedTuple):
    """
    What a signal made, or would have made had nothing blocked it.

    Attributes
    ----------
    signal_id, symbol, side : str
        Which.
    blocked_by : str
        ``<gate>:<reason>`` of the verdict that blocked it; empty if none did.
    outcome : str
        ``target``, ``stop``, ``horizon``; ``unresolved``: the catalog ends before a barrier or has a gap.
    net_r : float or None
        Result in units of planned risk.
    close_time, resolved : int
        Close of the signal's bar; close of the last bar its outcome has seen. UTC ns.
    score : float or None
        The ML gate's, where it was asked.

    """

    signal_id: str
    symbol: str
    side: str
    blocked_by: str
    outcome: str
    net_r: float | None
    close_time: int
    resolved: int
    score: float | None


def counterfactuals(
    config: "NodeConfig", signals: "Sequence[SignalRecord]", verdicts: "Sequence[VerdictRecord]", horizon_bars: int = 96
) -> list[Counterfactual]:
    """
    Resolve every signal on the bars that followed.

    Records come from a backtest's result or a live node's journal, bars from the catalog: only market time is used, so
    the same signals give the same answer at any later moment, and a restart loses nothing.

    Raises
    ------
    ConfigError, DataError
        Propagate: the node protects in a way no label follows; the catalog lacks a series.

    """
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    from catalog.instruments import interval_ns, load_instruments  # noqa: PLC0415 - as above
    from catalog.reader import load_bars, load_funding  # noqa: PLC0415 - as above
    from research.labels import LabelConfig, Settlements, SignalBars, label_signals  # noqa: PLC0415 - as above
    from research.live_labels import label_of  # noqa: PLC0415 - as above
    from strategies.barriers import Outcome  # noqa: PLC0415 - as above
    from strategies.params_file import load_params  # noqa: PLC0415 - as above

    step, specs = interval_ns(config.interval), load_instruments()
    blocked = {v.signal_id: f"{v.gate}:{v.reason}" for v in verdicts if not v.passed and v.gate != "challenger"}
    scores = {v.signal_id: v.score for v in verdicts if v.gate == "ml"}
    found = []
    for symbol in dict.fromkeys(s.symbol for s in signals):
        own = [s for s in signals if s.symbol == symbol and s.market_time is not None]
        bars = load_bars(Path(config.catalog), symbol, config.interval)
        funding = load_funding(Path(config.catalog), symbol)
        closes = bars.open_time + step
        times = np.array([s.market_time for s in own], dtype=np.int64)
        at = np.minimum(np.searchsorted(closes, times), len(closes) - 1)
        params = load_params(Path(config.strategy.file), symbol)
        side = np.array([1 if s.side == "LONG" else -1 for s in own], dtype=np.int64)
        atr = np.array([abs(s.reference_price - s.stop_price) for s in own]) / params.stop_atr
        labels = label_signals(
            (bars.open, bars.high, bars.low, bars.close),
            SignalBars(at, side, atr),
            (params.stop_atr, params.target_atr),
            label_of(config, symbol, LabelConfig(horizon_bars=horizon_bars)),
            tick=float(specs[symbol].price_tick) if symbol in specs else None,
            settlements=Settlements(closes, funding.time, funding.rate),
        )
        for k, signal in enumerate(own):
            end = int(labels.end[k])
            whole = closes[at[k]] == times[k] and closes[end] - closes[at[k]] == (end - at[k]) * step
            resolved = whole and labels.outcome[k] != Outcome.UNRESOLVED
            found.append(
                Counterfactual(
                    signal.id,
                    symbol,
                    signal.side,
                    blocked.get(signal.id, ""),
                    Outcome(labels.outcome[k]).name.lower() if resolved else "unresolved",
                    float(labels.net_r[k]) if resolved else None,
                    int(times[k]),
                    int(closes[end]),
                    scores.get(signal.id),
                )
            )
    return sorted(found, key=lambda c: (c.close_time, c.symbol))


def by_blocker(found: "Sequence[Counterfactual]") -> dict[str, dict[str, float]]:
    """Return count and mean net R of resolved signals per blocker; ``passed`` for those nothing blocked."""
    groups: dict[str, list[float]] = {}
    for one in found:
        if one.net_r is not None:
            groups.setdefault(one.blocked_by or "passed", []).append(one.net_r)
    return {name: {"signals": len(r), "net_r": sum(r) / len(r)} for name, r in sorted(groups.items())}


def compare_gate(
    config: "NodeConfig", seed: int, command: "Sequence[str]" = (), ledger: Path | None = None
) -> dict[str, Any]:
    """
    Return both runs side by side, as plain data; they are two trials of the ledger.

    Raises
    ------
    ConfigError, DataError
        Propagate: see :func:`counterfactuals` and ``node.backtest_run``.

    """
    import msgspec  # noqa: PLC0415 - `--help` answers before these imports
    import numpy as np  # noqa: PLC0415 - as above

    from node.backtest_run import run_backtest  # noqa: PLC0415 - as above
    from research.doubt.bootstrap import paired  # noqa: PLC0415 - as above
    from research.promotion.evidence import effect  # noqa: PLC0415 - as above
    from trials import bare, ready, record, summarise  # noqa: PLC0415 - as above

    ready(ledger)

    def run(mode: str) -> Any:
        return run_backtest(msgspec.structs.replace(config, gate=msgspec.structs.replace(config.gate, mode=mode)))

    off, on = run("off"), run("enforce")
    found = counterfactuals(config, on.signals, on.verdict_records)
    known = [c for c in found if c.net_r is not None]
    passing = np.array([not c.blocked_by.startswith("ml:") for c in known], dtype=np.float64)
    per_signal = effect(
        np.array([c.net_r for c in known]), passing, np.array([c.close_time for c in known], dtype=np.int64), seed
    )
    curves = [np.array([v for _, v in r.daily_equity]) for r in (on, off)]
    returns = [c / np.concatenate([[config.backtest.balance], c[:-1]]) - 1 for c in curves]
    days = min(len(r) for r in returns)
    on_equity = None
    if days >= 10:
        on_equity = paired(returns[0][:days], returns[1][:days], seed=seed)
    entry = record(
        "study",
        command=["research.gate_effect", *command],
        symbols=config.symbols,
        interval=config.interval,
        config=[bare(config), on.strategy_params],
        data_hash=on.data_hash,
        trials=2,
        sharpe=summarise([off.statistics.sharpe, on.statistics.sharpe]),
        best={"gate": "enforce" if on.final_equity > off.final_equity else "off"},
        seed=seed,
        ledger=ledger,
        catalog=Path(config.catalog),
    )
    return {
        "trial": entry.digest,
        "window": [on.start, on.end],
        "data": {"source": on.data_source, "synthetic": on.synthetic, "sha256": on.data_hash},
        "per_signal": per_signal.figures(),
        "equity": None
        if on_equity is None
        else {"daily_difference": on_equity.difference._asdict(), "sharpe": on_equity.sharpe_difference._asdict()},
        "runs": {
            name: {"trades": len(r.trades), "net": r.final_equity - config.backtest.balance}
            for name, r in (("off", off), ("enforce", on))
        },
        "by_blocker": by_blocker(found),
        "signals": [c._asdict() for c in found],
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` replace those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m research.gate_effect", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="node configuration with a gate and its model")
    parser.add_argument("--catalog", type=Path, help="catalog directory (default: the configuration's)")
    parser.add_argument("--seed", type=int, default=1, help="of the resampling (1)")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    parser.add_argument("--json", type=Path, help="write everything, every signal included")
    given = parser.parse_args(arguments)

    import msgspec  # noqa: PLC0415 - `--help` answers before these imports

    from node.config import load_config  # noqa: PLC0415 - as above

    config = load_config(given.config)
    if given.catalog is not None:
        config = msgspec.structs.replace(config, catalog=str(given.catalog))
    found = compare_gate(config, given.seed, sys.argv[1:] if arguments is None else arguments, given.ledger)
    one = found["per_signal"]
    lines = [f"{'SYNTHETIC ' if found['data']['synthetic'] else ''}{found['window'][0]} to {found['window'][1]}"]
    lines += [f"gate {name:<8} {r['trades']:>5} trades  {r['net']:+.2f} USDT" for name, r in found["runs"].items()]
    lines.append(
        f"per signal    gain {one['gain']:+.4f} R {one['gain_95']}, lift {one['lift']:+.4f} R {one['lift_95']}"
    )
    lines.append(f"equity        {found['equity']}")
    lines += [f"{name:<32} {g['signals']:>5} signals  {g['net_r']:+.3f} R" for name, g in found["by_blocker"].items()]
    sys.stdout.write("\n".join(lines) + "\n")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        beside = given.json.with_name(f".{given.json.name}.new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
        beside.replace(given.json)
    return 0


if __name__ == "__main__":
    run_command(main)
