"""Records as people have them, to the numbers a model takes.

A record is a row of C columns.  Plain arrays and lists give them in the card's order.  What has
names, as data frames, their rows and dicts have, gives them by name, in any order: it is never read
by position.  Messages name column and row, never a value nor a name the model does not know: a file
without its header line has values for names, and inputs are what is to be hidden.

Raw values are doubles (records, C): a number as it is, a category as its index, and NaN where a
value is missing.  A category comes as its text, or as a number where all the card's categories are
numbers.  None, NaN and what pandas has for either are missing values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from protocol.errors import NonFiniteError, RangeError, ShapeError
from protocol.features import Category, Column, encode_columns, with_stand_ins
from protocol.model import ModelCard

Floats: TypeAlias = npt.NDArray[np.float64]
Cells: TypeAlias = npt.NDArray[Any]
RowName: TypeAlias = Callable[[int], str]

MAX_NAMES_SHOWN = 5
_NUMBERS = "biuf"
"""Kinds of NumPy types that are numbers."""


@dataclass(frozen=True, eq=False)
class RawRecords:
    """Records that are raw values already: (records, C), in the card's order."""

    values: Floats = field(repr=False)


@runtime_checkable
class DataFrame(Protocol):
    """What is used of a pandas data frame; pandas itself is not imported."""

    @property
    def columns(self) -> Any: ...  # noqa: ANN401, D102

    def to_dict(self, orient: Any) -> Any: ...  # noqa: ANN401, D102


@runtime_checkable
class Series(Protocol):
    """What is used of a pandas series: a row or a column of a data frame, with labels."""

    @property
    def index(self) -> Iterable[Any]: ...  # noqa: D102

    def to_dict(self) -> Any: ...  # noqa: ANN401, D102

    def to_list(self) -> list[Any]: ...  # noqa: D102


Records: TypeAlias = (
    npt.ArrayLike
    | DataFrame
    | Series
    | Mapping[str, float | str | None]
    | Sequence[Mapping[str, float | str | None] | Series]
    | RawRecords
)


def _row_name(row: int) -> str:
    return f"row {row}"


def raw_values(card: ModelCard, records: Records, row_name: RowName = _row_name) -> Floats:
    """Check records against a card: raw values (records, C), in range, missing ones imputed.

    Args:
        card: the model.
        records: one or more.
        row_name: how messages call a record, given its index.

    Raises:
        ShapeError: wrong shape, missing or unknown columns, or values that are neither numbers nor
            categories of the model.
        NonFiniteError: an infinity, or a missing value of a column for which the card has nothing.
        RangeError: a value outside its column's declared range.
    """
    raw = _matrix(card, records, row_name)
    if not len(raw):
        raise ShapeError("no records")
    raw = _imputed(card.features, raw, row_name)
    infinite = np.isinf(raw)
    if infinite.any():
        raise NonFiniteError(f"{_first(card.features, infinite, row_name)}: the value is infinite")
    low, high = np.array([_range(column) for column in card.features]).T
    outside = (raw < low) | (raw > high)
    if outside.any():
        column = card.features[_place(outside)[1]]
        least, most = _range(column)
        raise RangeError(
            f"{_first(card.features, outside, row_name)}: the value is outside [{least:g}, "
            f"{most:g}], the range this model declares: check its unit, or leave the record out"
        )
    return raw


def normalise(card: ModelCard, records: Records, row_name: RowName = _row_name) -> Floats:
    """Check records against a card and encode its columns: units, float64 (records, units).

    Raises:
        InputError: see `raw_values`.
    """
    return encode_columns(card.features, raw_values(card, records, row_name))


def require_names(
    expected: Sequence[str], found: Sequence[str], where: str, local: Sequence[str] = ()
) -> None:
    """Refuse columns that are not exactly a model's features, in any order.

    Args:
        expected: the features.
        found: the columns.
        where: what messages call the table.
        local: columns that may be there as well.

    Raises:
        ShapeError: naming what is missing; what is unknown by position only.
    """
    present, known = set(found), {*expected, *local}
    missing = [name for name in expected if name not in present]
    unknown = [number for number, name in enumerate(found, 1) if name not in known]
    if not missing and not unknown and len(present) == len(found):
        return
    parts = [
        f"{kind} {', '.join(shown[:MAX_NAMES_SHOWN])}"
        + (f" and {len(shown) - MAX_NAMES_SHOWN} more" if len(shown) > MAX_NAMES_SHOWN else "")
        for kind, shown in (
            ("missing", [repr(name) for name in missing]),
            ("not the model's: column", [str(number) for number in unknown]),
        )
        if shown
    ]
    if unknown:
        parts.append("rename or drop what is not" if missing else "drop what is not")
    raise ShapeError(f"columns of {where}: {'; '.join(parts) or 'a name occurs twice'}")


def _imputed(columns: Sequence[Column], raw: Floats, row_name: RowName) -> Floats:
    """A copy without missing values.  Raises NonFiniteError where the card has nothing for one."""
    missing = np.isnan(raw)
    if not missing.any():
        return raw
    complete = with_stand_ins(columns, raw)
    hopeless = np.isnan(complete)
    if hopeless.any():
        raise NonFiniteError(
            f"{_first(columns, hopeless, row_name)}: the value is missing, and this model's card "
            "has no imputer for the column: fill it in, or leave the record out"
        )
    return complete


def _range(column: Column) -> tuple[float, float]:
    if isinstance(column, Category):
        return 0.0, float(len(column.categories) - 1)
    return column.low, column.high


def _place(bad: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the first fault."""
    row, column = np.argwhere(bad)[0].tolist()
    return row, column


def _first(columns: Sequence[Column], bad: npt.NDArray[np.bool_], row_name: RowName) -> str:
    row, column = _place(bad)
    return f"column '{columns[column].name}', {row_name(row)}"


def _matrix(card: ModelCard, records: Records, row_name: RowName) -> Floats:
    """Raw values (records, C) in the card's order, missing ones NaN."""
    names = [column.name for column in card.features]
    if isinstance(records, RawRecords):
        return _require_raw(card, records.values, row_name)
    if isinstance(records, DataFrame):
        labels = list(records.columns)
        require_names(names, [str(label) for label in labels], "the data frame", card.local)
        label_of = {str(label): label for label in labels}
        cells = [_cells(records[label_of[name]]) for name in names]  # type: ignore[index]
        return _columns(card.features, cells, row_name)
    if isinstance(records, Mapping | Series):
        records = [records]
    if not isinstance(records, list | tuple | np.ndarray):
        raise ShapeError(
            f"records come as an array, a list, a data frame or dicts by name, not as "
            f"'{type(records).__name__}'"
        )
    if not isinstance(records, np.ndarray) and any(
        isinstance(record, Mapping | Series) for record in records
    ):
        rows = [
            _by_name(names, record, f"record {index}", card.local)
            for index, record in enumerate(records)
        ]
        return _columns(card.features, _object_table(rows).T, row_name)
    return _by_position(card.features, records, row_name)


def _by_position(columns: Sequence[Column], records: object, row_name: RowName) -> Floats:
    table = _table(records)
    if table.shape in {(0,), (0, len(columns))}:
        raise ShapeError("no records")
    if table.ndim == 1:
        table = table.reshape(1, -1)
    if table.ndim != 2 or table.shape[1] != len(columns):
        raise ShapeError(
            f"expected records of {len(columns)} features, (records, {len(columns)}), "
            f"found an array of shape {table.shape}"
        )
    if table.dtype.kind in _NUMBERS and not any(isinstance(c, Category) for c in columns):
        return np.array(table, dtype=np.float64, order="C")  # a copy, not the caller's array
    return _columns(columns, table.T, row_name)


def _require_raw(card: ModelCard, values: Floats, row_name: RowName) -> Floats:
    if values.ndim != 2 or values.shape[1] != len(card.features):
        raise ShapeError(
            f"expected raw values of {len(card.features)} columns, found the shape {values.shape}"
        )
    of_categories = np.array([isinstance(column, Category) for column in card.features])
    broken = of_categories & (values != np.floor(values)) & ~np.isnan(values)
    if broken.any():
        raise ShapeError(f"{_first(card.features, broken, row_name)}: not the index of a category")
    return values


def _by_name(names: list[str], record: object, where: str, local: Sequence[str]) -> list[Any]:
    """The values of one record in the card's order."""
    if isinstance(record, Mapping):
        labels, values = list(record), list(record.values())
    elif isinstance(record, Series):
        labels, values = list(record.index), record.to_list()
        if not all(isinstance(label, str) for label in labels):
            raise ShapeError(
                f"{where} is a series without the features' names, such as one column of a data "
                "frame: pass a row, the data frame itself, or an array"
            )
    else:
        raise ShapeError(f"{where} has no names, but others have")
    require_names(names, [str(label) for label in labels], where, local)
    value_of = dict(zip(map(str, labels), values, strict=True))
    return [value_of[name] for name in names]


def _table(records: object) -> Cells:
    """An array or nested lists as an array of numbers, or of objects where there are texts."""
    try:
        table = np.asarray(records)
    except (TypeError, ValueError, OverflowError):  # whose words may hold a value
        raise _not_a_table() from None
    if table.dtype.kind in _NUMBERS + "O":
        return table
    if table.dtype.kind != "U":
        raise _not_a_table()
    # NumPy makes numbers beside texts texts: take what was given.
    return table.astype(object) if isinstance(records, np.ndarray) else _object_table(records)


def _object_table(rows: Any) -> Cells:  # noqa: ANN401 -- whatever the user gave
    try:
        return np.array(rows, dtype=object)
    except ValueError:
        raise _not_a_table() from None


def _not_a_table() -> ShapeError:
    return ShapeError("records must be numbers or categories, the same number of them in each")


def _cells(column: Any) -> Cells:  # noqa: ANN401 -- a column of any data frame
    """One column of a data frame, numbers as such where its type says so."""
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    if kind in _NUMBERS and hasattr(column, "to_numpy") and not hasattr(column.dtype, "char"):
        # pandas' own types of numbers, which have missing values that NumPy's do not
        numbers: Cells = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers
    return np.asarray(column)


def _columns(columns: Sequence[Column], cells: Iterable[Cells], row_name: RowName) -> Floats:
    """Raw values (records, C) of the cells of each column (records,)."""
    read = [
        _categories(column, found, row_name)
        if isinstance(column, Category)
        else _numbers(column.name, found, row_name)
        for column, found in zip(columns, cells, strict=True)
    ]
    return np.ascontiguousarray(np.column_stack(read)) if read else np.zeros((0, 0))


def is_missing(cell: object) -> bool:
    """None, NaN, or what pandas has for either."""
    if cell is None or type(cell).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def _numbers(name: str, cells: Cells, row_name: RowName) -> Floats:
    """Cells of a column of numbers, missing ones NaN."""
    if cells.dtype.kind in _NUMBERS:
        return cells.astype(np.float64)
    if cells.ndim != 1 or cells.dtype.kind != "O":
        raise ShapeError(f"column '{name}': expected numbers")
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells.tolist()):
        try:
            if isinstance(cell, str | bytes):  # float would parse them, as 60 for "6_0"
                raise TypeError
            numbers[row] = np.nan if is_missing(cell) else float(cell)
        except (TypeError, ValueError, OverflowError):  # whose words may hold a value
            raise ShapeError(f"column '{name}', {row_name(row)}: expected a number") from None
    return numbers


def _categories(column: Category, cells: Cells, row_name: RowName) -> Floats:
    """Indices of the cells of a column of categories, missing ones NaN."""
    by_number = _numbers_of(column)
    if cells.dtype.kind in _NUMBERS and by_number is not None:
        return _indices_of_numbers(column, cells.astype(np.float64), by_number, row_name)
    if cells.ndim != 1 or cells.dtype.kind not in "OU":
        raise ShapeError(
            f"column '{column.name}': expected texts, the names of its {len(column.categories)} "
            "categories"
        )
    index_of: dict[object, float] = {text: float(i) for i, text in enumerate(column.categories)}
    number_of = by_number or {}
    indices = np.empty(len(cells))
    for row, cell in enumerate(cells.tolist()):
        if is_missing(cell):
            indices[row] = np.nan
            continue
        index = index_of.get(cell) if isinstance(cell, str) else _lookup(number_of, cell)
        if index is None:
            raise _unknown(column, row, row_name)
        indices[row] = index
    return indices


def _indices_of_numbers(
    column: Category, numbers: Floats, by_number: Mapping[float, float], row_name: RowName
) -> Floats:
    known = np.array(sorted(by_number))
    order = np.array([by_number[number] for number in known.tolist()])
    nearest = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
    missing = np.isnan(numbers)
    unknown = ~missing & (known[nearest] != numbers)
    if unknown.any():
        raise _unknown(column, int(np.argmax(unknown)), row_name)
    return np.where(missing, np.nan, order[nearest])


def _numbers_of(column: Category) -> dict[float, float] | None:
    """Indices by number, if every category is a number in its usual form."""
    try:
        numbers = [float(text) for text in column.categories]
    except ValueError:
        return None
    if [_text_of(number) for number in numbers] != list(column.categories):
        return None
    return {number: float(index) for index, number in enumerate(numbers)}


def _text_of(number: float) -> str:
    """As a category writes a number: 3, not 3.0."""
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _lookup(number_of: Mapping[float, float], cell: object) -> float | None:
    """The index of a category that is a number; an integer of any size is no reason to fail."""
    if isinstance(cell, np.number):
        cell = cell.item()
    return number_of.get(cell) if isinstance(cell, int | float) else None


def _unknown(column: Category, row: int, row_name: RowName) -> ShapeError:
    return ShapeError(
        f"column '{column.name}', {row_name(row)}: the value is none of the "
        f"{len(column.categories)} categories that this model knows"
    )
