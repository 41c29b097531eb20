"""The digest of the one model a client accepts, compared before anything of a card is parsed."""

from __future__ import annotations

from protocol.digests import DIGEST_BYTES, encoded_digest
from protocol.errors import ModelError
from protocol.model import CARD_LABEL


def require_pinned(encoded_card: bytes, pinned: bytes, source: str) -> None:
    """Refuse a card, given as bytes from anywhere, whose digest is not the pinned one.

    Args:
        encoded_card: what claims to be a card's canonical bytes; only hashed.
        pinned: the digest expected.
        source: where the card comes from, for the message.

    Raises:
        ModelError: another model than the pinned one.
    """
    found = encoded_digest(CARD_LABEL, encoded_card)
    if found != pinned:
        raise ModelError(
            f"pinned model digest mismatch: expected {pinned.hex()}, {source} {found.hex()}"
        )


def parse_digest(digest: bytes | str, what: str = "a model digest") -> bytes:
    """A digest given as 32 bytes or as 64 hexadecimal digits.

    Args:
        digest: as given.
        what: it is, for the message.

    Raises:
        ModelError: neither.
    """
    try:
        raw = bytes.fromhex(digest) if isinstance(digest, str) else bytes(digest)
    except ValueError as error:
        raise ModelError(f"{what} is 64 hexadecimal digits") from error
    if len(raw) != DIGEST_BYTES:
        raise ModelError(f"{what} has {DIGEST_BYTES} bytes, found {len(raw)}")
    return raw
