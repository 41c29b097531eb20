"""Enrolled public keys: RLWE samples (b_m, a_m) under one ternary secret.

The client commits to its secret and to the errors first (`root`), then the server chooses a
nonce, and only then the a_m exist: a_m = XOF(identities, root, nonce, m).  So no key can be
fitted to its a_m (docs/protocol.md, section 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import kernels
from protocol.digests import Words, digest, words_digest
from protocol.encoding import Value
from protocol.errors import EnrolmentError, ParameterError
from protocol.parameters import (
    MAX_IDENTITY,
    MAX_MODULUS_BITS,
    PROTOCOL_VERSION,
    require_data_primes,
    require_words_sized,
)

ENROLMENT_NONCE_BYTES = 32
MAX_KEYS = 64


@dataclass(frozen=True)
class KeyRequest:
    """What an enrolment is for, before any randomness is drawn.

    Attributes:
        client_id, server_id: identities.
        ring_degree: N.
        moduli: the data primes the key covers.
        keys: number of public keys under the one secret, one per model output.
    """

    client_id: str
    server_id: str
    ring_degree: int
    moduli: tuple[int, ...]
    keys: int

    def __post_init__(self) -> None:
        require_words_sized(self.ring_degree, self.keys, *self.moduli)
        if not 1 <= self.keys <= MAX_KEYS:
            raise EnrolmentError(f"{self.keys} keys in one enrolment, expected 1 to {MAX_KEYS}")
        for text in (self.client_id, self.server_id):
            if not 0 < len(text) <= MAX_IDENTITY:
                raise EnrolmentError(f"identities must have 1 to {MAX_IDENTITY} characters")
        if self.ring_degree not in MAX_MODULUS_BITS:
            raise ParameterError(f"ring degree {self.ring_degree} is not supported")
        require_data_primes(self.ring_degree, self.moduli)
        bits = math.log2(math.prod(self.moduli))
        if bits > MAX_MODULUS_BITS[self.ring_degree]:
            raise ParameterError(f"log2(Q) = {bits:.1f} is outside the 128-bit table")

    def value(self) -> Value:
        """The canonical value."""
        return (
            PROTOCOL_VERSION,
            self.client_id,
            self.server_id,
            self.ring_degree,
            self.moduli,
            self.keys,
        )


@dataclass(frozen=True, eq=False)
class EnrolledKey:
    """The public keys of one client, as enrolled at one server.

    Attributes:
        request: what was asked for.
        root: the client's commitment, made before the nonce.
        nonce: the server's 32 random bytes.
        b: words (key, limb, n), NTT domain.
    """

    request: KeyRequest
    root: bytes
    nonce: bytes
    b: Words

    def __post_init__(self) -> None:
        request = self.request
        shape = (request.keys, len(request.moduli), request.ring_degree)
        if self.b.shape != shape or self.b.dtype != np.uint64:
            raise EnrolmentError(f"public key words of shape {self.b.shape}, expected {shape}")
        for limb, prime in enumerate(request.moduli):
            if (self.b[:, limb] >= np.uint64(prime)).any():
                raise EnrolmentError(f"public key has a word >= its modulus in limb {limb}")
        if len(self.root) != 32 or len(self.nonce) != ENROLMENT_NONCE_BYTES:
            raise EnrolmentError("root and nonce must have 32 bytes")

    @cached_property
    def a(self) -> Words:
        """The uniform halves a_m, words (key, limb, n), NTT domain."""
        return expand_a(self.request, self.root, self.nonce)

    @cached_property
    def digest(self) -> bytes:
        """The key's identity."""
        fields = (self.request.value(), self.root, self.nonce)
        return digest("blindproof key", (*fields, words_digest("blindproof key words", self.b)))

    def pairs(self, keys: int, limbs: int) -> Words:
        """Return (b, a) of the first keys and limbs, words (key, 2, limb, n)."""
        if keys > self.request.keys or limbs > len(self.request.moduli):
            raise EnrolmentError(
                f"this key enrolled {self.request.keys} keys over {len(self.request.moduli)} "
                f"limbs, the model needs {keys} over {limbs}: enrol again"
            )
        return np.stack([self.b[:keys, :limbs], self.a[:keys, :limbs]], axis=1)


def expand_a(request: KeyRequest, root: bytes, nonce: bytes) -> Words:
    """Return the words a (key, limb, n) that follow from commitment and nonce."""
    words = np.empty((request.keys, len(request.moduli), request.ring_degree), dtype=np.uint64)
    for key in range(request.keys):
        for limb, prime in enumerate(request.moduli):
            seed = digest("blindproof key a", (request.value(), root, nonce, key, limb))
            words[key, limb] = kernels.xof_field(seed, prime, request.ring_degree)
    return words
