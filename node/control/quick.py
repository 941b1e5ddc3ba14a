"""
A command to the control door of a running node, with next to nothing imported.

Loading the configuration's types costs seconds on a busy machine, and a kill must not wait for that: the run directory
is found in the configuration's own text, the command goes to the door over a plain socket, and only then is the rest
loaded to see what became of it. Whatever goes wrong here (**unavailable**) is answered with None: the thorough way
(`node.control.client`) then does everything, error messages included.
"""

import json
import os
import pwd
import socket
from pathlib import Path
from typing import Any

DOOR_COMMANDS = ("pause", "resume", "flatten", "kill", "rearm", "stop")
_CONNECT_SECS = 2.0
_ANSWER_SECS = 30.0  # a hung node flattens from its control thread before it answers
_START_TICKS_FIELD = 19  # as in node.control.run_directory
_TRADER_ID = "ARGONAUT-001"  # defaults of node.config, held equal by a test
_JOURNAL = "sqlite:///var/journal.sqlite"


def give(command: str, symbol: str | None, who: str, config: Path, run_dir: Path | None) -> dict[str, Any] | None:
    """
    Give a running node a command; return its answer, or None if it could not be asked this way.

    Parameters
    ----------
    command : str
        One of `DOOR_COMMANDS`.
    symbol : str or None
        For one symbol only.
    who : str
        Who gives it.
    config : Path
        Configuration of the node (YAML).
    run_dir : Path or None
        Run directory; None: the configuration's.

    """
    try:
        directory = run_dir or _run_directory(config)
        process = json.loads((directory / "node.json").read_bytes())
        token = (directory / "token").read_text(encoding="utf-8")
        if not process["port"] or _start_ticks(process["pid"]) != process["start_ticks"]:
            return None
        body = json.dumps({"symbol": symbol, "who": who}).encode()
        return _post(int(process["port"]), command, token, body)
    except Exception:  # noqa: BLE001 - whatever is wrong, the thorough way says it in words
        return None


def user_name() -> str:
    """Return the name of the user this process runs as."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):  # no entry for the user id, as in some containers
        return "unknown"


def _post(port: int, command: str, token: str, body: bytes) -> dict[str, Any] | None:
    head = (
        f"POST /{command} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), _CONNECT_SECS) as door:
        door.settimeout(_ANSWER_SECS)
        door.sendall(head.encode() + body)
        answer = bytearray()
        while chunk := door.recv(65_536):
            answer += chunk
    status, _, rest = bytes(answer).partition(b"\r\n")
    if status.split(b" ")[1] == b"401":
        return None
    found = json.loads(rest.partition(b"\r\n\r\n")[2])
    return found if isinstance(found, dict) else None


def _run_directory(config: Path) -> Path:
    """Return what `node.control.run_directory.default_path` returns for the configuration, without its checks."""
    import yaml  # noqa: PLC0415 - not needed where the run directory is named

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(config.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    run_dir = (found.get("operate") or {}).get("run_dir")
    if run_dir is not None:
        return Path(run_dir)
    journal = found.get("journal", _JOURNAL)
    if journal.startswith("sqlite:///"):
        return Path(journal.removeprefix("sqlite:///").partition("?")[0]).with_suffix(".run")
    return Path("var/run") / found.get("trader_id", _TRADER_ID)


def _start_ticks(pid: int) -> int | None:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_START_TICKS_FIELD])
