"""The feature command over a real catalog: what it joins, what it writes, what it refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from catalog.ingest import main as ingest
from research import features
from strategies.errors import ConfigError, DataError
from strategies.kernel.columns import COLUMNS, FEATURE_SCHEMA, INDICATORS
from strategies.kernel.composite import run_batch
from strategies.kernel.params import CompositeParams

START_MS = 1_743_465_600_000  # 2025-04-01T00:00Z
STEP_MS = 15 * 60 * 1_000
BARS = 700
LOOSE = "params: {signal_threshold: 2, adx_threshold: 15.0, volume_multiplier: 1.5}\n"


def _market(seed, price, digits, first, count):
    rng = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.004, count))), digits)
    open_ = np.concatenate([[close[0]], close[:-1]])
    wick = np.round(price * 0.001 * rng.random((2, count)), digits)
    frame = pd.DataFrame({"open_time": START_MS + STEP_MS * np.arange(first, first + count), "open": open_})
    frame["high"] = np.round(np.maximum(open_, close) + wick[0], digits)
    frame["low"] = np.round(np.minimum(open_, close) - wick[1], digits)
    frame["close"] = close
    frame["volume"] = np.round(rng.lognormal(8, 1, count), 0)
    return frame


def _ingest_klines(symbol, folder, catalog):
    series = ["--symbol", symbol, "--interval", "15m"]
    assert ingest(["klines", *series, "--from", str(folder / f"{symbol}.csv"), "--catalog", str(catalog)]) == 0


@pytest.fixture(name="source", scope="module")
def source_fixture(tmp_path_factory):
    """Return CSV files whose series start and end at different times, and their content."""
    folder = tmp_path_factory.mktemp("source")
    frames = {
        "XRPUSDT": _market(1, 2.5, 4, 0, BARS),
        "BTCUSDT": _market(2, 80_000.0, 1, 100, BARS),  # begins later and ends later
        "ETHUSDT": _market(3, 2_000.0, 2, -50, BARS),  # begins and ends earlier
    }
    for symbol, frame in frames.items():
        frame.to_csv(folder / f"{symbol}.csv", index=False)
    # One settlement exactly on a bar's close, one a few milliseconds later, then every eight hours.
    times = START_MS + np.array([8 * 3_600_000, 16 * 3_600_000 + 7, 24 * 3_600_000, 32 * 3_600_000])
    frames["funding"] = pd.DataFrame({"calc_time": times, "last_funding_rate": [0.0001, -0.00005, 0.0002, 0.0001]})
    frames["funding"].to_csv(folder / "funding.csv", index=False)
    return folder, frames


@pytest.fixture(name="catalog", scope="module")
def catalog_fixture(source, tmp_path_factory):
    folder, _ = source
    catalog = tmp_path_factory.mktemp("catalog")
    for symbol in ("XRPUSDT", "BTCUSDT", "ETHUSDT"):
        _ingest_klines(symbol, folder, catalog)
    ingest(["funding", "--symbol", "XRPUSDT", "--from", str(folder / "funding.csv"), "--catalog", str(catalog)])
    return catalog


def _run(catalog, out, *more):
    arguments = ["--catalog", str(catalog), "--symbol", "XRPUSDT", "--interval", "15m", "--out", str(out)]
    assert features.main([*arguments, *more]) == 0
    return pd.read_parquet(out)


def test_one_row_per_bar_with_side_data_joined_by_time(catalog, source, tmp_path):
    frames = source[1]
    (tmp_path / "params.yaml").write_text(LOOSE)
    table = _run(catalog, tmp_path / "out.parquet", "--params", str(tmp_path / "params.yaml"))
    own = frames["XRPUSDT"]
    assert list(table.columns[:6]) == ["open_time", "open", "high", "low", "close", "volume"]
    assert tuple(table.columns[6:]) == COLUMNS
    assert tuple(table.columns[6:20]) == INDICATORS
    assert str(table.open_time.dtype) == "datetime64[ns, UTC]"
    assert (table.open_time.astype(np.int64) // 1_000_000 == own.open_time).all()

    bars = {name: table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    for name, values in bars.items():
        np.testing.assert_allclose(values, own[name], rtol=1e-15)
    closes = {}
    for key, symbol in (("btc_close", "BTCUSDT"), ("eth_close", "ETHUSDT")):
        closes[key] = frames[symbol].set_index("open_time").close.reindex(own.open_time).to_numpy()
        assert np.isnan(closes[key]).any()
    funding = np.full(BARS, np.nan)
    for time_ms, rate in frames["funding"].itertuples(index=False):
        funding[(own.open_time + STEP_MS > time_ms).to_numpy()] = rate
    assert np.isnan(funding[31]), "the bar that closes with the settlement does not see it"
    assert funding[32] == 0.0001
    assert funding[63] == 0.0001, "a settlement 7 ms after the close belongs to the next bar"
    assert funding[64] == -0.00005

    params = CompositeParams(signal_threshold=2, adx_threshold=15.0, volume_multiplier=1.5)
    expected = run_batch(params, {**bars, **closes, "funding": funding})
    names = {1.0: "LONG", -1.0: "SHORT", 0.0: "HOLD"}
    for i, name in enumerate(COLUMNS):
        if name == "signal":
            assert table[name].tolist() == [names[x] for x in expected[:, i]]
            assert set(table[name]) == {"LONG", "SHORT", "HOLD"}
        else:
            np.testing.assert_allclose(table[name], expected[:, i], rtol=1e-9, atol=1e-9, err_msg=name)
    metadata = pq.read_schema(tmp_path / "out.parquet").metadata
    assert metadata[b"argonaut.feature_schema"].decode() == FEATURE_SCHEMA
    assert b'"signal_threshold": 2' in metadata[b"argonaut.params"]


def test_a_range_cuts_rows_and_keeps_the_warm_up(catalog, tmp_path):
    whole = _run(catalog, tmp_path / "whole.parquet")
    part = _run(catalog, tmp_path / "part.parquet", "--start", "2025-04-05", "--end", "2025-04-06T12:00Z")
    assert len(part) == 36 * 4
    assert part.open_time.iloc[0] == pd.Timestamp("2025-04-05", tz="UTC")
    same = whole[whole.open_time.isin(part.open_time)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, same, check_exact=True)


def test_a_missing_series_leaves_its_features_empty_and_is_refused_where_required(catalog, source, tmp_path, capsys):
    bare = tmp_path / "bare"
    _ingest_klines("XRPUSDT", source[0], bare)
    out = tmp_path / "out.parquet"
    with pytest.raises(DataError, match=r"catalog\.ingest klines --symbol BTCUSDT --interval 15m"):
        _run(bare, out, "--require-context")
    assert not out.exists()
    capsys.readouterr()
    table = _run(bare, out)
    assert table[["btc_ret_1", "eth_ret_5", "primary_btc_rs", "funding_rate"]].isna().all(axis=None)
    assert "BTCUSDT missing on 700, ETHUSDT missing on 700, funding missing on 700" in capsys.readouterr().out
    with_context = _run(catalog, tmp_path / "full.parquet")
    for name in INDICATORS:
        assert table[name].equals(with_context[name]), name


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--symbol", "DOGEUSDT"], DataError, "no 15m bars of DOGEUSDT"),
        (["--eth", "SOLUSDT", "--require-context"], DataError, "ingest klines --symbol SOLUSDT"),
        (["--start", "2030-01-01"], DataError, "no bar opens in"),
        (["--start", "soon"], ConfigError, "--start: 'soon' is not a date"),
        (["--interval", "7m"], DataError, "interval '7m' is not known"),
        (["--params", "none.yaml"], ConfigError, "no such file"),
    ],
)
def test_a_mistake_is_refused_and_the_old_file_stays(catalog, tmp_path, more, error, message):
    out = tmp_path / "out.parquet"
    out.write_bytes(b"old")
    with pytest.raises(error, match=message):
        _run(catalog, out, *more)
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_an_unwritable_target_is_one_clear_line(catalog, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        _run(catalog, tmp_path / "file" / "out.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        _run(catalog, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"], "no temporary file is left"


def test_help_and_errors_that_exit_with_two(tmp_path):
    root = Path(features.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "research.features", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "--require-context" in done.stdout
    paths = ["--catalog", str(tmp_path / "none"), "--out", str(tmp_path / "out.parquet")]
    command = [sys.executable, "-m", "research.features", "--symbol", "XRPUSDT", *paths]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
