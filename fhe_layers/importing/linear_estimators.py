"""scikit-learn's linear models: classifiers, regressions, and generalised linear ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine import AffineMap
from fhe_layers.importing.estimator_data import assembled, dense, names_of
from fhe_layers.importing.heads import (
    Head,
    Reader,
    class_outputs,
    labels_of,
    regression_outputs,
)
from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.sklearn_classes import Entry, Fitted, Walk
from protocol import links

Floats: TypeAlias = npt.NDArray[np.float64]


def _read_classifier(
    part: Fitted, given: AffineMap, where: str, walk: Walk, *, two: str, several: str
) -> Head:
    """coef_ and intercept_, one row of them if there are two classes."""
    labels, integers = labels_of(part, where)
    weights = dense(part.coef_).reshape(-1, given.features)
    if len(weights) != (1 if len(labels) == 2 else len(labels)):
        raise UnsupportedModelError(
            where,
            type(part).__name__,
            "it has other outputs than one for each class",
            "a model for each target",
        )
    link = two if len(labels) == 2 else several
    walk.add(where, part, Treatment.ENCRYPTED, f"a matrix {weights.shape[0]} x {weights.shape[1]}")
    return Head(
        given=given.projected(weights, np.broadcast_to(part.intercept_, len(weights))),
        body=(),
        outputs=class_outputs(labels, link),
        labels=labels,
        integer_labels=integers,
        link=link,
        decision=lambda records: dense(part.decision_function(records)),
    )


def _read_logistic(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """One matrix for all classes, or (of older releases) a model against the rest for each."""
    rest = getattr(part, "multi_class", "auto") == "ovr" or (
        getattr(part, "solver", "") == "liblinear"
    )
    several = links.ARGMAX if rest else links.SOFTMAX
    return _read_classifier(part, given, where, walk, two=links.LOGISTIC, several=several)


def _read_sgd(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """Its loss says what an output means; several classes are each against the rest."""
    two = links.LOGISTIC if part.loss == "log_loss" else links.SIGN
    return _read_classifier(part, given, where, walk, two=two, several=links.ARGMAX)


def _read_kernel_classifier(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """Linear kernels and two classes only."""
    _require_linear_kernel(part, where, "LinearSVC, after PolynomialFeatures(2) if products matter")
    if len(part.classes_) != 2:
        raise UnsupportedModelError(
            where,
            type(part).__name__,
            "several classes vote in pairs, which needs comparisons after each pair",
            "LinearSVC or LogisticRegression",
        )
    return _read_classifier(part, given, where, walk, two=links.SIGN, several=links.ARGMAX)


def _read_regression(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """coef_ and intercept_."""
    weights = dense(part.coef_).reshape(-1, given.features)
    constants = np.asarray(part.intercept_)
    return _regression(part, given, where, walk, weights=weights, constants=constants)


def _read_kernel_regression(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """Linear kernels only."""
    _require_linear_kernel(part, where, "LinearSVR, after PolynomialFeatures(2) if products matter")
    return _read_regression(part, given, where, walk)


def _read_partial_least_squares(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """Centred inside: the constant is what it says of zeros."""
    weights = dense(part.coef_).reshape(-1, given.features)
    zeros = assembled([np.zeros(1)] * given.features, names_of(part))
    constants = dense(part.predict(zeros)).ravel()
    return _regression(part, given, where, walk, weights=weights, constants=constants)


def _read_generalised(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """The logarithm of the mean is linear, or the mean itself."""
    link = getattr(part, "link", "log")  # of TweedieRegressor; the others have one
    if link == "identity" or (link == "auto" and part.power <= 0):
        return _read_regression(part, given, where, walk)
    weights = dense(part.coef_).reshape(-1, given.features)
    constants = np.asarray(part.intercept_)
    return _regression(
        part, given, where, walk, weights=weights, constants=constants, link=links.EXP
    )


def _regression(
    part: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
    *,
    weights: Floats,
    constants: Floats,
    link: str = links.IDENTITY,
) -> Head:
    def decision(records: Fitted) -> Floats:
        values = dense(part.predict(records))
        logarithms: Floats = np.log(values) if link == links.EXP else values
        return logarithms

    walk.add(where, part, Treatment.ENCRYPTED, f"a matrix {weights.shape[0]} x {weights.shape[1]}")
    return Head(
        given=given.projected(weights, np.broadcast_to(constants.ravel(), len(weights))),
        body=(),
        outputs=regression_outputs(len(weights)),
        labels=(),
        integer_labels=False,
        link=link,
        decision=decision,
    )


def _require_linear_kernel(part: Fitted, where: str, instead: str) -> None:
    """Raises UnsupportedModelError."""
    if part.kernel != "linear":
        raise UnsupportedModelError(
            where,
            f"{type(part).__name__}(kernel={part.kernel!r})",
            "kernels compare a record with training records",
            instead,
        )


def _entry(read: Reader, note: str = "") -> Entry[Reader]:
    return Entry(Treatment.ENCRYPTED, note, read)


_LOGISTIC = _entry(_read_logistic, "several classes: softmax")
_SCORES = _entry(
    partial(_read_classifier, two=links.SIGN, several=links.ARGMAX), "labels without probabilities"
)
_REGRESSION = _entry(_read_regression, "one target or several")
_KERNEL_CLASSIFIER = _entry(_read_kernel_classifier, "kernel='linear' and two classes")
_KERNEL_REGRESSION = _entry(_read_kernel_regression, "kernel='linear'")
_GENERALISED = _entry(_read_generalised, "the client takes the exponential")

LINEAR_ESTIMATORS: Mapping[str, Entry[Reader]] = {
    "LogisticRegression": _LOGISTIC,
    "LogisticRegressionCV": _LOGISTIC,
    "LinearDiscriminantAnalysis": _entry(
        partial(_read_classifier, two=links.LOGISTIC, several=links.SOFTMAX), "as a classifier"
    ),
    "SGDClassifier": _entry(
        _read_sgd, "probabilities for loss='log_loss' and two classes, else labels only"
    ),
    "Perceptron": _SCORES,
    "LinearSVC": _SCORES,
    "RidgeClassifier": _SCORES,
    "RidgeClassifierCV": _SCORES,
    "SVC": _KERNEL_CLASSIFIER,
    "NuSVC": _KERNEL_CLASSIFIER,
    **dict.fromkeys(
        (
            "LinearRegression",
            "Ridge",
            "RidgeCV",
            "Lasso",
            "LassoCV",
            "ElasticNet",
            "ElasticNetCV",
            "MultiTaskLasso",
            "MultiTaskElasticNet",
            "Lars",
            "LassoLars",
            "OrthogonalMatchingPursuit",
            "BayesianRidge",
            "ARDRegression",
            "HuberRegressor",
            "TheilSenRegressor",
            "QuantileRegressor",
            "SGDRegressor",
            "LinearSVR",
        ),
        _REGRESSION,
    ),
    "SVR": _KERNEL_REGRESSION,
    "NuSVR": _KERNEL_REGRESSION,
    "PLSRegression": _entry(_read_partial_least_squares, "one target or several"),
    "PoissonRegressor": _GENERALISED,
    "GammaRegressor": _GENERALISED,
    "TweedieRegressor": _entry(_read_generalised, "link 'log' or 'identity'"),
}
"""By the name of a class, its own or one it is derived from."""
