"""Instruments: our file, exchangeInfo, and the object the official adapter builds."""

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.futures.providers import BinanceFuturesInstrumentProvider
from nautilus_trader.adapters.binance.futures.schemas.market import BinanceFuturesSymbolInfo
from nautilus_trader.adapters.binance.futures.schemas.wallet import BinanceFuturesCommissionRate
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.common.component import LiveClock
from nautilus_trader.model.instruments import CryptoPerpetual

from catalog.instruments import (
    DEFAULT_PATH,
    InstrumentSpec,
    bar_type,
    find,
    from_exchange_info,
    instrument_id,
    interval_ns,
    load_instruments,
    to_exchange_info,
    to_nautilus,
)
from strategies.errors import ConfigError, DataError

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")


def as_the_adapter_builds(entry: dict[str, Any], spec: InstrumentSpec, captured: int) -> CryptoPerpetual:
    clock = LiveClock()
    client = BinanceHttpClient(clock=clock, api_key="key", api_secret="secret", base_url="http://127.0.0.1:9")
    provider = BinanceFuturesInstrumentProvider(client, clock, BinanceAccountType.USDT_FUTURES)
    info = msgspec.json.decode(msgspec.json.encode(entry), type=BinanceFuturesSymbolInfo)
    fee = BinanceFuturesCommissionRate(
        symbol=spec.symbol, makerCommissionRate=spec.maker_fee, takerCommissionRate=spec.taker_fee
    )
    provider._parse_instrument(symbol_info=info, ts_event=captured, fee=fee)
    instrument = provider.find(instrument_id(spec.symbol))
    assert instrument is not None, "the provider refused the entry"
    return instrument


def comparable(instrument: CryptoPerpetual) -> dict[str, Any]:
    figures = CryptoPerpetual.to_dict(instrument)
    for key in ("info", "ts_init"):  # the answer itself, and the wall time at which the adapter read it
        figures.pop(key)
    for name in ("base_currency", "quote_currency", "settlement_currency"):
        currency = getattr(instrument, name, None) or instrument.get_settlement_currency()
        figures[f"{name}.precision"] = currency.precision
    return figures


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_to_nautilus_equals_what_the_official_provider_builds(symbol: str) -> None:
    spec = load_instruments()[symbol]
    ours = to_nautilus(spec)
    theirs = as_the_adapter_builds(to_exchange_info(spec), spec, ours.ts_event)
    assert comparable(ours) == comparable(theirs)


def captures() -> list[Path]:
    folder = DEFAULT_PATH.parent.parent.parent / "shared" / "data" / "raw"
    return sorted(folder.glob("*/*/fapi-v1-exchangeInfo.json"))


if captures():

    @pytest.mark.parametrize("path", captures(), ids=lambda path: path.parent.name)
    def test_every_perpetual_of_a_real_capture_equals_the_providers(path: Path) -> None:
        info = json.loads(path.read_text())
        specs = from_exchange_info(info)
        assert len(specs) > 500
        entries = {entry["symbol"]: entry for entry in info["symbols"]}
        for symbol in ("BTCUSDT", "XRPUSDT", "DOGEUSDT", "1000SHIBUSDT", "ETHUSDC"):
            ours = to_nautilus(specs[symbol])
            assert comparable(ours) == comparable(as_the_adapter_builds(entries[symbol], specs[symbol], ours.ts_event))
        ours_file = load_instruments()
        for symbol in SYMBOLS:
            assert specs[symbol].price_tick == ours_file[symbol].price_tick
            assert specs[symbol].min_notional == ours_file[symbol].min_notional


def test_exchange_info_round_trip_keeps_every_figure() -> None:
    for spec in load_instruments().values():
        back = from_exchange_info({"symbols": [to_exchange_info(spec)]})[spec.symbol]
        kept = {**msgspec.structs.asdict(back), "brackets": spec.brackets, "captured": spec.captured}
        assert kept == msgspec.structs.asdict(spec)


def test_the_files_figures_are_the_exchanges() -> None:
    specs = load_instruments()
    assert specs["BTCUSDT"].price_tick == "0.10"
    assert specs["BTCUSDT"].min_notional == "50"
    assert to_nautilus(specs["BTCUSDT"]).price_precision == 2
    assert to_nautilus(specs["XRPUSDT"]).taker_fee == Decimal("0.0005")
    for spec in specs.values():
        assert spec.captured.startswith("2026-07-03")
        # continuity of the exchange's formula: maintenance does not jump at a bracket's cap
        for lower, upper in zip(spec.brackets, spec.brackets[1:], strict=False):
            cap = Decimal(lower.cap)
            below = cap * Decimal(lower.maintenance_rate) - Decimal(lower.maintenance_amount)
            above = cap * Decimal(upper.maintenance_rate) - Decimal(upper.maintenance_amount)
            assert below == above, (spec.symbol, lower.cap)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('price_tick: "0.0001"', "price_tick: 0.0001", ["instruments", "price_tick", "expected `str`"]),
        ('price_tick: "0.0001"', 'price_tick: "0.001"', ["XRPUSDT", "price_precision is 4", "3 digits"]),
        ("    symbol: XRPUSDT", "    symbol: XRPUSDC", ["key and symbol must agree"]),
        ('    min_notional: "5"', '    min_notionall: "5"', ["unknown key", "min_notional"]),
        ('cap: "40000"', 'cap: "90000"', ["XRPUSDT", "brackets", "increase"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    text = DEFAULT_PATH.read_text()
    assert old in text
    path = tmp_path / "instruments.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_instruments(path)
    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "content", ["[]", "{}", "not json", '{"symbols": [{"symbol": "X", "contractType": "PERPETUAL"}]}']
)
def test_a_wrong_exchange_info_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "info.json"
    path.write_text(content)
    if '"X"' in content:
        assert load_instruments(path) == {}  # one letter is no symbol of the exchange
        path.write_text(content.replace('"X"', '"XRPUSDT"'))
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_instruments(path)


def test_find_names_the_nearest_symbol() -> None:
    with pytest.raises(DataError, match=r"did you mean XRPUSDT\?.*--instruments"):
        find(load_instruments(), "xrpusd")


def test_identifiers_and_intervals() -> None:
    assert str(instrument_id("XRPUSDT")) == "XRPUSDT-PERP.BINANCE"
    assert str(bar_type("XRPUSDT", "15m")) == "XRPUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL"
    assert str(bar_type("BTCUSDT", "4h")) == "BTCUSDT-PERP.BINANCE-4-HOUR-LAST-EXTERNAL"
    assert str(bar_type("BTCUSDT", "1d")) == "BTCUSDT-PERP.BINANCE-1-DAY-LAST-EXTERNAL"
    assert interval_ns("15m") == 900_000_000_000
    for wrong in ("15", "15min", "7m", "", "1M"):
        with pytest.raises(DataError, match="interval"):
            interval_ns(wrong)


def test_the_figures_can_be_read_without_importing_nautilus() -> None:
    code = (
        "import sys; from catalog.instruments import load_instruments, to_exchange_info;"
        "[to_exchange_info(s) for s in load_instruments().values()];"
        "sys.exit(any(m.startswith('nautilus_trader') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=DEFAULT_PATH.parent.parent, check=False).returncode == 0
