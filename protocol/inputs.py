"""The K inputs of one request, from what travelled: ciphertexts, and columns in clear.

Each input is the sum of what is encrypted for it and of what everybody knows of it, an encoding m
as the trivial ciphertext (m, 0).  In a batch every input is one or the other; a single record is
one ciphertext whose coefficients are partly known.  So every statement about an answer is about K
ciphertexts, whatever of them is public.

Symbols: K inputs of the network (1 for a single record), L limbs, N ring degree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import Words, digest, words_digest
from protocol.errors import EncodingError, ShapeError
from protocol.plaintext import NO_PLAINTEXT_FIELDS, PlaintextColumns

Encoder: TypeAlias = Callable[[PlaintextColumns], Words]
"""What is known of inputs, from the columns sent in clear: NTT words (known inputs, L, N)."""


@dataclass(frozen=True, eq=False, repr=False)
class RequestInputs:
    """What a request is about.  As small as what travelled, until words are asked for.

    The encoder is the builder's affair: `fhe_layers.inputs` takes the card's, and nobody's words.

    Attributes:
        ciphertexts: what was sent encrypted.
        encrypted: the input that each of them is for, ascending.
        plaintext: what was sent in clear, None if the model has no plaintext columns.
        known_inputs: the inputs of which something is known, ascending.
        encoder: what makes it of the plaintext columns; None if nothing is known.

    Raises:
        ShapeError: the parts do not fit, or of an input there is neither.
    """

    ciphertexts: SeededCiphertexts
    encrypted: tuple[int, ...]
    plaintext: PlaintextColumns | None = None
    known_inputs: tuple[int, ...] = ()
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        places = set(self.encrypted) | set(self.known_inputs)
        ascending = all(
            tuple(sorted(set(part))) == part for part in (self.encrypted, self.known_inputs)
        )
        if not ascending or places != set(range(len(places))):
            raise ShapeError("inputs: each must be encrypted, known, or both, and listed in order")
        if len(self.encrypted) != len(self.ciphertexts.seeds):
            raise ShapeError(f"inputs: expected {len(self.encrypted)} ciphertexts")
        if self.known_inputs and (self.plaintext is None or self.encoder is None):
            raise ShapeError("inputs: some are known of plaintext columns that are not there")

    @classmethod
    def encrypted_only(cls, ciphertexts: SeededCiphertexts) -> RequestInputs:
        """The inputs of a model without plaintext columns."""
        return cls(ciphertexts, tuple(range(len(ciphertexts.seeds))))

    def compact(self) -> RequestInputs:
        """The same without the words computed so far, which weigh much more."""
        return replace(self, ciphertexts=replace(self.ciphertexts))

    @property
    def moduli(self) -> tuple[int, ...]:
        """The L primes."""
        return self.ciphertexts.moduli

    @property
    def sent_bytes(self) -> int:
        """About what these take on their way: polynomials, seeds and values."""
        seeds = sum(map(len, self.ciphertexts.seeds))
        values = 0 if self.plaintext is None else self.plaintext.values.nbytes
        return self.ciphertexts.bodies.nbytes + seeds + values

    @cached_property
    def known(self) -> Words:
        """What is known, NTT words (known inputs, L, N).

        Raises:
            ShapeError, EncodingError: the encoder made something else.
        """
        shape = (len(self.known_inputs), *self.ciphertexts.bodies.shape[1:])
        if self.plaintext is None or self.encoder is None or not self.known_inputs:
            return np.empty((0, *shape[1:]), dtype=np.uint64)
        words = self.encoder(self.plaintext)
        if words.dtype != np.uint64 or words.shape != shape:
            raise ShapeError(f"known inputs: expected uint64 words {shape}, found {words.shape}")
        for limb, prime in enumerate(self.moduli):
            if (words[:, limb] >= prime).any():
                raise EncodingError(f"known inputs: limb {limb} has a word not below {prime}")
        return words

    @cached_property
    def words(self) -> Words:
        """The inputs (K, 2, L, N)."""
        if not self.known_inputs:
            return self.ciphertexts.words
        sent = self.ciphertexts.expanded()  # not kept: all of it is in the result
        count = len(set(self.encrypted) | set(self.known_inputs))
        words = np.zeros((count, *sent.shape[1:]), dtype=np.uint64)
        words[list(self.encrypted)] = sent
        primes = np.array(self.moduli, dtype=np.uint64)[:, None]
        for index, encoding in zip(self.known_inputs, self.known, strict=True):
            total = words[index, 0] + encoding  # below 2^61: no carry is lost
            words[index, 0] = np.minimum(total, total - primes)  # which wraps if total is below
        return words

    @property
    def digest(self) -> bytes:
        """Digest of the ciphertexts as they were sent."""
        return self.ciphertexts.digest

    @property
    def plaintext_digest(self) -> bytes:
        """Salted digest of the plaintext columns."""
        return NO_PLAINTEXT_FIELDS if self.plaintext is None else self.plaintext.digest

    @cached_property
    def evaluated_digest(self) -> bytes:
        """Digest of the words that are evaluated, and of nothing else.

        Neither the salt enters it, nor raw values that are encoded alike, nor how a single record's
        first polynomial was split into a part sent and a part known: whoever sends the same words
        in another form gets the same noise (`Request.computation_digest`).  Seeds stand for second
        polynomials.
        """
        if not self.known_inputs:
            return self.ciphertexts.digest
        if set(self.encrypted).isdisjoint(self.known_inputs):
            known = words_digest("blindproof known inputs", self.known)
            return digest("blindproof inputs", (self.ciphertexts.digest, known))
        seeds = b"".join(self.ciphertexts.seeds)
        bodies = np.ascontiguousarray(self.words[:, 0])
        return digest("blindproof sums", (seeds, words_digest("blindproof sums", bodies)))
