from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fhe_layers.spec import (
    AddSpec,
    BatchNormSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    GatherSpec,
    GroupedSelectionSpec,
    LayerSpec,
    NetworkSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    SelectionSpec,
)
from protocol.errors import ModelError, NonFiniteError, ShapeError
from tests.reference.networks import image_network, inputs, residual_network


def one(layer: LayerSpec, shape: tuple[int, ...] = (4,)) -> NetworkSpec:
    return NetworkSpec(shape, (layer,))


def test_a_convolution_is_its_definition():
    rng = np.random.default_rng(3)
    weights, bias = rng.normal(size=(3, 2, 3, 2)), rng.normal(size=3)
    spec = one(Conv2dSpec(weights, bias, stride=(2, 1), padding=(1, 0)), (2, 5, 4))
    record = rng.normal(size=(2, 5, 4))
    padded = np.zeros((2, 7, 4))
    padded[:, 1:6] = record
    expected = [
        (weights[o] * padded[:, 2 * y : 2 * y + 3, x : x + 2]).sum() + bias[o]
        for o in range(3)
        for y in range(3)
        for x in range(3)
    ]
    assert spec.shapes == ((2, 5, 4), (3, 3, 3))
    np.testing.assert_allclose(spec.forward(record.reshape(1, -1))[0], expected)


def test_pooling_is_its_definition():
    record = np.arange(24.0).reshape(2, 3, 4)
    expected = [
        record[c, y : y + 2, 2 * x : 2 * x + 2].mean()
        for c in (0, 1)
        for y in (0, 1)
        for x in (0, 1)
    ]
    average, total = (PoolSpec((2, 2), (1, 2), average) for average in (True, False))
    flat = record.reshape(1, -1)
    np.testing.assert_allclose(one(average, (2, 3, 4)).forward(flat)[0], expected)
    np.testing.assert_allclose(one(total, (2, 3, 4)).forward(flat)[0], 4 * np.array(expected))


def test_the_other_layers_are_their_definitions():
    spec = residual_network()
    x = inputs(spec)
    first, last = spec.layers[0], spec.layers[8]
    assert isinstance(first, DenseSpec)
    assert isinstance(last, DenseSpec)
    h = x @ first.weights.T + first.bias
    joined = 0.25 + 0.5 * h + 0.125 * h**2 + x[:, [5, 0, 0, 2]]
    cubed = 2 * (-0.5 * joined * h) ** 3 + joined
    np.testing.assert_allclose(spec.forward(x), cubed @ last.weights.T + last.bias)


def test_batch_normalisation_acts_on_channels():
    norm = BatchNormSpec(
        *(np.array(n) for n in ([2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [3.0, 8.0])), 1.0
    )
    values = one(norm, (2, 1, 2)).forward(np.array([[1.0, 3.0, 6.0, 9.0]]))
    np.testing.assert_allclose(values, [[0.0, 2.0, 5.0, 6.0]])


def test_choices_take_units_channels_or_one_of_each_group():
    x = np.arange(12.0).reshape(2, 6)
    expected = {
        SelectionSpec((5, 0)): [[5, 0], [11, 6]],
        SelectionSpec((2, 0, 2), positions=2): [[4, 5, 0, 1, 4, 5], [10, 11, 6, 7, 10, 11]],
        GroupedSelectionSpec((2, 0)): [[2, 3], [8, 9]],
        GroupedSelectionSpec((1, 0, 1)): [[1, 2, 5], [7, 8, 11]],
        GatherSpec([3, 3, 1, 0, 5, 5, 2]): [[3, 3, 1, 0, 5, 5, 2], [9, 9, 7, 6, 11, 11, 8]],
    }
    for layer, values in expected.items():
        spec = one(layer, (6,))
        assert spec.forward(x).tolist() == values
        assert spec.shapes[-1] == (len(values[0]),)


def test_shapes_follow_the_layers():
    assert image_network().shapes == (
        (2, 5, 6),
        (3, 5, 4),
        (3, 5, 4),
        (3, 5, 4),
        (3, 2, 2),
        (12,),
        (3,),
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec((4,), ()), "at least one layer"),
        (NetworkSpec((4, 4), (FlattenSpec(),)), r"expected \(K,\) or \(C, H, W\)"),
        (one(DenseSpec(np.ones((2, 3)), np.ones(2))), r"layer 0 \(dense\): weights of 3 columns"),
        (one(DenseSpec(np.ones((2, 4)), np.ones(3))), "bias of shape"),
        (one(Conv2dSpec(np.ones((1, 1, 2, 2)), np.ones(1))), "needs an image"),
        (one(Conv2dSpec(np.ones((1, 2, 2, 2)), np.ones(1)), (1, 4, 4)), r"expected \(channels, 1"),
        (one(Conv2dSpec(np.ones((1, 1, 5, 2)), np.ones(1)), (1, 4, 4)), "does not fit"),
        (
            one(Conv2dSpec(np.ones((1, 1, 2, 2)), np.ones(1), padding=(2, 0)), (1, 4, 4)),
            "smaller than the kernel",
        ),
        (one(PoolSpec((2, 2), (0, 1)), (1, 4, 4)), "must be positive"),
        (one(BatchNormSpec(*np.ones((4, 3)))), "expected 4 of each"),
        (one(BatchNormSpec(*np.ones((3, 4)), np.full(4, -1.0))), "variances"),
        (one(PolynomialSpec((1.0,))), "2 to 5 coefficients"),
        (one(PolynomialSpec((1.0, 0.0))), "the last one not zero"),
        (one(ScaleSpec(0.0)), "factor is zero"),
        (one(SelectionSpec((4,))), "units from 0 to 3"),
        (one(SelectionSpec(())), "units from 0 to 3"),
        (one(SelectionSpec((2,), positions=2)), r"layer 0 \(selection\): .*from 0 to 1$"),
        (one(SelectionSpec((0,), positions=3)), "4 units do not split into 3 equal parts"),
        (one(SelectionSpec((0,), positions=0)), "4 units do not split into 0 equal parts"),
        (one(GroupedSelectionSpec((0, 2))), r"layer 0 \(grouped_selection\): .*from 0 to 1$"),
        (one(GroupedSelectionSpec((0, -1))), "units from 0 to 1"),
        (one(GroupedSelectionSpec((0, 0, 0))), "4 units do not split into 3 equal parts"),
        (one(GroupedSelectionSpec(())), "4 units do not split into 0 equal parts"),
        (one(GatherSpec((4,))), r"layer 0 \(gather\): expected units from 0 to 3"),
        (one(GatherSpec((-1,))), "units from 0 to 3"),
        (one(GatherSpec(())), "units from 0 to 3"),
        (one(AddSpec(0, 1)), "reads tensor 1, only 0 to 0 exist"),
        (NetworkSpec((4,), (SelectionSpec((0,)), AddSpec(0, 1))), "its sources have shapes"),
    ],
)
def test_layers_that_do_not_fit_are_named(spec: NetworkSpec, message: str):
    with pytest.raises(ShapeError, match=message):
        _ = spec.shapes


@pytest.mark.parametrize(
    "layer",
    [
        DenseSpec(np.full((1, 4), np.nan), np.zeros(1)),
        DenseSpec(np.zeros((1, 4)), np.full(1, np.inf)),
        ScaleSpec(np.inf),
        PolynomialSpec((np.nan, 1.0)),
        BatchNormSpec(np.full(4, np.inf), *np.ones((3, 4))),
    ],
)
def test_numbers_that_are_none_are_refused(layer: LayerSpec):
    with pytest.raises(NonFiniteError, match="layer 0"):
        _ = one(layer).shapes


@pytest.mark.parametrize(
    "layer",
    [
        DenseSpec(np.full((1, 4), 1e20), np.zeros(1)),
        DenseSpec(np.zeros((1, 4)), np.full(1, -1e20)),
        ScaleSpec(1e20),
        PolynomialSpec((0.0, 1e20)),
        BatchNormSpec(np.full(4, 1e20), *np.ones((3, 4))),
        BatchNormSpec(*np.ones((3, 4)), np.full(4, 1e-60), epsilon=0.0),
    ],
)
def test_absurdly_large_numbers_are_refused(layer: LayerSpec):
    with pytest.raises(ModelError, match=r"layer 0 .*1\.8e\+19 in magnitude"):
        _ = one(layer).shapes


def test_numbers_may_be_lists():
    spec = NetworkSpec([2], [DenseSpec([[1, 2]], [3]), PolynomialSpec([0, 0, 1])])
    assert spec.forward(np.ones((1, 2))).tolist() == [[36.0]]
    assert spec.layers[1].name == "square"
    with pytest.raises(ShapeError, match="bias of a dense layer: expected numbers"):
        DenseSpec([[1.0]], ["0.8125x"])


def test_no_repr_shows_a_weight():
    spec = image_network()
    text = repr(spec) + repr(residual_network()) + repr(replace(spec, shape=(2, 5, 6)))
    assert "array" not in text
    assert "SelectionSpec(source=0, positions=1)" in text
