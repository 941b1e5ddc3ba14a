"""Dependencies: declared once, locked with hashes, all used. Files: no registry's address, no path of a machine."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from strategies.startup import NAUTILUS_VERSION

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("strategies", "actors", "catalog", "trials", "research", "node")
LOCKS = ("dev.lock", "runtime.lock")

# Declared although no module imports them.
NOT_IMPORTED = {
    "redis": "for readers of the optional Redis stream",
    "psycopg": "loaded by SQLAlchemy when the journal's URL names PostgreSQL",
}


def project():
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def locked(name):
    """Return name → (version, hashes) of a lock file."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        requirement, _, hashes = line.partition(" --hash=")
        parsed = Requirement(requirement.strip())
        (specifier,) = parsed.specifier
        assert specifier.operator == "==", line
        found[canonicalize_name(parsed.name)] = (specifier.version, re.findall(r"sha256:([0-9a-f]+)", hashes))
    return found


def declared():
    return {canonicalize_name(r.name): r for r in map(Requirement, project()["project"]["dependencies"])}


def tracked_texts():
    """Return (name, content) of every file that git holds or would add."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:
            yield name, content.decode("utf-8")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes(name):
    packages = locked(name)
    assert len(packages) > 40
    for package, (version, hashes) in packages.items():
        assert version, package
        assert hashes, f"{package} has no hash"
        assert all(len(h) == 64 for h in hashes), package


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_no_index(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|-f|--find-links|-e)\b", text, re.MULTILINE)


def test_the_image_gets_what_was_tested():
    tested, shipped = locked("dev.lock"), locked("runtime.lock")
    assert {name: pin for name, pin in shipped.items() if tested.get(name) != pin} == {}


def test_every_declared_dependency_is_locked_within_its_bounds():
    shipped, tested = locked("runtime.lock"), locked("dev.lock")
    for name, requirement in declared().items():
        assert requirement.specifier.contains(shipped[name][0]), requirement
    for requirement in map(Requirement, project()["dependency-groups"]["dev"]):
        assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)][0]), requirement


def test_what_is_installed_is_what_is_locked():
    for name in declared():
        assert metadata.version(name) == locked("dev.lock")[name][0], f"{name}: run `make setup`"


def test_one_nautilus_version_everywhere():
    assert str(declared()["nautilus-trader"].specifier) == f"=={NAUTILUS_VERSION}"
    assert locked("runtime.lock")["nautilus-trader"][0] == NAUTILUS_VERSION


def test_python_versions_agree():
    assert project()["project"]["requires-python"] == ">=3.12,<3.14"
    assert (ROOT / ".python-version").read_text().strip() == "3.13"
    assert project()["tool"]["mypy"]["python_version"] == "3.12"
    assert project()["tool"]["ruff"]["target-version"] == "py312"


def test_dependencies_are_those_the_code_imports():
    distributions = metadata.packages_distributions()
    imported = set()
    for path in (p for room in ROOMS for p in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            imported |= {name.split(".")[0] for name in names}
    third_party = imported - set(ROOMS) - sys.stdlib_module_names
    unknown = sorted(name for name in third_party if name not in distributions)
    assert unknown == []
    used = {canonicalize_name(distribution) for name in third_party for distribution in distributions[name]}
    assert used - set(declared()) == set(), "imported, but not declared in pyproject.toml"
    assert set(declared()) - used == set(NOT_IMPORTED), "declared in pyproject.toml, but not imported"


def test_no_registry_and_no_machine_in_any_file():
    registries = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "deb" + "ian.org", "docker" + ".io"]
    machines = [f"{ROOT}/", "/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "/wo" + "rk/"]
    wrong = [f"{name}: {word}" for name, text in tracked_texts() for word in registries + machines if word in text]
    assert wrong == []


def test_no_market_data_and_no_model_in_the_repository():
    endings = (".csv", ".gz", ".parquet", ".feather", ".zip", ".onnx", ".pkl", ".sqlite")
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert "pyproject.toml" in names
    assert [name for name in names if name.endswith(endings)] == []


@pytest.mark.parametrize("usable", [True, False])
def test_a_linked_environment_is_used_as_it_is_and_never_cleared(tmp_path, usable):
    place, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    for folder in (place / "scripts", place / "requirements", elsewhere / "bin"):
        folder.mkdir(parents=True)
    for name in ("scripts/setup.sh", "requirements/dev.lock"):
        (place / name).write_bytes((ROOT / name).read_bytes())
    if usable:
        (elsewhere / "bin" / "python").symlink_to(sys.executable)
    (elsewhere / "theirs").write_text("kept")
    (place / ".venv").symlink_to(elsewhere)
    command = ["bash", str(place / "scripts" / "setup.sh")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == (0 if usable else 1), ended.stderr
    assert usable or f".venv is a link to {elsewhere}, which has no usable Python: remove the link" in ended.stderr
    assert (elsewhere / "theirs").read_text() == "kept"
