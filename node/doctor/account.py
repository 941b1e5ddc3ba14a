"""
What must be true of the account before real money: permissions, modes, what somebody else left there, weight.

Error contract of every check: degraded. What cannot be asked is a finding, never an exception.
"""

from collections.abc import Awaitable, Callable, Sequence

from node.binance.preflight import Finding, Severity, run_preflight
from node.binance.rest import BinanceRest, VenueRequestError
from node.config import NodeConfig
from node.control.direct import naked_positions, open_positions
from strategies.order_ids import decode, symbol_tag

_WEIGHT_WARN = 0.5
_WEIGHT_FAIL = 0.9
_DEFAULT_WEIGHT = 2_400
_NOT_THERE = (403, 404, 405)
_TEST_REMEDY = "check the key's permissions, the network, and the base URL"


async def account_findings(
    config: NodeConfig, rest: BinanceRest, spot: BinanceRest | None, *, simulated: bool
) -> list[Finding]:
    """
    Examine the account.

    Parameters
    ----------
    config : NodeConfig
        What is to trade on it.
    rest : BinanceRest
        Futures REST with the key that will be used.
    spot : BinanceRest or None
        ``api.binance.com`` with the same key: the only place that tells a key's permissions. None: not asked.
    simulated : bool
        Whether the venue is a simulated one: permissions it cannot tell are no failure there.

    """
    leverages = dict.fromkeys(config.symbols, config.exchange.leverage)
    found = await run_preflight(rest, symbols=config.all_symbols, leverages=leverages)
    checks: tuple[tuple[str, Callable[[], Awaitable[list[Finding]]]], ...] = (
        ("key_permissions", lambda: _permissions(spot, live=config.environment == "live", simulated=simulated)),
        ("account", lambda: _account(rest)),
        ("margin_type", lambda: _margin_types(rest, config.symbols)),
        ("positions", lambda: _positions(rest, config)),
        ("orders", lambda: _orders(rest, config)),
        ("weight", lambda: _weight(rest)),
    )
    for name, check in checks:
        try:
            found.extend(await check())
        except VenueRequestError as e:
            found.append(fail(name, str(e), _TEST_REMEDY))
        except (KeyError, TypeError, ValueError, ArithmeticError) as e:
            found.append(fail(name, f"unexpected answer: {e!r}", "the venue's interface has changed"))
    return found


async def _permissions(spot: BinanceRest | None, *, live: bool, simulated: bool) -> list[Finding]:
    name = "key_permissions"
    if spot is None:
        return [warn(name, "cannot be asked at this venue", "with real money they must be known")]
    try:
        rights = await spot.get("/sapi/v1/account/apiRestrictions", signed=True)
    except VenueRequestError as e:
        if simulated and e.status in _NOT_THERE:
            return [warn(name, "this simulated venue does not tell them", "with real money they must be known")]
        if not live:
            return [warn(name, str(e), "the test environments have no such interface; with real money it must answer")]
        raise
    findings = []
    if rights.get("enableWithdrawals", True):
        text = "the key may withdraw funds"
        findings.append(fail(name, text, "make a new key without the right to withdraw; never trade with this one"))
    if not rights.get("enableFutures", False):
        findings.append(fail(name, "the key may not trade futures", "enable futures for the key"))
    transfers = [right for right in ("enableInternalTransfer", "permitsUniversalTransfer") if rights.get(right)]
    if transfers:
        findings.append(warn(name, f"{' and '.join(transfers)}: on", "switch it off: the node never transfers"))
    if not findings:
        findings.append(ok(name, "futures yes, withdrawals no, transfers no"))
    if rights.get("ipRestrict"):
        findings.append(ok("ip_restriction", "the key works from listed addresses only"))
    else:
        remedy = "restrict the key to this machine's address"
        findings.append(warn("ip_restriction", "the key works from any address", remedy))
    return findings


async def _account(rest: BinanceRest) -> list[Finding]:
    found = await rest.get("/fapi/v1/accountConfig", signed=True)
    findings = []
    if not found["canTrade"]:
        findings.append(fail("account", "the account may not trade", "see the exchange's messages to you"))
    if found.get("multiAssetsMargin"):
        text = "multi-asset margin is on: losses of one asset are met with others"
        findings.append(fail("account", text, "switch to single-asset mode"))
    return findings or [ok("account", "may trade, single-asset margin")]


async def _margin_types(rest: BinanceRest, symbols: Sequence[str]) -> list[Finding]:
    rows = {row["symbol"]: row for row in await rest.get("/fapi/v1/symbolConfig", signed=True)}
    findings = []
    for symbol in symbols:
        kind = str(rows[symbol]["marginType"]).upper() if symbol in rows else "unknown"
        if kind in ("CROSSED", "CROSS", "ISOLATED"):
            findings.append(ok("margin_type", f"{symbol}: {kind.lower()}"))
        else:
            findings.append(fail("margin_type", f"{symbol}: {kind}", "set it once by hand, while flat"))
    if len({f.message.partition(": ")[2] for f in findings}) > 1:
        findings.append(warn("margin_type", "the symbols differ", "use one margin type for all of them"))
    return findings


async def _positions(rest: BinanceRest, config: NodeConfig) -> list[Finding]:
    opened = await open_positions(rest)
    naked = await naked_positions(rest, config.symbols)
    findings = []
    for position in opened:
        text = f"{position.symbol}: {position.quantity:f} open"
        if position.symbol not in config.symbols:
            remedy = "close it, or know that nobody here protects it and that it shares the margin"
            findings.append(warn("positions", f"{text}, not traded by this node", remedy))
        elif position.symbol in naked:
            remedy = (
                "place a stop, or `python -m node.cli flatten`; a starting node will protect it with levels of its own"
            )
            findings.append(warn("positions", f"{text}, {naked[position.symbol]:f} without a stop", remedy))
        else:
            findings.append(ok("positions", f"{text}, protected"))
    return findings or [ok("positions", "none open")]


async def _orders(rest: BinanceRest, config: NodeConfig) -> list[Finding]:
    plain = await rest.get("/fapi/v1/openOrders", signed=True)
    algos = await rest.get("/fapi/v1/openAlgoOrders", signed=True)
    tags = {symbol_tag(s) for s in config.symbols}
    findings = []
    for row in (*plain, *algos):
        client_id = str(row.get("clientOrderId") or row.get("clientAlgoId") or "")
        tag = decode(client_id)
        if tag is not None and tag.code[3:] in tags:
            continue
        kind = row.get("orderType") or row.get("type")
        quantity = row.get("origQty") or row.get("quantity")
        text = f"{row['symbol']}: {row['side']} {kind} {quantity} ({client_id}) is not this node's"
        opens = not (row.get("reduceOnly") or row.get("closePosition"))
        if opens and row["symbol"] in config.symbols:
            findings.append(warn("orders", f"{text} and can open a position", "cancel it"))
        else:
            findings.append(warn("orders", text, "know whose it is; the node leaves it alone"))
    return findings or [ok("orders", "none but this node's")]


async def _weight(rest: BinanceRest) -> list[Finding]:
    info = await rest.get("/fapi/v1/exchangeInfo")
    limits = [r["limit"] for r in info.get("rateLimits", ()) if r["rateLimitType"] == "REQUEST_WEIGHT"]
    limit = int(limits[0]) if limits else _DEFAULT_WEIGHT
    used = rest.used_weight
    if used is None:
        return [warn("weight", "the venue does not tell the weight used", "watch for HTTP 429")]
    text = f"{used} of {limit} used this minute"
    remedy = "find out who else uses this address or account"
    if used > limit * _WEIGHT_FAIL:
        return [fail("weight", text, remedy)]
    if used > limit * _WEIGHT_WARN:
        return [warn("weight", text, remedy)]
    return [ok("weight", text)]


def ok(check: str, message: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check=check, severity=Severity.OK, message=message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """Return a finding that a person should look at."""
    return Finding(check=check, severity=Severity.WARN, message=message, remedy=remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """Return a finding that forbids a start."""
    return Finding(check=check, severity=Severity.FAIL, message=message, remedy=remedy)
