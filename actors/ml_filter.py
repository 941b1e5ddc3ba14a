"""
The ML gate: scores every Signal with the model of a folder and publishes a Verdict.

Modes: ``enforce`` blocks below the threshold; ``shadow`` scores, says what it would have done and never blocks.
Switched off, the gate is not in the chain. Without a usable model ``enforce`` blocks everything (fail closed) and
``shadow`` passes everything (degraded); both give the reason in each Verdict.

The folder may be exchanged while the node runs: its identity is checked at each Signal. A new folder that does not
verify is refused with one incident, and the running model stays until it expires.
"""

import math
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from actors.challenger import Challenger
from actors.gate import Gate, GateConfig
from actors.model_folder import LoadedModel, ModelFault, ModelFolderError, ModelInputError, folder_state, load_model
from actors.promotion import require_promotion
from strategies.kernel.columns import FEATURE_SCHEMA
from strategies.market_clock import MarketClock, market_clock
from strategies.messages import Reason, Signal, Verdict
from strategies.records import IncidentRecord

_REASON_OF_FAULT = {
    ModelFault.MISSING: Reason.ML_NO_MODEL,
    ModelFault.EXPIRED: Reason.ML_EXPIRED,
    ModelFault.SCHEMA_MISMATCH: Reason.ML_SCHEMA_MISMATCH,
    ModelFault.FEATURE_MISMATCH: Reason.ML_SCHEMA_MISMATCH,
    ModelFault.LEVELS_MISMATCH: Reason.ML_LEVELS_MISMATCH,
    ModelFault.NOT_PROMOTED: Reason.ML_UNPROMOTED,
}


class MlFilterConfig(GateConfig, kw_only=True, frozen=True):
    """
    Configuration of :class:`MlFilter`.

    Parameters
    ----------
    model_dir : str
        Model folder, as written by ``python -m research.train``.
    mode : {'shadow', 'enforce'}
        Whether the gate only watches or blocks.
    levels : dict of venue symbol to (stop, target)
        Distances traded, in ATR. A model labelled with others answers another question and is refused.
    promotion : {'ignore', 'warn', 'require'}
        What a model without a valid promotion (:mod:`actors.promotion`) means: nothing (research), a warning
        (simulated venue, paper, test environments), or that it is refused like a broken one (real money).
    promotion_key : str
        Public key whose promotions count, hex.
    challenger_dir : str
        Model folder of a challenger (:mod:`actors.challenger`); empty: none.

    """

    model_dir: str
    mode: Literal["shadow", "enforce"] = "enforce"
    levels: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    promotion: Literal["ignore", "warn", "require"] = "ignore"
    promotion_key: str = ""
    challenger_dir: str = ""


class MlFilter(Gate):
    """Gate ``ml``: one Verdict per Signal, with score and threshold where a model could be asked."""

    gate: ClassVar[str] = "ml"
    error_reason: ClassVar[Reason] = Reason.ML_ERROR

    def __init__(self, config: MlFilterConfig) -> None:
        super().__init__(config)
        self._folder = Path(config.model_dir)
        self._enforce = config.mode == "enforce"
        self._model: LoadedModel | None = None
        self._refusal: ModelFolderError | None = None
        self._folder_state: tuple[int, ...] | None = None
        self._incidents: set[str] = set()
        self._market: MarketClock | None = None
        self._challenger = Challenger(Path(config.challenger_dir)) if config.challenger_dir else None

    def on_reset(self) -> None:
        """Forget everything but the configuration; the next start loads anew."""
        super().on_reset()
        self._model, self._refusal, self._folder_state, self._market = None, None, None, None
        self._incidents.clear()
        if self._challenger is not None:
            self._challenger = Challenger(Path(self.config.challenger_dir))

    @property
    def model(self) -> LoadedModel | None:
        """The running model; None while there is none."""
        return self._model

    def on_start(self) -> None:
        """Load the model, so that a broken folder is reported at once and not at the first Signal."""
        self._market = market_clock(self.msgbus)
        self._load(self._market.now)
        super().on_start()

    def judge(self, signal: Signal) -> Verdict:
        """Return the Verdict on `signal`; exceptions become ``ml_error`` (fail closed)."""
        now = self._market_time(signal)
        if folder_state(self._folder) != self._folder_state:
            self._load(now)
        model = self._model
        if model is None:
            return self._unable(signal, self._refusal_reason(), str(self._refusal))
        if now >= model.expires_ns:
            return self._unable(signal, Reason.ML_EXPIRED, f"model was valid until {model.manifest.valid_until}")
        if signal.schema != model.manifest.schema:
            detail = f"signal has feature schema {signal.schema[:12]}, model {model.manifest.schema[:12]}"
            return self._unable(signal, Reason.ML_SCHEMA_MISMATCH, detail)
        try:
            score = model.score(signal.feature_row())
        except (ModelInputError, ValueError) as e:
            return self._unable(signal, Reason.ML_BAD_INPUT, str(e))
        if not math.isfinite(score):
            return self._unable(signal, Reason.ML_ERROR, f"model answered {score}")
        detail = f"model {model.fingerprint[:12]}"
        if now <= model.trained_until_ns:
            detail += ", in-sample: the model has seen this bar"
        good = score >= model.threshold
        reason = Reason.PASSED if good else Reason.ML_BELOW_THRESHOLD if self._enforce else Reason.SHADOW
        return self.verdict(
            signal,
            reason,
            passed=good or not self._enforce,
            score=score,
            threshold=model.threshold,
            detail=detail,
        )

    def _answer(self, signal: Signal) -> None:
        super()._answer(signal)
        if self._challenger is not None:  # after the decision, and all that followed from it, is out
            record = self._challenger.record(signal, self.clock.timestamp_ns())
            self.msgbus.publish(record.topic, record)

    def _unable(self, signal: Signal, reason: Reason, detail: str) -> Verdict:
        return self.verdict(signal, reason, passed=not self._enforce, detail=detail)

    def _failed(self, signal: Signal, error: Exception) -> Verdict:
        verdict = super()._failed(signal, error)
        return verdict if self._enforce else self._unable(signal, self.error_reason, verdict.detail)

    def _refusal_reason(self) -> Reason:
        if self._refusal is None:
            return Reason.ML_NO_MODEL
        return _REASON_OF_FAULT.get(self._refusal.fault, Reason.ML_BROKEN_MODEL)

    def _market_time(self, signal: Signal) -> int:
        told = None if self._market is None else self._market.now
        return signal.bar_close if told is None else max(told, signal.bar_close)

    def _load(self, market_time: int | None) -> None:
        # The state is read before the folder: an exchange in between is seen as a change at the next signal.
        self._folder_state = folder_state(self._folder)
        try:
            model = load_model(self._folder, schema=FEATURE_SCHEMA, market_time_ns=market_time)
            self._check_levels(model)
            self._check_promotion(model, market_time)
        except ModelFolderError as e:
            self._refuse(e, market_time)
            return
        if self._model is not None and model.fingerprint != self._model.fingerprint:
            text = f"model {self._model.fingerprint[:12]} replaced by {model.fingerprint[:12]}"
            self._incident("info", "model_replaced", model.fingerprint, text, market_time)
        self._model, self._refusal = model, None

    def _check_levels(self, model: LoadedModel) -> None:
        for symbol, (stop, target) in self.config.levels.items():
            labelled = model.manifest.strategy.get(symbol)
            if labelled is None:
                text = f"the model was not labelled for {symbol}"
            elif (labelled["stop_atr"], labelled["target_atr"]) == (stop, target):
                continue
            else:
                text = (
                    f"{symbol} trades stop {stop:g} and target {target:g} ATR, the model was labelled with "
                    f"{labelled['stop_atr']:g} and {labelled['target_atr']:g}: train it anew"
                )
            raise ModelFolderError(self._folder, ModelFault.LEVELS_MISMATCH, text)

    def _check_promotion(self, model: LoadedModel, market_time: int | None) -> None:
        if self.config.promotion == "ignore":
            return
        try:
            require_promotion(self._folder, model, self.config.promotion_key)
        except ModelFolderError as e:
            if self.config.promotion == "require":
                raise
            text = f"{e}; with real money it would be refused"
            self._incident("warning", "model_unpromoted", model.fingerprint, text, market_time)

    def _refuse(self, error: ModelFolderError, market_time: int | None) -> None:
        self._refusal = error
        kept = "" if self._model is None else f"; model {self._model.fingerprint[:12]} stays"
        severity = "critical" if self._model is None and self._enforce else "warning"
        self._incident(severity, "model_refused", f"{error.fault}/{self._folder_state}", f"{error}{kept}", market_time)

    def _incident(self, severity: str, code: str, key: str, message: str, market_time: int | None) -> None:
        identity = f"{self.id.value}/{code}/{key}"
        if identity in self._incidents:
            return
        self._incidents.add(identity)
        if severity == "info":
            self.log.info(message)
        elif code == "model_unpromoted":
            self.log.warning(message)
        else:
            self.log.error(message)
        record = IncidentRecord(
            id=identity,
            market_time=market_time,
            wall_time=self.clock.timestamp_ns(),
            severity=severity,
            code=code,
            symbol=None,
            message=message,
        )
        self.msgbus.publish(record.topic, record)
