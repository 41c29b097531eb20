"""Columns that travel in clear beside the ciphertexts of a request.

They are raw values: both sides encode them by the card, so that nobody has to trust the other's
arithmetic.  A request names them by a salted digest.  Whoever keeps the transcript, an audit log
say, then has no digest to try likely values against; the card's digest beside it says which columns
they are.

Symbols: P plaintext columns of the card, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from protocol.digests import digest
from protocol.errors import NonFiniteError, RangeError, ShapeError
from protocol.features import Category, Floats
from protocol.model import ModelCard

SALT_BYTES = 32
_LABEL = "blindproof plaintext fields"
NO_PLAINTEXT_FIELDS = digest(_LABEL, ())
"""Digest of an empty list of plaintext columns (selective encryption is not used)."""


@dataclass(frozen=True, eq=False, repr=False)
class PlaintextColumns:
    """Raw values of the plaintext columns of one request.

    Attributes:
        values: float64 (P, records), finite; a category as its index.  A copy that nobody writes.
        salt: 32 random bytes, the client's, drawn afresh for each request.

    Raises:
        ShapeError: no columns, no records, or a salt of another size.
        NonFiniteError: NaN or infinity.
    """

    values: Floats
    salt: bytes

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or 0 in self.values.shape or self.values.dtype != np.float64:
            raise ShapeError("plaintext columns: expected float64 (columns, records), none empty")
        if len(self.salt) != SALT_BYTES:
            raise ShapeError(f"plaintext columns: the salt must have {SALT_BYTES} bytes")
        if not np.isfinite(self.values).all():
            raise NonFiniteError("plaintext columns: a value is NaN or infinite")
        values = np.add(self.values, 0.0, order="C")  # no negative zeros: one form of one value
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @cached_property
    def digest(self) -> bytes:
        """Digest of salt, shape and values."""
        columns, records = self.values.shape
        return digest(_LABEL, (self.salt, columns, records, self.values.astype("<f8").tobytes()))

    def require_declared(self, card: ModelCard, records: int) -> None:
        """Refuse what is not one complete, declared value for each plaintext column and record.

        Messages name the column, never a value.

        Raises:
            ShapeError: another number of columns or records.
            RangeError: a value outside its column's range, or that is none of its categories.
        """
        expected = (len(card.plaintext_features), records)
        if self.values.shape != expected:
            raise ShapeError(
                f"plaintext columns: expected {expected[0]} of {expected[1]} records, found "
                f"{self.values.shape[0]} of {self.values.shape[1]}"
            )
        for index, raw in zip(card.plaintext_features, self.values, strict=True):
            column = card.features[index]
            if isinstance(column, Category):
                declared = np.isin(raw, np.arange(len(column.categories), dtype=np.float64)).all()
            else:
                declared = column.low <= raw.min() and raw.max() <= column.high
            if not declared:
                raise RangeError(
                    f"plaintext column '{column.name}': a value is outside what this model declares"
                )
