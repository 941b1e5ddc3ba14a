"""How an actor tells people: incidents on the bus, and handlers whose defects are contained."""

from collections.abc import Callable
from typing import Any

from strategies.market_clock import market_clock
from strategies.records import IncidentRecord


class Reporter:
    """
    Publishes the incidents of one actor, each under an id of its own.

    Parameters
    ----------
    actor : Actor
        A registered actor; its clock, log and bus are used.

    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._count = 0

    def incident(self, severity: str, code: str, symbol: str | None, message: str) -> None:
        """Publish and log an incident; `severity` is ``info``, ``warning`` or ``critical``."""
        actor = self._actor
        self._count += 1
        wall = actor.clock.timestamp_ns()
        record = IncidentRecord(
            id=f"{actor.id.value}/{code}/{symbol or '*'}/{wall}/{self._count}",
            market_time=market_clock(actor.msgbus).now,
            wall_time=wall,
            severity=severity,
            code=code,
            symbol=symbol,
            message=message,
        )
        text = f"{code}: {message}"
        log = {"info": actor.log.info, "warning": actor.log.warning}.get(severity, actor.log.error)
        log(text)
        actor.msgbus.publish(record.topic, record)


def contained(
    handler: Callable[[Any], None], on_error: Callable[[Exception], None], *, raise_errors: bool
) -> Callable[[Any], None]:
    """
    Return `handler` for the bus: a defect goes to `on_error` instead of into the engine that published.

    With `raise_errors` (backtests) it propagates, because a wrong result is worse than none.
    """
    if raise_errors:
        return handler

    def guarded(message: Any) -> None:
        try:
            handler(message)
        except Exception as e:  # noqa: BLE001 - whatever it is, it must not reach the engine
            on_error(e)

    return guarded
