"""Ranges of columns, from a sample: the one place where importers get the columns of a card.

Inputs are scaled to [-1, 1]: error bounds follow the largest input, and weights the widest range.
"""

from __future__ import annotations

import numpy as np

from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol.errors import InputError, ModelError
from protocol.features import Category, Feature, Privacy


def calibrated_range(table: Table, column: int, options: ImportOptions) -> tuple[float, float]:
    """(low, high) of a number: the one given, or the sample's, widened.

    Raises:
        ModelError: nothing but missing or infinite values to calibrate on.
        InputError: a value of the sample is outside the range given.
    """
    name, values = table.names[column], table.values[:, column]
    values = values[~np.isnan(values)]
    if not values.size or not np.isfinite(values).all():
        raise ModelError(f"column '{name}' of the sample has no values, or infinite ones")
    low, high = float(values.min()), float(values.max())
    if name in options.ranges:
        given = (float(options.ranges[name][0]), float(options.ranges[name][1]))
        if not given[0] <= low <= high <= given[1]:
            raise InputError(f"the sample leaves the range given for column '{name}'")
        return given
    reach = options.margin * (high - low)
    if low == high:  # a constant: any room will do
        reach = max(abs(low), 1.0)
    return low - reach, high + reach


def number_column(
    table: Table, column: int, options: ImportOptions, missing: float | None = None
) -> Feature:
    """A number scaled to [-1, 1].  Raises ModelError, InputError."""
    low, high = calibrated_range(table, column, options)
    if missing is not None:
        low, high = min(low, missing), max(high, missing)
    name = table.names[column]
    return Feature(
        name,
        low,
        high,
        centre=(low + high) / 2,
        scale=(high - low) / 2,
        privacy=privacy_of(name, options),
        missing=missing,
        measured_in=options.measured_in.get(name, ""),
    )


def category_column(
    table: Table, column: int, options: ImportOptions, missing: str | None = None
) -> Category:
    """One of the texts of the sample.  Raises ModelError: the column has numbers."""
    name, texts = table.names[column], table.categories[column]
    if texts is None:
        raise ModelError(f"column '{name}' of the sample has numbers, the model wants categories")
    return Category(name, texts, privacy_of(name, options), missing)


def privacy_of(name: str, options: ImportOptions) -> Privacy:
    """Who sees a column."""
    return Privacy.PLAINTEXT if name in options.plaintext else Privacy.ENCRYPTED
