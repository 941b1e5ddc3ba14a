"""Pieces of a sweep, each one symbol and a block of sets with everything it needs (see :mod:`research.workers`)."""

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from node.config import NodeConfig
from research.sweep.market import Market, prepare
from research.sweep.simulate import simulate_many
from strategies.kernel.params import CompositeParams

type Floats = npt.NDArray[np.float64]
type Span = tuple[int, int]


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
