"""``python -m node.cli doctor``: run every check, print a line each, leave the stamp."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TextIO

import msgspec

from node.binance.credentials import secret_from
from node.binance.preflight import Finding, Severity, startable
from node.binance.rest import BinanceRest
from node.config import NodeConfig
from node.control.access import run_directory, venue_rest
from node.control.run_directory import RunDirectory, write_beside
from node.doctor.account import account_findings, fail
from node.doctor.gate import Stamp, config_hash, key_mark
from node.doctor.machine import machine_findings
from strategies.errors import ConfigError

SPOT_URL = "https://api.binance.com"
_WIDTH = max(len(s) for s in Severity)


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """All findings of one examination."""

    passed: bool
    time: int
    config_hash: str
    findings: list[Finding]


async def run_doctor(
    config: NodeConfig,
    environ: Mapping[str, str],
    *,
    venue_url: str | None,
    run_dir: Path | None,
    as_json: bool,
    out: TextIO,
    spot_url: str | None = None,
) -> int:
    """
    Examine, print, stamp; return 0 if nothing failed, else 1.

    `spot_url` replaces where the key's permissions are asked: the exchange for real money, the venue itself otherwise.

    Raises
    ------
    ConfigError
        Fatal: the stamp cannot be written.

    """
    directory = run_directory(config, run_dir)
    examination = await examine(config, environ, directory, venue_url=venue_url, spot_url=spot_url)
    _stamp(directory, examination, environ.get(config.exchange.api_key_env, ""))
    if as_json:
        out.write(msgspec.json.format(msgspec.json.encode(examination)).decode() + "\n")
    else:
        for finding in examination.findings:
            remedy = f" → {finding.remedy}" if finding.remedy else ""
            out.write(f"{finding.severity:<{_WIDTH}}  {finding.check}: {finding.message}{remedy}\n")
        counts = [f"{sum(f.severity is s for f in examination.findings)} {s}" for s in Severity]
        out.write(f"{'passed' if examination.passed else 'FAILED'}: {', '.join(counts)}\n")
    return 0 if examination.passed else 1


async def examine(
    config: NodeConfig,
    environ: Mapping[str, str],
    directory: RunDirectory,
    *,
    venue_url: str | None,
    spot_url: str | None = None,
) -> Examination:
    """Run every check. Error contract: degraded; whatever cannot be checked is a finding."""
    simulated = config.environment in ("venue", "paper")
    findings = await machine_findings(config, environ, directory, simulated=simulated)
    try:
        rest = venue_rest(config, environ, venue_url=venue_url, directory=directory)
    except ConfigError as e:
        findings.insert(0, fail("venue", str(e), "the account was not examined"))
    else:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(rest)
            spot = _spot(config, environ, venue_url, spot_url)
            if spot is not None:
                await stack.enter_async_context(spot)
            findings = [*await account_findings(config, rest, spot, simulated=simulated), *findings]
    return Examination(
        passed=startable(findings), time=time.time_ns(), config_hash=config_hash(config), findings=findings
    )


def _spot(
    config: NodeConfig, environ: Mapping[str, str], venue_url: str | None, spot_url: str | None
) -> BinanceRest | None:
    if spot_url is None:
        spot_url = SPOT_URL if config.environment == "live" else venue_url
    key = environ.get(config.exchange.api_key_env, "")
    secret = secret_from(environ, config.exchange.api_secret_env)
    if spot_url is None:
        return None
    return BinanceRest(
        spot_url,
        api_key=key or "demo",
        api_secret=secret or "demo",
        recv_window_ms=config.exchange.recv_window_ms,
        timeout_secs=config.exchange.http_timeout_secs,
    )


def _stamp(directory: RunDirectory, examination: Examination, key: str) -> None:
    stamp = Stamp(
        passed=examination.passed,
        config_hash=examination.config_hash,
        time=examination.time,
        key=key_mark(key),
    )
    try:
        directory.make()
        write_beside(directory.doctor, msgspec.json.encode(stamp), durable=True)
    except OSError as e:
        raise ConfigError(f"{directory.doctor}: cannot be written: {e.strerror}") from None
