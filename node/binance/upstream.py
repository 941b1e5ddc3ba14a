"""Proof that the adapter underneath is the one our corrections were written against."""

import hashlib
import inspect
from functools import cache

from nautilus_trader.adapters.binance import execution as common_execution
from nautilus_trader.adapters.binance.futures import execution as futures_execution
from nautilus_trader.adapters.binance.futures.schemas import user as user_schemas
from nautilus_trader.adapters.binance.http import client as http_client
from nautilus_trader.adapters.binance.websocket import user as user_stream

from strategies.errors import RuntimeVersionError
from strategies.startup import NAUTILUS_VERSION

MODULES = (common_execution, futures_execution, user_schemas, http_client, user_stream)
"""The upstream modules whose private names and control flow the corrections rely on."""

EXPECTED_SHA256 = "daac036849d533f38f23639e9dbf39eb5262716b1b3e8538accfcae849cfb145"
"""Hash of the source of `MODULES` in nautilus_trader 1.231.0."""


def upstream_sha256() -> str:
    """Return the hash of the installed source of `MODULES`, independent of line endings."""
    digest = hashlib.sha256()
    for module in MODULES:
        digest.update("\n".join(inspect.getsource(module).splitlines()).encode())
    return digest.hexdigest()


@cache
def check_upstream() -> None:
    """
    Refuse to build clients on an adapter whose source differs from the one proven.

    Raises
    ------
    RuntimeVersionError
        Fatal: an upgraded or locally changed adapter; names what to do.

    """
    found = upstream_sha256()
    if found != EXPECTED_SHA256:
        raise RuntimeVersionError(
            f"the installed Binance adapter differs from nautilus_trader {NAUTILUS_VERSION} "
            f"(source hash {found[:12]}, expected {EXPECTED_SHA256[:12]}): run `make setup`, or re-prove "
            "node/binance against the new source and update node/binance/upstream.py"
        )
