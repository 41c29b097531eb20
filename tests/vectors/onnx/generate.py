"""Regenerates the ONNX vectors: `python tests/vectors/onnx/generate.py`, with PyTorch installed.

The files beside this script were exported by PyTorch 2.15 (`torch.onnx.export`, default exporter)
and, for the hummingbird one, by hummingbird-ml with PyTorch's TorchScript exporter. They are
trained on the data sets of scikit-learn that their names say, with fixed seeds.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

HERE = Path(__file__).parent
STEPS = 300


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**2


class Residual(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, 8)
        self.inner = nn.Linear(8, 8)
        self.last = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        return self.last(hidden + self.inner(torch.square(hidden)))


def train(module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=1e-4)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(inputs), labels).backward()
        optimiser.step()
    return module.eval()


def export(module: nn.Module, inputs: torch.Tensor, name: str) -> None:
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        module, (inputs[:2],), dynamo=True, dynamic_shapes=batch, verbose=False
    )
    proto = program.model_proto
    for node in proto.graph.node:  # where the modules are, and nothing of this machine
        kept = [item for item in node.metadata_props if item.key == "namespace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    for tensor in proto.graph.initializer:
        del tensor.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    (HERE / name).write_bytes(proto.SerializeToString(deterministic=True))


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return images, torch.tensor(labels)


def table(loader: object) -> tuple[torch.Tensor, torch.Tensor]:
    values, labels = loader(return_X_y=True)  # type: ignore[operator]
    return torch.tensor(values, dtype=torch.float32), torch.tensor(labels)


class Standardised(nn.Module):
    """The scaling as a part of the model, which an import has to fold."""

    def __init__(self, inputs: torch.Tensor, module: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mean", inputs.mean(0))
        self.register_buffer("deviation", inputs.std(0))
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module((x - self.mean) / self.deviation)


def main() -> None:
    torch.manual_seed(1)
    images, targets = digits()
    cnn = nn.Sequential(
        nn.Conv2d(1, 4, 3), Square(), nn.Flatten(), nn.Linear(144, 32), Square(), nn.Linear(32, 10)
    )
    export(train(cnn, images, targets), images, "digits_cnn.onnx")

    norms = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        Square(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 8, 3),
        Square(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Identity(),
        nn.Linear(8, 10),
        nn.Softmax(1),
    )
    export(train(norms, images, targets), images, "digits_norms.onnx")

    wine, cultivars = table(load_wine)
    mlp = nn.Sequential(nn.Linear(13, 8), Square(), nn.BatchNorm1d(8), nn.Linear(8, 3))
    export(train(Standardised(wine, mlp), wine, cultivars), wine, "wine_mlp.onnx")
    export(train(Standardised(wine, Residual(13, 3)), wine, cultivars), wine, "wine_residual.onnx")
    relu = nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Linear(8, 3))
    export(train(Standardised(wine, relu), wine, cultivars), wine, "wine_relu.onnx")
    hummingbird()
    regression()


def regression() -> None:
    """Progression in its own units: what undoes the scaling of the target is a layer as well."""
    torch.manual_seed(2)
    records, progression = table(load_diabetes)
    mean, deviation = progression.mean(), progression.std()
    mlp = nn.Sequential(nn.Linear(10, 6), Square(), nn.Linear(6, 1))
    module = Standardised(records, mlp)
    wanted = ((progression - mean) / deviation)[:, None].float()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=1e-3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.mse_loss(module(records), wanted).backward()
        optimiser.step()
    rescaled = nn.Linear(1, 1)
    with torch.no_grad():
        rescaled.weight.fill_(deviation)
        rescaled.bias.fill_(mean)
    export(nn.Sequential(module, rescaled).eval(), records, "diabetes_mlp.onnx")


def hummingbird() -> None:
    from hummingbird.ml import convert

    values, labels = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(values, labels)
    sample = values[:2].astype(np.float32)
    module = convert(pipeline, "torch", sample).model
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (torch.tensor(sample),),
        buffer,
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )
    proto = onnx.load_from_string(buffer.getvalue())
    for node in proto.graph.node:
        node.doc_string = ""
    (HERE / "breast_cancer_hummingbird.onnx").write_bytes(
        proto.SerializeToString(deterministic=True)
    )


if __name__ == "__main__":
    main()
