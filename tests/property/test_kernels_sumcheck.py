"""Whole sum-checks against sums over the hypercube."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import GramSumcheck, PowerSumcheck, ProductSumcheck
from tests.property.test_kernels_extension import EXTENSION_PRIMES, limbs, stack
from tests.reference.extension import Field, elements
from tests.reference.inputs import generators, words

sizes = st.sampled_from([1, 2, 3, 4, 5, 8, 9])
columns = st.sampled_from([1, 2, 3, 8, 17, 33])


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


@given(limbs, generators(), sizes, columns)
@settings(max_examples=40)
def test_products(moduli, rng, k, n):
    omega, lam = stack(rng, moduli, 2, k), stack(rng, moduli, 2, n)
    a, b = stack(rng, moduli, 2, k, n), stack(rng, moduli, 2, k, n)
    prover = ProductSumcheck(moduli, omega, lam, a, b)
    check(prover, moduli, [omega, lam, a, b], [product] * len(moduli), 3)


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


@given(limbs, generators(), sizes, columns, st.sampled_from([1, 3, 4, 5, 9]))
@settings(max_examples=40)
def test_squares_of_low_rank(moduli, rng, k, n, rank):
    omega, lam = stack(rng, moduli, 2, k), stack(rng, moduli, 2, n)
    x = stack(rng, moduli, 2, rank, n)
    w, full = sparse(rng, k, rank)
    h = np.stack(
        [
            [full @ component.astype(object) % q for component in rows]
            for rows, q in zip(x, moduli, strict=True)
        ]
    ).astype(np.uint64)
    prover = GramSumcheck(moduli, omega, lam, x, *w)
    summands = [power([0, 0, 1])] * len(moduli)
    check(prover, moduli, [omega, lam, h], summands, 3)


@pytest.mark.parametrize("n", [1500, 2048])
def test_gram_and_power_agree_across_tasks(n):
    rng = np.random.default_rng(n)
    moduli, k, rank = [EXTENSION_PRIMES[0], EXTENSION_PRIMES[-1]], 9, 40
    omega, lam = stack(rng, moduli, 2, k), stack(rng, moduli, 2, n)
    x = np.stack([rng.integers(q - 5, q, (2, rank, n), dtype=np.uint64) for q in moduli])
    w, full = sparse(rng, k, rank)
    h = np.stack(
        [full @ c.astype(object) % q for rows, q in zip(x, moduli, strict=True) for c in rows]
    )
    h = h.astype(np.uint64).reshape(2, 2, k, n)
    square = np.array([[0, 0, 1]] * 2, dtype=np.uint64)
    # The same polynomial, evaluated as one of degree 3.
    cubic = np.array([[0, 0, 1, 0]] * 2, dtype=np.uint64)
    provers = (
        GramSumcheck(moduli, omega, lam, x, *w),
        PowerSumcheck(moduli, omega, lam, h, square),
        ProductSumcheck(moduli, omega, lam, h, h),
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
    w = (np.array([0, 1]), np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int32))
    point = np.zeros((1, 2), dtype=np.uint64)
    for prover in (
        PowerSumcheck([q], one, lam, h, np.ones((1, 3), dtype=np.uint64)),
        ProductSumcheck([q], one, lam, h, h),
        GramSumcheck([q], one, lam, h, *w),
    ):
        with pytest.raises(RuntimeError, match="rounds are left"):
            prover.final()
        prover.bind(point)
        with pytest.raises(RuntimeError, match="all rounds are over"):
            prover.message()
        with pytest.raises(RuntimeError, match="all rounds are over"):
            prover.bind(point)
        assert prover.final().shape[0] == 1
    nothing_to_bind = ProductSumcheck([q], one, one, h[..., :1].copy(), h[..., :1].copy())
    assert nothing_to_bind.rounds == 0
    assert nothing_to_bind.final().tolist() == [[[1, 1]] * 3]


def test_refused_arguments():
    q = EXTENSION_PRIMES[1]
    zeros = lambda *shape: np.zeros(shape, dtype=np.uint64)  # noqa: E731
    omega, lam, h, x = zeros(1, 2, 3), zeros(1, 2, 4), zeros(1, 2, 3, 4), zeros(1, 2, 5, 4)
    square = zeros(1, 3)
    indptr = np.array([0, 1, 1, 2])
    positions, values = np.zeros(2, dtype=np.int32), np.zeros(2, dtype=np.int32)

    def gram(**changes):
        arguments = {
            "moduli": [q],
            "omega": omega,
            "lam": lam,
            "x": x,
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
        ("b: expected shape", lambda: ProductSumcheck([q], omega, lam, h, x)),
        ("b: expected words below", lambda: ProductSumcheck([q], omega, lam, h, h + q)),
        ("x: expected at least one row", lambda: gram(x=zeros(1, 2, 0, 4))),
        ("x: expected shape", lambda: gram(x=zeros(1, 2, 5, 8))),
        ("x: expected words below", lambda: gram(x=x + q)),
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
    prover = ProductSumcheck([q], omega, lam, h, h)
    for message, challenge in (
        ("x: expected shape", zeros(2)),
        ("x: expected words below", np.full((1, 2), q, dtype=np.uint64)),
    ):
        with pytest.raises(ValueError, match=message):
            prover.bind(challenge)


def test_arguments_are_copied():
    rng = np.random.default_rng(5)
    q = EXTENSION_PRIMES[1]
    omega, lam, h = (stack(rng, [q], 2, *shape) for shape in ((2,), (4,), (2, 4)))
    prover = ProductSumcheck([q], omega, lam, h, h)
    before = prover.message()
    for argument in (omega, lam, h):
        argument[:] = words(rng, q, *argument.shape)
    assert np.array_equal(prover.message(), before)
