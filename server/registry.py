"""Published models on disk: one directory per model, named by the digest of its card.

    card.bin           canonical model card, public
    registration.bin   registration proof, public, empty for a public model
    private.bin        canonical (integers, opening), the model's secret

A directory appears by one rename; its content is checked against its name, and its registration
proof verified, when it is read.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from protocol.digests import DIGEST_BYTES
from protocol.encoding import decode, encode, expect_bytes, expect_tuple
from protocol.errors import ModelError
from protocol.families import OPENING_SIZE, WEIGHT_BOUND
from protocol.graph import Matrix, Selection
from protocol.model import MAX_CARD_BYTES, ModelCard
from protocol.parameters import Mode
from server.refusals import Refusal
from server.storage import StorageError, reading
from wire.files import make_private_directory, read_bounded, sync_directory, write_private
from wire.models import MAX_REGISTRATION_BYTES, ModelSummary
from wire.rpc import Reason
from zk_layers.commitment import commit_model
from zk_layers.registration import registration_digest
from zk_layers.verify import verify_registration

Integers = npt.NDArray[np.int64]

MAX_PRIVATE_BYTES = 64 << 20
MAX_FLOODING_DISTANCE_LOG2 = -60
"""Answers are at least this close to ones that depend on the result alone."""
_DIGEST_NAME = re.compile(r"[0-9a-f]{64}")
_CARD, _REGISTRATION, _PRIVATE = "card.bin", "registration.bin", "private.bin"
_log = structlog.get_logger("blindproof.server")


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
            selects = isinstance(self.card.graph.layers[matrix.layer], Selection)
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


class ModelRegistry:
    """The published models of one directory.  Models are added by any process, never changed."""

    def __init__(self, directory: Path) -> None:
        """Open a directory of models, or make it.

        Raises:
            StorageError: it cannot be one.
        """
        with reading(directory):
            self._directory = make_private_directory(directory)
        self._loaded: dict[bytes, ModelBundle] = {}
        self._reported: set[Path] = set()

    def publish(self, bundle: ModelBundle) -> bytes:
        """Store a model and return its digest.

        A model that is already there, and whole, is left as it is; a damaged one is replaced.

        Raises:
            StorageError: it cannot be written.
        """
        target = self._path(bundle.digest)
        with reading(self._directory):
            if not _is_whole(target):
                self._store(bundle, target)
        return bundle.digest

    def _store(self, bundle: ModelBundle, target: Path) -> None:
        """Write a model beside its place and rename it there.  Raises OSError."""
        draft = make_private_directory(self._directory / f".{secrets.token_hex(8)}")
        try:
            write_private(draft / _CARD, bundle.card.encoded())
            write_private(draft / _REGISTRATION, bundle.registration_proof)
            write_private(draft / _PRIVATE, _encode_private(bundle))
            try:
                draft.rename(target)
            except OSError:  # something is there
                if _is_whole(target):
                    return  # another process published the same model meanwhile
                _set_aside(target)
                draft.rename(target)
            sync_directory(self._directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def get(self, digest: bytes) -> ModelBundle:
        """The model of a digest.

        Raises:
            Refusal: there is none (model-unknown).
            StorageError: what is on disk is not that model.
        """
        bundle = self._loaded.get(digest)
        if bundle is None:
            path = self._path(digest)
            if len(digest) != DIGEST_BYTES or not path.is_dir():
                raise Refusal(Reason.MODEL_UNKNOWN, f"no model has the digest {digest.hex()}")
            bundle = self._loaded[digest] = _load(path)
        return bundle

    def load_all(self) -> list[ModelSummary]:
        """Read every model and list them, by name and version; damaged ones are logged once."""
        summaries = []
        for path in sorted(self._directory.iterdir()):
            if not _DIGEST_NAME.fullmatch(path.name) or not path.is_dir():
                continue
            try:
                summaries.append(ModelSummary.of(self.get(bytes.fromhex(path.name)).card))
            except (StorageError, Refusal) as error:  # a refusal: removed since it was listed
                if path not in self._reported:
                    self._reported.add(path)
                    _log.error("model skipped", path=str(path), error=str(error))
        return sorted(summaries, key=lambda model: (model.name, model.version, model.digest))

    def _path(self, digest: bytes) -> Path:
        return self._directory / digest.hex()


def _encode_private(bundle: ModelBundle) -> bytes:
    integers, opening = bundle.integers.astype("<i8"), bundle.opening.astype("<i1")
    return encode((integers.tobytes(), opening.tobytes()))


def _is_whole(path: Path) -> bool:
    """Whether there is a model which can be served."""
    if not path.is_dir():
        return False
    try:
        _load(path)
    except StorageError as error:
        _log.warning("damaged model found", path=str(path), error=str(error))
        return False
    return True


def _set_aside(path: Path) -> None:
    """Free a model's place: renamed first, so that no reader meets half of it."""
    if not os.path.lexists(path):
        return
    aside = path.with_name(f".{secrets.token_hex(8)}")
    path.rename(aside)
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _load(path: Path) -> ModelBundle:
    """A model as it was published.

    Raises:
        StorageError: a file is missing, damaged or another model's; names the path.
    """
    with reading(path):
        card = ModelCard.decoded(read_bounded(path / _CARD, MAX_CARD_BYTES))
        if card.digest.hex() != path.name:
            raise ModelError(f"the card has the digest {card.digest.hex()}")
        registration = read_bounded(path / _REGISTRATION, MAX_REGISTRATION_BYTES)
        integers, opening = _decode_private(read_bounded(path / _PRIVATE, MAX_PRIVATE_BYTES), card)
        bundle = ModelBundle(card, registration, integers, opening)
        if card.mode is Mode.PRIVATE:
            verify_registration(card, registration)
        return bundle


def _decode_private(data: bytes, card: ModelCard) -> tuple[Integers, Integers]:
    """Integers (n,) and opening (5120,).  Raises EncodingError."""
    fields = expect_tuple(decode(data), "private model", 2)
    integers = expect_bytes(fields[0], "integers", 8 * card.graph.integers_count)
    opening = expect_bytes(fields[1], "opening", OPENING_SIZE)
    return (
        np.frombuffer(integers, dtype="<i8").astype(np.int64),
        np.frombuffer(opening, dtype="<i1").astype(np.int64),
    )
