"""What watches beside the decision (drift, blocked signals): its configuration, and its memory from the journal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from actors.counterfactual import Blocked, CounterfactualsConfig
from actors.drift import DRIFT_OVER, DRIFTED, DriftMonitorConfig, Heard, RestoredDrift, told_drifted
from catalog.instruments import bar_type
from node.config import CounterfactualConfig, NodeConfig
from node.trade_costs import costs_of
from strategies.messages import Reason
from strategies.records import VerdictRecord
from strategies.yaml_config import FrozenConfig

if TYPE_CHECKING:
    from node.journal import JournalReader

_MODEL = "model "
_FINGERPRINT = 12
_SPARE = 8


class RestoredWatch(FrozenConfig, frozen=True):
    """What the watchers of a starting node must remember."""

    drift: RestoredDrift = RestoredDrift()
    blocked: list[Blocked] = msgspec.field(default_factory=list)


def drift_config(config: NodeConfig, restored: RestoredWatch, *, live: bool) -> DriftMonitorConfig | None:
    """Return the drift monitor's configuration; None where it is not in the chain."""
    if config.gate.mode == "off" or config.gate.drift is None:
        return None
    watched = {name: getattr(config.gate.drift, name) for name in config.gate.drift.__struct_fields__}
    return DriftMonitorConfig(
        component_id="DriftMonitor",
        model_dir=config.gate.model_dir,
        restored=restored.drift,
        raise_errors=not live,
        **watched,
    )


def counterfactuals_config(config: NodeConfig, restored: RestoredWatch, *, live: bool) -> CounterfactualsConfig | None:
    """
    Return the configuration of what follows blocked signals; None where it is not in the chain.

    Raises
    ------
    ConfigError
        Fatal: the node protects in a way no fixed levels follow; see :func:`node.trade_costs.costs_of`.

    """
    if config.counterfactual is None:
        return None
    return CounterfactualsConfig(
        component_id="Counterfactuals",
        bar_types=tuple(bar_type(s, config.interval) for s in config.symbols),
        costs={s: costs_of(config, s) for s in config.symbols},
        assumed_slippage=config.strategy.assumed_slippage,
        horizon_bars=_horizon(config),
        restored=restored.blocked,
        raise_errors=not live,
    )


def restored_watch(journal: "JournalReader", config: NodeConfig) -> RestoredWatch:
    """
    Return what the journal remembers for the watchers of `config`; nothing for those that are not in the chain.

    Raises
    ------
    JournalError
        Propagate: the journal cannot be read.

    """
    drift = RestoredDrift()
    if config.gate.mode != "off" and config.gate.drift is not None:
        drift = restored_drift(journal, max(config.gate.drift.window, config.gate.drift.trades))
    blocked = [] if config.counterfactual is None else restored_blocked(journal, config.symbols, _horizon(config))
    return RestoredWatch(drift=drift, blocked=blocked)


def restored_drift(journal: "JournalReader", count: int) -> RestoredDrift:
    """Return the newest `count` signals with what the gate's model said of them, and what is told to have drifted."""
    signals = journal.signals(limit=count)
    if not signals:
        return RestoredDrift()
    since = min((s.market_time for s in signals if s.market_time is not None), default=0)
    said = {v.signal_id: v for v in journal.verdicts(start=since) if v.gate == "ml"}
    ended = {t.signal_id: t.exit_reason for t in journal.trades(start=since) if t.signal_id is not None}
    heard = []
    for signal in signals:
        verdict = said.get(signal.id)
        heard.append(
            Heard(
                signal_id=signal.id,
                row=signal.features,
                model="" if verdict is None else _model_of(verdict),
                score=None if verdict is None else verdict.score,
                exit_reason=ended.get(signal.id, ""),
            )
        )
    told = [i for i in journal.incidents() if i.code in (*DRIFTED, DRIFT_OVER)]
    return RestoredDrift(heard=heard, drifted=told_drifted(told))


def restored_blocked(journal: "JournalReader", symbols: Sequence[str], horizon_bars: int) -> list[Blocked]:
    """Return blocked signals without an outcome; a strategy signals once a bar at most, so older ones have ended."""
    found = []
    count = horizon_bars + _SPARE
    for symbol in symbols:
        signals = {s.id: s for s in journal.signals(symbol=symbol, limit=count)}
        if not signals:
            continue
        since = min((s.market_time for s in signals.values() if s.market_time is not None), default=0)
        done = {o.id for o in journal.outcomes(symbol=symbol, limit=2 * count)}
        said: dict[str, list[VerdictRecord]] = {}
        for verdict in journal.verdicts(symbol=symbol, start=since):
            if verdict.gate != "challenger":
                said.setdefault(verdict.signal_id, []).append(verdict)
        for identity, signal in signals.items():
            verdicts = said.get(identity, [])
            no = next((v for v in verdicts if not v.passed or v.reason == Reason.SHADOW.value), None)
            if no is None or identity in done or signal.market_time is None:
                continue
            found.append(
                Blocked(
                    signal_id=identity,
                    symbol=symbol,
                    side=signal.side,
                    reference=signal.reference_price,
                    stop=signal.stop_price,
                    target=signal.target_price,
                    bar_close=signal.market_time,
                    blocked_by=f"{no.gate}:{no.reason}",
                    score=next((v.score for v in verdicts if v.score is not None), None),
                )
            )
    return found


def _horizon(config: NodeConfig) -> int:
    if config.strategy.protection.time_stop_bars is not None:
        return config.strategy.protection.time_stop_bars
    return (config.counterfactual or CounterfactualConfig()).horizon_bars


def _model_of(verdict: VerdictRecord) -> str:
    if verdict.score is None or not verdict.detail.startswith(_MODEL):
        return ""
    return verdict.detail.removeprefix(_MODEL)[:_FINGERPRINT]
