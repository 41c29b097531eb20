"""Functions of ONNX that are no polynomials: link functions at the end, activations inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fhe_layers.importing.affine_values import (
    CannotServeError,
    Combined,
    Convolved,
    Picked,
    concatenated,
)
from fhe_layers.importing.onnx_graph import Node
from fhe_layers.importing.onnx_walk import Choice, Response, Seen, Walk, replaced

_NOT_NEGATIVE = frozenset({"sigmoid", "softmax", "probability", "exp"})


def rectified(walk: Walk, node: Node) -> Seen:
    """Max(x, 0), as a polynomial."""
    return walk.activated(node, walk.value(node, 0), lambda x: np.maximum(x, 0.0))


def tangent(walk: Walk, node: Node) -> Seen:
    """tanh(x), as a polynomial."""
    return walk.activated(node, walk.value(node, 0), np.tanh)


def sigmoids(walk: Walk, node: Node) -> Seen:
    """Clients compute it of decrypted scores; inside a network it becomes a polynomial."""
    return _response(walk, node, "sigmoid")


def softmax(walk: Walk, node: Node) -> Seen:
    """Clients compute it of decrypted scores."""
    response = _response(walk, node, "softmax")
    axis = node.integer("axis", -1)
    if len(response.shape) != 2 or axis % 2 != 1 or response.shape[1] < 2:
        raise CannotServeError("it is not taken over classes", "softmax over axis 1, of (N, J)")
    return response


def exponential(walk: Walk, node: Node) -> Seen:
    """Clients compute it of a decrypted prediction."""
    return _response(walk, node, "exp")


def absolute(walk: Walk, node: Node) -> Seen:
    """Of probabilities, which it leaves alone."""
    given = walk.input(node, 0)
    if not isinstance(given, Response) or given.function not in {"sigmoid", "softmax"}:
        walk.refuse(node, "only polynomials can be computed on ciphertexts", "a square")
    return replaced(given, node, identity_node(node))


def arg_max(walk: Walk, node: Node) -> Seen:
    """Clients choose the class."""
    given = walk.input(node, 0)
    response = given if isinstance(given, Response) else ranked(walk, node, 0)
    if len(response.shape) != 2 or node.integer("axis", 0) % 2 != 1 or response.shape[1] < 2:
        raise CannotServeError("it is not taken over classes", "ArgMax over axis 1, of (N, J)")
    return Choice(response, (1, 1) if node.integer("keepdims", 1) else (1,))


def greater(walk: Walk, node: Node) -> Seen:
    """A score above 0, or a probability above 1/2: the client's choice of the second class."""
    given, threshold = walk.input(node, 0), walk.input(node, 1)
    if isinstance(given, Picked | Combined | Convolved) and is_all(threshold, 0.0):
        response = ranked(walk, node, 0)
    elif isinstance(given, Response) and given.function == "sigmoid" and is_all(threshold, 0.5):
        response = given
    else:
        walk.refuse(
            node,
            "comparisons have no encrypted form",
            "a model that ends with its scores; for trees the estimator itself or an export by "
            "skl2onnx, whose tree operators are served",
        )
    if math.prod(response.shape) != 1:
        raise CannotServeError("it compares several scores", "one score, or ArgMax")
    return Choice(response, response.shape)


def ranked(walk: Walk, node: Node, position: int) -> Response:
    """Scores that only rank classes."""
    name = node.inputs[position]
    return Response(walk.value(node, position), "identity", name, node)


def labelled(walk: Walk, choice: Choice, labels: Seen | None) -> Choice:
    """A choice whose labels were looked up in a constant."""
    del walk
    if not isinstance(labels, np.ndarray):
        raise CannotServeError("labels are looked up in data", "constant labels")
    texts, integers = label_texts(np.ravel(labels).tolist())
    response = replace(choice.response, labels=texts, integer_labels=integers)
    return Choice(response, choice.shape)


def label_texts(labels: Sequence[Any]) -> tuple[tuple[str, ...], bool]:
    """Class labels as texts, and whether they are integers."""
    texts = [label.decode() if isinstance(label, bytes) else label for label in labels]
    if all(isinstance(label, int | np.integer) for label in texts):
        return tuple(str(int(label)) for label in texts), True
    if all(isinstance(label, float) and label.is_integer() for label in texts):
        return tuple(str(int(label)) for label in texts), True
    return tuple(str(label) for label in texts), False


def normalised(response: Response, node: Node) -> Response:
    """Probabilities divided by their sum; exponentials are then a softmax."""
    function = "softmax" if response.function == "exp" else response.function
    return replaced(response, node, identity_node(node), function=function, normalised=True)


def lp_normalisation(walk: Walk, node: Node) -> Seen:
    """Of probabilities only, which are not negative: clients divide by the sum anyway."""
    given = walk.input(node, 0)
    classes = isinstance(given, Response) and len(given.shape) == 2
    if not isinstance(given, Response) or not classes or given.function not in _NOT_NEGATIVE:
        raise CannotServeError(
            "it divides every record by its norm, which depends on the data",
            "a StandardScaler, or the normalisation before the table is made",
        )
    if node.integer("p", 2) != 1 or node.integer("axis", -1) not in {1, -1}:
        raise CannotServeError("it is no sum over classes", "p=1 over axis 1, of (N, J)")
    return normalised(given, node)


def _response(walk: Walk, node: Node, function: str) -> Response:
    given = walk.value(node, 0)
    rewrites = {node.index: identity_node(node)}
    return Response(given, function, node.outputs[0], node, rewrites)


def joined(walk: Walk, node: Node, responses: list[Response], axis: int) -> Response:
    """Probabilities side by side.  Raises CannotServeError."""
    functions = {response.function for response in responses}
    bases = {response.scores.base for response in responses}
    if functions != {"sigmoid"} or len(bases) != 1:
        raise CannotServeError("it joins outputs of different kinds", "one output")
    scores = [response.scores for response in responses]
    rewrites = {k: v for response in responses for k, v in response.rewrites.items()}
    joined = concatenated(scores, axis, walk.builder.units(scores[0]))
    if len(responses) == 1:
        labels = responses[0].labels
    else:  # each part's own, unless they are those of one class against the rest
        found = [part.labels[-1] for part in responses if part.labels]
        single = len(found) == len(responses) == math.prod(joined.shape)
        labels = tuple(found) if single and len(set(found)) == len(found) else ()
    return replace(
        responses[0],
        scores=joined,
        tensor=node.outputs[0],
        rewrites=rewrites,
        normalised=len(responses) == 1 and responses[0].normalised,
        labels=labels,
        integer_labels=bool(labels) and responses[0].integer_labels,
    )


def identity_node(node: Node) -> Any:  # noqa: ANN401
    """A node that lets the first input of another through."""
    from onnx import helper

    return helper.make_node("Identity", [node.inputs[0]], [node.outputs[0]])


def is_all(given: Seen | None, number: float) -> bool:
    """Whether something is a constant, and this number throughout."""
    return isinstance(given, np.ndarray) and bool((given == number).all())
