"""From a catalog on disk to the feed: range, history, grid, refusals."""

from decimal import Decimal

import pytest

from catalog.sample import prepare
from node.venue.config import DataConfig, VenueConfig
from node.venue.errors import ApiError
from node.venue.feed import interval_ms
from node.venue.loader import load_feed
from strategies.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    path = tmp_path_factory.mktemp("venue") / "catalog"
    prepare(path, symbols=("BTCUSDT", "XRPUSDT"), interval="15m")
    return path


def config(catalog, **data):
    return VenueConfig(data=DataConfig(catalog=str(catalog), symbols=("BTCUSDT", "XRPUSDT"), **data))


def test_the_range_is_on_open_times_and_history_lies_before_it(catalog):
    tree = config(catalog, start="2025-09-10", end="2025-09-11T00:00:00Z", history_bars=96)
    instruments, feed = load_feed(tree)
    assert list(instruments) == ["BTCUSDT", "XRPUSDT"]
    for symbol, series in feed.series.items():
        assert feed.start_ms == 1_757_462_400_000
        assert series.open_ms[0] == feed.start_ms - 86_400_000
        assert series.open_ms[series.first] == feed.start_ms
        assert series.open_ms[-1] == feed.start_ms + 86_400_000 - 900_000
        assert series.visible == series.first == 96
        tick, step = instruments[symbol].tick, instruments[symbol].step
        for bar in series.bars:
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert not any(p % tick for p in (bar.open, bar.high, bar.low, bar.close))
            assert not bar.volume % step
        settled = feed.settlements(symbol, feed.start_ms, feed.start_ms + 86_400_000)
        assert [(t - feed.start_ms) / 3_600_000 for t, _ in settled] == [8, 16, 24]
        assert all(isinstance(rate, Decimal) for _, rate in settled)
        assert feed.next_funding_ms(symbol, feed.start_ms) == feed.start_ms + 8 * 3_600_000


def test_an_empty_range_and_an_unknown_catalog_name_the_remedy(catalog, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.start"):
        load_feed(config(catalog, start="2025-09-10", end="2025-09-10"))
    with pytest.raises(DataError, match="ingest"):
        load_feed(config(catalog, start="2031-01-01", end="2031-02-01"))
    partial = VenueConfig(data=DataConfig(catalog=str(catalog), symbols=("XRPUSDT", "ETHUSDT")))
    with pytest.raises(DataError, match="ETHUSDT"):
        load_feed(partial)


def test_without_funding_none_is_loaded(catalog):
    tree = VenueConfig(data=config(catalog, start="2025-09-10", end="2025-09-12").data, funding=False)
    _, feed = load_feed(tree)
    assert feed.settlements("XRPUSDT", 0, feed.start_ms * 2) == []
    assert feed.last_rate("XRPUSDT", feed.start_ms) == 0
    assert feed.next_funding_ms("XRPUSDT", feed.start_ms) == feed.start_ms + 8 * 3_600_000


def test_an_interval_the_exchange_does_not_know_is_refused():
    with pytest.raises(ApiError, match="-1120"):
        interval_ms("7m")
