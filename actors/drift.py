"""
Whether the market the model meets is still the one it was trained on: a listener that reports and never decides.

Two questions, asked over sliding windows of market events. Features and scores: the population stability index against
the distribution stored in the model folder (:mod:`actors.distribution`), beyond what chance gives with so few of them.
Calibration: over closed trades, what the scores promised against what came, as a standard score, and the Brier score.

=====================  ================================================================================
incident               when
=====================  ================================================================================
``feature_drift``      the index of a feature is above the bound (once per excursion and feature)
``score_drift``        the same for the model's calibrated score
``calibration_drift``  realised minus promised target hits is beyond the bound in standard deviations
``drift_over``         one of them is back within its bound
``drift_unmeasured``   the model folder does not verify, or stores no distribution
=====================  ================================================================================

Errors: a defect here never reaches the decision (**degraded**); in backtests it ends the run. The windows are filled
again from the journal at a start: rows and scores of the model that still decides, and what was told already.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from actors.distribution import Bins, chance, psi
from actors.gate import SIGNAL_FEATURES
from actors.model_folder import LoadedModel, ModelFolderError, folder_state, load_model
from actors.reporting import Reporter, contained
from strategies.kernel.columns import FEATURE_SCHEMA
from strategies.messages import SIGNAL, VERDICT, Signal, Verdict, topic
from strategies.records import TOPIC, IncidentRecord, TradeRecord
from strategies.yaml_config import FrozenConfig

_LAST = 0  # started behind the gates, so heard behind them: the bus keeps the order of equal priorities
_REMEMBERED = 1_000
_CALIBRATION = "calibration"
DRIFTED = ("feature_drift", "score_drift", "calibration_drift")
DRIFT_OVER = "drift_over"
_RESOLVED = {"TAKE_PROFIT": 1.0, "STOP_LOSS": 0.0, "TIME_STOP": 0.0}


class Heard(FrozenConfig, frozen=True):
    """
    One signal of before, as the journal has it.

    Attributes
    ----------
    signal_id : str
        Which.
    row : list of float or None
        Its features, in the order of a signal's.
    model : str
        First letters of the fingerprint of the model that scored it; empty where none did.
    score : float or None
        What that said.
    exit_reason : str
        How its trade ended; empty while it is open, or was never made.

    """

    signal_id: str
    row: list[float | None]
    model: str = ""
    score: float | None = None
    exit_reason: str = ""


class RestoredDrift(FrozenConfig, frozen=True):
    """
    What a starting monitor must remember.

    Attributes
    ----------
    heard : list of Heard
        Newest signals, oldest first; as many as the windows of features and of trades need.
    drifted : list of str
        Columns told to have drifted, and not told to be back.

    """

    heard: list[Heard] = msgspec.field(default_factory=list)
    drifted: list[str] = msgspec.field(default_factory=list)


def told_drifted(incidents: Iterable[IncidentRecord]) -> list[str]:
    """Return which columns are told to have drifted and not to be back, from incidents in order."""
    found: dict[str, None] = {}
    for incident in incidents:
        name = incident.message.partition(":")[0]
        if incident.code in DRIFTED:
            found[name] = None
        elif incident.code == DRIFT_OVER:
            found.pop(name, None)
    return list(found)


class DriftMonitorConfig(ActorConfig, kw_only=True, frozen=True):
    """
    Configuration of :class:`DriftMonitor`.

    Parameters
    ----------
    model_dir : str
        Folder of the deciding model.
    window, every : int
        Newest signals that are compared, and how many lie between two looks; the first look is at a full window.
    psi_bound : float
        Index above which a column counts as drifted, if chance gives it less than once in 10,000 looks.
    trades, trades_bound : int, float
        Newest closed trades with a score, and standard deviations from which their results contradict the scores.
    restored : RestoredDrift
        What the journal remembers.
    raise_errors : bool
        Backtests: a defect must end the run.

    """

    model_dir: str
    window: int = 200
    every: int = 20
    psi_bound: float = 0.25
    trades: int = 50
    trades_bound: float = 3.0
    restored: RestoredDrift = RestoredDrift()
    raise_errors: bool = False


class DriftMonitor(Actor):
    """See the module's docstring."""

    def __init__(self, config: DriftMonitorConfig) -> None:
        super().__init__(config)
        self._reporter = Reporter(self)
        self._subscriptions: list[tuple[str, Callable[[Any], None]]] = []
        self._begin()

    def _begin(self) -> None:
        self._state: tuple[int, ...] | None = None
        self._model: LoadedModel | None = None
        self._bins: dict[str, Bins] = {}
        self._rows: dict[str, deque[int]] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._heard = 0
        self._scores: OrderedDict[str, float] = OrderedDict()
        self._closed: deque[tuple[float, float]] = deque(maxlen=self.config.trades)
        self._drifted: set[str] = set()
        self.psi: dict[str, float] = {}
        self.calibration: tuple[float, float] | None = None

    def on_start(self) -> None:
        """Join the bus behind everything that decides."""
        if not self._subscriptions:
            self._subscriptions = [
                (topic(SIGNAL), self._contained(self._on_signal)),
                (topic(VERDICT), self._contained(self._on_verdict)),
                (f"{TOPIC}.trade", self._contained(self._on_trade)),
            ]
        for name, handler in self._subscriptions:
            self.msgbus.subscribe(name, handler, _LAST)
        self._contained(lambda _: self._load())(None)
        self._contained(lambda _: self._restore())(None)

    def on_stop(self) -> None:
        """Leave the bus."""
        for name, handler in self._subscriptions:
            self.msgbus.unsubscribe(name, handler)

    def on_reset(self) -> None:
        """Forget the last run."""
        self._begin()

    def _contained(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        return contained(handler, self._defect, raise_errors=self.config.raise_errors)

    def _defect(self, error: Exception) -> None:
        self._reporter.incident("warning", "drift_unmeasured", None, f"{type(error).__name__}: {error}")

    def _load(self) -> None:
        state = folder_state(Path(self.config.model_dir))
        if state == self._state and self._model is not None:
            return
        known, self._state = self._model, state
        try:
            self._model = load_model(Path(self.config.model_dir), schema=FEATURE_SCHEMA)
        except ModelFolderError as e:
            if known is None:
                self._reporter.incident("warning", "drift_unmeasured", None, str(e))
            return
        if known is not None and known.fingerprint == self._model.fingerprint:
            return
        if not self._model.manifest.distribution:
            self._reporter.incident("warning", "drift_unmeasured", None, f"{self.config.model_dir}: no distribution")
        self._bins = dict(self._model.manifest.distribution)
        self._rows = {name: deque(maxlen=self.config.window) for name in self._bins}
        self._counts = {name: np.zeros(len(bins.counts), dtype=np.int64) for name, bins in self._bins.items()}
        self._heard = 0
        self._closed.clear()
        self._drifted.clear()

    def _restore(self) -> None:
        """Hear again what was heard before the start; nothing is told of it, and another model's part is left out."""
        if self._model is None or self._heard:
            return
        for old in self.config.restored.heard:
            if old.model and not self._model.fingerprint.startswith(old.model):
                continue
            values = [math.nan if x is None else x for x in old.row]
            if len(values) == len(SIGNAL_FEATURES):
                self._note_row(values)
            if old.score is None or not old.model:
                continue
            self._note_score(old.signal_id, old.score)
            if old.exit_reason:
                self._close(old.signal_id, old.exit_reason)
        self._drifted = {name for name in self.config.restored.drifted if name in self._bins or name == _CALIBRATION}

    # -- features and scores ------------------------------------------------------------------------------------------

    def _on_signal(self, signal: Signal) -> None:
        self._load()
        self._note_row(signal.feature_row())
        if self._heard >= self.config.window and self._heard % self.config.every == 0:
            for name in self._bins:
                self._compare(name)

    def _on_verdict(self, verdict: Verdict) -> None:
        if verdict.gate != "ml" or verdict.score != verdict.score:
            return
        self._note_score(verdict.signal_id, verdict.score)

    def _note_row(self, values: Any) -> None:
        for name in self._bins:
            if name != "score":
                self._note(name, float(values[SIGNAL_FEATURES.index(name)]))
        self._heard += 1

    def _note_score(self, signal_id: str, score: float) -> None:
        self._scores[signal_id] = score
        if len(self._scores) > _REMEMBERED:
            self._scores.popitem(last=False)
        if "score" in self._bins:
            self._note("score", score)

    def _note(self, name: str, value: float) -> None:
        rows, counts = self._rows[name], self._counts[name]
        if len(rows) == rows.maxlen:
            counts[rows[0]] -= 1
        index = self._bins[name].index(value)
        rows.append(index)
        counts[index] += 1

    def _compare(self, name: str) -> None:
        bins, count = self._bins[name], len(self._rows[name])
        if count < self.config.window:
            return
        found = psi(bins, self._counts[name])
        self.psi[name] = found
        limit = max(chance(bins, count), self.config.psi_bound)
        code = "score_drift" if name == "score" else "feature_drift"
        text = f"{name}: stability index {found:.2f} over {count} signals (at most {limit:.2f})"
        self._judge(name, code, text, drifted=found > limit)

    # -- calibration --------------------------------------------------------------------------------------------------

    def _on_trade(self, trade: TradeRecord) -> None:
        if trade.signal_id is None or not self._close(trade.signal_id, trade.exit_reason):
            return
        if len(self._closed) < self.config.trades:
            return
        promised, came = np.array(self._closed).T
        spread = float(np.sqrt(np.sum(promised * (1 - promised))))
        deviation = float(came.sum() - promised.sum()) / max(spread, 1e-9)
        brier = float(np.mean((promised - came) ** 2))
        self.calibration = (deviation, brier)
        text = (
            f"{_CALIBRATION}: {len(came)} trades: {came.sum():.0f} reached the target, {promised.sum():.1f} were "
            f"promised ({deviation:+.1f} standard deviations), Brier score {brier:.3f}"
        )
        self._judge(_CALIBRATION, "calibration_drift", text, drifted=abs(deviation) > self.config.trades_bound)

    def _close(self, signal_id: str, exit_reason: str) -> bool:
        """Note how a scored trade ended; False where that answers nothing about its score."""
        outcome, score = _RESOLVED.get(exit_reason), self._scores.pop(signal_id, None)
        if outcome is None or score is None:
            return False
        self._closed.append((score, outcome))
        return True

    def _judge(self, what: str, code: str, text: str, *, drifted: bool) -> None:
        if drifted and what not in self._drifted:
            self._drifted.add(what)
            self._reporter.incident("warning", code, None, text)
        elif not drifted and what in self._drifted:
            self._drifted.discard(what)
            self._reporter.incident("info", DRIFT_OVER, None, text)
