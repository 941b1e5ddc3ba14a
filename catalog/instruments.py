"""
What the exchange says about an instrument: ticks, steps, limits, fees, leverage brackets.

The figures come from `config/instruments.yaml` (dated, source named) or from a saved ``GET /fapi/v1/exchangeInfo``.
:func:`to_nautilus` builds the same object the official adapter builds from that answer
(`knowledge/live-binance.md` §2.1), so backtest and live round, refuse and charge alike. Nautilus is imported only where
one of its types is returned: the simulated venue reads this module too.
"""

import difflib
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, structs

from strategies.errors import ConfigError, DataError
from strategies.yaml_config import FrozenConfig, load_yaml

if TYPE_CHECKING:
    from nautilus_trader.model.data import BarType
    from nautilus_trader.model.identifiers import InstrumentId
    from nautilus_trader.model.instruments import CryptoPerpetual

VENUE = "BINANCE"
DEFAULT_PATH = Path(__file__).resolve().parent.parent / "config" / "instruments.yaml"

NANOS_PER_MILLI = 1_000_000
NANOS_PER_MINUTE = 60_000_000_000

_MINUTES = {"m": 1, "h": 60, "d": 1440}
_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
_PERPETUALS = ("PERPETUAL", "PERPETUAL_DELIVERING", "TRADIFI_PERPETUAL")

type DecimalText = Annotated[str, Meta(pattern=r"^\d+(\.\d+)?$", description="a quoted, unsigned decimal number")]
type SymbolText = Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,30}$")]
type Digits = Annotated[int, Meta(ge=0, le=16)]


class LeverageBracket(FrozenConfig, frozen=True):
    """
    One step of the maintenance-margin table.

    Attributes
    ----------
    cap : str
        Largest position notional of this step, quote currency.
    maintenance_rate : str
        Maintenance margin as a fraction of notional.
    maintenance_amount : str
        Amount subtracted from ``notional * maintenance_rate``, quote currency.
    max_leverage : int
        Highest leverage the exchange allows in this step.

    """

    cap: DecimalText
    maintenance_rate: DecimalText
    maintenance_amount: DecimalText
    max_leverage: Annotated[int, Meta(ge=1, le=200)]


class InstrumentSpec(FrozenConfig, frozen=True):
    """
    Figures of one USD-M perpetual as the exchange prints them. Money, prices and rates are decimal strings.

    Attributes
    ----------
    price_tick, quantity_step : str
        Increments with the exchange's trailing zeros ("0.10").
    price_precision, quantity_precision : int
        Digits after the point of `price_tick` and `quantity_step`: the precision of every price and quantity here.
    venue_price_precision, venue_quantity_precision : int or None
        What exchangeInfo prints as ``pricePrecision`` / ``quantityPrecision``; None: same as the increments.
    max_quantity, market_max_quantity : str
        Largest quantity of a limit and of a market order, base currency.
    min_notional : str
        Smallest order value, quote currency.
    maker_fee, taker_fee, liquidation_fee : str
        Fractions of notional.
    brackets : tuple[LeverageBracket, ...]
        Maintenance-margin table, caps increasing; empty when not known.
    captured : str
        ISO-8601 UTC time of the exchange's answer; empty when not known.

    """

    symbol: SymbolText
    base: SymbolText
    quote: SymbolText
    price_tick: DecimalText
    price_precision: Digits
    quantity_step: DecimalText
    quantity_precision: Digits
    min_quantity: DecimalText
    max_quantity: DecimalText
    market_max_quantity: DecimalText
    min_notional: DecimalText
    maker_fee: DecimalText = "0.000200"
    taker_fee: DecimalText = "0.000500"
    liquidation_fee: DecimalText = "0.012500"
    brackets: tuple[LeverageBracket, ...] = ()
    margin_asset: SymbolText = "USDT"
    min_price: DecimalText = "0"
    max_price: DecimalText = "1000000"
    market_quantity_step: DecimalText | None = None
    market_min_quantity: DecimalText | None = None
    percent_price_up: DecimalText = "1.0500"
    percent_price_down: DecimalText = "0.9500"
    trigger_protect: DecimalText = "0.0500"
    market_take_bound: DecimalText = "0.05"
    max_open_orders: Annotated[int, Meta(ge=1)] = 200
    venue_price_precision: Digits | None = None
    venue_quantity_precision: Digits | None = None
    base_asset_precision: Digits = 8
    quote_asset_precision: Digits = 8
    onboard_ms: Annotated[int, Meta(ge=0)] = 0
    captured: str = ""


class InstrumentFile(FrozenConfig, frozen=True):
    """Content of `config/instruments.yaml`."""

    captured: str
    source: str
    instruments: dict[str, InstrumentSpec]


def load_instruments(path: Path = DEFAULT_PATH) -> dict[str, InstrumentSpec]:
    """
    Return the specifications in `path` by venue symbol: our YAML layout, or (``.json``) a saved exchangeInfo.

    Raises
    ------
    ConfigError
        Fatal: missing file, unknown key, a number that is not a quoted decimal, figures that contradict each other.

    """
    if path.suffix == ".json":
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file") from None
        except (OSError, ValueError) as e:
            raise ConfigError(f"{path}: not a JSON file: {e}") from None
        return from_exchange_info(info, source=str(path))
    try:
        status = path.stat()
        return dict(_read_yaml(path, status.st_mtime_ns, status.st_size))
    except OSError:
        return dict(_read_yaml(path, 0, 0))


@lru_cache(maxsize=8)
def _read_yaml(path: Path, _changed: int, _size: int) -> dict[str, InstrumentSpec]:
    """Return the file's specifications; read again when it was changed."""
    content = load_yaml(path, InstrumentFile)
    specs = {}
    for symbol, spec in content.instruments.items():
        if symbol != spec.symbol:
            raise ConfigError(f"{path}: instruments.{symbol}: says symbol {spec.symbol}; key and symbol must agree")
        _check(spec, f"{path}: instruments.{symbol}")
        specs[symbol] = spec if spec.captured else structs.replace(spec, captured=content.captured)
    return specs


def find(specs: dict[str, InstrumentSpec], symbol: str, source: str = "config/instruments.yaml") -> InstrumentSpec:
    """
    Return the specification of `symbol`.

    Raises
    ------
    DataError
        Propagate: not listed; names the nearest symbol and how to add one.

    """
    if symbol in specs:
        return specs[symbol]
    near = difflib.get_close_matches(symbol.upper().removesuffix(f"-PERP.{VENUE}"), specs, n=1, cutoff=0.5)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise DataError(
        f"symbol {symbol!r} is not in {source}{guess}: give its figures with `--instruments FILE`, "
        "where FILE is a saved GET /fapi/v1/exchangeInfo (.json) or a file like config/instruments.yaml"
    )


def from_exchange_info(info: Any, source: str = "exchangeInfo") -> dict[str, InstrumentSpec]:
    """
    Return the perpetuals of a ``GET /fapi/v1/exchangeInfo`` answer by venue symbol.

    Dated futures and symbols not yet trading are left out, as the adapter does. Fees are not part of the answer: the
    regular-user rates stand until a configuration overrides them. Brackets are empty.

    Raises
    ------
    ConfigError
        Fatal: the document is not an exchangeInfo, or a symbol lacks a filter every order needs.

    """
    if not isinstance(info, dict) or not isinstance(info.get("symbols"), list):
        raise ConfigError(f"{source}: not an exchangeInfo answer: no `symbols` list")
    captured = ""
    if isinstance(info.get("serverTime"), int):
        captured = datetime.fromtimestamp(info["serverTime"] / 1000, tz=UTC).isoformat(timespec="milliseconds")
        captured = captured.replace("+00:00", "Z")
    specs = {}
    for entry in info["symbols"]:
        if entry.get("contractType") not in _PERPETUALS or entry.get("status") == "PENDING_TRADING":
            continue
        if re.fullmatch(r"[A-Z0-9]{2,30}", entry["symbol"]) is None:
            continue  # a handful of exotic contracts carry non-ASCII names, which file names and URLs cannot
        spec = _from_symbol(entry, captured, source)
        _check(spec, f"{source}: {spec.symbol}")
        specs[spec.symbol] = spec
    return specs


def to_exchange_info(spec: InstrumentSpec) -> dict[str, Any]:
    """Return the ``symbols[]`` entry of exchangeInfo for `spec`, every field the official adapter demands included."""
    market_step = spec.market_quantity_step or spec.quantity_step
    market_min = spec.market_min_quantity or spec.min_quantity
    return {
        "symbol": spec.symbol,
        "pair": spec.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": spec.onboard_ms,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base,
        "quoteAsset": spec.quote,
        "marginAsset": spec.margin_asset,
        "pricePrecision": _or(spec.venue_price_precision, spec.price_precision),
        "quantityPrecision": _or(spec.venue_quantity_precision, spec.quantity_precision),
        "baseAssetPrecision": spec.base_asset_precision,
        "quotePrecision": spec.quote_asset_precision,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": spec.trigger_protect,
        "liquidationFee": spec.liquidation_fee,
        "marketTakeBound": spec.market_take_bound,
        "maxMoveOrderLimit": 10000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": spec.min_price,
                "maxPrice": spec.max_price,
                "tickSize": spec.price_tick,
            },
            {
                "filterType": "LOT_SIZE",
                "stepSize": spec.quantity_step,
                "minQty": spec.min_quantity,
                "maxQty": spec.max_quantity,
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "stepSize": market_step,
                "minQty": market_min,
                "maxQty": spec.market_max_quantity,
            },
            {"filterType": "MAX_NUM_ORDERS", "limit": spec.max_open_orders},
            {"filterType": "MIN_NOTIONAL", "notional": spec.min_notional},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": spec.percent_price_up,
                "multiplierDown": spec.percent_price_down,
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def to_nautilus(spec: InstrumentSpec) -> "CryptoPerpetual":
    """
    Return the instrument the official adapter's provider builds from the same exchangeInfo (its ``info`` left empty).

    Initial and maintenance margin are 1 as in the adapter; leverage comes from the account.
    """
    from nautilus_trader.model.enums import CurrencyType  # noqa: PLC0415 - the venue imports this module without Nautilus
    from nautilus_trader.model.identifiers import Symbol  # noqa: PLC0415 - as above
    from nautilus_trader.model.instruments import CryptoPerpetual  # noqa: PLC0415 - as above
    from nautilus_trader.model.objects import Currency, Money, Price, Quantity  # noqa: PLC0415 - as above

    def currency(code: str, precision: int) -> Currency:
        return Currency(code=code, precision=precision, iso4217=0, name=code, currency_type=CurrencyType.CRYPTO)

    base = currency(spec.base, spec.base_asset_precision)
    quote = currency(spec.quote, spec.quote_asset_precision)
    captured = _captured_ns(spec)
    return CryptoPerpetual(
        instrument_id=instrument_id(spec.symbol),
        raw_symbol=Symbol(spec.symbol),
        base_currency=base,
        quote_currency=quote,
        settlement_currency=base if spec.margin_asset == spec.base else quote,
        is_inverse=False,
        price_precision=spec.price_precision,
        size_precision=spec.quantity_precision,
        price_increment=Price.from_str(spec.price_tick),
        size_increment=Quantity.from_str(spec.quantity_step),
        max_quantity=Quantity(float(spec.max_quantity), precision=spec.quantity_precision),
        min_quantity=Quantity(float(spec.min_quantity), precision=spec.quantity_precision),
        max_notional=None,
        min_notional=Money(spec.min_notional, currency=quote),
        max_price=Price(float(spec.max_price), precision=spec.price_precision),
        min_price=Price(float(spec.min_price), precision=spec.price_precision),
        margin_init=Decimal(1),
        margin_maint=Decimal(1),
        maker_fee=Decimal(spec.maker_fee),
        taker_fee=Decimal(spec.taker_fee),
        ts_event=captured,
        ts_init=captured,
    )


def instrument_id(symbol: str) -> "InstrumentId":
    """Return ``XRPUSDT-PERP.BINANCE`` for the venue symbol ``XRPUSDT``."""
    from nautilus_trader.model.identifiers import InstrumentId  # noqa: PLC0415 - see to_nautilus

    return InstrumentId.from_str(instrument_id_text(symbol))


def instrument_id_text(symbol: str) -> str:
    """Return :func:`instrument_id` as text, without importing Nautilus."""
    return f"{symbol}-PERP.{VENUE}"


@cache
def interval_ns(interval: str) -> int:
    """
    Return the length of an exchange interval (``"15m"``) in nanoseconds.

    Raises
    ------
    DataError
        Propagate: not an interval the exchange serves with a fixed length.

    """
    if interval not in _INTERVALS:
        raise DataError(f"interval {interval!r} is not known: use one of {', '.join(_INTERVALS)}")
    return int(interval[:-1]) * _MINUTES[interval[-1]] * NANOS_PER_MINUTE


def bar_type_text(symbol: str, interval: str) -> str:
    """Return :func:`bar_type` as text, ``XRPUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL`` for XRPUSDT and 15m."""
    interval_ns(interval)
    unit = {"m": "MINUTE", "h": "HOUR", "d": "DAY"}[interval[-1]]
    return f"{instrument_id_text(symbol)}-{interval[:-1]}-{unit}-LAST-EXTERNAL"


def bar_type(symbol: str, interval: str) -> "BarType":
    """Return the Nautilus bar type of a symbol and an exchange interval."""
    from nautilus_trader.model.data import BarType  # noqa: PLC0415 - see to_nautilus

    return BarType.from_str(bar_type_text(symbol, interval))


def _captured_ns(spec: InstrumentSpec) -> int:
    if not spec.captured:
        return 0
    return round(datetime.fromisoformat(spec.captured).timestamp() * 1000) * NANOS_PER_MILLI


def _from_symbol(entry: dict[str, Any], captured: str, source: str) -> InstrumentSpec:
    try:
        filters = {f["filterType"]: f for f in entry["filters"]}
        price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
        market, percent = filters.get("MARKET_LOT_SIZE", lot), filters.get("PERCENT_PRICE", {})
        return InstrumentSpec(
            symbol=entry["symbol"],
            base=entry["baseAsset"],
            quote=entry["quoteAsset"],
            margin_asset=entry["marginAsset"],
            onboard_ms=entry.get("onboardDate", 0),
            price_tick=price["tickSize"],
            price_precision=_digits(price["tickSize"]),
            min_price=price["minPrice"],
            max_price=price["maxPrice"],
            quantity_step=lot["stepSize"],
            quantity_precision=_digits(lot["stepSize"]),
            min_quantity=lot["minQty"],
            max_quantity=lot["maxQty"],
            market_quantity_step=market["stepSize"],
            market_min_quantity=market["minQty"],
            market_max_quantity=market["maxQty"],
            min_notional=filters["MIN_NOTIONAL"]["notional"],
            percent_price_up=percent.get("multiplierUp", "1.0500"),
            percent_price_down=percent.get("multiplierDown", "0.9500"),
            trigger_protect=entry.get("triggerProtect", "0.0500"),
            market_take_bound=entry.get("marketTakeBound", "0.05"),
            max_open_orders=filters.get("MAX_NUM_ORDERS", {}).get("limit", 200),
            venue_price_precision=entry["pricePrecision"],
            venue_quantity_precision=entry["quantityPrecision"],
            base_asset_precision=entry["baseAssetPrecision"],
            quote_asset_precision=entry["quotePrecision"],
            liquidation_fee=entry.get("liquidationFee", "0.012500"),
            captured=captured,
        )
    except KeyError as e:
        raise ConfigError(f"{source}: symbol {entry.get('symbol')}: {e.args[0]} is missing") from None


def _check(spec: InstrumentSpec, where: str) -> None:
    if Decimal(spec.price_tick) == 0 or Decimal(spec.quantity_step) == 0:
        raise ConfigError(f"{where}: price_tick and quantity_step must be above zero")
    for increment, precision in (("price_tick", "price_precision"), ("quantity_step", "quantity_precision")):
        digits = _digits(getattr(spec, increment))
        if digits != getattr(spec, precision):
            raise ConfigError(
                f"{where}: {precision} is {getattr(spec, precision)}, but {increment} "
                f'"{getattr(spec, increment)}" has {digits} digits after the point'
            )
    caps = [Decimal(b.cap) for b in spec.brackets]
    if caps != sorted(set(caps)):
        raise ConfigError(f"{where}: brackets: caps must increase")


def _digits(text: str) -> int:
    return len(text.partition(".")[2])


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
