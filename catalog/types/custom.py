"""
Custom data types, delivered the same in one-shot and in chunked runs of a ``BacktestNode``.

A plain ``@customdataclass`` fails in chunked runs (`knowledge/engine-v1-v2.md` §3); types made with
``@customdataclass_pyo3()`` and registered with ``register_custom_data_class`` work in both. So funding exists twice: as
Nautilus's ``FundingRateUpdate``, which runs one-shot only, and as :class:`FundingSettlement`. Nautilus's
``IndexPriceUpdate`` can be written to a catalog but not read from one (1.231.0), hence :class:`IndexPrice`.

An actor subscribes with ``subscribe_data(DataType(OpenInterest), client_id=ClientId("CATALOG"))`` and receives the
object itself in ``on_data``. Figures a source did not give are NaN, counts -1. ``ts_event`` is the time the figure is
about, ``ts_init`` when it could be known.
"""

from nautilus_trader.core import nautilus_pyo3
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass_pyo3
from nautilus_trader.model.identifiers import InstrumentId


@customdataclass_pyo3()
class BarFlow(Data):
    """
    What an exchange candle says beyond a ``Bar``, stamped like that bar with its exact close.

    Attributes
    ----------
    instrument_id : InstrumentId
    interval : str
        Of the candle, ``1m`` and so on: all stored intervals of an instrument come through one subscription.
    quote_volume : float
        Turnover, quote currency.
    count : int
        Trades in the candle.
    taker_buy_volume, taker_buy_quote_volume : float
        Part of volume and turnover in which the buyer took liquidity, base and quote currency.

    """

    instrument_id: InstrumentId
    interval: str
    quote_volume: float
    count: int
    taker_buy_volume: float
    taker_buy_quote_volume: float


@customdataclass_pyo3()
class IndexPrice(Data):
    """Index price (quote currency) at the close of the shortest stored candle of it."""

    instrument_id: InstrumentId
    value: float


@customdataclass_pyo3()
class PremiumIndex(Data):
    """Premium index (fraction of price) at the close of the shortest stored candle of it."""

    instrument_id: InstrumentId
    value: float


@customdataclass_pyo3()
class FundingSettlement(Data):
    """
    One funding settlement.

    Attributes
    ----------
    instrument_id : InstrumentId
    rate : float
        Fraction of notional that longs pay to shorts.
    interval_minutes : int
        Since the settlement before, -1 when the source does not say.

    """

    instrument_id: InstrumentId
    rate: float
    interval_minutes: int


@customdataclass_pyo3()
class OpenInterest(Data):
    """Open interest: contracts in base currency and their value in quote currency."""

    instrument_id: InstrumentId
    open_interest: float
    open_interest_value: float


@customdataclass_pyo3()
class LongShortRatios(Data):
    """
    Long/short ratios as the exchange publishes them, each a quotient.

    Attributes
    ----------
    instrument_id : InstrumentId
    top_accounts, top_positions : float
        Of the top traders, by accounts and by positions.
    accounts : float
        Of all accounts.
    taker_volume : float
        Taker-buy over taker-sell volume.

    """

    instrument_id: InstrumentId
    top_accounts: float
    top_positions: float
    accounts: float
    taker_volume: float


@customdataclass_pyo3()
class DepthShare(Data):
    """Book depth within `percentage` of the middle (negative: bids): quantity in base, notional in quote currency."""

    instrument_id: InstrumentId
    percentage: float
    depth: float
    notional: float


@customdataclass_pyo3()
class Liquidation(Data):
    """
    One forced order.

    Attributes
    ----------
    instrument_id : InstrumentId
    side : str
        ``BUY`` or ``SELL`` of the forced order: SELL closes a long position.
    quantity, price, average_price : float
        Order quantity (base), limit price and mean fill price (quote currency).
    filled : float
        Accumulated filled quantity, base currency.
    status : str
        The exchange's order status, empty when the source does not say.

    """

    instrument_id: InstrumentId
    side: str
    quantity: float
    price: float
    average_price: float
    filled: float
    status: str


CUSTOM = (
    BarFlow,
    IndexPrice,
    PremiumIndex,
    FundingSettlement,
    OpenInterest,
    LongShortRatios,
    DepthShare,
    Liquidation,
)
"""All of them."""

for _type in CUSTOM:
    nautilus_pyo3.model.register_custom_data_class(_type)
