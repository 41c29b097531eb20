"""What docs/model-file.md says of model files is what the code reads."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel

from blindproof.layer_file import LayerFile
from blindproof.model_file import CategoryFile, ModelFile, NumberFile, ThermometerFile
from blindproof.network_publishing import NetworkModel, publish_network
from blindproof.publishing import LinearModel, publish_linear
from protocol.families import MAX_INTEGERS
from protocol.features import Category, Feature, Privacy, Thermometer
from protocol.graph import MAX_ENTRIES, MAX_POLYS
from protocol.keys import MAX_KEYS
from protocol.layers import MAX_LAYERS, MAX_UNITS
from protocol.links import LINKS, labels_count
from protocol.model import MAX_INPUT_BOUND
from protocol.parameters import MAX_MODULUS_BITS

CNN, RESIDUAL, LINEAR = "corners", "residual", "triage"


@pytest.fixture(scope="module")
def document(repository_root: Path) -> str:
    return (repository_root / "docs" / "model-file.md").read_text()


@pytest.fixture(scope="module")
def examples(document: str) -> dict[str, dict[str, Any]]:
    """The JSON blocks by the models' names."""
    blocks = map(json.loads, re.findall(r"```json\n(.*?)```", document, re.DOTALL))
    return {block["name"]: block for block in blocks}


def table(document: str, first: str) -> list[list[str]]:
    """Cells of the rows below the table head that begins with this column."""
    _, found = document.split(f"| {first} |", 1)
    lines = found.splitlines()[2:]
    end = next(index for index, line in enumerate(lines) if not line.startswith("|"))
    return [re.split(r"\s*\|\s*", line)[1:-1] for line in lines[:end]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def network(example: dict[str, Any]) -> NetworkModel:
    model = ModelFile.model_validate(example).model()
    assert isinstance(model, NetworkModel)
    return model


def convolved(image: np.ndarray, layer: dict[str, Any]) -> np.ndarray:
    """The convolution as the document describes it, an entry at a time: (C, H, W) of images."""
    weights, bias = np.array(layer["weights"]), layer["bias"]
    (down, right), (top, left) = layer["stride"], layer["padding"]
    padded = np.pad(image, ((0, 0), (top, top), (left, left)))
    height = (padded.shape[1] - weights.shape[2]) // down + 1
    width = (padded.shape[2] - weights.shape[3]) // right + 1
    result = np.zeros((len(weights), height, width))
    for o, y, x in np.ndindex(result.shape):
        result[o, y, x] = bias[o] + sum(
            weights[o, c, dy, dx] * padded[c, y * down + dy, x * right + dx]
            for c, dy, dx in product(*map(range, weights.shape[1:]))
        )
    return result


def test_every_example_is_published(examples, tmp_path):
    assert set(examples) == {CNN, RESIDUAL, LINEAR}
    for name in (CNN, RESIDUAL):
        card = publish_network(tmp_path, network(examples[name]))
        assert not card.linear
    file = ModelFile.model_validate(examples[LINEAR])
    model = file.model()
    assert isinstance(model, LinearModel)
    card = publish_linear(tmp_path, model, mode=file.mode, packings=file.packings)
    assert [profile.packing for profile in card.profiles] == ["batch"]
    assert len(card.public_weights) == 3
    assert [type(column) for column in card.features] == [Feature, Feature, Thermometer, Category]
    assert card.features[0].privacy is Privacy.PLAINTEXT
    assert (card.inputs_count, card.plaintext_inputs, card.local) == (5, (0,), ("patient",))
    assert card.about.metrics == (("accuracy", 0.8),)


def test_the_convolutional_example_computes_what_the_document_says(examples):
    example = examples[CNN]
    convolution, norm, _, pool, dense = example["layers"]
    raw = np.arange(0, 261, 29, dtype=np.float64)[None]
    image = convolved((raw / 255).reshape(example["shape"]), convolution)
    column = [np.array(norm[name])[:, None, None] for name in ("gamma", "beta", "mean", "variance")]
    gamma, beta, mean, variance = column
    image = (gamma * (image - mean) / np.sqrt(variance + 1e-5) + beta) ** 2
    side, across = pool["kernel"]
    channels, height, width = image.shape
    image = image.reshape(channels, height // side, side, width // across, across).mean(axis=(2, 4))
    expected = np.array(dense["weights"]) @ image.reshape(-1) + dense["bias"]

    model = network(example)
    given = model.network.forward(model.normalised(raw))
    assert np.allclose(given, expected[None], rtol=1e-12)


def test_the_residual_example_computes_what_the_document_says(examples):
    first, _, _, last = examples[RESIDUAL]["layers"]
    record = np.array([[0.5, -0.75]])
    tensor = record @ np.array(first["weights"]).T
    expected = (tensor**2 + tensor) @ np.array(last["weights"]).T + last["bias"]
    model = network(examples[RESIDUAL])
    assert np.allclose(model.network.forward(model.normalised(record)), expected, rtol=1e-12)


def test_the_table_of_fields_is_complete(document: str):
    named = [name for row in table(document, "field | of") for name in code(row[0])]
    assert sorted(named) == sorted(ModelFile.model_fields)


@pytest.mark.parametrize("file", [NumberFile, ThermometerFile, CategoryFile])
def test_the_table_of_a_features_fields_is_complete(document: str, file: type[BaseModel]):
    (kind,) = get_args(file.model_fields["kind"].annotation)
    _, features = document.split("Each of the `features`")
    named = [
        name
        for fields, kinds, *_ in table(features, "field | of")
        if kinds == "all" or kind in kinds.split(", ")
        for name in code(fields)
    ]
    assert sorted(named) == sorted(file.model_fields)


def test_the_table_of_links_is_the_codes(document: str):
    counts = {"none": 0, "two": 2, "one per output": 3}
    for link, outputs, labels, _ in table(document, "link"):
        found = labels_count(*code(link), 3 if outputs == "two or more" else 1)
        assert found == counts[labels]
    named = {name for link, *_ in table(document, "link") for name in code(link)}
    assert named == set(LINKS) == set(get_args(ModelFile.model_fields["link"].annotation))


def test_the_table_of_layers_is_complete(document: str):
    written = {
        kind: sorted(code(fields))
        for kinds, fields, *_ in table(document, "kind")
        for kind in code(kinds)
    }
    union, *_ = get_args(LayerFile)
    read = {
        kind: sorted(set(layer.model_fields) - {"kind", "source"})
        for layer in get_args(union)
        for kind in get_args(layer.model_fields["kind"].annotation)
    }
    assert written == read


def test_the_limits_are_those_of_the_code(document: str):
    limits = [limit for _, limit in table(document, "limit")]
    rings = sorted(MAX_MODULUS_BITS)
    assert limits == [
        f"{MAX_INTEGERS:,}",
        f"{MAX_UNITS:,}",
        str(MAX_LAYERS),
        f"{MAX_ENTRIES:,}",
        str(MAX_POLYS - 1),
        str(MAX_KEYS),
        f"N, {rings[0]:,} to {rings[-1]:,}",
        f"2^{MAX_INPUT_BOUND.hex().split('p+')[1]}",
    ]
