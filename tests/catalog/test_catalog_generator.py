"""The generated market: consistent, the same everywhere, lively enough for the demonstration."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.checks import Grid, Series
from catalog.generator import CHARACTERS, FUNDING_STEP_NS, generate
from catalog.instruments import interval_ns, load_instruments
from catalog.sample import END, START
from catalog.tables import grid_of
from strategies.errors import DataError
from strategies.kernel.columns import column_index
from strategies.kernel.composite import run_batch
from strategies.kernel.params import CompositeParams

STEP = interval_ns("15m")
GRIDS = [grid_of(spec) for spec in load_instruments().values()]
FIRST, LAST = (int(np.datetime64(t.removesuffix("Z"), "ns").astype(np.int64)) for t in (START, END))


@pytest.fixture(scope="module")
def market() -> dict[str, tuple[Series, Series]]:
    return generate(GRIDS, "15m", FIRST, LAST)


def check(grid: Grid, bars: Series, step: int) -> None:
    opened, high, low, close, volume = bars.values.T
    assert (np.diff(bars.time) == step).all()
    assert (high >= np.maximum(opened, close)).all()
    assert (low <= np.minimum(opened, close)).all()
    assert (low > 0).all()
    assert (volume > 0).all()
    assert (bars.values[:, :4] % grid.tick_units == 0).all()


def returns(bars: Series) -> np.ndarray:
    close = bars.values[:, 3].astype(float)
    return close[1:] / close[:-1] - 1.0


def test_the_window_is_whole_and_consistent(market: dict[str, tuple[Series, Series]]) -> None:
    for grid in GRIDS:
        bars, funding = market[grid.symbol]
        check(grid, bars, STEP)
        assert (int(bars.time[0]), int(bars.time[-1]) + STEP) == (FIRST, LAST)
        assert funding.time.tolist() == list(range(FIRST, LAST, FUNDING_STEP_NS))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    interval=st.sampled_from(["1m", "5m", "15m", "1h"]),
    offset=st.integers(0, 10**15),
    count=st.integers(1, 400),
)
def test_any_seed_interval_and_range_is_consistent(seed: int, interval: str, offset: int, count: int) -> None:
    step = interval_ns(interval)
    start = FIRST + offset
    result = generate(GRIDS, interval, start, start + count * step, seed)
    for grid in GRIDS:
        bars, _ = result[grid.symbol]
        assert abs(len(bars.time) - count) <= 1
        assert int(bars.time[0]) % step == 0
        assert int(bars.time[0]) >= start
        check(grid, bars, step)


def test_the_same_seed_gives_the_same_market_on_every_machine(market: dict[str, tuple[Series, Series]]) -> None:
    digest = hashlib.sha256()
    for symbol in ("BTCUSDT", "ETHUSDT", "XRPUSDT"):
        for series in market[symbol]:
            digest.update(series.time.astype("<i8").tobytes())
            digest.update(series.values.astype("<i8").tobytes())
    assert digest.hexdigest() == "664bda35faf3db6a02ae8c0304379e1b625012e30103b8b9e9e3feb8d7ad71a1"


def test_another_seed_gives_another_market() -> None:
    one, two = (generate(GRIDS[:1], "15m", FIRST, FIRST + 10 * STEP, seed) for seed in (1, 2))
    assert (one["BTCUSDT"][0].values != two["BTCUSDT"][0].values).any()


def test_a_symbol_does_not_depend_on_the_others_asked_for(market: dict[str, tuple[Series, Series]]) -> None:
    alone = generate([GRIDS[2]], "15m", FIRST, LAST)[GRIDS[2].symbol]
    assert (alone[0].values == market[GRIDS[2].symbol][0].values).all()


def test_volatility_clusters_with_fat_tails(market: dict[str, tuple[Series, Series]]) -> None:
    for bars, _ in market.values():
        moves = returns(bars)
        size = np.abs(moves)
        assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.1
        assert ((moves - moves.mean()) ** 4).mean() / moves.var() ** 2 > 5.0  # a normal market has 3
        assert size.max() > 5 * moves.std()


def test_volume_rises_with_the_move_and_has_bursts(market: dict[str, tuple[Series, Series]]) -> None:
    for bars, _ in market.values():
        volume = bars.values[:, 4].astype(float)
        assert np.corrcoef(volume[1:], np.abs(returns(bars)))[0, 1] > 0.4
        mean = np.convolve(volume, np.ones(20) / 20, mode="valid")
        assert 0.005 < (volume[19:] > 2.5 * mean).mean() < 0.1


def test_symbols_move_together(market: dict[str, tuple[Series, Series]]) -> None:
    moves = {symbol: returns(bars) for symbol, (bars, _) in market.items()}
    for one, two in (("BTCUSDT", "ETHUSDT"), ("BTCUSDT", "XRPUSDT"), ("ETHUSDT", "XRPUSDT")):
        assert 0.6 < np.corrcoef(moves[one], moves[two])[0, 1] < 0.95


def test_funding_follows_the_trend(market: dict[str, tuple[Series, Series]]) -> None:
    for bars, funding in market.values():
        close = bars.values[:, 3].astype(float)
        at = (funding.time - FIRST) // STEP - 1
        trend = close[at[6:]] / close[at[6:] - 96] - 1.0
        rates = funding.values[6:, 0]
        assert np.corrcoef(trend, rates)[0, 1] > 0.9
        assert rates.min() < 0 < rates.max()
        assert np.abs(rates).max() <= 375_000


@pytest.mark.parametrize("symbol", CHARACTERS)
def test_the_vote_finds_enough_signals_for_a_demonstration(
    symbol: str, market: dict[str, tuple[Series, Series]]
) -> None:
    values = market[symbol][0].values.astype(float)
    bars = dict(zip(("open", "high", "low", "close", "volume"), values.T, strict=True))
    loose = CompositeParams(signal_threshold=2, adx_threshold=15.0, volume_multiplier=1.5)
    for params, least in ((loose, 100), (CompositeParams(), 10)):
        signal = run_batch(params, bars)[:, column_index("votes", "signal")]
        assert (signal > 0).sum() >= least
        assert (signal < 0).sum() >= least


def test_what_it_cannot_make_is_refused() -> None:
    with pytest.raises(DataError, match="knows BTCUSDT, ETHUSDT, XRPUSDT, not DOGEUSDT"):
        generate([Grid("DOGEUSDT", 5, 0, 1)], "15m", FIRST, LAST)
    with pytest.raises(DataError, match="empty range"):
        generate(GRIDS, "15m", LAST, FIRST)
