"""Operators of ONNX that move, repeat or drop entries: they cost nothing.

Records stay the first axis throughout.
"""

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
    Operator,
    Picked,
    Value,
    concatenated,
    rearranged,
    reshaped,
)
from fhe_layers.importing.onnx_columns import Texts
from fhe_layers.importing.onnx_graph import Array, Node
from fhe_layers.importing.onnx_links import joined, labelled
from fhe_layers.importing.onnx_walk import Choice, Response, Seen, Total, Walk, passed, required

FLOATS = frozenset({1, 10, 11, 16})
"""Element types FLOAT, FLOAT16, DOUBLE, BFLOAT16."""
BOOL = 9


def same(walk: Walk, node: Node) -> Seen:
    """Identity, Dropout in inference, conversion between kinds of numbers."""
    given = walk.input(node, 0)
    if isinstance(given, Response):
        return passed(given, node)
    if given is None:
        raise CannotServeError("it has no input", "a valid node")
    return given


def cast(walk: Walk, node: Node) -> Seen:
    """Between floats; to whole numbers only the class chosen, or columns that hold such."""
    given, kind = walk.input(node, 0), node.integer("to", 1)
    if kind in FLOATS or isinstance(given, Choice | Texts):
        return same(walk, node)
    if isinstance(given, Response | Total):
        raise CannotServeError("it rounds what clients compute", "the model without this step")
    if isinstance(given, Picked | Combined | Convolved):
        columns = walk.columns.plain_columns(given)  # an encoder may follow
        numbers = walk.columns.completed.values[:, [walk.columns.columns[i] for i in columns]]
        kept = np.isin(numbers, (0, 1)) if kind == BOOL else numbers == np.floor(numbers)
        if not (kept | np.isnan(numbers)).all():
            raise CannotServeError(
                "it cuts numbers of the sample to whole ones, or to truth values",
                "columns that are whole numbers already, or a model without this step",
            )
    return same(walk, node)


def dropout(walk: Walk, node: Node) -> Seen:
    """In inference it does nothing."""
    if np.any(walk.constant(node, 2)):
        raise CannotServeError("it is exported in training mode", "module.eval() before exporting")
    return same(walk, node)


def flatten(walk: Walk, node: Node) -> Seen:
    """One axis for each record."""
    value = walk.value(node, 0)
    axis = node.integer("axis", 1)
    if axis % len(value.shape) != 1 and axis != 1:
        raise CannotServeError(f"it joins the records with other axes (axis={axis})", "axis=1")
    return reshaped(value, (1, math.prod(value.shape[1:])), walk.builder.units(value))


def reshape(walk: Walk, node: Node) -> Seen:
    """Other axes, the records first."""
    given = walk.input(node, 0)
    if isinstance(given, Choice | Response | Texts):
        return _shaped(walk, node, given)
    value = walk.encrypted(given)
    target = [int(axis) for axis in required(walk.constant(node, 1)).ravel()]
    if not node.integer("allowzero", 0):
        target = [value.shape[i] if axis == 0 else axis for i, axis in enumerate(target)]
    if target and target[0] == walk.graph.batch:
        target[0] = 1
    shape = _filled(target, math.prod(value.shape))
    if shape[:1] != (1,):
        raise CannotServeError(
            f"its target {tuple(target)} does not keep records apart", "a first axis of -1"
        )
    return reshaped(value, shape, walk.builder.units(value))


def squeeze(walk: Walk, node: Node) -> Seen:
    """Without axes of length one."""
    given = walk.input(node, 0)
    if isinstance(given, Choice | Response | Texts):
        return _shaped(walk, node, given)
    value = walk.encrypted(given)
    axes = listed_axes(walk, node)
    if axes is None:
        axes = [axis for axis in range(1, len(value.shape)) if value.shape[axis] == 1]
    axes = [axis % len(value.shape) for axis in axes]
    if 0 in axes:
        raise CannotServeError("it removes the axis of the records", "other axes")
    shape = tuple(size for axis, size in enumerate(value.shape) if axis not in axes)
    return reshaped(value, shape, walk.builder.units(value))


def unsqueeze(walk: Walk, node: Node) -> Seen:
    """More axes of length one."""
    value = walk.value(node, 0)
    axes = listed_axes(walk, node) or []
    rank = len(value.shape) + len(axes)
    places = sorted(axis % rank for axis in axes)
    shape = list(value.shape)
    for place in places:
        shape.insert(place, 1)
    if 0 in places:
        raise CannotServeError("it adds an axis before the records", "other axes")
    return reshaped(value, tuple(shape), walk.builder.units(value))


def transpose(walk: Walk, node: Node) -> Seen:
    """Another order of axes, the records first."""
    value = walk.value(node, 0)
    rank = len(value.shape)
    order = [int(axis) for axis in node.attributes.get("perm", range(rank)[::-1])]
    if order[0] != 0:
        raise CannotServeError("it moves the axis of the records", "channels first throughout")
    return rearranged(value, lambda rows: rows.transpose(order), walk.builder.units(value))


def concat(walk: Walk, node: Node) -> Seen:
    """Values side by side."""
    parts = [walk.input(node, position) for position in range(len(node.inputs))]
    rank = max(len(np.shape(part)) if isinstance(part, np.ndarray) else len(part.shape)
               for part in parts if part is not None and not isinstance(part, Total))  # fmt: skip
    axis = node.integer("axis", 1) % rank
    if axis == 0:
        raise CannotServeError("it joins along the records", "axis=1")
    texts = [part for part in parts if isinstance(part, Texts)]
    if len(texts) == len(parts):
        return Texts(np.concatenate([part.columns for part in texts], axis=1))
    responses = [part for part in parts if isinstance(part, Response)]
    if len(responses) == len(parts):
        return joined(walk, node, responses, axis)
    values = [
        _constant_value(part) if isinstance(part, np.ndarray) else walk.encrypted(part)
        for part in parts
    ]
    base = next((value.base for value in values if value.base), 0)
    bases = {
        value.base
        for value, part in zip(values, parts, strict=True)
        if not isinstance(part, np.ndarray)
    }
    if len(bases) > 1:
        raise CannotServeError(
            "it joins values of different depth", "adding them, or joining before the first layer"
        )
    moved = [replace(value, base=base) if value.base != base else value for value in values]
    return concatenated(moved, axis, walk.builder.units(moved[0]))


def sliced(walk: Walk, node: Node) -> Seen:
    """A range of an axis."""
    given = walk.input(node, 0)
    value = given.scores if isinstance(given, Response) else walk.encrypted(given)
    if "starts" in node.attributes:
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = list(node.attributes.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = (required(walk.constant(node, i)).ravel().tolist() for i in (1, 2))
        listed, stepped = walk.constant(node, 3), walk.constant(node, 4)
        axes = list(range(len(starts))) if listed is None else listed.ravel().tolist()
        steps = [1] * len(starts) if stepped is None else stepped.ravel().tolist()
    window = [slice(None)] * len(value.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = int(axis) % len(value.shape)
        bounds = slice(int(start), int(end), int(step))
        if place == 0:
            if bounds.indices(1 << 60) != (0, min(int(end), 1 << 60), 1) or int(end) < 1 << 30:
                raise CannotServeError("it selects among the records", "slices of other axes")
            continue
        window[place] = bounds
    return chosen_entries(walk, node, given, lambda rows: rows[tuple(window)])


def gather(walk: Walk, node: Node) -> Seen:
    """Chosen entries of an axis; the label of a chosen class."""
    given, chosen = walk.input(node, 0), walk.input(node, 1)
    if isinstance(chosen, Choice):
        return labelled(walk, chosen, given)
    places = required(walk.constant(node, 1))
    axis = node.integer("axis", 0)
    if isinstance(given, Texts):
        return Texts(np.atleast_2d(np.take(given.columns, places.astype(np.int64), axis=axis)))
    value = given.scores if isinstance(given, Response) else walk.encrypted(given)
    if axis % len(value.shape) == 0:
        raise CannotServeError("it selects among the records", "another axis")
    axis, places = axis % len(value.shape), places.astype(np.int64)
    return chosen_entries(walk, node, given, lambda rows: np.take(rows, places, axis=axis))


def chosen_entries(walk: Walk, node: Node, given: Seen | None, operator: Operator) -> Seen:
    """Some entries of a value or of a response, in any order.  Raises CannotServeError."""
    value = given.scores if isinstance(given, Response) else walk.encrypted(given)
    taken = rearranged(value, operator, walk.builder.units(value))
    if not isinstance(given, Response):
        return taken
    every = np.arange(math.prod(value.shape))
    entries = operator(every.reshape(value.shape)).ravel().astype(np.int64).tolist()
    complete = sorted(entries) == every.tolist()
    if given.function == "softmax" and not complete:
        raise CannotServeError(
            "it keeps some of a softmax's probabilities, and clients need every score for them",
            "all probabilities as the output",
        )
    labels = given.labels
    if labels and complete and len(entries) == len(labels):
        labels = tuple(labels[entry] for entry in entries)
    elif len(labels) == len(every) == 2 and len(entries) == 1:  # the second label's
        labels = (labels[1 - entries[0]], labels[entries[0]])
    return passed(given, node, scores=taken, labels=labels)


def split(walk: Walk, node: Node) -> tuple[Seen, ...]:
    """Parts of an axis."""
    value = walk.value(node, 0)
    axis = node.integer("axis", 0) % len(value.shape)
    if axis == 0:
        raise CannotServeError("it splits the records", "another axis")
    sizes = walk.constant(node, 1)
    listed = node.attributes.get("split") if sizes is None else sizes.ravel()
    if listed is None:
        size = -(-value.shape[axis] // len(node.outputs))  # the last part may have less
        starts = range(0, size * len(node.outputs), size)
        parts = [np.arange(value.shape[axis])[start : start + size] for start in starts]
    else:
        parts = np.split(np.arange(value.shape[axis]), np.cumsum(np.array(listed, int))[:-1])
    return tuple(taken_along(walk, value, part, axis) for part in parts)


def shape_of(walk: Walk, node: Node) -> Seen:
    """Sizes of axes, the records counted as one."""
    given = walk.input(node, 0)
    if isinstance(given, Total) or given is None:
        raise CannotServeError("it asks for the shape of a sum", "a constant shape")
    shape = np.array(given.shape, dtype=np.int64)
    return shape[node.integer("start", 0) : node.attributes.get("end", len(shape))]


def _shaped(walk: Walk, node: Node, given: Choice | Response | Texts) -> Seen:
    """Another shape of what is known after decryption, or of texts."""
    if isinstance(given, Texts):
        return Texts(given.columns.reshape(1, -1))
    if isinstance(given, Choice):
        return Choice(given.response, (1,))
    scores = given.scores
    shape = (1, math.prod(scores.shape[1:]))
    return passed(given, node, scores=reshaped(scores, shape, walk.builder.units(scores)))


def _constant_value(constant: Array) -> Picked:
    """A constant of one record as a value that reads nothing."""
    numbers = np.asarray(constant, dtype=np.float64)
    if numbers.shape[:1] != (1,):
        raise CannotServeError("it joins values with constants of several records", "one row")
    return Picked(0, np.zeros(numbers.shape, dtype=np.int64), np.zeros(numbers.shape), numbers)


def taken_along(walk: Walk, value: Value, places: Any, axis: int) -> Value:  # noqa: ANN401
    """Entries at these places of an axis."""
    return rearranged(
        value, lambda rows: np.take(rows, places, axis=axis), walk.builder.units(value)
    )


def _filled(target: Sequence[int], entries: int) -> tuple[int, ...]:
    """A target shape with its -1 replaced.  Raises CannotServeError."""
    known = math.prod(axis for axis in target if axis != -1)
    open_axes = sum(axis == -1 for axis in target)
    if open_axes > 1 or (open_axes and (known == 0 or entries % known)):
        raise CannotServeError(f"{entries} values do not fit the shape {tuple(target)}", "another")
    shape = tuple(entries // known if axis == -1 else axis for axis in target)
    if math.prod(shape) != entries:
        raise CannotServeError(f"{entries} values do not fit the shape {tuple(target)}", "another")
    return shape


def listed_axes(walk: Walk, node: Node) -> list[int] | None:
    """The axes that a node names, as an attribute or as a constant; None if it names none."""
    if "axes" in node.attributes:
        return [int(axis) for axis in node.attributes["axes"]]
    given = walk.constant(node, 1)
    return None if given is None else [int(axis) for axis in np.ravel(given)]
