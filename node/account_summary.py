"""
What a run on a real account amounts to: journal, node and exchange compared as far as the exchange tells.

The exchange keeps no timeline of protection as the simulated venue does, so the time without a stop is the node's own
measurement; everything else is read from the account after the node has ended.
"""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from node.binance.barrier import ReplayResult
from node.binance.rest import BinanceRest, VenueRequestError
from node.journal import Journal
from node.live_summary import NAKED_LIMIT_SECS, Check, NodeView, Summary
from node.report import record_to_plain
from strategies.order_ids import decode

_STOPS = ("STOP_MARKET", "STOP", "TRAILING_STOP_MARKET")
_LATCHES = {"kill", "fast_kill", "slow_kill", "daily_loss"}


class Ending(NamedTuple):
    """How a run ended."""

    failure: str | None
    stopped_by: str | None
    set_aside: str | None
    seconds: float
    replay: ReplayResult | None = None


class _Account(NamedTuple):
    wallet: Decimal
    unrealized: Decimal
    positions: dict[str, Decimal]
    orders: list[dict[str, Any]]
    algos: list[dict[str, Any]]
    trades: dict[str, list[dict[str, Any]]]


async def summarize_account(
    rest: BinanceRest,
    journal: Journal,
    view: NodeView,
    symbols: Sequence[str],
    ending: Ending,
    start_balance: float,
    title: str,
) -> Summary:
    """
    Return the summary of a run on a real account.

    Error contract: degraded. An account that cannot be read is a check that failed, never an exception.
    """
    fills, trades, verdicts = journal.fills(), journal.trades(), journal.verdicts()
    checks = [
        _check("ran to the end", [] if ending.failure is None else [ending.failure]),
        _check(
            f"never naked for more than {NAKED_LIMIT_SECS:g} s",
            [] if view.worst_naked_secs <= NAKED_LIMIT_SECS else [f"{view.worst_naked_secs:.3f} s"],
            f"worst {view.worst_naked_secs * 1000:.0f} ms from fill to resting stop",
        ),
    ]
    account: _Account | None = None
    try:
        account = await _read(rest, symbols, journal)
        checks += [
            _check("every open position has its stop at the venue", _unprotected(account)),
            _check("node position = venue position", _differences(account, view, symbols)),
            _check("no order of ours rests without a position", _orphans(account)),
            _check("journal has every fill of the venue", _missing(account, {f.id for f in fills})),
        ]
    except (VenueRequestError, KeyError, TypeError, ValueError, ArithmeticError) as e:
        checks.append(_check("the account can be read", [str(e) or repr(e)]))
    critical = [i for i in journal.incidents() if i.severity == "critical" and i.code not in _LATCHES]
    checks.append(_check("no critical incident", [f"{i.code}: {i.message}" for i in critical]))
    wallet = start_balance if account is None else float(account.wallet)
    fees = float(sum((Decimal(f.fee) for f in fills), Decimal(0)))
    funding = float(sum(f.amount for f in journal.funding()))
    return Summary(
        passed=all(c.passed for c in checks),
        failure=ending.failure,
        stopped_by=ending.stopped_by,
        set_aside=ending.set_aside,
        data_source="the exchange",
        synthetic=False,
        seconds=ending.seconds,
        market_end=None,
        barriers=0,
        start_balance=start_balance,
        wallet=wallet,
        unrealized=0.0 if account is None else float(account.unrealized),
        realized=wallet - start_balance + fees - funding,
        fees=fees,
        funding_paid=funding,
        net_pnl=wallet - start_balance,
        verdicts=dict(sorted(Counter(f"{v.gate}:{v.reason}" for v in verdicts).items())),
        incidents_by_code=dict(sorted(Counter(i.code for i in journal.incidents()).items())),
        worst_naked_secs=view.worst_naked_secs,
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


async def _read(rest: BinanceRest, symbols: Sequence[str], journal: Journal) -> _Account:
    account = await rest.get("/fapi/v2/account", signed=True)
    positions = await rest.get("/fapi/v3/positionRisk", signed=True)
    orders: list[dict[str, Any]] = []
    algos: list[dict[str, Any]] = []
    trades: dict[str, list[dict[str, Any]]] = {}
    for symbol in symbols:
        orders += await rest.get("/fapi/v1/openOrders", {"symbol": symbol}, signed=True)
        algos += await rest.get("/fapi/v1/openAlgoOrders", {"symbol": symbol}, signed=True)
        known = [int(f.id.rpartition("/")[2]) for f in journal.fills() if f.symbol == symbol and _numbered(f.id)]
        if known:
            query: dict[str, str | int] = {"symbol": symbol, "fromId": min(known), "limit": 1000}
            trades[symbol] = await rest.get("/fapi/v1/userTrades", query, signed=True)
    return _Account(
        Decimal(account["totalWalletBalance"]),
        Decimal(account["totalUnrealizedProfit"]),
        {p["symbol"]: Decimal(p["positionAmt"]) for p in positions},
        orders,
        algos,
        trades,
    )


def _numbered(fill_id: str) -> bool:
    return fill_id.rpartition("/")[2].isdigit()


def _unprotected(account: _Account) -> list[str]:
    found = []
    for symbol, quantity in account.positions.items():
        if not quantity:
            continue
        side = "SELL" if quantity > 0 else "BUY"
        stops = [a for a in account.algos if a["symbol"] == symbol and a["side"] == side and a["orderType"] in _STOPS]
        held = sum((Decimal(a["quantity"] or 0) for a in stops), Decimal(0))
        whole = any(str(a.get("closePosition", "")).lower() == "true" for a in stops)
        if not whole and held < abs(quantity):
            found.append(f"{symbol}: {abs(quantity) - held} without a stop")
    return found


def _differences(account: _Account, view: NodeView, symbols: Sequence[str]) -> list[str]:
    found = []
    for symbol in symbols:
        venue, node = account.positions.get(symbol, Decimal(0)), Decimal(view.positions.get(symbol, "0"))
        if venue != node:
            found.append(f"{symbol}: venue {venue}, node {node}")
    return found


def _orphans(account: _Account) -> list[str]:
    resting = [(o["symbol"], o["clientOrderId"]) for o in account.orders]
    resting += [(a["symbol"], a["clientAlgoId"]) for a in account.algos]
    return [f"{s}: {i}" for s, i in resting if not account.positions.get(s) and decode(i) is not None]


def _missing(account: _Account, ours: set[str]) -> list[str]:
    theirs = [f"{symbol}/{t['id']}" for symbol, rows in account.trades.items() for t in rows]
    return [f"{i}: not in the journal" for i in theirs if i not in ours]


def _check(name: str, problems: Sequence[str], detail: str = "") -> Check:
    shown = "; ".join(problems[:3]) + (f" (and {len(problems) - 3} more)" if len(problems) > 3 else "")
    return Check(name=name, passed=not problems, detail=shown or detail)
