"""Key, signature and timestamp: checked as the exchange does, against wall time and over the exact text sent."""

from collections.abc import Mapping

from node.venue.config import PermissionConfig
from node.venue.endpoints import Security
from node.venue.errors import ApiError, error
from node.venue.params import Params
from node.venue.signatures import ApiKey

DEFAULT_WINDOW_MS = 5000
LARGEST_WINDOW_MS = 60_000
_AHEAD_MS = 1000


def check(security: Security, params: Params, key: str | None, known: Mapping[str, ApiKey], now_ms: int) -> None:
    """
    Refuse a request that does not carry what its endpoint demands.

    Parameters
    ----------
    security : Security
        What the endpoint demands.
    params : Params
        Parameters with the text that was signed.
    key : str or None
        Value of X-MBX-APIKEY.
    known : Mapping[str, ApiKey]
        The venue's keys by name.
    now_ms : int
        Wall time, UTC ms.

    Raises
    ------
    ApiError
        Propagate: -2014 (no key), -2015 (other key), -1102 (parameter missing), -1022 (signature), -1021 (time).

    """
    if security is Security.NONE:
        return
    if not key:
        raise error(-2014)
    own = known.get(key)
    if own is None:
        raise error(-2015)
    if security is Security.KEY:
        return
    if "timestamp" not in params:
        raise error(-1102, "timestamp")
    timestamp = params.integer("timestamp")
    signature = params.required("signature")
    if not own.verifies(params.signed, signature):
        raise error(-1022)
    check_time(params, timestamp, now_ms)


def check_time(params: Params, timestamp: int, now_ms: int) -> None:
    """Refuse a request from outside its receive window (-1021, -1131)."""
    window = params.integer("recvWindow", DEFAULT_WINDOW_MS)
    if not 0 < window <= LARGEST_WINDOW_MS:
        raise ApiError(-1131, f"recvWindow must be less than {LARGEST_WINDOW_MS}")
    if timestamp >= now_ms + _AHEAD_MS:
        raise ApiError(-1021, f"Timestamp for this request was {_AHEAD_MS}ms ahead of the server's time.")
    if now_ms - timestamp > window:
        raise error(-1021)


def check_rights(security: Security, method: str, rights: PermissionConfig) -> None:
    """Refuse what the key may not do (-2015): reading, and anything that changes something."""
    if security is Security.SIGNED and not (rights.reading if method == "GET" else rights.futures):
        raise error(-2015)
