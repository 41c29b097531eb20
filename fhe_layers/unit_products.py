"""Products of the units that columns give, where 0 and 1 make them simpler.

    b * b = b                     for every unit of a category or a thermometer
    c_i * c_j = 0                 for two units of one category: a value is one of them
    t_i * t_j = t_max(i, j)       for two units of one thermometer: above both edges is above the
                                  larger one

True for units that `protocol.features.encode_columns` made of a record. Whoever encrypts other
numbers gets the value of the simplified polynomial, which is no other disclosure than before:
that of the committed polynomial at inputs of their choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fhe_layers.monomials import Monomial
from protocol.features import Category, Column, Feature


class _Kind(Enum):
    NUMBER = "number"
    CATEGORY = "category"
    THERMOMETER = "thermometer"


@dataclass(frozen=True)
class UnitProducts:
    """Which column each unit is of, and what kind of column that is."""

    columns: tuple[int, ...]
    kinds: tuple[_Kind, ...]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> UnitProducts:
        """The rules of a card's columns."""
        owners = [index for index, column in enumerate(columns) for _ in range(column.inputs)]
        return cls(tuple(owners), tuple(_kind(columns[index]) for index in owners))

    def product(self, left: Monomial, right: Monomial) -> Monomial | None:
        """The product of two monomials of simplified form, in that form; None: it is zero."""
        kept: list[int] = []
        for unit in sorted(left + right):
            kind = self.kinds[unit]
            # Ascending: a unit of the same column, if there is one, is the last kept.
            if kind is _Kind.NUMBER or not kept or self.columns[kept[-1]] != self.columns[unit]:
                kept.append(unit)
            elif kind is _Kind.THERMOMETER:
                kept[-1] = unit
            elif kept[-1] != unit:
                return None
        return tuple(kept)


def _kind(column: Column) -> _Kind:
    if isinstance(column, Feature):
        return _Kind.NUMBER
    return _Kind.CATEGORY if isinstance(column, Category) else _Kind.THERMOMETER
