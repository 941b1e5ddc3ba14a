"""Which rows a data set holds, which windows they fall into, and that no label looks into the next window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.reader import load_bars
from research.dataset import Dataset, VoteConfig, kernel_inputs, pool, select, symbol_dataset, useful_features
from research.labels import LabelConfig, Outcome
from research.training import build_dataset, split, windows_of
from strategies.errors import DataError
from strategies.kernel.columns import COLUMNS, MODEL_FEATURES
from strategies.kernel.composite import CompositeKernel, run_batch
from strategies.kernel.params import CompositeParams
from strategies.params_file import load_params_file

STEP = 900_000_000_000


def _rows(open_time, label_end, symbol=0, tag=0):
    count = len(open_time)
    zeros = np.zeros(count, dtype=np.int64)
    times = np.asarray(open_time, dtype=np.int64)
    return Dataset(
        rows=np.full((count, len(MODEL_FEATURES)), tag, dtype=np.float32),
        symbol=zeros + symbol,
        open_time=times,
        close_time=times + 1,
        label_end=np.asarray(label_end, dtype=np.int64),
        label=zeros,
        net_r=zeros.astype(np.float64),
        outcome=zeros,
        traded=zeros.astype(bool),
        background=np.zeros((1, len(MODEL_FEATURES)), dtype=np.float32),
        dropped={"warm_up": count},
    )


@settings(max_examples=200, deadline=None)
@given(
    times=st.lists(st.integers(0, 300), min_size=1, max_size=60),
    lengths=st.lists(st.integers(1, 120), min_size=60, max_size=60),
    edges=st.lists(st.integers(0, 300), min_size=4, max_size=4, unique=True),
)
def test_no_label_sees_a_bar_of_a_later_window(times, lengths, edges):
    start, end, next_start, next_end = sorted(edges)
    data = pool([_rows(times, [t + length for t, length in zip(times, lengths, strict=False)])])
    kept = select(data, (start, end), next_start)
    later = select(data, (next_start, next_end), next_end)
    assert not set(kept) & set(later)
    for row in range(len(data)):
        inside = start <= data.open_time[row] < end
        clean = data.label_end[row] <= next_start
        assert (row in kept) == (inside and clean)


def test_pooled_rows_are_in_order_of_time_then_symbol():
    data = pool([_rows([5, 1, 3], [9, 9, 9], tag=1), _rows([3, 1], [9, 9], tag=2)])
    assert data.close_time.tolist() == [2, 2, 4, 4, 6]
    assert data.symbol.tolist() == [0, 1, 0, 1, 0]
    assert data.rows[:, 0].tolist() == [1, 2, 1, 2, 1]
    assert data.dropped == {"warm_up": 5}


def test_windows_are_purged_by_label_end_time(market_catalog, train_config):
    windows = windows_of(train_config)
    data = build_dataset(train_config, load_params_file(_path(train_config)), market_catalog, windows)
    sets = split(data, windows)
    for rows, boundary in (
        (sets.train, windows.threshold[0]),
        (sets.threshold, windows.report[0]),
        (sets.report, windows.report[1]),
    ):
        assert len(rows) > 50
        assert (data.label_end[rows] <= boundary).all()
    window = (data.open_time >= windows.train[0]) & (data.open_time < windows.train[1])
    crossing = np.flatnonzero(window & (data.label_end > windows.threshold[0]))
    assert len(crossing), "the market must hold a label that crosses the boundary, else this proves nothing"
    assert not set(crossing) & set(sets.train)


def test_nothing_after_the_report_window_is_read(market_catalog, train_config, replace):
    short = replace(train_config, report_end="2025-05-30T00:00:00Z")
    windows = windows_of(short)
    data = build_dataset(short, load_params_file(_path(short)), market_catalog, windows)
    full_windows = windows_of(train_config)
    full = build_dataset(train_config, load_params_file(_path(train_config)), market_catalog, full_windows)
    assert (data.label_end <= windows.report[1]).all()
    early = full.label_end <= windows.report[1]
    # A signal decided before the cut is the same row with and without what came after.
    assert np.array_equal(
        full.rows[early & (full.outcome != Outcome.HORIZON)], data.rows[data.outcome != Outcome.HORIZON], equal_nan=True
    )


def test_rows_are_the_kernel_bar_by_bar_and_side_data_joined_by_time(market_catalog):
    bars, inputs = kernel_inputs(market_catalog, "XRPUSDT", "15m", None, None)
    data = symbol_dataset(
        bars, inputs, STEP, params=CompositeParams(), vote=VoteConfig(), label=LabelConfig(), warmup_bars=400
    )
    kernel = CompositeKernel(VoteConfig().over(CompositeParams()))
    index = {int(t): i for i, t in enumerate(bars.open_time)}
    wanted = {index[int(t)]: k for k, t in enumerate(data.open_time)}
    assert len(wanted) > 100
    for i, values in enumerate(inputs):
        row = kernel.step(*values)
        if i in wanted:
            expected = np.array([row[COLUMNS.index(name)] for name in MODEL_FEATURES], dtype=np.float32)
            assert np.array_equal(data.rows[wanted[i]], expected, equal_nan=True)
            assert row[COLUMNS.index("signal")] != 0
    assert min(wanted) >= 400
    btc = load_bars(market_catalog, "BTCUSDT", "15m")
    assert np.array_equal(inputs[:, 5], btc.close)


def test_signals_the_traded_vote_gives_too_are_marked(market_catalog):
    bars, inputs = kernel_inputs(market_catalog, "ETHUSDT", "15m", None, None)
    strict = CompositeParams(signal_threshold=3, adx_threshold=20.0, volume_multiplier=1.5)
    data = symbol_dataset(bars, inputs, STEP, params=strict, vote=VoteConfig(), label=LabelConfig(), warmup_bars=400)
    votes = run_batch(strict, inputs)[:, COLUMNS.index("signal")]
    at = np.searchsorted(bars.open_time, data.open_time)
    assert np.array_equal(data.traded, votes[at] != 0)
    assert 0 < data.traded.sum() < len(data)


def test_unusable_signals_are_left_out_and_counted(market_catalog):
    bars, inputs = kernel_inputs(market_catalog, "XRPUSDT", "15m", None, None)
    options = {"params": CompositeParams(), "vote": VoteConfig(), "label": LabelConfig(), "warmup_bars": 400}
    whole = symbol_dataset(bars, inputs, STEP, **options)
    holes = inputs.copy()
    at = np.searchsorted(bars.open_time, whole.open_time)
    holes[at[3], 5] = np.nan
    less = symbol_dataset(bars, holes, STEP, **options)
    assert less.dropped["missing_context"] == 1
    assert whole.open_time[3] not in less.open_time
    shifted = bars.open_time.copy()
    shifted[at[5] + 1 :] += STEP  # a bar is missing after the sixth signal
    gap = symbol_dataset(
        type(bars)(shifted, *(getattr(bars, n) for n in ("open", "high", "low", "close", "volume"))),
        inputs,
        STEP,
        **options,
    )
    assert gap.dropped["gap_in_bars"] >= 1
    assert whole.open_time[5] not in gap.open_time
    assert whole.dropped["unresolved"] >= 0
    assert (whole.label >= 0).all()


def test_a_bar_the_kernel_refuses_is_named(market_catalog):
    bars, inputs = kernel_inputs(market_catalog, "XRPUSDT", "15m", None, None)
    inputs[7, 3] = -1.0
    with pytest.raises(DataError, match="row 7: close"):
        symbol_dataset(
            bars, inputs, STEP, params=CompositeParams(), vote=VoteConfig(), label=LabelConfig(), warmup_bars=400
        )


def test_empty_and_constant_features_are_dropped_by_name():
    rows = np.random.default_rng(1).normal(size=(30, len(MODEL_FEATURES))).astype(np.float32)
    rows[:, 2], rows[:, 4], rows[:9, 4] = np.nan, 7.0, np.nan
    used, dropped = useful_features(rows)
    assert dropped == {MODEL_FEATURES[2]: "empty", MODEL_FEATURES[4]: "constant"}
    assert used == [i for i in range(len(MODEL_FEATURES)) if i not in (2, 4)]
    with pytest.raises(DataError, match="no feature varies"):
        useful_features(np.zeros_like(rows))


def _path(config):
    from pathlib import Path

    return Path(config.strategy)
