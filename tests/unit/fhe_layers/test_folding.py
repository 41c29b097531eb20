from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.folding import fold
from fhe_layers.spec import (
    SQUARE,
    AddSpec,
    BatchNormSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    LayerSpec,
    NetworkSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
)
from protocol.errors import ModelError
from tests.reference.networks import dense, image_network, inputs, mlp, residual_network

RNG = np.random.default_rng(9)
NORM = BatchNormSpec(*RNG.uniform(0.5, 2, (4, 3)))


def kinds(spec: NetworkSpec) -> list[str]:
    return [layer.name for layer in spec.layers]


def same_function(spec: NetworkSpec, folded: NetworkSpec) -> None:
    x = inputs(spec)
    np.testing.assert_allclose(folded.forward(x), spec.forward(x), rtol=1e-9, atol=1e-12)


def test_batch_normalisation_disappears_into_a_convolution():
    spec = image_network()
    folded = fold(spec)
    assert kinds(folded) == ["conv2d", "square", "average_pool", "flatten", "dense"]
    same_function(spec, folded)


def test_batch_normalisation_disappears_into_a_dense_layer():
    spec = NetworkSpec((4,), (dense(RNG, 4, 3), NORM, PolynomialSpec(SQUARE), dense(RNG, 3, 1)))
    folded = fold(spec)
    assert kinds(folded) == ["dense", "square", "dense"]
    same_function(spec, folded)


def test_dense_layers_in_a_row_become_one():
    layers = (dense(RNG, 4, 3), NORM, dense(RNG, 3, 5), dense(RNG, 5, 2), PolynomialSpec(SQUARE))
    spec = NetworkSpec((4,), (*layers, dense(RNG, 2, 2), dense(RNG, 2, 1)))
    folded = fold(spec)
    assert kinds(folded) == ["dense", "square", "dense"]
    same_function(spec, folded)


def test_what_others_read_is_not_folded_away():
    spec = NetworkSpec((4,), (dense(RNG, 4, 3), dense(RNG, 3, 3), AddSpec(1, 2)))
    folded = fold(spec)
    assert kinds(folded) == ["dense", "dense", "add"]
    same_function(spec, folded)


@pytest.mark.parametrize("spec", [mlp(), residual_network()])
def test_what_has_nothing_to_fold_stays(spec: NetworkSpec):
    folded = fold(spec)
    assert kinds(folded) == kinds(spec)
    same_function(spec, folded)


def conv(channels: int, into: int) -> Conv2dSpec:
    return Conv2dSpec(RNG.uniform(-1, 1, (channels, into, 2, 2)), np.zeros(channels))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((conv(3, 1), PolynomialSpec(SQUARE), NORM), r"layer 2 \(batch_norm\) must follow"),
        ((conv(3, 1), NORM, AddSpec(1, 2)), "nothing else reads"),
        ((conv(3, 1), conv(2, 3)), r"layer 1 \(conv2d\) and the conv2d layer before it"),
        ((conv(3, 1), FlattenSpec(), dense(RNG, 27, 2)), r"layer 2 \(dense\) and the conv2d"),
        (
            (
                conv(3, 1),
                PoolSpec((1, 1), (1, 1)),
                ScaleSpec(2.0),
                FlattenSpec(),
                dense(RNG, 27, 2),
            ),
            "no activation between them",
        ),
    ],
)
def test_what_would_waste_scale_is_refused(layers: tuple[LayerSpec, ...], message: str):
    with pytest.raises(ModelError, match=message):
        fold(NetworkSpec((1, 4, 4), layers))


def test_folding_changes_nothing_given():
    spec = image_network()
    first = spec.layers[0]
    assert isinstance(first, Conv2dSpec)
    before = first.weights.copy()
    fold(spec)
    assert np.array_equal(first.weights, before)
    assert not isinstance(fold(spec).layers[0], DenseSpec)


def test_what_folds_into_absurdly_large_numbers_names_the_layer():
    large = DenseSpec(np.full((2, 2), 1e12), np.zeros(2))
    with pytest.raises(ModelError, match=r"layer 1 \(dense\) folded .*: a number above 1.8e\+19"):
        fold(NetworkSpec((2,), (large, large)))
