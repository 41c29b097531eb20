"""Tree ensembles of ONNX: TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble.

ONNX compares in single precision, true for one branch: "x <= t" (BRANCH_LEQ) and "x < t"
(BRANCH_LT) are served. The graph around a node is the ONNX importer's; here are its attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.imported import Support, Treatment, UnsupportedModelError
from fhe_layers.importing.tree_ensembles import (
    Node,
    TreeEnsemble,
    below_in_single_precision,
    leaves_of,
    require_leaf_values,
    tree_of_arrays,
)
from protocol.errors import ModelError
from protocol.links import ARGMAX, IDENTITY, LOGISTIC, PROBABILITY, SOFTMAX

Floats = npt.NDArray[np.float64]

_SHALLOW = "BRANCH_LEQ and BRANCH_LT; every tree reading one column, or depth up to 3"
SUPPORT = (
    Support("TreeEnsembleClassifier", Treatment.ENCRYPTED, _SHALLOW),
    Support("TreeEnsembleRegressor", Treatment.ENCRYPTED, _SHALLOW + "; sum or average"),
    Support("TreeEnsemble", Treatment.ENCRYPTED, _SHALLOW + "; sum or average"),
)

_SINGLE_PRECISION = 1e-5
"""What a tree's probabilities, rounded to float32 and added, may be from one."""

# Of the operator TreeEnsemble, which has numbers for names.
_MODES = {0: "BRANCH_LEQ", 1: "BRANCH_LT"}
_AGGREGATES = {0: "AVERAGE", 1: "SUM", 2: "MIN", 3: "MAX"}
_TRANSFORMS = {0: "NONE", 1: "SOFTMAX", 2: "LOGISTIC", 3: "SOFTMAX_ZERO", 4: "PROBIT"}


@dataclass(frozen=True, eq=False)
class OnnxTrees:
    """A node, read.

    Attributes:
        ensemble: over the node's inputs.
        link: what the node makes of its scores, and for a classifier the choice of the label.
        labels: class labels as texts, in the order of the link; empty for a regressor.
        integer_labels: whether they are integers.
    """

    ensemble: TreeEnsemble = field(repr=False)
    link: str
    labels: tuple[str, ...]
    integer_labels: bool

    def decision(self, inputs: Floats) -> Floats:
        """The node's inputs (records, features) to scores (records, J), by its attributes."""
        return self.ensemble.values(inputs)


def ensemble_of_node(node: Any, features: int) -> OnnxTrees:  # noqa: ANN401
    """Read an onnx.NodeProto of SUPPORT.

    Args:
        node: as the graph has it.
        features: width of its input.

    Raises:
        UnsupportedModelError: an attribute that has no encrypted form.
        ModelError: attributes that describe no trees.
    """
    from onnx import helper, numpy_helper

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if hasattr(value, "raw_data"):  # a tensor, which some attributes are given as
            value = numpy_helper.to_array(value).tolist()
        attributes[attribute.name.removesuffix("_as_tensor")] = value
    reader = {
        "TreeEnsembleClassifier": _classifier,
        "TreeEnsembleRegressor": _regressor,
        "TreeEnsemble": _ensemble,
    }[node.op_type]
    where = node.name or (node.output[0] if node.output else node.op_type)
    try:
        return reader(_Attributes(where, node.op_type, attributes), features)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(
            f"'{where}' ({node.op_type}) has attributes of different lengths, or of wrong types"
        ) from error


@dataclass(frozen=True, eq=False)
class _Attributes:
    """Attributes of a node, and what to call it."""

    node: str
    operator: str
    values: Mapping[str, Any]

    def listed(self, name: str) -> list[Any]:
        """A list; empty if absent."""
        return list(self.values.get(name) or [])

    def text(self, name: str, absent: str) -> str:
        """A text."""
        return _text(self.values.get(name, absent))

    def refuse(self, reason: str, instead: str) -> UnsupportedModelError:
        """What to raise."""
        return UnsupportedModelError(self.node, self.operator, reason, instead)


def _classifier(attributes: _Attributes, features: int) -> OnnxTrees:
    integers = attributes.listed("classlabels_int64s")
    labels = integers or [_text(label) for label in attributes.listed("classlabels_strings")]
    if len(labels) < 2:
        raise attributes.refuse("it names fewer than two classes", "a model of two classes")
    targets = [int(target) for target in attributes.listed("class_ids")]
    base = [float(value) for value in attributes.listed("base_values")]
    transform = attributes.text("post_transform", "NONE")
    texts = tuple(str(label) for label in labels)
    if len(labels) == 2 and len(set(targets)) == 1:
        # One score, of the second class; the first has 1 - score, or -score under a transform.
        link = {"NONE": PROBABILITY, "LOGISTIC": LOGISTIC, "SOFTMAX": LOGISTIC}.get(transform)
        start = _base(attributes, base[:1], 1)
        trees = _listed_trees(attributes, "class", [0] * len(targets), 1)
        ensemble = TreeEnsemble(tuple(trees), features, start, single_precision=True)
        if transform == "SOFTMAX":  # of -s and s
            ensemble = ensemble.mapped(lambda value: 2 * value)
        if transform == "NONE" and not _probable(ensemble):
            raise attributes.refuse(
                "runtimes differ on what a binary score of either sign without a transform means",
                "an export with post_transform LOGISTIC, or with weights for both classes",
            )
    else:
        link = {"NONE": ARGMAX, "LOGISTIC": ARGMAX, "SOFTMAX": SOFTMAX}.get(transform)
        start = _base(attributes, base, len(labels))
        trees = _listed_trees(attributes, "class", targets, len(labels))
        ensemble = TreeEnsemble(tuple(trees), features, start, single_precision=True)
        if transform == "NONE" and _adds_up_to_one(ensemble):
            link = PROBABILITY
            if len(labels) == 2:
                ensemble = ensemble.mapped(lambda value: value[1:])
    if link is None:
        raise attributes.refuse(f"its scores go through {transform}", "NONE, LOGISTIC or SOFTMAX")
    return OnnxTrees(ensemble, link, texts, bool(integers))


def _regressor(attributes: _Attributes, features: int) -> OnnxTrees:
    targets = [int(target) for target in attributes.listed("target_ids")]
    outputs = int(attributes.values.get("n_targets", 1))
    aggregate = attributes.text("aggregate_function", "SUM")
    _require_plain(attributes, aggregate, attributes.text("post_transform", "NONE"))
    base = [float(value) for value in attributes.listed("base_values")]
    ensemble = TreeEnsemble(
        tuple(_listed_trees(attributes, "target", targets, outputs)),
        features,
        _base(attributes, base, outputs),
        average=aggregate == "AVERAGE",
        single_precision=True,
    )
    return OnnxTrees(ensemble, IDENTITY, (), False)


def _ensemble(attributes: _Attributes, features: int) -> OnnxTrees:
    """The operator that replaced both: leaves have indices of their own."""
    aggregate = _AGGREGATES.get(int(attributes.values.get("aggregate_function", 1)), "unknown")
    transform = _TRANSFORMS.get(int(attributes.values.get("post_transform", 0)), "unknown")
    _require_plain(attributes, aggregate, transform)
    outputs = int(attributes.values.get("n_targets", 1))
    modes = attributes.values.get("nodes_modes") or []
    modes = [int(mode) for mode in modes]
    inner = len(modes)
    weights = [float(weight) for weight in attributes.listed("leaf_weights")]
    targets = [int(target) for target in attributes.listed("leaf_targetids")]
    splits = [float(split) for split in attributes.listed("nodes_splits")]
    thresholds = [
        _threshold(attributes, _MODES.get(mode, "another"), split)
        for mode, split in zip(modes, splits, strict=True)
    ]
    require_leaf_values(inner + len(weights), outputs)
    children = {}
    for side in ("true", "false"):
        ids, leaf = (
            attributes.listed(f"nodes_{side}nodeids"),
            attributes.listed(f"nodes_{side}leafs"),
        )
        children[side] = [
            int(child) + (inner if is_leaf else 0) for child, is_leaf in zip(ids, leaf, strict=True)
        ] + [-1] * len(weights)
    leaves = np.zeros((inner + len(weights), outputs))
    for index, (target, weight) in enumerate(zip(targets, weights, strict=True)):
        if not 0 <= target < outputs:
            raise ModelError(f"'{attributes.node}': a leaf of target {target}, of {outputs}")
        leaves[inner + index, target] = weight
    read = [int(feature) for feature in attributes.listed("nodes_featureids")] + [0] * len(weights)
    thresholds += [0.0] * len(weights)
    trees = []
    for root in attributes.listed("tree_roots"):
        same = children["true"][root] == children["false"][root] >= inner
        start = children["true"][root] if same else int(root)  # a tree that is a leaf
        trees.append(
            tree_of_arrays(
                children["true"], children["false"], read, thresholds, leaves, root=start
            )
        )
    ensemble = TreeEnsemble(
        tuple(trees),
        features,
        np.zeros(outputs),
        average=aggregate == "AVERAGE",
        single_precision=True,
    )
    return OnnxTrees(ensemble, IDENTITY, (), False)


def _listed_trees(
    attributes: _Attributes, kind: str, targets: Sequence[int], outputs: int
) -> list[Node]:
    """Trees of the lists nodes_* and class_* or target_*: one entry per node, one per weight."""
    owners = attributes.listed("nodes_treeids")
    names = list(zip(owners, attributes.listed("nodes_nodeids"), strict=True))
    require_leaf_values(len(names), outputs)
    places = {name: place for place, name in enumerate(names)}
    if len(places) != len(names):
        raise ModelError(f"'{attributes.node}' has two nodes of one name in a tree")
    modes = [_text(mode) for mode in attributes.listed("nodes_modes")]
    values = [float(value) for value in attributes.listed("nodes_values")]
    thresholds, left, right = [], [], []
    true_ids = attributes.listed("nodes_truenodeids")
    false_ids = attributes.listed("nodes_falsenodeids")
    rows = zip(names, modes, values, true_ids, false_ids, strict=True)
    for (tree, _), mode, value, if_true, if_false in rows:
        if mode == "LEAF":
            children, threshold = (-1, -1), 0.0
        else:
            threshold = _threshold(attributes, mode, value)
            try:
                children = places[tree, if_true], places[tree, if_false]
            except KeyError:
                raise ModelError(f"'{attributes.node}': a branch to a node there is not") from None
        left.append(children[0])
        right.append(children[1])
        thresholds.append(threshold)
    leaves = np.zeros((len(names), outputs))
    weights = [float(weight) for weight in attributes.listed(f"{kind}_weights")]
    held = zip(
        attributes.listed(f"{kind}_treeids"), attributes.listed(f"{kind}_nodeids"), strict=True
    )
    for name, target, weight in zip(held, targets, weights, strict=True):
        if name not in places or not 0 <= target < outputs:
            raise ModelError(f"'{attributes.node}': a weight of no leaf, or of no output")
        leaves[places[name], target] += weight
    roots = {tree: place for place, tree in reversed(list(enumerate(owners)))}
    features = [int(feature) for feature in attributes.listed("nodes_featureids")]
    return [
        tree_of_arrays(left, right, features, thresholds, leaves, root=roots[tree])
        for tree in sorted(roots)
    ]


def _threshold(attributes: _Attributes, mode: str, value: float) -> float:
    """The t of "x <= t is true", in single precision."""
    if mode == "BRANCH_LEQ":
        return float(np.float32(value))
    if mode == "BRANCH_LT":
        return below_in_single_precision(value)
    raise attributes.refuse(
        f"a node branches by {mode}", "an export whose nodes are BRANCH_LEQ or BRANCH_LT"
    )


def _require_plain(attributes: _Attributes, aggregate: str, transform: str) -> None:
    """Raises UnsupportedModelError."""
    if aggregate not in {"SUM", "AVERAGE"}:
        raise attributes.refuse(f"it takes the {aggregate} of its trees", "SUM or AVERAGE")
    if transform != "NONE":
        raise attributes.refuse(f"its outputs go through {transform}", "post_transform NONE")


def _base(attributes: _Attributes, base: Sequence[float], outputs: int) -> Floats:
    """Base values; one 0, which skl2onnx writes for any number of outputs, is none.

    Raises:
        ModelError: another number of them.
    """
    require_leaf_values(0, outputs)
    if list(base) == [0.0]:
        base = ()
    if base and len(base) != outputs:
        raise ModelError(f"'{attributes.node}' has {len(base)} base values for {outputs} outputs")
    return np.array(base or [0.0] * outputs)


def _probable(ensemble: TreeEnsemble) -> bool:
    """Whether a binary classifier's one score is a probability: nothing in it is negative."""
    least = min(float(leaf.value.min()) for tree in ensemble.trees for leaf in leaves_of(tree))
    return least >= 0 and bool(ensemble.base.min() >= 0)


def _adds_up_to_one(ensemble: TreeEnsemble) -> bool:
    """Whether several scores are probabilities: not negative, and one together on every path."""
    total = float(ensemble.base.sum())
    for tree in ensemble.trees:
        values = np.array([leaf.value for leaf in leaves_of(tree)])
        sums = values.sum(axis=1)
        if (values < 0).any() or np.ptp(sums) > _SINGLE_PRECISION:
            return False
        total += float(sums[0])
    return abs(total - 1) <= _SINGLE_PRECISION * len(ensemble.trees)


def _text(value: Any) -> str:  # noqa: ANN401
    return value.decode() if isinstance(value, bytes) else str(value)
