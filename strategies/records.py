"""
The one event vocabulary of the project: what is recorded, under which names and in which units.

Records are immutable facts with an id that makes writing them exactly-once. They travel on the message bus under
``argonaut.record.<kind>``; the journal stores them, backtests collect them, dashboards read them from the journal.
Times are UTC nanoseconds: ``market_time`` as the bars tell it (None before the first bar), ``wall_time`` as the host
does. Money is USDT. Quantities and prices that came from the venue stay decimal strings.
"""

from typing import ClassVar

import msgspec

TOPIC = "argonaut.record"


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="kind"):
    """Base of all records. ``id`` is unique within a kind; writing the same id twice is a no-op."""

    kind: ClassVar[str] = ""
    id: str
    market_time: int | None
    wall_time: int

    @property
    def topic(self) -> str:
        """The message-bus topic of this record."""
        return f"{TOPIC}.{self.kind}"


class SignalRecord(Record, frozen=True, kw_only=True, tag="signal"):
    """A published Signal (id: signal id)."""

    kind: ClassVar[str] = "signal"
    strategy: str
    symbol: str
    side: str
    strength: float
    reference_price: float
    stop_price: float
    target_price: float
    features: list[float | None]
    schema: str


class VerdictRecord(Record, frozen=True, kw_only=True, tag="verdict"):
    """A gate's Verdict (id: ``<signal id>/<gate>``)."""

    kind: ClassVar[str] = "verdict"
    signal_id: str
    symbol: str
    gate: str
    passed: bool
    reason: str
    score: float | None
    threshold: float | None
    detail: str


class ApprovalRecord(Record, frozen=True, kw_only=True, tag="approval"):
    """Granted size and levels (id: signal id)."""

    kind: ClassVar[str] = "approval"
    symbol: str
    side: str
    quantity: str
    stop_price: str
    target_price: str
    risk_amount: float


class OrderRecord(Record, frozen=True, kw_only=True, tag="order"):
    """One state change of an order (id: Nautilus event id). ``event`` is the Nautilus event class without ``Order``."""

    kind: ClassVar[str] = "order"
    client_order_id: str
    venue_order_id: str | None
    symbol: str
    leg: str | None
    event: str
    order_type: str
    side: str
    quantity: str
    price: str | None
    trigger_price: str | None
    reason: str | None


class FillRecord(Record, frozen=True, kw_only=True, tag="fill"):
    """An execution at the venue (id: ``<symbol>/<venue trade id>``). ``fee`` is positive when paid."""

    kind: ClassVar[str] = "fill"
    client_order_id: str
    venue_order_id: str
    symbol: str
    leg: str | None
    side: str
    quantity: str
    price: str
    fee: str
    liquidity: str
    event_time: int


class FundingRecord(Record, frozen=True, kw_only=True, tag="funding"):
    """A funding settlement; `amount` is negative when charged (id: ``<symbol>/<settlement ms>``)."""

    kind: ClassVar[str] = "funding"
    symbol: str
    amount: float
    rate: float | None


class TradeRecord(Record, frozen=True, kw_only=True, tag="trade"):
    """A closed round trip (id: ``<symbol>/<client order id of the entry>``)."""

    kind: ClassVar[str] = "trade"
    symbol: str
    side: str
    entry_time: int | None
    entry_price: float
    exit_time: int | None
    exit_price: float
    quantity: float
    stop: float | None
    target: float | None
    exit_reason: str
    gross_pnl: float
    fees: float
    funding: float
    net_pnl: float
    signal_id: str | None
    verdicts: list[str]


class EquityRecord(Record, frozen=True, kw_only=True, tag="equity"):
    """Account value at the end of a time step (id: market time)."""

    kind: ClassVar[str] = "equity"
    balance: float
    unrealized: float
    equity: float
    open_positions: int


class IncidentRecord(Record, frozen=True, kw_only=True, tag="incident"):
    """Something a person should know of. ``severity`` is ``info``, ``warning`` or ``critical``."""

    kind: ClassVar[str] = "incident"
    severity: str
    code: str
    symbol: str | None
    message: str


class OutcomeRecord(Record, frozen=True, kw_only=True, tag="outcome"):
    """
    What a blocked signal would have made (id: signal id).

    ``blocked_by`` is ``<gate>:<reason>``; ``outcome`` is ``target``, ``stop``, ``horizon`` or ``unresolved`` (bars were
    missing); ``net_r`` is after costs in units of planned risk; ``signal_time`` is the close of the signal's bar,
    ``resolved_time`` that of the last bar looked at.
    """

    kind: ClassVar[str] = "outcome"
    symbol: str
    side: str
    blocked_by: str
    outcome: str
    net_r: float | None
    entry_price: float | None
    exit_price: float | None
    signal_time: int
    resolved_time: int
    score: float | None


AnyRecord = (
    SignalRecord
    | VerdictRecord
    | ApprovalRecord
    | OrderRecord
    | FillRecord
    | FundingRecord
    | TradeRecord
    | EquityRecord
    | IncidentRecord
    | OutcomeRecord
)
"""Every record kind, decodable with ``msgspec.json.decode(data, type=AnyRecord)``."""

RECORD_TYPES: tuple[type[Record], ...] = (
    SignalRecord,
    VerdictRecord,
    ApprovalRecord,
    OrderRecord,
    FillRecord,
    FundingRecord,
    TradeRecord,
    EquityRecord,
    IncidentRecord,
    OutcomeRecord,
)
