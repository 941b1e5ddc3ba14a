"""The image cannot be built where the tests run, so its recipe is read: paths exist, nothing private, all pinned."""

import fnmatch
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from node.config import load_config

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("strategies", "actors", "catalog", "trials", "research", "node")


def instructions():
    """Return (NAME, arguments) of every instruction of the Dockerfile, continued lines joined, comments left out."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")).replace("\\\n", " ")
    found = []
    for line in filter(str.strip, text.splitlines()):
        name, _, arguments = line.strip().partition(" ")
        assert re.fullmatch(r"[A-Z]+", name), line
        found.append((name, arguments.strip()))
    return found


def arguments_of(name):
    return [arguments for found, arguments in instructions() if found == name]


def copied():
    """Return every source of every COPY from the build context."""
    for arguments in arguments_of("COPY"):
        words = [word for word in arguments.split() if not word.startswith("--")]
        assert len(words) >= 2, arguments
        if "--from=" not in arguments:
            yield from words[:-1]


def ignored(path):
    """Whether .dockerignore keeps `path` (or a folder around it) from the builder."""
    patterns = [
        line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines() if line.strip() and line[0] != "#"
    ]
    assert not any(pattern.startswith("!") for pattern in patterns), "exceptions are not understood by this test"
    parents = [path, *Path(path).parents]
    return any(
        fnmatch.fnmatch(str(part), pattern) or fnmatch.fnmatch(str(part), pattern.removeprefix("**/"))
        for part in parents
        for pattern in patterns
    )


def environment():
    return dict(pair.split("=", 1) for arguments in arguments_of("ENV") for pair in arguments.split())


def test_it_starts_from_a_slim_python_pinned_by_version():
    images = arguments_of("FROM")
    assert images
    for image in images:
        assert re.fullmatch(r"python:3\.1[23]\.\d+-slim(-\w+)?( AS \w+)?", image), image


def test_every_copied_path_exists_and_reaches_the_builder():
    sources = list(copied())
    assert sources
    for source in sources:
        assert not source.startswith(("/", "..")), source
        assert (ROOT / source).exists(), source
        assert not ignored(source), f".dockerignore leaves out {source}"


def test_all_rooms_are_copied_and_nothing_else():
    assert set(copied()) == {*ROOMS, "config", "requirements/runtime.lock"}


@pytest.mark.parametrize("path", [".git", ".venv", "var", ".env", "tests", "node/__pycache__"])
def test_private_and_made_things_stay_outside(path):
    assert ignored(path)


def test_nothing_is_fetched_by_address():
    assert arguments_of("ADD") == []
    assert not any("://" in arguments for name, arguments in instructions() if name in {"RUN", "COPY"})


def test_packages_are_installed_from_the_lock_with_hashes():
    installs = [arguments for arguments in arguments_of("RUN") if "pip install" in arguments]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "-r requirements/runtime.lock" in installs[0]


def test_it_does_not_run_as_root():
    names = [name for name, _ in instructions()]
    (user,) = arguments_of("USER")
    assert user not in {"root", "0"}
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert not any(name in {"COPY", "RUN"} for name in names[names.index("USER") :])


def test_it_runs_the_live_node_with_a_configuration_that_was_copied():
    (entry,), (command,) = arguments_of("ENTRYPOINT"), arguments_of("CMD")
    assert json.loads(entry) == ["python", "-m", "node.live"]
    option, config = json.loads(command)
    assert option == "--config"
    assert load_config(ROOT / config).environment == "venue", "an image must not trade by default"


def test_its_health_check_reads_the_journal_of_that_configuration():
    (check,) = arguments_of("HEALTHCHECK")
    assert json.loads(check.split("CMD", 1)[1]) == ["python", "-m", "node.journal", "counts"]
    config = json.loads(arguments_of("CMD")[0])[1]
    assert environment()["ARGONAUT_JOURNAL_URL"] == load_config(ROOT / config).journal


def test_no_secret_is_written_into_the_image():
    assert not any(re.search(r"key|secret|password|token", name, re.IGNORECASE) for name in environment())


def test_example_environment_names_only_what_the_code_reads_and_no_value():
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    pairs = dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    assert {"BINANCE_API_KEY", "BINANCE_API_SECRET", "ARGONAUT_DATA", "ARGONAUT_JOURNAL_URL"} <= set(pairs)
    assert not pairs["BINANCE_API_KEY"]
    assert not pairs["BINANCE_API_SECRET"]
    code = "\n".join(p.read_text(encoding="utf-8") for room in ROOMS for p in (ROOT / room).rglob("*.py"))
    assert [name for name in pairs if f'"{name}"' not in code] == []


def test_ci_runs_the_tests_as_make_does():
    (recipe,) = re.findall(r"^test:.*\n\t@\$\(PY\) (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert script[-1] == f"exec .venv/bin/python {recipe}"
    assert "make --no-print-directory lint" in script


@pytest.mark.parametrize("script", [".ci/run", "scripts/setup.sh"])
def test_scripts_are_valid_and_stop_at_the_first_error(script):
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=30)
