"""scikit-learn's multi-layer perceptrons: dense layers, with polynomials for activations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.activations import fit_activation, refit_layer
from fhe_layers.importing.affine import AffineMap
from fhe_layers.importing.card_columns import term_values
from fhe_layers.importing.estimator_data import dense
from fhe_layers.importing.heads import (
    Head,
    Reader,
    class_outputs,
    labels_of,
    regression_outputs,
)
from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.sklearn_classes import Entry, Fitted, Walk
from fhe_layers.plaintext import polynomial
from fhe_layers.spec import DenseSpec, LayerSpec, PolynomialSpec
from protocol import links

Floats: TypeAlias = npt.NDArray[np.float64]


def _relu(values: Floats) -> Floats:
    return np.maximum(values, 0.0)


def _sigmoid(values: Floats) -> Floats:
    return (1 + np.tanh(values / 2)) / 2


_ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "relu": _relu,
    "tanh": np.tanh,
    "logistic": _sigmoid,
}


@dataclass(frozen=True, eq=False)
class _Layers:
    """A perceptron without its output's activation: first weights, and what follows them."""

    first: AffineMap
    body: tuple[LayerSpec, ...]
    exact: bool


def _read_classifier(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    labels, integers = labels_of(part, where)
    link = links.LOGISTIC if len(labels) == 2 else links.SOFTMAX
    outputs = class_outputs(labels, link)
    if part.n_outputs_ != len(outputs):
        raise UnsupportedModelError(
            where, type(part).__name__, "it gives several labels", "a model for each label"
        )
    layers = _layers(part, given, where, walk)
    raw = _without_output_activation(part)

    def decision(records: Fitted) -> Floats:
        values = dense(raw.predict_proba(records))  # what probabilities are taken of
        return values[:, 1:] if len(labels) == 2 else values

    return Head(
        given=layers.first,
        body=layers.body,
        outputs=outputs,
        labels=labels,
        integer_labels=integers,
        link=link,
        decision=decision,
        exact=layers.exact,
    )


def _read_regression(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    layers = _layers(part, given, where, walk)
    raw = _without_output_activation(part)
    return Head(
        given=layers.first,
        body=layers.body,
        outputs=regression_outputs(int(part.n_outputs_)),
        labels=(),
        integer_labels=False,
        link=links.EXP if part.out_activation_ == "exp" else links.IDENTITY,  # loss='poisson'
        decision=lambda records: dense(raw.predict(records)),
        exact=layers.exact,
    )


def _without_output_activation(part: Fitted) -> Fitted:
    """The same perceptron, sharing its weights, which returns what its last layer sums."""
    raw = copy.copy(part)
    raw.out_activation_ = "identity"
    return raw


def _layers(part: Fitted, given: AffineMap, where: str, walk: Walk) -> _Layers:
    """Matrices alone, which are one, or with fitted polynomials between them.

    Raises:
        UnsupportedModelError: its activation is no polynomial, and none was asked for.
    """
    weights = [np.asarray(matrix, dtype=np.float64).T for matrix in part.coefs_]
    biases = [np.asarray(bias, dtype=np.float64) for bias in part.intercepts_]
    first = given.projected(weights[0], biases[0])
    sizes = " x ".join(str(size) for size in (given.features, *map(len, weights)))
    if part.activation == "identity" or len(weights) == 1:
        for matrix, bias in zip(weights[1:], biases[1:], strict=True):
            first = first.projected(matrix, bias)
        walk.add(where, part, Treatment.ENCRYPTED, f"{sizes} units, folded into one matrix")
        return _Layers(first, (), exact=True)
    degree = walk.options.activation_degree
    if degree is None or part.activation not in _ACTIVATIONS:
        raise UnsupportedModelError(
            where,
            f"{type(part).__name__}(activation={part.activation!r})",
            "only polynomials can be evaluated on encrypted numbers",
            "activation_degree=2, 3 or 4, which fits polynomials on the sample, or "
            "activation='identity'",
        )
    function = _ACTIVATIONS[part.activation]
    body: list[LayerSpec] = []
    values = wanted = term_values(first, walk.table)
    for matrix, bias in zip(weights[1:], biases[1:], strict=True):
        coefficients = fit_activation(function, values, degree)
        activated = polynomial(values, coefficients).astype(np.float64)
        wanted = function(wanted) @ matrix.T + bias
        moved, constants = refit_layer(matrix, activated, wanted)
        values = activated @ moved.T + constants
        body += [PolynomialSpec(coefficients), DenseSpec(moved, constants)]
    walk.add(
        where,
        part,
        Treatment.ENCRYPTED,
        f"{sizes} units; {part.activation} replaced by polynomials of degree {degree} fitted on "
        "the sample, and the weights after them moved to make up for it",
    )
    return _Layers(first, tuple(body), exact=False)


_NOTE = (
    "activation='identity'; 'relu', 'tanh' and 'logistic' are replaced by polynomials fitted on "
    "the sample if activation_degree is given, else refused"
)

PERCEPTRONS: Mapping[str, Entry[Reader]] = {
    "MLPClassifier": Entry(Treatment.ENCRYPTED, _NOTE, _read_classifier),
    "MLPRegressor": Entry(Treatment.ENCRYPTED, _NOTE, _read_regression),
}
