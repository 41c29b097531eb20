"""What every importer makes, whatever it reads.

Symbols: C columns of a table, K inputs of the network, J outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.monomials import Expansion
from fhe_layers.spec import NetworkSpec
from protocol.errors import ModelError
from protocol.features import Column

Floats: TypeAlias = npt.NDArray[np.float64]


class Treatment(StrEnum):
    """What becomes of a part of a model."""

    ENCRYPTED = "encrypted"
    FOLDED = "folded"
    CLIENT = "client"
    REFUSED = "refused"


@dataclass(frozen=True)
class Step:
    """One part of the model that was read, and what became of it.

    Attributes:
        name: the model's own name of it: a pipeline's step, a node.
        operator: its kind: "StandardScaler", "Gemm".
        treatment: evaluated on ciphertexts, folded into a neighbour, or done by the client.
        note: how, in a few words.
    """

    name: str
    operator: str
    treatment: Treatment
    note: str = ""


@dataclass(frozen=True)
class Support:
    """One row of docs/models.md.

    Attributes:
        operator: class or operator, as its library names it.
        treatment: what becomes of it; REFUSED for what has no encrypted form.
        note: conditions; for a refused one, what to use instead.
    """

    operator: str
    treatment: Treatment
    note: str = ""


class UnsupportedModelError(ModelError):
    """A part of a model that cannot be served.

    Attributes:
        node, operator, reason, instead: as the message says them.
    """

    def __init__(self, node: str, operator: str, reason: str, instead: str) -> None:
        super().__init__(f"'{node}' ({operator}) cannot be served: {reason}. Instead: {instead}")
        self.node = node
        self.operator = operator
        self.reason = reason
        self.instead = instead


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A model ready to be quantised and planned.

    Attributes:
        features: the C columns, calibrated, in the order of the table that was given.
        expansion: K monomials of the columns' inputs, which clients compute; empty: K inputs.
        network: layers over these K inputs; one dense layer for a linear model.
        outputs: names of the J outputs.
        labels: class labels as texts, in the order of the link; empty for a regression.
        integer_labels: whether they are integers.
        link: see `protocol.links`.
        steps: what became of every part.
        decision: the float model itself: raw values (records, C), categories as indices and NaN
            where one is missing, to what the outputs should be, (records, J), before the link.
    """

    features: tuple[Column, ...]
    expansion: Expansion
    network: NetworkSpec = field(repr=False)
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    integer_labels: bool
    link: str
    steps: tuple[Step, ...]
    decision: Callable[[Floats], Floats] = field(repr=False)
