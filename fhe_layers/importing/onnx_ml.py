"""Operators of ai.onnx.ml: what skl2onnx makes of scikit-learn's estimators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fhe_layers.importing.affine_values import (
    CannotServeError,
    Combined,
    Floats,
    Picked,
    Value,
    concatenated,
    reshaped,
    scaled,
    whole,
)
from fhe_layers.importing.imported import Treatment
from fhe_layers.importing.network_builder import NetworkBuilder
from fhe_layers.importing.onnx_columns import Texts
from fhe_layers.importing.onnx_graph import Node
from fhe_layers.importing.onnx_links import label_texts, labelled, normalised, ranked
from fhe_layers.importing.onnx_shapes import chosen_entries
from fhe_layers.importing.onnx_trees import OnnxTrees, ensemble_of_node
from fhe_layers.importing.onnx_walk import (
    Choice,
    Operator,
    Response,
    Seen,
    Walk,
    replaced,
)
from fhe_layers.importing.trees import IndicatorInput, RawInput, TreeInput, lower_ensemble
from protocol.features import Category

TREES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"})


def scaler(walk: Walk, node: Node) -> Seen:
    """(x - offset) * scale."""
    value = walk.value(node, 0)
    factor, offset = node.numbers("scale"), node.numbers("offset")
    factor = factor if factor.size else np.ones(1)
    offset = offset if offset.size else np.zeros(1)
    return scaled(value, factor, -offset * factor, walk.builder.units(value))


def imputer(walk: Walk, node: Node) -> Seen:
    """What stands for missing values: clients put it there."""
    given = walk.input(node, 0)
    if isinstance(given, Texts):
        raise CannotServeError("it imputes texts", "an imputer of numbers")
    value = walk.value(node, 0)
    numbers = node.numbers("imputed_value_floats")
    integers = node.numbers("imputed_value_int64s")
    stands = numbers if numbers.size else integers
    if numbers.size and not math.isnan(node.number("replaced_value_float", 0.0)):
        raise CannotServeError("it replaces a number, not a missing value", "missing_values=nan")
    if integers.size:
        raise CannotServeError("it replaces a whole number, not a missing value", "floats and nan")
    columns = walk.columns.plain_columns(value)
    filled = np.broadcast_to(stands, len(columns)).tolist()
    walk.columns.want_missing(columns, filled)
    return value


def one_hot_encoder(walk: Walk, node: Node) -> Seen:
    """One input for each category, which clients compute."""
    given = walk.input(node, 0)
    if given is None or not isinstance(given, Texts | Picked | Combined):
        raise CannotServeError("it encodes something that is no column", "columns of the table")
    columns = walk.columns.plain_columns(given)
    texts = [str(text) for text in node.attributes.get("cats_strings", [])]
    numbers = [int(number) for number in node.attributes.get("cats_int64s", [])]
    ignores = bool(node.integer("zeros", 1))
    encoded: list[Value] = []
    for column in columns:
        if texts:
            walk.columns.want_categories(column, texts, ignores_others=ignores)
            encoded.append(walk.columns.indicators(column, texts))
        else:
            _require_listed(walk, column, numbers)
            units = math.prod(walk.builder.shapes[0])
            matrix, offset = walk.columns.step_matrix(column, numbers, units)
            walk.note(Treatment.CLIENT, "clients compare the number with edges half way between")
            encoded.append(Combined(0, matrix, offset))
    units = math.prod(walk.builder.shapes[0])
    joined = concatenated(encoded, 1, units)
    width = len(texts or numbers)
    if len(given.shape) == 2:
        return reshaped(joined, (1, len(columns), width), units)
    return joined


def _require_listed(walk: Walk, column: int, numbers: Sequence[int]) -> None:
    """Raises CannotServeError: clients would count numbers of the sample as other ones."""
    sample = walk.columns.completed.values[:, walk.columns.columns[column]]
    if not (np.isin(sample, numbers) | np.isnan(sample)).all():
        raise CannotServeError(
            f"column '{walk.columns.names[column]}' of the sample has numbers that are none of its "
            "categories, and clients count a number as the nearest of them",
            "the column as texts, or a sample with categories that it was fitted on",
        )


def label_encoder(walk: Walk, node: Node) -> Seen:
    """Texts of a column as numbers; the class chosen as its label."""
    given = walk.input(node, 0)
    values = _attribute(node, "values_")
    keys = _attribute(node, "keys_")
    if isinstance(given, Choice):
        order = np.argsort([int(key) for key in keys])
        if [int(keys[place]) for place in order] != list(range(len(keys))):
            raise CannotServeError("its keys are not the indices of classes", "0, 1, 2, ...")
        return labelled(walk, given, np.array([values[place] for place in order], dtype=object))
    if not isinstance(given, Texts):
        raise CannotServeError("it encodes numbers", "a column of texts, or class indices")
    numbers = np.array([float(value) for value in values])
    units = math.prod(walk.builder.shapes[0])
    encoded = []
    for column in walk.columns.plain_columns(given):
        walk.columns.want_categories(column, [str(key) for key in keys], ignores_others=False)
        indicators = walk.columns.indicators(column, keys)
        flat = walk.transformed(indicators, lambda rows: rows @ numbers[:, None])
        encoded.append(flat)
    return reshaped(concatenated(encoded, 1, units), given.shape, units)


def array_feature_extractor(walk: Walk, node: Node) -> Seen:
    """Chosen columns; the label of a chosen class."""
    given, chosen = walk.input(node, 0), walk.input(node, 1)
    if isinstance(chosen, Choice):
        return labelled(walk, chosen, given)
    if not isinstance(chosen, np.ndarray):
        raise CannotServeError("it selects by data", "constant places")
    places = np.ravel(chosen).astype(np.int64)
    if isinstance(given, Texts):
        return Texts(given.columns[:, places])
    return chosen_entries(walk, node, given, lambda rows: rows[..., places])


def feature_vectorizer(walk: Walk, node: Node) -> Seen:
    """Values side by side."""
    values = [walk.value(node, position) for position in range(len(node.inputs))]
    if len({value.base for value in values}) != 1:
        raise CannotServeError("it joins values of different depth", "columns of the table")
    return concatenated(values, 1, walk.builder.units(values[0]))


def normalizer(walk: Walk, node: Node) -> Seen:
    """Of probabilities only: clients divide by the sum anyway."""
    given = walk.input(node, 0)
    if isinstance(given, Response) and node.text("norm", "MAX") == "L1":
        return normalised(given, node)
    raise CannotServeError(
        "it divides every record by its norm, which depends on the data",
        "a StandardScaler, or the normalisation before the table is made",
    )


def linear_regressor(walk: Walk, node: Node) -> Seen:
    """One dense layer."""
    if node.text("post_transform", "NONE") != "NONE":
        raise CannotServeError("its outputs are transformed", "post_transform NONE")
    return _linear(walk, node, node.integer("targets", 1))


def linear_classifier(walk: Walk, node: Node) -> tuple[Seen, ...]:
    """Scores, and the class with the largest."""
    from onnx import helper

    found = node.attributes.get("classlabels_ints") or node.attributes.get("classlabels_strings")
    labels, integers = label_texts(found or [])
    transform = node.text("post_transform", "NONE")
    function = {"NONE": "identity", "LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}.get(transform)
    if function is None:
        raise CannotServeError(f"its scores go through {transform}", "NONE, LOGISTIC or SOFTMAX")
    rows = max(node.numbers("intercepts").size, 1)
    if not node.numbers("intercepts").size:
        rows = node.numbers("coefficients").size // math.prod(walk.value(node, 0).shape)
    scores = _linear(walk, node, rows)
    if rows == 1 and function == "softmax":
        raise CannotServeError("runtimes differ on the softmax of one score", "LOGISTIC")
    if len(labels) not in {rows, 2 * rows}:
        raise CannotServeError(f"it has {rows} scores for {len(labels)} classes", "one each")
    regressor = helper.make_node(
        "LinearRegressor",
        [node.inputs[0]],
        [node.outputs[1]],
        domain="ai.onnx.ml",
        coefficients=node.numbers("coefficients").tolist(),
        intercepts=node.numbers("intercepts").tolist() or [0.0] * rows,
        targets=rows,
    )
    response = Response(
        scores,
        function,
        node.outputs[1],
        node,
        {node.index: regressor},
        labels=labels,
        integer_labels=integers,
    )
    result: Seen = scores if function == "identity" else response
    return Choice(response, (1,)), result


def trees(walk: Walk, node: Node) -> tuple[Seen, ...]:
    """Comparisons by clients, private choices and products along paths."""
    value = walk.value(node, 0)
    if len(value.shape) != 2 or walk.builder.layers:
        raise CannotServeError("layers come before its trees", "trees directly on columns")
    read = ensemble_of_node(node.proto, value.shape[1])
    inputs = [_tree_input(walk, value, entry) for entry in range(value.shape[1])]
    lowered = lower_ensemble(
        read.ensemble,
        inputs,
        walk.columns.completed,
        walk.options,
        link=read.link,
        name=node.name,
    )
    walk.steps.extend(lowered.steps)
    walk.builder = NetworkBuilder(lowered.network.shape, lowered.network.layers)
    walk.columns.replaced_by(lowered.features)
    scores = whole(len(lowered.network.layers), (1, read.ensemble.outputs))
    return _tree_outputs(walk, node, read, scores)


def _tree_outputs(walk: Walk, node: Node, read: OnnxTrees, scores: Value) -> tuple[Seen, ...]:
    """What a node's outputs are, its scores fed to the graph of scores by the ensemble's own."""
    function = {
        "logistic": "sigmoid",
        "softmax": "softmax",
        "probability": "probability",
    }.get(read.link, "identity")
    classifier = bool(read.labels)
    tensor = node.outputs[1 if classifier else 0]
    single = read.link in {"logistic", "sign", "probability"} and read.ensemble.outputs == 1

    def evaluated(inputs: Floats) -> Floats:
        values = read.decision(inputs)
        if not single:
            return values
        first = 1 - values if read.link == "probability" else -values
        return np.column_stack([first, values])

    walk.feed(tensor, node.inputs[0], evaluated)
    if single:  # what the node gives of two classes
        sign, constant = np.array([[-1.0, 1.0]]), np.array([[0.0, 0.0]])
        if read.link == "probability":
            constant = np.array([[1.0, 0.0]])
        scores = scaled(scores, sign, constant, walk.builder.units(scores))
    response = Response(
        scores,
        function,
        tensor,
        node,
        {node.index: None},
        normalised=True,
        labels=read.labels,
        integer_labels=read.integer_labels,
    )
    if not classifier:
        return (scores,)
    return Choice(response, (1,)), response


def zip_map(walk: Walk, node: Node) -> Seen:
    """Probabilities by label."""
    given = walk.input(node, 0)
    response = given if isinstance(given, Response) else ranked(walk, node, 0)
    found = node.attributes.get("classlabels_int64s") or node.attributes.get("classlabels_strings")
    labels, integers = label_texts(found or [])
    mapping: Any = None  # not part of the graph of scores
    return replaced(
        response,
        node,
        mapping,
        at=response.tensor,
        labels=labels or response.labels,
        integer_labels=integers if labels else response.integer_labels,
    )


def _attribute(node: Node, prefix: str) -> list[Any]:
    """The one attribute of several types whose name begins so; empty if there is none."""
    for name, value in node.attributes.items():
        if name.startswith(prefix):
            return list(np.ravel(value)) if isinstance(value, np.ndarray) else list(value)
    return []


def _linear(walk: Walk, node: Node, rows: int) -> Value:
    value = walk.value(node, 0)
    weights = node.numbers("coefficients").reshape(rows, -1)
    bias = node.numbers("intercepts")
    moved = walk.transformed(value, lambda inputs: inputs @ weights.T)
    if not bias.size:
        return moved
    return scaled(moved, np.array(1.0), bias.reshape(1, -1), walk.builder.units(moved))


def _tree_input(walk: Walk, value: Value, entry: int) -> TreeInput:
    """What a tree's input is of the table."""
    number = walk.columns.raw_number(value, entry)
    if number is not None:
        column, factor, offset = number
        return RawInput(walk.columns.columns[column], factor, offset)
    if isinstance(value, Picked) and not value.base:
        place = walk.columns.position(int(value.index.flat[entry]))
        plain = value.factor.flat[entry] == 1 and value.offset.flat[entry] == 0
        if place is not None and plain and isinstance(walk.columns.features[place[0]], Category):
            return IndicatorInput(walk.columns.columns[place[0]], place[1])
    raise CannotServeError(
        "its trees compare mixtures of columns",
        "trees on the columns themselves, or scaled one by one",
    )


_FOLDED, _ENCRYPTED, _CLIENT = Treatment.FOLDED, Treatment.ENCRYPTED, Treatment.CLIENT
_TREES_NOTE = "on columns, scaled or one-hot encoded; every tree of depth up to 3, or of one column"

ML_OPERATORS: dict[str, Operator] = {
    "Scaler": Operator(scaler, _FOLDED, "", "into weights"),
    "Imputer": Operator(imputer, _CLIENT, "directly on columns", "clients fill missing values"),
    "OneHotEncoder": Operator(
        one_hot_encoder, _CLIENT, "of texts, or of whole numbers", "one input for each category"
    ),
    "LabelEncoder": Operator(
        label_encoder, _CLIENT, "of texts (OrdinalEncoder), or at the end", "clients do it"
    ),
    "ArrayFeatureExtractor": Operator(
        array_feature_extractor, _FOLDED, "constant places, or class labels", "no cost"
    ),
    "FeatureVectorizer": Operator(feature_vectorizer, _FOLDED, "", "no cost"),
    "Normalizer": Operator(
        normalizer, _CLIENT, "L1 of probabilities, at the end", "after decryption"
    ),
    "LinearRegressor": Operator(linear_regressor, _ENCRYPTED, "", "a dense layer"),
    "LinearClassifier": Operator(
        linear_classifier, _ENCRYPTED, "post_transform NONE, LOGISTIC or SOFTMAX", "a dense layer"
    ),
    "TreeEnsembleClassifier": Operator(trees, _ENCRYPTED, _TREES_NOTE),
    "TreeEnsembleRegressor": Operator(trees, _ENCRYPTED, _TREES_NOTE),
    "TreeEnsemble": Operator(trees, _ENCRYPTED, _TREES_NOTE),
    "ZipMap": Operator(zip_map, _CLIENT, "labels of classes", "labels are on the card"),
}
