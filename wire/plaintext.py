"""Codec of the columns that travel in clear: little-endian doubles, one form for each value."""

from __future__ import annotations

import numpy as np

from protocol.errors import EncodingError
from protocol.features import Floats
from wire.framing import expect_size

VALUE_BYTES = 8


def values_to_bytes(values: Floats) -> bytes:
    """Bytes of values without negative zeros, as `PlaintextColumns` has them, C order."""
    return values.astype("<f8", copy=False).tobytes()


def values_from_bytes(data: bytes, shape: tuple[int, ...], name: str) -> Floats:
    """Values of a shape; always a fresh array.

    Raises:
        EncodingError: not exactly that many bytes, or a value that is NaN, infinite or a negative
            zero.  The message does not repeat it.
    """
    expect_size(data, VALUE_BYTES * int(np.prod(shape)), name)
    values = np.frombuffer(data, dtype="<f8").astype(np.float64).reshape(shape)
    if not np.isfinite(values).all() or ((values == 0) & np.signbit(values)).any():
        raise EncodingError(f"{name}: a value is not finite or not canonical")
    return values
