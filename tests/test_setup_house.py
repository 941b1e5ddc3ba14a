"""The rules of the house that a program can check: who imports whom, how long a module is, what a wheel would hold."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("strategies", "actors", "catalog", "trials", "research", "node")
LONGEST_MODULE = 450
# Longer, with the reason in the module's docstring and a limit of their own.
# Numba's cache watches one file, so what is compiled together stands in one.
LONGER_MODULES = {"strategies/kernel/step.py": 620, "research/sweep/kernel.py": 930}

# room → what it must not import; the longest matching room counts. Imports inside functions count too.
FORBIDDEN = {
    "strategies.kernel": ("strategies", "actors", "catalog", "trials", "research", "node", "nautilus_trader"),
    "strategies": ("actors", "catalog", "trials", "research", "node"),
    "actors": ("catalog", "trials", "research", "node"),
    "catalog": ("actors", "trials", "research", "node"),
    # Below both who studies and who runs: either records what it tried.
    "trials": ("actors", "catalog", "research", "node", "nautilus_trader"),
    # Studies run the engine of record through node.assembly and node.backtest_run; never what touches an exchange.
    "research": ("node.binance", "node.venue", "node.live", "node.live_run", "node.control", "node.cli"),
    "node": ("tests",),
    "node.binance": ("node.venue", "node.journal", "node.simulation", "research", "catalog"),
    "node.journal": (
        "nautilus_trader",
        "node.binance",
        "node.venue",
        "node.simulation",
        "actors",
        "catalog",
        "research",
    ),
    "node.simulation": ("node.binance", "node.venue", "node.journal", "actors", "research"),
    "node.venue": ("nautilus_trader", "node.binance", "node.journal", "actors", "research"),
}
# The rooms that may read Nautilus's underscored names; elsewhere SLF001 may be silenced for other libraries only.
PRIVATE_ACCESS = ("node/binance/", "node/assembly.py")


def modules():
    return sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Yield (line, dotted name) of everything a module imports, `from a import b` as both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name, room):
    return name == room or name.startswith(f"{room}.")


def rule_of(module):
    return max((room for room in FORBIDDEN if within(module, room)), key=len)


def violations(module, found):
    """Imports of `module` that its own room and the rooms around it forbid; a room may always import itself."""
    rooms = [room for room in FORBIDDEN if within(module, room)]
    return [
        (line, name)
        for line, name in found
        for room in rooms
        if not within(name, rule_of(module)) and any(within(name, other) for other in FORBIDDEN[room])
    ]


def test_rooms_import_only_what_the_flow_allows():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {dotted(path)} must not import {name}"
        for path in modules()
        for line, name in violations(dotted(path), imports(path))
    ]
    assert wrong == []


def test_the_import_rule_sees_what_it_should():
    assert violations("strategies.kernel.step", [(1, "strategies.errors")])
    assert violations("strategies.kernel.step", [(1, "nautilus_trader.model.data")])
    assert not violations("strategies.kernel.step", [(1, "strategies.kernel.columns")])
    assert violations("strategies.base", [(1, "actors.rules")])
    assert not violations("strategies.base", [(1, "nautilus_trader.model")])
    assert violations("node.venue.app", [(1, "nautilus_trader")])
    assert not violations("node.venue.app", [(1, "node.venue.books"), (2, "node.simulation.pricing")])
    assert violations("actors.rules", [(1, "catalog.reader")])


def test_only_two_rooms_touch_private_names_of_nautilus():
    silenced = re.compile(r"noqa:[^#]*SLF001(?P<reason>.*)")
    wrong = []
    for path in modules():
        name = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = silenced.search(line)
            if found and not name.startswith(PRIVATE_ACCESS) and "aiohttp" not in found["reason"]:
                wrong.append(f"{name}:{number}: {line.strip()}")
    assert wrong == []


def test_modules_can_be_held_in_the_head():
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in modules()}
    assert {name: n for name, n in lengths.items() if n > LONGER_MODULES.get(name, LONGEST_MODULE)} == {}
    assert all(lengths[name] > LONGEST_MODULE for name in LONGER_MODULES), "an exception is no longer needed"


def test_the_venue_runs_without_nautilus():
    code = "import sys, node.venue.app, node.venue.loader; sys.exit('nautilus_trader' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_every_folder_with_code_is_a_package():
    assert [p.parent for p in modules() if not (p.parent / "__init__.py").is_file()] == []


def test_test_files_have_unique_names():
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_data_files_of_the_packages_are_declared():
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)["tool"]["setuptools"]
    patterns = settings["package-data"]["*"]
    rooms = settings["packages"]["find"]["include"]
    assert sorted(rooms) == sorted(f"{room}*" for room in ROOMS)
    data = [
        p
        for room in ROOMS
        for p in (ROOT / room).rglob("*")
        if p.is_file() and p.suffix not in {".py", ".pyc", ".nbi", ".nbc"}
    ]
    assert [p for p in data if not any(p.match(pattern) for pattern in patterns)] == []
    assert any(p.name == "script.py.mako" for p in data), "the journal's migrations need their template"
    assert list((ROOT / "node/journal/migrations/versions").glob("[!_]*.py")), (
        "the journal needs at least one migration"
    )


@pytest.mark.parametrize(
    "name",
    [
        "demo.yaml",
        "backtest.yaml",
        "golden.yaml",
        "venue.yaml",
        "train.yaml",
        "instruments.yaml",
        "strategies/composite.yaml",
    ],
)
def test_configuration_files_are_there(name):
    assert (ROOT / "config" / name).is_file()
