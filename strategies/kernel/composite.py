"""The kernel as Python sees it: one bar at a time, or a whole history, through the very same compiled step."""

import contextlib
import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from strategies.kernel import step as compiled
from strategies.kernel.columns import COLUMNS, FEATURE_SCHEMA
from strategies.kernel.params import CompositeParams

Floats = npt.NDArray[np.float64]

_HEADER = hashlib.sha256(f"{FEATURE_SCHEMA}:{compiled.STATE_SIZE}".encode()).digest()
NAN = float("nan")


class CompositeKernel:
    """
    Indicators, features and vote of one symbol, fed bar by bar.

    Parameters
    ----------
    params : CompositeParams, optional
        Parameters of the vote; the production set if absent. Indicators and features do not depend on them, except
        ``signal_strength`` and ``side``.

    """

    def __init__(self, params: CompositeParams | None = None) -> None:
        self.params = CompositeParams() if params is None else params
        self._params = _vector(self.params)
        self._state = np.empty(compiled.STATE_SIZE, dtype=np.float64)
        self._bar = np.empty(len(compiled.INPUTS), dtype=np.float64)
        self._row = np.empty(len(COLUMNS), dtype=np.float64)
        self.reset()

    @property
    def bars_seen(self) -> int:
        """Bars taken since construction or the last reset."""
        return int(self._state[compiled.COUNT])

    @property
    def row(self) -> Floats:
        """The row of the newest bar, all NaN before the first; owned by the kernel like the result of :meth:`step`."""
        return self._row

    def reset(self) -> None:
        """Forget every bar."""
        compiled.reset(self._state)
        self._row.fill(NAN)

    def step(
        self,
        open: float,  # noqa: A002 - the word for it on every bar
        high: float,
        low: float,
        close: float,
        volume: float,
        btc_close: float = NAN,
        eth_close: float = NAN,
        funding: float = NAN,
        oi_change: float = NAN,
    ) -> Floats:
        """
        Take one finished bar and return its row.

        Parameters
        ----------
        open, high, low, close : float
            Prices, quote currency.
        volume : float
            Base currency.
        btc_close, eth_close : float
            Closes of BTC and ETH of the same bar, NaN where missing.
        funding : float
            Last funding rate settled strictly before the bar's close, a fraction, NaN where missing.
        oi_change : float
            Relative change of open interest since the bar before, NaN where missing.

        Returns
        -------
        np.ndarray
            float64, shape (len(COLUMNS),), in the order of :data:`strategies.kernel.columns.COLUMNS`. Owned by the
            kernel and overwritten by the next step: copy it to keep it.

        Raises
        ------
        ValueError
            Propagate: a price is not positive and finite, or another value is infinite. The bar was not taken.

        """
        self.advance(open, high, low, close, volume, btc_close, eth_close, funding, oi_change)
        return self.complete()

    def advance(
        self,
        open: float,  # noqa: A002 - the word for it on every bar
        high: float,
        low: float,
        close: float,
        volume: float,
        btc_close: float,
        eth_close: float,
        funding: float,
        oi_change: float,
    ) -> Floats:
        """
        Take one finished bar without its z-scored features: nine tenths of a step's work, needed only beside a vote.

        Parameters, errors and result as for :meth:`step`; the z-scored columns are NaN until :meth:`complete`.
        """
        refused = compiled.advance_by(
            self._state,
            self._params,
            self._bar,
            self._row,
            open,
            high,
            low,
            close,
            volume,
            btc_close,
            eth_close,
            funding,
            oi_change,
        )
        if refused:
            raise ValueError(f"{compiled.INPUTS[refused - 1]} {self._bar[refused - 1]} is not a usable value")
        return self._row

    def complete(self) -> Floats:
        """Return the newest bar's row with every column, as :meth:`step` would have returned it."""
        compiled.complete(self._state, self._row)
        return self._row

    def state_bytes(self) -> bytes:
        """Return the state for storage; :meth:`restore` of the same feature schema takes it back."""
        return _HEADER + self._state.tobytes()

    def restore(self, data: bytes) -> None:
        """
        Continue from stored state; :attr:`row` is empty until the next bar.

        Raises
        ------
        ValueError
            Unavailable: written by another version of the kernel, or cut short; the present state is kept.

        """
        if data[: len(_HEADER)] != _HEADER or len(data) != len(_HEADER) + self._state.nbytes:
            raise ValueError("kernel state was written by another version of the kernel: feed the history anew")
        self._state[:] = np.frombuffer(data, dtype=np.float64, offset=len(_HEADER))
        self._row.fill(NAN)


def run_batch(
    params: CompositeParams | None,
    bars: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
) -> Floats:
    """
    Return the rows of a whole history: a loop over the step that :class:`CompositeKernel` calls, bit-identical to it.

    Parameters
    ----------
    params : CompositeParams or None
        Parameters of the vote; None is the production set.
    bars : mapping of arrays, or array of shape (n, 9)
        Oldest first. A mapping has ``open, high, low, close, volume`` and, optional, ``btc_close, eth_close, funding,
        oi_change`` (absent: all NaN); an array has these nine columns in this order. Units as in
        :meth:`CompositeKernel.step`.

    Returns
    -------
    np.ndarray
        float64, shape (n, len(COLUMNS)).

    Raises
    ------
    ValueError
        Propagate: wrong shape or name, or a value the step refuses, with its row (first row is 0) and field.

    """
    matrix = _matrix(bars)
    rows = np.empty((len(matrix), len(COLUMNS)), dtype=np.float64)
    state = np.empty(compiled.STATE_SIZE, dtype=np.float64)
    compiled.reset(state)
    taken, refused = compiled.batch(state, _vector(params or CompositeParams()), matrix, rows)
    if refused:
        name = compiled.INPUTS[refused - 1]
        raise ValueError(f"row {taken}: {name} {matrix[taken, refused - 1]} is not a usable value")
    return rows


def run_votes(bars: Mapping[str, npt.ArrayLike]) -> Floats:
    """
    Return what the vote of a history is made of, bit-identical to :func:`run_batch`, without the features.

    Parameters
    ----------
    bars : mapping of arrays
        ``open, high, low, close, volume`` as in :func:`run_batch`.

    Returns
    -------
    np.ndarray
        float64, shape (n, 5): ``score_long, score_short, adx, vol_ma20, atr``. The vote of any parameters follows by
        :func:`strategies.kernel.step.decide`.

    Raises
    ------
    ValueError
        Propagate: as in :func:`run_batch`.

    """
    matrix = _matrix(bars)
    out = np.empty((len(matrix), 5), dtype=np.float64)
    state = np.empty(compiled.STATE_SIZE, dtype=np.float64)
    compiled.reset(state)
    taken, refused = compiled.batch_votes(state, _vector(CompositeParams()), matrix, out)
    if refused:
        name = compiled.INPUTS[refused - 1]
        raise ValueError(f"row {taken}: {name} {matrix[taken, refused - 1]} is not a usable value")
    return out


def warm_up() -> None:
    """
    Compile the kernel, or load it from numba's cache, so that the first live bar does not wait for it.

    Degraded: when the cache cannot be written, the kernel still works and is compiled anew in each process.
    """
    matrix = np.ones((1, len(compiled.INPUTS)))
    for _ in range(2):
        # numba registers what it compiled before it stores it: after a full disk the second call finds it.
        with contextlib.suppress(OSError):
            CompositeKernel().step(*matrix[0])
        with contextlib.suppress(OSError):
            run_batch(None, matrix)


def _vector(params: CompositeParams) -> Floats:
    return np.array([params.signal_threshold, params.adx_threshold, params.volume_multiplier], dtype=np.float64)


def _matrix(bars: Mapping[str, npt.ArrayLike] | npt.ArrayLike) -> Floats:
    if not isinstance(bars, Mapping):
        matrix = np.ascontiguousarray(bars, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != len(compiled.INPUTS):
            raise ValueError(f"bars must have shape (n, {len(compiled.INPUTS)}), not {matrix.shape}")
        return matrix
    unknown = set(bars) - set(compiled.INPUTS)
    missing = set(compiled.INPUTS[:5]) - set(bars)
    if unknown or missing:
        raise ValueError(f"bars: unknown {sorted(unknown)}, missing {sorted(missing)}")
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in bars.items()}
    n = len(columns["close"])
    matrix = np.full((n, len(compiled.INPUTS)), NAN)
    for position, name in enumerate(compiled.INPUTS):
        if name not in columns:
            continue
        if columns[name].shape != (n,):
            raise ValueError(f"bars: {name} has shape {columns[name].shape}, not ({n},)")
        matrix[:, position] = columns[name]
    return matrix
