"""Raw values as a scikit-learn estimator takes them: the frame or the array it was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol.errors import ModelError
from protocol.features import Category, Column

Floats: TypeAlias = npt.NDArray[np.float64]
Cells: TypeAlias = npt.NDArray[Any]
"""One column: doubles, or texts as objects."""


def assembled(columns: Sequence[Cells], names: Sequence[str] | None) -> Any:  # noqa: ANN401
    """Columns as a data frame, if they have names, else as an array."""
    if names is not None:  # an estimator that was fitted on a frame, so there is pandas
        import pandas as pd

        return pd.DataFrame(dict(zip(names, columns, strict=True)))
    if any(cells.dtype == np.dtype(object) for cells in columns):
        mixed = np.empty((len(columns[0]), len(columns)), dtype=object)
        for index, cells in enumerate(columns):
            mixed[:, index] = cells
        return mixed
    return np.column_stack(columns)


def dense(values: Any) -> Floats:  # noqa: ANN401
    """What a transformer or a predictor returned, (records, units)."""
    if hasattr(values, "toarray"):
        values = values.toarray()
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def names_of(estimator: object) -> tuple[str, ...] | None:
    """The columns of the frame that an estimator was fitted on; None if it was an array."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


@dataclass(frozen=True)
class EstimatorData:
    """How an estimator's columns are found in a table.

    Attributes:
        columns: of the table, in the estimator's order.
        names: the estimator's own, if it was fitted on a data frame.
    """

    columns: tuple[int, ...]
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, estimator: object, table: Table, options: ImportOptions) -> EstimatorData:
        """Raises ModelError: the sample does not have the columns that it was fitted on."""
        unknown = [name for name in options.local if name not in table.names]
        if unknown:
            raise ModelError(f"the sample has no column '{unknown[0]}', which is named as local")
        names = names_of(estimator)
        if names is not None:
            absent = [name for name in names if name not in table.names]
            if absent:
                raise ModelError(
                    f"the sample has no column '{absent[0]}', which the model was fitted on: give "
                    "a data frame, or columns by name"
                )
            return cls(tuple(table.names.index(name) for name in names), names)
        wanted = getattr(estimator, "n_features_in_", None)
        kept = [index for index, name in enumerate(table.names) if name not in options.local]
        if wanted is None or len(kept) == wanted:
            return cls(tuple(kept), None)
        if len(table.names) == wanted:
            return cls(tuple(range(wanted)), None)
        raise ModelError(
            f"the model was fitted on {wanted} columns and the sample has {len(kept)}: leave out "
            "the others, or name them as local"
        )

    def assembled(self, table: Table, features: Sequence[Column], raw: Floats) -> Any:  # noqa: ANN401
        """Raw values (records, C) in the order of `features` as the estimator takes them.

        A column that is none of the features has no say in the result: it gets a value of the
        sample.
        """
        place = {feature.name: index for index, feature in enumerate(features)}
        made = []
        for column in self.columns:
            name = table.names[column]
            texts = table.categories[column]
            if name in place:
                feature, values = features[place[name]], raw[:, place[name]]
                texts = feature.categories if isinstance(feature, Category) else None
            else:
                present = table.values[:, column][~np.isnan(table.values[:, column])]
                values = np.full(len(raw), present[0] if present.size else np.nan)
            made.append(_cells(values, texts))
        return assembled(made, self.names)


def _cells(values: Floats, texts: Sequence[str] | None) -> Cells:
    """One column's values, categories as the texts they are."""
    if texts is None:
        return values
    cells = np.empty(len(values), dtype=object)
    cells[:] = [np.nan if np.isnan(value) else texts[int(value)] for value in values]
    return cells
