"""What a sweep is told: which node configuration, which parameters, which windows, what is checked."""

import itertools
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.yaml_config import FrozenConfig, convert, load_yaml

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Symbol = Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{4,20}$")]
Objective = Literal["expectancy_r_low", "expectancy_r", "profit_factor", "sharpe", "net", "max_drawdown"]

PARAMETERS = tuple(field.name for field in msgspec.structs.fields(CompositeParams))
LARGEST_GRID = 200_000


class Range(FrozenConfig, frozen=True):
    """
    Values from `low` to `high`, both included.

    Attributes
    ----------
    low, high : float
        Bounds.
    step : float or None
        Distance of neighbours; None: any value (random and Optuna only).

    """

    low: float
    high: float
    step: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")

    def values(self) -> list[float]:
        """Return all values of a stepped range."""
        step = self.step or (self.high - self.low)
        return [round(self.low + i * step, 10) for i in range(int((self.high - self.low) / step + 1e-9) + 1)]


class GridMethod(FrozenConfig, frozen=True, tag_field="by", tag="grid"):
    """Every combination."""


class RandomMethod(FrozenConfig, frozen=True, tag_field="by", tag="random"):
    """
    Random combinations, none twice.

    Attributes
    ----------
    sets, seed : int
        How many, and from which seed.

    """

    sets: Count = 200
    seed: Seed = 7


class OptunaMethod(FrozenConfig, frozen=True, tag_field="by", tag="optuna"):
    """
    Tree-structured Parzen estimator; with one objective, sets that fall behind are pruned window by window.

    Attributes
    ----------
    sets, seed : int
        Trials the study shall hold in the end (an interrupted one goes on), and its seed.
    objectives : tuple of str
        Maximised (``max_drawdown``: minimised), several for a Pareto front.
    study : str
        SQLite file of the study.

    """

    sets: Count = 200
    seed: Seed = 7
    objectives: tuple[Objective, ...] = ("expectancy_r_low",)
    study: str = "var/sweeps/study.sqlite"


class Windows(FrozenConfig, frozen=True):
    """
    Walk-forward windows: trained on the days before, tested on the days after, stepping by the test's length.

    Attributes
    ----------
    train_days, test_days : int
        In the training window the best set is chosen, in the test window only it is reported.
    anchored : bool
        Training windows all begin at the start.

    """

    train_days: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 60
    test_days: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 30
    anchored: bool = False


class Check(FrozenConfig, frozen=True):
    """
    What the engine of record re-runs.

    Attributes
    ----------
    best, sample : int
        Sets per symbol: the first of the ranking, and others at random.
    seed : int
        Of the sample.

    """

    best: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3
    sample: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3
    seed: Seed = 1


class SweepConfig(FrozenConfig, frozen=True):
    """
    One sweep.

    Attributes
    ----------
    node : str
        Node configuration, relative to this file: catalog, costs, sizing, limits, protection, window.
    space : dict of parameter to list of values or Range
        What varies; other parameters are those of the strategy's file.
    symbols : tuple of str
        Each on an account of its own; empty: those of the node configuration.
    method : GridMethod, RandomMethod or OptunaMethod
        Chosen with ``by``.
    windows : Windows or None
        None: one window, all of the history.
    objective : str
        What the ranking goes by.
    min_trades : int
        Sets with fewer trades in all test windows together rank behind all others.
    check : Check
        The re-check.
    out : str
        Folder of the results.
    block : int
        Sets per piece of work.

    """

    node: str
    space: dict[str, list[float] | Range]
    symbols: tuple[Symbol, ...] = ()
    method: GridMethod | RandomMethod | OptunaMethod = GridMethod()
    windows: Windows | None = Windows()
    objective: Objective = "expectancy_r_low"
    min_trades: Annotated[int, msgspec.Meta(ge=2)] = 30
    check: Check = Check()
    out: str = "var/sweeps/latest"
    block: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 128

    def __post_init__(self) -> None:
        for name, values in self.space.items():
            if name not in PARAMETERS:
                raise ValueError(f"space: {name} is not one of {', '.join(PARAMETERS)}")
            if isinstance(values, list) and not values:
                raise ValueError(f"space.{name}: no value")
            if isinstance(values, Range) and values.step is None and isinstance(self.method, GridMethod):
                raise ValueError(f"space.{name}: a grid needs a list or a range with a step")
        if not self.space:
            raise ValueError("space: nothing varies")


def load_sweep_config(path: Path) -> SweepConfig:
    """
    Read and check a sweep's configuration.

    Raises
    ------
    ConfigError
        Fatal: missing file, unknown key or parameter, wrong type or value.

    """
    config = load_yaml(path, SweepConfig)
    node = path.parent / config.node
    if not node.is_file():
        raise ConfigError(f"{path}: node: {node}: no such file")
    return msgspec.structs.replace(config, node=str(node))


def parameter_sets(config: SweepConfig, base: CompositeParams) -> list[CompositeParams]:
    """
    Return the sets of a grid or a random search, in order and each once; `base` gives what does not vary.

    Raises
    ------
    ConfigError
        Fatal: a value a parameter cannot take, or a grid beyond all bounds.

    """
    names = list(config.space)
    if isinstance(config.method, RandomMethod):
        return _random_sets(config, base, config.method)
    columns = [v if isinstance(v, list) else v.values() for v in config.space.values()]
    count = int(np.prod([len(c) for c in columns], dtype=object))
    if count > LARGEST_GRID:
        raise ConfigError(f"space: {count} combinations: choose `by: random` or `by: optuna`, or fewer values")
    return list(dict.fromkeys(set_of(base, dict(zip(names, row, strict=True))) for row in itertools.product(*columns)))


def set_of(base: CompositeParams, values: dict[str, float]) -> CompositeParams:
    """
    Return `base` with `values` in place.

    Raises
    ------
    ConfigError
        Fatal: a value the parameter cannot take.

    """
    whole = {name: int(v) if name == "signal_threshold" and v == int(v) else v for name, v in values.items()}
    return convert(msgspec.structs.asdict(base) | whole, CompositeParams, "space")


def _random_sets(config: SweepConfig, base: CompositeParams, method: RandomMethod) -> list[CompositeParams]:
    random = np.random.default_rng(method.seed)
    found: dict[CompositeParams, None] = {}
    for _ in range(method.sets * 20):
        if len(found) == method.sets:
            break
        values = {name: _draw(random, choice, name) for name, choice in config.space.items()}
        found[set_of(base, values)] = None
    return list(found)


def _draw(random: np.random.Generator, choice: list[float] | Range, name: str) -> float:
    if isinstance(choice, Range) and choice.step is None:
        value = round(float(random.uniform(choice.low, choice.high)), 4)
        return float(round(value)) if name == "signal_threshold" else value
    values = choice if isinstance(choice, list) else choice.values()
    return float(values[int(random.integers(len(values)))])
