"""Records in CSV files."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from protocol.errors import InputError, ShapeError
from protocol.features import Category, Column

if TYPE_CHECKING:
    from client_sdk.records import RawRecords
    from protocol.model import ModelCard

Floats = npt.NDArray[np.float64]

_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
"""A decimal number.  Python's own reading is wider: it takes 6_0 for 60."""

_NOT_TEXT = "not UTF-8 text: save the table as CSV in UTF-8, or as Parquet"
_SEPARATORS = {";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True, eq=False, repr=False)
class RecordFile:
    """The records of one CSV file with a header.

    Attributes:
        path: where they are from.
        columns: the header.
        cells: for each column its texts, one a record, as they are in the file.
        lines: the line of the file each record ends on, counted from 1.
    """

    path: Path
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def for_model(self, card: ModelCard) -> RawRecords:
        """The records in the card's order, checked against its ranges and categories.

        Raises:
            InputError: naming column and line; see `client_sdk.records.raw_values`.
        """
        from client_sdk.records import RawRecords, raw_values, require_names

        names = [column.name for column in card.features]
        if not set(self.columns) & set(names):
            raise ShapeError(
                f"{self.path}: none of its {len(self.columns)} columns is a feature of this "
                "model: is there a header line?"
            )
        require_names(names, self.columns, str(self.path), card.local)
        # Only now is a name of the header known to be one, and no value of a file without header.
        records = RawRecords(
            np.column_stack([self._raw(column) for column in card.features])  # (records, C)
        )
        return RawRecords(raw_values(card, records, lambda row: f"line {self.lines[row]}"))

    def local(self, card: ModelCard) -> list[tuple[str, tuple[str, ...]]]:
        """The columns that the client keeps for itself, by name, in the file's order."""
        kept = set(card.local)
        columns = zip(self.columns, self.cells, strict=True)
        return [(name, cells) for name, cells in columns if name in kept]

    def _raw(self, column: Column) -> Floats:
        """Raw values (records,) of one column; NaN for an empty cell.  Raises ShapeError."""
        cells = self.cells[self.columns.index(column.name)]
        read, expected = (
            (_index_in(column), "none of the categories that this model knows")
            if isinstance(column, Category)
            else (decimal, "not a decimal number")
        )
        values = np.empty(len(cells))
        for row, cell in enumerate(cells):
            value = read(cell) if cell and not cell.isspace() else math.nan
            if value is None:
                raise ShapeError(f"column '{column.name}', line {self.lines[row]}: {expected}")
            values[row] = value
        return values


def read_csv(path: Path) -> RecordFile:
    """Read a CSV file.

    Raises:
        InputError: unreadable, empty, ragged, or a column named twice.  Cells are not shown: they
            are what is to be hidden.
    """
    rows, lines = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            columns = tuple(next(reader, ()))
            _require_commas(path, columns)
            if len(set(columns)) != len(columns):
                raise ShapeError(f"{path}: two columns of the header have the same name")
            for cells in reader:
                if not cells:  # a blank line
                    continue
                if len(cells) != len(columns):
                    raise ShapeError(
                        f"line {reader.line_num}: {len(cells)} cells, the header has {len(columns)}"
                    )
                rows.append(cells)
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _NOT_TEXT
        raise InputError(f"{path}: {reason}") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None
    if not rows:
        raise ShapeError(f"{path}: no records")
    return RecordFile(path, columns, tuple(zip(*rows, strict=True)), tuple(lines))


def _require_commas(path: Path, columns: tuple[str, ...]) -> None:
    """Raises ShapeError: a header of one cell that others than commas seem to separate."""
    for separator, name in _SEPARATORS.items():
        if len(columns) == 1 and separator in columns[0]:
            raise ShapeError(
                f"{path}: the cells seem to be separated by {name}: save the table with commas, "
                "and with points in its numbers"
            )


def decimal(cell: str) -> float | None:
    """The decimal number in a cell, None if there is something else."""
    return float(cell) if _NUMBER.fullmatch(cell) else None


def _index_in(column: Category) -> Callable[[str], float | None]:
    return {text: float(index) for index, text in enumerate(column.categories)}.get
