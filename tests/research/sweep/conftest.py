"""Markets for sweeps: real months where the data lie, generated ones everywhere."""

import pytest

from catalog import tables
from catalog.generator import generate
from catalog.ingest import main as ingest
from catalog.instruments import load_instruments
from catalog.writer import put_series
from node.config import load_config
from tests.research.sweep.sweep_kit import DATA, DAY, ROOT, SYMBOLS
from trials.memory import MEMORY


@pytest.fixture(name="generated", scope="session")
def generated_fixture(tmp_path_factory):
    """Return a catalog of 90 generated days of three symbols, and the first day's date."""
    catalog, specs = tmp_path_factory.mktemp("sweep_generated"), load_instruments()
    start = 20_179 * DAY  # 2025-04-01
    market = generate([tables.grid_of(specs[s]) for s in SYMBOLS], "15m", start, start + 90 * DAY, 7)
    for symbol, (series, funding) in market.items():
        put_series(series, funding, catalog=catalog, symbol=symbol, interval="15m", origin="generator")
    return catalog


@pytest.fixture(autouse=True)
def forgetful(generated):
    """Let no sweep meet what another one tried on the catalog both use."""
    (generated / MEMORY).unlink(missing_ok=True)


@pytest.fixture(name="real", scope="session")
def real_fixture(tmp_path_factory):
    """Return a catalog of the real months of three symbols."""
    catalog = tmp_path_factory.mktemp("sweep_real")
    for symbol in SYMBOLS:
        source = DATA / "um_klines_15m" / f"{symbol}.csv.gz"
        common = ["--symbol", symbol, "--catalog", str(catalog)]
        assert not ingest(["klines", "--interval", "15m", "--from", str(source), *common])
        assert not ingest(["funding", "--from", str(DATA / "um_funding" / f"{symbol}.csv.gz"), *common])
    return catalog


@pytest.fixture(name="base", scope="session")
def base_fixture():
    """Return the configuration the random ones start from."""
    return load_config(ROOT / "config" / "golden.yaml")
