"""
A challenger: a second model that scores every Signal beside the champion and never decides.

Its answer is a VerdictRecord of gate ``challenger``, published for the journal only: it is no Verdict on the bus, so no
gate, guard or strategy hears it. It is asked after the champion's Verdict, and the order that followed, are out.

Errors: whatever goes wrong is its record's reason (**degraded**); the decision does not know of it.
"""

import math
from pathlib import Path

from actors.model_folder import LoadedModel, ModelFolderError, ModelInputError, folder_state, load_model
from strategies.kernel.columns import FEATURE_SCHEMA
from strategies.messages import Reason, Signal
from strategies.records import VerdictRecord

GATE = "challenger"


class Challenger:
    """
    Scores Signals with the model of a folder.

    Parameters
    ----------
    folder : Path
        Model folder; exchanged while the node runs, the new one is taken.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state: tuple[int, ...] | None = None
        self._model: LoadedModel | None = None
        self._fault = "not loaded yet"

    def record(self, signal: Signal, wall_time: int) -> VerdictRecord:
        """Return the challenger's answer to `signal`; never raises."""
        score = threshold = None
        passed = False
        try:
            reason, detail, score, threshold = self._judge(signal)
            passed = reason is Reason.PASSED
        except Exception as e:  # noqa: BLE001 - the challenger's defects are its own affair
            reason, detail = Reason.ML_ERROR, f"{type(e).__name__}: {e}"
        return VerdictRecord(
            id=f"{signal.signal_id}/{GATE}",
            market_time=signal.bar_close,
            wall_time=wall_time,
            signal_id=signal.signal_id,
            symbol=signal.instrument_id.symbol.value.removesuffix("-PERP"),
            gate=GATE,
            passed=passed,
            reason=reason.value,
            score=score,
            threshold=threshold,
            detail=detail,
        )

    def _judge(self, signal: Signal) -> tuple[Reason, str, float | None, float | None]:
        model = self._current()
        if model is None:
            return Reason.ML_NO_MODEL, self._fault, None, None
        if signal.bar_close >= model.expires_ns:
            return Reason.ML_EXPIRED, f"valid until {model.manifest.valid_until}", None, None
        if signal.schema != model.manifest.schema:
            return Reason.ML_SCHEMA_MISMATCH, f"signal has feature schema {signal.schema[:12]}", None, None
        try:
            score = model.score(signal.feature_row())
        except (ModelInputError, ValueError) as e:
            return Reason.ML_BAD_INPUT, str(e), None, None
        if not math.isfinite(score):
            return Reason.ML_ERROR, f"model answered {score}", None, None
        reason = Reason.PASSED if score >= model.threshold else Reason.ML_BELOW_THRESHOLD
        seen = ", in-sample: the model has seen this bar" if signal.bar_close <= model.trained_until_ns else ""
        return reason, f"model {model.fingerprint[:12]}{seen}", score, model.threshold

    def _current(self) -> LoadedModel | None:
        state = folder_state(self._folder)
        if state != self._state or (state is None and self._model is None):
            self._state = state
            try:
                self._model = load_model(self._folder, schema=FEATURE_SCHEMA)
            except ModelFolderError as e:
                self._model, self._fault = None, str(e)
        return self._model
