"""CKKS with a secret key: the client's side, on TenSEAL's SEAL.

Symbols: N ring degree; L limbs, q_l their primes, Q the product; D = 2^scale_log2; t polynomials of
a ciphertext, more than two once ciphertexts were multiplied; s the ternary secret. Ciphertext words
are `(poly, limb, n)` uint64 in SEAL's NTT order, each below the modulus of its limb.

SEAL generates the key, samples the noise, encrypts and decrypts; this module moves words in and
out. TenSEAL is imported when a context is made, so importing this module costs nothing, and no
server code does even that.

Decrypted values say something of the noise, and with enough of them of the key: see
docs/protocol.md, disclosure, before letting any leave the process unrounded.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fhe_layers import rns, seal_stream, special_limb
from fhe_layers.encoding import decode_slots, slot_mantissas, slot_words
from protocol.errors import EncodingError, NonFiniteError, ParameterError, RangeError, ShapeError
from protocol.parameters import CkksParameters

MAX_POLYS = 16
"""SEAL handles no longer ciphertexts."""

_SECRET_VALUES = (-1, 0, 1)
_KERNEL_PRIME_BITS = 50  # the shortest prime the native transforms take


class CkksContext:
    """A parameter set as SEAL sees it, refused unless SEAL's own 128-bit check passes as well."""

    def __init__(self, parameters: CkksParameters) -> None:
        """Build the SEAL context. Raises ParameterError."""
        self.parameters = parameters
        self.library = importlib.import_module("tenseal.sealapi")
        literal = self.library.EncryptionParameters(self.library.SCHEME_TYPE.CKKS)
        literal.set_poly_modulus_degree(parameters.ring_degree)
        primes = (*parameters.moduli, parameters.special_modulus)
        literal.set_coeff_modulus([self.library.Modulus(prime) for prime in primes])
        self.seal = self.library.SEALContext(literal, True, self.library.SEC_LEVEL_TYPE.TC128)
        if not self.seal.parameters_set():
            raise ParameterError(
                f"SEAL refuses the parameters: {self.seal.parameters_error_message()}"
            )
        self.encoder = self.library.CKKSEncoder(self.seal)
        self.stream_version = seal_stream.stream_version(seal_stream.save(literal))

    def generate_secret(self) -> NDArray[np.int8]:
        """A fresh uniform ternary secret (N,) from SEAL's key generator.

        Every context of the same ring degree accepts it, so one secret serves both packings.
        """
        stream = seal_stream.save(self.library.KeyGenerator(self.seal).secret_key())
        degree, prime = self.parameters.ring_degree, self.parameters.moduli[0]
        words = seal_stream.read_plaintext(stream).words[:degree]
        coefficients = rns.transform(prime, degree).inverse(np.ascontiguousarray(words))
        centred = np.where(coefficients == prime - 1, -1, coefficients.astype(np.int64))
        return _checked_secret(centred.astype(np.int8), degree)

    def with_secret(self, secret: NDArray[np.int8]) -> CkksSecretContext:
        """This context able to encrypt and decrypt. Raises ShapeError, RangeError."""
        return CkksSecretContext(self, secret)


class CkksSecretContext:
    """Encryption and decryption under one ternary secret."""

    def __init__(self, context: CkksContext, secret: NDArray[np.int8]) -> None:
        """Turn the secret into SEAL's key: NTT words over every prime, the special one included."""
        self.context = context
        self.parameters = context.parameters
        degree = self.parameters.ring_degree
        polynomial = _checked_secret(secret, degree).astype(np.int64)
        primes = (*self.parameters.moduli, self.parameters.special_modulus)
        stream = seal_stream.write_plaintext(
            np.stack([_secret_limb(polynomial, prime) for prime in primes]),
            tuple(context.seal.key_parms_id()),
            1.0,
            context.stream_version,
        )
        key = context.library.SecretKey()
        seal_stream.load(key, context.seal, stream)
        self._encryptor = context.library.Encryptor(context.seal, key)
        self._decryptor = context.library.Decryptor(context.seal, key)
        self._parms_ids = _parms_ids(context)

    def encrypt_slots(self, values: NDArray[np.float64]) -> tuple[list[bytes], rns.Words]:
        """Batch packing: row k becomes one ciphertext, record r in slot r, other slots zero.

        values float64 (K, records), records <= N/2 -> K seeds of 64 bytes and c0 as NTT words (K,
        L, N).

        Raises:
            ShapeError: wrong dimensions, or more records than slots.
            NonFiniteError: a NaN or an infinity.
            RangeError: a value too large to be encoded below Q/4.
        """
        self._check_slots(values)
        parameters = self.parameters
        degree, moduli = parameters.ring_degree, parameters.moduli
        # SEAL's binding never lets go of the interpreter, the encoder's kernels do: two at a time.
        # Its first half is many short steps, each of which would wait for SEAL: so it comes first.
        mantissas = slot_mantissas(values, degree, parameters.input_scale_log2)
        with ThreadPoolExecutor(1) as pool:
            encoding = pool.submit(slot_words, mantissas, moduli)
            zeros = [self._encrypt_zero() for _ in values]
            c0 = encoding.result()
        for message, (_, mask) in zip(c0, zeros, strict=True):
            message[:] = rns.add(message, mask, moduli)
        return [seed for seed, _ in zeros], c0

    def encrypt_coefficients(self, values: Sequence[int]) -> tuple[bytes, rns.Words]:
        """Coefficient packing: integer k at X^k, exactly; |v| < Q/2, at most N of them.

        A seeded encryption of zero, to whose c0 the NTT of the plaintext is added: SEAL's encoder
        works in double precision and would round. Returns the seed of c1 and c0 as NTT words (L,
        N). Raises ShapeError, RangeError.
        """
        degree, moduli = self.parameters.ring_degree, self.parameters.moduli
        if not 0 < len(values) <= degree:
            raise ShapeError(f"coefficients: expected 1 to {degree}, found {len(values)}")
        if max(map(abs, values)) >= self.parameters.modulus // 2:
            raise RangeError("coefficients: an integer is not below half the modulus")
        plaintext = np.zeros((len(moduli), degree), dtype=np.uint64)
        for limb, prime in enumerate(moduli):
            plaintext[limb, : len(values)] = [value % prime for value in values]
        seed, c0 = self._encrypt_zero()
        return seed, rns.add(c0, rns.to_ntt(plaintext, moduli), moduli)

    def decrypt_slot_integers(self, words: rns.Words, divisor: int = 1) -> NDArray[np.object_]:
        """All N/2 slots of J ciphertexts (J, t, L', N): Python integers (J, N/2).

        They are at the scale that the ciphertexts had before a rescaling dropped primes of product
        `divisor`, and off by at most 2^-90 of the largest slot plus 1.  Raises ShapeError,
        EncodingError (non-canonical words), RangeError (divisor).
        """
        if words.ndim != 4 or not len(words):
            raise ShapeError(f"ciphertexts: expected (J, t, L, N), found {words.shape}")
        if divisor < 1:
            raise RangeError(f"divisor {divisor} is not positive")
        decrypted = [self._decrypt(ciphertext) for ciphertext in words]
        moduli = decrypted[0][1]
        return decode_slots(np.stack([row for row, _ in decrypted]), moduli, divisor)

    def decrypt_slots(
        self, words: rns.Words, scale_log2: int, divisor: int = 1
    ) -> NDArray[np.float64]:
        """All N/2 slots of one ciphertext (t, L', N) over the first L' primes, as doubles.

        The scale is exactly 2^scale_log2 / divisor, the divisor being the product of the primes a
        rescaling dropped.  For looking at answers: rounding to a double depends on the key, so what
        is to be released starts from `decrypt_slot_integers`.  Raises ShapeError, EncodingError
        (non-canonical words), RangeError (scale).
        """
        (slots,) = self.decrypt_slot_integers(words[None], divisor)
        moduli = self.parameters.moduli[: words.shape[1]]
        if not 1 < Fraction(2) ** scale_log2 / divisor < math.prod(moduli):
            raise RangeError(f"scale 2^{scale_log2} / {divisor} is not below the modulus")
        return np.array([slot / (1 << scale_log2) for slot in slots])

    def decrypt_coefficients(self, words: rns.Words, positions: Sequence[int]) -> list[int]:
        """Chosen coefficients of sum_i c_i s^i, exact and centred, of a ciphertext (t, L', N).

        Raises ShapeError, EncodingError (non-canonical words).
        """
        degree = self.parameters.ring_degree
        if not all(0 <= position < degree for position in positions):
            raise ShapeError(f"positions: every coefficient index must be below {degree}")
        coefficients, moduli = self._decrypt(words)
        return rns.centred_integers(coefficients[:, list(positions)], moduli)

    def phase(self, words: rns.Words) -> list[int]:
        """All N coefficients of sum_i c_i s^i, exact: message and noise.

        Secret material: see the warning at the top of this module.
        """
        return self.decrypt_coefficients(words, range(self.parameters.ring_degree))

    def _encrypt_zero(self) -> tuple[bytes, rns.Words]:
        """A fresh seeded encryption of zero: the seed of c1, and c0 as NTT words (L, N)."""
        return _seeded(self._encryptor.encrypt_zero_symmetric())

    def _check_slots(self, values: NDArray[np.float64]) -> None:
        if values.ndim != 2 or values.dtype != np.float64 or 0 in values.shape:
            raise ShapeError(
                f"values: expected float64 (K, records), found {values.dtype} {values.shape}"
            )
        if values.shape[1] > self.parameters.slots:
            raise ShapeError(f"{values.shape[1]} records do not fit {self.parameters.slots} slots")
        if not np.isfinite(values).all():
            raise NonFiniteError("values: NaN or infinity cannot be encrypted")
        # Slots bounded by m encode to coefficients bounded by m D; the encoder wants two bits more.
        largest = max(float(np.abs(values).max()), 1.0)
        room_log2 = self.parameters.modulus.bit_length() - 2 - self.parameters.input_scale_log2
        if math.log2(largest) >= room_log2:
            raise RangeError(f"values up to {largest:g} do not fit the modulus at this scale")

    def _decrypt(self, words: rns.Words) -> tuple[rns.Words, tuple[int, ...]]:
        """Coefficients (L', N) of sum_i c_i s^i, and the L' primes; words (t, L', N)."""
        parameters, degree = self.parameters, self.parameters.ring_degree
        if words.ndim != 3 or not 2 <= len(words) <= MAX_POLYS:
            raise ShapeError(f"ciphertext: expected (2..{MAX_POLYS}, L, N), found {words.shape}")
        limbs = words.shape[1]
        if not 1 <= limbs <= len(parameters.moduli):
            raise ShapeError(f"ciphertext: {limbs} limbs, expected 1 to {len(parameters.moduli)}")
        moduli = parameters.moduli[:limbs]
        rns.require_words(words, (len(words), limbs, degree), moduli, "ciphertext")
        # The scale is said to be 1: decryption does not use it.
        stream = seal_stream.write_ciphertext(
            words, self._parms_ids[limbs], 1.0, self.context.stream_version
        )
        ciphertext = self.context.library.Ciphertext()
        seal_stream.load(ciphertext, self.context.seal, stream)
        plaintext = self.context.library.Plaintext()
        self._decryptor.decrypt(ciphertext, plaintext)
        decrypted = seal_stream.read_plaintext(seal_stream.save(plaintext)).words
        return rns.to_coefficients(decrypted.reshape(limbs, degree), moduli), moduli


def _parms_ids(context: CkksContext) -> dict[int, seal_stream.ParmsId]:
    """SEAL's name of each level, by its number of primes."""
    found, level = {}, context.seal.first_context_data()
    for limbs in range(len(context.parameters.moduli), 0, -1):
        found[limbs] = tuple(level.parms_id())
        level = level.next_context_data()
    return found


def _seeded(serializable: seal_stream.SealObject) -> tuple[bytes, rns.Words]:
    """Seed and c0 (L, N) of a seeded ciphertext that SEAL has just made."""
    ciphertext = seal_stream.read_ciphertext(seal_stream.save(serializable))
    if ciphertext.seed is None:
        raise EncodingError("SEAL wrote a full ciphertext where a seeded one was expected")
    return ciphertext.seed, ciphertext.words[0]


def _secret_limb(secret: rns.Integers, prime: int) -> rns.Words:
    """NTT words (N,) of the secret modulo one prime of the chain."""
    if prime.bit_length() < _KERNEL_PRIME_BITS:
        return special_limb.forward_ntt(secret, prime)
    return rns.transform(prime, secret.size).forward(rns.modulus(prime).reduce_i64(secret))


def _checked_secret(secret: NDArray[np.int8], ring_degree: int) -> NDArray[np.int8]:
    if secret.dtype != np.int8 or secret.shape != (ring_degree,):
        raise ShapeError(
            f"secret: expected int8 ({ring_degree},), found {secret.dtype} {secret.shape}"
        )
    if not np.isin(secret, _SECRET_VALUES).all():
        raise RangeError("secret: every coefficient must be -1, 0 or 1")
    return secret
