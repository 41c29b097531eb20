"""Records as people have them, to the numbers a model takes.

A record is a row of K features.  Plain arrays and lists give them in the card's order.  What has
names, as data frames, their rows and dicts have, gives them by name, in any order: it is never read
by position.  Messages name column and row, never a value nor a name the model does not know: a file
without its header line has values for names, and inputs are what is to be hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from protocol.errors import NonFiniteError, RangeError, ShapeError
from protocol.model import ModelCard

Floats: TypeAlias = npt.NDArray[np.float64]

MAX_NAMES_SHOWN = 5


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
    "npt.ArrayLike | DataFrame | Series | Mapping[str, float] | "
    "Sequence[Mapping[str, float] | Series]"
)


def _row_name(row: int) -> str:
    return f"row {row}"


def normalise(
    card: ModelCard, records: Records, row_name: Callable[[int], str] = _row_name
) -> Floats:
    """Check records against a card and apply its scaling: float64 (records, K).

    Args:
        card: the model.
        records: one or more.
        row_name: how messages call a record, given its index.

    Raises:
        ShapeError: wrong shape, missing or unknown columns, or values that are not numbers.
        NonFiniteError: NaN or infinity.
        RangeError: a value outside its column's declared range.
    """
    raw = _matrix(card, records)
    if not len(raw):
        raise ShapeError("no records")
    bad = ~np.isfinite(raw)
    if bad.any():
        row, column = (int(index) for index in np.argwhere(bad)[0])
        raise NonFiniteError(
            f"column '{card.features[column].name}', {row_name(row)}: the value is NaN or infinite"
        )
    low = np.array([feature.low for feature in card.features])
    high = np.array([feature.high for feature in card.features])
    outside = (raw < low) | (raw > high)
    if outside.any():
        row, column = (int(index) for index in np.argwhere(outside)[0])
        feature = card.features[column]
        raise RangeError(
            f"column '{feature.name}', {row_name(row)}: the value is outside [{feature.low:g}, "
            f"{feature.high:g}], the range this model declares"
        )
    centre = np.array([feature.centre for feature in card.features])
    scale = np.array([feature.scale for feature in card.features])
    return np.ascontiguousarray((raw - centre) / scale)


def _matrix(card: ModelCard, records: Records) -> Floats:
    """Raw values (records, K) in the card's order."""
    names = [feature.name for feature in card.features]
    if isinstance(records, DataFrame):
        labels = list(records.columns)
        require_names(names, [str(label) for label in labels], "the data frame")
        label_of = {str(label): label for label in labels}
        columns = [list(records[label_of[name]]) for name in names]  # type: ignore[index]
        return _numbers(columns).reshape(len(names), -1).T
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
        return _numbers(
            [_by_name(names, record, f"record {index}") for index, record in enumerate(records)]
        )
    matrix = _numbers(records)
    if matrix.shape in {(0,), (0, len(names))}:
        raise ShapeError("no records")
    if matrix.ndim == 1:
        matrix = matrix.reshape(1, -1)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ShapeError(
            f"expected records of {len(names)} features, (records, {len(names)}), "
            f"found an array of shape {matrix.shape}"
        )
    return matrix


def _by_name(names: list[str], record: object, where: str) -> list[Any]:
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
    require_names(names, [str(label) for label in labels], where)
    value_of = dict(zip(map(str, labels), values, strict=True))
    return [value_of[name] for name in names]


def _numbers(values: Any) -> Floats:  # noqa: ANN401 -- whatever the user gave
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise TypeError
        if array.dtype.kind == "O" and any(isinstance(v, str | bytes) for v in array.flat):
            raise TypeError  # NumPy would parse them, as 60 for "6_0"
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):  # whose words may hold a value
        raise ShapeError("records must be numbers, the same number of them in each") from None


def require_names(expected: Sequence[str], found: Sequence[str], where: str) -> None:
    """Refuse columns that are not exactly a model's features, in any order.

    Raises:
        ShapeError: naming what is missing; what is unknown by position only.
    """
    missing = [name for name in expected if name not in set(found)]
    unknown = [number for number, name in enumerate(found, 1) if name not in set(expected)]
    if not missing and not unknown and len(found) == len(expected):
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
    raise ShapeError(f"columns of {where}: {'; '.join(parts) or 'a name occurs twice'}")
