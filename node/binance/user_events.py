"""
User-stream messages the stock adapter cannot read, as tolerant structs.

Every field we do not need is left out, so a new field, reason or symbol never costs us the message.
"""

import msgspec
from nautilus_trader.adapters.binance.futures.schemas.user import BinanceFuturesBalance

FUNDING_FEE = "FUNDING_FEE"


class EventKind(msgspec.Struct, frozen=True):
    """The type of any message; ``e`` as plain text, so an unknown type is data and not an error."""

    e: str


class AccountPosition(msgspec.Struct, frozen=True):
    """A position inside ACCOUNT_UPDATE: symbol and signed amount."""

    s: str
    pa: str = "0"


class AccountChange(msgspec.Struct, frozen=True):
    """Reason, balances and positions of an ACCOUNT_UPDATE. The reason is free text: Binance adds new ones."""

    m: str = ""
    B: list[BinanceFuturesBalance] = msgspec.field(default_factory=list)
    P: list[AccountPosition] = msgspec.field(default_factory=list)


class AccountUpdate(msgspec.Struct, frozen=True):
    """ACCOUNT_UPDATE. ``T`` is the transaction time, ms."""

    T: int
    a: AccountChange


class MarginCallPosition(msgspec.Struct, frozen=True):
    """A position close to liquidation: symbol, amount, maintenance margin."""

    s: str
    pa: str = "?"
    mm: str = "?"


class MarginCall(msgspec.Struct, frozen=True):
    """MARGIN_CALL."""

    p: list[MarginCallPosition] = msgspec.field(default_factory=list)


class LeverageChange(msgspec.Struct, frozen=True):
    """New leverage of one symbol."""

    s: str
    l: int  # noqa: E741 - Binance's field name


class AccountConfigUpdate(msgspec.Struct, frozen=True):
    """ACCOUNT_CONFIG_UPDATE; ``ac`` is absent when another setting changed."""

    ac: LeverageChange | None = None


class TriggerReject(msgspec.Struct, frozen=True):
    """A conditional order that reached its trigger and was refused: symbol, id, reason."""

    s: str
    i: int | str
    r: str = ""


class ConditionalOrderTriggerReject(msgspec.Struct, frozen=True):
    """CONDITIONAL_ORDER_TRIGGER_REJECT (field ``or``)."""

    rejected: TriggerReject = msgspec.field(name="or")


class IncomeRow(msgspec.Struct, frozen=True):
    """One row of ``GET /fapi/v1/income``; ``income`` is signed, ``time`` in ms."""

    symbol: str
    income: str
    time: int
    incomeType: str = FUNDING_FEE  # noqa: N815 - Binance's field name
    tranId: int = 0  # noqa: N815 - as above; unique within a user


KIND = msgspec.json.Decoder(EventKind)
ACCOUNT_UPDATE = msgspec.json.Decoder(AccountUpdate)
MARGIN_CALL = msgspec.json.Decoder(MarginCall)
ACCOUNT_CONFIG_UPDATE = msgspec.json.Decoder(AccountConfigUpdate)
TRIGGER_REJECT = msgspec.json.Decoder(ConditionalOrderTriggerReject)
INCOME = msgspec.json.Decoder(list[IncomeRow])
