"""
The other end of the control plane: gives a command to the node, and to the venue if the node does not take it.

Errors: a mistake is one line (**propagate**); a node that does not answer is no error but the reason to go on to the
next way; when no way worked, the answer says what is left (exit code 1).
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import aiohttp
import msgspec

from node.binance.rest import BinanceRest, VenueRequestError
from node.control.access import AccountConfig, run_directory, venue_rest
from node.control.commands import CLOSING, LATCHING, Action, Command, Outcome
from node.control.direct import flatten, naked_positions, open_positions
from node.control.quick import user_name
from node.control.run_directory import incident, write_beside
from strategies.errors import ArgonautError, ConfigError

_HTTP_SECS = 30.0  # a hung node flattens from its control thread before it answers
_CONNECT_SECS = 2.0
_FILE_SECS = 2.0
_POLL_SECS = 0.02


class ControlClient:
    """
    Gives commands for one configuration.

    Parameters
    ----------
    config : NodeConfig or ControlConfig
        The node's configuration.
    environ : Mapping[str, str]
        Where credentials are looked up.
    venue_url : str or None
        Address of a simulated venue; None: as the node tells.
    run_dir : Path or None
        Run directory; None: the configuration's.
    who : str or None
        Who gives them; None: the user's name.

    """

    def __init__(
        self,
        config: AccountConfig,
        environ: Mapping[str, str],
        *,
        venue_url: str | None = None,
        run_dir: Path | None = None,
        who: str | None = None,
    ) -> None:
        self._config = config
        self._environ = environ
        self._venue_url = venue_url
        self._directory = run_directory(config, run_dir)
        self._who = who or user_name()

    async def give(
        self,
        action: str,
        symbol: str | None,
        *,
        flatten_first: bool,
        direct: bool,
        as_json: bool,
        out: TextIO,
        answer: dict[str, Any] | None = None,
    ) -> int:
        """
        Give a command by whichever way works, print what became of it, and return the exit code.

        `answer` is what the node's door has said to it already, if it was asked before (`node.control.quick`).
        """
        command = Command(action=Action(action), symbol=symbol, who=self._who, via="cli").checked(self._config.symbols)
        if direct and command.action not in CLOSING:
            raise ConfigError(f"--direct: only for {' and '.join(CLOSING)}")
        if flatten_first and command.action is not Action.STOP:
            raise ConfigError("--flatten: only for stop")
        outcome = Outcome(done=True, detail="")
        if flatten_first:
            for first in (Action.PAUSE, Action.FLATTEN):
                outcome = await self._carry_out(msgspec.structs.replace(command, action=first), direct=False)
        if outcome.done:
            outcome = await self._carry_out(command, direct=direct, answer=answer)
        out.write(msgspec.json.encode(outcome).decode() + "\n" if as_json else f"{outcome.detail}\n")
        return 0 if outcome.done else 1

    async def status(self, *, as_json: bool, out: TextIO) -> int:
        """Print what the node and the venue say; return 0 if both answered and nothing is unprotected."""
        process, beat = self._directory.process(), self._directory.beat()
        found: dict[str, Any] = {"node": "not running", "control": None, "venue": None}
        if process is not None:
            found["node"] = "running" if process.alive() else "died"
            found["pid"] = process.pid
        if beat is not None:
            found["heartbeat_age_secs"] = round(beat.age_secs(), 3)
        try:
            found["control"] = await self._http("GET", "status", None)
        except _NoAnswerError as e:
            found["control_error"] = str(e)
        try:
            async with self._rest() as rest:
                positions = {p.symbol: format(p.quantity, "f") for p in await open_positions(rest)}
                naked = await naked_positions(rest, self._config.symbols)
                found["venue"] = {"positions": positions, "naked": {s: format(q, "f") for s, q in naked.items()}}
        except ArgonautError as e:
            found["venue_error"] = str(e)
        out.write(msgspec.json.encode(found).decode() + "\n" if as_json else _status_text(found))
        venue = found["venue"]
        healthy = found["control"] is not None and found["control"]["loop_answers"]
        return 0 if healthy and venue is not None and not venue["naked"] else 1

    # -- the ways -----------------------------------------------------------------------------------------------------

    async def _carry_out(self, command: Command, *, direct: bool, answer: dict[str, Any] | None = None) -> Outcome:
        outcome = None
        tried = "not asked (--direct)"
        if not direct:
            try:
                outcome = await self._by_http(command, answer)
            except _NoAnswerError as e:
                tried = str(e)
                outcome = await self._by_file(command)
        if command.action not in CLOSING:
            return outcome or self._left(command, tried)
        if outcome is not None and outcome.done and (outcome.direct or await self._flat(command)):
            detail = outcome.detail if outcome.direct else f"{command.action}: the venue is flat"
            return msgspec.structs.replace(outcome, detail=detail)
        return await self._by_rest(command, tried if outcome is None else "the node took it, the venue is not flat")

    async def _by_http(self, command: Command, answer: dict[str, Any] | None) -> Outcome:
        if answer is None:
            answer = await self._http("POST", command.action, {"symbol": command.symbol, "who": command.who})
        if "error" in answer:
            raise ConfigError(str(answer["error"]))
        return msgspec.convert(answer, Outcome)

    async def _by_file(self, command: Command) -> Outcome | None:
        """Return None when nobody took the file (which is then withdrawn)."""
        process = self._directory.process()
        if process is None or not process.alive():
            return None
        path = self._directory.commands / f"{command.action}.json"
        body = msgspec.json.encode({"symbol": command.symbol, "who": command.who})
        try:
            write_beside(path, body, durable=False)
        except OSError:
            return None
        deadline = time.monotonic() + _FILE_SECS
        while path.exists():
            if time.monotonic() > deadline:
                path.unlink(missing_ok=True)
                return None
            await asyncio.sleep(_POLL_SECS)
        return Outcome(done=True, detail=f"{command.action} taken from its file")

    async def _by_rest(self, command: Command, reason: str) -> Outcome:
        if command.action in LATCHING:
            self._leave(command, reason)
        symbols = self._config.symbols if command.symbol is None else (command.symbol,)
        async with self._rest() as rest:
            report = await flatten(rest, symbols)
        if command.action not in LATCHING:
            self._leave(command, f"{reason}; {report.text}", code="control_direct")
        latched = "; latched for the next start" if command.action in LATCHING else ""
        return Outcome(done=report.flat, direct=True, detail=f"{report.text}{latched} (node: {reason})")

    def _left(self, command: Command, reason: str) -> Outcome:
        if command.action not in LATCHING:
            return Outcome(done=False, detail=f"{command.action}: not done: node: {reason}")
        self._leave(command, reason)
        return Outcome(done=True, detail=f"{command.action} recorded for the next start (node: {reason})")

    def _leave(self, command: Command, text: str, *, code: str | None = None) -> None:
        message = f"{command.action} by {command.who} via cli: node: {text}"
        self._directory.leave(
            incident("warning", code or command.action.value, message, symbol=command.symbol, source="cli")
        )

    async def _flat(self, command: Command) -> bool:
        """Return whether the venue reports no position within the time allowed."""
        symbols = self._config.symbols if command.symbol is None else (command.symbol,)
        deadline = time.monotonic() + self._config.operate.flat_secs
        async with self._rest() as rest:
            while True:
                try:
                    if not any(p.symbol in symbols for p in await open_positions(rest)):
                        return True
                except VenueRequestError as e:
                    await asyncio.sleep(min(e.retry_after_secs or 0.2, self._config.operate.flat_secs))
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(_POLL_SECS)

    async def _http(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        process, token = self._directory.process(), self._directory.token()
        if process is None or token is None or not process.port:
            raise _NoAnswerError(f"no node runs with {self._directory.path}")
        if not process.alive():
            raise _NoAnswerError(f"the node (pid {process.pid}) is dead")
        timeout = aiohttp.ClientTimeout(total=_HTTP_SECS, sock_connect=_CONNECT_SECS)
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{process.port}/{path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(method, url, json=body) as response,
            ):
                return msgspec.json.decode(await response.read(), type=dict[str, Any])
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as e:
            raise _NoAnswerError(f"the control door does not answer ({type(e).__name__})") from None

    def _rest(self) -> BinanceRest:
        return venue_rest(self._config, self._environ, venue_url=self._venue_url, directory=self._directory)


class _NoAnswerError(Exception):
    """The node cannot be reached this way."""


def _status_text(found: dict[str, Any]) -> str:
    control, venue = found["control"] or {}, found["venue"] or {}
    lines = [f"node       {found['node']}{f' (pid {found["pid"]})' if 'pid' in found else ''}"]
    if control:
        lines.append(
            f"phase      {control['phase']}{'' if control['loop_answers'] else ': EVENT LOOP DOES NOT ANSWER'}"
        )
        lines.append(f"latches    {', '.join(control.get('latches') or ()) or 'none'}")
    else:
        lines.append(f"control    {found.get('control_error')}")
    if venue:
        lines.append(f"positions  {_pairs(venue['positions'])}")
        lines.append(f"naked      {_pairs(venue['naked'])}")
    else:
        lines.append(f"venue      {found.get('venue_error')}")
    return "\n".join(lines) + "\n"


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items()) or "none"
