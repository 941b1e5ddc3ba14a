"""Every command: quick help, and one clear line with exit code 2 for what a person got wrong."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from node.config import load_config
from strategies.errors import ArgonautError, RuntimeVersionError
from strategies.startup import NAUTILUS_VERSION, check_runtime, run_command

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("strategies", "actors", "catalog", "trials", "research", "node")
SLOW_IMPORTS = {
    "aiohttp", "alembic", "lightgbm", "nautilus_trader", "numba", "numpy", "onnx", "onnxruntime", "pandas", "pyarrow",
    "scipy", "sklearn", "sqlalchemy",
}  # fmt: skip


def commands():
    """Return the dotted name of every module that ends in ``run_command(main)``."""
    ending = re.compile(r'^if __name__ == "__main__":\n    run_command\(', re.MULTILINE)
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
        if ending.search(path.read_text(encoding="utf-8"))
    ]


COMMANDS = commands()


def run(*arguments, options=(), environment=None):
    return subprocess.run(
        [sys.executable, *options, "-m", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def one_line(result):
    """Return the single line on stderr of a command that refused."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_commands_people_are_told_of_exist():
    assert {
        "catalog.ingest", "catalog.sample", "node.backtest", "node.demo", "node.journal", "node.live", "node.venue",
        "research.compare", "research.doubt", "research.doubt.leaks", "research.doubt.lookahead",
        "research.doubt.recursive", "research.features", "research.gate_effect", "research.importance",
        "research.promote", "research.report", "research.service", "research.sizing", "research.sweep",
        "research.train", "research.trials", "research.tune", "research.walkforward",
    } <= set(COMMANDS)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_nothing_heavy(command):
    result = run(command, "--help", options=["-X", "importtime"])
    assert result.returncode == 0
    assert result.stdout.startswith("usage: ")
    assert f"python -m {command}" in result.stdout.split("\n", 1)[0]
    modules = {line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines()}
    assert "argparse" in modules, "import times could not be read"
    assert modules & SLOW_IMPORTS == set()


def source_of(command):
    path = ROOT.joinpath(*command.split("."))
    return (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [c for c in COMMANDS if '"--config"' in source_of(c)])
class TestConfigurationFiles:
    def test_missing_file(self, command):
        assert "no-such-file.yaml: no such file" in one_line(run(command, "--config", "config/no-such-file.yaml"))

    def test_unknown_key(self, command, tmp_path):
        path = tmp_path / "typo.yaml"
        path.write_text("symbolz: [XRPUSDT]\n")
        line = one_line(run(command, "--config", path))
        assert str(path) in line
        assert "symbolz: unknown key" in line

    def test_not_yaml(self, command, tmp_path):
        path = tmp_path / "broken.yaml"
        path.write_text("symbols: [XRPUSDT\n")
        line = one_line(run(command, "--config", path))
        assert re.search(r"broken\.yaml:\d+:\d+: not valid YAML", line)

    def test_wrong_type(self, command, tmp_path):
        path = tmp_path / "wrong.yaml"
        path.write_text("just a sentence\n")
        line = one_line(run(command, "--config", path))
        assert f"{path}: top level: expected `object`, got `str`" in line

    def test_a_folder_is_no_file(self, command, tmp_path):
        assert f"{tmp_path}: cannot be read" in one_line(run(command, "--config", tmp_path))


NODE_CONFIGURATION = """\
environment: venue
symbols: [XRPUSDT]
strategy: {name: composite, file: vote.yaml}
risk:
  limits: {max_positions: 3, daily_loss: 0.05}
backtest:
  start: 2025-09-01
"""


class TestNodeConfiguration:
    @pytest.fixture
    def changed(self, tmp_path):
        """Write a correct configuration with one text replaced."""

        def write(old, new):
            assert NODE_CONFIGURATION.count(old) == 1
            (tmp_path / "vote.yaml").write_text("params: {signal_threshold: 3}\n")
            (tmp_path / "node.yaml").write_text(NODE_CONFIGURATION.replace(old, new))
            return tmp_path / "node.yaml"

        return write

    def test_the_unchanged_configuration_is_accepted(self, changed):
        assert load_config(changed("venue", "venue")).symbols == ("XRPUSDT",)

    @pytest.mark.parametrize("command", ["node.live", "node.backtest"])
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("max_positions", "max_position", "risk.limits.max_position: unknown key (did you mean `max_positions`?)"),
            ("0.05", "much", "risk.limits.daily_loss: expected `float | null`, got `str`"),
            ("name: composite", "name: composit", "strategy.name: 'composit' is unknown (known: composite"),
            ("vote.yaml", "votes.yaml", "votes.yaml: no such file"),
            ("2025-09-01", "yesterday", "'yesterday' is not a date"),
            ("symbols: [XRPUSDT]", "symbols: XRPUSDT", "symbols: expected `array`, got `str`"),
            ("symbols: [XRPUSDT]", "", "missing required field `symbols`"),
            ("environment: venue", "environment: moon", "environment: invalid enum value 'moon'"),
        ],
    )
    def test_a_mistake_is_named_with_file_and_key(self, command, old, new, message, changed):
        path = changed(old, new)
        line = one_line(run(command, "--config", path))
        assert line.startswith(f"error: {path}: ")
        assert message in line

    def test_real_money_is_refused_without_an_examination(self, changed, tmp_path):
        path = changed("environment: venue", "environment: live")
        result = run(
            "node.live", "--config", path, "--journal", f"sqlite:///{tmp_path}/j.sqlite",
            environment={"BINANCE_API_KEY": "k" * 64, "BINANCE_API_SECRET": "s" * 64, "CONFIRM_LIVE": "YES"},
        )  # fmt: skip
        assert "environment: live: not examined yet" in one_line(result)
        assert not (tmp_path / "j.sqlite").exists()

    @pytest.mark.parametrize("environment", ["testnet", "demo"])
    def test_an_exchange_without_credentials_is_one_line(self, environment, changed, tmp_path):
        path = changed("environment: venue", f"environment: {environment}")
        result = run(
            "node.live", "--config", path, "--journal", f"sqlite:///{tmp_path}/j.sqlite",
            environment={"BINANCE_API_KEY": "", "BINANCE_API_SECRET": ""},
        )  # fmt: skip
        assert "no credentials: set BINANCE_API_KEY and BINANCE_API_SECRET" in one_line(result)
        assert not (tmp_path / "j.sqlite").exists()


class TestRuntime:
    @staticmethod
    def versions(**changes):
        found = {"nautilus_trader": NAUTILUS_VERSION, "pandas": "2.3.3", **changes}

        def version_of(name):
            if found[name] is None:
                raise PackageNotFoundError(name)
            return found[name]

        return version_of

    @pytest.mark.parametrize("python", [(3, 12), (3, 13)])
    def test_what_it_was_proven_with_is_accepted(self, python):
        check_runtime(python, self.versions())

    def test_this_environment_is_accepted(self):
        check_runtime()

    @pytest.mark.parametrize(
        ("python", "changes", "words"),
        [
            ((3, 11), {}, ("Python 3.11", "3.12 or 3.13")),
            ((3, 14), {}, ("Python 3.14", "3.12 or 3.13")),
            ((2, 7), {}, ("Python 2.7", "3.12 or 3.13")),
            ((3, 13), {"nautilus_trader": "1.230.0"}, ("nautilus_trader 1.230.0", f"exactly {NAUTILUS_VERSION}")),
            ((3, 13), {"nautilus_trader": "2.0.0"}, ("nautilus_trader 2.0.0", f"exactly {NAUTILUS_VERSION}")),
            ((3, 13), {"nautilus_trader": None}, ("nautilus_trader is not installed",)),
            ((3, 13), {"pandas": "3.0.0"}, ("pandas 3.0.0", ">=2.3.3,<3")),
            ((3, 13), {"pandas": "4.1.0rc1"}, ("pandas 4.1.0rc1", ">=2.3.3,<3")),
            ((3, 13), {"pandas": None}, ("pandas is not installed",)),
        ],
    )
    def test_anything_else_is_refused_in_one_line_with_the_remedy(self, python, changes, words):
        with pytest.raises(RuntimeVersionError) as refused:
            check_runtime(python, self.versions(**changes))
        text = str(refused.value)
        assert "\n" not in text
        assert text.endswith("run `make setup`")
        assert all(word in text for word in words)

    def test_a_command_on_a_wrong_runtime_prints_that_line_and_exits_with_2(self, tmp_path):
        folder = tmp_path / "nautilus_trader-1.229.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nautilus_trader\nVersion: 1.229.0\n")
        result = run("node.backtest", "--config", "config/backtest.yaml", environment={"PYTHONPATH": str(tmp_path)})
        line = one_line(result)
        assert f"nautilus_trader 1.229.0 found, exactly {NAUTILUS_VERSION} is needed" in line


class TestRunCommand:
    @staticmethod
    def exit_code(main):
        with pytest.raises(SystemExit) as ended:
            run_command(main)
        return ended.value.code

    @pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (3, 3)])
    def test_what_main_returns_is_the_exit_code(self, returned, code):
        assert self.exit_code(lambda: returned) == code

    def test_an_error_for_people_is_one_line(self, capsys):
        def main():
            raise ArgonautError("first\n  second")

        assert self.exit_code(main) == 2
        assert capsys.readouterr().err == "error: first second\n"

    def test_an_interruption_is_no_traceback(self, capsys):
        def main():
            raise KeyboardInterrupt

        assert self.exit_code(main) == 130
        assert capsys.readouterr().err == "interrupted\n"

    def test_a_defect_keeps_its_traceback(self):
        def main():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run_command(main)
