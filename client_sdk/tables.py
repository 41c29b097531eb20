"""Verified predictions in the shapes scikit-learn gives, and as pandas objects for pandas' own.

What came as a data frame goes out as a series or a data frame with the same index; what came as
anything else goes out as an array.  Pandas is used only where the caller has loaded it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from client_sdk.records import Records
from client_sdk.result import Result, classes
from protocol import links
from protocol.errors import BlindproofError, InputError, ModelError, ShapeError
from protocol.model import ModelCard

if TYPE_CHECKING:
    import pandas as pd

Floats: TypeAlias = npt.NDArray[np.float64]
Vector: TypeAlias = "npt.NDArray[Any] | pd.Series[Any]"
Table: TypeAlias = "npt.NDArray[Any] | pd.Series[Any] | pd.DataFrame"

ERROR_BOUND = "error_bound"
PREDICTION, LABEL = "prediction", "label"


class NotOfferedError(BlindproofError, AttributeError):
    """The model's link has no such prediction; to `hasattr`, an attribute that is not there."""


class MissingPackageError(BlindproofError, ImportError):
    """An optional package is needed and not installed."""


def classes_of(card: ModelCard) -> npt.NDArray[Any]:
    """A classification's labels in their own type: int64 (labels,) or texts.

    Raises:
        NotOfferedError: the model is a regression.
    """
    if not card.labels:
        raise NotOfferedError(f"'{card.name}' is a regression: it has no classes")
    return classes(card)


def is_classifier(card: ModelCard) -> bool:
    """Whether a model gives labels, and not numbers."""
    return bool(card.labels)


def own_labels(card: ModelCard, result: Result) -> npt.NDArray[Any]:
    """A classification's labels (records,) in their own type, as `classes_of` has them."""
    own = dict(zip(card.labels, classes_of(card), strict=True))
    return np.array([own[label] for label in result.labels or ()])


def require_probabilities(card: ModelCard) -> None:
    """Refuse models whose link gives none.  Raises NotOfferedError."""
    outputs = len(card.outputs)
    if links.probabilities(card.link, np.zeros((1, outputs))) is None:
        raise no_probabilities(card)


def no_probabilities(card: ModelCard) -> NotOfferedError:
    """Says what to use instead."""
    instead = "decision_function" if card.labels else "predict"
    return NotOfferedError(
        f"'{card.name}' has the link '{card.link}', which gives no probabilities: use {instead}"
    )


def require_decision_values(card: ModelCard) -> None:
    """Refuse regressions, and outputs that are probabilities.  Raises NotOfferedError."""
    if not card.labels or card.link == links.PROBABILITY:
        instead = "predict_proba" if card.labels else "predict"
        raise NotOfferedError(
            f"'{card.name}' has the link '{card.link}' and no values that a label is chosen by "
            f"beside its predictions: use {instead}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """One result beside the records that were asked about.

    Attributes:
        card: the model's.
        result: verified.
        index: of the data frame which the records came as; None if they came as anything else.
    """

    card: ModelCard
    result: Result
    index: pd.Index[Any] | None

    @classmethod
    def to(cls, records: Records, card: ModelCard, result: Result) -> Answer:
        """The answer to records."""
        return cls(card, result, _index_of(records))

    def __repr__(self) -> str:
        return f"Answer({self.card.name!r}, {self.result!r})"

    @property
    def predictions(self) -> Table:
        """Labels (records,), or what a regression predicts: (records,), (records, J) if J > 1."""
        predicted = self.result.predictions
        if predicted is not None:
            return self._outputs(predicted)
        return self._vector(own_labels(self.card, self.result), LABEL)

    @property
    def probabilities(self) -> Table:
        """Probabilities (records, labels), in the order of the classes.

        Raises:
            NotOfferedError: the link has none.
        """
        if self.result.probabilities is None:
            raise no_probabilities(self.card)
        return self._table(self.result.probabilities, classes_of(self.card))

    @property
    def decision_values(self) -> Table:
        """What a classification decides by: (records,) of one output, (records, J) of several.

        Raises:
            NotOfferedError: a regression, or a model whose outputs are probabilities.
        """
        require_decision_values(self.card)
        return self._outputs(self.result.values)

    def frame(self) -> pd.DataFrame:
        """Everything about every record, a row each.

        Columns: the outputs; `label` for a classification, `prediction` for a regression whose
        link changes the outputs; `probability of <label>` for each label that has one; and
        `error_bound`, the distance within which the outputs are those of the committed model.

        Raises:
            MissingPackageError: pandas is not installed.
            ModelError: an output has the name of one of the other columns.
        """
        pandas = _require_pandas()
        columns = answer_columns(self.card, self.result)
        columns.append((ERROR_BOUND, np.full(len(self.result.values), self.result.error_bound)))
        names = [name for name, _ in columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ModelError(
                f"the model's output '{min(twice)}' has the name of another column of this table: "
                "use predict, predict_proba or last_result"
            )
        frame: pd.DataFrame = pandas.DataFrame(dict(columns), index=self.index)
        return frame

    def _outputs(self, values: Floats) -> Table:
        """(records, J) as (records,) if J is 1."""
        if values.shape[1] == 1:
            return self._vector(values[:, 0], self.card.outputs[0])
        return self._table(values, np.array(self.card.outputs))

    def _vector(self, values: npt.NDArray[Any], name: str) -> Vector:
        if self.index is None:
            return values
        series: Vector = _require_pandas().Series(values, index=self.index, name=name)
        return series

    def _table(self, values: Floats, columns: npt.NDArray[Any]) -> Table:
        if self.index is None:
            return values
        frame: pd.DataFrame = _require_pandas().DataFrame(values, self.index, columns)
        return frame


def answer_columns(card: ModelCard, result: Result) -> list[tuple[str, npt.NDArray[Any]]]:
    """Outputs, label or prediction, and probabilities, by column name; names may occur twice."""
    columns: list[tuple[str, npt.NDArray[Any]]] = list(
        zip(card.outputs, result.values.T, strict=True)
    )
    if result.predictions is None:
        columns.append((LABEL, own_labels(card, result)))
    elif card.link != links.IDENTITY:
        names = (
            [PREDICTION]
            if len(card.outputs) == 1
            else [f"{PREDICTION} of {output}" for output in card.outputs]
        )
        columns += zip(names, result.predictions.T, strict=True)
    if result.probabilities is not None:
        columns += [
            (f"probability of {label}", part)
            for label, part in zip(card.labels, result.probabilities.T, strict=True)
        ]
    return columns


def accuracy(card: ModelCard, predicted: Table, truth: Sequence[object] | Table) -> float:
    """The share of right labels.

    Raises:
        InputError: another number of true labels, or none of them is one of the model's.
    """
    found = np.asarray(predicted)
    true = _column(truth, len(found))
    if not np.isin(true, classes_of(card)).any():
        kind = "integers" if card.integer_labels else "texts"
        raise InputError(
            f"none of the true labels is one of the model's, which are {kind}: "
            f"{', '.join(card.labels[:5])}{', ...' if len(card.labels) > 5 else ''}"
        )
    return float(np.mean(found == true))


def determination(predicted: Table, truth: Sequence[object] | Table) -> float:
    """R^2, the mean over outputs; an output whose truth is constant counts 1 if met, else 0.

    Raises:
        InputError: true values of another shape, or that are not numbers.
    """
    found = np.asarray(predicted, dtype=np.float64)
    try:
        true = np.asarray(truth, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("the true values must be numbers") from None
    if found.ndim == 1:
        true = _column(true, len(found))
    if true.shape != found.shape:
        raise ShapeError(f"true values of shape {true.shape}, expected {found.shape}")
    residual = np.atleast_1d(((true - found) ** 2).sum(axis=0))
    spread = np.atleast_1d(((true - true.mean(axis=0)) ** 2).sum(axis=0))
    constant = spread == 0
    explained = 1 - residual / np.where(constant, 1.0, spread)
    return float(np.where(constant, (residual == 0).astype(np.float64), explained).mean())


def _column(values: Any, count: int) -> npt.NDArray[Any]:  # noqa: ANN401 -- what the user gave
    column = np.asarray(values)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.shape != (count,):
        raise ShapeError(f"true values of shape {column.shape} for {count} records")
    return column


def _index_of(records: object) -> pd.Index[Any] | None:
    """The index of a pandas data frame, None of anything else."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(records, pandas.DataFrame):
        return None
    index: pd.Index[Any] = records.index
    return index


def _require_pandas() -> Any:  # noqa: ANN401 -- a module
    try:
        import pandas as pd
    except ImportError:
        raise MissingPackageError(
            "data frames need pandas: pip install 'blindproof[pandas]'"
        ) from None
    return pd
