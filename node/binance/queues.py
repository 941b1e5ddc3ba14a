"""
The engines' queues without the turn of the event loop that what comes from the loop itself need not wait for.

Every message between a strategy and the venue passes through the queue of an engine. Upstream puts each into it by
``call_soon_threadsafe``, as if it came from another thread: a system call, and a turn of the loop before the engine's
task can be woken. A message from the loop's own thread is put there at once here; the engine still takes it in its own
task and in the order given. Others, and a full queue, go upstream's way.
"""

import asyncio
from threading import get_ident
from typing import Any

from nautilus_trader.live.enqueue import ThrottledEnqueuer

_ENQUEUERS = ("_cmd_enqueuer", "_evt_enqueuer", "_data_enqueuer", "_req_enqueuer", "_res_enqueuer")


class LoopEnqueuer(ThrottledEnqueuer[Any]):
    """A ``ThrottledEnqueuer`` that knows the thread of its loop. Made by :func:`straighten`, never by itself."""

    _thread = 0

    def enqueue(self, msg: Any) -> None:
        """Put `msg` into the queue, at once if that is possible from here."""
        queue: asyncio.Queue[Any] = self._queue
        if msg is not None and get_ident() == self._thread and queue.qsize() < queue.maxsize:
            queue.put_nowait(msg)
        else:
            super().enqueue(msg)


def straighten(*engines: Any) -> None:
    """Let `engines` take what comes from the thread of the loop without detour; call it on that thread."""
    for engine in engines:
        for name in _ENQUEUERS:
            enqueuer = getattr(engine, name, None)
            if type(enqueuer) is ThrottledEnqueuer:
                _adopt(enqueuer)


def _adopt(enqueuer: Any) -> None:
    enqueuer.__class__ = LoopEnqueuer
    enqueuer._thread = get_ident()  # noqa: SLF001 - of our own class now
