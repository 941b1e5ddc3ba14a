"""Configuration files: what is refused, and how clearly."""

from pathlib import Path

import msgspec
import pytest

from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig, load_yaml


class Inner(FrozenConfig, frozen=True):
    threshold: float = 1.0
    mode: str = "off"


class Outer(FrozenConfig, frozen=True):
    inner: Inner = Inner()
    count: int = 1
    many: dict[str, Inner] = msgspec.field(default_factory=dict)
    start: str | None = None


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return path


def test_words_and_dates_stay_text(tmp_path: Path) -> None:
    found = load_yaml(_write(tmp_path, "inner: {mode: off}\nstart: 2025-09-01\n"), Outer)

    assert found.inner.mode == "off"
    assert found.start == "2025-09-01"


def test_an_empty_file_means_defaults(tmp_path: Path) -> None:
    assert load_yaml(_write(tmp_path, ""), Outer) == Outer()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inner: {treshold: 2}", "inner.treshold: unknown key (did you mean `threshold`?)"),
        ("zzz: 1", "zzz: unknown key (known keys: count, inner, many, start)"),
        ("many: {a: {moed: x}}", "moed: unknown key (did you mean `mode`?)"),
        ("count: many", "count: expected `int`, got `str`"),
        ("count: 1\ncount: 2", ":2:1: not valid YAML: duplicate key 'count'"),
        ("inner: [", "not valid YAML"),
        ("- 1", "top level: expected `object`, got `array`"),
    ],
)
def test_one_clear_line(tmp_path: Path, text: str, expected: str) -> None:
    path = _write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load_yaml(path, Outer)

    message = str(caught.value)
    assert message.startswith(str(path))
    assert expected in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_yaml(tmp_path / "nowhere.yaml", Outer)
