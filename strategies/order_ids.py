"""
Client order ids that tell strategy, position cycle, leg and levels.

The venue stores the id before anything can crash, so it is the write-ahead log of protection: after kill -9 between the
entry and its stop, the levels are read back from the entry's own id. The exchange accepts ``^[.A-Z:/a-z0-9_-]{1,36}$``.

    <code>-<cycle>-<leg><attempt>[-<stop ticks>-<target ticks>]      all numbers in base 36

``code`` is the strategy's three characters and the symbol's tag: Nautilus wants ids unique in the whole account.
``cycle`` is the signal bar's close in minutes since 1970: unique per symbol, equal in every mode.
"""

import hashlib
import re
from enum import StrEnum, unique
from functools import lru_cache
from typing import NamedTuple

MAX_LENGTH = 36
_TAG_LENGTH = 5
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PATTERN = re.compile(
    r"^(?P<code>[A-Z0-9]{3,8})-(?P<cycle>[0-9a-z]+)-(?P<leg>[ESTRX])(?P<attempt>[0-9a-z]{1,3})"
    r"(?:-(?P<stop>[0-9a-z]+)-(?P<target>[0-9a-z]+))?$"
)
NANOS_PER_MINUTE = 60_000_000_000


@unique
class Leg(StrEnum):
    """What an order is for."""

    ENTRY = "E"
    STOP = "S"
    TARGET = "T"
    TRAIL = "R"
    EXIT = "X"


class OrderTag(NamedTuple):
    """The parsed content of a client order id; prices in ticks, ``cycle`` in UTC nanoseconds."""

    code: str
    cycle: int
    leg: Leg
    attempt: int
    stop_ticks: int | None = None
    target_ticks: int | None = None


def encode(tag: OrderTag) -> str:
    """
    Return the client order id of `tag`.

    Raises
    ------
    ValueError
        Propagate: a defect of the caller (code not 3 to 8 capitals or digits, id longer than the venue allows).

    """
    text = f"{tag.code}-{_base36(tag.cycle // NANOS_PER_MINUTE)}-{tag.leg.value}{_base36(tag.attempt)}"
    if tag.stop_ticks is not None and tag.target_ticks is not None:
        text += f"-{_base36(tag.stop_ticks)}-{_base36(tag.target_ticks)}"
    if len(text) > MAX_LENGTH or not _PATTERN.fullmatch(text):
        raise ValueError(f"client order id {text!r} is not one the venue or we could read back")
    return text


@lru_cache(maxsize=4096)  # the few orders that rest are looked at on every bar
def decode(text: str) -> OrderTag | None:
    """Return the content of a client order id, or None when it is not one of ours (a person's, another program's)."""
    m = _PATTERN.fullmatch(text)
    if m is None:
        return None
    return OrderTag(
        m["code"],
        int(m["cycle"], 36) * NANOS_PER_MINUTE,
        Leg(m["leg"]),
        int(m["attempt"], 36),
        int(m["stop"], 36) if m["stop"] else None,
        int(m["target"], 36) if m["target"] else None,
    )


def symbol_tag(symbol: str) -> str:
    """
    Return what stands for a venue symbol in a code: its base asset, shortened by a hash when above five characters.

    Two symbols may share a tag by chance; ``node.assembly`` refuses such a configuration.
    """
    base = symbol.removesuffix("USDT").removesuffix("USDC") or symbol
    if len(base) <= _TAG_LENGTH and base.isascii() and base.isalnum():
        return base.upper()
    digest = int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:8])
    return (re.sub(r"[^A-Z0-9]", "", base.upper())[:2] + _base36(digest).upper())[:_TAG_LENGTH]


def _base36(n: int) -> str:
    if n < 0:
        raise ValueError(f"cannot encode {n}: negative")
    digits = _DIGITS[n % 36]
    while n := n // 36:
        digits = _DIGITS[n % 36] + digits
    return digits
