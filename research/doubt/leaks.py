"""
Leaks between what a model learns from and what it is judged on, and features that carry too much or nothing.

``python -m research.doubt.leaks --config config/train.yaml [--catalog DIR] [--model DIR]``

Every check takes plain arrays, so that any data set, split or transformation can be examined, not only ours.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from strategies.startup import run_command


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = argparse.ArgumentParser(
        prog="python -m research.doubt.leaks",
        description="Look for leaks in the data set of a training configuration and in a model; exit code 1 on any.",
    )
    p.add_argument("--config", required=True, type=Path, metavar="FILE", help="training configuration (YAML)")
    p.add_argument("--catalog", type=Path, default=Path("var/catalog"), metavar="DIR", help="catalog (var/catalog)")
    p.add_argument("--model", type=Path, metavar="DIR", help="also examine this model folder")
    p.add_argument("--ledger", type=Path, metavar="FILE", help="trial ledger ($ARGONAUT_TRIALS)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts to FILE")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    from research.train_config import load_train_config  # noqa: PLC0415 - keeps --help fast

    config = load_train_config(args.config)
    from research.doubt.recorded import record_training  # noqa: PLC0415
    from research.doubt.report import conclude  # noqa: PLC0415
    from research.doubt.training_set import examine_training  # noqa: PLC0415
    from trials import ready  # noqa: PLC0415

    ready(args.ledger)
    doubts: list[Any] = examine_training(config, args.catalog, _features(args.model))
    if args.model is not None:
        from research.doubt.model import examine_learned, examine_model  # noqa: PLC0415

        doubts += [*examine_model(args.model), examine_learned(args.model, config, args.catalog)]
    command = ["research.doubt.leaks", *(sys.argv[1:] if argv is None else argv)]
    record_training(command, config, args.catalog, args.ledger, model=args.model)
    return conclude(doubts, args.json, sys.stdout)


def _features(model: Path | None) -> list[str] | None:
    """Return the columns of a model, where one is given that can be read; what it lacks is told elsewhere."""
    if model is None:
        return None
    from research.doubt.model import read_manifest  # noqa: PLC0415 - keeps --help fast
    from strategies.kernel.columns import MODEL_FEATURES  # noqa: PLC0415

    try:
        features = read_manifest(model).features
    except (OSError, ValueError):
        return None
    return features if set(features) <= set(MODEL_FEATURES) else None


if __name__ == "__main__":
    run_command(main)
