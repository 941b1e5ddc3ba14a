"""
The garbage collector of a live node: never in the way of a decision.

Python collects whenever some thousand objects have come to be, which is most likely while a candle is digested: a
young collection keeps the event loop for 1 to 2 ms, an old one for far more. So it is switched off and called by the
clock, in the middle between two candles. What the start has left is out of its sight (`node.restored.settle_memory`).
"""

import asyncio
import gc
import time
from collections.abc import Callable

PERIOD_SECS = 1.0
YOUNG = 2_000
"""Objects beyond which a young collection is worth its time, Python's own threshold."""
FLOOD = 100_000
"""Objects beyond which it is called at any time: memory must not depend on silence."""
OLDER_EVERY = 50
"""Young collections to one of the middle generation."""
WHOLE_SECS = 900.0
"""Between two collections of everything the node has made since its start."""
BEFORE_SECS, AFTER_SECS = 2.0, 5.0
"""Around the close of a candle nothing is collected: its message comes up to some seconds late."""


class IdleCollector:
    """
    Collects between candles.

    Parameters
    ----------
    interval_secs : float or None
        Length of a candle; None: closes do not follow wall time (a replay), and any moment is as good as another.
    wall : Callable[[], float]
        Wall clock, s since 1970.

    """

    def __init__(self, interval_secs: float | None, wall: Callable[[], float] = time.time) -> None:
        self._interval_secs = interval_secs
        self._wall = wall
        self._whole_at = wall() + WHOLE_SECS
        self._young = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take over from the automatic collector; call it on the event loop."""
        gc.disable()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="collector")

    def stop(self) -> None:
        """Give back to the automatic collector."""
        if self._task is not None:
            self._task.cancel()
        gc.enable()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECS)
            self.step()

    def step(self) -> int | None:
        """Collect if it is time to; return the oldest generation that was, or None."""
        objects = gc.get_count()[0]
        if objects < YOUNG or (self._near_close() and objects < FLOOD):
            return None
        generation = self._due()
        gc.collect(generation)
        return generation

    def _due(self) -> int:
        if self._wall() >= self._whole_at:
            self._whole_at = self._wall() + WHOLE_SECS
            return 2
        self._young += 1
        return 1 if self._young % OLDER_EVERY == 0 else 0

    def _near_close(self) -> bool:
        if self._interval_secs is None:
            return False
        since = self._wall() % self._interval_secs
        return since < AFTER_SECS or since > self._interval_secs - BEFORE_SECS
