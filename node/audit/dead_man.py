"""
The dead man's switch: the venue cancels the open orders of a symbol unless the node renews a countdown.

Only for venues whose switch leaves conditional orders alone (``DeadManConfig`` refuses others): then a node that dies
leaves no resting entry behind, and the stops of its positions stay.

Errors: a renewal that fails is tried again at the next beat (**defer**); the countdown is three beats long.
"""

import asyncio
from collections.abc import Callable, Sequence

from node.audit.config import DeadManConfig
from node.binance.rest import BinanceRest, VenueRequestError

BEATS = 3
_PATH = "/fapi/v1/countdownCancelAll"


class DeadManSwitch:
    """
    Renews the countdown of every symbol until :meth:`stop`, which disarms it.

    Parameters
    ----------
    config : DeadManConfig
        Enabled.
    rest : BinanceRest
        A client of its own with the account's key; closed at the end.
    symbols : sequence of str
        Venue symbols.
    report : Callable[[str, str], None]
        Receives ``(code, message)`` of what a person should know.

    """

    def __init__(
        self, config: DeadManConfig, rest: BinanceRest, symbols: Sequence[str], report: Callable[[str, str], None]
    ) -> None:
        self._config = config
        self._rest = rest
        self._symbols = symbols
        self._report = report
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self.beats = 0
        """Times every symbol was renewed."""

    def start(self) -> None:
        """Begin to renew."""
        self._task = asyncio.create_task(self._run(), name="dead_man_switch")

    async def stop(self) -> None:
        """Disarm at the venue and end: a stop that was asked for is no death."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._renew(0)
        await self._rest.close()

    async def _run(self) -> None:
        while True:
            await self._renew(self._config.countdown_secs * 1000)
            await asyncio.sleep(self._config.countdown_secs / BEATS)

    async def _renew(self, countdown_ms: int) -> None:
        try:
            for symbol in self._symbols:
                await self._rest.post(_PATH, {"symbol": symbol, "countdownTime": countdown_ms})
        except VenueRequestError as e:
            if not self._failing:
                self._report("dead_man_failing", f"the dead man's switch cannot be renewed: {e}")
            self._failing = True
            return
        self._failing = False
        self.beats += 1
