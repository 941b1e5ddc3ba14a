"""
From what a client sends to a configuration that may run: only known keys, and only files below the configured roots.

A client never names a path outside them: names are resolved, symbolic links included, and refused when they leave.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from catalog.instruments import load_instruments
from node.config import NodeConfig, load_config, parse_time
from strategies.errors import ArgonautError, ConfigError
from strategies.params_file import load_params
from strategies.registry import lookup
from strategies.yaml_config import FrozenConfig, convert, read_yaml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FIELD = re.compile(r"^(?:[^:]*\.(?:yaml|json): |request: )?(?P<field>[A-Za-z_][\w.\[\]]*): ")


class Roots(NamedTuple):
    """Folders below which named configurations, strategy files, catalogs and models lie."""

    configs: Path
    strategies: Path
    catalogs: Path
    models: Path


class BacktestRequest(FrozenConfig, frozen=True):
    """
    The body of ``POST /backtests``.

    Attributes
    ----------
    config : dict or None
        A whole node configuration; `catalog`, `strategy.file` and `gate.model_dir` are names below the roots.
    name : str or None
        A configuration below the configured folder, without ``.yaml``.
    overrides : dict
        Keys to replace in the named one.

    """

    config: dict[str, Any] | None = None
    name: str | None = None
    overrides: dict[str, Any] = msgspec.field(default_factory=dict)


class RequestError(ConfigError):
    """The request cannot be run; `field` names the key at fault (propagate: 422)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


def parse(body: bytes, roots: Roots) -> NodeConfig:
    """
    Return the configuration a request asks for, checked as far as can be without running it.

    Raises
    ------
    RequestError
        Propagate: names the field.
    msgspec.DecodeError
        Propagate: the body is not JSON.

    """
    plain = msgspec.json.decode(body)
    try:
        request = convert(plain, BacktestRequest, "request")
    except ConfigError as e:
        raise _named(e, "") from None
    if (request.config is None) == (request.name is None):
        raise RequestError("config", "give either `config` or `name`, not both and not neither")
    if request.config is not None:
        if request.overrides:
            raise RequestError("overrides", "belong to a named configuration; change `config` itself")
        data, own = request.config, set(_paths(request.config))
    else:
        data = _merge(_named_config(request.name or "", roots), request.overrides)
        own = set(_paths(request.overrides))
    try:
        config = convert(data, NodeConfig, "request")
    except ConfigError as e:
        raise _named(e, "config." if request.config is not None else "overrides.") from None
    return _checked(config, roots, own, request.name)


def _named_config(name: str, roots: Roots) -> dict[str, Any]:
    if not _NAME.fullmatch(name) or ".." in name:
        raise RequestError("name", "letters, digits, _ . and - only")
    path = _below(roots.configs, f"{name}.yaml", "name")
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in roots.configs.glob("*.yaml")))
        raise RequestError("name", f"no configuration of that name (known: {known})")
    try:
        load_config(path)
        data = read_yaml(path)
    except ConfigError as e:
        raise RequestError("name", f"the configuration is not usable: {_bare(str(e), roots)}") from None
    return dict(data)


def _checked(config: NodeConfig, roots: Roots, own: set[str], name: str | None) -> NodeConfig:
    inside_configs = name is not None and "strategy.file" not in own
    # A named configuration's file is relative to it, as on the command line; a client's own is below the root.
    root = roots.configs if inside_configs else roots.strategies
    file = _below(root, config.strategy.file, "strategy.file")
    catalog_name = config.catalog if name is None or "catalog" in own else Path(config.catalog).name
    catalog = _below(roots.catalogs, catalog_name, "catalog")
    model = config.gate.model_dir
    if config.gate.mode != "off":
        named = model if name is None or "gate.model_dir" in own else Path(model).name
        model = str(_below(roots.models, named, "gate.model_dir"))
        if not Path(model).is_dir():
            raise RequestError("gate.model_dir", "no such model")
    if not file.is_file():
        raise RequestError("strategy.file", "no such file")
    if not catalog.is_dir():
        raise RequestError("catalog", "no such catalog")
    given = NodeConfig(
        strategy=msgspec.structs.replace(config.strategy, file=str(file)),
        symbols=config.symbols,
        context=config.context,
        interval=config.interval,
        catalog=str(catalog),
        gate=msgspec.structs.replace(config.gate, model_dir=model),
        risk=config.risk,
        data_quality=config.data_quality,
        backtest=config.backtest,
    )  # nothing of what only a live node is told
    _runnable(given, roots)
    return given


def _runnable(config: NodeConfig, roots: Roots) -> None:
    field = "strategy.name"
    try:
        lookup(config.strategy.name)
        field = "strategy.file"
        specs = load_instruments()
        for symbol in config.symbols:
            load_params(Path(config.strategy.file), symbol)
        unknown = [s for s in config.symbols if s not in specs]
        for key in ("start", "end"):
            field = f"backtest.{key}"
            value = getattr(config.backtest, key)
            if value is not None:
                parse_time(value, field)
        field = "backtest"
        if not unknown:
            from node.backtest_run import resolve_window  # noqa: PLC0415 - the engine: seconds that a start need not wait

            resolve_window(config)
    except ArgonautError as e:
        raise RequestError(field, _bare(str(e), roots).removeprefix(f"{field}: ")) from None
    if unknown:
        raise RequestError("symbols", f"{unknown[0]}: no figures for this symbol in config/instruments.yaml")


def _below(root: Path, name: str, field: str) -> Path:
    if "\0" in name or not name:
        raise RequestError(field, "not a usable name")
    base = root.resolve()
    path = (base / name).resolve()
    if path == base or not path.is_relative_to(base):
        raise RequestError(field, "lies outside the folder the service may read")
    return path


def _paths(data: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in data.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _paths(value, f"{prefix}{key}.")
    return found


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _named(error: ConfigError, prefix: str) -> RequestError:
    text = str(error).removeprefix("request: ")
    found = _FIELD.match(text)
    if found is None:
        return RequestError("", text.removeprefix("top level: "))
    return RequestError(f"{prefix}{found['field']}", text[found.end() :])


def _bare(text: str, roots: Roots) -> str:
    """Return an error text without the service's own paths."""
    for root in sorted({str(x) for r in roots for x in (r, r.resolve())}, key=len, reverse=True):
        text = text.replace(f"{root}/", "")
    return text
