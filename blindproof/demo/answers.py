"""One verified prediction beside the same model in the clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from client_sdk import Result
from protocol.errors import BlindproofError

Floats = npt.NDArray[np.float64]


class DemonstrationError(BlindproofError):
    """The demonstration saw something it should not have."""


class Study(Protocol):
    """A trained model and the records it has not seen."""

    @property
    def held_out(self) -> Floats:
        """Raw values (records, features)."""
        ...

    @property
    def truth(self) -> tuple[str, ...]:
        """True labels."""
        ...

    @property
    def plaintext_labels(self) -> tuple[str, ...]:
        """Labels by the trained model."""
        ...

    @property
    def plaintext_values(self) -> Floats:
        """Outputs of the trained model (records, J)."""
        ...

    @property
    def exact_values(self) -> Floats:
        """Outputs of the published integer model (records, J)."""
        ...


@dataclass(frozen=True, eq=False)
class HonestAnswer:
    """One verified prediction beside the plaintext model's.

    Attributes:
        title: for the table.
        result: as the client released it.
        accuracy, plaintext_accuracy: share of right labels, from ciphertexts and in the clear.
        same_labels: whether both models agree on every record.
        largest_error: distance of the released values from the exact committed model.
        plaintext_distance: their distance from the plaintext model, whose weights have all bits.
        unverified_seconds: TenSEAL's, for one record and no proof; None where it was not measured.
    """

    title: str
    result: Result
    accuracy: float
    plaintext_accuracy: float
    same_labels: bool
    largest_error: float
    plaintext_distance: float
    unverified_seconds: float | None


def compare(
    title: str, result: Result, study: Study, unverified_seconds: float | None = None
) -> HonestAnswer:
    """Hold a result for the first records of a study against the model in the clear.

    Raises:
        DemonstrationError: it is further off than it says, or a label differs.
    """
    count = len(result.values)
    labels, truth = result.labels or (), study.truth[:count]
    plaintext = study.plaintext_labels[:count]
    answer = HonestAnswer(
        title=title,
        result=result,
        accuracy=_share(labels, truth),
        plaintext_accuracy=_share(plaintext, truth),
        same_labels=labels == plaintext,
        largest_error=float(np.abs(result.values - study.exact_values[:count]).max()),
        plaintext_distance=float(np.abs(result.values - study.plaintext_values[:count]).max()),
        unverified_seconds=unverified_seconds,
    )
    if answer.largest_error > result.error_bound or not answer.same_labels:
        raise DemonstrationError(
            f"{title}: error {answer.largest_error:.3g} against a bound of "
            f"{result.error_bound:.3g}, labels equal: {answer.same_labels}"
        )
    return answer


def _share(labels: tuple[str, ...], truth: tuple[str, ...]) -> float:
    return sum(a == b for a, b in zip(labels, truth, strict=True)) / len(truth)
