"""
What the name of a file says of its rows: symbol, interval, day or month.

A name that contradicts the command or the rows refuses the file: the likeliest reason is that it is the wrong one. The
name of the file inside a zip counts as well.
"""

import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from strategies.errors import DataError

_SYMBOL = re.compile(r"(?<![A-Z0-9])[A-Z0-9]{2,15}(?:USDT|USDC|BUSD)(?![A-Z0-9])")
_INTERVAL = re.compile(r"(?<=[-_])(1s|[135]m|15m|30m|[12468]h|12h|[13]d|1w)(?=[-_.]|$)")
_PERIOD = re.compile(r"-(20\d\d)-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?(?=\.)")
_SLACK_NS = 60_000_000_000
"""Settlements are stamped some milliseconds beside the hour."""


def refuse_name(path: Path, symbol: str, interval: str | None) -> None:
    """
    Refuse a file whose name, or whose member's name, says another symbol or interval.

    Raises
    ------
    DataError
        Propagate: names the file, what its name says and the remedy.

    """
    for name, place in _names(path):
        named = set(_SYMBOL.findall(name))
        if named and symbol not in named:
            raise DataError(
                f"{place}: the name says {min(named)}, --symbol says {symbol}: "
                f"use --symbol {min(named)} or rename the file; nothing was stored"
            )
        steps = set(_INTERVAL.findall(name))
        if interval is not None and steps and interval not in steps:
            raise DataError(
                f"{place}: the name says {min(steps)}, --interval says {interval}: "
                f"use --interval {min(steps)} or rename the file; nothing was stored"
            )


def refuse_period(path: Path, first_ns: int) -> None:
    """
    Refuse a file whose first row lies outside the day or month its name says.

    Raises
    ------
    DataError
        Propagate: names the file, what its name says and the remedy.

    """
    for name, place in _names(path):
        found = _PERIOD.search(name)
        if found is None:
            continue
        year, month, day = (int(part) if part else 0 for part in found.groups())
        try:
            start = datetime(year, month, day or 1, tzinfo=UTC)
        except ValueError:  # no such day: not a date
            continue
        end = start + timedelta(days=1) if day else (start + timedelta(days=32)).replace(day=1)
        if not start.timestamp() * 1e9 - _SLACK_NS <= first_ns < end.timestamp() * 1e9 + _SLACK_NS:
            at = datetime.fromtimestamp(first_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raise DataError(
                f"{place}: the name says {found.group()[1:]}, the first row is of {at}: "
                "download the file again or rename it; nothing was stored"
            )


def _names(path: Path) -> list[tuple[str, str]]:
    names = [(path.name, str(path))]
    try:
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = [member for member in archive.namelist() if member.lower().endswith(".csv")]
            names += [(Path(member).name, f"{path} ({member})") for member in inside[:1]]
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        pass  # its reader says better what is wrong
    return names
