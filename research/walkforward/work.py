"""The pieces of work of a study; each leaves its result in a file, so that a killed study goes on where it was."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from node.config import NodeConfig
from node.report import write_file
from research.live_labels import label_of
from research.walkforward.config import GateTraining, WalkForwardConfig, account_name
from research.walkforward.folds import Fold
from research.walkforward.gate import FoldModel, train_fold
from research.walkforward.selection import Choice, Evaluator, Tried, choose, engine_scores
from research.walkforward.trial import FoldResult, run_fold, window_config
from strategies.yaml_config import FrozenConfig


class Task(FrozenConfig, frozen=True):
    """
    One piece of work; everything a worker needs travels in it.

    Attributes
    ----------
    kind : {"prepare", "walk", "tried", "models", "paths"}
        Choose and train for one fold; run all test windows of a variant one after the other; examine all that an
        account tried in its training windows, or the model of one fold; cross-validate its choice of parameters, or
        the gate's model.
    symbols, gate : list of str, str
        The account, and the mode it is walked with.
    folds : list of Fold
        One to prepare, or those to walk.
    folder : str
        The study's folder while it is being filled.
    history : (int, int) or None
        For ``paths``: ``[start, end)``, UTC ns.

    """

    kind: str
    config: WalkForwardConfig
    node: NodeConfig
    symbols: list[str]
    gate: str
    folds: list[Fold]
    folder: str
    history: tuple[int, int] | None = None


class Prepared(FrozenConfig, frozen=True):
    """What was chosen and trained for one fold."""

    fold: Fold
    choices: dict[str, Choice]
    model: FoldModel | None


def prepared_folder(folder: Path, symbols: list[str], fold: Fold) -> Path:
    """Return where choice and model of a fold lie."""
    return folder / account_name(symbols) / f"fold-{fold.index:02d}"


def result_file(folder: Path, symbols: list[str], gate: str, fold: Fold) -> Path:
    """Return where a test window's result lies."""
    return folder / account_name(symbols) / f"{gate}-{fold.index:02d}.json"


def tried_file(home: Path, symbol: str) -> Path:
    """Return where a fold's folder holds the sets tried for a symbol, and their scores."""
    return home / f"sets-{symbol}.json"


def files_of(task: Task) -> list[Path]:
    """Return the files a task leaves behind, in order."""
    folder = Path(task.folder)
    if task.kind == "prepare":
        return [prepared_folder(folder, task.symbols, f) / "prepared.json" for f in task.folds]
    if task.kind == "tried":
        return [folder / account_name(task.symbols) / "tried.json"]
    if task.kind == "models":
        return [prepared_folder(folder, task.symbols, f) / "doubts.json" for f in task.folds]
    if task.kind == "paths":
        return [folder / f"combinatorial-{account_name(task.symbols) or 'gate'}.json"]
    return [result_file(folder, task.symbols, task.gate, f) for f in task.folds]


def run_task(task: Task) -> str:
    """Do a piece of work; finished folds are kept and not done again."""
    if task.kind == "prepare":
        prepare(task)
    elif task.kind == "tried":
        examine(task)
    elif task.kind == "models":
        examine_model_of(task)
    elif task.kind == "paths":
        cross_validate(task)
    else:
        walk(task)
    return f"{account_name(task.symbols)} {task.gate}".strip()


def prepare(task: Task) -> None:
    """Choose parameters for a fold, train its model, and write both down; ``prepared.json`` last."""
    (fold,) = task.folds
    home = prepared_folder(Path(task.folder), task.symbols, fold)
    if (home / "prepared.json").is_file():
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    evaluate = evaluator(task.config, home)
    choices: dict[str, Choice] = {}
    for symbol in task.symbols:
        choices[symbol], tried = choose(task.config.selection, task.node, symbol, fold, evaluate)
        write_file(tried_file(home, symbol), msgspec.json.encode(tried))
    params = home / "params.yaml"
    own = choices[task.symbols[0]].params
    # Symbols the gate learns from but the account does not trade are labelled with the first traded symbol's levels.
    content: dict[str, Any] = {"params": own, "per_symbol": {s: c.params for s, c in choices.items()}}
    write_file(params, msgspec.json.format(msgspec.json.encode(content), indent=1))
    model = None
    if any(g != "off" for g in task.config.gates):
        model = train_fold(
            gate_settings(task.config, task.node, task.symbols),
            fold,
            Path(task.node.catalog),
            task.node.interval,
            params=params,
            out=home / "model",
        )
    done = Prepared(fold=fold, choices=choices, model=model)
    write_file(home / "prepared.json", msgspec.json.format(msgspec.json.encode(done), indent=1))


def examine(task: Task) -> None:
    """Store what every set tried in the training windows earned there, and what that says of the choices."""
    from research.walkforward.tried import examine_tried  # noqa: PLC0415 - slow imports

    (file,) = files_of(task)
    if file.is_file():
        return
    homes = [prepared_folder(Path(task.folder), task.symbols, f) for f in task.folds]
    done = [msgspec.json.decode((h / "prepared.json").read_bytes(), type=Prepared) for h in homes]
    found = [
        examine_tried(
            task.node,
            task.symbols,
            symbol,
            [(f.train_start, f.train_end) for f in task.folds],
            [
                (p.choices[symbol], msgspec.json.decode(tried_file(h, symbol).read_bytes(), type=Tried))
                for p, h in zip(done, homes, strict=True)
            ],
            task.config.selection,
            file.parent,
            task.config.seed,
        )
        for symbol in task.symbols
    ]
    write_file(file, msgspec.json.encode(found))


def examine_model_of(task: Task) -> None:
    """Store the doubts on the model of one fold, with what it said in the fold's test window."""
    from research.walkforward.models import Scored, examine_fold, scored_in  # noqa: PLC0415 - slow imports

    (fold,), (file,) = task.folds, files_of(task)
    if file.is_file():
        return
    said: list[Scored] = []
    for gate in task.config.gates:
        walked = result_file(Path(task.folder), task.symbols, gate, fold)
        if gate != "off" and walked.is_file():
            result = msgspec.json.decode(walked.read_bytes(), type=FoldResult)
            said += scored_in(fold, ((j.symbol, j.time, j.score, j.threshold) for j in result.judged))
    found = examine_fold(task, said, Path(task.node.catalog))
    write_file(file, msgspec.json.encode(found))


def cross_validate(task: Task) -> None:
    """Write the paths of an account's parameters, or of the gate's model."""
    from research.walkforward.combinatorial import model_paths, sweep_paths  # noqa: PLC0415 - only where it is asked for

    config, (file,) = task.config, files_of(task)
    if config.combinatorial is None or task.history is None or file.is_file():
        return
    if task.symbols:
        found = [sweep_paths(task.node, task.symbols[0], task.history, config.selection, config.combinatorial)]
    else:
        found = model_paths(
            task.node,
            Path(task.node.catalog),
            task.history,
            gate_settings(task.config, task.node, task.symbols),
            config.combinatorial,
        )
    write_file(file, msgspec.json.encode(found))


def gate_settings(config: WalkForwardConfig, node: NodeConfig, symbols: list[str]) -> GateTraining:
    """
    Return the gate's settings with the costs the test windows pay in its labels, which judge signals in any case.

    An account's own symbols are always among those learned from. A trailing stop, which no label follows, is refused
    where a gate is trained (ConfigError, fatal); without a gate the configured costs stand.
    """
    gate = config.gate
    label = gate.label
    if any(g != "off" for g in config.gates):
        label = label_of(node, (symbols or gate.symbols)[0], label)
    missing = [s for s in symbols if s not in gate.symbols]
    return msgspec.structs.replace(gate, symbols=[*gate.symbols, *missing], label=label)


def evaluator(config: WalkForwardConfig, folder: Path) -> Evaluator:
    """Return what scores parameter sets."""
    if config.selection.method == "fixed" or config.selection.evaluator == "engine":
        return partial(engine_scores, folder=folder)
    from research.walkforward.sweeping import sweep_scores  # noqa: PLC0415 - compiled code only where it is used

    return sweep_scores


def walk(task: Task) -> None:
    """Run the test windows of a variant in order; stop at ruin."""
    folder = Path(task.folder)
    start = balance = task.node.backtest.balance
    for fold in task.folds:
        file = result_file(folder, task.symbols, task.gate, fold)
        if file.is_file():
            result = msgspec.json.decode(file.read_bytes(), type=FoldResult)
        else:
            home = prepared_folder(folder, task.symbols, fold)
            config = window_config(
                task.node, task.symbols, (fold.test_start, fold.test_end), balance, home / "params.yaml"
            )
            gate = msgspec.structs.replace(config.gate, mode=task.gate, model_dir=str(home / "model"))
            result = run_fold(
                msgspec.structs.replace(config, gate=gate),
                fold,
                gate_settings(task.config, task.node, task.symbols).label,
            )
            write_file(file, msgspec.json.encode(result))
        if task.config.capital == "compound":
            balance = result.end_balance
            if balance <= start * task.config.ruin:
                return
