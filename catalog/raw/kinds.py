"""
The data types of the exchange's archive as tables: columns, the names people give them, and the rules of a row.

Everything else in :mod:`catalog.raw` is driven by these tables; a further type is a further entry of `KINDS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

KLINE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
FUNDING_COLUMNS = ("calc_time", "funding_interval_hours", "last_funding_rate")

type Form = Literal["time", "integer", "price", "amount", "wide", "flag", "text"]
"""``price`` 18 digits, ``amount`` 28, ``wide`` 38; 8, 8 and 16 of them after the point. Decimals, never floats."""


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column.

    Attributes
    ----------
    name : str
        In the store; the first column of every kind is its time, UTC ns.
    form : Form
        How it is stored.
    aliases : tuple[str, ...]
        Further header names (lower case, separators removed).
    needed : bool
        False: the file may lack it, and cells may be empty; both are stored as null.

    """

    name: str
    form: Form
    aliases: tuple[str, ...] = ()
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One data type.

    Attributes
    ----------
    name : str
        Also the folder in the store.
    columns : tuple[Column, ...]
        The time first.
    key : tuple[str, ...]
        Columns that make a row unique within a series; empty: rows may repeat.
    rising : str or None
        An identifier that grows from row to row; such rows are ordered by it, all others by time.
    bare : mapping of int to tuple of str
        Number of columns to column order for files without header.
    rules : tuple of (column, comparison, column or number)
        What must hold in every row.
    interval : bool
        Rows belong to an interval (``1m``) and start on its grid.
    monthly : bool
        A file holds a month of them, not a day: there are few enough.
    at_least_one : tuple of str
        Columns of which a file must have one.
    archive : str
        Folder in the exchange's archive; empty: not there.
    cadence : tuple of str
        ``daily``, ``monthly``: how the archive cuts it.

    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    bare: Mapping[int, tuple[str, ...]]
    rules: tuple[tuple[str, str, str | int], ...] = ()
    rising: str | None = None
    interval: bool = False
    monthly: bool = False
    archive: str = ""
    cadence: tuple[str, ...] = ("daily",)
    at_least_one: tuple[str, ...] = ()


_OPEN_TIME = Column("open_time", "time", ("timestamp", "date", "datetime", "time", "starttime"))
_OHLC = tuple(Column(name, "price", (name[0], f"{name}price")) for name in ("open", "high", "low", "close"))
_BODY = (("high", ">=", "open"), ("high", ">=", "close"), ("low", "<=", "open"), ("low", "<=", "close"))
_POSITIVE = tuple((name, ">", 0) for name in ("open", "high", "low", "close"))
_TIME = Column("time", "time", ("timestamp", "createtime", "date", "datetime"))


def _price_klines(name: str, archive: str, rules: tuple[tuple[str, str, str | int], ...]) -> Kind:
    return Kind(
        name=name,
        columns=(_OPEN_TIME, *_OHLC),
        key=("open_time",),
        bare={12: KLINE_COLUMNS, 5: KLINE_COLUMNS[:5]},
        rules=rules,
        interval=True,
        monthly=True,
        archive=archive,
        cadence=("daily", "monthly"),
    )


_OPEN_INTEREST = (
    Column("sum_open_interest", "wide", ("openinterest",), needed=False),
    Column("sum_open_interest_value", "wide", ("openinterestvalue",), needed=False),
)
_RATIOS = (
    Column("count_toptrader_long_short_ratio", "wide", ("topacctlsratio",), needed=False),
    Column("sum_toptrader_long_short_ratio", "wide", ("toppositionlsratio",), needed=False),
    Column("count_long_short_ratio", "wide", ("globallsratio",), needed=False),
    Column("sum_taker_long_short_vol_ratio", "wide", ("takerlsratio",), needed=False),
)
BOOK_LEVELS = 10
"""Levels a side that are kept of a book snapshot."""


def _book_level(level: int) -> tuple[Column, ...]:
    columns = []
    for side in ("ask", "bid"):
        aliases = (f"{side}s{level}price",), (f"{side}s{level}amount", f"{side}size{level}")
        columns.append(Column(f"{side}_price_{level}", "price", aliases[0], needed=level == 0))
        columns.append(Column(f"{side}_quantity_{level}", "amount", aliases[1], needed=level == 0))
    return tuple(columns)


def _book_rules(level: int) -> tuple[tuple[str, str, str | int], ...]:
    own: tuple[tuple[str, str, str | int], ...] = tuple(
        rule
        for side in ("ask", "bid")
        for rule in ((f"{side}_price_{level}", ">", 0), (f"{side}_quantity_{level}", ">=", 0))
    )
    if level == 0:
        return (*own, ("ask_price_0", ">", "bid_price_0"))
    return (
        *own,
        (f"ask_price_{level}", ">", f"ask_price_{level - 1}"),
        (f"bid_price_{level - 1}", ">", f"bid_price_{level}"),
    )


_TRADE_TAIL = (Column("is_buyer_maker", "flag", ("buyermaker", "m")),)

_ALL = (
    Kind(
        name="klines",
        columns=(
            _OPEN_TIME,
            *_OHLC,
            Column("volume", "amount", ("v", "vol", "basevolume")),
            Column("quote_volume", "amount", ("quoteassetvolume", "quotevol"), needed=False),
            Column("count", "integer", ("trades", "numberoftrades", "tradecount"), needed=False),
            Column("taker_buy_volume", "amount", ("takerbuybaseassetvolume", "takerbuybasevolume"), needed=False),
            Column("taker_buy_quote_volume", "amount", ("takerbuyquoteassetvolume",), needed=False),
        ),
        key=("open_time",),
        bare={12: KLINE_COLUMNS, 6: KLINE_COLUMNS[:6]},
        rules=(
            *_POSITIVE,
            *_BODY,
            ("volume", ">=", 0),
            ("taker_buy_volume", ">=", 0),
            ("taker_buy_volume", "<=", "volume"),
            ("quote_volume", ">=", 0),
            ("taker_buy_quote_volume", ">=", 0),
            ("taker_buy_quote_volume", "<=", "quote_volume"),
            ("count", ">=", 0),
        ),
        interval=True,
        monthly=True,
        archive="klines",
        cadence=("daily", "monthly"),
    ),
    _price_klines("mark_klines", "markPriceKlines", (*_POSITIVE, *_BODY)),
    _price_klines("index_klines", "indexPriceKlines", (*_POSITIVE, *_BODY)),
    _price_klines("premium_klines", "premiumIndexKlines", _BODY),
    Kind(
        name="agg_trades",
        columns=(
            Column("transact_time", "time", ("time", "timestamp", "t")),
            Column("agg_trade_id", "integer", ("aggregatetradeid", "id", "a")),
            Column("price", "price", ("p",)),
            Column("quantity", "amount", ("qty", "q")),
            Column("first_trade_id", "integer", ("firsttradeid", "f")),
            Column("last_trade_id", "integer", ("lasttradeid", "l")),
            *_TRADE_TAIL,
        ),
        key=("agg_trade_id",),
        rising="agg_trade_id",
        bare={
            count: (
                *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time"),
                *("is_buyer_maker", "is_best_match")[: count - 6],
            )
            for count in (7, 8)
        },
        rules=(("price", ">", 0), ("quantity", ">", 0), ("last_trade_id", ">=", "first_trade_id")),
        archive="aggTrades",
        cadence=("daily", "monthly"),
    ),
    Kind(
        name="trades",
        columns=(
            Column("time", "time", ("timestamp", "transacttime")),
            Column("id", "integer", ("tradeid",)),
            Column("price", "price", ("p",)),
            Column("quantity", "amount", ("qty", "q")),
            Column("quote_quantity", "amount", ("quoteqty",), needed=False),
            *_TRADE_TAIL,
        ),
        key=("id",),
        rising="id",
        bare={
            count: (
                *("id", "price", "quantity", "quote_quantity", "time"),
                *("is_buyer_maker", "is_best_match")[: count - 5],
            )
            for count in (6, 7)
        },
        rules=(("price", ">", 0), ("quantity", ">", 0), ("quote_quantity", ">=", 0)),
        archive="trades",
        cadence=("daily", "monthly"),
    ),
    Kind(
        name="book_ticker",
        columns=(
            Column("transaction_time", "time", ("transacttime", "time", "timestamp")),
            Column("update_id", "integer", ("u",)),
            Column("best_bid_price", "price", ("bidprice",)),
            Column("best_bid_quantity", "amount", ("bestbidqty", "bidqty")),
            Column("best_ask_price", "price", ("askprice",)),
            Column("best_ask_quantity", "amount", ("bestaskqty", "askqty")),
            Column("event_time", "integer", needed=False),
        ),
        key=("update_id",),
        rising="update_id",
        bare={
            7: (
                *("update_id", "best_bid_price", "best_bid_quantity", "best_ask_price", "best_ask_quantity"),
                *("transaction_time", "event_time"),
            )
        },
        rules=(
            ("best_bid_price", ">", 0),
            ("best_ask_price", ">=", "best_bid_price"),
            ("best_bid_quantity", ">=", 0),
            ("best_ask_quantity", ">=", 0),
        ),
        archive="bookTicker",
        cadence=("daily", "monthly"),
    ),
    Kind(
        name="book_snapshots",
        columns=(
            Column("time", "time", ("timestamp",)),
            *(column for level in range(BOOK_LEVELS) for column in _book_level(level)),
        ),
        key=(),
        bare={},
        rules=tuple(rule for level in range(BOOK_LEVELS) for rule in _book_rules(level)),
    ),
    Kind(
        name="book_depth",
        columns=(
            _TIME,
            Column("percentage", "price"),
            Column("depth", "amount"),
            Column("notional", "amount"),
        ),
        key=("time", "percentage"),
        bare={4: ("time", "percentage", "depth", "notional")},
        rules=(("depth", ">=", 0), ("notional", ">=", 0), ("percentage", ">=", -100), ("percentage", "<=", 100)),
        archive="bookDepth",
    ),
    Kind(
        name="metrics",
        monthly=True,
        columns=(_TIME, *_OPEN_INTEREST, *_RATIOS),
        key=("time",),
        bare={8: ("time", "symbol", *(column.name for column in (*_OPEN_INTEREST, *_RATIOS)))},
        rules=tuple((column.name, ">=", 0) for column in (*_OPEN_INTEREST, *_RATIOS)),
        archive="metrics",
        at_least_one=("sum_open_interest",),
    ),
    Kind(
        name="open_interest",
        monthly=True,
        columns=(_TIME, *_OPEN_INTEREST),
        key=("time",),
        bare={},
        rules=tuple((column.name, ">=", 0) for column in _OPEN_INTEREST),
        at_least_one=("sum_open_interest",),
    ),
    Kind(
        name="ratios",
        monthly=True,
        columns=(_TIME, *_RATIOS),
        key=("time",),
        bare={},
        rules=tuple((column.name, ">=", 0) for column in _RATIOS),
        at_least_one=tuple(column.name for column in _RATIOS),
    ),
    Kind(
        name="funding",
        monthly=True,
        columns=(
            Column("calc_time", "time", ("fundingtime", "timestamp", "date", "datetime", "time")),
            Column("funding_interval_hours", "integer", needed=False),
            Column("last_funding_rate", "price", ("fundingrate", "rate")),
        ),
        key=("calc_time",),
        bare={3: FUNDING_COLUMNS, 2: ("calc_time", "last_funding_rate")},
        rules=(
            ("last_funding_rate", "<=", 1),
            ("last_funding_rate", ">=", -1),
            ("funding_interval_hours", ">=", 1),
            ("funding_interval_hours", "<=", 24),
        ),
        archive="fundingRate",
        cadence=("monthly",),
    ),
    Kind(
        name="liquidations",
        columns=(
            _TIME,
            Column("side", "text"),
            Column("order_type", "text", needed=False),
            Column("time_in_force", "text", needed=False),
            Column("original_quantity", "amount", ("origqty",)),
            Column("price", "price"),
            Column("average_price", "price", ("avgprice",), needed=False),
            Column("order_status", "text", ("status",), needed=False),
            Column("last_fill_quantity", "amount", ("lastfillqty",), needed=False),
            Column("accumulated_fill_quantity", "amount", ("accumulatedfillqty",), needed=False),
        ),
        key=(),
        bare={
            10: (
                *("time", "side", "order_type", "time_in_force", "original_quantity", "price", "average_price"),
                *("order_status", "last_fill_quantity", "accumulated_fill_quantity"),
            )
        },
        rules=(("price", ">", 0), ("original_quantity", ">", 0), ("average_price", ">=", 0)),
        archive="liquidationSnapshot",
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
