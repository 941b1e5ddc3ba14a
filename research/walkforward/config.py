"""What a walk-forward study is told: one frozen tree, unknown keys refused."""

import itertools
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from node.config import GateMode, Symbol, load_config, parse_time
from research.dataset import VoteConfig
from research.labels import LabelConfig
from research.thresholds import ThresholdConfig
from research.train_config import BoosterConfig
from research.walkforward.span import Span
from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams
from strategies.yaml_config import FrozenConfig, convert, load_yaml

SpanText = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,3}(d|w|mo)$")]
Metric = Literal["net_pnl", "profit_factor", "net_r", "sharpe"]


class FoldsConfig(FrozenConfig, frozen=True):
    """
    How history is cut. Test windows follow each other without gap or overlap: each begins where the one before ended.

    Attributes
    ----------
    scheme : {"rolling", "anchored"}
        Whether the training window keeps its length or always begins with the data.
    train, test : str
        Lengths, e.g. ``3mo``, ``4w``, ``30d``. Months are calendar months.
    start, end : str or None
        Start of the first test window, and end of the last. None: the first midnight with a whole training window
        before it; the end of the data. The last window is shorter where the data end inside it.
    embargo_bars : int
        Bars between the end of training and the start of the test that belong to neither.
    at_end : {"close"}
        What becomes of a position open at a window's end: it is closed there at the last close, with slippage and fee,
        as trade ``END_OF_FOLD``. The next window begins flat, so no profit is counted twice.

    """

    scheme: Literal["rolling", "anchored"] = "rolling"
    train: SpanText = "3mo"
    test: SpanText = "1mo"
    start: str | None = None
    end: str | None = None
    embargo_bars: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 96
    at_end: Literal["close"] = "close"


class SelectionConfig(FrozenConfig, frozen=True):
    """
    How parameters are chosen inside a training window.

    Attributes
    ----------
    method : {"fixed", "grid", "random", "optuna"}
        ``fixed`` takes the strategy file as it is.
    space : dict of str to list
        Values tried per parameter of ``CompositeParams``; the others stay as in the file.
    metric : {"net_pnl", "profit_factor", "net_r", "sharpe"}
        What is maximised; equal values: the set named first. ``net_r`` is the mean result in units of planned risk.
    min_trades : int
        Sets with fewer trades are not eligible; when none is, the strategy file's own parameters are used and the
        fold says so.
    budget : int
        Sets tried by ``random`` and ``optuna``.
    seed : int
        Of both.
    evaluator : {"sweep", "engine"}
        The compiled simulation, or BacktestNode for every set (hundreds of times slower, the same choice).

    """

    method: Literal["fixed", "grid", "random", "optuna"] = "fixed"
    space: dict[str, list[float]] = msgspec.field(default_factory=dict)
    metric: Metric = "net_pnl"
    min_trades: Annotated[int, msgspec.Meta(ge=1)] = 10
    budget: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 7
    evaluator: Literal["sweep", "engine"] = "sweep"

    def __post_init__(self) -> None:
        if self.method != "fixed" and not self.space:
            raise ValueError(f"space: {self.method} needs at least one parameter with values")
        if self.method == "fixed" and self.space:
            raise ValueError("space: with method fixed nothing is tried: leave it out or choose another method")
        unknown = sorted(self.space.keys() - set(CompositeParams.__struct_fields__))
        if unknown:
            known = ", ".join(CompositeParams.__struct_fields__)
            raise ValueError(f"space: {unknown[0]} is no parameter of the strategy (known: {known})")
        for name, values in self.space.items():
            if not values or len(set(values)) != len(values):
                raise ValueError(f"space.{name}: name each value once, at least one")

    @property
    def size(self) -> int:
        """Number of different sets in the space; 1 with ``fixed``."""
        return math.prod(len(v) for v in self.space.values())

    def grid(self, base: CompositeParams) -> list[CompositeParams]:
        """Return every set of the space laid over `base`, first parameter slowest."""
        names = list(self.space)
        return [over(base, dict(zip(names, row, strict=True))) for row in itertools.product(*self.space.values())]


class GateTraining(FrozenConfig, frozen=True):
    """
    How the gate's model of a fold is trained, wholly inside its training window.

    Attributes
    ----------
    symbols : list of str
        Whose signals are pooled, as far as their data begin before the threshold is chosen.
    train : str or None
        How long before the end of the fold's training window the model may look, where other symbols' history is
        longer than the account's; None: the fold's own training window.
    threshold_share : float
        Last part of the training window, on which the threshold (and calibration) is chosen.
    dataset, label, model, threshold : VoteConfig, LabelConfig, BoosterConfig, ThresholdConfig
        As in ``config/train.yaml``.
    calibration, weights : str
        As in ``config/train.yaml``.
    min_signals : int
        Training rows needed. Too few: the fold has no model, and an enforcing gate lets nothing through.
    warmup_bars : int
        Bars before a row may be used.

    """

    symbols: Annotated[list[Symbol], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["BTCUSDT", "ETHUSDT", "XRPUSDT"]
    )
    train: SpanText | None = None
    threshold_share: Annotated[float, msgspec.Meta(gt=0.05, lt=0.8)] = 0.3
    dataset: VoteConfig = VoteConfig()
    label: LabelConfig = LabelConfig()
    model: BoosterConfig = BoosterConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    calibration: Literal["none", "platt", "isotonic"] = "none"
    weights: Literal["uniqueness", "none"] = "uniqueness"
    min_signals: Annotated[int, msgspec.Meta(ge=20)] = 200
    warmup_bars: Annotated[int, msgspec.Meta(ge=60)] = 400


class CombinatorialConfig(FrozenConfig, frozen=True):
    """
    Combinatorial purged cross-validation over the whole history of an account.

    Attributes
    ----------
    folds, test_folds : int
        Blocks of days, and how many of them are held out at once.
    embargo_days : int
        Days after each held-out block that are not used for choosing.
    models : bool
        Also for the gate's model (one training per split); only where a gate is walked.

    """

    folds: Annotated[int, msgspec.Meta(ge=3, le=20)] = 8
    test_folds: Annotated[int, msgspec.Meta(ge=2, le=10)] = 2
    embargo_days: Annotated[int, msgspec.Meta(ge=0, le=60)] = 1
    models: bool = True

    def __post_init__(self) -> None:
        if self.test_folds >= self.folds:
            raise ValueError("test_folds: must be fewer than folds")


class Published(FrozenConfig, frozen=True):
    """What somebody else printed for one test window: start date, trades, net profit in USDT, profit factor."""

    start: str
    trades: int
    net_pnl: float
    profit_factor: float | None = None


class AncestorConfig(FrozenConfig, frozen=True):
    """
    Compare every test window with the ancestor's backtester, whose rules :mod:`research.walkforward.ancestor` follows.

    Attributes
    ----------
    published : list of Published
        Figures it is known to have printed.

    """

    published: list[Published] = msgspec.field(default_factory=list)


class WalkForwardConfig(FrozenConfig, frozen=True, kw_only=True):
    """
    One study.

    Attributes
    ----------
    name : str
        Names the folder.
    node : str
        Node configuration of every test window, relative to this file; its symbols, window, gate and balance are
        replaced fold by fold.
    accounts : list of list of str
        Symbols that share one account; each account is walked by itself.
    gates : list of {"off", "shadow", "enforce"}
        Each account is walked once with each.
    capital : {"compound", "fresh"}
        A window starts with what the one before left, or always with ``backtest.balance``.
    ruin : float
        Fraction of the starting balance at which the walk ends.
    seed : int
        Of the intervals.

    """

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,40}$")]
    node: str = "backtest.yaml"
    accounts: Annotated[list[list[Symbol]], msgspec.Meta(min_length=1)]
    gates: Annotated[list[GateMode], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["off"])
    capital: Literal["compound", "fresh"] = "compound"
    ruin: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 7
    folds: FoldsConfig = FoldsConfig()
    selection: SelectionConfig = SelectionConfig()
    gate: GateTraining = GateTraining()
    combinatorial: CombinatorialConfig | None = None
    ancestor: AncestorConfig | None = None

    def __post_init__(self) -> None:
        for account in self.accounts:
            if not account or len(set(account)) != len(account):
                raise ValueError("accounts: name at least one symbol per account, each once")
        names = [account_name(a) for a in self.accounts]
        if len(set(names)) != len(names):
            raise ValueError("accounts: the same account is named twice")
        if len(set(self.gates)) != len(self.gates):
            raise ValueError("gates: name each mode once")
        if self.ancestor is not None and (self.gates != ["off"] or self.selection.method != "fixed"):
            raise ValueError("ancestor: compares fixed parameters without gate only: gates [off], selection fixed")


def account_name(symbols: list[str]) -> str:
    """Return the folder name of an account."""
    return "-".join(symbols)


def over(base: CompositeParams, values: dict[str, Any]) -> CompositeParams:
    """Return `base` with `values` in place of its own, checked; whole floats become integers where integers belong."""
    plain = msgspec.to_builtins(base)
    for name, value in values.items():
        whole = isinstance(plain[name], int) and float(value).is_integer()
        plain[name] = int(value) if whole else value
    return convert(plain, CompositeParams, "selection.space")


def load_walkforward(path: Path) -> WalkForwardConfig:
    """
    Read a study's configuration; ``node`` is returned as a path usable from here.

    Raises
    ------
    ConfigError
        Fatal: missing file, unknown key, impossible value, node configuration that does not load, a value of the
        space outside its parameter's range.

    """
    config = load_yaml(path, WalkForwardConfig)
    node = path.parent / config.node
    if not node.is_file():
        raise ConfigError(f"{path}: node: {node}: no such file")
    loaded = load_config(node)
    if loaded.strategy.name != "composite":
        raise ConfigError(f"{path}: node: {node}: strategy {loaded.strategy.name} cannot be walked, only composite")
    for key in ("start", "end"):
        value = getattr(config.folds, key)
        if value is not None:
            parse_time(value, f"{path}: folds.{key}")
    for key in ("train", "test"):
        Span.parse(getattr(config.folds, key))
    if config.gate.train is not None:
        Span.parse(config.gate.train)
    for name, values in config.selection.space.items():
        for value in values:
            try:
                over(CompositeParams(), {name: value})
            except ConfigError as e:
                raise ConfigError(f"{path}: {e}") from None
    for entry in [] if config.ancestor is None else config.ancestor.published:
        parse_time(entry.start, f"{path}: ancestor.published.start")
    return msgspec.structs.replace(config, node=str(node))
