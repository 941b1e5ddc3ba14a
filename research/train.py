"""
Train the ML gate's model and put its folder in place.

``python -m research.train --config config/train.yaml [--catalog DIR] [--out var/models/composite]``

A folder that does not verify is never put in place; the one before stays beside it as ``<out>.previous``. Every run
is a line of the trial ledger: a model tried and thrown away counts among the tries.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.startup import run_command

if TYPE_CHECKING:
    from actors.model_folder import Manifest

DEFAULT_CATALOG = Path("var/catalog")
DEFAULT_OUT = Path("var/models/composite")


def summary(manifest: "Manifest") -> str:
    """Return the run's figures as text: counts beside every figure, warnings last."""
    data, parity = manifest.data, manifest.parity
    source = data["source"].get("description", "origin not recorded")
    agreement = f"largest difference {parity['max_abs_diff']:.1e}, {parity['flips']} decisions differ"
    validity = f"threshold {manifest.threshold:.4f}, valid until {manifest.valid_until} market time"
    lines = [
        f"data       {source}; {', '.join(data['symbols'])} {data['interval']}, {data['start']} to {data['end']}",
        f"model      {len(manifest.features)} features, {validity}",
        f"export     {parity['rows']} rows, {parity['splits']} splits: {agreement}",
        "window     rows     signals  good  auc    precision recall passed  net R all / passed",
    ]
    lines += [
        _line(window, kind, manifest.metrics[window][kind], note)
        for window, note in (("train", "in-sample"), ("threshold", "chosen on"), ("report", ""))
        for kind in ("all", "traded")
    ]
    lines += [f"purged     {data['purged']}; left out {data['left_out']}"]
    lines += [f"warning: {text}" for text in manifest.warnings]
    return "\n".join(lines) + "\n"


def _line(window: str, kind: str, figures: dict[str, Any], note: str) -> str:
    def number(name: str, form: str) -> str:
        value = figures.get(name)
        return "-" if value is None or value != value else format(value, form)  # noqa: PLR0124 - NaN is not itself

    return (
        f"{window:<10} {kind:<8} {figures['signals']:>7} {figures['good']:>5}  {number('auc', '.3f'):<6} "
        f"{number('precision', '.3f'):<9} {number('recall', '.3f'):<6} {figures['passed']:>6}  "
        f"{number('net_r_all', '+.3f')} / {number('net_r_passed', '+.3f')} {note}"
    ).rstrip()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` replace those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m research.train", description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--config", type=Path, required=True, help="YAML, see config/train.yaml")
    parser.add_argument("--catalog", type=Path, default=DEFAULT_CATALOG, help=f"catalog directory ({DEFAULT_CATALOG})")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"model folder to replace ({DEFAULT_OUT})")
    given = parser.parse_args(arguments)

    import msgspec  # noqa: PLC0415 - `--help` answers before these imports

    import trials  # noqa: PLC0415 - as above
    from catalog.sample import describe  # noqa: PLC0415 - as above
    from research.train_config import load_train_config  # noqa: PLC0415 - as above
    from research.training import publish, train  # noqa: PLC0415 - as above

    trials.ready()
    config = load_train_config(given.config)
    sample = describe(given.catalog)
    trained = train(config, given.catalog, msgspec.to_builtins(sample) if sample else {})
    model, previous = publish(trained, given.out)
    entry = trials.record(
        "train",
        command=["research.train", *(arguments if arguments is not None else sys.argv[1:])],
        symbols=config.symbols,
        interval=config.interval,
        config=config,
        data_hash=model.manifest.data["sha256"],
        trials=1,
        sharpe=trials.summarise([], trials=1),
        best={"model": model.fingerprint, "threshold": model.manifest.threshold},
        seed=config.model.seed,
        result=given.out,
        catalog=given.catalog,
    )
    sys.stdout.write(summary(model.manifest))
    kept = f", the model before it is kept in {previous}" if previous else ""
    sys.stdout.write(f"written    {given.out} ({model.fingerprint[:12]}){kept}; ledger line {entry.digest[:12]}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
