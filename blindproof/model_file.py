"""Weights as a JSON file, for `blindproof publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blindproof.publishing import LinearModel
from protocol.errors import ModelError
from protocol.model import Feature
from protocol.parameters import Mode, Packing

Number = Annotated[float, Field(allow_inf_nan=False)]


class FeatureFile(BaseModel):
    """One column: raw values in [low, high] are scaled to (raw - centre) / scale."""

    model_config = ConfigDict(extra="forbid")

    name: str
    low: Number
    high: Number
    centre: Number = 0.0
    scale: Number = 1.0


class ModelFile(BaseModel):
    """A linear model; `weights` has one row per output, and one list is one output."""

    model_config = ConfigDict(extra="forbid")

    name: str
    version: str = "1"
    purpose: str = ""
    features: list[FeatureFile]
    weights: list[list[Number]] | list[Number] = Field(repr=False)
    intercept: list[Number] | Number = Field(default=0.0, repr=False)
    outputs: list[str] = ["output"]
    labels: list[str] = []
    link: Literal["identity", "logistic", "argmax"] = "identity"
    mode: Mode = Mode.PRIVATE
    packings: list[Packing] = [Packing.BATCH, Packing.SINGLE]

    def model(self) -> LinearModel:
        """The model as arrays.

        Raises:
            ModelError: rows of different lengths, or a number of rows that is not of the outputs.
        """
        rows = [row if isinstance(row, list) else [row] for row in self.weights]
        if self.weights and not isinstance(self.weights[0], list):
            rows = [[value for row in rows for value in row]]
        intercept = self.intercept if isinstance(self.intercept, list) else [self.intercept]
        columns = len(self.features)
        if len(rows) != len(self.outputs) or any(len(row) != columns for row in rows):
            raise ModelError(
                f"weights: expected {len(self.outputs)} rows of {columns} numbers, one per output"
            )
        if len(intercept) != len(rows):
            raise ModelError(f"intercept: expected {len(rows)} numbers, found {len(intercept)}")
        return LinearModel(
            name=self.name,
            version=self.version,
            purpose=self.purpose,
            features=tuple(
                Feature(f.name, f.low, f.high, f.centre, f.scale) for f in self.features
            ),
            weights=np.array(rows, dtype=np.float64),
            intercept=np.array(intercept, dtype=np.float64),
            outputs=tuple(self.outputs),
            labels=tuple(self.labels),
            link=self.link,
        )


def read_model_file(path: Path) -> ModelFile:
    """Read a JSON file.

    Raises:
        ModelError: it cannot be read or is not such a file.
    """
    try:
        return ModelFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        # The cause would show the file's numbers.
        raise ModelError(f"{path}: {where or 'file'}: {first['msg']}") from None
