"""Request weight and order counts by wall minute, the headers that tell them, and 429/418 when they are enforced."""

import time

from node.venue.config import LimitsConfig
from node.venue.errors import ApiError, error

_TEN_SECS = 10
_MINUTE = 60


class RateLimits:
    """Counts what the exchange counts. One account, one address."""

    def __init__(self, config: LimitsConfig) -> None:
        self._config = config
        self.weight = 0
        self.orders_minute = 0
        self.orders_ten = 0
        self._refused = 0
        self._minute = 0
        self._ten = 0

    def charge(self, weight: int, *, is_order: bool) -> None:
        """
        Count one request.

        Raises
        ------
        ApiError
            Propagate: 429 (-1003, -1015) or 418 beyond the limits, if they are enforced; with Retry-After.

        """
        self._roll()
        self.weight += weight
        if is_order:
            self.orders_minute += 1
            self.orders_ten += 1
        if not self._config.enforce:
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
            until = round((time.time() + 2 * _MINUTE) * 1000)
            refusal = ApiError(-1003, f"Way too many requests; IP banned until {until}.", 418)
        refusal.headers["Retry-After"] = str(_MINUTE - round(time.time()) % _MINUTE)
        raise refusal

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
