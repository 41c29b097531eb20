"""Modules of PyTorch, where it is installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.pytorch import SUPPORT, import_module
from fhe_layers.importing.table import Table
from protocol.errors import ModelError, ShapeError
from tests.unit.fhe_layers.importing.onnx_cases import network_inputs

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(20, 6))
IMAGES = RNG.uniform(size=(10, 2, 6, 6))


def test_torch_is_asked_for_when_it_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"pip install 'blindproof\[torch\]'"):
        import_module(object(), Table.of(ROWS), ImportOptions())


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    found.manual_seed(5)
    return found


def cases(torch):
    """For each row of SUPPORT a module and whether it takes images."""
    nn = torch.nn

    class Function(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, x):
            hidden = self.inner(x)
            return hidden + hidden**2

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.LSTM(2, 3, batch_first=True)

        def forward(self, x):
            return self.cells(x.reshape(-1, 3, 2))[0][:, -1]

    def after(*layers):
        return nn.Sequential(nn.Linear(6, 5), *layers)

    def pictured(*layers):
        return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), *layers)

    square = Function(lambda x: x**2)
    return {
        "nn.Linear": (after(square, nn.Linear(5, 2)), False),
        "nn.Conv2d": (
            pictured(square, nn.Conv2d(3, 3, 2, stride=2, groups=3), nn.Flatten()),
            True,
        ),
        "nn.AvgPool2d": (pictured(square, nn.AvgPool2d(2), nn.Flatten()), True),
        "nn.AdaptiveAvgPool2d(1)": (
            pictured(square, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)),
            True,
        ),
        "x ** 2, x ** 3, x ** 4": (after(Function(lambda x: x**2 + x**3 + x**4)), False),
        "torch.square, x * x, x * y": (
            after(Function(lambda x: torch.square(x) + x * x + x * torch.square(x))),
            False,
        ),
        "x + y": (Residual(), False),
        "nn.BatchNorm1d": (after(nn.BatchNorm1d(5), square, nn.Linear(5, 2)), False),
        "nn.BatchNorm2d": (pictured(square, nn.BatchNorm2d(3), square, nn.Flatten()), True),
        "nn.Flatten": (nn.Sequential(nn.Flatten(), nn.Linear(72, 2)), True),
        "nn.Dropout": (after(nn.Dropout(0.5)), False),
        "nn.Identity": (after(nn.Identity()), False),
        "(x - mean) / std": (
            nn.Sequential(Function(lambda x: (x - 0.5) / 0.25), nn.Linear(6, 2)),
            False,
        ),
        "nn.ReLU": (after(nn.ReLU(), nn.Linear(5, 2)), False),
        "nn.Tanh": (after(nn.Tanh(), nn.Linear(5, 2)), False),
        "nn.Sigmoid": (nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()), False),
        "nn.Softmax": (after(nn.Softmax(1)), False),
        "nn.LogSoftmax": (after(nn.LogSoftmax(1)), False),
        "nn.MaxPool2d": (pictured(nn.MaxPool2d(2), nn.Flatten()), True),
        "nn.LayerNorm": (after(nn.LayerNorm(5)), False),
        "nn.GELU": (after(nn.GELU(), nn.Linear(5, 2)), False),
        "nn.LeakyReLU": (after(nn.LeakyReLU(), nn.Linear(5, 2)), False),
        "nn.LSTM": (Recurrent(), False),
    }


LINKS = {"nn.Sigmoid": "logistic", "nn.Softmax": "softmax", "nn.LogSoftmax": "softmax"}
FITTED = {"nn.ReLU", "nn.Tanh"}


@pytest.mark.parametrize("row", SUPPORT, ids=lambda row: row.operator)
def test_every_module_is_served_or_refused_as_the_table_says(torch, row):
    module, pictures = cases(torch)[row.operator]
    sample = IMAGES if pictures else ROWS
    shape = sample.shape[1:]
    table = Table.of(sample)
    if row.treatment is Treatment.REFUSED:
        with pytest.raises(UnsupportedModelError):
            import_module(module, table, ImportOptions(), shape)
        return
    if row.operator in FITTED:
        kind = row.operator.removeprefix("nn.")
        with pytest.raises(UnsupportedModelError, match=rf"'1 \({kind}\)'.*activation_degree"):
            import_module(module, table, ImportOptions(), shape)
        read = import_module(module, table, ImportOptions(activation_degree=4), shape)
        assert read.network.layers[1].name == "polynomial"
        return
    assert module.training
    read = import_module(module, table, ImportOptions(), shape)
    assert module.training
    outputs = read.network.forward(network_inputs(read, table.values))
    np.testing.assert_allclose(outputs, read.decision(table.values), atol=2e-5)
    assert read.link == LINKS.get(row.operator, "identity")
    if read.link == "identity":
        with torch.no_grad():
            wanted = module.eval()(torch.tensor(sample, dtype=torch.float32)).numpy()
        np.testing.assert_allclose(outputs, wanted.reshape(len(sample), -1), rtol=1e-3, atol=1e-4)


def test_a_shape_that_does_not_fit_is_refused(torch):
    with pytest.raises(ShapeError, match="72 numbers, the sample 6 columns"):
        import_module(torch.nn.Linear(6, 1), Table.of(ROWS), ImportOptions(), (2, 6, 6))


def test_texts_are_no_inputs_of_modules(torch):
    table = Table.of({"a": [1.0, 2.0], "b": ["u", "v"]})
    with pytest.raises(ModelError, match="'b'"):
        import_module(torch.nn.Linear(2, 1), table, ImportOptions())
    read = import_module(torch.nn.Linear(1, 1), table, ImportOptions(local=("b",)))
    assert [feature.name for feature in read.features] == ["a"]


def test_a_module_that_cannot_be_exported_says_so(torch):
    class Branching(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedModelError, match="Branching"):
        import_module(Branching(), Table.of(ROWS), ImportOptions())
