"""
What the model's features are worth on signals it has not seen: SHAP values, permutation, and refits without a group.

``python -m research.importance --config config/train.yaml [--ablation]``

All figures come from the test rows of a walk-forward over the training windows, several seeds per fold; intervals are
over seeds x folds. A feature whose permutation interval includes zero has shown nothing.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strategies.startup import run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from research.dataset import Dataset
    from research.promotion.evidence import FoldResult, StudyConfig
    from research.train_config import FitConfig

GROUPS = {
    "vote": ("signal_strength", "side"),
    "oscillators": ("rsi", "macd_hist_pct", "bb_pct", "stoch_k", "stoch_d"),
    "trend": ("ema_align", "adx_z"),
    "volatility and volume": ("atr_pct", "vol_ratio"),
    "own returns": ("ret_1", "ret_3", "ret_5"),
    "BTC and ETH": (
        "btc_ret_1", "btc_ret_3", "btc_ret_5", "eth_ret_1", "eth_ret_3", "eth_ret_5", "primary_btc_rs",
        "primary_eth_rs",
    ),
    "open interest and funding": ("oi_change", "funding_rate", "oi_change_ma5", "oi_price_spread"),
}  # fmt: skip
"""Features that stand or fall together in an ablation."""

DEFAULT_CATALOG = Path("var/catalog")


class Worth(NamedTuple):
    """
    One feature or group.

    Attributes
    ----------
    name : str
        Which.
    value, low, high : float
        Mean over seeds x folds, and its 95 % percentile interval (bootstrap over those).
    uses : int
        Models that used it.

    """

    name: str
    value: float
    low: float
    high: float
    uses: int


def shap_importance(data: "Dataset", results: "Sequence[FoldResult]", seed: int) -> "list[Worth]":
    """Return mean absolute SHAP values (log odds) on test rows, largest first; TreeSHAP as LightGBM computes it."""
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    from research.booster import load_booster  # noqa: PLC0415 - as above

    found: dict[str, list[float]] = {}
    for result in results:
        rows = data.rows[result.rows][:, result.model.columns].astype(np.float64)
        parts = load_booster(result.model.booster).predict(rows, pred_contrib=True, num_threads=1)
        for name, value in zip(result.model.features, np.abs(parts[:, :-1]).mean(axis=0), strict=True):
            found.setdefault(name, []).append(float(value))
    return _ranked(found, seed)


def permutation_importance(data: "Dataset", results: "Sequence[FoldResult]", seed: int) -> "list[Worth]":
    """Return how much the log loss on test rows grows when a column is shuffled among them, largest first."""
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    from research.metrics import log_loss  # noqa: PLC0415 - as above

    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for result in results:
        label, rows = data.label[result.rows], data.rows[result.rows]
        before = log_loss(result.scores, label)
        for name, column in zip(result.model.features, result.model.columns, strict=True):
            shuffled = rows.copy()
            shuffled[:, column] = random.permutation(shuffled[:, column])
            found.setdefault(name, []).append(log_loss(result.model.score(shuffled), label) - before)
    return _ranked(found, seed)


def ablation(
    data: "Dataset", window: tuple[int, int], fit: "FitConfig", study: "StudyConfig", seed: int
) -> "list[Worth]":
    """Return, per group of :data:`GROUPS`, what fitting without it adds to the log loss on test rows."""
    from dataclasses import replace  # noqa: PLC0415 - `--help` answers before these imports

    import numpy as np  # noqa: PLC0415 - as above

    from research.metrics import log_loss  # noqa: PLC0415 - as above
    from research.promotion.evidence import run_study  # noqa: PLC0415 - as above
    from strategies.kernel.columns import MODEL_FEATURES  # noqa: PLC0415 - as above

    def losses(rows: Any) -> list[float]:
        results = run_study(replace(data, rows=rows), window, fit, study)
        return [log_loss(r.scores, data.label[r.rows]) for r in results]

    whole = losses(data.rows)
    found = {}
    for group, names in GROUPS.items():
        rows = data.rows.copy()
        rows[:, [MODEL_FEATURES.index(name) for name in names]] = np.nan  # an empty column is left out of the fit
        found[group] = [b - a for a, b in zip(whole, losses(rows), strict=True)]
    return _ranked(found, seed)


def _ranked(found: dict[str, list[float]], seed: int) -> list[Worth]:
    import numpy as np  # noqa: PLC0415 - `--help` answers before these imports

    random = np.random.default_rng(seed)
    rows = []
    for name, values in found.items():
        means = random.choice(values, (1_000, len(values))).mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        rows.append(Worth(name, float(np.mean(values)), float(low), float(high), len(values)))
    return sorted(rows, key=lambda worth: -worth.value)


def _text(title: str, rows: list[Worth]) -> str:
    lines = [title]
    lines += [f"  {w.name:<26} {w.value:+.5f}  ({w.low:+.5f} to {w.high:+.5f})  {w.uses} models" for w in rows]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` replace those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m research.importance", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="training YAML, see config/train.yaml")
    parser.add_argument("--catalog", type=Path, default=DEFAULT_CATALOG, help=f"catalog directory ({DEFAULT_CATALOG})")
    parser.add_argument("--folds", type=int, default=4, help="test windows (4)")
    parser.add_argument("--seeds", type=int, default=3, help="models per window (3)")
    parser.add_argument("--ablation", action="store_true", help="fit again without each group of features")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    given = parser.parse_args(arguments)

    from catalog.reader import data_hash  # noqa: PLC0415 - `--help` answers before these imports
    from research.promotion.evidence import StudyConfig, run_study  # noqa: PLC0415 - as above
    from research.train_config import load_train_config, windows_of  # noqa: PLC0415 - as above
    from research.training import build_dataset  # noqa: PLC0415 - as above
    from strategies.params_file import load_params_file  # noqa: PLC0415 - as above
    from strategies.yaml_config import convert  # noqa: PLC0415 - as above
    from trials import ready, record, summarise  # noqa: PLC0415 - as above

    ready(given.ledger)
    config = load_train_config(given.config)
    study = convert({"folds": given.folds, "seeds": given.seeds}, StudyConfig, "options")
    windows, seed = windows_of(config), config.model.seed
    window = (windows.train[0], windows.threshold[1])
    data = build_dataset(config, load_params_file(Path(config.strategy)), given.catalog, windows, until=window[1])
    results = run_study(data, window, config.fit, study)
    parts = [
        _text("mean |SHAP| in log odds, unseen rows", shap_importance(data, results, seed)),
        _text("log loss lost by shuffling, unseen rows", permutation_importance(data, results, seed)),
    ]
    dropped = {name: why for r in results for name, why in r.model.dropped.items()}
    parts += [f"  {name:<26} left out: {why}\n" for name, why in sorted(dropped.items())]
    if given.ablation:
        title = "log loss lost by fitting without, unseen rows"
        parts.append(_text(title, ablation(data, window, config.fit, study, seed)))
    tried = 1 + (len(GROUPS) if given.ablation else 0)
    entry = record(
        "study",
        command=["research.importance", *(sys.argv[1:] if arguments is None else arguments)],
        symbols=config.symbols,
        interval=config.interval,
        config=[config, study, given.ablation],
        data_hash=data_hash(given.catalog, config.symbols, config.interval, *window),
        trials=tried,
        sharpe=summarise([], trials=tried),
        seed=seed,
        ledger=given.ledger,
        catalog=given.catalog,
    )
    sys.stdout.write("".join(parts) + f"ledger line {entry.digest[:12]}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
