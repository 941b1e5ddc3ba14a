"""Request weight and order counts by wall minute, the headers that tell them, and 429/418 when they are enforced."""

import math
import time
from typing import Any

from node.venue.config import LimitsConfig
from node.venue.errors import ApiError, error

_TEN_SECS = 10
_MINUTE = 60
_LONGEST_BAN = 3 * 86_400.0


class RateLimits:
    """
    Counts what the exchange counts. One account, one address.

    Attributes
    ----------
    enforce : bool
        Whether limits refuse requests; may change while running.
    banned_until : float
        Wall time, UTC s, until which everything is answered 418. Bans double from one to the next, up to three days.

    """

    def __init__(self, config: LimitsConfig) -> None:
        self._config = config
        self.enforce = config.enforce
        self.weight = 0
        self.orders_minute = 0
        self.orders_ten = 0
        self.banned_until = 0.0
        self._bans = 0
        self._refused = 0
        self._minute = 0
        self._ten = 0

    def charge(self, weight: int, *, is_order: bool, burst: int = 1) -> None:
        """
        Count one request; an order counts once in a minute and `burst` times in ten seconds.

        Raises
        ------
        ApiError
            Propagate: 429 (-1003, -1015) or 418 beyond the limits, if they are enforced; with Retry-After.

        """
        self._roll()
        if self.banned_until > time.time():
            raise self._banned()
        self.weight += weight
        if is_order:
            self.orders_minute += 1
            self.orders_ten += burst
        if not self.enforce:
            return
        refusal: ApiError | None = None
        if self.weight > self._config.weight_per_minute:
            refusal = error(-1003, self._config.weight_per_minute)
        elif is_order and self.orders_ten > self._config.orders_per_10_secs:
            refusal = error(-1015, self._config.orders_per_10_secs, "10 SECOND")
        elif is_order and self.orders_minute > self._config.orders_per_minute:
            refusal = error(-1015, self._config.orders_per_minute, "1 MINUTE")
        if refusal is None:
            return
        self._refused += 1
        if self._refused > self._config.ban_after:
            self._bans += 1
            self.ban(min(self._config.ban_secs * 2.0 ** (self._bans - 1), _LONGEST_BAN))
            raise self._banned()
        window = _TEN_SECS if refusal.message.endswith("10 SECOND.") else _MINUTE
        refusal.headers["Retry-After"] = str(window - int(time.time()) % window)
        raise refusal

    def ban(self, secs: float) -> None:
        """Answer 418 to everything for `secs` of wall time; 0 lifts a ban."""
        self.banned_until = time.time() + secs
        self._refused = 0

    def _banned(self) -> ApiError:
        until = self.banned_until
        found = ApiError(-1003, f"Way too many requests; IP banned until {round(until * 1000)}.", 418)
        found.headers["Retry-After"] = str(max(math.ceil(until - time.time()), 1))
        return found

    def rows(self, *, is_order: bool) -> list[dict[str, Any]]:
        """Return the accounting as the WebSocket API prints it."""
        self._roll()
        config = self._config
        found = [_row("REQUEST_WEIGHT", "MINUTE", 1, config.weight_per_minute, self.weight)]
        if is_order:
            found.append(_row("ORDERS", "SECOND", 10, config.orders_per_10_secs, self.orders_ten))
            found.append(_row("ORDERS", "MINUTE", 1, config.orders_per_minute, self.orders_minute))
        return found

    def headers(self, *, is_order: bool) -> dict[str, str]:
        """Return the accounting headers of an answer."""
        self._roll()
        found = {"X-MBX-USED-WEIGHT-1M": str(self.weight)}
        if is_order:
            found["X-MBX-ORDER-COUNT-10S"] = str(self.orders_ten)
            found["X-MBX-ORDER-COUNT-1M"] = str(self.orders_minute)
        return found

    def _roll(self) -> None:
        now = int(time.time())
        if now // _MINUTE != self._minute:
            self._minute = now // _MINUTE
            self.weight = self.orders_minute = self._refused = 0
        if now // _TEN_SECS != self._ten:
            self._ten = now // _TEN_SECS
            self.orders_ten = 0


def _row(kind: str, interval: str, number: int, limit: int, count: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit, "count": count}
