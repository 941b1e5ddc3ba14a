"""
The data set a gate is trained on: one row per signal, features from the kernel, label from what the market did next.

Only bars at which the vote gave a signal are rows. The ancestor added random bars without a signal as negatives; its
model then earned its AUC by telling signals from other bars, which is not the question the gate answers. To have enough
rows, the vote may be looser than the one traded (`VoteConfig`); rows the traded vote would have given too are marked.

Bars after the end of the last window are never read. Features are float32 from here on, as the served graph gets them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from catalog.reader import BarArrays, FundingArrays, load_bars
from research.features import load_side_data
from research.labels import Floats, Ints, LabelConfig, Settlements, SignalBars, label_signals
from strategies.errors import DataError
from strategies.kernel.columns import COLUMNS, MODEL_FEATURES, column_index, column_indices
from strategies.kernel.composite import run_batch
from strategies.kernel.params import CompositeParams
from strategies.yaml_config import FrozenConfig

Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

CONTEXT = ("BTCUSDT", "ETHUSDT")
"""Symbols whose closes are features of every other one, in the kernel's order."""


class VoteConfig(FrozenConfig, frozen=True):
    """The vote that decides which bars become rows; by default the ancestor's training set (T2 / ADX15 / V1.5)."""

    signal_threshold: Annotated[int, msgspec.Meta(ge=1, le=6)] = 2
    adx_threshold: Annotated[float, msgspec.Meta(ge=0, le=100)] = 15.0
    volume_multiplier: Annotated[float, msgspec.Meta(ge=0)] = 1.5

    def over(self, params: CompositeParams) -> CompositeParams:
        """Return `params` with the vote replaced by this one; stop and target distances stay."""
        return msgspec.structs.replace(
            params,
            signal_threshold=self.signal_threshold,
            adx_threshold=self.adx_threshold,
            volume_multiplier=self.volume_multiplier,
        )


@dataclass(frozen=True)
class Dataset:
    """
    Labelled signals in order of time, then of symbol.

    Attributes
    ----------
    rows : np.ndarray
        float32, shape (n, len(MODEL_FEATURES)).
    symbol : np.ndarray
        int64, position in the configured symbols.
    open_time, close_time, label_end : np.ndarray
        int64, UTC ns: open and close of the signal bar, close of the last bar its label has seen.
    label : np.ndarray
        int64, 1 good, 0 bad.
    net_r : np.ndarray
        float64, result after costs in units of the planned stop distance.
    outcome : np.ndarray
        int64, values of :class:`research.labels.Outcome`.
    traded : np.ndarray
        bool, the traded vote gives this signal too, on the same side.
    background : np.ndarray
        float32, features of bars with and without a signal, for checking the exported graph.
    dropped : dict[str, int]
        Signals left out, by reason.

    """

    rows: Float32s
    symbol: Ints
    open_time: Ints
    close_time: Ints
    label_end: Ints
    label: Ints
    net_r: Floats
    outcome: Ints
    traded: Bools
    background: Float32s
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.label)


def kernel_inputs(catalog: Path, symbol: str, interval: str, start_ns: int, end_ns: int) -> tuple[BarArrays, Floats]:
    """
    Return the bars of a symbol that open in ``[start_ns, end_ns)`` and the kernel's nine inputs for them.

    Side data is joined as :mod:`research.features` does; open interest is not in the catalog.

    Returns
    -------
    tuple[BarArrays, np.ndarray]
        The bars, and float64 of shape (n, 9); NaN where side data is missing.

    Raises
    ------
    DataError
        Propagate: the catalog lacks a series; names the remedy.

    """
    bars = load_bars(catalog, symbol, interval, start_ns, end_ns)
    side = load_side_data(catalog, symbol, interval, bars.open_time, btc=CONTEXT[0], eth=CONTEXT[1])
    unknown = np.full(len(bars), np.nan)
    prices = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return bars, np.column_stack([*prices, side.btc_close, side.eth_close, side.funding, unknown])


def symbol_dataset(
    bars: BarArrays,
    inputs: Floats,
    step_ns: int,
    *,
    params: CompositeParams,
    vote: VoteConfig,
    label: LabelConfig,
    warmup_bars: int,
    tick: float | None = None,
    funding: FundingArrays | None = None,
) -> Dataset:
    """
    Return the labelled signals of one symbol (`symbol` is 0 everywhere).

    Left out, and counted: signals within the warm-up, with missing BTC or ETH context (the live strategy makes none
    there), without a positive ATR, with a feature that is infinite as float32 (the gate refuses those), with a gap in
    the bars before the label's end, and with a label that the data do not resolve or `label.no_hit` drops.

    `tick` and `funding` are the price increment and the settlements, see :func:`research.labels.label_signals`.

    Raises
    ------
    DataError
        Propagate: the kernel refuses a value; names row and field.

    """
    try:
        wide = run_batch(vote.over(params), inputs)
    except ValueError as e:
        raise DataError(f"{e}; ingest the series again") from None
    traded = run_batch(params, inputs)[:, column_index("votes", "signal")]
    signal = wide[:, column_index("votes", "signal")]
    with np.errstate(over="ignore"):
        features = wide[:, column_indices("model_features")].astype(np.float32)
    at = np.flatnonzero(signal != 0)
    atr = wide[at, COLUMNS.index("atr")]
    dropped: dict[str, int] = {}

    def keep(good: Bools, why: str) -> None:
        nonlocal at, atr
        dropped[why] = int(np.count_nonzero(~good))
        at, atr = at[good], atr[good]

    keep(at >= warmup_bars, "warm_up")
    keep(~np.isnan(inputs[at, 5:7]).any(axis=1), "missing_context")
    keep(atr > 0, "no_atr")
    keep(~np.isinf(features[at]).any(axis=1), "infinite_feature")
    prices = (bars.open, bars.high, bars.low, bars.close)
    signals = SignalBars(at, np.sign(signal[at]).astype(np.int64), atr)
    settlements = None if funding is None else Settlements(bars.open_time + step_ns, funding.time, funding.rate)
    levels = (params.stop_atr, params.target_atr)
    labels = label_signals(prices, signals, levels, label, tick=tick, settlements=settlements)
    straight = (bars.open_time[labels.end] - bars.open_time[at]) == (labels.end - at) * step_ns
    good = straight & (labels.label >= 0)
    dropped["gap_in_bars"] = int(np.count_nonzero(~straight))
    dropped["unresolved"] = int(np.count_nonzero(straight & (labels.label < 0)))
    at = at[good]
    return Dataset(
        rows=features[at],
        symbol=np.zeros(len(at), dtype=np.int64),
        open_time=bars.open_time[at],
        close_time=bars.open_time[at] + step_ns,
        label_end=bars.open_time[labels.end[good]] + step_ns,
        label=labels.label[good],
        net_r=labels.net_r[good],
        outcome=labels.outcome[good],
        traded=traded[at] == signal[at],
        background=features[warmup_bars:],
        dropped=dropped,
    )


def pool(parts: list[Dataset]) -> Dataset:
    """Return the data sets of several symbols as one, ordered by time and, within a time, by position in `parts`."""
    symbol = np.concatenate([np.full(len(part), position) for position, part in enumerate(parts)])
    close_time = np.concatenate([part.close_time for part in parts])
    order = np.lexsort((symbol, close_time))
    dropped: dict[str, int] = {}
    for part in parts:
        for why, count in part.dropped.items():
            dropped[why] = dropped.get(why, 0) + count

    def joined(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    names = ("rows", "open_time", "label_end", "label", "net_r", "outcome", "traded")
    return Dataset(
        symbol=symbol[order],
        close_time=close_time[order],
        background=np.concatenate([part.background for part in parts]),
        dropped=dropped,
        **{name: joined(name) for name in names},  # type: ignore[arg-type]  # arrays of the field's own type
    )


def select(data: Dataset, window: tuple[int, int], closes_before: int) -> Ints:
    """
    Return the rows of a window, purged by label end time.

    Parameters
    ----------
    data : Dataset
        The pooled data set.
    window : tuple[int, int]
        ``[start, end)`` on the signal bar's open, UTC ns.
    closes_before : int
        Start of the window that follows, UTC ns: a row whose label has seen one of its bars is left out.

    Returns
    -------
    np.ndarray
        int64 indices, in order of time.

    """
    inside = (data.open_time >= window[0]) & (data.open_time < window[1])
    return np.flatnonzero(inside & (data.label_end <= closes_before))


def useful_features(rows: Float32s) -> tuple[list[int], dict[str, str]]:
    """
    Return the columns that carry something in `rows`, and for the others the reason they are dropped.

    Raises
    ------
    DataError
        Propagate: no column carries anything.

    """
    used: list[int] = []
    dropped: dict[str, str] = {}
    order: dict[bytes, str] = {}
    for index, name in enumerate(MODEL_FEATURES):
        column = rows[:, index]
        known = column[~np.isnan(column)]
        if not len(known):
            dropped[name] = "empty"
            continue
        if (known == known[0]).all():
            dropped[name] = "constant"
            continue
        # Trees see only the order of values: a column in the same order, or in the opposite one, says nothing new.
        ranks, opposite = _ranks(column), _ranks(-column)
        twin = order.get(ranks) or order.get(opposite)
        if twin is not None:
            dropped[name] = f"duplicate of {twin}"
            continue
        order[ranks] = name
        used.append(index)
    if not used:
        raise DataError("no feature varies in the training rows: check the data of the training window")
    return used, dropped


def _ranks(column: Float32s) -> bytes:
    _, inverse = np.unique(column, return_inverse=True, equal_nan=True)
    return np.asarray(inverse, dtype=np.int32).tobytes()
