"""A whole study: plan, prepare, walk, put together, write down."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from catalog.instruments import interval_ns
from catalog.reader import data_hash
from catalog.sample import describe
from node.config import NodeConfig, format_time, load_config
from node.report import write_file
from research.doubt.report import plain_doubts
from research.doubt.verdict import Doubt
from research.walkforward.combinatorial import Paths
from research.walkforward.config import WalkForwardConfig, account_name
from research.walkforward.folds import Coverage, Fold, covered, plan, share_tested
from research.walkforward.outcome import Variant, plain, variant
from research.walkforward.trial import FoldResult
from research.walkforward.tried import SymbolTrials
from research.walkforward.work import Prepared, Task, files_of, prepared_folder, result_file, run_task
from research.workers import run as run_tasks
from strategies.errors import ConfigError, DataError
from strategies.params_file import load_params_file
from strategies.yaml_config import FrozenConfig
from trials import code_version, config_hash, ready, record, summarise

RESULT, RUN, CONFIG = "result.json", "run.json", "config.json"


class Account(FrozenConfig, frozen=True):
    """One account's plan; `history` is ``[start, end)``, UTC ns."""

    symbols: list[str]
    history: tuple[int, int]
    folds: list[Fold]
    data_hash: str


class Plan(FrozenConfig, frozen=True):
    """
    Everything a study is determined by.

    Attributes
    ----------
    config, node : WalkForwardConfig, NodeConfig
        What was asked for.
    strategy : dict
        Content of the parameter file.
    key : str
        SHA-256 over all of it, the data and the code: equal keys, equal digits.

    """

    config: WalkForwardConfig
    node: NodeConfig
    strategy: dict[str, Any]
    accounts: list[Account]
    data_source: str
    synthetic: bool | None
    code: str
    key: str

    @property
    def folder_name(self) -> str:
        """Return ``<name>-<hash>``."""
        return f"{self.config.name}-{self.key[:12]}"


class Backend(FrozenConfig, frozen=True):
    """Where the work is done: ``joblib`` with so many processes, or ``dask`` at an address."""

    workers: int = 1
    backend: str = "joblib"
    scheduler: str | None = None


class Study(FrozenConfig, frozen=True):
    """A finished study."""

    folder: str
    plan: Plan
    variants: list[Variant]
    prepared: dict[str, list[Prepared]]
    paths: dict[str, list[Paths]] = msgspec.field(default_factory=dict)
    tried: dict[str, list[SymbolTrials]] = msgspec.field(default_factory=dict)
    models: dict[str, list[Doubt]] = msgspec.field(default_factory=dict)


def make_plan(config: WalkForwardConfig, catalog: Path) -> Plan:
    """
    Return the plan of a study over a catalog.

    Raises
    ------
    ConfigError, DataError
        Fatal, propagate: node configuration or catalog do not serve; no test window fits.

    """
    node = msgspec.structs.replace(load_config(Path(config.node)), catalog=str(catalog))
    trains = config.selection.method != "fixed" or config.gates != ["off"]
    accounts = []
    for symbols in config.accounts:
        own = msgspec.structs.replace(node, symbols=tuple(symbols))
        history = covered(own)
        needed = needed_symbols(config, own)
        accounts.append(
            Account(
                symbols=symbols,
                history=(history.start, history.end),
                folds=plan(config.folds, history, interval_ns(node.interval), trains=trains),
                data_hash=data_hash(catalog, needed, node.interval, None, history.end),
            )
        )
    strategy: dict[str, Any] = msgspec.to_builtins(load_params_file(Path(node.strategy.file)))
    sample, code = describe(catalog), code_version().files
    # Where files lie is no part of what they say.
    bare_node = msgspec.structs.replace(
        node, catalog="", journal="", strategy=msgspec.structs.replace(node.strategy, file="")
    )
    bare = msgspec.structs.replace(config, node="")
    hashes = [a.data_hash for a in accounts]
    return Plan(
        config=config,
        node=node,
        strategy=strategy,
        accounts=accounts,
        data_source="origin not recorded" if sample is None else sample.description,
        synthetic=None if sample is None else sample.synthetic,
        code=code,
        key=config_hash(bare, bare_node, strategy, hashes, code),
    )


def needed_symbols(config: WalkForwardConfig, own: NodeConfig) -> list[str]:
    """Return the symbols an account's data hash is over: traded ones, context, and those its gate learns from."""
    needed = list(own.all_symbols)
    if config.gates != ["off"]:
        needed += [s for s in config.gate.symbols if s not in needed]
    return needed


def partial_folder(out: Path, planned: Plan) -> Path:
    """Return where a study is filled before it is renamed."""
    return out / f".{planned.folder_name}.partial"


def run(
    planned: Plan, out: Path, backend: Backend, command: Sequence[str], told: Callable[[str, int, int], None]
) -> Study:
    """
    Fill a study's folder and return it; a folder left by a killed run is completed.

    Parameters
    ----------
    planned : Plan
        What to do.
    out : Path
        Directory of all studies.
    backend : Backend
        Where to work.
    command : sequence of str
        For the trial ledger.
    told : callable
        Hears stage, files done and files in all.

    Raises
    ------
    ConfigError
        Fatal: another process is filling the same folder.
    DataError, Exception
        Propagate: what a worker raises; finished folds are kept.

    """
    ready()
    folder = partial_folder(out, planned)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        started = time.time()
        write_file(folder / CONFIG, msgspec.json.format(msgspec.json.encode(planned), indent=1))
        stages = (
            ("choose and train", _prepare(planned, folder)),
            ("examine what was tried", _tried(planned, folder)),
            ("test", _walks(planned, folder)),
            ("examine models", _models(planned, folder)),
            ("cross-validate", _combinatorial(planned, folder)),
        )
        for stage, tasks in stages:
            _work(stage, tasks, backend, told)
        study = collect(planned, folder)
        write_file(folder / RESULT, result_json(study))
        entry = _record(planned, study, out / planned.folder_name, command)
        ran = {
            "seconds": round(time.time() - started, 1),
            "finished": format_time(time.time_ns()),
            "trial": entry.sequence,
            "trial_digest": entry.digest,
        }
        write_file(folder / RUN, msgspec.json.encode(ran))
    return study


def put_in_place(study: Study, out: Path) -> Path:
    """Rename a filled folder to its final name; a folder of that name is kept beside it as ``.previous``."""
    final = out / study.plan.folder_name
    if final.exists():
        before = final.with_name(f"{final.name}.previous")
        shutil.rmtree(before, ignore_errors=True)
        final.replace(before)
    partial_folder(out, study.plan).replace(final)
    return final


def collect(planned: Plan, folder: Path) -> Study:
    """
    Put the fold results of a folder together.

    Raises
    ------
    DataError
        Propagate: a result is missing.

    """
    variants, prepared = [], {}
    for account in planned.accounts:
        name = account_name(account.symbols)
        prepared[name] = [
            msgspec.json.decode(
                (prepared_folder(folder, account.symbols, f) / "prepared.json").read_bytes(), type=Prepared
            )
            for f in account.folds
        ]
        for gate in planned.config.gates:
            results = []
            for fold in account.folds:
                file = result_file(folder, account.symbols, gate, fold)
                if not file.is_file():
                    break
                results.append(msgspec.json.decode(file.read_bytes(), type=FoldResult))
            if not results:
                raise DataError(f"{folder}: {name} {gate}: no test window was run")
            ruined = (
                planned.config.capital == "compound"
                and results[-1].end_balance <= results[0].start_balance * planned.config.ruin
            )
            if len(results) < len(account.folds) and not ruined:
                raise DataError(f"{folder}: {name} {gate}: results of {len(account.folds) - len(results)} folds miss")
            variants.append(
                variant(
                    account.symbols,
                    gate,
                    results,
                    account.history,
                    compound=planned.config.capital == "compound",
                    ruined=ruined,
                    seed=planned.config.seed,
                )
            )
    paths = {
        account_name(t.symbols) or "gate": msgspec.json.decode(f.read_bytes(), type=list[Paths])
        for t in _combinatorial(planned, folder)
        for f in files_of(t)
    }
    tried = {
        account_name(t.symbols): msgspec.json.decode(f.read_bytes(), type=list[SymbolTrials])
        for t in _tried(planned, folder)
        for f in files_of(t)
    }
    models = {}
    if planned.config.gates != ["off"]:
        from research.walkforward.models import pooled  # noqa: PLC0415 - slow imports, and it imports this

        for a in planned.accounts:
            files = {f.index: prepared_folder(folder, a.symbols, f) / "doubts.json" for f in a.folds}
            found = {n: msgspec.json.decode(f.read_bytes(), type=list[Doubt]) for n, f in files.items()}
            models[account_name(a.symbols)] = pooled(found)
    return Study(
        folder=str(folder),
        plan=planned,
        variants=variants,
        prepared=prepared,
        paths=paths,
        tried=tried,
        models=models,
    )


def result_json(study: Study) -> bytes:
    """Return a study's figures as JSON; the same plan gives the same bytes."""
    planned = study.plan
    content = {
        "name": planned.config.name,
        "key": planned.key,
        "code": planned.code,
        "data": {account_name(a.symbols): a.data_hash for a in planned.accounts},
        "data_source": planned.data_source,
        "synthetic": planned.synthetic,
        "tested_share": {
            account_name(a.symbols): share_tested(a.folds, Coverage(*a.history)) for a in planned.accounts
        },
        "paths": msgspec.to_builtins(study.paths),
        "tried": msgspec.to_builtins(study.tried),
        "models": {account: plain_doubts(found) for account, found in study.models.items()},
        "prepared": msgspec.to_builtins(study.prepared),
        "variants": [plain(v) for v in study.variants],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


def _prepare(planned: Plan, folder: Path) -> list[Task]:
    return [_task(planned, folder, "prepare", a.symbols, "", [f]) for a in planned.accounts for f in a.folds]


def _walks(planned: Plan, folder: Path) -> list[Task]:
    tasks = []
    for account in planned.accounts:
        for gate in planned.config.gates:
            # Compounding folds hang on each other; fresh accounts do not.
            groups = [account.folds] if planned.config.capital == "compound" else [[f] for f in account.folds]
            tasks += [_task(planned, folder, "walk", account.symbols, gate, g) for g in groups]
    return tasks


def _tried(planned: Plan, folder: Path) -> list[Task]:
    """Return one task per account, where parameters were chosen among several."""
    if planned.config.selection.method == "fixed":
        return []
    return [_task(planned, folder, "tried", a.symbols, "", a.folds) for a in planned.accounts]


def _models(planned: Plan, folder: Path) -> list[Task]:
    """Return one task per fold, where models were trained."""
    if planned.config.gates == ["off"]:
        return []
    return [_task(planned, folder, "models", a.symbols, "", [f]) for a in planned.accounts for f in a.folds]


def _combinatorial(planned: Plan, folder: Path) -> list[Task]:
    """Return one task per account of one symbol with a space to choose from, and one for the gate's model."""
    config = planned.config
    if config.combinatorial is None:
        return []
    tasks = []
    if config.selection.space:
        for account in planned.accounts:
            if len(account.symbols) == 1:
                task = _task(planned, folder, "paths", account.symbols, "", [])
                tasks.append(msgspec.structs.replace(task, history=account.history))
    if config.combinatorial.models and config.gates != ["off"]:
        history = (min(a.history[0] for a in planned.accounts), max(a.history[1] for a in planned.accounts))
        tasks.append(msgspec.structs.replace(_task(planned, folder, "paths", [], "gate", []), history=history))
    return tasks


def _task(planned: Plan, folder: Path, kind: str, symbols: list[str], gate: str, folds: list[Fold]) -> Task:
    return Task(
        kind=kind,
        config=planned.config,
        node=planned.node,
        symbols=symbols,
        gate=gate,
        folds=folds,
        folder=str(folder.resolve()),
    )


def _work(stage: str, tasks: list[Task], backend: Backend, told: Callable[[str, int, int], None]) -> None:
    files = [f for t in tasks for f in files_of(t)]
    open_tasks = [t for t in tasks if not all(f.is_file() for f in files_of(t))]
    told(stage, sum(f.is_file() for f in files), len(files))
    results = run_tasks(
        run_task, open_tasks, workers=backend.workers, backend=backend.backend, scheduler=backend.scheduler
    )
    for _ in results:
        told(stage, sum(f.is_file() for f in files), len(files))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system gives it back when the process dies."""
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: another process is working on this study: wait for it or end it") from None
        yield
    finally:
        os.close(handle)


def _record(planned: Plan, study: Study, final: Path, command: Sequence[str]) -> Any:
    tried = sum(c.tried for folds in study.prepared.values() for p in folds for c in p.choices.values())
    best = max(study.variants, key=lambda v: v.statistics.net_pnl)
    # Sets were tried on training windows, variants on test windows: either is a look at these symbols.
    sets = [t for found in study.tried.values() for t in found]
    sharpe = summarise([v.statistics.sharpe for v in study.variants] + [s for t in sets for s in t.sharpes])
    independent = len(study.variants) + sum(t.effective for t in sets)
    return record(
        "walkforward",
        command=command,
        symbols=sorted({s for a in planned.accounts for s in a.symbols}),
        interval=planned.node.interval,
        config=planned.key,
        data_hash=planned.accounts[0].data_hash
        if len(planned.accounts) == 1
        else config_hash([a.data_hash for a in planned.accounts]),
        trials=max(tried * len(planned.config.gates), len(study.variants)),
        sharpe=msgspec.structs.replace(sharpe, effective=independent),
        best={"account": best.account, "gate": best.gate, "net_pnl": best.statistics.net_pnl},
        seed=planned.config.seed,
        result=final / RESULT,
        catalog=Path(planned.node.catalog),
    )
