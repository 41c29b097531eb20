"""A model with everything needed to serve it, and the bytes it is stored as."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protocol.digests import DIGEST_BYTES
from protocol.encoding import decode, encode, expect_bytes, expect_tuple
from protocol.errors import ModelError
from protocol.families import OPENING_SIZE, WEIGHT_BOUND
from protocol.graph import Matrix, PrivateSelection
from protocol.model import ModelCard
from protocol.parameters import Mode
from wire.bundle_file import BundleParts
from zk_layers.commitment import commit_model
from zk_layers.registration import registration_digest
from zk_layers.verify import verify_registration

Integers = npt.NDArray[np.int64]

MAX_FLOODING_DISTANCE_LOG2 = -60
"""Answers are at least this close to ones that depend on the result alone."""


@dataclass(frozen=True, eq=False, repr=False)
class ModelBundle:
    """A model with everything needed to serve it.

    Attributes:
        card: the public card.
        registration_proof: empty for a public model.
        integers: the integers of all matrices, int64 (n,), in the order of `Graph.matrices`: row
            after row, the bias last in each; secret in private mode.
        opening: the commitment's randomness (5120,), secret; zeros for a public model.
    """

    card: ModelCard
    registration_proof: bytes
    integers: Integers
    opening: Integers

    def __post_init__(self) -> None:
        shape = (self.card.graph.integers_count,)
        if self.integers.shape != shape or self.integers.dtype != np.int64:
            raise ModelError(f"integers of shape {self.integers.shape}, expected {shape}")
        if int(self.integers.max()) > WEIGHT_BOUND or int(self.integers.min()) < -WEIGHT_BOUND:
            raise ModelError(f"integers must lie within +-{WEIGHT_BOUND}")
        self._check_rows()
        if self.opening.shape != (OPENING_SIZE,) or not np.isin(self.opening, (-1, 0, 1)).all():
            raise ModelError(f"the opening must be {OPENING_SIZE} ternary integers")
        for profile in self.card.profiles:
            distance = self.card.bounds(profile.packing).flooding_distance_log2
            if distance > MAX_FLOODING_DISTANCE_LOG2:
                raise ModelError(
                    f"packing '{profile.packing}' floods to a distance of 2^{distance:.0f}; "
                    f"2^{MAX_FLOODING_DISTANCE_LOG2} hides the weights: plan it again"
                )
        if not self._belongs_to_card():
            raise ModelError(
                f"the integers of model '{self.card.name}' are not the ones its card stands for"
            )

    def _check_rows(self) -> None:
        """Every row keeps to its declared bound; a row of a selection selects one unit."""
        norms: list[int] = []
        for matrix in self.card.graph.matrices:
            rows = self.rows(matrix)
            norms += np.abs(rows).sum(axis=1).tolist()
            selects = isinstance(self.card.graph.layers[matrix.layer], PrivateSelection)
            if selects and not (np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()):
                raise ModelError(f"layer {matrix.layer}: a selection's rows are unit vectors")
        if any(n > bound for n, bound in zip(norms, self.card.row_l1_bounds, strict=True)):
            raise ModelError("the integers exceed the row l1 bounds the card declares")

    def rows(self, matrix: Matrix) -> Integers:
        """The integers of one matrix, (rows, width), the bias last."""
        end = matrix.offset + matrix.size
        return self.integers[matrix.offset : end].reshape(matrix.rows, matrix.width)

    def _belongs_to_card(self) -> bool:
        if self.card.mode is Mode.PUBLIC:
            rows = [
                tuple(row)
                for matrix in self.card.graph.matrices
                for row in self.rows(matrix).tolist()
            ]
            return tuple(rows) == self.card.public_weights and not self.registration_proof
        modulus = self.card.key_moduli[0]
        committed = commit_model(modulus, self.integers, self.opening)
        return bool(self.registration_proof) and np.array_equal(
            committed, self.card.commitment_words()
        )

    @property
    def digest(self) -> bytes:
        """The model's identity."""
        return self.card.digest

    @cached_property
    def registration_digest(self) -> bytes:
        """The registration as requests name it, 32 zero bytes for a public model."""
        if self.card.mode is Mode.PUBLIC:
            return bytes(DIGEST_BYTES)
        return registration_digest(self.registration_proof)

    @property
    def weights(self) -> Integers:
        """Weights of a linear model without the bias, (J, K)."""
        (matrix,) = self.card.graph.matrices
        return np.ascontiguousarray(self.rows(matrix)[:, :-1])

    @property
    def bias(self) -> Integers:
        """Biases of a linear model, (J,)."""
        (matrix,) = self.card.graph.matrices
        return np.ascontiguousarray(self.rows(matrix)[:, -1])


def parts_of(bundle: ModelBundle, *, private: bool = True) -> BundleParts:
    """The bytes of a model, with or without its secrets."""
    integers, opening = bundle.integers.astype("<i8"), bundle.opening.astype("<i1")
    secret = encode((integers.tobytes(), opening.tobytes())) if private else None
    return BundleParts(bundle.card.encoded(), bundle.registration_proof, secret)


def card_of(parts: BundleParts) -> ModelCard:
    """The card of a model, its registration verified: what is checked without its secrets.

    Raises:
        BlindproofError: not a card, or the registration is not of it.
    """
    card = ModelCard.decoded(parts.card)
    if card.mode is Mode.PRIVATE:
        verify_registration(card, parts.registration)
    elif parts.registration:
        raise ModelError("a public model has no registration")
    return card


def bundle_of(parts: BundleParts) -> ModelBundle:
    """A model as it was published, everything checked.

    Raises:
        BlindproofError: it is not what its card stands for, or has no private part.
    """
    if parts.private is None:
        raise ModelError("a public bundle has no weights: it can be verified, not served")
    card = card_of(parts)
    fields = expect_tuple(decode(parts.private), "private model", 2)
    integers = expect_bytes(fields[0], "integers", 8 * card.graph.integers_count)
    opening = expect_bytes(fields[1], "opening", OPENING_SIZE)
    return ModelBundle(
        card,
        parts.registration,
        np.frombuffer(integers, dtype="<i8").astype(np.int64),
        np.frombuffer(opening, dtype="<i1").astype(np.int64),
    )
