"""One-shot timers of wall time. The engine's clocks refuse a name that is taken; here the newer alert wins."""

from collections.abc import Callable
from typing import Any


def set_alert(clock: Any, name: str, delay_secs: float, callback: Callable[[Any], None]) -> None:
    """
    Call `callback` once, `delay_secs` from now, in place of an alert of that name that has not fired yet.

    Parameters
    ----------
    clock : Clock
        The strategy's clock: wall time live, simulated time in a backtest.
    name : str
        Unique within the component.
    delay_secs : float
        Positive.
    callback : Callable
        Receives the engine's TimeEvent.

    """
    if name in clock.timer_names:
        clock.cancel_timer(name)
    clock.set_time_alert_ns(name, clock.timestamp_ns() + int(delay_secs * 1e9), callback)
