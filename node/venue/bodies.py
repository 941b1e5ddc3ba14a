"""Values of an action of the control door or a scenario, read so that a wrong one is refused by its name."""

from decimal import Decimal, InvalidOperation
from typing import Any

from strategies.errors import ConfigError

type Body = dict[str, Any]

_MOST = Decimal(10) ** 18


def number(body: Body, name: str, default: float | None = None, *, least: Decimal | int = -_MOST) -> Decimal:
    """
    Return a finite number of at least `least`, or `default` where it is absent.

    Raises
    ------
    ConfigError
        Fatal: absent without a default, no number, or out of range.

    """
    if name not in body and default is None:
        raise ConfigError(f"{name} is missing")
    value = body.get(name, default)
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(value, bool) or not found.is_finite():
        raise ConfigError(f"{name}: {value!r} is not a number")
    if not least <= found <= _MOST:
        raise ConfigError(f"{name}: {value} is out of range, least is {least}")
    return found


def whole(body: Body, name: str, default: int | None = None, *, least: int = 0) -> int:
    """Return a whole number, else as :func:`number`."""
    found = number(body, name, default, least=least)
    if found % 1:
        raise ConfigError(f"{name}: {found} is not a whole number")
    return int(found)
