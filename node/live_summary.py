"""
What a live run amounts to: the journal's account of it, the venue's books beside it, and every invariant checked.

Three witnesses are compared: the node's own view at the end, the journal, and the venue. A run passes only if they
agree.
"""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, TextIO

import msgspec
from rich.console import Console

from catalog.instruments import instrument_id
from catalog.sample import SampleInfo
from node.binance.barrier import ReplayResult
from node.journal import Journal
from node.report import counts_table, outcomes_table, record_to_plain, trades_table
from node.venue.audit import protection_gaps
from strategies.base import SignalStrategy
from strategies.order_ids import Leg, decode
from strategies.records import FillRecord

NAKED_LIMIT_SECS = 5.0
_MONEY_TOLERANCE = Decimal("0.000001")
_UNKNOWN_ORDER = -2011


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """What the node itself believed at the end: signed net quantity and open order ids by symbol."""

    positions: dict[str, str]
    open_orders: dict[str, list[str]]
    worst_naked_secs: float

    @classmethod
    def of(cls, node: Any, symbols: Sequence[str], strategies: Sequence[SignalStrategy]) -> "NodeView":
        """Read the node's cache."""
        positions, orders = {}, {}
        for symbol in symbols:
            key = instrument_id(symbol)
            net = sum((p.signed_decimal_qty() for p in node.cache.positions_open(instrument_id=key)), Decimal(0))
            positions[symbol] = str(net)
            orders[symbol] = sorted(o.client_order_id.value for o in node.cache.orders_open(instrument_id=key))
        worst = max((s.protection.worst_naked_ns for s in strategies), default=0)
        return cls(positions=positions, open_orders=orders, worst_naked_secs=worst / 1e9)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One invariant: whether it held, and what was found."""

    name: str
    passed: bool
    detail: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a live run. ``passed`` is what the exit code says."""

    passed: bool
    failure: str | None
    stopped_by: str | None
    set_aside: str | None
    data_source: str
    synthetic: bool
    seconds: float
    market_end: int | None
    barriers: int
    start_balance: float
    wallet: float
    unrealized: float
    realized: float
    fees: float
    funding_paid: float
    net_pnl: float
    verdicts: dict[str, int]
    incidents_by_code: dict[str, int]
    worst_naked_secs: float
    worst_naked_secs_node: float = 0.0
    positions: dict[str, str]
    checks: list[Check]
    signals: list[dict[str, Any]]
    verdict_records: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    trades: list[dict[str, Any]]
    counts: dict[str, int]
    outcomes: list[dict[str, Any]] = []
    title: str = "the simulated venue"


def summarize(
    *,
    journal: Journal,
    books: dict[str, Any],
    view: NodeView,
    symbols: Sequence[str],
    replay: ReplayResult | None,
    failure: str | None,
    stopped_by: str | None,
    set_aside: str | None,
    start_balance: float,
    seconds: float,
    sample: SampleInfo | None,
    title: str = "the simulated venue",
) -> Summary:
    """Return the summary of a run against the simulated venue."""
    fills = sorted(journal.fills(), key=_venue_order)
    trades = journal.trades()
    verdicts = journal.verdicts()
    gaps = protection_gaps(books)
    worst = max((g.duration_ms for g in gaps), default=0) / 1000
    checks = _checks(journal, books, view, symbols, fills, worst, failure)
    wallet = Decimal(books["wallet"])
    return Summary(
        passed=all(c.passed for c in checks),
        failure=failure,
        stopped_by=stopped_by,
        set_aside=set_aside,
        data_source="catalog" if sample is None else sample.description,
        synthetic=sample is not None and sample.synthetic,
        seconds=seconds,
        market_end=books["market_time_ms"],
        barriers=0 if replay is None else replay.barriers,
        start_balance=start_balance,
        wallet=float(wallet),
        unrealized=float(books["unrealised"]),
        realized=float(books["realised"]),
        fees=float(books["fees"]),
        funding_paid=float(books["funding_total"]),
        net_pnl=float(wallet) - start_balance,
        verdicts=dict(sorted(Counter(f"{v.gate}:{v.reason}" for v in verdicts).items())),
        incidents_by_code=dict(sorted(Counter(i.code for i in journal.incidents()).items())),
        worst_naked_secs=worst,
        worst_naked_secs_node=view.worst_naked_secs,
        positions=view.positions,
        checks=checks,
        signals=[record_to_plain(r) for r in journal.signals()],
        verdict_records=[record_to_plain(r) for r in verdicts],
        fills=[record_to_plain(r) for r in fills],
        trades=[record_to_plain(r) for r in trades],
        counts=journal.counts(),
        outcomes=[record_to_plain(r) for r in journal.outcomes()],
        title=title,
    )


def _venue_order(fill: FillRecord) -> tuple[int, str]:
    """The venue numbers its trades in the order they happened."""
    number = fill.id.rpartition("/")[2]
    return (int(number) if number.isdigit() else 0, fill.id)


def _checks(
    journal: Journal,
    books: dict[str, Any],
    view: NodeView,
    symbols: Sequence[str],
    fills: Sequence[FillRecord],
    worst_naked_secs: float,
    failure: str | None,
) -> list[Check]:
    return [
        _check("ran to the end", [] if failure is None else [failure]),
        _check(
            f"never naked for more than {NAKED_LIMIT_SECS:g} s",
            [] if worst_naked_secs <= NAKED_LIMIT_SECS else [f"{worst_naked_secs:.3f} s"],
            f"worst {worst_naked_secs * 1000:.0f} ms from fill to resting stop",
        ),
        _check("every open position has its stop at the venue", _unprotected(books)),
        _check("node position = venue position", _position_differences(books, view, symbols)),
        _check("no order of ours rests without a position", _orphans(books)),
        _check("no order sent twice", _duplicates(books)),
        _check("journal has every fill of the venue", _missing_fills(books, fills)),
        _check("journal has the decision behind every entry", _undecided(journal, fills)),
        _check("journal money = venue wallet", _money_differences(journal, books, fills)),
        _check("nothing rejected", _rejects(books)),
        _check("no critical incident", [f"{i.code}: {i.message}" for i in _critical(journal)]),
    ]


def _rejects(books: dict[str, Any]) -> list[str]:
    """A cancel that finds its order already ended (-2011) lost a harmless race with the venue; all else counts."""
    return [
        f"{r.get('code')} {r.get('message', r)} ({r.get('endpoint')})"
        for r in books["rejects"]
        if not (r.get("code") == _UNKNOWN_ORDER and str(r.get("endpoint", "")).startswith("DELETE "))
    ]


def _critical(journal: Journal) -> list[Any]:
    """Kill switches are meant to trip: they are reported, not counted as failures."""
    latches = {"kill", "fast_kill", "slow_kill", "daily_loss"}
    return [i for i in journal.incidents() if i.severity == "critical" and i.code not in latches]


def _check(name: str, problems: Sequence[str], detail: str = "") -> Check:
    shown = "; ".join(problems[:3]) + (f" (and {len(problems) - 3} more)" if len(problems) > 3 else "")
    return Check(name=name, passed=not problems, detail=shown or detail)


def _unprotected(books: dict[str, Any]) -> list[str]:
    return [f"{g.symbol}: {g.naked} without a stop" for g in protection_gaps(books) if g.open]


def _position_differences(books: dict[str, Any], view: NodeView, symbols: Sequence[str]) -> list[str]:
    found = []
    for symbol in symbols:
        venue = Decimal(books["positions"].get(symbol, {"quantity": "0"})["quantity"])
        node = Decimal(view.positions.get(symbol, "0"))
        if venue != node:
            found.append(f"{symbol}: venue {venue}, node {node}")
    return found


def _orphans(books: dict[str, Any]) -> list[str]:
    flat = {s for s, p in books["positions"].items() if Decimal(p["quantity"]) == 0}
    resting = [(o["symbol"], o["client_algo_id"]) for o in books["open_algo_orders"]]
    resting += [(o["symbol"], o["client_order_id"]) for o in books["open_orders"]]
    known = set(books["positions"])
    return [f"{s}: {i}" for s, i in resting if (s in flat or s not in known) and decode(i) is not None]


def _duplicates(books: dict[str, Any]) -> list[str]:
    """An id used twice, or two entries of one signal bar, means an order was sent twice."""
    plain = [(o["symbol"], o["client_order_id"]) for o in books["orders"] if not o["algo_id"]]
    algos = [(o["symbol"], o["client_algo_id"]) for o in books["algo_orders"]]
    found = [f"{s}: {i} used {n} times" for (s, i), n in Counter(plain + algos).items() if n > 1]
    entries: Counter[tuple[str, int]] = Counter()
    for symbol, text in plain:
        tag = decode(text)
        if tag is not None and tag.leg is Leg.ENTRY:
            entries[symbol, tag.cycle] += 1
    return found + [f"{s}: {n} entries for one signal" for (s, _), n in entries.items() if n > 1]


def _missing_fills(books: dict[str, Any], fills: Sequence[FillRecord]) -> list[str]:
    ours = {f.id: (Decimal(f.quantity), Decimal(f.price)) for f in fills}
    theirs = {f"{f['symbol']}/{f['trade_id']}": (Decimal(f["quantity"]), Decimal(f["price"])) for f in books["fills"]}
    found = [f"{i}: not in the journal" for i in theirs if i not in ours]
    found += [f"{i}: not at the venue" for i in ours if i not in theirs]
    return found + [f"{i}: journal {ours[i]}, venue {theirs[i]}" for i in ours if i in theirs and ours[i] != theirs[i]]


def _undecided(journal: Journal, fills: Sequence[FillRecord]) -> list[str]:
    """Every entry must have its signal, a passed verdict of the last gate, and its approval."""
    signals = {s.id for s in journal.signals()}
    approved = {a.id for a in journal.approvals()}
    passed = {v.signal_id for v in journal.verdicts() if v.gate == "risk" and v.passed}
    found = []
    for fill in fills:
        tag = decode(fill.client_order_id)
        if tag is None or tag.leg is not Leg.ENTRY:
            continue
        side = "LONG" if fill.side == "BUY" else "SHORT"
        wanted = f":{fill.symbol}-PERP:{tag.cycle // 1_000_000}:{side}"
        decided = [i for i in approved & passed & signals if i.endswith(wanted)]
        if not decided:
            found.append(f"{fill.client_order_id}: nothing in the journal ends with {wanted}")
    return found


def _money_differences(journal: Journal, books: dict[str, Any], fills: Sequence[FillRecord]) -> list[str]:
    """Cash flow of all fills, fees and funding, with open positions at their cost, must explain the wallet."""
    cash = Decimal(0)
    for f in fills:
        sign = -1 if f.side == "BUY" else 1
        cash += sign * Decimal(f.quantity) * Decimal(f.price) - Decimal(f.fee)
    cost = sum((Decimal(p["quantity"]) * Decimal(p["entry_price"]) for p in books["positions"].values()), Decimal(0))
    funding = sum((Decimal(repr(f.amount)) for f in journal.funding()), Decimal(0))
    explained = Decimal(books["start_balance"]) + cash + cost + funding
    difference = explained - Decimal(books["wallet"])
    tolerance = _MONEY_TOLERANCE * (1 + len(fills))
    if abs(difference) <= tolerance:
        return []
    return [f"journal explains {explained:.8f} USDT, the venue's wallet holds {books['wallet']}"]


def print_summary(summary: Summary, out: TextIO) -> None:
    """Print the summary for a person."""
    console = Console(file=out, highlight=False, width=None if out.isatty() else 120)
    state = "[bold green]passed[/]" if summary.passed else "[bold red]FAILED[/]"
    ended = f" (stopped by {summary.stopped_by})" if summary.stopped_by else ""
    label = " [bold red]SYNTHETIC DATA[/]" if summary.synthetic else ""
    console.print(f"[bold]Live run on {summary.title}[/]: {state}{ended}, {summary.seconds:.1f} s{label}")
    console.print(f"  data: {summary.data_source}")
    if summary.set_aside:
        console.print(f"  the journal of another venue session was set aside: {summary.set_aside}")
    trades = [_Row(t) for t in summary.trades]
    console.print(trades_table(trades[-12:], total=len(trades)))
    console.print(counts_table(f"Verdicts on {len(summary.signals)} signals", summary.verdicts))
    if summary.outcomes:
        console.print(outcomes_table([SimpleNamespace(**o) for o in summary.outcomes]))
    if summary.incidents_by_code:
        console.print(counts_table("Incidents", summary.incidents_by_code))
    console.print(
        f"  wallet {summary.wallet:,.2f} USDT ({summary.net_pnl:+,.2f}): realised {summary.realized:+,.2f}, "
        f"fees {summary.fees:,.2f}, funding {summary.funding_paid:+,.2f}; unrealised {summary.unrealized:+,.2f}"
    )
    console.print(
        f"  longest time without a full stop: {summary.worst_naked_secs * 1000:.0f} ms by the venue's books, "
        f"{summary.worst_naked_secs_node * 1000:.0f} ms as the node saw it"
    )
    open_positions = {s: q for s, q in summary.positions.items() if Decimal(q) != 0}
    if open_positions:
        console.print(f"  still open, with their stops at the venue: {open_positions}")
    for check in summary.checks:
        mark = "[green]ok  [/]" if check.passed else "[bold red]FAIL[/]"
        console.print(f"  {mark} {check.name}{': ' + check.detail if check.detail else ''}")


class _Row:
    """A trade read back from plain data, as the table wants it."""

    def __init__(self, plain: dict[str, Any]) -> None:
        from node.config import parse_time  # noqa: PLC0415 - one use

        self.__dict__.update(plain)
        for key in ("entry_time", "exit_time"):
            text = plain[key]
            setattr(self, key, None if text is None else parse_time(text, key))
