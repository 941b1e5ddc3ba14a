"""
A start waits a little for what it needs: machines boot in any order, and servers restart.

Error contract: **propagate**, after the last attempt.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from strategies.errors import UnavailableError

START_DELAYS_SECS = (0.5, 1.0, 2.0, 4.0)
"""Waits between attempts at a start; then the process ends, and a supervisor waits longer."""


async def until_available[T](attempt: Callable[[], Awaitable[T]], delays: Sequence[float] = START_DELAYS_SECS) -> T:
    """
    Return what `attempt` returns; after an :class:`UnavailableError` try again, once per delay (s).

    Raises
    ------
    UnavailableError
        Propagate: that of the last attempt. Every other error propagates at once.

    """
    for delay in delays:
        try:
            return await attempt()
        except UnavailableError as e:
            sys.stderr.write(f"not started yet: {' '.join(str(e).split())}: trying again in {delay:g} s\n")
            await asyncio.sleep(delay)
    return await attempt()
