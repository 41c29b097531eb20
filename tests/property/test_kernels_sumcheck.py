"""Whole sum-checks against sums over the hypercube."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import GramSumcheck, PowerSumcheck, ProductSumcheck, sigma_fold
from tests.property.test_kernels_extension import EXTENSION_PRIMES, limbs, stack
from tests.reference.extension import Field, elements
from tests.reference.inputs import generators, limb_words, words

sizes = st.sampled_from([1, 2, 3, 4, 5, 8, 9])
polys = st.sampled_from([1, 2, 3, 4, 5])
columns = st.sampled_from([1, 2, 3, 8, 17, 33])
shapes = st.tuples(sizes, columns)


def log2_ceil(length):
    return (length - 1).bit_length()


def table(words):
    """``[2, K, N]`` words as rows of elements."""
    return [elements(words[:, k]) for k in range(words.shape[1])]


def evaluate(field, omega, lam, factors, summand):
    """sum omega(k) lambda(n) f, factor by factor."""
    terms = []
    for k, weight in enumerate(omega):
        for n, other in enumerate(lam):
            value = summand(field, [factor[k][n] for factor in factors])
            terms.append(field.product(weight, other, value))
    return field.sum(terms)


def check(prover, moduli, tables, summands, degree):
    """Runs all rounds on every limb; the end must be the extensions at the point of challenges."""
    rng = np.random.default_rng(1)
    omega, lam, *factors = tables
    k, n = omega.shape[2], lam.shape[2]
    k_bits, n_bits = log2_ceil(k), log2_ceil(n)
    assert prover.rounds == k_bits + n_bits
    fields = [Field(q) for q in moduli]
    claims = [
        evaluate(
            field,
            elements(omega[limb]),
            elements(lam[limb]),
            [table(factor[limb]) for factor in factors],
            summands[limb],
        )
        for limb, field in enumerate(fields)
    ]
    challenges = [[] for _ in moduli]
    for _ in range(prover.rounds):
        message = prover.message()
        assert message.shape == (len(moduli), degree, 2)
        x = stack(rng, moduli, 2)
        for limb, field in enumerate(fields):
            zero, *rest = [(int(low), int(high)) for low, high in message[limb]]
            values = [zero, field.sub(claims[limb], zero), *rest]
            point = tuple(x[limb].tolist())
            claims[limb] = field.interpolate(values, point)
            challenges[limb].append(point)
        prover.bind(x)
    final = prover.final()
    assert final.shape == (len(moduli), 1 + len(factors), 2)
    for limb, field in enumerate(fields):
        rows, line = challenges[limb][:k_bits], challenges[limb][k_bits:]
        omega_end = field.extension_of(elements(omega[limb]), rows)
        lam_end = field.extension_of(elements(lam[limb]), line)
        ends = [
            field.extension_of([field.extension_of(row, line) for row in table(factor[limb])], rows)
            for factor in factors
        ]
        assert [tuple(end) for end in final[limb].tolist()] == [omega_end, *ends]
        assert claims[limb] == field.product(omega_end, lam_end, summands[limb](field, ends))


def power(coefficients):
    return lambda field, values: field.polynomial(coefficients, values[0])


def product(field, values):
    return field.mul(*values)


@given(limbs, generators(), sizes, columns, st.integers(1, 4))
@settings(max_examples=40)
def test_powers(moduli, rng, k, n, degree):
    omega, lam, h = (stack(rng, moduli, 2, *shape) for shape in ((k,), (n,), (k, n)))
    coefficients = stack(rng, moduli, degree + 1)
    prover = PowerSumcheck(moduli, omega, lam, h, coefficients)
    summands = [power(row) for row in coefficients.tolist()]
    check(prover, moduli, [omega, lam, h], summands, degree + 1)


@given(limbs, generators(), sizes, columns)
@settings(max_examples=40)
def test_squares(moduli, rng, k, n):
    omega, lam, h = (stack(rng, moduli, 2, *shape) for shape in ((k,), (n,), (k, n)))
    coefficients = np.zeros((len(moduli), 3), dtype=np.uint64)
    coefficients[:, 2] = stack(rng, moduli)
    prover = PowerSumcheck(moduli, omega, lam, h, coefficients)
    summands = [power(row) for row in coefficients.tolist()]
    check(prover, moduli, [omega, lam, h], summands, 3)


@given(limbs, generators(), shapes, polys, st.integers(1, 4))
@settings(max_examples=40)
def test_powers_of_words(moduli, rng, shape, count, degree):
    k, n = shape
    omega, lam, sigmas = (stack(rng, moduli, 2, *shape) for shape in ((k,), (n,), ()))
    tensor = limb_words(rng, moduli, k, count, n)
    coefficients = stack(rng, moduli, degree + 1)
    of_words = PowerSumcheck.of_words(moduli, omega, lam, tensor, sigmas, coefficients)
    h = sigma_fold(tensor, sigmas, moduli)
    of_elements = PowerSumcheck(moduli, omega, lam, h, coefficients)
    assert of_words.rounds == of_elements.rounds
    for _ in range(of_words.rounds):
        assert np.array_equal(of_words.message(), of_elements.message())
        x = stack(rng, moduli, 2)
        of_words.bind(x)
        of_elements.bind(x)
    assert np.array_equal(of_words.final(), of_elements.final())


@given(limbs, generators(), shapes, polys, polys)
@settings(max_examples=40)
def test_products(moduli, rng, shape, left, right):
    k, n = shape
    omega, lam, sigmas = (stack(rng, moduli, 2, *shape) for shape in ((k,), (n,), ()))
    a, b = limb_words(rng, moduli, k, left, n), limb_words(rng, moduli, k, right, n)
    prover = ProductSumcheck(moduli, omega, lam, a, b, sigmas)
    factors = [sigma_fold(tensor, sigmas, moduli) for tensor in (a, b)]
    check(prover, moduli, [omega, lam, *factors], [product] * len(moduli), 3)


def sparse(rng, k, rank):
    """A sparse matrix by rows, columns possibly repeated, and the same in full."""
    counts = rng.integers(0, 2 * rank + 1, k)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    positions = rng.integers(0, rank, indptr[-1]).astype(np.int32)
    values = rng.integers(-(2**31), 2**31, indptr[-1]).astype(np.int32)
    full = np.zeros((k, rank), dtype=object)
    for row in range(k):
        for entry in range(indptr[row], indptr[row + 1]):
            full[row, positions[entry]] += int(values[entry])
    return (indptr, positions, values), full


def with_constants(folded, constants):
    """``W[L, 2, D - 1, N]`` and one more row of constants."""
    limbs, _, _, n = folded.shape
    row = np.zeros((limbs, 2, 1, n), dtype=np.uint64)
    row[:, 0] = constants[:, None, None]
    return np.concatenate([folded, row], axis=2)


@given(limbs, generators(), shapes, st.sampled_from([0, 1, 3, 4, 5, 9]), polys)
@settings(max_examples=40)
def test_squares_of_low_rank(moduli, rng, shape, units, count):
    k, n = shape
    omega, lam, sigmas = (stack(rng, moduli, 2, *shape) for shape in ((k,), (n,), ()))
    tensor, constants = limb_words(rng, moduli, units, count, n), stack(rng, moduli)
    x = with_constants(sigma_fold(tensor, sigmas, moduli), constants)
    w, full = sparse(rng, k, units + 1)
    h = np.stack(
        [
            [full @ component.astype(object) % q for component in rows]
            for rows, q in zip(x, moduli, strict=True)
        ]
    ).astype(np.uint64)
    prover = GramSumcheck(moduli, omega, lam, tensor, sigmas, constants, *w)
    summands = [power([0, 0, 1])] * len(moduli)
    check(prover, moduli, [omega, lam, h], summands, 3)


@pytest.mark.parametrize("n", [1500, 2048])
def test_gram_and_power_agree_across_tasks(n):
    rng = np.random.default_rng(n)
    moduli, k, rank = [EXTENSION_PRIMES[0], EXTENSION_PRIMES[-1]], 9, 40
    omega, lam = stack(rng, moduli, 2, k), stack(rng, moduli, 2, n)
    tensor = np.stack([rng.integers(q - 5, q, (rank - 1, 2, n), dtype=np.uint64) for q in moduli])
    tensor = np.ascontiguousarray(np.moveaxis(tensor, 0, 2))
    # The two polynomials are the components of an element.
    sigmas = np.array([[0, 1]] * 2, dtype=np.uint64)
    constants = np.array([q - 1 for q in moduli], dtype=np.uint64)
    x = with_constants(sigma_fold(tensor, sigmas, moduli), constants)
    assert np.array_equal(x[:, 1, :-1], np.moveaxis(tensor[:, 1], 1, 0))
    w, full = sparse(rng, k, rank)
    h = np.stack(
        [full @ c.astype(object) % q for rows, q in zip(x, moduli, strict=True) for c in rows]
    )
    h = h.astype(np.uint64).reshape(2, 2, k, n)
    square = np.array([[0, 0, 1]] * 2, dtype=np.uint64)
    units = np.ascontiguousarray(h.transpose(2, 1, 0, 3))
    # The same polynomial, evaluated as one of degree 3.
    cubic = np.array([[0, 0, 1, 0]] * 2, dtype=np.uint64)
    provers = (
        GramSumcheck(moduli, omega, lam, tensor, sigmas, constants, *w),
        PowerSumcheck(moduli, omega, lam, h, square),
        PowerSumcheck.of_words(moduli, omega, lam, units, sigmas, square),
        ProductSumcheck(moduli, omega, lam, units, units, sigmas),
        PowerSumcheck(moduli, omega, lam, h, cubic),
    )
    for _ in range(provers[0].rounds):
        wanted = provers[1].message()
        for prover in provers:
            assert np.array_equal(prover.message()[:, :3], wanted)
        point = stack(rng, moduli, 2)
        for prover in provers:
            prover.bind(point)
    for prover in provers:
        assert np.array_equal(prover.final()[:, :2], provers[1].final())


def test_calls_out_of_turn():
    q = EXTENSION_PRIMES[1]
    one = np.ones((1, 2, 1), dtype=np.uint64)
    lam = np.ones((1, 2, 2), dtype=np.uint64)
    h = np.ones((1, 2, 1, 2), dtype=np.uint64)
    tensor = np.ones((1, 1, 1, 2), dtype=np.uint64)
    w = (np.array([0, 1]), np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int32))
    point = np.zeros((1, 2), dtype=np.uint64)
    for prover in (
        PowerSumcheck([q], one, lam, h, np.ones((1, 3), dtype=np.uint64)),
        PowerSumcheck.of_words([q], one, lam, tensor, point, np.ones((1, 3), dtype=np.uint64)),
        ProductSumcheck([q], one, lam, tensor, tensor, point),
        GramSumcheck([q], one, lam, tensor, point, np.ones(1, dtype=np.uint64), *w),
    ):
        with pytest.raises(RuntimeError, match="rounds are left"):
            prover.final()
        prover.bind(point)
        with pytest.raises(RuntimeError, match="all rounds are over"):
            prover.message()
        with pytest.raises(RuntimeError, match="all rounds are over"):
            prover.bind(point)
        assert prover.final().shape[0] == 1
    short = tensor[..., :1].copy()
    nothing_to_bind = ProductSumcheck([q], one, one, short, short, point)
    assert nothing_to_bind.rounds == 0
    assert nothing_to_bind.final().tolist() == [[[1, 1], [1, 0], [1, 0]]]


def test_refused_arguments():
    q = EXTENSION_PRIMES[1]
    zeros = lambda *shape: np.zeros(shape, dtype=np.uint64)  # noqa: E731
    omega, lam, h, square = zeros(1, 2, 3), zeros(1, 2, 4), zeros(1, 2, 3, 4), zeros(1, 3)
    tensor, rows, sigmas = zeros(3, 2, 1, 4), zeros(4, 2, 1, 4), zeros(1, 2)
    of_words = PowerSumcheck.of_words
    indptr = np.array([0, 1, 1, 2])
    positions, values = np.zeros(2, dtype=np.int32), np.zeros(2, dtype=np.int32)

    def gram(**changes):
        arguments = {
            "moduli": [q],
            "omega": omega,
            "lam": lam,
            "words": rows,
            "sigmas": sigmas,
            "constants": zeros(1),
            "indptr": indptr,
            "columns": positions,
            "values": values,
        }
        return GramSumcheck(**(arguments | changes))

    assert gram().rounds == 4
    for message, call in (
        ("moduli: expected at least one", lambda: PowerSumcheck([], omega, lam, h, square)),
        ("omega: expected shape", lambda: PowerSumcheck([q, q], omega, lam, h, square)),
        ("h: expected shape", lambda: PowerSumcheck([q], lam, omega, h, square)),
        (
            "omega: expected at least one",
            lambda: PowerSumcheck([q], zeros(1, 2, 0), lam, zeros(1, 2, 0, 4), square),
        ),
        ("lam: expected words below", lambda: PowerSumcheck([q], omega, lam + q, h, square)),
        ("h: expected words below", lambda: PowerSumcheck([q], omega, lam, h + q, square)),
        ("coefficients: expected 2 to 5", lambda: PowerSumcheck([q], omega, lam, h, zeros(1, 1))),
        ("coefficients: expected 2 to 5", lambda: PowerSumcheck([q], omega, lam, h, zeros(1, 6))),
        ("coefficients: expected shape", lambda: PowerSumcheck([q], omega, lam, h, zeros(2, 3))),
        (
            r"words: expected shape \[3, 2, 1, 4\], found shape \[4, 2, 1, 4\]",
            lambda: of_words([q], omega, lam, rows, sigmas, square),
        ),
        ("words: expected 4 axes", lambda: of_words([q], omega, lam, lam, sigmas, square)),
        (
            "words: expected words below",
            lambda: of_words([q], omega, lam, tensor + q, sigmas, square),
        ),
        (
            "sigmas: expected words below",
            lambda: of_words([q], omega, lam, tensor, sigmas + q, square),
        ),
        ("sigmas: expected shape", lambda: of_words([q], omega, lam, tensor, zeros(2, 2), square)),
        (
            "moduli: expected 1 moduli",
            lambda: of_words(
                [q, q], zeros(2, 2, 3), zeros(2, 2, 4), tensor, zeros(2, 2), zeros(2, 3)
            ),
        ),
        (
            "coefficients: expected 2 to 5",
            lambda: of_words([q], omega, lam, tensor, sigmas, zeros(1, 1)),
        ),
        ("b: expected shape", lambda: ProductSumcheck([q], omega, lam, tensor, rows, sigmas)),
        ("a: expected shape", lambda: ProductSumcheck([q], omega, lam, rows, tensor, sigmas)),
        (
            "b: expected words below",
            lambda: ProductSumcheck([q], omega, lam, tensor, tensor + q, sigmas),
        ),
        ("words: expected shape", lambda: gram(words=zeros(4, 2, 1, 8))),
        ("words: expected words below", lambda: gram(words=rows + q)),
        ("constants: expected shape", lambda: gram(constants=zeros(2))),
        ("constants: expected words below", lambda: gram(constants=zeros(1) + q)),
        ("indptr: expected shape", lambda: gram(indptr=indptr[1:].copy())),
        ("indptr: expected ascending", lambda: gram(indptr=np.array([0, 2, 1, 2]))),
        ("indptr: expected ascending", lambda: gram(indptr=np.array([0, 1, 1, 1]))),
        ("indptr: expected ascending", lambda: gram(indptr=np.array([1, 1, 1, 2]))),
        ("indptr: expected indices", lambda: gram(indptr=np.array([0, -1, 1, 2]))),
        ("columns: expected indices", lambda: gram(columns=positions + np.int32(5))),
        ("columns: expected indices", lambda: gram(columns=positions - np.int32(1))),
        ("values: expected shape", lambda: gram(values=values[:1])),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    prover = ProductSumcheck([q], omega, lam, tensor, tensor, sigmas)
    for message, challenge in (
        ("x: expected shape", zeros(2)),
        ("x: expected words below", np.full((1, 2), q, dtype=np.uint64)),
    ):
        with pytest.raises(ValueError, match=message):
            prover.bind(challenge)


def test_arguments_are_copied():
    rng = np.random.default_rng(5)
    q = EXTENSION_PRIMES[1]
    omega, lam, sigmas = (stack(rng, [q], 2, *shape) for shape in ((2,), (4,), ()))
    tensor = limb_words(rng, [q], 2, 3, 4)
    prover = ProductSumcheck([q], omega, lam, tensor, tensor, sigmas)
    before = prover.message()
    for argument in (omega, lam, tensor, sigmas):
        argument[:] = words(rng, q, *argument.shape)
    assert np.array_equal(prover.message(), before)
