"""Key, signature and timestamp: checked as the exchange does, against wall time and over the exact text sent."""

import hashlib
import hmac

from node.venue.endpoints import Security
from node.venue.errors import ApiError, error
from node.venue.params import Params

DEFAULT_WINDOW_MS = 5000
LARGEST_WINDOW_MS = 60_000
_AHEAD_MS = 1000


def check(security: Security, params: Params, key: str | None, known: tuple[str, str], now_ms: int) -> None:
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
    known : tuple[str, str]
        The venue's API key and secret.
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
    if not hmac.compare_digest(key.encode(), known[0].encode()):
        raise error(-2015)
    if security is Security.KEY:
        return
    if "timestamp" not in params:
        raise error(-1102, "timestamp")
    timestamp = params.integer("timestamp")
    signature = params.required("signature")
    expected = hmac.new(known[1].encode(), params.signed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.lower().encode(), expected.encode()):
        raise error(-1022)
    window = params.integer("recvWindow", DEFAULT_WINDOW_MS)
    if not 0 < window <= LARGEST_WINDOW_MS:
        raise ApiError(-1131, f"recvWindow must be less than {LARGEST_WINDOW_MS}")
    if timestamp >= now_ms + _AHEAD_MS:
        raise ApiError(-1021, f"Timestamp for this request was {_AHEAD_MS}ms ahead of the server's time.")
    if now_ms - timestamp > window:
        raise error(-1021)
