"""
Numbers and flags between NumPy and Arrow.

``pyarrow.array`` and ``to_numpy`` look whether they deal with something of pandas and import that for it, which takes
longer than a file of a hundred thousand trades.
"""

import numpy as np
import pyarrow as pa


def from_numpy(values: np.ndarray) -> pa.Array:
    """Return integers of 64 bits (without a copy) or flags as an Arrow array."""
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    whole = np.ascontiguousarray(values, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole)])


def scalar(value: float, kind: pa.DataType) -> pa.Scalar:
    """Return a number or a flag as a scalar of a type."""
    if isinstance(value, float):
        return pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([value]))]).cast(kind)[0]
    whole = from_numpy(np.array([value]))
    if pa.types.is_decimal(kind):
        whole = whole.cast(pa.decimal128(38, kind.scale))  # a short one might not hold any integer, says Arrow
    return whole.cast(kind)[0]


YES, NO = scalar(value=True, kind=pa.bool_()), scalar(value=False, kind=pa.bool_())


def to_numpy(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return integers or floats of 64 bits, or flags, without empty cells, as one array; one chunk is not copied."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    parts = [_one(chunk) for chunk in chunks]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, _TYPES[values.type])


_TYPES = {pa.int64(): np.dtype(np.int64), pa.float64(): np.dtype(np.float64), pa.bool_(): np.dtype(np.bool_)}


def _one(chunk: pa.Array) -> np.ndarray:
    if chunk.null_count or chunk.type not in _TYPES:
        raise TypeError(f"{chunk.null_count} empty cells of {chunk.type}")
    dtype = _TYPES[chunk.type]
    if not len(chunk):
        return np.empty(0, dtype)
    buffer, start = chunk.buffers()[1], chunk.offset
    if dtype == np.bool_:
        bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=start + len(chunk), bitorder="little")
        return bits[start:].astype(np.bool_)
    return np.frombuffer(buffer, dtype, len(chunk), start * dtype.itemsize)
