"""
What every gate of the decision chain shares: which Signals it hears, and that it always answers.

A gate judges Signals directly, or, when another gate stands before it, the Signals that gate passed. It remembers each
Signal when it is published, because a Verdict names its Signal only by id. A stage that is switched off is not in the
chain at all, so no gate knows whether others exist beyond the one it is told to follow.
"""

import math
import traceback
from collections import OrderedDict
from typing import ClassVar

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from strategies.kernel.columns import EXTRAS, FEATURES
from strategies.messages import SIGNAL, VERDICT, Reason, Signal, Verdict, topic

SIGNAL_FEATURES = FEATURES + EXTRAS
"""Names of the values a Signal carries in ``features``, in order."""

REMEMBER_FIRST = 20
"""Bus priority of the memory: it holds the Signal before any gate can answer it."""

MEMORY = 256
"""Signals remembered at most; a Signal whose upstream Verdict never came is forgotten, and so never approved."""


class GateConfig(ActorConfig, kw_only=True, frozen=True):
    """
    Configuration shared by gates.

    Parameters
    ----------
    upstream : str
        Name of the gate whose passed Verdicts are judged here; empty to judge every Signal directly.

    """

    upstream: str = ""


class Gate(Actor):
    """
    Base of all gates: answers every Signal that reaches it with exactly one Verdict, published synchronously.

    A subclass sets `gate` and `error_reason` and defines :meth:`judge`. Whatever goes wrong in there, the answer is a
    Verdict that blocks (fail closed).
    """

    gate: ClassVar[str]
    error_reason: ClassVar[Reason]

    def __init__(self, config: GateConfig) -> None:
        super().__init__(config)
        self._upstream = config.upstream
        self._remembered: OrderedDict[str, Signal] = OrderedDict()

    def on_start(self) -> None:
        """Subscribe on the bus itself: ``subscribe_data`` expects a data client to exist."""
        if self._upstream:
            self.msgbus.subscribe(topic(SIGNAL), self._remember, REMEMBER_FIRST)
            self.msgbus.subscribe(topic(VERDICT), self._on_verdict)
        else:
            self.msgbus.subscribe(topic(SIGNAL), self._answer)

    def on_stop(self) -> None:
        """Leave the bus."""
        if self._upstream:
            self.msgbus.unsubscribe(topic(SIGNAL), self._remember)
            self.msgbus.unsubscribe(topic(VERDICT), self._on_verdict)
        else:
            self.msgbus.unsubscribe(topic(SIGNAL), self._answer)

    def on_reset(self) -> None:
        """Forget the Signals of the run before."""
        self._remembered.clear()

    def judge(self, signal: Signal) -> Verdict:
        """
        Return the gate's answer to `signal`.

        Raises
        ------
        Exception
            Fail closed: anything raised becomes a blocking Verdict with the gate's `error_reason`.

        """
        raise NotImplementedError

    def on_passed(self, signal: Signal, verdict: Verdict) -> None:
        """Do what follows a passed Verdict, after it was published (the last gate grants its Approval here)."""

    def verdict(
        self,
        signal: Signal,
        reason: Reason,
        *,
        passed: bool,
        score: float = math.nan,
        threshold: float = math.nan,
        detail: str = "",
    ) -> Verdict:
        """Return this gate's Verdict on `signal`, stamped with the bar that caused it."""
        return Verdict(
            ts_event=signal.ts_event,
            ts_init=signal.ts_init,
            instrument_id=signal.instrument_id,
            signal_id=signal.signal_id,
            gate=self.gate,
            passed=passed,
            reason=reason.value,
            score=score,
            threshold=threshold,
            detail=detail,
            bar_close=signal.bar_close,
        )

    def _remember(self, signal: Signal) -> None:
        self._remembered[signal.signal_id] = signal
        if len(self._remembered) > MEMORY:
            self._remembered.popitem(last=False)

    def _on_verdict(self, verdict: Verdict) -> None:
        if verdict.gate != self._upstream:
            return
        signal = self._remembered.pop(verdict.signal_id, None)
        if signal is None:
            message = f"{self.gate}: verdict of {verdict.gate} on unknown signal {verdict.signal_id}"
            self.log.error(message)
        elif verdict.passed:
            self._answer(signal)

    def _answer(self, signal: Signal) -> None:
        try:
            verdict = self.judge(signal)
        except Exception as e:  # noqa: BLE001 - a gate that cannot judge must block, whatever the cause
            verdict = self._failed(signal, e)
        self.publish_data(VERDICT, verdict)
        if verdict.passed:
            self.on_passed(signal, verdict)

    def _failed(self, signal: Signal, error: Exception) -> Verdict:
        detail = f"{type(error).__name__}: {error}"
        message = f"{self.gate}: cannot judge {signal.signal_id}: {''.join(traceback.format_exception(error))}"
        self.log.error(message)
        return self.verdict(signal, self.error_reason, passed=False, detail=detail)
