from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.onnx_model import SUPPORT
from fhe_layers.quantise_network import quantise_network
from protocol.errors import ShapeError
from tests.unit.fhe_layers.importing.onnx_cases import (
    CASES,
    FITTED,
    ROWS,
    WEIGHTS,
    Drawing,
    convolved,
    dense,
    imported,
    real,
    refused,
    rows,
    whole,
)

SERVED = [
    (row.operator, number)
    for row in SUPPORT
    if row.treatment is not Treatment.REFUSED and row.operator not in FITTED
    for number in range(len(CASES.get(row.operator, [None])))
]


def test_operators_are_listed_once():
    names = [row.operator for row in SUPPORT]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("operator", "number"), SERVED)
def test_a_network_computes_what_the_operator_does(operator, number):
    model, sample = CASES[operator][number]()
    assert operator in {node.op_type for node in model.graph.node} or operator == "Div"
    read, outputs, decision = imported(model, sample)
    assert outputs.shape == decision.shape == (len(outputs), len(read.outputs))
    np.testing.assert_allclose(outputs, decision, rtol=2e-5, atol=2e-5 * np.abs(decision).max())


@pytest.mark.parametrize("operator", FITTED)
def test_an_activation_is_refused_or_fitted(operator):
    model, sample = rows(lambda d: d.put("MatMul", d.put(operator, dense(d)), WEIGHTS[:3]))()
    with pytest.raises(UnsupportedModelError, match="activation_degree=2"):
        imported(model, sample)
    read, outputs, decision = imported(model, sample, activation_degree=4)
    assert np.corrcoef(outputs.ravel(), decision.ravel())[0, 1] > 0.95
    assert any("replaced by" in step.note for step in read.steps)


@pytest.mark.parametrize(
    "operator", [row.operator for row in SUPPORT if row.treatment is Treatment.REFUSED]
)
def test_a_refusal_names_node_operator_reason_and_what_to_use(operator, monkeypatch):
    monkeypatch.setattr("onnx.checker.check_model", lambda model: None)  # shapes do not matter
    with pytest.raises(UnsupportedModelError) as caught:
        imported(refused(operator), ROWS)
    assert caught.value.operator == operator
    assert caught.value.node == "node 1"
    assert caught.value.reason
    assert caught.value.instead


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda d: d.put("Gemm", "x", WEIGHTS, transA=1), "transA=0"),
        (lambda d: d.put("MatMul", real(np.eye(4)), "x"), "x @ W"),
        (lambda d: d.put("MatMul", "x", d.put("Neg", "x")), "constant there"),
        (lambda d: d.put("Div", dense(d), dense(d)), "constant divisor"),
        (lambda d: d.put("Pow", dense(d), real(0.5)), "x \\*\\* 2"),
        (lambda d: d.put("Concat", squared_and_dense(d)[0], "x", axis=1), "depth"),
        (lambda d: d.put("ReduceSum", dense(d), whole([0])), "records"),
        (lambda d: d.put("Reshape", dense(d), whole([-1])), "records apart"),
        (lambda d: d.put("Transpose", dense(d)), "records"),
        (lambda d: d.put("Gather", dense(d), whole([0]), axis=0), "records"),
        (lambda d: d.put("Add", dense(d), real(np.zeros((2, 3)))), "records"),
        (lambda d: d.put("Greater", dense(d), real(1)), "comparisons"),
        (lambda d: d.put("Sigmoid", dense(d)), "without the sigmoid"),
        (lambda d: dense(d, d.put("Softmax", "x")), "layers follow"),
        (lambda d: d.put("Normalizer", "x", domain="ai.onnx.ml", norm="L2"), "StandardScaler"),
    ],
)
def test_what_an_operator_cannot_do_is_said(build, words):
    model, sample = rows(build)()
    with pytest.raises(UnsupportedModelError, match=words):
        imported(model, sample)


def squared_and_dense(drawing: Drawing) -> tuple[str, str]:
    return drawing.put("Pow", dense(drawing), real(2)), dense(drawing)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 0, 0, 0]])
def test_pixels_are_centred_where_padding_is_zero(pads):
    drawing = Drawing(("N", 2, 6, 6))
    shifted = drawing.put("Sub", "x", real([[[0.5]], [[0.25]]]))
    model = drawing.model(drawing.put("Pow", convolved(drawing, shifted, pads=pads), real(2)))
    read, _, _ = imported(model, np.random.default_rng(3).uniform(size=(9, 72)))
    if any(pads):
        assert {feature.centre for feature in read.features[:36]} == {0.5}
        assert {feature.centre for feature in read.features[36:]} == {0.25}
    assert {feature.bound <= 1 + 1e-12 for feature in read.features} == {True}


def test_padding_between_layers_of_shifted_values_is_refused():
    drawing = Drawing(("N", 2, 6, 6))
    inner = drawing.put("Pow", convolved(drawing), real(2))
    shifted = drawing.put("Add", inner, real(1))
    kernel = real(np.ones((1, 3, 3, 3)))
    drawing.put("Conv", shifted, kernel, pads=[1, 1, 1, 1])
    with pytest.raises(UnsupportedModelError, match="zero padding"):
        imported(drawing.model("t3_0"), np.random.default_rng(3).uniform(size=(9, 72)))


def test_linear_layers_in_a_row_are_one():
    read, _, _ = imported(*CASES["Gemm"][2]())
    assert [layer.name for layer in read.network.layers] == ["dense"]


def test_products_of_columns_are_inputs_that_clients_compute():
    read, _, _ = imported(*CASES["Pow"][1]())
    assert read.expansion == ((0,), (1,), (2,), (3,), (0, 0), (1, 1), (2, 2), (3, 3))
    assert [layer.name for layer in read.network.layers] == ["dense"]


def test_every_served_network_of_layers_can_be_quantised():
    for operator in ("Conv", "Add", "Mul", "Pow", "BatchNormalization", "AveragePool"):
        read, _, _ = imported(*CASES[operator][0]())
        if read.network.layers[-1].name in {"dense", "add"}:
            quantise_network(read.network)


def test_a_row_that_is_reshaped_to_an_image_is_an_image():
    drawing = Drawing(("N", 72))
    image = drawing.put("Reshape", "x", whole([-1, 2, 6, 6]))
    model = drawing.model(drawing.put("Pow", convolved(drawing, image), real(2)))
    read, outputs, decision = imported(model, np.random.default_rng(3).uniform(size=(9, 72)))
    assert read.network.shape == (2, 6, 6)
    assert [layer.name for layer in read.network.layers] == ["conv2d", "square"]
    np.testing.assert_allclose(outputs, decision, rtol=1e-4)


def test_channels_may_come_last_if_there_is_one():
    sample = np.random.default_rng(3).uniform(size=(9, 36))
    kernel = real(np.random.default_rng(4).normal(size=(2, 1, 3, 3)))
    drawing = Drawing(("N", 6, 6, 1))
    first = drawing.put("Transpose", "x", perm=[0, 3, 1, 2])
    model = drawing.model(drawing.put("Pow", drawing.put("Conv", first, kernel), real(2)))
    read, outputs, decision = imported(model, sample)
    assert read.network.shape == (1, 6, 6)
    np.testing.assert_allclose(outputs, decision, rtol=1e-4)
    drawing = Drawing(("N", 6, 3, 2))
    drawing.put("Transpose", "x", perm=[0, 3, 1, 2])
    with pytest.raises(ShapeError, match="channels first"):
        imported(drawing.model("t0_0"), sample)


def test_products_of_very_many_columns_are_refused():
    drawing = Drawing(("N", 50))
    left = drawing.put("Gather", "x", whole(np.repeat(np.arange(50), 50).tolist()), axis=1)
    right = drawing.put("Gather", "x", whole(np.tile(np.arange(50), 50).tolist()), axis=1)
    with pytest.raises(UnsupportedModelError, match="more than 1024 products"):
        imported(
            drawing.model(drawing.put("Mul", left, right)),
            np.random.default_rng(3).uniform(size=(9, 50)),
        )
