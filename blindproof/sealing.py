"""The last step of publication: commit to the integers, prove their ranges.

The opening is a secret function of the whole model and of the publisher's key: publishing again
changes nothing, and two models never share one.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protocol.digests import digest
from protocol.families import COMMITMENT_DEGREE, OPENING_SIZE
from protocol.model import ModelCard
from protocol.parameters import Mode
from server.registry import ModelBundle
from server.storage import reading
from wire.files import make_private_directory, read_or_create_secret
from zk_layers.commitment import commit_model, sample_opening
from zk_layers.prove import prove_registration

Integers = npt.NDArray[np.int64]

PUBLISHER_KEY_BYTES = 32
BLANK_COMMITMENT = bytes(2 * COMMITMENT_DEGREE * 8)
"""What a draft of a private card has in the commitment's place."""
_PUBLISHER_KEY = ".publisher.key"


def publisher_key(models: Path) -> bytes:
    """The secret of a model directory, made if missing.  Raises StorageError."""
    with reading(models):
        return read_or_create_secret(
            make_private_directory(models) / _PUBLISHER_KEY, PUBLISHER_KEY_BYTES
        )


def seal(draft: ModelCard, integers: Integers, key: bytes) -> ModelBundle:
    """Everything a server needs to serve a model.

    Args:
        draft: the card, complete in public mode, with a blank commitment in private mode.
        integers: int64 (integers,), all matrices of the graph in order.
        key: the publisher's.

    Raises:
        BlindproofError: the integers are not within what the card declares.
    """
    if draft.mode is Mode.PUBLIC:
        return ModelBundle(draft, b"", integers, np.zeros(OPENING_SIZE, dtype=np.int64))
    identity = digest("blindproof publication", (draft.value(), integers.astype("<i8").tobytes()))
    opening = sample_opening(_subkey(key, b"opening", identity))
    h = commit_model(draft.key_moduli[0], integers, opening)
    card = replace(draft, commitment=h.astype("<u8").tobytes())
    proof = prove_registration(card, integers, opening, _subkey(key, b"registration", identity))
    return ModelBundle(card, proof, integers, opening)


def _subkey(key: bytes, label: bytes, identity: bytes) -> bytes:
    return hmac.digest(key, label + identity, hashlib.sha256)
