import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from node.config import NodeConfig, load_config
from node.control import quick
from node.control.access import run_directory
from node.control.commands import CLOSING, Action, Outcome
from node.control.door import HttpDoor
from node.control.run_directory import RunDirectory
from strategies.errors import ConfigError

_REPOSITORY = Path(__file__).parents[3]


def _config(folder, **keys):
    (folder / "params.yaml").write_text("params: {}\n")
    path = folder / "node.yaml"
    lines = {"symbols": ["XRPUSDT"], "strategy": {"file": "params.yaml"}, **keys}
    path.write_text(json.dumps(lines))  # JSON is YAML
    return path


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"journal": "sqlite:////var/lib/x/journal.db"},
        {"journal": "postgresql+psycopg://u:p@h/d", "trader_id": "NODE-7"},
        {"journal": "postgresql+psycopg://u:p@h/d"},
        {"operate": {"run_dir": "/run/argonaut"}},
        {"operate": {"port": 5}},
    ],
)
def test_the_run_directory_is_the_one_of_the_thorough_way(tmp_path, keys):
    path = _config(tmp_path, **keys)
    assert quick._run_directory(path) == run_directory(load_config(path)).path


def test_what_it_knows_by_heart_is_still_true():
    defaults = {f.name: f.default for f in msgspec.structs.fields(NodeConfig)}
    assert defaults["trader_id"] == quick._TRADER_ID
    assert defaults["journal"] == quick._JOURNAL
    assert set(quick.DOOR_COMMANDS) == {a.value for a in Action} - {"status"}
    assert {str(a) for a in CLOSING} == {"flatten", "kill"}


class Node:
    """A run directory with a real door in front of a list."""

    def __init__(self, folder, answer):
        self.given = []
        self.directory = RunDirectory(folder / "run")

        def submit(command):
            self.given.append((command.action.value, command.symbol, command.who, command.via))
            if isinstance(answer, Exception):
                raise answer
            return answer

        process = self.directory.claim("venue", None)
        self.door = HttpDoor(0, self.directory.new_token(), submit, dict)
        self.directory.write("node.json", msgspec.structs.replace(process, port=self.door.port))

    def close(self):
        self.door.close()
        self.directory.release()


@pytest.fixture
def node(tmp_path, request):
    made = Node(tmp_path, getattr(request, "param", Outcome(done=True, detail="pause delivered")))
    yield made
    made.close()


_COMMAND = """
import sys
from node.cli import main
code = main(sys.argv[1:])
print(sorted({"msgspec", "yaml", "aiohttp", "asyncio", "pandas", "nautilus_trader"} & set(sys.modules)))
sys.exit(code)
"""


def test_a_pause_loads_nothing_heavy(tmp_path, node):
    path = _config(tmp_path)
    options = ["pause", "XRPUSDT", "--config", str(path), "--run-dir", str(node.directory.path), "--who", "me"]
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *options],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "pause delivered\n[]\n"), done.stderr
    assert node.given == [("pause", "XRPUSDT", "me", "http")]


@pytest.mark.parametrize("node", [ConfigError("unknown symbol 'X'")], indirect=True)
def test_a_mistake_comes_back_as_one(tmp_path, node):
    answer = quick.give("kill", "X", "me", tmp_path, node.directory.path)
    assert answer == {"error": "unknown symbol 'X'"}


def test_whatever_is_missing_is_left_to_the_thorough_way(tmp_path, node):
    path = _config(tmp_path, operate={"run_dir": str(node.directory.path)})
    assert quick.give("kill", None, "me", path, None) == {"done": True, "detail": "pause delivered", "direct": False}
    (node.directory.path / "token").write_text("another")
    assert quick.give("kill", None, "me", path, None) is None
    (node.directory.path / "token").unlink()
    assert quick.give("kill", None, "me", path, None) is None
    path.write_text("a: [")
    assert quick.give("kill", None, "me", path, None) is None
    assert quick.give("kill", None, "me", tmp_path / "no.yaml", None) is None


def test_a_dead_node_is_not_spoken_to(tmp_path, node):
    process = node.directory.process()
    node.directory.write("node.json", msgspec.structs.replace(process, start_ticks=1))
    assert quick.give("kill", None, "me", tmp_path, node.directory.path) is None
    assert node.given == []
