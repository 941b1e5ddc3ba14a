"""How far a kept paper account had seen the market; the books themselves are kept by ``node.venue.state``."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from strategies.errors import DataError


class Seen(NamedTuple):
    """Where an account began and how far it has come, UTC ms of candle closes."""

    start_ms: int
    market_ms: int


class _Marks(msgspec.Struct):
    start_ms: int
    market_ms: int


def seen_of(path: Path) -> Seen | None:
    """
    Return what a kept account has seen; None if there is none yet.

    Raises
    ------
    DataError
        Fatal: unreadable. An account is never silently forgotten.

    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Marks)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as e:
        raise DataError(f"{path}: not the state of a paper account ({e}); move it away to open a new one") from None
    return Seen(found.start_ms, found.market_ms)
