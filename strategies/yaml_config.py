"""Typed YAML: a file in, a frozen msgspec struct out, or one clear line that names file, key and remedy."""

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from strategies.errors import ConfigError

_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")
_YAML_1_1_ONLY = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
_STEPS = re.compile(r"\[[^\]]*\]|[^.\[\]]+")
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]*)`")


class FrozenConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration struct: immutable, keyword-only, unknown keys refused."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; a configuration file that says two things is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 reads `off`, `no`, `on` as booleans and 2025-09-01 as a date; people mean words and text, as in YAML 1.2.
_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _YAML_1_1_ONLY]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(path: Path) -> Any:
    """
    Return the parsed content of a YAML file.

    Raises
    ------
    ConfigError
        Fatal: the file is missing, unreadable or not YAML (with line and column).

    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from None
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - derives from SafeLoader
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {e.problem}") from None
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: not valid YAML: {e}") from None


def convert[T](data: Any, kind: type[T], source: str) -> T:
    """
    Convert plain data to the struct `kind`; `source` (a file name) opens the error message.

    Raises
    ------
    ConfigError
        Fatal: unknown key (with the nearest known one), wrong type, value out of range.

    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as e:
        message = str(e)
        found = _PATH.search(message)
        where = found["path"].removeprefix("$").lstrip(".") if found else ""
        text = _PATH.sub("", message)
        unknown = _UNKNOWN.search(text)
        if unknown:
            field = unknown["field"]
            where = f"{where}.{field}" if where else field
            text = "unknown key" + _suggest(field, kind, _STEPS.findall(where)[:-1])
        raise ConfigError(f"{source}: {where or 'top level'}: {text[0].lower()}{text[1:]}") from None


def load_yaml[T](path: Path, kind: type[T]) -> T:
    """Return :func:`read_yaml` of `path` converted to `kind`; an empty file is an empty mapping."""
    data = read_yaml(path)
    return convert({} if data is None else data, kind, str(path))


def _suggest(field: str, kind: Any, path: list[str]) -> str:
    known = _fields_at(kind, path)
    near = difflib.get_close_matches(field, known, n=1)
    if near:
        return f" (did you mean `{near[0]}`?)"
    return f" (known keys: {', '.join(sorted(known))})" if known else ""


def _fields_at(kind: Any, path: list[str]) -> list[str]:
    info: Any = msgspec.inspect.type_info(kind)
    for step in path:
        info = _step_into(info, step)
        if info is None:
            return []
    info = _as_struct(info)
    return [f.encode_name for f in info.fields] if info is not None else []


def _as_struct(info: Any) -> Any:
    if isinstance(info, msgspec.inspect.StructType):
        return info
    if isinstance(info, msgspec.inspect.UnionType):
        return next((t for t in info.types if isinstance(t, msgspec.inspect.StructType)), None)
    return None


def _step_into(info: Any, step: str) -> Any:
    if isinstance(info, msgspec.inspect.UnionType):
        return next((r for t in info.types if (r := _step_into(t, step)) is not None), None)
    if step.startswith("["):
        return getattr(info, "value_type", None) or getattr(info, "item_type", None)
    struct = _as_struct(info)
    if struct is None:
        return None
    return next((f.type for f in struct.fields if f.encode_name == step), None)
