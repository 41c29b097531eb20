from __future__ import annotations

import json

import numpy as np
import pytest

from blindproof.model_file import read_model_file
from blindproof.network_publishing import NetworkModel
from fhe_layers.spec import (
    SQUARE,
    AddSpec,
    BatchNormSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    GatherSpec,
    GroupedSelectionSpec,
    MulSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    SelectionSpec,
)
from protocol.errors import ModelError

LAYERS = [
    {
        "kind": "conv2d",
        "weights": [[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]],
        "bias": [1, 2],
        "padding": [1, 0],
    },
    {"kind": "batch_norm", "gamma": [1, 2], "beta": [0, 0], "mean": [0, 1], "variance": [1, 1]},
    {"kind": "square"},
    {"kind": "average_pool", "kernel": [2, 1]},
    {"kind": "sum_pool", "kernel": [1, 2], "stride": [1, 1]},
    {"kind": "flatten"},
    {"kind": "polynomial", "coefficients": [0.5, 1]},
    {"kind": "scale", "factor": 2},
    {"kind": "selection", "units": [0, 1], "source": 8},
    {"kind": "add", "left": 9, "right": 9},
    {"kind": "mul", "left": 10, "right": 9},
    {"kind": "gather", "units": [1, 1, 0, 1]},
    {"kind": "selection", "units": [1, 0], "positions": 2},
    {"kind": "grouped_selection", "units": [0, 1]},
    {"kind": "dense", "weights": [[1, -1]]},
]
GOOD = {
    "name": "network",
    "features": [{"name": f"x{k}", "low": 0, "high": 1} for k in range(6)],
    "shape": [1, 2, 3],
    "layers": LAYERS,
}


def read(tmp_path, **changes: object) -> NetworkModel:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    model = read_model_file(path).model()
    assert isinstance(model, NetworkModel)
    return model


def test_every_kind_of_layer_can_be_written(tmp_path):
    network = read(tmp_path).network
    kinds = [type(layer) for layer in network.layers]
    pooled = [layer for layer in network.layers if isinstance(layer, PoolSpec)]
    assert kinds == [
        Conv2dSpec,
        BatchNormSpec,
        PolynomialSpec,
        PoolSpec,
        PoolSpec,
        FlattenSpec,
        PolynomialSpec,
        ScaleSpec,
        SelectionSpec,
        AddSpec,
        MulSpec,
        GatherSpec,
        SelectionSpec,
        GroupedSelectionSpec,
        DenseSpec,
    ]
    assert pooled == [PoolSpec((2, 1), (2, 1)), PoolSpec((1, 2), (1, 1), average=False)]
    assert network.layers[2] == PolynomialSpec(SQUARE)
    assert network.layers[8] == SelectionSpec((0, 1), 8)
    assert network.layers[11:14] == (
        GatherSpec((1, 1, 0, 1)),
        SelectionSpec((1, 0), positions=2),
        GroupedSelectionSpec((0, 1)),
    )
    assert network.shapes[1:] == (
        *[(2, 3, 2)] * 3,
        (2, 1, 2),
        (2, 1, 1),
        *[(2,)] * 6,
        *[(4,)] * 2,
        (2,),
        (1,),
    )


def test_what_is_left_out_has_a_meaning(tmp_path):
    network = read(tmp_path, shape=None, layers=[{"kind": "dense", "weights": [[1] * 6]}]).network
    (layer,) = network.layers
    assert isinstance(layer, DenseSpec)
    assert (network.shape, layer.bias.tolist(), layer.source) == ((6,), [0.0], None)
    assert np.array_equal(layer.weights, np.ones((1, 6)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": None}, "either weights.*or layers"),
        ({"weights": [1, 2]}, "either weights.*or layers"),
        (
            {"layers": [{"kind": "relu"}]},
            "layers.0: no layer 'relu'; there are dense, .*activations: square, polynomial",
        ),
        ({"layers": [{"kind": "dense"}]}, r"layers.0 \(dense\), weights: missing"),
        (
            {"layers": [{"kind": "square", "factor": 2}]},
            r"layers.0 \(square\), factor: this kind of layer has no such entry",
        ),
        ({"layers": [{"kind": "dense", "weights": [[1, 2], [3]]}]}, "rows of different lengths"),
        ({"layers": [{"kind": "dense", "weights": []}]}, "or none"),
        ({"shape": [2, 3]}, "shape.2: missing: more numbers are expected"),
        ({"layers": [{}]}, "layers.0: a layer needs its 'kind'"),
        (
            {"layers": [{"kind": "sum_pool", "kernel": [1, 2, 3]}]},
            r"layers.0 \(sum_pool\), kernel: at most 2 entries",
        ),
        ({"layers": [{"kind": "scale", "factor": 1e200}]}, "factor: too large in magnitude"),
        ({"layers": [{"kind": "dense", "weights": [[1, 2], []]}]}, r"layer 0 \(dense\): its"),
        ({"intercept": 1}, "a network has no 'intercept'"),
        ({"packings": ["single"]}, "a network has no 'packings'"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path, changes, message: str):
    with pytest.raises(ModelError, match=message) as caught:
        read(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_neither_a_repr_nor_an_error_shows_the_weights(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**GOOD, "layers": [{"kind": "dense", "weights": [[0.8125] * 6]}]}))
    file = read_model_file(path)
    assert "0.8125" not in repr(file)
    assert "0.8125" not in repr(file.model())
    with pytest.raises(ModelError) as caught:
        read(tmp_path, layers=[{"kind": "dense", "weights": [["0.8125x"] * 6]}])
    assert "0.8125" not in str(caught.value)
