"""The table of REST endpoints: weight, security and handler of each, filled by the ``rest_*`` modules."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from node.venue.params import Params
from node.venue.venue import Venue

type Handler = Callable[[Venue, Params], Any | Awaitable[Any]]
type Weight = int | Callable[[Params], int]


class Security(Enum):
    """What a request must carry."""

    NONE = "none"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method and path; `burst` is what an order request counts in ten seconds (a batch: five, in a minute one)."""

    handler: Handler
    weight: Weight
    security: Security
    is_order: bool
    burst: int


class EndpointTable:
    """All endpoints by method and path."""

    def __init__(self) -> None:
        self.by_route: dict[tuple[str, str], Endpoint] = {}
        self.paths: set[str] = set()

    def add(
        self,
        method: str,
        path: str,
        *,
        weight: Weight = 1,
        security: Security = Security.NONE,
        is_order: bool = False,
        burst: int = 1,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function for a method and a path."""

        def register(handler: Handler) -> Handler:
            self.by_route[method, path] = Endpoint(handler, weight, security, is_order, burst)
            self.paths.add(path)
            return handler

        return register
