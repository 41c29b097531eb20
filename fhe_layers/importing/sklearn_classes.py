"""How scikit-learn's classes are told apart without importing scikit-learn, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from fhe_layers.importing.imported import (
    Step,
    Support,
    Treatment,
    UnsupportedModelError,
)
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol.errors import ModelError

Fitted: TypeAlias = Any
"""An object of scikit-learn, which has no types."""

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[HandlerT]):
    """What becomes of one class.

    Attributes:
        treatment: see `Treatment`.
        note: conditions, for people.
        read: the function that reads a fitted object of the class.
        takes_texts: whether it takes columns of texts that nothing has encoded.
    """

    treatment: Treatment
    note: str
    read: HandlerT
    takes_texts: bool = False


@dataclass(frozen=True)
class Walk:
    """What readers of parts are given beside the part.

    Attributes:
        table: the sample.
        options: the user's choices.
        steps: what became of the parts so far; readers append to it.
    """

    table: Table
    options: ImportOptions
    steps: list[Step] = field(default_factory=list)

    def add(self, name: str, part: object, treatment: Treatment, note: str = "") -> None:
        """Say what became of a part."""
        self.steps.append(Step(name, type(part).__name__, treatment, note))


@dataclass(frozen=True)
class Refusal:
    """Why a class has no encrypted form, and what to use instead."""

    reason: str
    instead: str


_SCALERS = "StandardScaler, MinMaxScaler or RobustScaler"
_DIVIDES = Refusal(
    "it divides by a norm of each record, which has no form on encrypted numbers",
    f"{_SCALERS}, or divide before the data reach the model",
)
_CURVES = Refusal(
    "a curve for each column has no form on encrypted numbers",
    f"KBinsDiscretizer, {_SCALERS}; or apply the curve before the data reach the model",
)
_KERNEL = Refusal(
    "kernels compare a record with training records, which would have to be published or encrypted",
    "LogisticRegression, LinearSVC or Ridge, after PolynomialFeatures(2) if products matter",
)
_NEIGHBOURS = Refusal(
    "it compares a record with training records",
    "LogisticRegression, or a RandomForestClassifier with max_depth=3",
)
_IMPUTES = Refusal(
    "it computes a missing value from other columns, which the client would need the model for",
    "SimpleImputer",
)
_DENSITY = Refusal(
    "its scores are quadratic in every column and are not read",
    "LinearDiscriminantAnalysis, or LogisticRegression after PolynomialFeatures(2)",
)
_COMBINES = Refusal(
    "a combination of models is not read",
    "one of its models alone, or a RandomForest or GradientBoosting with max_depth=3",
)
_WORDS = Refusal(
    "texts are split into words before anything is encrypted",
    "the table of counts as the model's columns, made before",
)
_DISTANCES = Refusal("it measures distances", "LogisticRegression, or PCA for fewer columns")

REFUSED: Mapping[str, Refusal] = {
    "Normalizer": _DIVIDES,
    "PowerTransformer": _CURVES,
    "QuantileTransformer": _CURVES,
    "SplineTransformer": _CURVES,
    "KernelPCA": _KERNEL,
    "Nystroem": _KERNEL,
    "RBFSampler": _KERNEL,
    "KernelRidge": _KERNEL,
    "GaussianProcessClassifier": _KERNEL,
    "GaussianProcessRegressor": _KERNEL,
    "KNeighborsClassifier": _NEIGHBOURS,
    "KNeighborsRegressor": _NEIGHBOURS,
    "KNNImputer": _IMPUTES,
    "IterativeImputer": _IMPUTES,
    "MissingIndicator": Refusal(
        "clients replace missing values and send no sign of it",
        "SimpleImputer; for categories, a category of their own by fill_value",
    ),
    "GaussianNB": _DENSITY,
    "QuadraticDiscriminantAnalysis": _DENSITY,
    "VotingClassifier": _COMBINES,
    "VotingRegressor": _COMBINES,
    "StackingClassifier": _COMBINES,
    "StackingRegressor": _COMBINES,
    "BaggingClassifier": _COMBINES,
    "BaggingRegressor": _COMBINES,
    "AdaBoostClassifier": _COMBINES,
    "AdaBoostRegressor": _COMBINES,
    "OneVsOneClassifier": Refusal(
        "votes between pairs of classes need comparisons after each of them",
        "OneVsRestClassifier, or LogisticRegression, which takes several classes",
    ),
    "CalibratedClassifierCV": Refusal(
        "its calibration is a curve on top of the model's score",
        "the model itself, or LogisticRegression, which has probabilities",
    ),
    "IsotonicRegression": _CURVES,
    "CountVectorizer": _WORDS,
    "TfidfVectorizer": _WORDS,
    "KMeans": _DISTANCES,
}
"""Classes that people try; what is not here and not read gets a general answer."""


def class_names(part: object, library: str = "sklearn") -> list[str]:
    """Names of a library's classes that an object is an instance of, its own first."""
    return [
        base.__name__ for base in type(part).__mro__ if base.__module__.partition(".")[0] == library
    ]


def entry_of(part: object, known: Mapping[str, Entry[HandlerT]]) -> Entry[HandlerT] | None:
    """How an object is read; None if no class of its is known here."""
    for name in class_names(part):
        if name in REFUSED:
            return None
        if name in known:
            return known[name]
    return None


def refuse(where: str, part: object, general: Refusal) -> UnsupportedModelError:
    """The error for a part that is not read."""
    names = [name for name in class_names(part) if name in REFUSED]
    refusal = REFUSED[names[0]] if names else general
    return UnsupportedModelError(where, type(part).__name__, refusal.reason, refusal.instead)


def require_fitted(where: str, part: object) -> None:
    """Raises ModelError: it has not been fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(part)
    except NotFittedError:
        raise ModelError(
            f"'{where}' ({type(part).__name__}) has not been fitted: call fit first"
        ) from None


def support_of(known: Mapping[str, Entry[Any]]) -> tuple[Support, ...]:
    """Rows of the document for what is read."""
    return tuple(Support(name, entry.treatment, entry.note) for name, entry in known.items())


def refused_support(names: Iterable[str] = REFUSED) -> tuple[Support, ...]:
    """Rows of the document for what is refused."""
    return tuple(
        Support(
            name, Treatment.REFUSED, f"{REFUSED[name].reason}; instead: {REFUSED[name].instead}"
        )
        for name in names
    )
