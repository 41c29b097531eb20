"""A published model in one file, to be carried from where it was published to where it is served.

The canonical encoding of

    ("blindproof bundle 1", card, registration proof, private part or None)

in the bytes that a model directory has in three files: the same model gives the same file. Without
the private part a bundle is public: what clients pin and what an auditor checks, and no weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from protocol.digests import encoded_digest
from protocol.encoding import decode, encode, expect_bytes, expect_tuple
from protocol.errors import EncodingError
from protocol.families import MAX_INTEGERS, OPENING_SIZE
from protocol.model import CARD_LABEL, MAX_CARD_BYTES
from wire.files import read_regular, write_private
from wire.models import MAX_REGISTRATION_BYTES

FORMAT = "blindproof bundle 1"
SUFFIX = ".blindproof"
MAX_PRIVATE_BYTES = 8 * MAX_INTEGERS + OPENING_SIZE + 64
_FRAMING_BYTES = 256
MAX_BUNDLE_BYTES = MAX_CARD_BYTES + MAX_REGISTRATION_BYTES + MAX_PRIVATE_BYTES + _FRAMING_BYTES


@dataclass(frozen=True)
class BundleParts:
    """The bytes of a model; well-formed as a bundle, not yet judged.

    Attributes:
        card: canonical bytes of the card, public.
        registration: the registration proof, public, empty for a public model.
        private: canonical (integers, opening), the model's secret; None in a public bundle.
    """

    card: bytes = field(repr=False)
    registration: bytes = field(repr=False)
    private: bytes | None = field(repr=False)

    @property
    def digest(self) -> bytes:
        """The model's identity."""
        return encoded_digest(CARD_LABEL, self.card)


def encode_bundle(parts: BundleParts) -> bytes:
    """Bytes of a bundle file."""
    return encode((FORMAT, parts.card, parts.registration, parts.private))


def decode_bundle(data: bytes) -> BundleParts:
    """Parse a bundle.

    Raises:
        EncodingError: not a bundle file, or a part of it is oversized.
    """
    fields = expect_tuple(decode(data), "bundle", 4)
    if fields[0] != FORMAT:
        raise EncodingError(f"not a '{FORMAT}' file")
    private = None if fields[3] is None else expect_bytes(fields[3], "private part")
    parts = BundleParts(
        expect_bytes(fields[1], "model card"),
        expect_bytes(fields[2], "registration proof"),
        private,
    )
    for name, part, limit in (
        ("model card", parts.card, MAX_CARD_BYTES),
        ("registration proof", parts.registration, MAX_REGISTRATION_BYTES),
        ("private part", private or b"", MAX_PRIVATE_BYTES),
    ):
        if len(part) > limit:
            raise EncodingError(f"{name} of {len(part)} bytes, at most {limit}")
    return parts


def read_bundle(path: Path) -> BundleParts:
    """Read a bundle file.

    Raises:
        EncodingError: not a bundle file.
        OSError: it cannot be read.
    """
    return decode_bundle(read_regular(path, MAX_BUNDLE_BYTES))


def write_bundle(path: Path, parts: BundleParts) -> None:
    """Write a bundle file of mode 0600, whole or not at all.  Raises OSError."""
    write_private(path, encode_bundle(parts))
