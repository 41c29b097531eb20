"""Records in CSV files."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from protocol.errors import InputError, ShapeError

if TYPE_CHECKING:
    from protocol.model import ModelCard

_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
"""A decimal number.  Python's own reading is wider: it takes 6_0 for 60."""


@dataclass(frozen=True, eq=False, repr=False)
class RecordFile:
    """The records of one CSV file with a header.

    Attributes:
        path: where they are from.
        columns: the header.
        values: float64 (records, columns); NaN where a cell is not a decimal number.
        lines: the line of the file each record ends on, counted from 1.
    """

    path: Path
    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]
    lines: tuple[int, ...]

    def for_model(self, card: ModelCard) -> npt.NDArray[np.float64]:
        """The values (records, K) in the card's order, checked against its ranges.

        Raises:
            InputError: naming column and line; see `client_sdk.records.normalise`.
        """
        from client_sdk.records import normalise, require_names

        names = [feature.name for feature in card.features]
        if not set(self.columns) & set(names):
            raise ShapeError(
                f"{self.path}: none of its {len(self.columns)} columns is a feature of this "
                "model: is there a header line?"
            )
        require_names(names, self.columns, str(self.path))
        ordered = self.values[:, [self.columns.index(name) for name in names]]
        # Only now is a name of the header known to be one, and no value of a file without header.
        unread = np.argwhere(np.isnan(self.values))
        if len(unread):
            row, column = unread[0].tolist()
            raise ShapeError(
                f"column '{self.columns[column]}', line {self.lines[row]}: not a decimal number"
            )
        normalise(card, ordered, lambda row: f"line {self.lines[row]}")
        return ordered


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
            if len(set(columns)) != len(columns):
                raise ShapeError(f"{path}: two columns of the header have the same name")
            for cells in reader:
                if cells:  # a blank line has none
                    rows.append(_numbers(columns, cells, reader.line_num))
                    lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: {reason}") from None
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None
    if not rows:
        raise ShapeError(f"{path}: no records")
    return RecordFile(path, columns, np.array(rows, dtype=np.float64), tuple(lines))


def _numbers(columns: tuple[str, ...], cells: list[str], line: int) -> list[float]:
    if len(cells) != len(columns):
        raise ShapeError(f"line {line}: {len(cells)} cells, the header has {len(columns)}")
    return [float(cell) if _NUMBER.fullmatch(cell) else math.nan for cell in cells]
