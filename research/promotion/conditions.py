"""The conditions a model must meet, one function each: measured figures in, a named finding out."""

from collections.abc import Sequence
from enum import StrEnum, unique
from typing import Annotated

import msgspec
import numpy as np

from actors.model_folder import LoadedModel, Manifest, parse_time
from actors.promotion import Finding
from research.booster import load_booster
from research.onnx_export import Float32s, check_parity, parity_rows, served_probabilities, splits_of
from research.onnx_export import reference_probabilities as reference
from research.promotion.evidence import Effect, FoldResult, StudyConfig
from strategies.errors import ModelError
from strategies.yaml_config import FrozenConfig


@unique
class Condition(StrEnum):
    """Why a model may not decide, when the condition of that name does not hold."""

    FOLDER = "folder_verifies"
    NOT_EXPIRED = "not_expired"
    ORIGIN = "real_data"
    DATA = "data_unchanged"
    REPRODUCED = "training_reproduced"
    PARITY = "export_parity"
    LEAKS = "no_leaks"
    FOLD_SIGNALS = "enough_signals_per_fold"
    FOLD_EFFECT = "effect_over_folds"
    STABLE_FOLDS = "stable_over_folds"
    STABLE_SEEDS = "stable_over_seeds"
    HOLDOUT_DECLARED = "holdout_declared"
    HOLDOUT_SIGNALS = "enough_signals_in_holdout"
    HOLDOUT_EFFECT = "effect_in_holdout"


class Hurdles(FrozenConfig, frozen=True):
    """
    What is demanded.

    Attributes
    ----------
    study : StudyConfig
        Seeds and folds.
    min_signals : int
        Per test fold, and in the hold-out.
    min_real_rows : int
        Real feature rows on which graph and reference are compared.
    stable_folds, stable_seeds : float
        Share of the folds, and of the seeds, whose own lift must be above zero.

    """

    study: StudyConfig = StudyConfig()
    min_signals: Annotated[int, msgspec.Meta(ge=1)] = 100
    min_real_rows: Annotated[int, msgspec.Meta(ge=1_000)] = 10_000
    stable_folds: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6
    stable_seeds: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.8


def expiry(model: LoadedModel, market_time_ns: int) -> Finding:
    """Whether the model is still valid at the end of the data."""
    left = (model.expires_ns - market_time_ns) / 86_400e9
    text = f"valid until {model.manifest.valid_until}, {left:.1f} days after the newest bar"
    return Finding(name=Condition.NOT_EXPIRED, passed=left > 0, detail=text, figures={"days_left": left})


def origin(manifest: Manifest, *, allow_synthetic: bool) -> Finding:
    """Whether the data are a market's."""
    synthetic = manifest.data.get("source", {}).get("synthetic")
    if synthetic is False:
        return Finding(name=Condition.ORIGIN, passed=True, detail="recorded as not synthetic")
    text = "SYNTHETIC" if synthetic else "not recorded: they may be SYNTHETIC"
    return Finding(
        name=Condition.ORIGIN, passed=allow_synthetic, detail=f"origin of the data: {text}", figures={"synthetic": True}
    )


def parity(model: LoadedModel, graph: bytes, text: str, real: Float32s, hurdles: Hurdles) -> Finding:
    """
    Whether the graph decides as the reference model, on real rows and on every threshold.

    The manifest's own record of the comparison, and the self-test, are not believed: whoever alters a graph can seal
    them anew.
    """
    name, count = Condition.PARITY, len(real)
    if count < hurdles.min_real_rows:
        text = f"{count} real rows, at least {hurdles.min_real_rows} are needed"
        return Finding(name=name, passed=False, detail=text, figures={"real_rows": count})
    splits = splits_of(text)
    booster = load_booster(text)
    tested, kinds = parity_rows(splits, real, seed=7)
    rows = np.concatenate([real, tested])
    calibration = model.manifest.calibration
    try:
        found = check_parity(
            reference(booster, rows),
            served_probabilities(graph, rows),
            model.threshold,
            (lambda p: p) if calibration is None else calibration,
            (kinds | {"real": count}, len(splits)),
        )
    except ModelError as e:
        return Finding(name=name, passed=False, detail=str(e), figures={"real_rows": count})
    text = f"{found.rows} rows, {count} of them real, {len(splits)} thresholds: at most {found.max_abs_diff:.1e} apart"
    return Finding(name=name, passed=True, detail=text, figures=msgspec.to_builtins(found) | {"real_rows": count})


def fold_signals(results: Sequence[FoldResult], hurdles: Hurdles) -> Finding:
    """Whether every test fold holds enough signals to say anything."""
    counts = {r.fold: len(r.rows) for r in results}
    fewest = min(counts.values(), default=0)
    text = f"fewest signals in a test fold: {fewest} (at least {hurdles.min_signals}); {list(counts.values())}"
    figures = {"signals": {str(k): v for k, v in counts.items()}}
    return Finding(name=Condition.FOLD_SIGNALS, passed=fewest >= hurdles.min_signals, detail=text, figures=figures)


def positive(name: Condition, found: Effect) -> Finding:
    """Whether gating pays, and chooses, with both lower bounds above zero."""
    text = (
        f"{found.signals} signals, {found.passed:.0f} pass: gain {found.gain:+.4f} R per signal "
        f"{_text(found.gain_95)}, lift {found.lift:+.4f} R {_text(found.lift_95)}"
    )
    return Finding(name=name, passed=found.positive, detail=text, figures=found.figures())


def stable(name: Condition, parts: dict[int, Effect], share: float) -> Finding:
    """Whether enough of the parts show a lift of their own."""
    lifted = sum(part.lift > 0 for part in parts.values())
    got = lifted / len(parts) if parts else 0.0
    text = f"{lifted} of {len(parts)} have a positive lift (at least {share:.0%}): " + ", ".join(
        f"{key}: {part.lift:+.3f}" for key, part in parts.items()
    )
    figures = {"share": got, "parts": {str(key): part.figures() for key, part in parts.items()}}
    return Finding(name=name, passed=got >= share, detail=text, figures=figures)


def reproduced(before: Manifest, again: Manifest) -> Finding:
    """Whether training with the recorded configuration gives the very files again."""
    differs = [name for name, digest in before.files.items() if again.files.get(name) != digest]
    fields = ("features", "threshold", "calibration", "strategy", "trained_until")
    differs += [name for name in fields if getattr(before, name) != getattr(again, name)]
    if parse_time(before.valid_until) > parse_time(again.valid_until):
        differs.append("valid_until")
    if not differs:
        return Finding(name=Condition.REPRODUCED, passed=True, detail="byte for byte")
    versions = [n for n, v in before.libraries.items() if again.libraries.get(n) != v]
    text = f"trained again, these differ: {', '.join(differs)}"
    if versions:
        text += f"; other versions of {', '.join(versions)}: train with these and promote that"
    return Finding(name=Condition.REPRODUCED, passed=False, detail=text, figures={"differs": differs})


def _text(interval: tuple[float, float] | None) -> str:
    return "(no interval)" if interval is None else f"({interval[0]:+.4f} to {interval[1]:+.4f})"
