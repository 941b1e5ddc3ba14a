import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType, BinanceEnvironment
from nautilus_trader.adapters.binance.common.urls import get_http_base_url

from node.binance.addresses import REST
from node.config import NodeConfig, load_config
from node.control import quick
from node.control.access import run_directory
from node.control.commands import CLOSING, Action, Outcome
from node.control.config import load_control_config
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


@pytest.mark.parametrize("name", ["demo", "paper", "testnet", "staging", "live"])
def test_a_kill_reads_what_the_whole_configuration_says(name):
    path = _REPOSITORY / "config" / f"{name}.yaml"
    _assert_same(load_control_config(path), load_config(path))


def test_a_kill_has_the_defaults_of_the_whole_configuration(tmp_path):
    path = _config(tmp_path)
    _assert_same(load_control_config(path), load_config(path))


def _assert_same(slit, whole):
    for name in slit.__struct_fields__:
        ours, theirs = getattr(slit, name), getattr(whole, name)
        if name == "exchange":
            ours, theirs = ({n: getattr(x, n) for n in ours.__struct_fields__} for x in (ours, theirs))
        assert ours == theirs, name


def test_a_mistake_elsewhere_does_not_keep_from_closing(tmp_path):
    path = _config(tmp_path, journl="sqlite:///x", strategy={"name": "unheard of"})
    assert load_control_config(path).symbols == ("XRPUSDT",)
    with pytest.raises(ConfigError, match="no such file"):
        load_control_config(tmp_path / "no.yaml")
    for keys in ({"symbols": []}, {"environment": "moon"}, {"operate": {"run_dr": "x"}}):
        with pytest.raises(ConfigError, match=min(keys)):
            load_control_config(_config(tmp_path, **keys))


def test_a_kill_knows_the_exchange_as_the_adapter_does():
    for environment, address in REST.items():
        known = get_http_base_url(BinanceAccountType.USDT_FUTURES, BinanceEnvironment[environment.upper()], is_us=False)
        assert address == known


def test_a_kill_without_a_node_loads_nothing_heavy(tmp_path):
    # No credentials: it gets as far as the venue's door, with everything it needs loaded.
    path = _config(tmp_path, environment="testnet", operate={"run_dir": str(tmp_path / "run")})
    done = subprocess.run(
        [sys.executable, "-c", _KILL, "kill", "--config", str(path)],
        cwd=_REPOSITORY,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (
        0,
        "no credentials: set BINANCE_API_KEY and BINANCE_API_SECRET in the environment\n['aiohttp', 'msgspec']\n",
    ), done.stderr
    assert list((tmp_path / "run" / "inbox").iterdir()), "the kill is left for the next start all the same"


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


_KILL = """
import sys
from node.cli import main
from strategies.errors import ConfigError
try:
    main(sys.argv[1:])
except ConfigError as e:
    print(e)
print(sorted({"msgspec", "aiohttp", "pandas", "numpy", "numba", "nautilus_trader"} & set(sys.modules)))
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
