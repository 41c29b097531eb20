"""The kernels against real SEAL objects, by way of TenSEAL's low-level module."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zstandard

from kernels import Modulus, NegacyclicNtt, expand_seal_seed

sealapi = pytest.importorskip("tenseal.sealapi")

N = 4096
HEADER_BYTES = 16
CIPHERTEXT_HEAD_BYTES = 73
PLAINTEXT_HEAD_BYTES = 48


def stream_body(blob, offset=0):
    """The body of one SEAL stream and the offset behind it."""
    magic, _, _, _, compression, _, size = struct.unpack_from("<HBBBBHQ", blob, offset)
    assert magic == 0xA15E
    body = bytes(blob[offset + HEADER_BYTES : offset + size])
    if compression == 2:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body, offset + size


def word_array(body, offset):
    inner, end = stream_body(body, offset)
    (count,) = struct.unpack_from("<Q", inner)
    return np.frombuffer(inner, dtype="<u8", count=count, offset=8), end


@dataclass(frozen=True)
class Seal:
    """A SEAL context, its primes, and the only way in and out of it: files."""

    context: object
    moduli: list[int]
    folder: Path

    def save(self, thing):
        path = self.folder / "saved"
        thing.save(str(path))
        return path.read_bytes()

    def load_ciphertext(self, blob):
        path = self.folder / "loaded"
        path.write_bytes(blob)
        ciphertext = sealapi.Ciphertext()
        ciphertext.load(self.context, str(path))
        return ciphertext

    def secret_key_words(self, key):
        """NTT words of the key, ``[limb, n]`` over all primes."""
        body, _ = stream_body(self.save(key))
        words, _ = word_array(body, PLAINTEXT_HEAD_BYTES)
        return np.array(words.reshape(len(self.moduli), N), dtype=np.uint64)


@pytest.fixture(scope="module")
def seal(tmp_path_factory):
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(N)
    primes = sealapi.CoeffModulus.Create(N, [54, 53])
    parameters.set_coeff_modulus(primes)
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
    return Seal(context, [prime.value() for prime in primes], tmp_path_factory.mktemp("seal"))


def test_the_transform_has_the_order_of_seal(seal):
    # The coefficients of a secret key are ternary, the same integers in every limb: a wrong root or
    # a wrong order would show as large residues.
    keys = seal.secret_key_words(sealapi.KeyGenerator(seal.context).secret_key())
    coefficients = []
    for q, key in zip(seal.moduli, keys, strict=True):
        transform = NegacyclicNtt(q, N)
        ternary = transform.inverse(key)
        assert set(ternary.tolist()) == {0, 1, q - 1}
        assert np.array_equal(transform.forward(ternary), key)
        coefficients.append(np.where(ternary == q - 1, -1, ternary.astype(np.int64)))
    assert np.array_equal(coefficients[0], coefficients[1])


def test_seed_expansion_is_that_of_seal(seal):
    secret_key = sealapi.KeyGenerator(seal.context).secret_key()
    encryptor = sealapi.Encryptor(seal.context, secret_key)
    plain = sealapi.Plaintext()
    sealapi.CKKSEncoder(seal.context).encode([0.5, -2.0], 2.0**30, plain)
    blob = seal.save(encryptor.encrypt_symmetric(plain))
    body, _ = stream_body(blob)
    first, end = word_array(body, CIPHERTEXT_HEAD_BYTES)
    generator, _ = stream_body(body, end)
    kind, seed = generator[0], generator[1:65]
    assert kind == 1  # BLAKE2Xb
    q = seal.moduli[0]
    second = expand_seal_seed(seed, [q], N)[0]
    # SEAL, loading the seeded ciphertext, expands the same words.
    loaded, _ = stream_body(seal.save(seal.load_ciphertext(blob)))
    words = word_array(loaded, CIPHERTEXT_HEAD_BYTES)[0].reshape(2, N)
    assert np.array_equal(words[0], first)
    assert np.array_equal(words[1], second)
    # And they decrypt: c0 + c1 s is the short phase of this plaintext.
    key = seal.secret_key_words(secret_key)[0]
    phase = Modulus(q).multiply_add(np.array(first, dtype=np.uint64), second, key)
    coefficients = NegacyclicNtt(q, N).inverse(phase).astype(object)
    assert max(min(x, q - x) for x in coefficients.tolist()) < 2**36
