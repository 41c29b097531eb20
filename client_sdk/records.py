"""Records as people have them, to the numbers a model takes.

A record is a row of K features.  Arrays give them in the card's order; data frames and dicts by
name, in any order.  Messages name column and row, never a value: inputs are what is to be hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


Records: TypeAlias = (
    "npt.ArrayLike | DataFrame | Mapping[str, float] | Sequence[Mapping[str, float]]"
)


def normalise(card: ModelCard, records: Records) -> Floats:
    """Check records against a card and apply its scaling: float64 (records, K).

    Raises:
        ShapeError: wrong shape, missing or unknown columns, or values that are not numbers.
        NonFiniteError: NaN or infinity.
        RangeError: a value outside its column's declared range.
    """
    raw = _matrix(card, records)
    names = [feature.name for feature in card.features]
    _refuse_first(~np.isfinite(raw), names, NonFiniteError, "is NaN or infinite")
    low = np.array([feature.low for feature in card.features])
    high = np.array([feature.high for feature in card.features])
    outside = (raw < low) | (raw > high)
    if outside.any():
        row, column = (int(index) for index in np.argwhere(outside)[0])
        feature = card.features[column]
        raise RangeError(
            f"column '{feature.name}', row {row}: the value is outside [{feature.low:g}, "
            f"{feature.high:g}], the range this model declares"
        )
    centre = np.array([feature.centre for feature in card.features])
    scale = np.array([feature.scale for feature in card.features])
    return np.ascontiguousarray((raw - centre) / scale)


def _matrix(card: ModelCard, records: Records) -> Floats:
    """Raw values (records, K) in the card's order."""
    names = [feature.name for feature in card.features]
    if isinstance(records, DataFrame):
        _check_names(names, [str(name) for name in records.columns], "the data frame")
        return _numbers([list(records[name]) for name in names]).T  # type: ignore[index]
    if isinstance(records, Mapping):
        records = [records]
    if isinstance(records, Sequence) and records and isinstance(records[0], Mapping):
        rows = []
        for index, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise ShapeError(f"record {index} is not a dict, but the first one is")
            _check_names(names, [str(name) for name in record], f"record {index}")
            rows.append([record[name] for name in names])
        return _numbers(rows)
    matrix = _numbers(records)
    if matrix.ndim == 1:
        matrix = matrix.reshape(1, -1)
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or not matrix.size:
        raise ShapeError(
            f"expected records of {len(names)} features, (records, {len(names)}), "
            f"found an array of shape {matrix.shape}"
        )
    return matrix


def _numbers(values: Any) -> Floats:  # noqa: ANN401 -- whatever the user gave
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError("records must be numbers, the same number of them in each") from error


def _check_names(expected: list[str], found: list[str], where: str) -> None:
    missing = [name for name in expected if name not in set(found)]
    unknown = [name for name in found if name not in set(expected)]
    if missing or unknown or len(found) != len(expected):
        parts = [
            f"{kind} {', '.join(map(repr, names[:MAX_NAMES_SHOWN]))}"
            + (f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else "")
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise ShapeError(f"columns of {where}: {'; '.join(parts) or 'a name occurs twice'}")


def _refuse_first(
    bad: npt.NDArray[np.bool_], names: list[str], error: type[NonFiniteError], what: str
) -> None:
    if bad.any():
        row, column = (int(index) for index in np.argwhere(bad)[0])
        raise error(f"column '{names[column]}', row {row}: the value {what}")
