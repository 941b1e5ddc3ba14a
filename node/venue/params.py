"""Request parameters: the exact text that was signed, and typed access with Binance's own complaints."""

import re
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

from node.venue.errors import ApiError, error

_SIGNATURE = re.compile(r"(?:^|&)signature=[^&]*")
_DECIMAL = re.compile(r"^-?\d+(\.\d*)?$|^-?\.\d+$")
_DECIMAL_RANGE = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"


class Params:
    """
    Parameters of one request, from the query string and the body (the query string wins on a conflict).

    Parameters
    ----------
    query, body : str
        As received, still percent-encoded.

    """

    def __init__(self, query: str, body: str = "") -> None:
        self.signed = _SIGNATURE.sub("", query) + _SIGNATURE.sub("", body)
        self.signed = self.signed.removeprefix("&")
        self._values: dict[str, str] = {}
        self._repeated = False
        for part in (body, query):
            pairs = parse_qsl(part, keep_blank_values=True)
            self._repeated = self._repeated or len(dict(pairs)) != len(pairs)
            self._values.update(pairs)

    @classmethod
    def of(cls, values: dict[str, str]) -> "Params":
        """Return parameters that did not come over the wire by themselves, e.g. one row of a batch."""
        params = cls("")
        params._values = values
        return params

    def __contains__(self, name: str) -> bool:
        return self._values.get(name, "") != ""

    @property
    def names(self) -> set[str]:
        """Names of the parameters that are not empty."""
        return {n for n, v in self._values.items() if v != ""}

    def check(self) -> None:
        """Refuse a query string or body that names a parameter twice (-1101)."""
        if self._repeated:
            raise error(-1101)

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter, or `default` if absent or empty."""
        return self._values.get(name, "") or default

    def required(self, name: str) -> str:
        """Return a parameter that must be there (-1102)."""
        value = self._values.get(name, "")
        if not value:
            raise error(-1102, name)
        return value

    def one_of(self, *names: str) -> None:
        """Demand that at least one of two parameters is there (-1102)."""
        if not any(n in self for n in names):
            listed = " or ".join(f"'{n}'" for n in names)
            raise ApiError(-1102, f"Param {listed} must be sent, but both were empty/null!")

    def flag(self, name: str) -> bool:
        """Return a boolean parameter, whatever its capitalisation (-1130 if it is neither true nor false)."""
        value = self._values.get(name, "").lower()
        if value not in ("", "true", "false"):
            raise error(-1130, name)
        return value == "true"

    def integer(self, name: str, default: int = 0) -> int:
        """Return an integer parameter (-1102 if malformed, as the exchange answers)."""
        value = self._values.get(name, "")
        if not value:
            return default
        try:
            return int(value)
        except ValueError:
            raise error(-1102, name) from None

    def decimal(self, name: str) -> Decimal | None:
        """Return a decimal parameter or None (-1100 for illegal characters)."""
        value = self._values.get(name, "")
        if not value:
            return None
        if not _DECIMAL.match(value):
            raise error(-1100, name, _DECIMAL_RANGE)
        try:
            return Decimal(value)
        except InvalidOperation:
            raise error(-1102, name) from None

    def limit(self, default: int, most: int) -> int:
        """Return ``limit`` (-1130 below 1 or above `most`)."""
        value = self.integer("limit", default)
        if not 1 <= value <= most:
            raise error(-1130, "limit")
        return value
