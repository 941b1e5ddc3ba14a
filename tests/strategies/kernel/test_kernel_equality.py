"""One implementation: batch, bar by bar, after reset, after restore and after a warm start give the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import strategies.kernel
from strategies.kernel.columns import COLUMNS
from strategies.kernel.composite import CompositeKernel, run_batch, warm_up
from strategies.kernel.params import CompositeParams
from strategies.kernel.step import INPUTS

PARAMS = CompositeParams(signal_threshold=2, adx_threshold=15.0, volume_multiplier=1.5)

SCORED = (
    *("atr_pct", "vol_ratio", "ret_1", "ret_3", "ret_5", "btc_ret_1", "btc_ret_3", "btc_ret_5"),
    *("eth_ret_1", "eth_ret_3", "eth_ret_5", "primary_btc_rs", "primary_eth_rs"),
    *("oi_change", "funding_rate", "oi_change_ma5", "oi_price_spread", "adx_z"),
)


def _constant(_make):
    return np.full((700, 9), 3.0)


def _zero_volume(make):
    bars = make(21, 900)
    bars[:, INPUTS.index("volume")] = 0.0
    return bars


def _huge(make):
    bars = make(22, 900)
    bars[:, :4] *= 1e150
    bars[:, 4] *= 1e200
    bars[::3, INPUTS.index("oi_change")] = 1e300
    return bars


def _tiny(make):
    bars = make(23, 900)
    bars[:, :4] *= 1e-9
    return bars


def _no_side_data(make):
    bars = make(24, 900)
    bars[:, 5:] = np.nan
    return bars


MARKETS = {
    "walk": lambda make: make(11, 2_000),
    "walk on a coarse grid": lambda make: make(12, 2_000, tick=0.05),
    "constant": _constant,
    "zero volume": _zero_volume,
    "huge": _huge,
    "tiny": _tiny,
    "no side data": _no_side_data,
    "a single bar": lambda make: make(13, 300)[:1],
    "empty": lambda make: make(13, 300)[:0],
}


def _bar_by_bar(kernel, bars):
    return np.array([kernel.step(*bar).copy() for bar in bars]).reshape(len(bars), len(COLUMNS))


@pytest.mark.parametrize("name", MARKETS)
def test_batch_and_bar_by_bar_are_bit_identical(name, make_market, same_bits):
    bars = MARKETS[name](make_market)
    kernel = CompositeKernel(PARAMS)
    assert same_bits(_bar_by_bar(kernel, bars), run_batch(PARAMS, bars))
    assert kernel.bars_seen == len(bars)


def test_a_mapping_of_arrays_is_the_same_batch(make_market, same_bits):
    bars = make_market(14)
    mapping = {name: bars[:, i].tolist() for i, name in enumerate(INPUTS)}
    assert same_bits(run_batch(PARAMS, mapping), run_batch(PARAMS, bars))
    bars[:, 7:] = np.nan
    del mapping["funding"], mapping["oi_change"]
    assert same_bits(run_batch(PARAMS, mapping), run_batch(PARAMS, bars))


def test_a_later_bar_never_changes_an_earlier_row(make_market, same_bits):
    bars = make_market(15)
    assert same_bits(run_batch(PARAMS, bars)[:900], run_batch(PARAMS, bars[:900]))


def test_reset_forgets_everything(make_market, same_bits):
    kernel = CompositeKernel(PARAMS)
    _bar_by_bar(kernel, make_market(16))
    kernel.reset()
    assert kernel.bars_seen == 0
    assert np.isnan(kernel.row).all()
    bars = make_market(17)
    assert same_bits(_bar_by_bar(kernel, bars), run_batch(PARAMS, bars))


@pytest.mark.parametrize("cut", [0, 1, 13, 20, 287, 288, 289, 1_000])
def test_restored_state_continues_bit_identically(cut, make_market, same_bits):
    bars = make_market(18)
    first = CompositeKernel(PARAMS)
    _bar_by_bar(first, bars[:cut])
    second = CompositeKernel(PARAMS)
    _bar_by_bar(second, bars[500:600])
    second.restore(first.state_bytes())
    assert second.bars_seen == cut
    assert same_bits(_bar_by_bar(second, bars[cut:]), run_batch(PARAMS, bars)[cut:])


def test_state_of_another_kernel_is_refused_and_the_present_one_kept(make_market, same_bits):
    bars = make_market(19, 400)
    kernel = CompositeKernel(PARAMS)
    _bar_by_bar(kernel, bars[:300])
    stored = kernel.state_bytes()
    for damaged in (b"", stored[:-1], stored + b"x", bytes([stored[0] ^ 1]) + stored[1:]):
        with pytest.raises(ValueError, match="another version"):
            kernel.restore(damaged)
    assert same_bits(_bar_by_bar(kernel, bars[300:]), run_batch(PARAMS, bars)[300:])


def test_a_thousand_bars_of_history_are_as_good_as_all_of_it(make_market):
    """
    What a live node loads at start is enough.

    Measured on 20,100 bars of XRPUSDT at 60 points: 1,000 bars give identical bits in all columns; 800 bars differ by
    4e-15, 600 by 3e-8 (z-score of ADX), 400 by 1.4 %. The longest memory is that of ADX inside a 288-bar window.
    """
    bars = make_market(20, 6_000)
    full = run_batch(PARAMS, bars)
    ends = np.random.default_rng(20).integers(2_000, len(bars), 25)
    for end in ends:
        warm = run_batch(PARAMS, bars[end - 999 : end + 1])[-1]
        np.testing.assert_allclose(warm, full[end], rtol=1e-12, atol=1e-13, err_msg=f"bar {end}")


def test_row_is_overwritten_by_the_next_step(make_market, same_bits):
    bars = make_market(25, 300)
    kernel = CompositeKernel(PARAMS)
    first = kernel.step(*bars[0])
    kept = first.copy()
    kernel.step(*bars[1])
    assert first is kernel.row
    assert not same_bits(first, kept)


def test_plain_integers_are_taken_as_prices(same_bits):
    first, second = CompositeKernel(), CompositeKernel()
    assert same_bits(first.step(2, 3, 1, 2, 10), second.step(2.0, 3.0, 1.0, 2.0, 10.0))


def test_warm_up_leaves_no_trace(make_market, same_bits):
    kernel = CompositeKernel(PARAMS)
    bars = make_market(26, 300)
    kernel.step(*bars[0])
    before = kernel.state_bytes()
    warm_up()
    assert kernel.state_bytes() == before


def test_kernel_works_where_nothing_can_be_cached(tmp_path):
    """
    A read-only installation, a home that cannot be written: compile in memory instead of refusing to start.

    Permission bits do not stop root, so the directories numba would use are blocked by plain files of the same name.
    """
    package = Path(strategies.kernel.__file__).parent
    copy = tmp_path / "strategies" / "kernel"
    copy.mkdir(parents=True)
    (tmp_path / "strategies" / "__init__.py").touch()
    for source in package.glob("*.py"):
        (copy / source.name).write_bytes(source.read_bytes())
    (copy / "__pycache__").touch()
    (tmp_path / "home").touch()
    script = (
        "import strategies.kernel.composite as c; c.warm_up(); "
        "print(c.__file__); "
        "print(c.CompositeKernel().step(1.0, 1.0, 1.0, 1.0, 5.0)[8], c.compiled.step.stats.cache_path)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "XDG", "PYTHON"))}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "nan None" in done.stdout


@pytest.mark.parametrize("market", MARKETS)
def test_a_bar_advanced_and_completed_later_is_a_step(make_market, market):
    bars = MARKETS[market](make_market)
    stepped, lazy = CompositeKernel(PARAMS), CompositeKernel(PARAMS)
    scored = np.array([name in SCORED for name in COLUMNS])
    for i, bar in enumerate(bars):
        whole = stepped.step(*bar)
        early = lazy.advance(*bar).copy()
        assert np.array_equal(early[~scored], whole[~scored], equal_nan=True), i
        assert np.isnan(early[scored]).all(), i
        if i % 7 == 0:  # what nobody asked for in between leaves no trace
            assert np.array_equal(lazy.complete(), whole, equal_nan=True), i
    assert stepped.bars_seen == lazy.bars_seen == len(bars)
