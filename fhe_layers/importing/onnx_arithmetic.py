"""Arithmetic of ONNX: with constants it folds, between values it is a layer."""

from __future__ import annotations

import numpy as np

from fhe_layers.importing.affine_values import CannotServeError, Floats, Value, scaled
from fhe_layers.importing.imported import Treatment
from fhe_layers.importing.onnx_graph import Node
from fhe_layers.importing.onnx_links import is_all, normalised
from fhe_layers.importing.onnx_walk import Response, Seen, Total, Walk, replaced


def plus(walk: Walk, node: Node) -> Seen:
    """A sum, of values or with constants."""
    return _sum(walk, node, 1.0)


def minus(walk: Walk, node: Node) -> Seen:
    """A difference; 1 - probability is that of the other class."""
    left, right = walk.input(node, 0), walk.input(node, 1)
    if isinstance(right, Response) and right.function == "sigmoid" and is_all(left, 1.0):
        from onnx import helper

        opposite = helper.make_node("Neg", [node.inputs[1]], [node.outputs[0]])
        # Of two labels the other one is now the likelier, the more there is of it.
        labels = right.labels[::-1] if len(right.labels) == 2 else right.labels
        return replaced(right, node, opposite, scores=negated(walk, right.scores), labels=labels)
    return _sum(walk, node, -1.0)


def times(walk: Walk, node: Node) -> Seen:
    """A product, of values or with constants."""
    for position, other in ((0, 1), (1, 0)):
        factor = walk.input(node, other)
        if isinstance(factor, np.ndarray):
            value = walk.value(node, position)
            walk.note(Treatment.FOLDED, "into weights")
            return with_constants(walk, value, np.asarray(factor, dtype=np.float64), np.array(0.0))
    left = walk.value(node, 0)
    right = left if node.inputs[0] == node.inputs[1] else walk.value(node, 1)
    return walk.product(left, right)


def divided(walk: Walk, node: Node) -> Seen:
    """By constants; probabilities by their sum."""
    left, right = walk.input(node, 0), walk.input(node, 1)
    if isinstance(left, Response) and isinstance(right, Total):
        if left.scores is not right.response.scores or left.function != right.response.function:
            raise CannotServeError("it divides by the sum of something else", "their own sum")
        return normalised(left, node)
    if not isinstance(right, np.ndarray):
        raise CannotServeError(
            "it divides by something that depends on the data", "products, or a constant divisor"
        )
    walk.note(Treatment.FOLDED, "into weights")
    with np.errstate(divide="ignore"):
        factor = 1 / np.asarray(right, dtype=np.float64)
    return with_constants(walk, walk.value(node, 0), factor, np.array(0.0))


def negative(walk: Walk, node: Node) -> Seen:
    """-x."""
    return negated(walk, walk.value(node, 0))


def power(walk: Walk, node: Node) -> Seen:
    """x^1 to x^4."""
    exponent = walk.numbers(node, 1)
    if exponent is None or exponent.size != 1 or float(exponent.flat[0]) not in {1, 2, 3, 4}:
        raise CannotServeError("its exponent is not 1, 2, 3 or 4", "x ** 2")
    value, degree = walk.value(node, 0), int(exponent.flat[0])
    if exponent.ndim > len(value.shape):
        raise CannotServeError("its exponent has more axes than its values", "a single number")
    if degree == 1:
        return value
    if degree == 2:
        return walk.product(value, value)
    return walk.builder.polynomial(value, (*(0.0,) * degree, 1.0))


def _sum(walk: Walk, node: Node, sign: float) -> Value:
    """left + sign * right."""
    left, right = walk.input(node, 0), walk.input(node, 1)
    if isinstance(right, np.ndarray):
        walk.note(Treatment.FOLDED, "into the bias of a layer")
        offset = sign * np.asarray(right, dtype=np.float64)
        return with_constants(walk, walk.encrypted(left), np.array(1.0), offset)
    if isinstance(left, np.ndarray):
        walk.note(Treatment.FOLDED, "into the bias of a layer")
        offset = np.asarray(left, dtype=np.float64)
        return with_constants(walk, walk.encrypted(right), np.array(sign), offset)
    first = walk.encrypted(left)
    second = first if node.inputs[0] == node.inputs[1] else walk.encrypted(right)
    if sign < 0:
        second = negated(walk, second)
    return walk.builder.sum(first, second)


def with_constants(walk: Walk, value: Value, factor: Floats, offset: Floats) -> Value:
    """Constants as ONNX broadcasts them: a vector belongs to the last axis."""
    if not np.isfinite(factor).all() or not np.isfinite(offset).all():
        raise CannotServeError("its constants are NaN or infinite", "finite ones")
    if max(np.ndim(factor), np.ndim(offset)) > len(value.shape):
        raise CannotServeError(
            "its constants have more axes than its values, which moves the records to another axis",
            "constants for each unit or each channel",
        )
    return scaled(value, factor, offset, walk.builder.units(value))


def negated(walk: Walk, value: Value) -> Value:
    """-x."""
    return scaled(value, np.array(-1.0), np.array(0.0), walk.builder.units(value))
