"""Parquet files: records in, predictions out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.errors import InputError, ShapeError

if TYPE_CHECKING:
    from client_sdk.records import RawRecords
    from protocol.model import ModelCard

SUFFIXES = frozenset({".parquet", ".pq"})

_UNNAMED_INDEX = re.compile(r"^__index_level_([0-9]+)__$")
"""What pandas calls an index without a name in a file."""

Cells: TypeAlias = "npt.NDArray[Any] | list[Any]"
"""Of one column: an array of numbers, NaN where one is missing, or values with None."""


@dataclass(frozen=True, eq=False, repr=False)
class ParquetRecords:
    """The records of one Parquet file.

    Attributes:
        path: where they are from.
        table: their columns by name, in the file's order.
        index: which of them are the index of the data frame that the file was written from.
    """

    path: Path
    table: Mapping[str, Cells]
    index: frozenset[str]

    @property
    def lines(self) -> tuple[int, ...]:
        """The number of each record, counted from 1."""
        return tuple(range(1, len(next(iter(self.table.values()))) + 1))

    def for_model(self, card: ModelCard) -> RawRecords:
        """The records in the card's order, checked against its ranges and categories.

        Raises:
            InputError: naming column and record; see `client_sdk.records.raw_values`.
        """
        from client_sdk.records import RawRecords, raw_values, require_names

        names = [column.name for column in card.features]
        found = [name for name in self.table if name in names or name not in self.index]
        require_names(names, found, str(self.path), card.local)
        frame = _Frame({name: self.table[name] for name in names})
        return RawRecords(raw_values(card, frame, lambda row: f"record {row + 1}"))

    def local(self, card: ModelCard) -> list[tuple[str, list[object]]]:
        """The index and the columns that the client keeps for itself, by name, in order."""
        names = {column.name for column in card.features}
        kept = (self.index | set(card.local)) - names
        return [
            (_UNNAMED_INDEX.sub(r"index \1", name), _without_nan(cells))
            for name, cells in self.table.items()
            if name in kept
        ]


@dataclass(frozen=True, eq=False, repr=False)
class _Frame:
    """Columns by name, in the words of a data frame."""

    table: Mapping[str, Cells]

    @property
    def columns(self) -> list[str]:
        return list(self.table)

    def __getitem__(self, name: str) -> Cells:
        return self.table[name]

    def to_dict(self, orient: object = None) -> Mapping[str, Cells]:
        del orient
        return self.table


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file, by its name."""
    return path.suffix.lower() in SUFFIXES


def require_parquet() -> None:
    """Refuse to begin what would end in a Parquet file that cannot be written.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    _pyarrow()


def read_parquet(path: Path) -> ParquetRecords:
    """Read a Parquet file.

    Raises:
        InputError: unreadable, without records, or a column named twice.
        MissingPackageError: pyarrow is not installed.
    """
    pa = _pyarrow()
    try:
        with path.open("rb") as stream:
            table = pa.parquet.read_table(stream)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'not a Parquet file'}") from None
    except pa.ArrowException:  # whose words may hold a value
        raise InputError(f"{path}: not a Parquet file, or a damaged one") from None
    names = table.column_names
    if len(set(names)) != len(names):
        raise ShapeError(f"{path}: two columns have the same name")
    if not table.num_rows or not names:
        raise ShapeError(f"{path}: no records")
    columns = {name: _cells(pa, table.column(name)) for name in names}
    index = set()
    for described in (table.schema.pandas_metadata or {}).get("index_columns", ()):
        if isinstance(described, str):
            index.add(described)
        elif described["name"] is not None:  # one that only counts is described and not stored
            index.add(described["name"])
            counted = (described[part] for part in ("start", "stop", "step"))
            columns.setdefault(described["name"], np.arange(*counted))
    return ParquetRecords(path, columns, frozenset(index))


def parquet_bytes(
    columns: Sequence[tuple[str, Sequence[object]]], metadata: Mapping[str, str]
) -> bytes:
    """A Parquet file of columns by name, with texts about all of it in its metadata.

    Raises:
        MissingPackageError: pyarrow is not installed.
        InputError: a column of more types than one.
    """
    pa = _pyarrow()
    try:
        table = pa.table({name: pa.array(cells) for name, cells in columns})
    except pa.ArrowException:  # whose words may hold a value
        raise InputError(
            "a column that is copied to the output has values of several types, which Parquet "
            "does not take: write CSV instead"
        ) from None
    stream = BytesIO()
    pa.parquet.write_table(table.replace_schema_metadata(metadata), stream)
    return stream.getvalue()


def _cells(pa: Any, column: Any) -> Cells:  # noqa: ANN401 -- pyarrow has no types
    """Numbers as an array, which is fast; everything else as Python's own values."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers: npt.NDArray[Any] = column.to_numpy()
        return numbers
    values = column.to_pylist()
    return [float(v) if v is not None else None for v in values] if _is_number(pa, kind) else values


def _without_nan(cells: Cells) -> list[object]:
    """Python's own values, None where a number is missing."""
    values: list[object] = cells if isinstance(cells, list) else cells.tolist()
    return [None if value != value else value for value in values]  # noqa: PLR0124 -- only NaN does


def _is_number(pa: Any, kind: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def _pyarrow() -> Any:  # noqa: ANN401 -- a module
    from client_sdk.tables import MissingPackageError

    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingPackageError(
            "Parquet files need pyarrow: pip install 'blindproof[parquet]'"
        ) from None
    return pyarrow
