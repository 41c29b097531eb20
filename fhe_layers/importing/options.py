"""What a user decides about an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.errors import ParameterError


@dataclass(frozen=True)
class ImportOptions:
    """Choices; the defaults are safe for most.

    Attributes:
        margin: the calibrated range of a number reaches this share of its width beyond the sample,
            on each side.
        ranges: ranges of columns, where known: (low, high).
        plaintext: columns that the server may see.
        local: columns of tables that clients keep for themselves: no inputs of the model.
        measured_in: what columns are measured in, for people.
        edges: comparisons offered for each column that trees read; None: as few as keep the
            ensemble's accuracy on the sample.
        show_thresholds: compare with the trees' own thresholds and nothing else: they become
            public, requests smaller, and nothing is lost by moving them.  Which tree compares
            where, and all leaves, stay private.
        activation_degree: replace ReLU, sigmoid and tanh by polynomials of this degree, fitted on
            the sample; None: such networks are refused.
    """

    margin: float = 0.25
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    plaintext: frozenset[str] = frozenset()
    local: tuple[str, ...] = ()
    measured_in: Mapping[str, str] = field(default_factory=dict)
    edges: int | None = None
    show_thresholds: bool = False
    activation_degree: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "plaintext", frozenset(self.plaintext))
        object.__setattr__(self, "local", tuple(self.local))
        if not 0 <= self.margin <= 10:
            raise ParameterError(f"margin {self.margin}: expected a share between 0 and 10")
        if self.edges is not None and not 1 <= self.edges <= 64:
            raise ParameterError(f"{self.edges} edges a column: expected 1 to 64")
        if self.edges is not None and self.show_thresholds:
            raise ParameterError(
                "edges and show_thresholds: the thresholds are the edges, give one"
            )
        if self.activation_degree is not None and self.activation_degree not in {2, 3, 4}:
            raise ParameterError(f"activations of degree {self.activation_degree}: 2, 3 or 4")
