from __future__ import annotations

import math

import numpy as np
import pytest

from fhe_layers import rns, sampling, sanitise
from fhe_layers.ckks import CkksSecretContext
from fhe_layers.layers import linear
from fhe_layers.moduli import ntt_primes
from fhe_layers.packing import SingleRecordLayout
from protocol.bounds import linear_bounds
from protocol.errors import ParameterError, ShapeError
from protocol.parameters import Packing
from tests.reference.expansion import expand

DEGREE = 8192
SEED = bytes(range(32))
MODULI = ntt_primes(DEGREE, 60, 2)


def signed(wide: np.ndarray) -> list[int]:
    """Two's complement (count, 2) to Python integers."""
    return [
        int.from_bytes(
            int(low).to_bytes(8, "little") + int(high).to_bytes(8, "little"), "little", signed=True
        )
        for low, high in wide
    ]


def public_keys(secret: np.ndarray, moduli: tuple[int, ...], count: int) -> np.ndarray:
    """Well-formed keys (count, 2, L, N): b = e - a s with e in [-16, 15]."""
    rng = np.random.default_rng(9)
    ternary = secret.astype(np.int64)
    keys = np.empty((count, 2, len(moduli), secret.size), dtype=np.uint64)
    for key in keys:
        error = rng.integers(-16, 16, secret.size)
        for limb, q in enumerate(moduli):
            field, ntt = rns.modulus(q), rns.transform(q, secret.size)
            key[1, limb] = rng.integers(0, q, secret.size, dtype=np.uint64)
            product = field.mul(key[1, limb], ntt.forward(field.reduce_i64(ternary)))
            key[0, limb] = field.sub(ntt.forward(field.reduce_i64(error)), product)
    return keys


def random_words(shape: tuple[int, ...], moduli: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    words = np.empty(shape, dtype=np.uint64)
    for limb, q in enumerate(moduli):
        words[..., limb, :] = rng.integers(0, q, (*shape[:-2], shape[-1]), dtype=np.uint64)
    return words


@pytest.mark.parametrize("flooding", [1, 40, 63, 64, 65, 80, 93, 112])
def test_flooding_fills_its_range_and_no_more(flooding: int) -> None:
    noise = signed(sampling.flooding(SEED, 4096, flooding))
    half = 1 << flooding
    assert min(noise) >= -half
    assert max(noise) < half
    assert min(noise) < -half // 2 or flooding == 1
    assert max(noise) >= half // 2
    # The lowest and the highest drawn bit are fair coins: 4096 of them deviate by 32.
    assert abs(sum(x & 1 for x in noise) - 2048) < 8 * 32
    assert abs(sum(x >= 0 for x in noise) - 2048) < 8 * 32
    assert len(set(noise)) == (4 if flooding == 1 else 4096)


def test_ternary_and_binomial_noise_have_their_distributions() -> None:
    ternary = sampling.ternary(SEED, 30000)
    values, counts = np.unique(ternary, return_counts=True)
    assert values.tolist() == [-1, 0, 1]
    assert np.abs(counts - 10000).max() < 8 * 82
    binomial = sampling.binomial(SEED, b"e1", 30000)
    assert np.abs(binomial).max() <= 21
    assert abs(binomial.mean()) < 8 * 3.24 / 30000**0.5
    assert abs(binomial.var() / 10.5 - 1) < 0.1


def test_noise_follows_from_the_seed_alone_and_its_parts_are_independent() -> None:
    words, keys = random_words((2, 2, 2, 64), MODULI, 1), random_words((2, 2, 2, 64), MODULI, 2)
    first, again, other = (
        sanitise.sanitise_batch(words, keys, seed, flooding_log2=60, moduli=MODULI)
        for seed in (SEED, SEED, SEED[::-1])
    )
    np.testing.assert_array_equal(first.outputs, again.outputs)
    np.testing.assert_array_equal(first.noise.e0, again.noise.e0)
    assert (first.noise.u != other.noise.u).any()
    assert (first.noise.e0 != other.noise.e0).any()
    assert (first.noise.e1 != other.noise.e1).any()
    assert (first.noise.e0[0] != first.noise.e0[1]).any()
    assert (first.noise.e1[0] != first.noise.e1[1]).any()
    streams = {sampling.stream(SEED, label, 64) for label in (b"u", b"e0", b"e1")}
    assert len(streams) == 3


def test_a_sanitised_batch_satisfies_the_relation() -> None:
    """Y' - Y - pk V u is the transform of the very integers handed to the prover."""
    degree = 64
    words = random_words((3, 2, 2, degree), MODULI, 3)
    keys = random_words((3, 2, 2, degree), MODULI, 4)
    result = sanitise.sanitise_batch(words, keys, SEED, flooding_log2=93, moduli=MODULI)
    for limb, q in enumerate(MODULI):
        ntt = rns.transform(q, degree)
        ephemeral = ntt.forward(np.array([x % q for x in result.noise.u.tolist()], dtype=np.uint64))
        for j in range(3):
            errors = (signed(result.noise.e0[j]), result.noise.e1[j].tolist())
            for p in range(2):
                difference = np.array(
                    [
                        (y1 - y - k * u) % q
                        for y1, y, k, u in zip(
                            result.outputs[j, p, limb].tolist(),
                            words[j, p, limb].tolist(),
                            keys[j, p, limb].tolist(),
                            ephemeral.tolist(),
                            strict=True,
                        )
                    ],
                    dtype=np.uint64,
                )
                assert ntt.inverse(difference).tolist() == [e % q for e in errors[p]]


def test_results_printed_by_accident_show_no_noise() -> None:
    words = random_words((1, 2, 2, 64), MODULI, 1)
    result = sanitise.sanitise_batch(words, words, SEED, flooding_log2=60, moduli=MODULI)
    for text in (repr(result), repr(result.noise)):
        assert "array" not in text


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_sanitised_record_satisfies_the_relation(outputs: int) -> None:
    degree, scale = 64, 70
    layout = SingleRecordLayout(degree, 7, outputs)
    words, key = random_words((2, 2, degree), MODULI, 5), random_words((2, 2, degree), MODULI, 6)
    bias = np.array([32767, -5, 0][:outputs])
    result = sanitise.sanitise_single(
        words,
        key,
        bias,
        SEED,
        layout=layout,
        input_scale_log2=scale,
        flooding_log2=80,
        moduli=MODULI,
    )
    assert (result.body.shape, result.mask.shape) == ((outputs, 2), (2, degree))
    assert all(-(1 << 80) <= e < 1 << 80 for e in result.noise.e0)
    for limb, q in enumerate(MODULI):
        ntt = rns.transform(q, degree)
        ephemeral = ntt.forward(np.array([x % q for x in result.noise.u.tolist()], dtype=np.uint64))
        hidden = [
            [(y + k * u) % q for y, k, u in zip(*rows, strict=True)]
            for rows in (
                (words[p, limb].tolist(), key[p, limb].tolist(), ephemeral.tolist())
                for p in range(2)
            )
        ]
        first = ntt.inverse(np.array(hidden[0], dtype=np.uint64)).tolist()
        expected = [
            (first[7 * j] + (int(bias[j]) << scale) + result.noise.e0[j]) % q
            for j in range(outputs)
        ]
        assert result.body[:, limb].tolist() == expected
        difference = [
            (y - h) % q for y, h in zip(result.mask[limb].tolist(), hidden[1], strict=True)
        ]
        errors = ntt.inverse(np.array(difference, dtype=np.uint64)).tolist()
        assert errors == [e % q for e in result.noise.e1.tolist()]


def test_a_sanitised_batch_decrypts_within_the_stated_bound(
    batch: CkksSecretContext, secret: np.ndarray, rng: np.random.Generator
) -> None:
    moduli, scale = batch.parameters.moduli, batch.parameters.input_scale_log2
    values = rng.uniform(-1, 1, (5, 100))
    weights, bias = rng.integers(-1000, 1000, (2, 5)), np.array([700, -3])
    outputs = linear.evaluate_batch(
        expand(*batch.encrypt_slots(values), moduli),
        weights,
        bias,
        input_scale_log2=scale,
        moduli=moduli,
    )
    keys = public_keys(secret, moduli, 2)
    result = sanitise.sanitise_batch(outputs, keys, SEED, flooding_log2=60, moduli=moduli)
    bounds = linear_bounds(
        batch.parameters,
        Packing.BATCH,
        outputs=2,
        row_l1_bound=1 << 13,
        input_bound=1.0,
        flooding_log2=60,
    )
    for row, constant, words in zip(weights, bias, result.outputs, strict=True):
        slots = batch.decrypt_slots(words, scale + 15)[:100]
        error = np.abs(slots - (row @ values + constant) / 2.0**15).max() * 2.0 ** (scale + 15)
        assert error < bounds.error
        assert error > 2.0**60  # the flooding is really there


def test_a_sanitised_record_decrypts_to_the_model_plus_its_flooding(
    single: CkksSecretContext, secret: np.ndarray, rng: np.random.Generator
) -> None:
    moduli, scale = single.parameters.moduli, single.parameters.input_scale_log2
    layout = SingleRecordLayout(DEGREE, 30, 4)
    weights, bias = rng.integers(-32767, 32768, (4, 30)), rng.integers(-32767, 32768, 4)
    values = [int(v) << 20 for v in rng.integers(-(1 << 40), 1 << 40, 30)]
    seed, c0 = single.encrypt_coefficients(values)
    output = linear.evaluate_single(
        expand([seed], c0[None], moduli)[0], weights, layout=layout, moduli=moduli
    )
    (key,) = public_keys(secret, moduli, 1)
    result = sanitise.sanitise_single(
        output,
        key,
        bias,
        SEED,
        layout=layout,
        input_scale_log2=scale,
        flooding_log2=50,
        moduli=moduli,
    )
    words = layout.response_ciphertext(result.body, result.mask, moduli)
    decrypted = single.decrypt_coefficients(words, layout.output_positions.tolist())
    unexplained = [
        value - sum(w * x for w, x in zip(row, values, strict=True)) - (constant << scale) - flood
        for value, row, constant, flood in zip(
            decrypted, weights.tolist(), bias.tolist(), result.noise.e0, strict=True
        )
    ]
    # What remains is input noise times weights and the key's error times u: small and not zero.
    assert 0 < max(map(abs, unexplained)) < 21 * 30 * 32768 + DEGREE * (16 + 21 + 1)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    words = np.zeros((1, 2, 2, 64), dtype=np.uint64)
    with pytest.raises(ParameterError):
        sanitise.sanitise_batch(words, words, seed, flooding_log2=60, moduli=MODULI)


@pytest.mark.parametrize("flooding", [-1, 0, 113, 128])
def test_flooding_outside_the_provable_range_is_refused(flooding: int) -> None:
    words = np.zeros((1, 2, 2, 64), dtype=np.uint64)
    with pytest.raises(ParameterError):
        sanitise.sanitise_batch(words, words, SEED, flooding_log2=flooding, moduli=MODULI)


def test_arrays_that_do_not_fit_are_refused() -> None:
    words = np.zeros((1, 2, 2, 64), dtype=np.uint64)
    for outputs, keys in (
        (words, words[:, :1]),
        (words, np.zeros((2, 2, 2, 64), dtype=np.uint64)),
        (words[0], words[0]),
        (words[:, :, :1], words[:, :, :1]),
        (words.astype(np.int64), words),
    ):
        with pytest.raises(ShapeError):
            sanitise.sanitise_batch(outputs, keys, SEED, flooding_log2=60, moduli=MODULI)
    layout = SingleRecordLayout(64, 7, 2)
    for output, key, bias in (
        (words[0, :, :1], words[0], np.zeros(2, dtype=np.int64)),
        (words[0], words[0, :1], np.zeros(2, dtype=np.int64)),
        (words[0], words[0], np.zeros(1, dtype=np.int64)),
    ):
        with pytest.raises(ShapeError):
            sanitise.sanitise_single(
                output,
                key,
                bias,
                SEED,
                layout=layout,
                input_scale_log2=40,
                flooding_log2=60,
                moduli=MODULI,
            )


@pytest.mark.parametrize("bound", [1, 40, 58, 59, 60, 93, 118, 119, 120, 150, 240])
def test_wide_noise_fills_its_range_and_no_more(bound: int) -> None:
    pieces = sampling.wide_uniform(SEED, b"e0", 4096, bound)
    assert [factor for factor, _ in pieces] == [1 << 60 * k for k in range(len(pieces))]
    noise = integers(pieces)
    half = 1 << bound
    assert min(noise) >= -half
    assert max(noise) < half
    assert min(noise) < -half // 2 or bound == 1
    assert max(noise) >= half // 2
    # The lowest and the highest drawn bit are fair coins: 4096 of them deviate by 32.
    assert abs(sum(x & 1 for x in noise) - 2048) < 8 * 32
    assert abs(sum(x >= 0 for x in noise) - 2048) < 8 * 32
    assert len(set(noise)) == (4 if bound == 1 else 4096)


def integers(pieces: sanitise.Pieces) -> list[int]:
    """The integers that pieces stand for."""
    columns = zip(*(values.tolist() for _, values in pieces), strict=True)
    factors = [factor for factor, _ in pieces]
    return [sum(f * v for f, v in zip(factors, column, strict=True)) for column in columns]


@pytest.mark.parametrize(
    ("outputs", "polys", "limbs", "dropped", "flooding"),
    [(1, 3, 3, 0, 93), (2, 2, 1, 0, 40), (2, 4, 4, 1, 119), (1, 5, 6, 2, 150), (1, 3, 6, 3, 60)],
)
def test_a_sanitised_network_satisfies_the_relation_in_integers(
    *, outputs: int, polys: int, limbs: int, dropped: int, flooding: int
) -> None:
    """P Y'' = Y + P (keys u) + error modulo Q, as polynomials with integer coefficients."""
    degree, moduli = 32, ntt_primes(DEGREE, 60, limbs)
    words = random_words((outputs, polys, limbs, degree), moduli, 5)
    keys = random_words((outputs * (polys - 1), 2, limbs, degree), moduli, 6)
    result = sanitise.sanitise_network(
        words, keys, SEED, flooding_log2=flooding, dropped_limbs=dropped, moduli=moduli
    )
    kept = moduli[: limbs - dropped]
    divisor = math.prod(moduli[limbs - dropped :])
    modulus = math.prod(moduli)
    assert result.outputs.shape == (outputs, polys, len(kept), degree)
    assert len(result.noise.errors) == polys
    assert set(result.noise.u.tolist()) <= {-1, 0, 1}
    for power, pieces in enumerate(result.noise.errors):
        errors = integers(pieces)
        bound = divisor * ((1 << flooding) if power == 0 else 21) + divisor // 2
        assert len(errors) == outputs * degree
        assert max(map(abs, errors)) <= bound
        for j in range(outputs):
            total = coefficients(words[j, power], moduli)
            hidden = [0] * degree
            if power < polys - 1:
                hidden = multiply(keys[j * (polys - 1) + power, 0], result.noise.u, moduli)
            if power > 0:
                other = multiply(keys[j * (polys - 1) + power - 1, 1], result.noise.u, moduli)
                hidden = [a + b for a, b in zip(hidden, other, strict=True)]
            answers = coefficients(result.outputs[j, power], kept)
            mine = errors[j * degree :][:degree]
            for answer, y, key, error in zip(answers, total, hidden, mine, strict=True):
                assert (divisor * answer - y - divisor * key - error) % modulus == 0


def coefficients(words: np.ndarray, moduli: tuple[int, ...]) -> list[int]:
    return rns.centred_integers(rns.to_coefficients(words, moduli), moduli)


def multiply(words: np.ndarray, u: np.ndarray, moduli: tuple[int, ...]) -> list[int]:
    """The product with u in Z[X]/(X^n + 1), over the integers, by the definition."""
    left, degree = coefficients(words, moduli), len(u)
    product = [0] * degree
    for i, a in enumerate(left):
        for k, b in enumerate(u.tolist()):
            product[(i + k) % degree] += a * b if i + k < degree else -a * b
    return product


def test_the_noise_of_a_network_follows_from_the_seed_and_its_parts_are_independent() -> None:
    words, keys = random_words((2, 3, 2, 64), MODULI, 1), random_words((4, 2, 2, 64), MODULI, 2)
    first, again, other = (
        sanitise.sanitise_network(
            words, keys, seed, flooding_log2=60, dropped_limbs=0, moduli=MODULI
        )
        for seed in (SEED, SEED, SEED[::-1])
    )
    np.testing.assert_array_equal(first.outputs, again.outputs)
    assert (first.noise.u != other.noise.u).any()
    drawn = [integers(pieces) for pieces in first.noise.errors]
    for mine, theirs in zip(drawn, other.noise.errors, strict=True):
        assert mine != integers(theirs)
        assert mine[:64] != mine[64:]
    assert drawn[1] != drawn[2]
    for text in (repr(first), repr(first.noise)):
        assert "array" not in text


def test_networks_that_cannot_be_sanitised_are_refused() -> None:
    words, keys = random_words((2, 3, 2, 64), MODULI, 1), random_words((4, 2, 2, 64), MODULI, 2)

    def run(words: np.ndarray, keys: np.ndarray, flooding: int = 60, dropped: int = 0) -> None:
        sanitise.sanitise_network(
            words, keys, SEED, flooding_log2=flooding, dropped_limbs=dropped, moduli=MODULI
        )

    run(words, keys)
    for bad in (words[:1], words[:, :1], words[:, :, :1], words[0], words.astype(np.int64)):
        with pytest.raises(ShapeError):
            run(bad, keys)
    for bad in (keys[:3], keys[:, :1], keys[:, :, :1], keys.astype(np.int64)):
        with pytest.raises(ShapeError):
            run(words, bad)
    for dropped in (-1, 2):
        with pytest.raises(ParameterError):
            run(words, keys, dropped=dropped)
    for flooding in (0, -1, 241):
        with pytest.raises(ParameterError):
            run(words, keys, flooding)
