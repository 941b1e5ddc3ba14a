"""Configuration of the simulated venue: one frozen tree, every key with unit and default."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, field

from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig

NANOS_PER_MILLI = 1_000_000

type Positive = Annotated[float, Meta(gt=0)]
type NotNegative = Annotated[float, Meta(ge=0)]
type Symbol = Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,30}$")]


class DataConfig(FrozenConfig, frozen=True):
    """
    Which bars the venue replays.

    Attributes
    ----------
    catalog : str
        Directory of the market-data catalog. If it holds nothing for `symbols`, sample data are prepared there.
    instruments : str
        File with ticks, steps, fees and brackets; empty: the figures that come with the project.
    start, end : str
        ISO-8601 range ``[start, end)`` on bar open times; empty: everything after `history_bars`, up to the last bar.
    interval : str
        Bar interval, e.g. ``15m``.
    symbols : tuple[str, ...]
        Replayed symbols; at equal times they are published in this order.
    history_bars : int
        Bars before `start` that REST serves as history (less if the catalog begins later).

    """

    catalog: str = "var/catalog"
    instruments: str = ""
    start: str = ""
    end: str = ""
    interval: str = "15m"
    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=1)] = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
    history_bars: Annotated[int, Meta(ge=0)] = 1500


class AccountConfig(FrozenConfig, frozen=True):
    """
    The one account of the venue, USDT.

    Attributes
    ----------
    balance : Decimal
        Wallet at the start, USDT.
    leverage : int
        Initial leverage of every symbol (a client may change it).
    leverages : dict[str, int]
        Initial leverage by symbol where it differs.
    hedge_mode : bool
        Begin in hedge mode (positions LONG and SHORT) instead of one-way mode.
    margin_type : {"CROSSED", "ISOLATED"}
        Margin type every symbol begins with.

    """

    balance: Decimal = Decimal(10_000)
    leverage: Annotated[int, Meta(ge=1, le=125)] = 20
    leverages: dict[str, Annotated[int, Meta(ge=1, le=125)]] = field(default_factory=dict)
    hedge_mode: bool = False
    margin_type: Literal["CROSSED", "ISOLATED"] = "CROSSED"

    def __post_init__(self) -> None:
        if self.balance <= 0:
            raise ValueError(f"balance must be positive, was {self.balance}")


class ExecutionConfig(FrozenConfig, frozen=True):
    """
    How orders fill.

    Attributes
    ----------
    slippage_bps : Decimal
        Adverse slippage of market orders sent by a client, basis points of the last price.
    stop_slippage_bps : Decimal
        The same for triggered stop and take-profit market orders, on top of the trigger (or gap) price.
    depth : {"unlimited", "bar_quarter"}
        ``unlimited``: any size fills at one price. ``bar_quarter``: what stock BacktestEngine assumes, a quarter of the
        bar's volume at each of open, high, low and close, the rest of a taker order one tick worse.
    depth_share : Decimal
        With ``bar_quarter``: the share of that quarter that is really offered, e.g. 0.05 in a thin market.
    maker_fee, taker_fee : Decimal or None
        Fractions of notional; None: the instrument's own.
    trade_lite : bool
        Send TRADE_LITE before each trade's ORDER_TRADE_UPDATE, as production does.
    reduce_only_trigger : {"expired", "rejected", "finished"}
        Final status of a reduce-only algo order that triggers without a position to reduce; the documentation allows
        all three (``finished`` with an executed quantity of 0), so a client must live with each.
    max_algo_orders : int
        Open algo orders the account may have, all symbols together (-4045 beyond).
    countdown_cancels_algos : bool
        Whether countdownCancelAll cancels conditional orders too; what production does is not documented.

    """

    slippage_bps: Decimal = Decimal(0)
    stop_slippage_bps: Decimal = Decimal(0)
    depth: Literal["unlimited", "bar_quarter"] = "unlimited"
    depth_share: Decimal = Decimal(1)
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    trade_lite: bool = False
    reduce_only_trigger: Literal["expired", "rejected", "finished"] = "expired"
    max_algo_orders: Annotated[int, Meta(ge=1)] = 200
    countdown_cancels_algos: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (
            ("slippage_bps", 0, 1000),
            ("stop_slippage_bps", 0, 1000),
            ("depth_share", Decimal("0.000001"), 1),
            ("maker_fee", Decimal("-0.01"), Decimal("0.01")),
            ("taker_fee", 0, Decimal("0.01")),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must lie between {least} and {most}, was {value}")


class ReplayConfig(FrozenConfig, frozen=True):
    """
    How the bars are paced.

    Attributes
    ----------
    speed : float
        Bars per second and symbol; 0 is as fast as the barrier allows.
    start : {"immediate", "on_node"}
        Begin at once, or hold the first bar until a replay plugin has said it is ready.
    barrier_timeout_secs : float
        Longest wait for one acknowledgement; then the replay aborts loudly.
    on_node_loss : {"pause", "continue"}
        What happens when the plugin disconnects.
    mark_price_secs : float
        Wall seconds between markPrice heartbeats; 0: only after each bar.

    """

    speed: NotNegative = 0.0
    start: Literal["immediate", "on_node"] = "on_node"
    barrier_timeout_secs: Positive = 60.0
    on_node_loss: Literal["pause", "continue"] = "pause"
    mark_price_secs: NotNegative = 1.0


class LimitsConfig(FrozenConfig, frozen=True):
    """
    Request weight and order counts, per minute of wall time.

    Attributes
    ----------
    enforce : bool
        Answer 429 beyond the limits. Off in a replay, where market time is compressed and the counts mean nothing.
    weight_per_minute, orders_per_minute, orders_per_10_secs : int
        Limits as exchangeInfo announces them. Weight and orders are counted, and told in headers, in any case.
    ban_after : int
        Refused requests within a minute after which the answer becomes 418.
    ban_secs : float
        Length of the first ban, wall seconds; each further one is twice as long, up to three days.

    """

    enforce: bool = False
    weight_per_minute: Annotated[int, Meta(ge=1)] = 2400
    orders_per_minute: Annotated[int, Meta(ge=1)] = 1200
    orders_per_10_secs: Annotated[int, Meta(ge=1)] = 300
    ban_after: Annotated[int, Meta(ge=1)] = 100
    ban_secs: Positive = 120.0


class PermissionConfig(FrozenConfig, frozen=True):
    """
    Rights of an API key, as ``/sapi/v1/account/apiRestrictions`` tells them.

    Attributes
    ----------
    reading, futures, spot, withdrawals, internal_transfer, universal_transfer : bool
        What the key may do. Without `futures` every signed futures request but a GET is refused (-2015).
    ip_restrict : bool
        Whether the key works from listed addresses only.

    """

    reading: bool = True
    futures: bool = True
    spot: bool = False
    withdrawals: bool = False
    internal_transfer: bool = False
    universal_transfer: bool = False
    ip_restrict: bool = True


class KeyConfig(FrozenConfig, frozen=True):
    """
    A further API key of the account, e.g. a watchdog's.

    Attributes
    ----------
    api_key, api_secret : str
        Key and HMAC secret; an empty secret allows no HMAC signature.
    api_public_key : str
        Ed25519 or RSA public key, PEM text; empty: no such signature.

    """

    api_key: str
    api_secret: str = ""
    api_public_key: str = ""


class VenueConfig(FrozenConfig, frozen=True):
    """
    The whole tree of `config/venue.yaml`.

    Attributes
    ----------
    host : str
        Loopback address to listen on; anything else is refused.
    port : int
        0: an ephemeral port, told in the ready line.
    api_key, api_secret : str
        The HMAC key pair.
    api_public_key : str
        Ed25519 or RSA public key (PEM text) of the same key: requests may be signed with it, and with an Ed25519 key
        sessions of the WebSocket API opened.
    extra_keys : tuple[KeyConfig, ...]
        Further keys of the account.
    permissions : PermissionConfig
        Rights of every key.
    funding : bool
        Settle funding at the times and rates of the catalog.
    insurance_fund : Decimal
        What the insurance fund holds at the start, USDT; liquidation fees go into it.
    listen_key_secs : float
        Life of a listenKey without keepalive, wall seconds.
    seed : int
        Seed of everything that looks random (listen keys, aggregate identifiers).

    """

    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    api_key: str = "demo"
    api_secret: str = "demo"  # noqa: S105 - the well-known secret of a simulated account
    api_public_key: str = ""
    extra_keys: tuple[KeyConfig, ...] = ()
    permissions: PermissionConfig = PermissionConfig()
    data: DataConfig = DataConfig()
    account: AccountConfig = AccountConfig()
    execution: ExecutionConfig = ExecutionConfig()
    replay: ReplayConfig = ReplayConfig()
    limits: LimitsConfig = LimitsConfig()
    funding: bool = True
    insurance_fund: Decimal = Decimal(1_000_000)
    listen_key_secs: Positive = 3600.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.insurance_fund >= 0:
            raise ValueError(f"insurance_fund must not be negative, was {self.insurance_fund}")


def parse_time_ns(text: str, field: str) -> int | None:
    """
    Return an ISO-8601 time as UTC nanoseconds; None for an empty text; a time without zone is UTC.

    Raises
    ------
    ConfigError
        Fatal: not an ISO-8601 date or time.

    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{field}: {text!r} is not an ISO-8601 time such as 2025-09-01T00:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000) * NANOS_PER_MILLI
