"""Codec of the key service: an enrolment in two steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from protocol.digests import DIGEST_BYTES, Words
from protocol.errors import EncodingError
from protocol.keys import ENROLMENT_NONCE_BYTES, KeyRequest
from wire.framing import (
    ProofBuffer,
    expect_size,
    parse,
    proof_pieces,
    words_from_bytes,
    words_to_bytes,
)
from wire.v1 import keys_pb2 as pb

SESSION_BYTES = 16
MAX_ENROLMENT_PROOF_BYTES = 32 << 20
"""The proof of 64 keys at N = 32768, the most there can be, has 22 MB."""


@dataclass(frozen=True)
class EnrolmentChallenge:
    """The server's answer to a commitment."""

    session_id: bytes
    nonce: bytes


@dataclass(frozen=True)
class EnrolmentHeader:
    """Opens the second step."""

    session_id: bytes
    proof_bytes: int


def encode_begin(request: KeyRequest, root: bytes) -> bytes:
    """The first step: what is to be enrolled, and the commitment."""
    return pb.BeginEnrolmentRequest(
        client_id=request.client_id,
        server_id=request.server_id,
        ring_degree=request.ring_degree,
        moduli=request.moduli,
        keys=request.keys,
        root=root,
    ).SerializeToString()


def decode_begin(data: bytes) -> tuple[KeyRequest, bytes]:
    """The request and the commitment's root, inside the supported and 128-bit secure range.

    Raises:
        EncodingError, EnrolmentError, ParameterError: anything else.
    """
    message = parse(pb.BeginEnrolmentRequest, data)
    request = KeyRequest(
        message.client_id,
        message.server_id,
        message.ring_degree,
        tuple(message.moduli),
        message.keys,
    )
    return request, expect_size(message.root, DIGEST_BYTES, "root")


def encode_challenge(challenge: EnrolmentChallenge) -> bytes:
    """The server's answer to the first step."""
    return pb.BeginEnrolmentResponse(
        session_id=challenge.session_id, nonce=challenge.nonce
    ).SerializeToString()


def decode_challenge(data: bytes) -> EnrolmentChallenge:
    """Parse the server's answer to the first step.  Raises EncodingError."""
    message = parse(pb.BeginEnrolmentResponse, data)
    return EnrolmentChallenge(
        expect_size(message.session_id, SESSION_BYTES, "session id"),
        expect_size(message.nonce, ENROLMENT_NONCE_BYTES, "nonce"),
    )


def encode_completion(session_id: bytes, b: Words, proof: bytes) -> Iterator[bytes]:
    """The second step: header, words b (key, limb, n) one limb a message, proof."""
    yield pb.CompleteEnrolmentRequest(
        header=pb.CompleteEnrolmentHeader(session_id=session_id, proof_bytes=len(proof))
    ).SerializeToString()
    for key, limb in np.ndindex(b.shape[:2]):
        chunk = pb.PublicKeyChunk(key=key, limb=limb, words=words_to_bytes(b[key, limb]))
        yield pb.CompleteEnrolmentRequest(key=chunk).SerializeToString()
    for piece in proof_pieces(proof):
        yield pb.CompleteEnrolmentRequest(
            proof=pb.EnrolmentProofChunk(data=piece)
        ).SerializeToString()


def decode_completion_header(data: bytes) -> EnrolmentHeader:
    """Parse the message that must come first.  Raises EncodingError."""
    message = parse(pb.CompleteEnrolmentRequest, data)
    if message.WhichOneof("part") != "header":
        raise EncodingError("the first message of an enrolment must be its header")
    header = message.header
    return EnrolmentHeader(
        expect_size(header.session_id, SESSION_BYTES, "session id"), header.proof_bytes
    )


class CompletionAssembler:
    """Collects keys and proof of one enrolment, in order, inside what was announced."""

    def __init__(self, request: KeyRequest, proof_bytes: int) -> None:
        self._moduli = request.moduli
        self._proof = ProofBuffer(proof_bytes, MAX_ENROLMENT_PROOF_BYTES)
        self._b = np.empty(
            (request.keys, len(request.moduli), request.ring_degree), dtype=np.uint64
        )
        self._next = 0

    def add(self, data: bytes) -> None:
        """Take the next message.

        Raises:
            EncodingError: out of order, of the wrong size, or with words that are not canonical.
        """
        message = parse(pb.CompleteEnrolmentRequest, data)
        part = message.WhichOneof("part")
        keys, limbs, degree = self._b.shape
        if part == "key" and self._next < keys * limbs:
            key, limb = divmod(self._next, limbs)
            if (message.key.key, message.key.limb) != (key, limb):
                raise EncodingError(
                    f"key chunk ({message.key.key}, {message.key.limb}) where ({key}, {limb}) "
                    "was due"
                )
            self._b[key, limb] = words_from_bytes(
                message.key.words, (1, degree), self._moduli[limb : limb + 1], "public key"
            )[0]
            self._next += 1
        elif part == "proof" and self._next == keys * limbs:
            self._proof.add(message.proof.data)
        else:
            raise EncodingError(f"enrolment message '{part}' out of order")

    def finish(self) -> tuple[Words, bytes]:
        """The words b (key, limb, n) and the proof.

        Raises:
            EncodingError: something is missing.
        """
        keys, limbs, _ = self._b.shape
        if self._next != keys * limbs:
            raise EncodingError(f"{self._next} key chunks of {keys * limbs}")
        return self._b, self._proof.finish()


def encode_completed(key_digest: bytes) -> bytes:
    """The end of an enrolment."""
    return pb.CompleteEnrolmentResponse(key_digest=key_digest).SerializeToString()


def decode_completed(data: bytes) -> bytes:
    """The digest under which the server keeps the key.  Raises EncodingError."""
    message = parse(pb.CompleteEnrolmentResponse, data)
    return expect_size(message.key_digest, DIGEST_BYTES, "key digest")
