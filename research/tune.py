"""
Search settings for the gate's model inside the training window and print them as YAML.

``python -m research.tune --config config/train.yaml --trials 40``

The study is kept (``--storage``), so an interrupted search goes on where it stopped. Threshold and report window of the
training configuration are not read; every trial counts in the trial ledger.
"""

import argparse
import sys
from pathlib import Path

from strategies.startup import run_command

DEFAULT_CATALOG = Path("var/catalog")
DEFAULT_STORAGE = "sqlite:///var/research/tune.sqlite"


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m research.tune", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="training YAML, see config/train.yaml")
    parser.add_argument("--search", type=Path, help="YAML of the search, see config/tune.yaml")
    parser.add_argument("--trials", type=int, help="sets to try in all (default: the search's)")
    parser.add_argument("--catalog", type=Path, default=DEFAULT_CATALOG, help=f"catalog directory ({DEFAULT_CATALOG})")
    parser.add_argument("--storage", default=DEFAULT_STORAGE, help=f"database of the study ({DEFAULT_STORAGE})")
    parser.add_argument("--out", type=Path, help="write the found settings to this YAML file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; `arguments` replace those of the command line."""
    given = _arguments(arguments)
    import msgspec  # noqa: PLC0415 - `--help` answers before these imports
    import yaml  # noqa: PLC0415 - as above

    import trials  # noqa: PLC0415 - as above
    from catalog.reader import data_hash  # noqa: PLC0415 - as above
    from research.train_config import load_train_config, windows_of  # noqa: PLC0415 - as above
    from research.training import build_dataset  # noqa: PLC0415 - as above
    from research.tuning import TuneConfig, study_path, tune  # noqa: PLC0415 - as above
    from strategies.params_file import load_params_file  # noqa: PLC0415 - as above
    from strategies.yaml_config import load_yaml  # noqa: PLC0415 - as above

    trials.ready()
    config = load_train_config(given.config)
    search = TuneConfig() if given.search is None else load_yaml(given.search, TuneConfig)
    if given.trials is not None:
        search = msgspec.structs.replace(search, trials=given.trials)
    windows = windows_of(config)
    window = windows.train
    params = load_params_file(Path(config.strategy))
    data = build_dataset(config, params, given.catalog, windows, until=window[1])
    values = data_hash(given.catalog, config.symbols, config.interval, *window)
    identity = trials.config_hash(config, msgspec.structs.replace(search, trials=1), values)
    path = study_path(given.storage)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)

    def progress(number: int, value: float | None) -> None:
        sys.stderr.write(f"trial {number}/{search.trials}: {'pruned' if value is None else format(value, '+.5f')}\n")

    found = tune(data, window, config.fit, search, storage=given.storage, identity=identity, progress=progress)
    entry = trials.record(
        "study",
        command=["research.tune", *(arguments if arguments is not None else sys.argv[1:])],
        symbols=config.symbols,
        interval=config.interval,
        config=identity,
        data_hash=values,
        trials=found.trials,
        sharpe=trials.summarise([], trials=found.trials),
        best={"objective": search.objective, "value": found.value, "model": msgspec.to_builtins(found.model)},
        seed=search.seed,
        result=given.storage,
        catalog=given.catalog,
    )
    what = "net R per offered signal" if search.objective == "net_r" else "log loss"
    text = yaml.safe_dump({"model": msgspec.to_builtins(found.model)}, sort_keys=False)
    sys.stdout.write(
        f"# {what} on unseen rows, mean of {search.folds} folds: {found.value:+.5f} ({_list(found.folds)})\n"
        f"# as configured: {found.baseline:+.5f} ({_list(found.baseline_folds)})\n"
        f"# best of {found.trials} trials ({found.pruned} pruned, {found.failed} failed): the best of many is too good "
        f"by itself; ledger line {entry.digest[:12]}\n{text}"
    )
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        beside = given.out.with_name(f".{given.out.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(given.out)
    return 0


def _list(values: list[float]) -> str:
    return ", ".join(f"{v:+.4f}" for v in values)


if __name__ == "__main__":
    run_command(main)
