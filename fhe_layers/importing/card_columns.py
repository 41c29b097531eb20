"""From the terms of an affine map to columns of a card, and to the inputs that stand for terms.

Symbols: C columns of the card, U inputs that they encode to, K inputs of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine import Above, AffineMap, Indicator, Number, Unit
from fhe_layers.importing.calibration import calibrated_range, privacy_of
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.monomials import Expansion, Monomial, canonical, expand
from protocol.errors import ModelError
from protocol.features import (
    MAX_EDGES,
    Category,
    Column,
    Feature,
    Thermometer,
    encode_columns,
    with_stand_ins,
)

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CardInputs:
    """What a card says of its inputs, and the first weights over them.

    Attributes:
        features: the C columns, in the table's order.
        expansion: K monomials of the U encoded units; empty if these are the inputs.
        weights: float64 (F, K).
    """

    features: tuple[Column, ...]
    expansion: Expansion
    weights: Floats


def card_inputs(given: AffineMap, table: Table, options: ImportOptions) -> CardInputs:
    """Columns for the terms of a map, and its matrix over the inputs that clients send.

    Raises:
        ModelError: a column that the model does not read, or reads in two ways, or that is named
            as local although the model reads it; missing values that nothing replaces.
    """
    given = _without_idle_steps(_without_local(given, table, options))
    used = {unit for term in given.terms for unit in term}
    read = {unit.column for unit in used}
    kept = [index for index, name in enumerate(table.names) if name not in options.local]
    unread = [table.names[index] for index in kept if index not in read]
    if unread:
        listed = ", ".join(f"'{name}'" for name in unread)
        raise ModelError(
            f"the model does not read {listed}: name such columns as local, and clients keep them"
        )
    features = tuple(
        _column(index, [unit for unit in used if unit.column == index], table, options)
        for index in kept
    )
    _require_complete(features, table)
    starts = accumulate((feature.inputs for feature in features), initial=0)
    place = {
        index: (start, feature)
        for index, start, feature in zip(kept, starts, features, strict=False)
    }

    def input_of(unit: Unit) -> int:
        start, feature = place[unit.column]
        return start + _position(unit, feature)

    monomials: list[Monomial] = [tuple(sorted(map(input_of, term))) for term in given.terms]
    expansion: Expansion = ()
    if any(len(monomial) > 1 for monomial in monomials):
        expansion = canonical(set(monomials))
        columns = {monomial: index for index, monomial in enumerate(expansion)}
    else:
        count = sum(feature.inputs for feature in features)
        columns = {(index,): index for index in range(count)}
    weights = np.zeros((given.features, len(columns)))
    for monomial, column in zip(monomials, given.matrix.T, strict=True):
        weights[:, columns[monomial]] += column
    return CardInputs(features, expansion, weights)


def sample_values(features: Sequence[Column], table: Table) -> Floats:
    """The sample as raw values (records, C), missing ones NaN."""
    return table.values[:, [table.names.index(feature.name) for feature in features]]


def sample_inputs(features: Sequence[Column], expansion: Expansion, raw: Floats) -> Floats:
    """The network's inputs (records, K) for raw values (records, C), missing ones replaced."""
    encoded = encode_columns(features, with_stand_ins(features, raw))
    return expand(encoded, expansion) if expansion else encoded


def term_values(given: AffineMap, table: Table) -> Floats:
    """The features of a map on the sample: (records, F)."""
    values = np.ones((table.records, len(given.terms)))
    for index, term in enumerate(given.terms):
        for unit in term:
            values[:, index] *= _unit_values(unit, table)
    return values @ given.matrix.T + given.offset


def _without_local(given: AffineMap, table: Table, options: ImportOptions) -> AffineMap:
    """The map without the terms of columns that clients keep.

    Raises:
        ModelError: one of these has a say.
    """
    local = {table.names.index(name) for name in options.local}
    kept = []
    for index, term in enumerate(given.terms):
        hidden = [unit.column for unit in term if unit.column in local]
        if not hidden:
            kept.append(index)
        elif given.matrix[:, index].any():
            raise ModelError(
                f"column '{table.names[hidden[0]]}' is named as local, but the model reads it"
            )
    return AffineMap(
        tuple(given.terms[index] for index in kept), given.matrix[:, kept], given.offset
    )


def _without_idle_steps(given: AffineMap) -> AffineMap:
    """The map without steps that have no say, where something else of their columns has one."""
    read = given.without_unread_terms().columns
    kept = [
        index
        for index, term in enumerate(given.terms)
        if given.matrix[:, index].any()
        or not any(isinstance(unit, Above) and unit.column in read for unit in term)
    ]
    terms = tuple(given.terms[index] for index in kept)
    return AffineMap(terms, given.matrix[:, kept], given.offset)


def _require_complete(features: Sequence[Column], table: Table) -> None:
    """Raises ModelError: the sample has missing values that nothing replaces."""
    for feature in features:
        values = table.values[:, table.names.index(feature.name)]
        if feature.missing is None and np.isnan(values).any():
            raise ModelError(
                f"column '{feature.name}' of the sample has missing values and the model has no "
                "imputer for it: put a SimpleImputer into the pipeline, or fill them in"
            )


def _unit_values(unit: Unit, table: Table) -> Floats:
    raw = table.values[:, unit.column]
    if isinstance(unit, Number | Above) and unit.missing is not None:
        raw = np.where(np.isnan(raw), unit.missing, raw)
    if isinstance(unit, Number):
        return unit.feature.encode(raw)[:, 0]
    if isinstance(unit, Above):
        return (raw > unit.edge).astype(np.float64)
    if not isinstance(unit, Indicator):
        raise ModelError(
            f"column '{table.names[unit.column]}' has texts, which no number stands for"
        )
    texts = table.categories[unit.column] or ()
    code = texts.index(unit.category) if unit.category in texts else -1
    filled = np.isnan(raw) if unit.missing == unit.category else np.zeros(len(raw), dtype=bool)
    chosen: Floats = (filled | (raw == code)).astype(np.float64)
    return chosen


def _column(index: int, units: Sequence[Unit], table: Table, options: ImportOptions) -> Column:
    """The column that these units are made of.  Raises ModelError."""
    name = table.names[index]
    missing = _missing(name, units)
    if len({type(unit) for unit in units}) > 1:
        raise ModelError(
            f"the model reads column '{name}' both as a number and by intervals or categories: "
            "give the sample and the model a copy of the column under another name"
        )
    first = units[0]
    if isinstance(first, Number):
        return first.feature
    if isinstance(first, Above):
        edges = sorted({unit.edge for unit in units if isinstance(unit, Above)})
        if len(edges) > MAX_EDGES:
            raise ModelError(f"column '{name}' is compared with more than {MAX_EDGES} edges")
        low, high = calibrated_range(table, index, options)
        value = None if missing is None else float(missing)
        others = () if value is None else (value,)
        return Thermometer(
            name,
            min(low, edges[0], *others),
            max(high, math.nextafter(edges[-1], math.inf), *others),
            tuple(edges),
            privacy=privacy_of(name, options),
            missing=value,
            measured_in=options.measured_in.get(name, ""),
        )
    listed = table.categories[index] or ()
    stated = {unit.category for unit in units if isinstance(unit, Indicator)}
    extra = stated.difference(listed)
    return Category(
        name,
        (*listed, *sorted(extra)),  # as the sample's raw values count them
        privacy=privacy_of(name, options),
        missing=None if missing is None else str(missing),
    )


def _missing(name: str, units: Sequence[Unit]) -> float | str | None:
    """What stands for a missing value.  Raises ModelError: two things do."""
    replacements = {unit.missing for unit in units}
    if len(replacements) > 1:
        raise ModelError(
            f"missing values of column '{name}' are replaced in one place and not, or by something "
            "else, in another: put one SimpleImputer before both"
        )
    return replacements.pop() if replacements else None


def _position(unit: Unit, feature: Column) -> int:
    """Of a unit among its column's inputs."""
    if isinstance(unit, Indicator) and isinstance(feature, Category):
        return feature.categories.index(unit.category)
    if isinstance(unit, Above) and isinstance(feature, Thermometer):
        return feature.edges.index(unit.edge)
    if isinstance(unit, Number) and isinstance(feature, Feature):
        return 0
    raise ModelError(f"column '{feature.name}' is no unit of its own")
