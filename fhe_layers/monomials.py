"""Products of features which a client computes before it encrypts.

A monomial is the ascending tuple of the features multiplied, (3, 3) for the square of feature 3;
the constant is (), which a model carries as its bias and nobody encrypts. An expansion is a list of
monomials, ascending in degree and then in features. It belongs to the model card: a linear model
over an expansion is a polynomial in the features.

Symbols: K features, M monomials, D input scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain, combinations_with_replacement
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocol.errors import NonFiniteError, ShapeError

Monomial: TypeAlias = tuple[int, ...]
Expansion: TypeAlias = tuple[Monomial, ...]


def canonical(monomials: Iterable[Monomial]) -> Expansion:
    """Monomials in the order a card lists them: by degree, then by features."""
    return tuple(sorted(monomials, key=lambda monomial: (len(monomial), monomial)))


def monomials(features: int, degree: int) -> Expansion:
    """All monomials of degree 1 to `degree`, as many as `count_monomials` says."""
    return tuple(
        chain.from_iterable(
            combinations_with_replacement(range(features), power) for power in range(1, degree + 1)
        )
    )


def count_monomials(features: int, degree: int) -> int:
    """C(features + degree, degree) - 1, the constant not counted."""
    return math.comb(features + degree, degree) - 1


def expand(records: NDArray[np.float64], expansion: Sequence[Monomial]) -> NDArray[np.float64]:
    """Values of the monomials in double precision: (records, K) -> (records, M).

    Raises:
        ShapeError: no matrix, or a monomial of a feature that there is not.
    """
    if records.ndim != 2:
        raise ShapeError(f"records: expected (records, K), found {records.shape}")
    rows, features = records.shape
    _require_features(expansion, features)
    degree = max(map(len, expansion), default=0)
    padded = np.column_stack([records, np.ones(rows)])  # feature K is 1, for lower degrees
    factors = np.array(
        [(*monomial, *[features] * (degree - len(monomial))) for monomial in expansion],
        dtype=np.int64,
    ).reshape(len(expansion), degree)
    values = np.ones((rows, len(expansion)))
    for position in range(degree):
        values *= padded[:, factors[:, position]]
    return values


def fixed_point_monomials(
    record: NDArray[np.float64], expansion: Sequence[Monomial], scale_log2: int
) -> list[int]:
    """round(D * monomial) for each monomial of one record (K,), halves rounded up.

    Products are those of the doubles given, without rounding in between: the error bound of an
    answer counts one rounding per input and no more.

    Raises:
        ShapeError: not a vector, or a monomial of a feature that there is not.
        NonFiniteError: a NaN or an infinity.
    """
    if record.ndim != 1:
        raise ShapeError(f"record: expected (K,), found {record.shape}")
    if not np.isfinite(record).all():
        raise NonFiniteError("record: NaN or infinity cannot be encoded")
    _require_features(expansion, record.size)
    ratios = [value.as_integer_ratio() for value in record.tolist()]
    numerators = [numerator for numerator, _ in ratios]
    halvings = [denominator.bit_length() - 1 for _, denominator in ratios]  # powers of two, all
    return [
        _shifted(
            math.prod(numerators[feature] for feature in monomial),
            scale_log2 - sum(halvings[feature] for feature in monomial),
        )
        for monomial in expansion
    ]


def _shifted(value: int, shift: int) -> int:
    """value * 2^shift to the nearest integer."""
    if shift >= 0:
        return value << shift
    return ((value >> (-shift - 1)) + 1) >> 1


def _require_features(expansion: Sequence[Monomial], features: int) -> None:
    if any(not 0 <= feature < features for monomial in expansion for feature in monomial):
        raise ShapeError(f"a monomial names a feature that is not among the {features}")
