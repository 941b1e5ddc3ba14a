"""A training set under examination: what a model learned from against what it was chosen and judged on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catalog.instruments import interval_ns
from catalog.reader import load_bars
from research.dataset import CONTEXT, Dataset, useful_features
from research.doubt.columns import examine_content, examine_encoding, examine_frozen
from research.doubt.folds import examine_duplicates, examine_folds, examine_scaled
from research.doubt.knowledge import examine_target, examine_timing, independent_labels
from research.doubt.pipeline import kernel_rows, raw_series
from research.doubt.recomputed import Origin, examine_recomputed
from research.doubt.verdict import Doubt, Reason, stands, unknown
from research.labels import Ints
from research.train_config import TrainConfig, Windows, windows_of
from research.training import Sets
from strategies.kernel.columns import MODEL_FEATURES, column_indices
from strategies.params_file import ParamsFile, load_params_file


def examine_training(config: TrainConfig, catalog: Path, features: Sequence[str] | None = None) -> list[Doubt]:
    """
    Return the doubts on the data set of a training configuration: folds, duplicates, scales, content, label, timing.

    Parameters
    ----------
    config : TrainConfig
        What is trained.
    catalog : Path
        Catalog directory.
    features : sequence of str, optional
        Those a model was given; by default those training would give one.

    Raises
    ------
    ConfigError, DataError
        Propagate: see ``research.training``.

    """
    from research.training import build_dataset, split  # noqa: PLC0415 - looked up when called: tests replace them

    windows = windows_of(config)
    params = load_params_file(Path(config.strategy))
    data = build_dataset(config, params, catalog, windows)
    sets = split(data, windows)
    origin = origin_of(config, params, catalog, windows, windows.report[1])
    return [*examine_sets(data, sets, origin, features), *_timing(origin)]


def origin_of(config: TrainConfig, params: ParamsFile, catalog: Path, windows: Windows, end: int) -> Origin:
    """Return what the data set of a configuration is made from, up to the bar that opens at `end` (UTC ns)."""
    from research.training import HISTORY_BARS  # noqa: PLC0415 - as above

    start = windows.train[0] - HISTORY_BARS * interval_ns(config.interval)
    return Origin(catalog, config.interval, config.symbols, params, config.dataset, start, end)


def examine_sets(
    data: Dataset, sets: Sets, origin: Origin, features: Sequence[str] | None = None, *, ahead: bool = True
) -> list[Doubt]:
    """
    Return the doubts on rows learned from, chosen on and judged on.

    Parameters
    ----------
    data, sets, origin
        Rows, which of them belong to which part (`report`: judged on), and what they were made from.
    features : sequence of str, optional
        Columns a model was given; by default those that vary in training.
    ahead : bool
        Whether to look for later bars in the kernel itself, the slow part.

    """
    if not len(sets.train):
        return [unknown("training set", Reason.TOO_FEW, "no signal in the training window")]
    used, dropped = useful_features(data.rows[sets.train])
    if features is not None:
        used, dropped = [MODEL_FEATURES.index(f) for f in features], {}
    names = [MODEL_FEATURES[i] for i in used]
    rows = data.rows[:, used]
    learned = np.concatenate([sets.train, sets.threshold])
    folds = [(sets.train, sets.threshold), (learned, sets.report)]
    content = examine_content(rows[sets.train], names)
    if dropped and content.passed:
        listed = ", ".join(f"{c} ({why})" for c, why in dropped.items())
        content = stands(content.name, f"{content.detail}; left out: {listed}", left_out=dropped)
    every = np.concatenate([learned, sets.report])
    return [
        examine_folds(folds, data.open_time, data.label_end, key=data.symbol, forward=True),
        examine_duplicates(rows[learned], rows[sets.report]),
        examine_scaled(rows[learned], rows[sets.report], names),
        content,
        examine_frozen(rows[learned], rows[sets.report], names),
        examine_encoding(rows, data.label, data.symbol, learned, names),
        _told(data, every, used, "features against label"),
        _told(data, sets.report, used, "features against label, test alone"),
        *examine_recomputed(data, origin, ahead=ahead),
    ]


def _told(data: Dataset, part: Ints, used: Sequence[int], name: str) -> Doubt:
    rows, names = data.rows[part][:, used], [MODEL_FEATURES[i] for i in used]
    independent = independent_labels(data.open_time[part], data.label_end[part])
    return examine_target(rows, data.label[part], names, independent=independent, name=name)


def _timing(origin: Origin) -> list[Doubt]:
    doubts, step = [], interval_ns(origin.interval)
    for symbol in origin.symbols:
        series = raw_series(origin.catalog, symbol, origin.interval, CONTEXT, origin.start, origin.end)
        rows = kernel_rows(series, origin.params.for_symbol(symbol), step)[:, column_indices("model_features")]
        close = load_bars(origin.catalog, symbol, origin.interval, origin.start, origin.end).close
        doubts.append(examine_timing(rows, list(MODEL_FEATURES), close, f"features against the next bar {symbol}"))
    return doubts
