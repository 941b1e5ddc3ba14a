"""The commands a person or the watchdog may give, however they arrive."""

from enum import StrEnum, unique
from pathlib import Path
from typing import Any

import msgspec

from strategies.errors import ConfigError
from strategies.yaml_config import FrozenConfig

_LONGEST = 4_096


@unique
class Action(StrEnum):
    """What is to be done."""

    PAUSE = "pause"
    """No new entries until ``resume``. Stops, targets and exits go on."""
    RESUME = "resume"
    """End a pause."""
    FLATTEN = "flatten"
    """Cancel entries, close positions; entries stay allowed."""
    KILL = "kill"
    """Flatten, and no entries until ``rearm``."""
    REARM = "rearm"
    """Clear kill switches (of one symbol, or all)."""
    STOP = "stop"
    """End the node; stops stay at the venue."""
    STATUS = "status"
    """Only tell."""


CLOSING = (Action.FLATTEN, Action.KILL)
LATCHING = (Action.PAUSE, Action.KILL)
WITH_SYMBOL = (Action.PAUSE, Action.RESUME, Action.FLATTEN, Action.KILL, Action.REARM)


class Command(FrozenConfig, frozen=True, kw_only=True):
    """
    One command.

    Attributes
    ----------
    action : Action
        What.
    symbol : str or None
        For one symbol only; None for all.
    who : str
        Whoever gave it, as they call themselves.
    via : str
        The way it came: ``http``, ``file``, ``signal``.

    """

    action: Action
    symbol: str | None = None
    who: str = "unknown"
    via: str = "unknown"

    def checked(self, symbols: tuple[str, ...]) -> "Command":
        """
        Return the command with `who` shortened to something that fits a line.

        Raises
        ------
        ConfigError
            Propagate: a symbol that is not traded, or one where none is possible.

        """
        if self.symbol is not None:
            if self.action not in WITH_SYMBOL:
                raise ConfigError(f"{self.action}: takes no symbol")
            if self.symbol not in symbols:
                raise ConfigError(f"{self.action}: unknown symbol {self.symbol!r}, known are {', '.join(symbols)}")
        return msgspec.structs.replace(self, who=" ".join(self.who.split())[:80] or "unknown")

    @property
    def text(self) -> str:
        """What the journal says of it."""
        return f"{self.action}{f' {self.symbol}' if self.symbol else ''} by {self.who} via {self.via}"


class Outcome(FrozenConfig, frozen=True, kw_only=True):
    """
    What became of a command.

    Attributes
    ----------
    done : bool
        Whether it took effect, or will without anybody's doing.
    detail : str
        One sentence.
    direct : bool
        Whether the venue was asked directly because the event loop did not answer.

    """

    done: bool
    detail: str
    direct: bool = False


def command_of(action: str, body: bytes, *, via: str) -> Command:
    """
    Return the command named `action` with the optional JSON object `body` (``symbol``, ``who``).

    Raises
    ------
    ConfigError
        Propagate: unknown action, or a body that is not such an object.

    """
    if action not in set(Action):
        raise ConfigError(f"unknown command {action!r}, known are {', '.join(Action)}")
    try:
        values: dict[str, Any] = msgspec.json.decode(body, type=dict[str, str | None]) if body.strip() else {}
    except msgspec.DecodeError as e:
        raise ConfigError(f"{action}: the body must be empty or a JSON object of texts: {e}") from None
    unknown = values.keys() - {"symbol", "who"}
    if unknown:
        raise ConfigError(f"{action}: unknown key {min(unknown)!r}, known are symbol, who")
    return Command(action=Action(action), symbol=values.get("symbol"), who=values.get("who") or via, via=via)


def command_in(path: Path) -> Command:
    """
    Return the command in a file: its name (less a suffix ``.json``) is the action, its content the optional body.

    Raises
    ------
    ConfigError, OSError
        Propagate: not a command; not readable.

    """
    with path.open("rb") as file:
        body = file.read(_LONGEST + 1)
    if len(body) > _LONGEST:
        raise ConfigError(f"{path.name}: longer than {_LONGEST} bytes")
    return command_of(path.name.removesuffix(".json"), body, via="file")
