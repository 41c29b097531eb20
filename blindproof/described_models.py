"""Models that are described already, as importers describe those of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from blindproof.file_errors import naming
from blindproof.model_file import ModelFile, read_model_file
from blindproof.network_publishing import NetworkModel
from blindproof.publishing import LinearModel
from blindproof.sample import completed
from fhe_layers.importing.imported import ImportedModel
from fhe_layers.spec import DenseSpec, NetworkSpec

Floats: TypeAlias = npt.NDArray[np.float64]


def read_described(path: Path) -> tuple[ModelFile, LinearModel | NetworkModel]:
    """A model file and its model.  Raises ModelError, naming the file."""
    file = read_model_file(path)
    with naming(path):
        return file, file.model()


def imported_from(model: LinearModel | NetworkModel) -> ImportedModel:
    """A described model; its columns have their ranges, and the sample changes nothing."""
    if isinstance(model, LinearModel):
        network = NetworkSpec((model.inputs,), (DenseSpec(model.weights, model.intercept),))
    else:
        network = model.network

    def decision(raw: Floats) -> Floats:
        return network.forward(model.inputs_of(completed(model.features, raw)))

    return ImportedModel(
        features=model.features,
        expansion=model.expansion,
        network=network,
        outputs=model.outputs,
        labels=model.labels,
        integer_labels=model.integer_labels,
        link=model.link,
        steps=(),
        decision=decision,
    )
