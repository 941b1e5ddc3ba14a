"""
What the venue's books say: positions, stops, legs, and every breach of an invariant.

All judgement is passed here, on the venue's own record; the node's word is only compared with it. :func:`differences`
judges a node that has ended by the summary it wrote, :func:`breaches` one that still runs by its journal and heartbeat.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from node.control.run_directory import RunDirectory
from node.journal import open_journal
from node.venue.audit import protection_gaps
from strategies.order_ids import Leg, decode

if TYPE_CHECKING:
    from tests.faults.harness import Run

type Books = dict[str, Any]

NAKED_LIMIT_SECS = 5.0
REJECTED = "nothing rejected"
BLIND_CLOSE = "one reduce-only order refused per position that ended unheard"
"""A position that ends while the user stream is deaf cannot be known of; the refusal tells, so one there may be."""
OVERTAKEN = "a stop or target refused because the market has passed it"
CRITICAL = "no critical incident"
MONEY = "journal money = venue wallet"
"""A liquidation's fee goes to the insurance fund and is no fill: the journal lacks it, :func:`_journal` does not."""
_MONEY = Decimal("0.00000001")
_NOTHING_TO_REDUCE = -2022
_THROUGH_MARKET = -2021
_LATCHES = {"kill", "fast_kill", "slow_kill", "daily_loss"}


def net(books: Books) -> dict[str, Decimal]:
    """Signed position by symbol, flat ones left out."""
    found = {s: Decimal(p["quantity"]) for s, p in books["positions"].items()}
    return {s: q for s, q in found.items() if q}


def live_stops(books: Books, symbol: str) -> list[dict[str, Any]]:
    """Armed stop orders of a symbol, whoever placed them."""
    return [a for a in books["open_algo_orders"] if a["symbol"] == symbol and a["type"] == "STOP_MARKET"]


def leg_orders(books: Books, leg: Leg) -> list[dict[str, Any]]:
    """Plain orders of ours with that leg, filled or not."""
    tags = ((o, decode(o["client_order_id"])) for o in books["orders"] if not o["algo_id"])
    return [o for o, tag in tags if tag is not None and tag.leg is leg]


def closing_stops(books: Books, symbol: str) -> list[dict[str, Any]]:
    """
    The stops that would close the position of a symbol, in the order the market reaches them, as many as are needed.

    A person's stop of a position long gone may rest beside ours.
    """
    size = net(books).get(symbol, Decimal(0))
    side = "SELL" if size > 0 else "BUY"
    stops = [a for a in live_stops(books, symbol) if a["side"] == side]
    stops.sort(key=lambda a: Decimal(a["trigger_price"]), reverse=size > 0)
    found: list[dict[str, Any]] = []
    left = abs(size)
    for stop in stops:
        if left <= 0:
            break
        found.append(stop)
        left -= left if stop["close_position"] else Decimal(stop["quantity"])
    return found


def covered(books: Books, symbol: str) -> bool:
    """Whether stops that would close it rest for the whole position."""
    size = net(books).get(symbol, Decimal(0))
    stops = closing_stops(books, symbol)
    return any(a["close_position"] for a in stops) or sum(Decimal(a["quantity"]) for a in stops) >= abs(size)


def fitting(books: Books, symbol: str) -> bool:
    """Whether the protective orders of ours in a symbol are all for the position's size: none is being replaced."""
    size = abs(net(books).get(symbol, Decimal(0)))
    ours = [a for a in books["open_algo_orders"] if a["symbol"] == symbol and decode(a["client_algo_id"]) is not None]
    return all(Decimal(a["quantity"]) == size for a in ours)


def differences(run: "Run", books: Books, summary: dict[str, Any], tolerated: frozenset[str]) -> list[str]:
    """
    Return every breach of an invariant, judged on the venue's books.

    `tolerated` names the node's own checks that a scenario breaks by design, e.g. ``nothing rejected``.
    """
    found = [*_naked(run, books), *doubles(books), *orphans(books), *_journal(books, summary["fills"])]
    theirs = {s: str(q) for s, q in net(books).items()}
    ours = {s: q for s, q in summary["positions"].items() if Decimal(q)}
    if {s: Decimal(q) for s, q in ours.items()} != net(books):
        found.append(f"2: node holds {ours}, venue {theirs}")
    if REJECTED not in tolerated:  # a look-up that finds nothing, or a cancel that comes too late, is no defect here
        found += refusals(books, tolerated=tolerated)
    found += [
        f"node's own check: {c['name']}: {c['detail']}"
        for c in summary["checks"]
        if not c["passed"] and c["name"] not in {*tolerated, REJECTED} and not c["name"].startswith("never naked")
    ]
    return found


def breaches(run: "Run", books: Books, since_ms: float, tolerated: frozenset[str]) -> list[str]:
    """Return every breach of an invariant since then, of a node that still runs."""
    journal = open_journal(f"sqlite:///{run.directory / 'journal.sqlite'}", read_only=True)
    try:
        fills = [
            {"id": f.id, "fee": f.fee, "side": f.side, "quantity": f.quantity, "price": f.price}
            for f in journal.fills()
        ]
        incidents = [i for i in journal.incidents() if i.wall_time >= since_ms * 1e6]
    finally:
        journal.close()
    found = [*_naked(run, books, since_ms), *doubles(books), *orphans(books), *_journal(books, fills)]
    ours = believed(run)
    if ours != net(books):
        found.append(f"2: node holds {ours}, venue {net(books)}")
    found += refusals(books, since_ms, tolerated=tolerated) if REJECTED not in tolerated else []
    if CRITICAL not in tolerated:
        critical = [i for i in incidents if i.severity == "critical" and i.code not in _LATCHES]
        found += [f"critical incident {i.code}: {i.message}" for i in critical]
    return found


def believed(run: "Run") -> dict[str, Decimal]:
    """Signed position by symbol as the running node last said."""
    beat = RunDirectory(run.directory / "journal.run").beat()
    return {} if beat is None else {s: Decimal(q) for s, q in beat.positions.items() if Decimal(q)}


def told(run: "Run", since_ms: float) -> Counter[str]:
    """Return the codes of the journal's incidents since then."""
    journal = open_journal(f"sqlite:///{run.directory / 'journal.sqlite'}", read_only=True)
    try:
        return Counter(i.code for i in journal.incidents() if i.wall_time >= since_ms * 1e6)
    finally:
        journal.close()


def refusals(books: Books, since_ms: float = 0.0, *, tolerated: frozenset[str] = frozenset()) -> list[str]:
    """
    Orders the venue refused since then: the node should not have sent them.

    :data:`BLIND_CLOSE` forgives the first reduce-only order of each position that was refused with -2022,
    :data:`OVERTAKEN` a conditional order refused with -2021.
    """
    sent = ("POST /fapi/v1/order", "POST /fapi/v1/algoOrder")
    rows = [r for r in books["rejects"] if r["endpoint"] in sent and r["wall_ms"] >= since_ms]
    if OVERTAKEN in tolerated:
        rows = [r for r in rows if r["code"] != _THROUGH_MARKET]
    if BLIND_CLOSE in tolerated:
        told: set[tuple[str, int]] = set()
        for row in list(rows):
            tag = decode(row["client_id"])
            if row["code"] == _NOTHING_TO_REDUCE and tag is not None and (tag.code, tag.cycle) not in told:
                told.add((tag.code, tag.cycle))
                rows.remove(row)
    return [f"refused: {r['endpoint']} {r['client_id']}: {r['code']} {r['message']}" for r in rows]


def naked_seconds(run: "Run", books: Books, since_ms: float = 0.0) -> float:
    """Return the longest stretch without a full stop that ended since then, not counting the time no node ran."""
    worst = 0.0
    for gap in protection_gaps(books):
        if gap.end_ms < since_ms:
            continue
        begin, end = gap.start_ms / 1000, gap.end_ms / 1000
        down = sum(max(0.0, min(end, b) - max(begin, a)) for a, b in run.down)
        worst = max(worst, end - begin - down)
    return worst


def _naked(run: "Run", books: Books, since_ms: float = 0.0) -> list[str]:
    found = [f"1: {g.symbol} {g.naked} has no stop" for g in protection_gaps(books) if g.open]
    worst = naked_seconds(run, books, since_ms)
    return found + ([f"1: naked for {worst:.1f} s"] if worst > NAKED_LIMIT_SECS else [])


def doubles(books: Books) -> list[str]:
    ids = Counter(o["client_order_id"] for o in books["orders"] if not o["algo_id"])
    ids += Counter(a["client_algo_id"] for a in books["algo_orders"])
    found = [f"3: {i} reached the books {n} times" for i, n in ids.items() if n > 1]
    entries = Counter(
        (o["symbol"], tag.cycle)
        for o in leg_orders(books, Leg.ENTRY)
        if (tag := decode(o["client_order_id"])) is not None and Decimal(o["executed"])
    )
    return found + [f"3: {n} entries executed for one signal of {key}" for key, n in entries.items() if n > 1]


def orphans(books: Books) -> list[str]:
    """Orders of ours that rest in a symbol without a position."""
    held = net(books)
    resting = [(o["symbol"], o["client_order_id"]) for o in books["open_orders"]]
    resting += [(a["symbol"], a["client_algo_id"]) for a in books["open_algo_orders"]]
    return [f"2: {i} rests without a position" for s, i in resting if s not in held and decode(i) is not None]


def _journal(books: Books, fills: Iterable[dict[str, Any]]) -> list[str]:
    ours = {f["id"]: f for f in fills}
    theirs = {f"{f['symbol']}/{f['trade_id']}": f for f in books["fills"]}
    found = [f"8: fill {i} is not in the journal" for i in theirs.keys() - ours.keys()]
    found += [f"8: fill {i} of the journal never happened" for i in ours.keys() - theirs.keys()]
    for key in ours.keys() & theirs.keys():
        if Decimal(ours[key]["fee"]) != Decimal(theirs[key]["commission"]):
            found.append(
                f"8: fee of {key}: {ours[key]['fee']} in the journal, {theirs[key]['commission']} at the venue"
            )
    cash = sum(
        (-1 if f["side"] == "BUY" else 1) * Decimal(f["quantity"]) * Decimal(f["price"]) - Decimal(f["fee"])
        for f in ours.values()
    )
    cost = sum(Decimal(p["quantity"]) * Decimal(p["entry_price"]) for p in books["positions"].values())
    other = Decimal(books["funding_total"]) + Decimal(books["insurance"])
    off = Decimal(books["start_balance"]) + cash + cost + other - Decimal(books["wallet"])
    # Averaged entry prices have no last digit: half of the wallet's last digit per fill is the best there can be.
    if abs(off) > _MONEY * (1 + len(ours)):
        found.append(f"8: the journal's fills explain the wallet only to {off}")
    return found


def held_entries(run: "Run") -> bool:
    """Whether the node holds entries for a reason of its own, by the journal's last word on it."""
    journal = open_journal(f"sqlite:///{run.directory / 'journal.sqlite'}", read_only=True)
    try:
        codes = [i.code for i in journal.incidents() if i.code in ("ENTRIES_HELD", "ENTRIES_RELEASED")]
    finally:
        journal.close()
    return codes.count("ENTRIES_HELD") > codes.count("ENTRIES_RELEASED")
