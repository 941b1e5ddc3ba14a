"""Publishing what a person should know of, from inside the clients."""

from typing import Any

from strategies.market_clock import market_clock
from strategies.records import IncidentRecord


def publish_incident(
    msgbus: Any, clock: Any, *, severity: str, code: str, message: str, symbol: str | None = None
) -> None:
    """
    Publish an ``IncidentRecord``; `severity` is ``info``, ``warning`` or ``critical``.

    The id holds the wall-clock nanosecond, so two incidents are never taken for one.
    """
    now = clock.timestamp_ns()
    record = IncidentRecord(
        id=f"{code}/{symbol or '-'}/{now}",
        market_time=market_clock(msgbus).now,
        wall_time=now,
        severity=severity,
        code=code,
        symbol=symbol,
        message=message,
    )
    msgbus.publish(record.topic, record)
