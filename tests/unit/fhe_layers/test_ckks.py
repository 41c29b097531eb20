from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from fhe_layers import rns, seal_stream
from fhe_layers.ckks import CkksContext, CkksSecretContext, _secret_limb
from fhe_layers.encoding import encode_slots
from fhe_layers.moduli import modulus_chain
from protocol.errors import EncodingError, NonFiniteError, RangeError, ShapeError
from protocol.parameters import FRESH_NOISE_BOUND, CkksParameters
from tests.reference.expansion import expand

DEGREE = 8192


def test_importing_loads_no_tenseal() -> None:
    script = (
        "import sys, fhe_layers, fhe_layers.ckks, fhe_layers.planner, fhe_layers.sanitise\n"
        "sys.exit(any(name.split('.')[0] == 'tenseal' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_generated_secret_is_ternary_and_fresh(batch_context: CkksContext) -> None:
    first, second = batch_context.generate_secret(), batch_context.generate_secret()
    assert first.dtype == np.int8
    values, counts = np.unique(first, return_counts=True)
    assert values.tolist() == [-1, 0, 1]
    # Uniform ternary: each count is binomial(8192, 1/3), deviation 43.
    assert np.abs(counts - DEGREE / 3).max() < 8 * 43
    assert (first != second).any()


@pytest.mark.parametrize("limbs", [2, 3])
def test_the_rebuilt_key_is_seals_own_word_for_word(limbs: int) -> None:
    context = CkksContext(CkksParameters(DEGREE, *modulus_chain(DEGREE, limbs), 40))
    stream = seal_stream.save(context.library.KeyGenerator(context.seal).secret_key())
    original = seal_stream.read_plaintext(stream)
    primes = (*context.parameters.moduli, context.parameters.special_modulus)
    words = original.words.reshape(len(primes), DEGREE)
    coefficients = rns.transform(primes[0], DEGREE).inverse(np.ascontiguousarray(words[0]))
    ternary = np.where(coefficients == primes[0] - 1, -1, coefficients.astype(np.int64))
    keys = context.with_secret(ternary.astype(np.int8))
    # A ciphertext whose phase is s itself, decrypted by the key that was rebuilt.
    probe = np.zeros((2, limbs, DEGREE), dtype=np.uint64)
    probe[1] = 1
    assert keys.phase(probe) == ternary.tolist()
    rebuilt = np.stack([_secret_limb(ternary, prime) for prime in primes])
    np.testing.assert_array_equal(rebuilt, words)


@pytest.mark.parametrize(
    ("scale", "tolerance"), [(40, 1e-6), (100, 1e-12), (136, 1e-12), (139, 1e-12)]
)
@pytest.mark.parametrize("records", [1, 142, 4096])
def test_slots_round_trip(
    secret: np.ndarray, rng: np.random.Generator, scale: int, tolerance: float, records: int
) -> None:
    parameters = CkksParameters(DEGREE, *modulus_chain(DEGREE, 3), scale)
    keys = CkksContext(parameters).with_secret(secret)
    values = rng.uniform(-8, 8, (2, records))
    seeds, c0 = keys.encrypt_slots(values)
    words = expand(seeds, c0, parameters.moduli)
    assert words.shape == (2, 2, 3, DEGREE)
    for row, ciphertext in zip(values, words, strict=True):
        slots = keys.decrypt_slots(ciphertext, scale)
        assert slots.shape == (DEGREE // 2,)
        assert np.abs(slots[:records] - row).max() < tolerance
        assert np.abs(slots[records:]).max(initial=0.0) < tolerance


def test_the_same_values_encrypt_differently_each_time(batch: CkksSecretContext) -> None:
    seeds, c0 = batch.encrypt_slots(np.ones((2, 3)))
    assert seeds[0] != seeds[1]
    assert (c0[0] != c0[1]).mean() > 0.999


def test_seeded_ciphertexts_are_half_the_size_and_expand_as_seal_expands(
    batch: CkksSecretContext,
) -> None:
    context, moduli = batch.context, batch.parameters.moduli
    stream = seal_stream.save(batch._encryptor.encrypt_zero_symmetric())
    seeded = seal_stream.read_ciphertext(stream)
    assert seeded.seed is not None
    assert seeded.words.nbytes + len(seeded.seed) == len(moduli) * DEGREE * 8 + 64
    full = context.library.Ciphertext()
    seal_stream.load(full, context.seal, stream)
    expanded = seal_stream.read_ciphertext(seal_stream.save(full))
    assert expanded.words.nbytes == 2 * seeded.words.nbytes
    words = expand([seeded.seed], seeded.words, moduli)
    np.testing.assert_array_equal(words[0], expanded.words)


def test_coefficients_round_trip_with_nothing_but_fresh_noise(
    single: CkksSecretContext, rng: np.random.Generator
) -> None:
    half = single.parameters.modulus // 2
    values = [0, 1, -1, half - 100, 100 - half, 3 << 100]
    values += [int(v) << 55 for v in rng.integers(-(1 << 62), 1 << 62, 40)]
    seed, c0 = single.encrypt_coefficients(values)
    assert (len(seed), c0.shape) == (64, (2, DEGREE))
    words = expand([seed], c0[None], single.parameters.moduli)[0]
    phase = single.phase(words)
    noise = [p - v for p, v in zip(phase, values + [0] * (DEGREE - len(values)), strict=True)]
    assert max(map(abs, noise)) <= FRESH_NOISE_BOUND
    assert 10.5 * 0.9 < np.mean(np.square(noise)) < 10.5 * 1.1  # centred binomial of 21 coins
    assert single.decrypt_coefficients(words, [45, 3]) == [phase[45], phase[3]]


def test_one_secret_serves_both_packings(
    batch: CkksSecretContext, single: CkksSecretContext
) -> None:
    """A ciphertext over (q0, q1, q2) is one over (q0, q1) when its last limb is dropped."""
    seed, c0 = batch.encrypt_coefficients([12345 << 60])
    words = expand([seed], c0[None], batch.parameters.moduli)[0]
    dropped = np.ascontiguousarray(words[:, :2])
    (value,) = single.decrypt_coefficients(dropped, [0])
    assert abs(value - (12345 << 60)) <= FRESH_NOISE_BOUND


def test_another_secret_decrypts_to_noise(
    batch: CkksSecretContext, batch_context: CkksContext
) -> None:
    seed, c0 = batch.encrypt_coefficients([5])
    words = expand([seed], c0[None], batch.parameters.moduli)[0]
    stranger = batch_context.with_secret(batch_context.generate_secret())
    assert max(map(abs, stranger.phase(words))) > batch.parameters.modulus >> 10


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros(4), ShapeError),
        (np.zeros((0, 4)), ShapeError),
        (np.zeros((4, 0)), ShapeError),
        (np.zeros((1, 4097)), ShapeError),
        (np.zeros((1, 4), dtype=np.float32), ShapeError),
        (np.array([[1.0, math.nan]]), NonFiniteError),
        (np.array([[1.0, math.inf]]), NonFiniteError),
        (np.array([[-math.inf]]), NonFiniteError),
        (np.array([[2.0**78]]), RangeError),
        (np.array([[-(2.0**79)]]), RangeError),
    ],
)
def test_records_that_cannot_be_encrypted_are_refused(
    batch: CkksSecretContext, values: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        batch.encrypt_slots(values)
    assert type(caught.value) is error


def test_the_largest_value_that_is_accepted_is_encoded(batch: CkksSecretContext) -> None:
    seeds, c0 = batch.encrypt_slots(np.full((1, 4096), 2.0**78 * 0.99))
    slots = batch.decrypt_slots(expand(seeds, c0, batch.parameters.moduli)[0], 100)
    np.testing.assert_allclose(slots, 2.0**78 * 0.99, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ([], ShapeError),
        ([0] * 8193, ShapeError),
        ([1 << 119], RangeError),
        ([-(1 << 119)], RangeError),
    ],
)
def test_integers_that_cannot_be_encrypted_are_refused(
    single: CkksSecretContext, values: list[int], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        single.encrypt_coefficients(values)
    assert type(caught.value) is error


def good_words(keys: CkksSecretContext) -> np.ndarray:
    return np.zeros((2, len(keys.parameters.moduli), DEGREE), dtype=np.uint64)


@pytest.mark.parametrize("limb", [0, 1, 2])
@pytest.mark.parametrize("poly", [0, 1])
def test_a_word_that_is_not_canonical_never_reaches_the_key(
    batch: CkksSecretContext, poly: int, limb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = good_words(batch)
    words[poly, limb, 77] = batch.parameters.moduli[limb]
    monkeypatch.setattr(seal_stream, "load", lambda *_: pytest.fail("SEAL was reached"))
    with pytest.raises(EncodingError):
        batch.decrypt_slots(words, 100)
    with pytest.raises(EncodingError):
        batch.decrypt_coefficients(words, [0])


@pytest.mark.parametrize(
    "shape",
    [
        (2, 3, 4096),
        (2, 4, 8192),
        (2, 0, 8192),
        (1, 3, 8192),
        (17, 3, 8192),
        (3, 8192),
        (1, 2, 3, 8192),
    ],
)
def test_ciphertexts_of_another_shape_are_refused(
    batch: CkksSecretContext, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError):
        batch.decrypt_slots(np.zeros(shape, dtype=np.uint64), 100)
    with pytest.raises(ShapeError):
        batch.phase(np.zeros(shape, dtype=np.int64))


@pytest.mark.parametrize("polys", [2, 3, 5, 16])
@pytest.mark.parametrize("limbs", [1, 2, 3])
def test_ciphertexts_of_any_size_decrypt_at_every_level(
    batch: CkksSecretContext, secret: np.ndarray, rng: np.random.Generator, polys: int, limbs: int
) -> None:
    """The phase is sum_i c_i s^i over the primes that are left."""
    moduli = batch.parameters.moduli[:limbs]
    words = np.stack([rng.integers(0, q, (polys, DEGREE), dtype=np.uint64) for q in moduli], axis=1)
    expected = np.empty((limbs, DEGREE), dtype=np.uint64)
    for limb, q in enumerate(moduli):
        field, ntt = rns.modulus(q), rns.transform(q, DEGREE)
        key = ntt.forward(field.reduce_i64(secret.astype(np.int64)))
        total = np.zeros(DEGREE, dtype=np.uint64)
        for row in words[::-1, limb]:
            total = field.multiply_add(np.ascontiguousarray(row), total, key)
        expected[limb] = ntt.inverse(total)
    positions = rng.integers(0, DEGREE, 50).tolist()
    found = batch.decrypt_coefficients(np.ascontiguousarray(words), positions)
    assert found == rns.centred_integers(expected[:, positions], moduli)


def test_slots_of_a_rescaled_ciphertext_have_an_exact_scale(
    batch: CkksSecretContext, rng: np.random.Generator
) -> None:
    """A message 2^100 x / q over two primes, which is no power of two times x."""
    moduli = batch.parameters.moduli
    dropped = moduli[2]
    values = rng.normal(size=(1, DEGREE // 2))
    encoded = encode_slots(values, DEGREE, 139, moduli)[0]
    integers = rns.centred_integers(rns.to_coefficients(encoded, moduli), moduli)
    rescaled = [value // dropped for value in integers]
    coefficients = [[value % q for value in rescaled] for q in moduli[:2]]
    body = rns.to_ntt(np.array(coefficients, dtype=np.uint64), moduli[:2])
    words = np.stack([body, np.zeros_like(body)])
    found = batch.decrypt_slots(words, 139, dropped)
    assert np.abs(found - values[0]).max() < 2.0**-45
    assert np.abs(batch.decrypt_slots(words, 79) / found - 2.0**60 / dropped).max() < 2.0**-20
    for scale, divisor in ((139, 0), (139, -dropped), (139, 1), (59, dropped)):
        with pytest.raises(RangeError):
            batch.decrypt_slots(words, scale, divisor)


def test_scales_and_positions_out_of_range_are_refused(batch: CkksSecretContext) -> None:
    for scale in (0, -3, 180, 4000):
        with pytest.raises(RangeError):
            batch.decrypt_slots(good_words(batch), scale)
    for position in (-1, DEGREE):
        with pytest.raises(ShapeError):
            batch.decrypt_coefficients(good_words(batch), [position])


@pytest.mark.parametrize(
    ("secret", "error"),
    [
        (np.zeros(DEGREE, dtype=np.int64), ShapeError),
        (np.zeros(DEGREE // 2, dtype=np.int8), ShapeError),
        (np.full(DEGREE, 2, dtype=np.int8), RangeError),
        (np.full(DEGREE, -2, dtype=np.int8), RangeError),
    ],
)
def test_secrets_that_are_not_ternary_are_refused(
    batch_context: CkksContext, secret: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        batch_context.with_secret(secret)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("seeds", "shape", "error"),
    [
        ([b"x" * 64], (3, 64), ShapeError),
        ([b"x" * 64], (2, 3, 64), ShapeError),
        ([b"x" * 64], (1, 2, 64), ShapeError),
        ([b"x" * 63], (1, 3, 64), ShapeError),
    ],
)
def test_seeded_ciphertexts_of_the_wrong_form_are_refused(
    seeds: list[bytes], shape: tuple[int, ...], error: type[Exception]
) -> None:
    moduli = modulus_chain(DEGREE, 3)[0]
    with pytest.raises(error):
        expand(seeds, np.zeros(shape, dtype=np.uint64), moduli)


def test_a_seeded_ciphertext_with_a_word_that_is_not_canonical_is_refused() -> None:
    moduli = modulus_chain(DEGREE, 3)[0]
    c0 = np.zeros((1, 3, 64), dtype=np.uint64)
    c0[0, 2, 5] = moduli[2]
    with pytest.raises(EncodingError):
        expand([b"x" * 64], c0, moduli)
