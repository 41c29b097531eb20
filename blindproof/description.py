"""What a model card says of a model, whatever computes its outputs.

Symbols: C columns, K inputs of the model, J outputs.  Columns give units (`protocol.features`); the
inputs are the units, or an expansion's monomials of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fhe_layers.monomials import Expansion, expand
from protocol.about import About
from protocol.errors import ModelError
from protocol.features import Column, encode_columns
from protocol.links import EXP
from protocol.model import MAX_INPUT_BOUND

Floats = npt.NDArray[np.float64]

RESERVED_OUTPUTS = frozenset({"label", "line", "score"})
"""Columns that stand beside the outputs where predictions are written."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Description:
    """The part that linear models and networks share.

    Attributes:
        name, version, purpose: for people.
        features: the C input columns.
        outputs: names of the J outputs.
        labels: class labels in the order of the link; empty for a regression.
        link: see `protocol.links`.
        expansion: K monomials of the columns' units, which clients compute; empty: the units.
        local: columns of tables that clients keep for themselves: no inputs of the model.
        about: what the publisher says of the model.
        integer_labels: whether the labels are integers.
    """

    name: str
    version: str
    purpose: str
    features: tuple[Column, ...]
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    link: str
    expansion: Expansion = ()
    local: tuple[str, ...] = ()
    about: About = field(default_factory=About)
    integer_labels: bool = False

    def described(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  (fields of any type)
        """These fields by name, as a card or another model takes them."""
        return {part.name: getattr(self, part.name) for part in fields(Description)} | changes

    @property
    def inputs(self) -> int:
        """K."""
        return len(self.expansion) or sum(column.inputs for column in self.features)

    @property
    def input_names(self) -> tuple[str, ...]:
        """For people: units as conditions on columns, monomials as their products."""
        units = tuple(name for column in self.features for name in column.input_names)
        if not self.expansion:
            return units
        return tuple(" * ".join(units[unit] for unit in monomial) for monomial in self.expansion)

    @property
    def input_bounds(self) -> Floats:
        """Largest magnitude of each input, float64 (K,)."""
        bounds = np.array(
            [column.bound for column in self.features for _ in range(column.inputs)],
            dtype=np.float64,
        )
        return expand(bounds[None], self.expansion)[0] if self.expansion else bounds

    def normalised(self, raw: Floats) -> Floats:
        """Raw values (records, C) as units (records, units)."""
        return encode_columns(self.features, raw)

    def inputs_of(self, raw: Floats) -> Floats:
        """Raw values (records, C) as the model takes them, (records, K)."""
        units = self.normalised(raw)
        return expand(units, self.expansion) if self.expansion else units

    def require_publishable(self) -> None:
        """Refuse what no card can declare, and columns that written predictions would have twice.

        Raises:
            ModelError: naming the column or the output.
        """
        reserved = RESERVED_OUTPUTS.intersection((*self.outputs, *self.local))
        if reserved:
            raise ModelError(
                f"'{min(reserved)}' is reserved beside the outputs: rename that column"
            )
        raised = [f"exp({name})" for name in self.outputs] if self.link == EXP else []
        written = Counter((*self.outputs, *self.local, *raised))
        twice = [name for name, count in written.items() if count > 1]
        if twice:
            raise ModelError(
                f"names must be distinct: '{twice[0]}' would stand twice beside the predictions"
            )
        for column in self.features:
            if not column.bound <= MAX_INPUT_BOUND:
                raise ModelError(
                    f"feature '{column.name}': its range is more than 2^64 times its scale"
                )
