"""What the documents say must exist: links, commands with their options, make targets, files."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
LONGEST_DECISION = 45


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def help_of(command):
    """Return the help of a command and of all its sub-commands."""
    result = run_help(command)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    branches = re.search(r"\{([\w|,-]+)\}|^\s+(\w+(?:\|\w+)+)$|(\w+(?:\|\w+)+) \.\.\.", result.stdout, re.MULTILINE)
    names = re.split(r"[|,]", next(filter(None, branches.groups()))) if branches and " ...\n" in result.stdout else []
    return result.stdout + "".join(run_help(command, name).stdout for name in names)


def run_help(command, *branch):
    arguments = [sys.executable, "-m", command, *branch, "--help"]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def command_lines(text):
    """Yield (module, rest of the line) of every `python -m …` written down."""
    for found in re.finditer(r"python -m ((?:node|catalog|research|strategies|actors)[\w.]*)([^`\n#]*)", text):
        yield found[1].rstrip("."), found[2]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text_of(name))
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_files_named_exist(name):
    pattern = r"`((?:config|docs|tests|scripts|requirements|strategies|actors|catalog|node|research)/[\w./-]+\.\w+)`"
    assert [file for file in re.findall(pattern, text_of(name)) if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_exist(name):
    wrong = [
        f"{command} {option}"
        for command, rest in command_lines(text_of(name))
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest)
        if option not in help_of(command)
    ]
    assert wrong == []
    for command, _ in command_lines(text_of(name)):
        assert help_of(command)


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name):
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4})make ([a-z]+)", text_of(name), re.MULTILINE))
    assert named <= targets


def test_make_help_explains_every_target():
    targets = re.findall(r"^([a-z]+):(.*)$", text_of("Makefile"), re.MULTILINE)
    assert {name for name, rest in targets if "##" not in rest} == set()
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert [line.split()[0] for line in shown.splitlines()] == [name for name, _ in targets]


def test_every_command_is_in_the_readme():
    ending = re.compile(r'^if __name__ == "__main__":\n    run_command\(', re.MULTILINE)
    written = {command for command, _ in command_lines(text_of("README.md"))}
    for room in ("strategies", "actors", "catalog", "trials", "research", "node"):
        for path in (ROOT / room).rglob("*.py"):
            if ending.search(path.read_text(encoding="utf-8")):
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
                assert name in written, f"README.md does not name python -m {name}"


def test_readme_warns_about_real_money_and_names_the_two_commands():
    text = text_of("README.md")
    assert "**Real money.** Do not use it yet" in text
    assert "refuses without a passed `doctor` and\n> `CONFIRM_LIVE=YES`" in text
    assert "    make run " in text
    assert "    make test " in text


def test_decisions_are_numbered_short_and_dated_to_a_version():
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{n:03}-" for n in range(1, len(decisions) + 1)]
    for path in decisions:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith(f"# {path.name[:3]}: ")
        assert re.match(r"\*Settled, \d+\.\d+\.\d+\. Code: `", lines[2])
        assert len(lines) <= LONGEST_DECISION, path.name


def test_changelog_tells_of_the_version_in_pyproject():
    (version,) = re.findall(r'^version = "(.+)"$', text_of("pyproject.toml"), re.MULTILINE)
    assert re.search(
        rf"^## \[{re.escape(version)}\] - (unreleased|\d{{4}}-\d\d-\d\d)$", text_of("CHANGELOG.md"), re.MULTILINE
    )
