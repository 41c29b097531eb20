"""Tree ensembles of ONNX: attributes against the reference evaluator, on every record."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier

from fhe_layers.importing.imported import UnsupportedModelError
from fhe_layers.importing.onnx_trees import OnnxTrees, ensemble_of_node
from protocol.errors import ModelError
from protocol.links import decide, predictions, probabilities

FEW = {"n_estimators": 5, "max_depth": 3, "random_state": 0}
SINGLE = np.float32


def exported(estimator: Any, inputs: np.ndarray) -> tuple[onnx.ModelProto, onnx.NodeProto]:
    """The model and its node of trees."""
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "classes_") else None
    model = to_onnx(estimator, inputs[:1].astype(SINGLE), options=options)
    (node,) = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    return model, node


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(max_depth=4, random_state=0),
        RandomForestClassifier(**FEW),
        GradientBoostingClassifier(**FEW),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("data", [load_breast_cancer, load_wine], ids=["two", "three"])
def test_classifiers(estimator: Any, data: Any):
    inputs, targets = data(return_X_y=True)
    model, node = exported(estimator.fit(inputs, targets), inputs)
    read = ensemble_of_node(node, inputs.shape[1])
    labels, scores = ReferenceEvaluator(model).run(None, {"X": inputs.astype(SINGLE)})
    made = read.decision(inputs.astype(SINGLE).astype(float))
    assert read.integer_labels
    assert (np.array(read.labels, dtype=int)[decide(read.link, made)] == labels).all()
    assert np.allclose(probabilities(read.link, made), scores, atol=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [RandomForestRegressor(**FEW), GradientBoostingRegressor(**FEW)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_regressors(estimator: Any):
    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    model, node = exported(estimator.fit(inputs, targets), inputs)
    read = ensemble_of_node(node, inputs.shape[1])
    (wanted,) = ReferenceEvaluator(model).run(None, {"X": inputs.astype(SINGLE)})
    made = predictions(read.link, read.decision(inputs.astype(SINGLE).astype(float)))
    assert np.allclose(made, wanted, rtol=1e-5)


@pytest.mark.parametrize("data", [load_breast_cancer, load_wine], ids=["two", "three"])
def test_boosting_from_zero_has_one_base_value_for_all_outputs(data: Any):
    inputs, targets = data(return_X_y=True)
    estimator = GradientBoostingClassifier(**FEW, init="zero").fit(inputs, targets)
    _, node = exported(estimator, inputs)
    bases = [helper.get_attribute_value(a) for a in node.attribute if a.name == "base_values"]
    assert bases == [[0.0]]
    read = ensemble_of_node(node, inputs.shape[1])
    made = read.decision(inputs.astype(SINGLE).astype(float))
    wanted = estimator.predict_proba(inputs.astype(SINGLE))
    assert np.allclose(probabilities(read.link, made), wanted, atol=1e-5)


def test_texts_as_labels():
    inputs, targets = load_wine(return_X_y=True)
    names = np.array(["a", "b", "c"])[targets]
    _, node = exported(RandomForestClassifier(**FEW).fit(inputs, names), inputs)
    read = ensemble_of_node(node, inputs.shape[1])
    assert (read.labels, read.integer_labels) == (("a", "b", "c"), False)


# --------------------------------------------------------------------------- nodes made by hand


def classifier(**changes: Any) -> onnx.NodeProto:
    """Two stumps with one score: x0 <= 1 and x1 < 2."""
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [0, 0, 0, 1, 0, 0],
        "nodes_values": [1.0, 0.0, 0.0, 2.0, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "class_treeids": [0, 0, 1, 1],
        "class_nodeids": [1, 2, 1, 2],
        "class_ids": [0, 0, 0, 0],
        "class_weights": [0.1, 0.3, 0.05, 0.45],
        "classlabels_int64s": [4, 7],
        "post_transform": "NONE",
        **changes,
    }
    attributes = {name: value for name, value in attributes.items() if value is not None}
    return helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", **attributes
    )


def regressor(**changes: Any) -> onnx.NodeProto:
    """The same stumps."""
    node = classifier()
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    for name in ("treeids", "nodeids", "ids", "weights"):
        attributes[f"target_{name}"] = attributes.pop(f"class_{name}")
    del attributes["classlabels_int64s"]
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        **{**attributes, "n_targets": 1, **changes},
    )


AROUND = np.array(
    [
        [a, b]
        for a in (0.5, 1.0, float(np.nextafter(SINGLE(1), SINGLE(2))))
        for b in (float(np.nextafter(SINGLE(2), SINGLE(0))), 2.0, 3.0)
    ]
)


def evaluated(node: onnx.NodeProto) -> list[np.ndarray]:
    """What the reference evaluator makes of the records around both thresholds."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    results = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name == "label" else TensorProto.FLOAT, None
        )
        for name in node.output
    ]
    graph = helper.make_graph([node], "trees", [given], results)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    model = helper.make_model(graph, opset_imports=opsets)
    found: list[np.ndarray] = ReferenceEvaluator(model).run(None, {"x": AROUND.astype(SINGLE)})
    return found


def labels_of(read: OnnxTrees) -> np.ndarray:
    found = decide(read.link, read.decision(AROUND))
    assert found is not None
    return np.array(read.labels, dtype=int)[found]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"base_values": [0.2]},
        {"post_transform": "LOGISTIC", "class_weights": [0.5, -0.7, 0.6, -0.2]},
        {"post_transform": "SOFTMAX", "class_weights": [0.5, -0.7, 0.6, -0.2]},
        {"class_ids": [0, 1, 1, 0], "class_weights": [0.5, 1.0, 0.7, 0.2]},
        {"class_ids": [0, 1, 1, 0], "post_transform": "SOFTMAX"},
        {"class_ids": [0, 1, 1, 0], "post_transform": "LOGISTIC", "base_values": [0.1, 0.3]},
    ],
    ids=["one score", "base", "logistic", "softmax", "two scores", "two softmax", "two logistic"],
)
def test_binary_scores_mean_what_the_evaluator_makes_of_them(changes: dict[str, Any]):
    node = classifier(**changes)
    read = ensemble_of_node(node, 2)
    labels, scores = evaluated(node)
    assert (labels_of(read) == labels).all()
    shares = probabilities(read.link, read.decision(AROUND))
    if shares is not None:
        assert np.allclose(shares, scores, atol=1e-6)
    else:
        assert read.link == "argmax"


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
def test_sums_and_averages(aggregate: str):
    node = regressor(aggregate_function=aggregate, base_values=[3.0])
    made = ensemble_of_node(node, 2).decision(AROUND)
    assert np.allclose(made, evaluated(node)[0], atol=1e-6)


def test_thresholds_and_weights_given_as_tensors():
    values = np.array([1.0, 0.0, 0.0, 2.0, 0.0, 0.0])
    plain = ensemble_of_node(regressor(aggregate_function="SUM"), 2)
    node = regressor(aggregate_function="SUM")
    kept = [item for item in node.attribute if item.name != "nodes_values"]
    del node.attribute[:]
    tensor = numpy_helper.from_array(values, "nodes_values")
    node.attribute.extend([*kept, helper.make_attribute("nodes_values_as_tensor", tensor)])
    assert (ensemble_of_node(node, 2).decision(AROUND) == plain.decision(AROUND)).all()


def ensemble_node(**changes: Any) -> onnx.NodeProto:
    """The operator with leaves of their own: x0 <= 1 ? (x1 < 2 ? 5 : 6) : 7, and a leaf."""
    attributes: dict[str, Any] = {
        "nodes_featureids": [0, 1, 0],
        "nodes_splits": numpy_helper.from_array(np.array([1.0, 2.0, 0.0], dtype=SINGLE)),
        "nodes_modes": numpy_helper.from_array(np.array([0, 1, 0], dtype=np.uint8)),
        "nodes_truenodeids": [1, 0, 3],
        "nodes_trueleafs": [0, 1, 1],
        "nodes_falsenodeids": [2, 1, 3],
        "nodes_falseleafs": [1, 1, 1],
        "leaf_targetids": [0, 0, 0, 0],
        "leaf_weights": numpy_helper.from_array(np.array([5.0, 6.0, 7.0, 100.0], dtype=SINGLE)),
        "tree_roots": [0, 2],
        "n_targets": 1,
        "aggregate_function": 1,
        "post_transform": 0,
        **changes,
    }
    return helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **attributes)


def test_the_newer_operator():
    made = ensemble_of_node(ensemble_node(), 2).decision(AROUND)[:, 0]
    inner = np.where(AROUND[:, 1] < 2, 5.0, 6.0)
    assert (made == np.where(AROUND[:, 0] <= 1, inner, 7.0) + 100).all()
    halved = ensemble_of_node(ensemble_node(aggregate_function=0), 2).decision(AROUND)[:, 0]
    assert (halved == made / 2).all()


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (classifier(nodes_modes=["BRANCH_GT", "LEAF", "LEAF"] * 2), "BRANCH_GT"),
        (classifier(nodes_modes=["BRANCH_EQ", "LEAF", "LEAF"] * 2), "BRANCH_EQ"),
        (classifier(post_transform="PROBIT"), "PROBIT"),
        (classifier(class_weights=[0.1, -0.3, 0.1, 0.1]), "either sign"),
        (classifier(classlabels_int64s=[1]), "fewer than two classes"),
        (regressor(aggregate_function="MAX"), "MAX"),
        (regressor(aggregate_function="SUM", post_transform="LOGISTIC"), "LOGISTIC"),
        (ensemble_node(aggregate_function=2), "MIN"),
        (ensemble_node(post_transform=1), "SOFTMAX"),
        (
            ensemble_node(nodes_modes=numpy_helper.from_array(np.array([6, 0, 0], dtype=np.uint8))),
            "branches by",
        ),
    ],
)
def test_what_has_no_encrypted_form_is_refused(node: onnx.NodeProto, reason: str):
    with pytest.raises(UnsupportedModelError, match=reason):
        ensemble_of_node(node, 2)


@pytest.mark.parametrize(
    "node",
    [
        classifier(nodes_nodeids=[0, 1, 1, 0, 1, 2]),
        classifier(nodes_truenodeids=[9, 0, 0, 1, 0, 0]),
        classifier(nodes_truenodeids=[0, 0, 0, 1, 0, 0]),
        classifier(class_nodeids=[1, 9, 1, 2]),
        classifier(class_ids=[0, 5, 0, 1]),
        classifier(base_values=[0.1, 0.2, 0.3], class_ids=[0, 1, 1, 0]),
        classifier(base_values=[0.1], class_ids=[0, 1, 1, 0]),
        classifier(nodes_featureids=[5, 0, 0, 1, 0, 0]),
        classifier(nodes_values=[1.0]),
        ensemble_node(leaf_targetids=[0, 0, 3, 0]),
        ensemble_node(tree_roots=[9]),
    ],
)
def test_attributes_that_are_no_trees_are_refused(node: onnx.NodeProto):
    with pytest.raises(ModelError):
        ensemble_of_node(node, 2)


@pytest.mark.parametrize("outputs", [0, -1, 1 << 20, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("make", [regressor, ensemble_node])
def test_outputs_are_counted_before_anything_is_allocated(make: Any, outputs: int):
    with pytest.raises(ModelError, match="values of leaves"):
        ensemble_of_node(make(n_targets=outputs), 2)


@pytest.mark.parametrize("operator", ["TreeEnsembleRegressor", "TreeEnsemble"])
def test_outputs_of_no_trees_are_counted_as_well(operator: str):
    node = helper.make_node(operator, ["x"], ["y"], domain="ai.onnx.ml", n_targets=1 << 40)
    with pytest.raises(ModelError, match="values of leaves"):
        ensemble_of_node(node, 2)
