"""
What the node asks for before it trades real money: a passed examination of this very configuration, and a confirmation.

Errors: without them the node does not start (**fail closed**); one line says what is missing.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from node.config import NodeConfig
from node.control.run_directory import RunDirectory, default_path
from strategies.errors import ConfigError, ModelError

CONFIRMATION = "CONFIRM_LIVE"
VALID_NS = 24 * 3_600 * 1_000_000_000
_CLOCK_SLACK_NS = 60_000_000_000


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """
    The result of an examination.

    Attributes
    ----------
    passed : bool
        Whether no line failed.
    config_hash : str
        Of everything that was examined; see :func:`config_hash`.
    time : int
        When, UTC ns.
    key : str
        First digits of the hash of the API key examined.

    """

    passed: bool
    config_hash: str
    time: int
    key: str


def config_hash(config: NodeConfig) -> str:
    """Return the hash of a configuration, of its strategy file and of its model's manifest and promotion."""
    digest = hashlib.sha256(msgspec.json.encode(config, order="sorted"))
    files = [Path(config.strategy.file)]
    if config.gate.mode != "off":
        files += [Path(config.gate.model_dir) / name for name in ("model.json", "promotion.json")]
    for path in files:
        try:
            content = path.read_bytes()
        except OSError:
            content = b"absent"
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def key_mark(key: str) -> str:
    """Return what stands for an API key in the stamp: it tells keys apart and gives none away."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def require_clearance(config: NodeConfig, environ: Mapping[str, str], now: int) -> None:
    """
    Return if the node may start; anything but real money always may.

    Parameters
    ----------
    config : NodeConfig
        What is about to run, command-line changes included.
    environ : Mapping[str, str]
        The environment variables.
    now : int
        Wall time, UTC ns.

    Raises
    ------
    ConfigError
        Fatal: not examined, examined with another configuration or key, too long ago, not passed, or not confirmed;
        or the enforcing gate's model does not verify, has expired or is not promoted.

    """
    if config.environment != "live":
        return
    remedy = "run `python -m node.cli doctor` with this configuration"
    path = RunDirectory(default_path(config.operate.run_dir, config.journal, config.trader_id)).doctor
    try:
        stamp = msgspec.json.decode(path.read_bytes(), type=Stamp)
    except OSError:
        raise ConfigError(f"environment: live: not examined yet ({path} is missing): {remedy}") from None
    except msgspec.DecodeError:
        raise ConfigError(f"environment: live: {path} cannot be read: {remedy}") from None
    if stamp.config_hash != config_hash(config):
        raise ConfigError(f"environment: live: the configuration, strategy or model changed since: {remedy}")
    if stamp.key != key_mark(environ.get(config.exchange.api_key_env, "")):
        raise ConfigError(f"environment: live: {config.exchange.api_key_env} is not the key examined: {remedy}")
    if not stamp.passed:
        raise ConfigError(f"environment: live: the examination failed: mend what it names, then {remedy}")
    if not -_CLOCK_SLACK_NS <= now - stamp.time <= VALID_NS:
        raise ConfigError(f"environment: live: the examination is older than 24 hours (or from the future): {remedy}")
    if config.gate.mode == "enforce":
        _require_model(config, now)
    if environ.get(CONFIRMATION) != "YES":
        raise ConfigError(f"environment: live: real money: set {CONFIRMATION}=YES in the environment to start")


def _require_model(config: NodeConfig, now: int) -> None:
    from actors.model_folder import load_model  # noqa: PLC0415 - loads onnxruntime
    from actors.promotion import require_promotion  # noqa: PLC0415 - as above
    from strategies.kernel.columns import FEATURE_SCHEMA  # noqa: PLC0415 - as above

    folder = Path(config.gate.model_dir)
    try:
        model = load_model(folder, schema=FEATURE_SCHEMA, market_time_ns=now)
        require_promotion(folder, model, config.gate.promotion_key)
    except ModelError as e:
        raise ConfigError(f"environment: live: gate.mode enforce needs a promoted model: {e}") from None
