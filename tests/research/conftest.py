"""A generated market in a real catalog, and a training configuration that fits it."""

import msgspec
import numpy as np
import pytest

from catalog.ingest import main as ingest
from research.dataset import VoteConfig
from research.thresholds import ThresholdConfig
from research.train_config import BoosterConfig, TrainConfig
from trials.memory import MEMORY

BUILT: list = []
"""Catalogs many tests share."""

DAYS = 70
START_MS = 1_743_465_600_000  # 2025-04-01T00:00Z
STEP_MS = 15 * 60 * 1_000
PRICES = {"BTCUSDT": (80_000.0, 1), "ETHUSDT": (2_000.0, 2), "XRPUSDT": (2.5, 4)}


def funding_of(seed):
    """Return settlement times (ms) and rates of a symbol."""
    random = np.random.default_rng(seed + 100)
    return START_MS + 8 * 3_600_000 * np.arange(DAYS * 3), random.normal(0.0001, 0.0001, DAYS * 3)


def _write_market(path, seed, price, digits, edge=0.0):
    random = np.random.default_rng(seed)
    count = DAYS * 96
    volatility = np.exp(0.5 * np.sin(np.arange(count) / 130) + random.normal(0, 0.2, count))
    moves = random.normal(0, 0.003, count) * volatility
    if edge:  # prices follow the funding rate settled before: something a model can find
        moves += edge * np.sign(np.repeat(funding_of(seed)[1], 32) - 0.0001)
    close = np.round(price * np.exp(np.cumsum(moves)), digits)
    opened = np.concatenate([[close[0]], close[:-1]])
    wick = price * 0.002 * random.random((2, count)) * volatility
    high = np.round(np.maximum(opened, close) + wick[0], digits)
    low = np.round(np.minimum(opened, close) - wick[1], digits)
    volume = np.round(random.lognormal(8, 1, count), 0)
    lines = ["open_time,open,high,low,close,volume"]
    lines += [
        f"{START_MS + STEP_MS * i},{opened[i]:.{digits}f},{high[i]:.{digits}f},{low[i]:.{digits}f},"
        f"{close[i]:.{digits}f},{volume[i]:.0f}"
        for i in range(count)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(name="market_catalog", scope="session")
def market_catalog_fixture(tmp_path_factory):
    """Return a catalog with 70 days of three symbols and their funding, seeded; nothing to learn in it."""
    return _build(tmp_path_factory, 0.0)


@pytest.fixture(name="edge_catalog", scope="session")
def edge_catalog_fixture(tmp_path_factory):
    """Return the same market, but prices drift the way funding points."""
    return _build(tmp_path_factory, 0.0007)


def _build(tmp_path_factory, edge):
    folder, catalog = tmp_path_factory.mktemp("market"), tmp_path_factory.mktemp("market_catalog")
    for seed, (symbol, (price, digits)) in enumerate(PRICES.items(), start=11):
        _write_market(folder / f"{symbol}.csv", seed, price, digits, edge)
        times, rates = funding_of(seed)
        rows = [f"{t},{r:.8f}" for t, r in zip(times, rates, strict=True)]
        (folder / f"{symbol}-funding.csv").write_text("calc_time,last_funding_rate\n" + "\n".join(rows) + "\n")
        for kind, source in (("klines", f"{symbol}.csv"), ("funding", f"{symbol}-funding.csv")):
            interval = ["--interval", "15m"] if kind == "klines" else []
            common = ["--symbol", symbol, "--from", str(folder / source), "--catalog", str(catalog)]
            assert not ingest([kind, *common, *interval])
    BUILT.append(catalog)
    return catalog


@pytest.fixture(autouse=True)
def forgetful_catalogs():
    """Let no test meet what another one tried on the catalog both use."""
    for catalog in BUILT:
        (catalog / MEMORY).unlink(missing_ok=True)


@pytest.fixture(name="train_config", scope="session")
def train_config_fixture(tmp_path_factory):
    """Return a configuration whose windows lie inside the generated market."""
    params = tmp_path_factory.mktemp("params") / "composite.yaml"
    params.write_text("params: {stop_atr: 1.5, target_atr: 3.0}\n", encoding="utf-8")
    return TrainConfig(
        symbols=["BTCUSDT", "ETHUSDT", "XRPUSDT"],
        strategy=str(params),
        train_start="2025-04-01T00:00:00Z",
        train_end="2025-05-10T00:00:00Z",
        threshold_start="2025-05-10T00:00:00Z",
        threshold_end="2025-05-25T00:00:00Z",
        report_start="2025-05-25T00:00:00Z",
        report_end="2025-06-08T00:00:00Z",
        dataset=VoteConfig(),
        model=BoosterConfig(trees=40, min_data_in_leaf=20, learning_rate=0.1),
        threshold=ThresholdConfig(min_signals=20, min_passed=5),
        min_signals=100,
    )


@pytest.fixture(name="replace")
def replace_fixture():
    """Return the function that copies a configuration with changes."""
    return msgspec.structs.replace
