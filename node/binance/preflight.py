"""What must be true of the account and the symbols before the node may start."""

import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum, unique
from typing import Any

import msgspec

from node.binance.rest import BinanceRest, VenueRequestError

MAX_OFFSET_MS = 1_000
WARN_OFFSET_MS = 250


@unique
class Severity(StrEnum):
    """How a finding bears on the start."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """
    One checked fact.

    Attributes
    ----------
    check : str
        Name of the check, e.g. ``position_mode``.
    severity : Severity
        ``fail`` forbids a start.
    message : str
        What was found.
    remedy : str
        What to do; empty if nothing.

    """

    check: str
    severity: Severity
    message: str
    remedy: str = ""


async def run_preflight(
    rest: BinanceRest,
    *,
    symbols: Sequence[str],
    leverages: Mapping[str, int] | None = None,
    time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> list[Finding]:
    """
    Check clock, position mode, symbols and leverage.

    Error contract: degraded. A check that cannot be made is a finding of severity ``fail``, never an exception.

    Parameters
    ----------
    rest : BinanceRest
        Client with the account's credentials.
    symbols : Sequence[str]
        Venue symbols the node will trade.
    leverages : Mapping[str, int] or None
        Leverage asked for per symbol.
    time_ms : Callable[[], int]
        Wall clock, ms.

    """
    findings: list[Finding] = []
    checks: tuple[tuple[str, Any], ...] = (
        ("clock", lambda: _clock(rest, time_ms)),
        ("position_mode", lambda: _position_mode(rest)),
        ("symbols", lambda: _symbols(rest, symbols)),
        ("leverage", lambda: _leverage(rest, symbols, leverages or {})),
    )
    for name, check in checks:
        try:
            findings.extend(await check())
        except VenueRequestError as e:
            findings.append(_fail(name, str(e), _remedy(e)))
        except (KeyError, TypeError, ValueError) as e:
            findings.append(_fail(name, f"unexpected answer: {e!r}", "the venue's interface has changed"))
    return findings


def _remedy(error: VenueRequestError) -> str:
    if error.status in (418, 429):
        when = "later" if error.retry_after_secs is None else f"in {error.retry_after_secs:g} s"
        return f"the venue takes no requests from this address for now: start again {when}, not before"
    if error.status in (401, 403) or error.code in (-2014, -2015):
        return "check the key, its permissions and its list of addresses"
    return "check the base URL and the network"


def startable(findings: Sequence[Finding]) -> bool:
    """Whether no finding forbids a start."""
    return all(f.severity is not Severity.FAIL for f in findings)


async def _clock(rest: BinanceRest, time_ms: Callable[[], int]) -> list[Finding]:
    # The first request pays for the connection; the second measures.
    await rest.get("/fapi/v1/time")
    before = time_ms()
    server = int((await rest.get("/fapi/v1/time"))["serverTime"])
    offset = server - (before + time_ms()) // 2
    text = f"venue clock minus ours: {offset:+d} ms"
    remedy = "synchronise this machine's clock (chrony or ntpd)"
    if abs(offset) > MAX_OFFSET_MS:
        return [_fail("clock", text, remedy)]
    if abs(offset) > WARN_OFFSET_MS:
        return [Finding(check="clock", severity=Severity.WARN, message=text, remedy=remedy)]
    return [_ok("clock", text)]


async def _position_mode(rest: BinanceRest) -> list[Finding]:
    mode = await rest.get("/fapi/v1/positionSide/dual", signed=True)
    if mode["dualSidePosition"]:
        return [
            _fail(
                "position_mode",
                "the account is in hedge mode",
                "close all positions and switch to one-way mode (POST /fapi/v1/positionSide/dual, or in the app)",
            )
        ]
    return [_ok("position_mode", "one-way")]


async def _symbols(rest: BinanceRest, symbols: Sequence[str]) -> list[Finding]:
    info = await rest.get("/fapi/v1/exchangeInfo")
    status = {row["symbol"]: row["status"] for row in info["symbols"]}
    findings = []
    for symbol in symbols:
        found = status.get(symbol)
        if found == "TRADING":
            findings.append(_ok("symbols", f"{symbol} is trading"))
        else:
            text = f"{symbol} is {found}" if found else f"{symbol} does not exist at this venue"
            findings.append(_fail("symbols", text, "remove the symbol from the configuration"))
    return findings


async def _leverage(rest: BinanceRest, symbols: Sequence[str], leverages: Mapping[str, int]) -> list[Finding]:
    rows = await rest.get("/fapi/v1/symbolConfig", signed=True)
    current = {row["symbol"]: int(row["leverage"]) for row in rows}
    findings = []
    for symbol in symbols:
        wanted, found = leverages.get(symbol), current.get(symbol)
        if wanted is None or wanted == found:
            findings.append(_ok("leverage", f"{symbol}: {found}x"))
        else:
            findings.append(
                Finding(
                    check="leverage",
                    severity=Severity.WARN,
                    message=f"{symbol}: {found}x, configured is {wanted}x",
                    remedy="the node sets it at start; check again afterwards",
                )
            )
    return findings


def _ok(check: str, message: str) -> Finding:
    return Finding(check=check, severity=Severity.OK, message=message)


def _fail(check: str, message: str, remedy: str) -> Finding:
    return Finding(check=check, severity=Severity.FAIL, message=message, remedy=remedy)
