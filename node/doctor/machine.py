"""
What must be true of this machine and its files: keys, catalog, model, journal, disk, Redis, alerts.

Error contract of every check: degraded. What cannot be looked at is a finding, never an exception.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from node.binance.credentials import key_type, secret_from
from node.binance.preflight import Finding
from node.config import NodeConfig
from node.control.run_directory import RunDirectory
from node.doctor.account import fail, ok, warn
from strategies.errors import ArgonautError, ConfigError

_GIB = 1 << 30
_DISK_FAIL = _GIB // 4
_DISK_WARN = 2 * _GIB
_DAY_NS = 86_400_000_000_000


async def machine_findings(
    config: NodeConfig, environ: Mapping[str, str], directory: RunDirectory, *, simulated: bool
) -> list[Finding]:
    """Examine everything that is not the account. Redis is asked only if it is configured."""
    return [
        *_keys(config, environ, simulated=simulated),
        *_catalog(config),
        *_model(config),
        *_journal(config),
        *_run_directory(directory),
        *_disk(directory),
        *await _redis(config),
        warn("alerts", "no alert channel exists yet", "look at `status` and the journal's incidents yourself"),
    ]


def _keys(config: NodeConfig, environ: Mapping[str, str], *, simulated: bool) -> list[Finding]:
    exchange, watchdog = config.exchange, config.operate.watchdog
    findings = []
    missing = [n for n in (exchange.api_key_env, exchange.api_secret_env) if not environ.get(n)]
    if not missing:
        findings.append(_key_type(environ, exchange.api_secret_env))
    elif simulated:
        findings.append(ok("keys", "none needed at a simulated venue"))
    else:
        findings.append(
            fail("keys", f"{' and '.join(missing)} not set", "set them in the environment, never in a file")
        )
    own = environ.get(watchdog.api_key_env)
    if own and own != environ.get(exchange.api_key_env):
        findings.append(ok("watchdog_key", f"{watchdog.api_key_env} is a key of its own"))
    elif own:
        findings.append(warn("watchdog_key", "the watchdog uses the node's key", "give it a key of its own"))
    elif not simulated:
        remedy = "the watchdog needs a key of its own to look at the account and to flatten"
        findings.append(warn("watchdog_key", f"{watchdog.api_key_env} is not set", remedy))
    return findings


def _key_type(environ: Mapping[str, str], name: str) -> Finding:
    try:
        kind = key_type(secret_from(environ, name))
    except ConfigError as e:
        return fail("keys", str(e), "name a readable PEM file with an Ed25519 private key, or set the secret itself")
    advice = "" if kind == "Ed25519" else ": works; the exchange prefers Ed25519 (docs/environments.md)"
    return ok("keys", f"{name} is set, key type {kind}{advice}")


def _catalog(config: NodeConfig) -> list[Finding]:
    from catalog.reader import coverage  # noqa: PLC0415 - loads pyarrow

    findings = []
    for symbol in config.all_symbols:
        try:
            first, last, count = coverage(Path(config.catalog), symbol, config.interval)
        except (ArgonautError, OSError) as e:
            findings.append(warn("catalog", str(e), "the node can trade without; backtests and audits cannot"))
        else:
            days = (last - first) / _DAY_NS
            findings.append(ok("catalog", f"{symbol}: {count} bars over {days:.0f} days"))
    return findings


def _model(config: NodeConfig) -> list[Finding]:
    if config.gate.mode == "off":
        return [ok("model", "the gate is off")]
    from actors.model_folder import load_model  # noqa: PLC0415 - loads onnxruntime
    from actors.promotion import require_promotion  # noqa: PLC0415
    from strategies.kernel.columns import FEATURE_SCHEMA  # noqa: PLC0415

    replayed = config.environment == "venue"  # its expiry is judged by market time, which is the replay's
    folder, remedy = Path(config.gate.model_dir), "train it: python -m research.train"
    severity = warn if config.gate.mode == "shadow" else fail
    try:
        model = load_model(folder, schema=FEATURE_SCHEMA, market_time_ns=None if replayed else time.time_ns())
    except (ArgonautError, OSError) as e:
        return [severity("model", str(e), remedy)]
    found = [ok("model", f"{folder}: valid until {model.manifest.valid_until}")]
    try:
        promotion = require_promotion(folder, model, config.gate.promotion_key)
    except ArgonautError as e:
        severity = severity if config.environment == "live" else warn
        return [*found, severity("promotion", str(e), "promote it: python -m research.promote, or gate.mode: off")]
    return [*found, ok("promotion", f"signed {promotion.created} by {promotion.key[:12]}")]


def _journal(config: NodeConfig) -> list[Finding]:
    from node.journal import open_journal  # noqa: PLC0415 - loads SQLAlchemy

    try:
        journal = open_journal(config.journal)
        try:
            market_time = None if config.environment == "venue" else time.time_ns()
            latches = journal.restore(list(config.symbols), market_time).latches
        finally:
            journal.close()
    except (ArgonautError, OSError) as e:
        return [fail("journal", str(e), "the node does not trade without a journal it can write")]
    found = [ok("journal", "open, current and writable")]
    for latch in latches:
        text = f"{latch.code} {latch.symbol or 'all symbols'}: {latch.message}"
        found.append(warn("latches", text, "no entries until `python -m node.cli rearm` (or resume)"))
    return found


def _run_directory(directory: RunDirectory) -> list[Finding]:
    process = directory.process()
    if process is None:
        return [ok("run_directory", f"{directory.path}: no node runs")]
    if process.alive():
        return [ok("run_directory", f"{directory.path}: a node runs (pid {process.pid})")]
    text = f"{directory.path}: the last node (pid {process.pid}) died"
    return [warn("run_directory", text, "look at its log; the next start recovers")]


def _disk(directory: RunDirectory) -> list[Finding]:
    place = directory.path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / _GIB:.1f} GiB free at {place}"
    if free < _DISK_FAIL:
        return [fail("disk", text, "free some: a journal that cannot be written blocks entries")]
    if free < _DISK_WARN:
        return [warn("disk", text, "free some soon")]
    return [ok("disk", text)]


async def _redis(config: NodeConfig) -> list[Finding]:
    if config.redis is None:
        return [ok("redis", "not configured")]
    from node.redis_link import ping  # noqa: PLC0415

    try:
        await ping(config.redis)
    except ArgonautError as e:
        severity = fail if config.redis.required else warn
        return [severity("redis", str(e), "start it, or leave it out of the configuration")]
    return [ok("redis", f"{config.redis.address} answers")]
