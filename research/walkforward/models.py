"""
The gate's models of a walk-forward, each examined by itself: seals, export, what it learned from, what it said.

A study has one model per fold. A verdict here is on all of them and names the folds that fall: one leaky or exchanged
model among twenty would not show in any figure of the whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from actors.model_folder import Manifest, load_model
from catalog.instruments import interval_ns
from catalog.reader import data_hash
from node.config import format_time, parse_time
from research.doubt.model import examine_learned, examine_model, examine_training_period, read_manifest
from research.doubt.pipeline import kernel_rows, raw_series
from research.doubt.training_set import examine_sets, origin_of
from research.doubt.verdict import Doubt, Reason, falls, stands, unknown
from research.folds import rows_of
from research.train_config import TrainConfig, windows_of
from research.training import HISTORY_BARS, Sets, build_dataset, split
from research.walkforward.config import account_name
from research.walkforward.folds import Fold
from research.walkforward.gate import FoldModel, digest_of, train_config
from research.walkforward.study import Plan, collect, needed_symbols, result_json
from research.walkforward.work import Prepared, Task, gate_settings, prepared_folder
from strategies.errors import ArgonautError
from strategies.kernel.columns import FEATURE_SCHEMA, MODEL_FEATURES, column_indices
from strategies.params_file import load_params_file
from trials import code_version

_SAID = "scores of the walk"
_LEARNED = ("model trained again", "rows learned from", _SAID)
_CLOSE = 1e-6


class Scored(NamedTuple):
    """What the gate said of a signal: symbol, close of its bar (UTC ns), score, threshold."""

    symbol: str
    time: int
    score: float
    threshold: float


def scored_in(fold: Fold, judged: Iterable[tuple[str, int, float | None, float | None]]) -> list[Scored]:
    """Return the signals of a fold's test window that got a score; each is symbol, time, score, threshold."""
    return [
        Scored(symbol, time, score, threshold)
        for symbol, time, score, threshold in judged
        if score is not None and threshold is not None and fold.test_start < time <= fold.test_end
    ]


def examine_fold(task: Task, said: Sequence[Scored], catalog: Path | None, why: str = "") -> list[Doubt]:
    """
    Return the doubts on the model of one fold; none where the fold has no model, and says so itself.

    Parameters
    ----------
    task : Task
        Account, configuration and the one fold; its folder holds what was prepared.
    said : sequence of Scored
        What the gate said in the fold's test window.
    catalog : Path or None
        The study's data; None: they are not at hand, for the reason `why`.

    """
    (fold,) = task.folds
    home = prepared_folder(Path(task.folder), task.symbols, fold)
    recorded = msgspec.json.decode((home / "prepared.json").read_bytes(), type=Prepared).model
    folder = home / "model"
    if recorded is None or not (recorded.trained or folder.exists()):
        return []
    doubts = examine_model(folder)
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        return doubts  # the seals fall, and say why
    doubts += [_as_recorded(manifest, recorded), examine_training_period(manifest, fold.test_start)]
    if catalog is None:
        return doubts + [unknown(name, Reason.UNAVAILABLE, why) for name in _LEARNED]
    settings = gate_settings(task.config, task.node, task.symbols)
    expected = train_config(settings, fold, catalog, task.node.interval, home / "params.yaml")
    try:
        doubts.append(examine_learned(folder, expected, catalog, own=True))
        doubts += _learned_from(expected, fold, manifest, catalog, ahead=fold.index == 1)
    except ArgonautError as e:
        doubts.append(falls("model trained again", Reason.NOT_REPRODUCED, f"training now gives no model: {e}"))
    if said:
        doubts.append(_said(task, folder, home, said, catalog))
    return doubts


def _as_recorded(manifest: Manifest, recorded: FoldModel) -> Doubt:
    name = "model the fold trained"
    found = digest_of(manifest.files)
    if (found, manifest.threshold, manifest.features) == (recorded.fingerprint, recorded.threshold, recorded.features):
        return stands(name, f"{found[:12]}, as the fold wrote down")
    text = (
        f"the fold wrote down {recorded.fingerprint[:12] or 'no model'}, threshold {recorded.threshold}; its folder "
        f"holds {found[:12]}, threshold {manifest.threshold}"
    )
    return falls(name, Reason.NOT_REPRODUCED, text)


def _learned_from(config: TrainConfig, fold: Fold, manifest: Manifest, catalog: Path, *, ahead: bool) -> list[Doubt]:
    """Return the doubts on the rows the fold's model was fitted and cut on, against those of its test window."""
    windows, params = windows_of(config), load_params_file(Path(config.strategy))
    data = build_dataset(config, params, catalog, windows, until=fold.test_end)
    learned = split(data, windows)
    sets = Sets(learned.train, learned.threshold, rows_of(data, [(fold.test_start, fold.test_end)]))
    used = [f for f in manifest.features if f in MODEL_FEATURES]
    origin = origin_of(config, params, catalog, windows, fold.test_end)
    name, recorded = "rows learned from", manifest.data.get("signals", {})
    counts = {"train": len(sets.train), "threshold": len(sets.threshold)}
    if all(recorded.get(k) == n for k, n in counts.items()):
        count = stands(name, f"{counts['train']} fitted on, {counts['threshold']} chosen on")
    else:
        of = {k: recorded.get(k) for k in counts}
        count = falls(name, Reason.LABEL_OVERLAP, f"the model saw {of} rows, its windows hold {counts} without overlap")
    return [count, *examine_sets(data, sets, origin, used or None, ahead=ahead)]


def _said(task: Task, folder: Path, home: Path, said: Sequence[Scored], catalog: Path) -> Doubt:
    """Return whether the gate's scores in the test window are what this model says of the raw series."""
    (fold,) = task.folds
    try:
        model = load_model(folder, schema=FEATURE_SCHEMA)
    except ArgonautError as e:
        return unknown(_SAID, Reason.UNAVAILABLE, f"the model does not load: {e}")
    step, params = interval_ns(task.node.interval), load_params_file(home / "params.yaml")
    columns = [column_indices("model_features")[MODEL_FEATURES.index(name)] for name in model.features]
    worst, other = (0.0, ""), 0
    for symbol in sorted({s.symbol for s in said}):
        mine = [s for s in said if s.symbol == symbol]
        first = fold.train_start - HISTORY_BARS * step
        series = raw_series(catalog, symbol, task.node.interval, task.node.context, first, fold.test_end)
        at = np.searchsorted(series["bars"].known, [s.time for s in mine])
        rows = kernel_rows(series, params.for_symbol(symbol), step)[at][:, columns]
        given = np.array([s.score for s in mine])
        apart = np.abs(model.probabilities(np.ascontiguousarray(rows, dtype=np.float32)) - given)
        cut = np.array([s.threshold for s in mine]) != model.threshold
        other += int(((apart > _CLOSE) | cut).sum())
        if len(apart) and float(apart.max()) >= worst[0]:
            worst = (float(apart.max()), f"{symbol} {format_time(mine[int(apart.argmax())].time)}")
    if other:
        text = f"{other} of {len(said)} scores or thresholds are not this model's: {worst[0]:.3g} apart at {worst[1]}"
        return falls(_SAID, Reason.NOT_REPRODUCED, text, scores=len(said), differing=other)
    return stands(_SAID, f"{len(said)} scores are this model's on the raw series, at most {worst[0]:.1g} apart")


def pooled(found: Mapping[int, Sequence[Doubt]]) -> list[Doubt]:
    """Return one doubt per examination over all folds (by number): it names the folds that fall, and why."""
    names = list(dict.fromkeys(d.name for doubts in found.values() for d in doubts))
    answers = []
    for name in names:
        of = {fold: d for fold, doubts in found.items() for d in doubts if d.name == name}
        fallen = {fold: d for fold, d in of.items() if d.passed is False}
        open_ = {fold: d for fold, d in of.items() if d.passed is None}
        shown = fallen or open_
        text = "; ".join(f"fold {fold}: {d.detail}" for fold, d in list(shown.items())[:4])
        text += f"; and {len(shown) - 4} more" if len(shown) > 4 else ""
        title = f"fold models: {name}"
        figures = {"folds": {str(fold): {"reason": d.reason.value, "detail": d.detail} for fold, d in of.items()}}
        if fallen:
            answers.append(falls(title, next(iter(fallen.values())).reason, text, fallen=list(fallen), **figures))
        elif open_:
            answers.append(unknown(title, next(iter(open_.values())).reason, text, **figures))
        else:
            first = next(iter(of.values())).detail
            answers.append(stands(title, first if len(of) == 1 else f"{len(of)} folds, the first: {first}", **figures))
    return answers


def examine_models(
    folder: Path, planned: Plan, variants: Sequence[dict[str, Any]], catalog: Path | None
) -> list[Doubt]:
    """
    Return the doubts on all models of a finished study, examined anew, per account.

    Parameters
    ----------
    folder, planned : Path, Plan
        The study.
    variants : sequence of dict
        As its ``result.json`` lists them: what the gates said.
    catalog : Path or None
        Where the data lie; None: where the plan says.

    """
    if planned.config.gates == ["off"]:
        return []
    data = Path(planned.node.catalog) if catalog is None else catalog
    node, doubts = msgspec.structs.replace(planned.node, catalog=str(data)), []
    for account in planned.accounts:
        name, own = account_name(account.symbols), msgspec.structs.replace(node, symbols=tuple(account.symbols))
        at_hand, why = _at_hand(data, planned, needed_symbols(planned.config, own), account)
        found = {}
        for fold in account.folds:
            judged = (
                (j["symbol"], parse_time(j["time"], "judged"), j["score"], j["threshold"])
                for v in variants
                if v["account"] == name and v["gate"] != "off"
                for j in v["judged"]
            )
            task = Task(
                kind="models",
                config=planned.config,
                node=node,
                symbols=account.symbols,
                gate="",
                folds=[fold],
                folder=str(folder),
            )
            try:
                found[fold.index] = examine_fold(task, scored_in(fold, judged), at_hand, why)
            except (OSError, msgspec.MsgspecError) as e:
                found[fold.index] = [unknown("model seals", Reason.UNAVAILABLE, f"the fold cannot be read: {e}")]
        if planned.code != code_version().files:
            found = {n: [_by_other_code(d) for d in of] for n, of in found.items()}
        doubts += [msgspec.structs.replace(d, name=f"{name}: {d.name}") for d in pooled(found)]
    return doubts


def examine_stored(folder: Path, planned: Plan, stored: bytes) -> Doubt:
    """Return whether a study's result is what the files of its folds, put together again, give to the last digit."""
    name = "result against its folds"
    if planned.code != code_version().files:
        return unknown(name, Reason.UNAVAILABLE, "the study was made by other code: run this with that code")
    try:
        again = result_json(collect(planned, folder))
    except (ArgonautError, OSError, msgspec.MsgspecError) as e:
        return unknown(name, Reason.UNAVAILABLE, f"the folds cannot be put together: {e}")
    if again == stored:
        return stands(name, "every digit is theirs")
    one, two = msgspec.json.decode(stored), msgspec.json.decode(again)
    differs = [k for k in two if one.get(k) != two[k]]
    text = f"it says other things than its folds' files: {', '.join(differs) or 'in its layout'}"
    return falls(name, Reason.NOT_REPRODUCED, text, differs=differs)


def _at_hand(data: Path, planned: Plan, symbols: list[str], account: Any) -> tuple[Path | None, str]:
    try:
        found = data_hash(data, symbols, planned.node.interval, None, account.history[1])
    except ArgonautError as e:
        return None, str(e)
    if found != account.data_hash:
        return None, f"{data}: holds other data than the study's ({found[:12]}, {account.data_hash[:12]})"
    return data, ""


def _by_other_code(doubt: Doubt) -> Doubt:
    """Other code may train another model by right: then nobody knows, until the study's own code is asked."""
    if doubt.name != "model trained again" or doubt.passed is not False:
        return doubt
    text = f"{doubt.detail}; the study was made by other code: run this with that code"
    return unknown(doubt.name, Reason.UNAVAILABLE, text)
