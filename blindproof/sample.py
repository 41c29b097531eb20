"""The sample a model is compiled with: its raw values, and what is true of its records."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.imported import ImportedModel
from fhe_layers.importing.table import Table
from protocol.errors import InputError, ModelError, ShapeError
from protocol.features import Category, Column, with_stand_ins

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]

_TRUTHS = {"False": "0", "True": "1"}


def sample_table(sample: object, names: Sequence[str] | None, model: object) -> Table:
    """The sample as a table; the columns of an array get the names that the model has for them.

    Raises:
        ShapeError: it is no table.
    """
    if isinstance(sample, Table):
        return sample
    if isinstance(sample, str | Path):
        raise ShapeError(
            "the sample is the name of a file: read it first, such as by pandas.read_csv"
        )
    table = Table.of(_by_columns(sample), names)
    if names is None and table.names == tuple(f"x{i}" for i in range(len(table.names))):
        known = _names_in(model)
        if len(known) == len(table.names):
            return Table(known, table.values, table.categories)
    return table


def no_column(table: Table, column: str) -> str:
    """That the sample has no such column, and which was probably meant."""
    close = difflib.get_close_matches(column, table.names, n=1)
    meant = f"; did you mean '{close[0]}'?" if close else ""
    return f"the sample has no column '{column}'{meant}"


def split_target(table: Table, column: str) -> tuple[Table, list[Any]]:
    """The table without a column, and that column's cells.  Raises InputError: there is none."""
    if column not in table.names:
        raise InputError(f"target: {no_column(table, column)}")
    index = table.names.index(column)
    texts, values = table.categories[index], table.values[:, index]
    if np.isnan(values).any():
        raise InputError(f"target column '{column}' of the sample has missing values")
    cells = values.tolist() if texts is None else [texts[int(place)] for place in values]
    others = [place for place in range(len(table.names)) if place != index]
    rest = Table(
        tuple(table.names[place] for place in others),
        table.values[:, others],
        tuple(table.categories[place] for place in others),
    )
    return rest, cells


def raw_sample(table: Table, columns: Sequence[Column]) -> tuple[Floats, Floats]:
    """Raw values (records, columns): with NaN where one is missing, and imputed.

    Raises:
        InputError: a column lacks values and the model has nothing to put there, holds something
            that is none of its categories, or leaves its range.
    """
    raw = np.column_stack([_raw_column(table, column) for column in columns])
    return raw, completed(columns, raw)


def completed(columns: Sequence[Column], raw: Floats) -> Floats:
    """Raw values (records, columns) with the columns' own values for missing ones, in range.

    Raises:
        InputError: a column has none, or leaves its range.
    """
    return np.column_stack(
        [_completed(column, raw[:, index]) for index, column in enumerate(columns)]
    )


def true_labels(target: object, imported: ImportedModel, own_labels: Sequence[str]) -> Indices:
    """Indices of the classes that are true of the sample's records, (records,).

    Args:
        target: one class per record, by its own name or by the one it was given.
        imported: the model.
        own_labels: the labels before they were replaced.

    Raises:
        InputError: a class that the model does not have.
    """
    given = [_as_label(cell) for cell in np.asarray(target, dtype=object).reshape(-1).tolist()]
    if set(own_labels) == _TRUTHS.keys():  # tables turn truth values into numbers
        own_labels = [_TRUTHS[label] for label in own_labels]
        given = [_TRUTHS.get(label, label) for label in given]
    for labels in (tuple(own_labels), imported.labels):
        if set(given) <= set(labels):
            place = {label: index for index, label in enumerate(labels)}
            return np.array([place[cell] for cell in given], dtype=np.int64)
    unknown = len(set(given) - set(own_labels))
    known = ", ".join(own_labels[:5]) + (", ..." if len(own_labels) > 5 else "")
    raise InputError(
        f"the target has {unknown} classes that the model does not know; it knows {known}"
    )


def true_values(target: object, outputs: int) -> Floats:
    """What is true of the sample's records, (records, J).  Raises InputError: no such numbers."""
    try:
        values = np.asarray(target, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("the target of a regression must be numbers") from None
    values = values.reshape(len(values), -1)
    if values.shape[1] != outputs or not np.isfinite(values).all():
        raise InputError(f"the target of this regression is {outputs} finite numbers a record")
    return values


def require_length(target: object, records: int) -> None:
    """Raises ShapeError: not one entry per record."""
    found = len(target) if hasattr(target, "__len__") else 0
    if found != records:
        raise ShapeError(f"a target of {found} entries for a sample of {records} records")


def _by_columns(sample: object) -> object:
    """Columns by name, if the sample is a list of records by name; else the sample itself.

    Raises:
        ShapeError: the records have different columns.
    """
    if not (isinstance(sample, list | tuple) and sample):
        return sample
    if not all(isinstance(record, Mapping) for record in sample):
        return sample
    names = list(sample[0])
    if any(record.keys() != sample[0].keys() for record in sample):
        raise ShapeError("the records of the sample have different columns")
    return {name: [record[name] for record in sample] for name in names}


def _names_in(model: object) -> tuple[str, ...]:
    """The columns' names that an estimator, or a model that is described already, knows."""
    features = getattr(model, "features", None)
    if features is not None:
        return tuple(str(feature.name) for feature in features)
    names = getattr(model, "feature_names_in_", None)
    return () if names is None else tuple(str(name) for name in names)


def _raw_column(table: Table, column: Column) -> Floats:
    """Raises InputError, ModelError."""
    if column.name not in table.names:
        raise ModelError(f"the model reads a column '{column.name}' that the sample does not have")
    place = table.names.index(column.name)
    values, texts = table.values[:, place], table.categories[place]
    if not isinstance(column, Category):
        if texts is not None:
            raise InputError(f"column '{column.name}' of the sample has texts, not numbers")
        return values
    index = {category: float(number) for number, category in enumerate(column.categories)}
    try:
        return np.array(
            [
                np.nan
                if np.isnan(value)
                else index[_as_label(value) if texts is None else texts[int(value)]]
                for value in values.tolist()
            ]
        )
    except KeyError:
        raise InputError(
            f"column '{column.name}' of the sample has a value that is none of its categories"
        ) from None


def _completed(column: Column, raw: Floats) -> Floats:
    """A column, complete and in range.  Raises InputError."""
    if column.missing is None and np.isnan(raw).any():
        raise InputError(
            f"column '{column.name}' of the sample has missing values, and the model has no "
            "imputer for it: put a SimpleImputer before it, or leave these records out"
        )
    complete = with_stand_ins([column], raw[:, None])[:, 0]
    if isinstance(column, Category):
        return complete
    if not ((column.low <= complete) & (complete <= column.high)).all():
        raise InputError(
            f"column '{column.name}' of the sample has values outside [{column.low:g}, "
            f"{column.high:g}], the range that the model declares"
        )
    return complete


def _as_label(cell: object) -> str:
    """A class or category as text: 1, 1.0 and numpy's 1 are the same one."""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)
