"""
Pieces of a sweep and who does them: this machine's processes (joblib, loky) or an existing Dask cluster. The same code.

A piece is one symbol and a block of sets; it holds everything it needs, so a worker that dies takes nothing with it:
its pieces are done again by another.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from node.config import NodeConfig
from research.sweep.market import Market, prepare
from research.sweep.simulate import simulate_many
from strategies.errors import ConfigError
from strategies.kernel.params import CompositeParams

type Floats = npt.NDArray[np.float64]
type Span = tuple[int, int]

_RETRIES = 10


@dataclass(frozen=True, slots=True)
class Piece:
    """
    One symbol and a block of sets.

    Attributes
    ----------
    number : int
        Position among all pieces: results are put together in this order, whoever is done first.
    config : bytes
        The node configuration, encoded: it names the catalog, which every worker must be able to read.
    symbol : str
        Venue symbol.
    span : (int, int)
        What is prepared, UTC ns.
    sets : tuple of CompositeParams
        The block.
    windows : tuple of (int, int)
        Windows, UTC ns.

    """

    number: int
    config: bytes
    symbol: str
    span: Span
    sets: tuple[CompositeParams, ...]
    windows: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The figures of a piece: arrays (sets, windows) by name, and daily returns (days, sets) per window."""

    number: int
    figures: dict[str, Floats]
    returns: list[Floats]


def encode(config: NodeConfig) -> bytes:
    """Return a node configuration as bytes that every worker reads back."""
    return msgspec.json.encode(config)


@lru_cache(maxsize=4)
def market_of(config: bytes, symbol: str, span: Span) -> Market:
    """Return the prepared market of a piece; a worker keeps the last ones."""
    return prepare(msgspec.json.decode(config, type=NodeConfig), symbol, *span)


def do(piece: Piece) -> Done:
    """Simulate a piece."""
    market = market_of(piece.config, piece.symbol, piece.span)
    grid = simulate_many(market, piece.sets, piece.windows, returns=True)
    return Done(piece.number, grid.figures, grid.daily_returns)


def run_pieces[T](
    function: Callable[[Any], T],
    pieces: Sequence[Any],
    *,
    backend: str = "joblib",
    scheduler: str | None = None,
    workers: int = -1,
) -> Iterator[T]:
    """
    Yield the result of every piece, in any order.

    Parameters
    ----------
    function : callable
        Of one piece; importable by the workers.
    pieces : sequence
        Work.
    backend : {"joblib", "dask"}
        Processes of this machine, or the cluster at `scheduler`.
    scheduler : str, optional
        Address of a Dask scheduler, e.g. ``tcp://10.0.0.5:8786``.
    workers : int
        Processes of this machine; -1: as many as processors, 1: this process itself.

    Raises
    ------
    ConfigError
        Fatal: no scheduler, or it does not answer.
    Exception
        Propagate: whatever `function` raises; a piece whose workers died ten times.

    """
    if backend == "dask":
        yield from _on_cluster(function, pieces, scheduler)
    elif workers == 1 or len(pieces) == 1:
        yield from map(function, pieces)
    else:
        from joblib import Parallel, delayed  # noqa: PLC0415 - rarely needed

        parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1)
        yield from parallel(delayed(function)(piece) for piece in pieces)


def _on_cluster[T](function: Callable[[Any], T], pieces: Sequence[Any], scheduler: str | None) -> Iterator[T]:
    if scheduler is None:
        raise ConfigError("--backend dask: name the cluster with --scheduler ADDRESS")
    from distributed import Client, as_completed  # noqa: PLC0415 - a cluster is optional

    try:
        client = Client(scheduler, timeout="15s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as e:
        raise ConfigError(f"--scheduler {scheduler}: does not answer: {e}") from None
    with client:
        # A result lost with its worker is computed again by the cluster; `retries` also survives a worker that is
        # killed each time it takes a piece up.
        futures = client.map(function, list(pieces), pure=False, retries=_RETRIES)
        for future in as_completed(futures, loop=client.loop):
            yield future.result()
            future.release()
