"""Small ONNX models for every row of the importer's SUPPORT, and what is checked of an import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fhe_layers.importing.imported import ImportedModel
from fhe_layers.importing.onnx_model import import_onnx
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.monomials import expand
from protocol.features import Category, encode_columns

RNG = np.random.default_rng(7)
ROWS = np.round(RNG.normal(size=(40, 4)), 3)
IMAGES = np.round(RNG.uniform(size=(12, 2 * 6 * 6)), 3)
WEIGHTS = RNG.normal(size=(4, 3)).astype(np.float32)
BIAS = RNG.normal(size=3).astype(np.float32)
KERNEL = RNG.normal(size=(3, 2, 3, 3)).astype(np.float32)
COLUMN = RNG.normal(size=(4, 1)).astype(np.float32)
ML = "ai.onnx.ml"


@dataclass
class Drawing:
    """A graph on its way."""

    shape: tuple[int | str, ...] = ("N", 4)
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def put(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """A node; arrays become initialisers. Returns the name of its output, or their names."""
        names = [self._name(item) for item in inputs]
        made = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        domain = attributes.pop("domain", "")
        node = helper.make_node(operator, names, made, domain=domain, **attributes)
        node.name = f"node {len(self.nodes)}"
        self.nodes.append(node)
        return made[0] if outputs == 1 else made

    def model(self, *outputs: str, kind: int = TensorProto.FLOAT) -> ModelProto:
        """The model, of one input x."""
        given = [helper.make_tensor_value_info("x", kind, self.shape)]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in outputs]
        graph = helper.make_graph(self.nodes, "test", given, ends, self.constants)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _name(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(item), name))
        return name


Case = Callable[[], tuple[ModelProto, Any]]


def dense(drawing: Drawing, value: str = "x") -> str:
    return drawing.put("Gemm", value, WEIGHTS, BIAS)


def rows(build: Callable[[Drawing], str]) -> Case:
    """A model of four columns, the result of `build` its output."""

    def case() -> tuple[ModelProto, Any]:
        drawing = Drawing()
        return drawing.model(build(drawing)), ROWS

    return case


def images(build: Callable[[Drawing], str]) -> Case:
    """A model of images 2 x 6 x 6."""

    def case() -> tuple[ModelProto, Any]:
        drawing = Drawing(("N", 2, 6, 6))
        return drawing.model(build(drawing)), IMAGES

    return case


def whole(number: int | list[int]) -> np.ndarray[Any, Any]:
    return np.array(number, dtype=np.int64)


def real(number: Any) -> np.ndarray[Any, Any]:
    return np.array(number, dtype=np.float32)


def classifier(drawing: Drawing, **attributes: Any) -> list[str]:
    return drawing.put(
        "LinearClassifier",
        "x",
        outputs=2,
        domain=ML,
        coefficients=WEIGHTS.T.ravel().tolist(),
        intercepts=BIAS.tolist(),
        classlabels_ints=[2, 5, 9],
        **attributes,
    )


def convolved(drawing: Drawing, value: str = "x", **attributes: Any) -> str:
    return drawing.put("Conv", value, KERNEL, BIAS, kernel_shape=[3, 3], **attributes)


def squared(drawing: Drawing, value: str) -> str:
    return drawing.put("Pow", value, real(2))


def _imputed() -> tuple[ModelProto, Any]:
    drawing = Drawing()
    imputer = {"imputed_value_floats": [0.5, 0.25, -1.0, 9.0], "replaced_value_float": np.nan}
    filled = drawing.put("Imputer", "x", domain=ML, **imputer)
    sample = ROWS.copy()
    sample[3, 1] = sample[5, 3] = np.nan
    return drawing.model(dense(drawing, filled)), sample


def _one_hot() -> tuple[ModelProto, Any]:
    drawing = Drawing(("N", 1))
    encoded = drawing.put("OneHotEncoder", "x", domain=ML, cats_strings=["a", "b", "c"], zeros=0)
    flat = drawing.put("Reshape", encoded, whole([-1, 3]))
    result = drawing.put("MatMul", flat, WEIGHTS[:3])
    return drawing.model(result, kind=TensorProto.STRING), {"grade": list("abccbba")}


def _labels() -> tuple[ModelProto, Any]:
    drawing = Drawing()
    index = drawing.put("ArgMax", dense(drawing), axis=1, keepdims=0)
    names = {"keys_int64s": [0, 1, 2], "values_strings": ["low", "middle", "high"]}
    return drawing.model(drawing.put("LabelEncoder", index, domain=ML, **names)), ROWS


def _zip_map() -> tuple[ModelProto, Any]:
    drawing = Drawing()
    _, chances = classifier(drawing, post_transform="SOFTMAX")
    mapped = drawing.put("ZipMap", chances, domain=ML, classlabels_int64s=[2, 5, 9])
    return drawing.model(mapped), ROWS


def _tree(operator: str, **attributes: Any) -> Case:
    def case() -> tuple[ModelProto, Any]:
        drawing = Drawing()
        end = drawing.put(operator, "x", domain=ML, **attributes)
        return drawing.model(end), ROWS

    return case


_STUMP = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [1, 0, 0],
    "nodes_values": [0.1, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
}
_TARGETS = {
    "target_treeids": [0, 0],
    "target_nodeids": [1, 2],
    "target_ids": [0, 0],
    "target_weights": [1.5, -2.0],
    "n_targets": 1,
}


def _tree_classifier() -> tuple[ModelProto, Any]:
    drawing = Drawing()
    classes = {
        "class_treeids": [0, 0],
        "class_nodeids": [1, 2],
        "class_ids": [0, 0],
        "class_weights": [1.5, -2.0],
        "classlabels_int64s": [0, 1],
        "post_transform": "LOGISTIC",
    }
    label, chances = drawing.put(
        "TreeEnsembleClassifier", "x", outputs=2, domain=ML, **_STUMP, **classes
    )
    return drawing.model(label, chances), ROWS


def _tree_ensemble() -> tuple[ModelProto, Any]:
    drawing = Drawing()
    drawing.nodes.append(
        helper.make_node(
            "TreeEnsemble",
            ["x"],
            ["y"],
            domain=ML,
            nodes_splits=helper.make_tensor("s", TensorProto.FLOAT, (1,), [0.1]),
            nodes_featureids=[1],
            nodes_modes=helper.make_tensor("m", TensorProto.UINT8, (1,), [0]),
            nodes_truenodeids=[0],
            nodes_falsenodeids=[1],
            nodes_trueleafs=[1],
            nodes_falseleafs=[1],
            leaf_targetids=[0, 0],
            leaf_weights=helper.make_tensor("w", TensorProto.FLOAT, (2,), [1.5, -2.0]),
            tree_roots=[0],
            n_targets=1,
        )
    )
    model = drawing.model("y")
    model.opset_import[1].version = 5
    return model, ROWS


_TREE_REGRESSOR = _tree("TreeEnsembleRegressor", **_STUMP, **_TARGETS)


def _two_rows(drawing: Drawing) -> str:
    return drawing.put("Concat", drawing.put("Neg", _score(drawing)), _score(drawing), axis=1)


def _score(drawing: Drawing) -> str:
    return drawing.put("MatMul", "x", COLUMN)


def _chosen(drawing: Drawing, operator: str) -> str:
    above = drawing.put(operator, _score(drawing), real([0]))
    return drawing.put("Cast", above, to=TensorProto.INT64)


def _split(drawing: Drawing) -> str:
    left, right = drawing.put("Split", "x", outputs=2, axis=1, num_outputs=2)
    return drawing.put("Add", drawing.put("Mul", left, real(3)), right)


def _shaped(drawing: Drawing) -> str:
    shape = drawing.put("Shape", "x")
    batch = drawing.put("Slice", shape, whole([0]), whole([1]), whole([0]))
    target = drawing.put("Concat", batch, whole([-1]), axis=0)
    return dense(drawing, drawing.put("Reshape", "x", target))


CASES: dict[str, list[Case]] = {
    "Gemm": [
        rows(dense),
        rows(lambda d: d.put("Gemm", "x", WEIGHTS.T, BIAS, transB=1, alpha=0.5, beta=2.0)),
        rows(lambda d: dense(d, d.put("MatMul", "x", np.eye(4, dtype=np.float32) * 2))),
    ],
    "MatMul": [rows(lambda d: d.put("MatMul", "x", WEIGHTS))],
    "Conv": [
        images(lambda d: d.put("Flatten", squared(d, convolved(d)))),
        images(lambda d: squared(d, convolved(d, pads=[1, 1, 1, 1], strides=[2, 2]))),
        images(lambda d: squared(d, convolved(d, pads=[0, 0, 1, 1]))),
        images(lambda d: squared(d, convolved(d, pads=[1, 0, 0, 2]))),
        images(lambda d: squared(d, convolved(d, auto_pad="SAME_UPPER", strides=[2, 2]))),
        images(lambda d: squared(d, convolved(d, auto_pad="SAME_LOWER"))),
        images(lambda d: squared(d, convolved(d, auto_pad="VALID"))),
        images(lambda d: squared(d, convolved(d, dilations=[2, 1]))),
        images(
            lambda d: squared(
                d, d.put("Conv", "x", KERNEL[:2, :1], BIAS[:2], group=2, kernel_shape=[3, 3])
            )
        ),
        images(
            lambda d: squared(
                d, convolved(d, d.put("Sub", "x", real([[[0.5]], [[0.25]]])), pads=[1, 1, 1, 1])
            )
        ),
        rows(  # an image made of a row, and a convolution after a dense layer
            lambda d: d.put(
                "Conv",
                d.put("Reshape", d.put("MatMul", "x", WEIGHTS), whole([-1, 1, 1, 3])),
                KERNEL[:1, :1, :1, :2],
                kernel_shape=[1, 2],
            )
        ),
    ],
    "Add": [
        rows(lambda d: d.put("Add", d.put("MatMul", "x", WEIGHTS), BIAS)),
        rows(lambda d: d.put("Add", squared(d, dense(d)), dense(d))),
        rows(lambda d: d.put("Add", "x", "x")),
    ],
    "Sub": [
        rows(lambda d: d.put("Sub", real(2), dense(d))),
        rows(lambda d: d.put("Sub", squared(d, dense(d)), dense(d))),
        rows(lambda d: d.put("Sub", real(1), d.put("Sigmoid", _score(d)))),
    ],
    "Mul": [
        rows(lambda d: d.put("Mul", real([1, 2, 3]), dense(d))),
        rows(lambda d: d.put("Mul", dense(d), d.put("MatMul", "x", -WEIGHTS))),
        rows(lambda d: d.put("Mul", "x", "x")),
        images(lambda d: d.put("Mul", convolved(d), convolved(d))),
    ],
    "Div": [
        rows(lambda d: d.put("Div", dense(d), real([1, 2, 4]))),
        rows(_two_rows),
    ],
    "Neg": [rows(lambda d: d.put("Neg", dense(d)))],
    "Pow": [
        rows(lambda d: d.put("Pow", dense(d), real(3))),
        rows(lambda d: d.put("MatMul", squared(d, "x"), WEIGHTS)),
        rows(lambda d: d.put("Pow", d.put("Pow", dense(d), real(2)), real(2))),
    ],
    "BatchNormalization": [
        rows(lambda d: d.put("BatchNormalization", dense(d), *(real([1, 2, 3]) for _ in range(4)))),
        images(
            lambda d: squared(
                d,
                d.put(
                    "BatchNormalization",
                    squared(d, convolved(d)),
                    *(real([1, 2, 3]) for _ in range(4)),
                ),
            )
        ),
    ],
    "AveragePool": [
        images(lambda d: squared(d, d.put("AveragePool", convolved(d), kernel_shape=[2, 2]))),
        images(
            lambda d: d.put(
                "AveragePool", squared(d, convolved(d)), kernel_shape=[2, 2], strides=[2, 2]
            )
        ),
        images(lambda d: d.put("AveragePool", "x", kernel_shape=[3, 2], strides=[3, 2])),
    ],
    "GlobalAveragePool": [images(lambda d: d.put("GlobalAveragePool", squared(d, convolved(d))))],
    "ReduceMean": [
        images(lambda d: d.put("ReduceMean", squared(d, convolved(d)), whole([2, 3]), keepdims=0)),
        rows(lambda d: d.put("ReduceMean", dense(d), whole([-1]))),
    ],
    "ReduceSum": [rows(lambda d: d.put("ReduceSum", dense(d), whole([1]), keepdims=1))],
    "ReduceProd": [
        rows(
            lambda d: d.put("ReduceProd", d.put("Gather", "x", whole([0, 2]), axis=1), whole([1]))
        ),
    ],
    "Flatten": [images(lambda d: d.put("Flatten", squared(d, convolved(d)), axis=1))],
    "Reshape": [rows(lambda d: d.put("Reshape", dense(d), whole([0, 3, 1])))],
    "Squeeze": [
        rows(lambda d: d.put("Squeeze", d.put("Unsqueeze", dense(d), whole([1])), whole([1])))
    ],
    "Unsqueeze": [rows(lambda d: d.put("Unsqueeze", dense(d), whole([-1])))],
    "Transpose": [
        images(lambda d: d.put("Transpose", squared(d, convolved(d)), perm=[0, 2, 3, 1])),
    ],
    "Identity": [rows(lambda d: d.put("Identity", dense(d)))],
    "Cast": [rows(lambda d: d.put("Cast", dense(d), to=TensorProto.DOUBLE))],
    "Dropout": [rows(lambda d: d.put("Dropout", dense(d)))],
    "Concat": [
        rows(lambda d: d.put("Concat", d.put("MatMul", "x", WEIGHTS), "x", axis=1)),
        rows(lambda d: dense(d, d.put("Concat", d.put("Neg", "x"), axis=1))),
    ],
    "Slice": [rows(lambda d: d.put("Slice", dense(d), whole([0]), whole([2]), whole([1])))],
    "Gather": [rows(lambda d: d.put("Gather", dense(d), whole([2, 0]), axis=1))],
    "Split": [rows(_split)],
    "Shape": [rows(_shaped)],
    "Sigmoid": [rows(lambda d: d.put("Sigmoid", _score(d)))],
    "Softmax": [
        rows(lambda d: d.put("Softmax", dense(d), axis=1)),
        rows(lambda d: d.put("Softmax", d.put("MatMul", "x", WEIGHTS[:, :2]), axis=-1)),
    ],
    "LogSoftmax": [rows(lambda d: d.put("LogSoftmax", dense(d), axis=1))],
    "Exp": [rows(lambda d: d.put("Exp", _score(d)))],
    "Abs": [rows(lambda d: d.put("Abs", d.put("Sigmoid", _score(d))))],
    "ArgMax": [rows(lambda d: d.put("ArgMax", dense(d), axis=1))],
    "Greater": [rows(lambda d: _chosen(d, "Greater"))],
    "GreaterOrEqual": [rows(lambda d: _chosen(d, "GreaterOrEqual"))],
    "Scaler": [
        rows(
            lambda d: dense(
                d, d.put("Scaler", "x", domain=ML, offset=[1.0, 2, 3, 4], scale=[0.5, 1, 2, 3])
            )
        )
    ],
    "Imputer": [_imputed],
    "OneHotEncoder": [_one_hot],
    "LabelEncoder": [_labels],
    "ArrayFeatureExtractor": [
        rows(lambda d: d.put("ArrayFeatureExtractor", dense(d), whole([2, 1]), domain=ML))
    ],
    "FeatureVectorizer": [
        rows(lambda d: d.put("FeatureVectorizer", dense(d), "x", domain=ML, inputdimensions=[3, 4]))
    ],
    "Normalizer": [
        rows(lambda d: d.put("Normalizer", d.put("Softmax", dense(d)), domain=ML, norm="L1"))
    ],
    "LpNormalization": [
        rows(lambda d: d.put("LpNormalization", d.put("Sigmoid", dense(d)), axis=1, p=1)),
        rows(lambda d: d.put("LpNormalization", d.put("Softmax", dense(d)), axis=-1, p=1)),
    ],
    "LinearRegressor": [
        rows(
            lambda d: d.put(
                "LinearRegressor",
                "x",
                domain=ML,
                coefficients=WEIGHTS.T.ravel().tolist(),
                intercepts=BIAS.tolist(),
                targets=3,
            )
        )
    ],
    "LinearClassifier": [
        rows(lambda d: classifier(d, post_transform="SOFTMAX")[1]),
        rows(lambda d: classifier(d)[0]),
    ],
    "TreeEnsembleClassifier": [_tree_classifier],
    "TreeEnsembleRegressor": [_TREE_REGRESSOR],
    "TreeEnsemble": [_tree_ensemble],
    "ZipMap": [_zip_map],
    "Constant": [
        rows(lambda d: d.put("Add", dense(d), d.put("Constant", value_floats=[1.0, 2.0, 3.0])))
    ],
    "ConstantOfShape": [
        rows(lambda d: d.put("Concat", d.put("ConstantOfShape", d.put("Shape", "x")), "x", axis=1))
    ],
    "Floor": [rows(lambda d: d.put("Add", dense(d), d.put("Floor", real(1.5))))],
    "Size": [
        rows(
            lambda d: d.put(
                "Mul", dense(d), d.put("Cast", d.put("Size", real([1, 2])), to=TensorProto.FLOAT)
            )
        )
    ],
}
FITTED = ("Relu", "Tanh")
"""Only with `activation_degree`."""

REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "AveragePool": (1, {}),
    "CastMap": (1, {"domain": ML}),
    "CategoryMapper": (1, {"domain": ML}),
    "DictVectorizer": (1, {"domain": ML, "string_vocabulary": ["a"]}),
    "SVMClassifier": (1, {"domain": ML, "outputs": 2}),
    "SVMRegressor": (1, {"domain": ML}),
    "Binarizer": (1, {"domain": ML}),
    "MaxPool": (1, {"kernel_shape": [1, 1]}),
    "Max": (2, {}),
    "Min": (2, {}),
    "PRelu": (2, {}),
    "Less": (2, {}),
    "LessOrEqual": (2, {}),
    "Equal": (2, {}),
    "Where": (3, {}),
    "TopK": (2, {"outputs": 2}),
    "LSTM": (3, {"hidden_size": 1, "outputs": 3}),
    "GRU": (3, {"hidden_size": 1, "outputs": 2}),
    "RNN": (3, {"hidden_size": 1, "outputs": 2}),
    "Pad": (2, {}),
    "ConvTranspose": (2, {}),
    "InstanceNormalization": (3, {}),
    "LayerNormalization": (2, {}),
    "QuantizeLinear": (2, {}),
    "DequantizeLinear": (2, {}),
    "QLinearConv": (8, {}),
}
"""Inputs and attributes of refused operators that have more than one input or need something."""


def refused(operator: str) -> ModelProto:
    """A valid model with this operator in it."""
    drawing = Drawing()
    value = dense(drawing)
    count, attributes = REFUSED.get(operator, (1, {}))
    if operator in {"If", "Loop"}:
        return _branching(operator)
    made = drawing.put(operator, *[value] * count, **attributes)
    return drawing.model(made if isinstance(made, str) else made[0])


def _branching(operator: str) -> ModelProto:
    drawing = Drawing()
    value = dense(drawing)
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["inner"], value_floats=[1.0])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    if operator == "If":
        return drawing.model(drawing.put("If", value, then_branch=inner, else_branch=inner))
    return drawing.model(drawing.put("Loop", value, value, value, body=inner))


def network_inputs(model: ImportedModel, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the network gets of raw values: completed, encoded, expanded."""
    raw = raw.copy()
    for number, feature in enumerate(model.features):
        if feature.missing is not None:
            stands = (
                feature.categories.index(feature.missing)
                if isinstance(feature, Category)
                else feature.missing
            )
            raw[np.isnan(raw[:, number]), number] = stands
    encoded = encode_columns(model.features, raw)
    return expand(encoded, model.expansion) if model.expansion else encoded


def imported(model: Any, sample: Any, **options: Any) -> tuple[ImportedModel, Any, Any]:
    """An import, the network's outputs on the sample, and the float model's own."""
    table = Table.of(sample)
    read = import_onnx(model, table, ImportOptions(**options))
    local = options.get("local", ())
    raw = table.values[:, [i for i, name in enumerate(table.names) if name not in local]]
    return read, read.network.forward(network_inputs(read, raw)), read.decision(raw)
