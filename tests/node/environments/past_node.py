"""
``node.live`` on an exchange whose market lies a few hours back: rows that close after ``TRADE_FROM_NS`` may decide.

A test that lets minutes pass in tenths of a second runs out of past otherwise: what closes in the future can neither be
asked for nor be finished. Nothing else is different from the production node.
"""

import os
import sys
from typing import Any

from node.environments import Exchange, Session
from node.live import main

_open = Exchange.open


async def _opened(self: Any) -> Session:
    session = await _open(self)
    return session._replace(market_time_ns=int(os.environ["TRADE_FROM_NS"]))


if __name__ == "__main__":
    Exchange.open = _opened  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
