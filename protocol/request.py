"""One inference request, as both sides put it into the proof's transcript.

The client rebuilds this from its own data and the card it pinned; nothing in it is taken from the
server's answer, so a proof for any other request, key, model or input does not verify.
"""

from __future__ import annotations

from dataclasses import dataclass

import kernels
from protocol.digests import Words, digest, words_digest
from protocol.encoding import Value
from protocol.errors import RequestError
from protocol.model import ModelCard
from protocol.parameters import MAX_IDENTITY, PROTOCOL_VERSION, Packing, require_words_sized
from protocol.plaintext import NO_PLAINTEXT_FIELDS

REQUEST_ID_BYTES = 16
NONCE_BYTES = 32
SEED_BYTES = 64
EMPTY_LOG_HEAD = bytes(32)
"""Previous audit-log head, when no log is kept."""


@dataclass(frozen=True)
class Request:
    """Who asks what of which model.

    Attributes:
        request_id: 16 bytes, the client's.
        nonce: 32 random bytes, the client's, never used twice.
        client_id, server_id: identities, for the transcript.
        card: the pinned model.
        packing: how the records are packed.
        records: number of records (slots used); public.
        key_digest: the enrolled key's digest.
        registration_digest: digest of the model's registration proof, 32 zero bytes if public.
        input_digest: digest of the seed-compressed ciphertexts, see `input_digest`.
        plaintext_digest: salted digest of the columns sent in clear, see `protocol.plaintext`.
        log_head: the audit log's previous head.

    Raises:
        ParameterError: a number of records that is negative or beyond 64 bits.
        RequestError: a field of the wrong size, or more records than the packing takes.
        ModelError: the model does not offer the packing.
    """

    request_id: bytes
    nonce: bytes
    client_id: str
    server_id: str
    card: ModelCard
    packing: Packing
    records: int
    key_digest: bytes
    registration_digest: bytes
    input_digest: bytes
    plaintext_digest: bytes = NO_PLAINTEXT_FIELDS
    log_head: bytes = EMPTY_LOG_HEAD

    def __post_init__(self) -> None:
        require_records(self.card, self.packing, self.records)
        if len(self.request_id) != REQUEST_ID_BYTES or len(self.nonce) != NONCE_BYTES:
            raise RequestError("request id must have 16 bytes and the nonce 32")
        for text in (self.client_id, self.server_id):
            if not 0 < len(text) <= MAX_IDENTITY:
                raise RequestError(f"identities must have 1 to {MAX_IDENTITY} characters")
        for name in ("key_digest", "registration_digest", "input_digest", "plaintext_digest"):
            if len(getattr(self, name)) != 32:
                raise RequestError(f"{name} must have 32 bytes")
        if len(self.log_head) != 32:
            raise RequestError("log head must have 32 bytes")

    def value(self) -> Value:
        """The canonical value absorbed by the transcript, before any challenge."""
        return (
            PROTOCOL_VERSION,
            str(self.card.mode),
            self.card.digest,
            self.registration_digest,
            self.card.profile(self.packing).value(),
            self.records,
            self.client_id,
            self.server_id,
            self.key_digest,
            self.request_id,
            self.nonce,
            self.log_head,
            self.input_digest,
            self.plaintext_digest,
        )

    def computation_digest(self, evaluated_digest: bytes) -> bytes:
        """Digest of all that determines the unsanitised output, and of nothing else.

        The sanitiser's noise is derived from it: asking twice gives the same noise, so that
        repeats cannot be averaged away.  Hence the words that are evaluated take the place of the
        digests of what was sent, of which the salted one is new in each request.

        Args:
            evaluated_digest: of the K inputs, `RequestInputs.evaluated_digest`.
        """
        return digest(
            "blindproof computation",
            (
                self.card.digest,
                self.card.profile(self.packing).value(),
                self.key_digest,
                evaluated_digest,
            ),
        )


def require_records(card: ModelCard, packing: Packing, records: int) -> None:
    """Refuse a number of records which one request cannot have.

    Raises:
        ParameterError: a number that is negative or beyond 64 bits.
        RequestError: none, or more than the packing takes.
        ModelError: the model does not offer the packing.
    """
    require_words_sized(records)
    slots = card.profile(packing).parameters.slots
    limit = slots if packing is Packing.BATCH else 1
    if not 1 <= records <= limit:
        raise RequestError(f"{records} records in one request, this packing takes {limit}")


def input_digest(seeds: tuple[bytes, ...], bodies: Words) -> bytes:
    """Digest of seed-compressed ciphertexts: K seeds of 64 bytes and c_0 words (K, L, N).

    A seed determines c_1, so this binds every word of the ciphertexts at half the hashing.
    """
    units, limbs, degree = bodies.shape
    chunks = kernels.sha256_chunks(bodies, limbs * degree * 8)
    return digest("blindproof input", ((units, limbs, degree), b"".join(seeds), chunks))


def output_digest(words: Words) -> bytes:
    """Digest of output words of any shape."""
    return words_digest("blindproof output", words)
