"""Sample data, which models are calibrated on.

Values are doubles, (records, columns): a number as it is, a category as the index of its text, NaN
where a value is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.errors import ShapeError

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """A sample.

    Attributes:
        names: of the columns.
        values: (records, columns).
        categories: for each column its texts, ascending, or None if it holds numbers.
    """

    names: tuple[str, ...]
    values: Floats = field(repr=False)
    categories: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, data: Any, names: Sequence[str] | None = None) -> Table:  # noqa: ANN401
        """A data frame, columns by name, or an array of numbers (records, columns).

        Args:
            data: the sample.
            names: of an array's columns; x0, x1 and so on if None.

        Raises:
            ShapeError: no table, columns of different lengths, or values that are neither numbers
                nor text.
        """
        if hasattr(data, "columns") and hasattr(data, "to_dict"):
            columns = {str(label): list(data[label]) for label in data.columns}
            if len(columns) != len(data.columns):
                raise ShapeError("the sample has two columns of the same name")
            return cls._of_columns(columns)
        if isinstance(data, Mapping):
            return cls._of_columns({str(name): list(cells) for name, cells in data.items()})
        try:
            values = np.asarray(data, dtype=np.float64)
        except (TypeError, ValueError):
            raise ShapeError(
                "the sample must be numbers; a table with texts is given as a data frame or as "
                "columns by name"
            ) from None
        if values.ndim > 2:  # images
            values = values.reshape(len(values), -1)
        if values.ndim != 2 or not values.size:
            raise ShapeError(f"a sample is (records, columns), found the shape {values.shape}")
        names = (
            tuple(names) if names is not None else tuple(f"x{i}" for i in range(values.shape[1]))
        )
        if len(names) != values.shape[1]:
            raise ShapeError(f"{len(names)} names for {values.shape[1]} columns of the sample")
        return cls(names, values, (None,) * len(names))

    @classmethod
    def _of_columns(cls, columns: Mapping[str, list[Any]]) -> Table:
        lengths = {len(cells) for cells in columns.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise ShapeError("a sample has at least one record, and columns of one length")
        read = [_column(name, cells) for name, cells in columns.items()]
        values = np.column_stack([numbers for numbers, _ in read])
        return cls(tuple(columns), values, tuple(texts for _, texts in read))

    @property
    def records(self) -> int:
        """Rows."""
        return len(self.values)


def is_missing(cell: object) -> bool:
    """None, NaN, or what pandas has for either."""
    if cell is None or type(cell).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def _column(name: str, cells: list[Any]) -> tuple[Floats, tuple[str, ...] | None]:
    """Values of one column, and its categories if it has texts.  Raises ShapeError."""
    present = [cell for cell in cells if not is_missing(cell)]
    if any(isinstance(cell, str) for cell in present):
        if not all(isinstance(cell, str) for cell in present):
            raise ShapeError(f"column '{name}' of the sample mixes texts and numbers")
        texts = tuple(sorted(set(present)))
        index = {text: float(position) for position, text in enumerate(texts)}
        return np.array([np.nan if is_missing(cell) else index[cell] for cell in cells]), texts
    try:
        return np.array([np.nan if is_missing(cell) else float(cell) for cell in cells]), None
    except (TypeError, ValueError):
        raise ShapeError(f"column '{name}' of the sample has neither numbers nor texts") from None
