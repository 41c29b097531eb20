"""The row code against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels import ReedSolomon
from tests.reference.inputs import PRIMES, generators, primes, words
from tests.reference.reed_solomon import Code, evaluate


def lists(array):
    return [[int(word) for word in row] for row in array]


def column(array):
    return [int(word) for word in array]


@st.composite
def codes(draw):
    """A compiled code and its twin; ``t`` may exceed ``l``, and rates vary."""
    q = draw(primes)
    l = draw(st.sampled_from([1, 2, 4, 8]))
    n = draw(st.sampled_from([16, 32, 64]))
    t = draw(st.integers(0, 12))
    assume(l + t <= n)
    return ReedSolomon(q, l, t, n), Code(q, l, t, n)


@given(codes(), generators(), st.integers(0, 3))
def test_encode_and_evaluate(pair, rng, rows):
    code, twin = pair
    messages, randomness = words(rng, twin.q, rows, twin.l), words(rng, twin.q, rows, twin.t)
    coefficients, codewords = code.encode(messages, randomness)
    wanted = [
        twin.encode(message, random)
        for message, random in zip(lists(messages), lists(randomness), strict=True)
    ]
    assert coefficients.shape == (rows, twin.k)
    assert lists(coefficients) == wanted
    assert lists(codewords) == [twin.codeword(row) for row in wanted]
    for row, message in zip(wanted, lists(messages), strict=True):
        assert [evaluate(row, h, twin.q) for h in twin.group] == message
    assert np.array_equal(code.evaluate(coefficients), codewords)
    assert lists(code.interpolate_rows(messages)) == [
        twin.interpolate(message) for message in lists(messages)
    ]


@given(codes(), generators(), st.data())
def test_evaluate_at_any_length(pair, rng, data):
    code, twin = pair
    m = data.draw(st.integers(0, twin.n))
    positions = data.draw(st.lists(st.integers(0, twin.n - 1), max_size=2 * twin.n))
    coefficients = words(rng, twin.q, 2, m)
    found = code.evaluate_at(coefficients, np.array(positions, dtype=np.int64))
    assert found.shape == (2, len(positions))
    assert lists(found) == [
        [evaluate(row, twin.point(position), twin.q) for position in positions]
        for row in lists(coefficients)
    ]
    everywhere = code.evaluate(coefficients)
    assert np.array_equal(everywhere[:, positions], found)


@given(codes(), st.data())
def test_lagrange(pair, data):
    code, twin = pair
    positions = data.draw(st.lists(st.integers(0, twin.n - 1), max_size=5))
    found = code.lagrange(np.array(positions, dtype=np.int64))
    assert found.shape == (len(positions), twin.l)
    assert lists(found) == [twin.lagrange(twin.point(position)) for position in positions]


@given(codes(), generators(), st.integers(0, 3), st.integers(0, 2))
def test_results_in_arrays_of_the_caller(pair, rng, before, after):
    code, twin = pair
    rows = 2
    messages, randomness = words(rng, twin.q, rows, twin.l), words(rng, twin.q, rows, twin.t)
    coefficients, codewords = code.encode(messages, randomness)
    room = np.full((before + rows + after, twin.n), 7, dtype=np.uint64)
    part = room[before : before + rows]
    found, written = code.encode(messages, randomness, out=part)
    assert written is part
    assert np.array_equal(found, coefficients)
    assert np.array_equal(part, codewords)
    part[:] = 7
    assert code.evaluate(coefficients, out=part) is part
    assert np.array_equal(part, codewords)
    assert np.all(room[:before] == 7)
    assert np.all(room[before + rows :] == 7)


def test_refused_arrays_of_the_caller():
    q = PRIMES[3]
    code = ReedSolomon(q, 4, 2, 16)
    messages, randomness = np.zeros((3, 4), dtype=np.uint64), np.zeros((3, 2), dtype=np.uint64)
    room = np.full((6, 32), 7, dtype=np.uint64)
    read_only = np.zeros((3, 16), dtype=np.uint64)
    read_only.flags.writeable = False
    raw = np.zeros(3 * 16 * 8 + 1, dtype=np.uint8)[1:]
    for message, error, out in (
        (r"out: expected shape \[3, 16\]", ValueError, np.zeros((2, 16), dtype=np.uint64)),
        ("out: expected shape", ValueError, np.zeros(48, dtype=np.uint64)),
        ("out: expected a C-contiguous array", ValueError, room[:3, :16]),
        ("out: expected a C-contiguous array", ValueError, np.zeros((16, 3), dtype=np.uint64).T),
        ("out: expected an aligned array", ValueError, raw.view(np.uint64).reshape(3, 16)),
        ("not writeable", ValueError, read_only),
        ("expected an array of uint64", TypeError, np.zeros((3, 16), dtype=np.int64)),
        ("found list", TypeError, [1]),
    ):
        with pytest.raises(error, match=message):
            code.encode(messages, randomness, out=out)
    out = np.full((3, 16), 7, dtype=np.uint64)
    with pytest.raises(ValueError, match="messages: expected words below"):
        code.encode(messages + np.uint64(q), randomness, out=out)
    with pytest.raises(ValueError, match="coefficients: expected words below"):
        code.evaluate(messages + np.uint64(q), out=out)
    assert np.all(out == 7)
    # An argument that shares its memory would change while it is read.
    square = np.zeros((3, 16), dtype=np.uint64)
    with pytest.raises(ValueError, match="already borrowed"):
        code.evaluate(square, out=square)


@given(codes(), generators(), st.integers(0, 10), st.integers(0, 3))
def test_linear_polynomials(pair, rng, rows, count):
    code, twin = pair
    length = twin.k + twin.l - 1
    polynomials = words(rng, twin.q, rows, twin.k)
    constraints = words(rng, twin.q, count, rows, twin.l)
    constraints[rng.random((count, rows)) < 0.3] = 0
    constraints[:, rng.random(rows) < 0.2] = 0
    blinding = words(rng, twin.q, count, length)
    codewords = code.evaluate(polynomials)
    if length > twin.n:
        with pytest.raises(ValueError, match="for the linear polynomial"):
            code.linear_polynomials(constraints, codewords, blinding)
        return
    found = code.linear_polynomials(constraints, codewords, blinding)
    assert lists(found) == [
        twin.linear_polynomial(lists(lines), lists(polynomials), column(blind))
        for lines, blind in zip(constraints, blinding, strict=True)
    ]
    # The sum over the group is the constraint itself, up to the blinding's own sum.
    messages = [[evaluate(p, h, twin.q) for h in twin.group] for p in lists(polynomials)]
    for lines, blind, polynomial in zip(constraints, blinding, found, strict=True):
        claim = sum(
            c * m
            for line, message in zip(lists(lines), messages, strict=True)
            for c, m in zip(line, message, strict=True)
        )
        assert code.group_sum(polynomial) == (claim + twin.group_sum(column(blind))) % twin.q


@given(codes(), generators(), st.booleans(), st.integers(0, 40), st.integers(0, 3))
def test_quadratic_quotients(pair, rng, honest, products, count):
    code, twin = pair
    q = twin.q
    messages = words(rng, q, 3, twin.l)
    if honest:
        messages[2] = messages[0].astype(object) * messages[1].astype(object) % q
    randomness = words(rng, q, 3, twin.t)
    coefficients, codewords = code.encode(messages, randomness)
    triples = np.tile(np.array([0, 1, 2]), (products, 1))
    if not honest:
        triples = rng.integers(0, 3, (products, 3))
    weights = words(rng, q, count, products)
    blinding = words(rng, q, count, 2 * twin.k - 1 - twin.l)
    if 2 * twin.k - 1 > twin.n:
        with pytest.raises(ValueError, match="for the quadratic polynomial"):
            code.quadratic_quotients(codewords, triples, weights, blinding)
        return
    found = code.quadratic_quotients(codewords, triples, weights, blinding)
    rows = lists(coefficients)
    listed = [tuple(t) for t in triples.tolist()]
    assert lists(found) == [
        twin.quadratic_quotient(rows, listed, column(line), column(blind))
        for line, blind in zip(weights, blinding, strict=True)
    ]
    if honest:
        x = twin.point(1)
        a, b, c = (evaluate(row, x, q) for row in rows)
        vanishing = pow(x, twin.l, q) - 1
        for line, blind, quotient in zip(weights, blinding, found, strict=True):
            left = vanishing * evaluate(column(blind), x, q) + sum(column(line)) * (a * b - c)
            assert left % q == vanishing * evaluate(column(quotient), x, q) % q


@given(codes(), generators(), st.integers(0, 70))
def test_group_sum(pair, rng, m):
    code, twin = pair
    coefficients = words(rng, twin.q, m)
    assert code.group_sum(coefficients) == twin.group_sum(column(coefficients))


def test_the_layout_of_the_protocol(rng):
    q = PRIMES[3]
    code, twin = ReedSolomon(q, 512, 125, 8192), Code(q, 512, 125, 8192)
    assert (code.q, code.l, code.t, code.k, code.n) == (q, 512, 125, 637, 8192)
    rows = 11
    messages, randomness = words(rng, q, rows, 512), words(rng, q, rows, 125)
    coefficients, codewords = code.encode(messages, randomness)
    positions = np.sort(rng.choice(8192, 125, replace=False))
    assert np.array_equal(code.evaluate_at(coefficients, positions), codewords[:, positions])
    for row in (0, rows - 1):
        for position in positions[:3].tolist():
            value = evaluate(column(coefficients[row]), twin.point(position), q)
            assert int(codewords[row, position]) == value
    constraints, blinding = words(rng, q, rows, 512), words(rng, q, 1148)
    (p,) = code.linear_polynomials(constraints[None], codewords, blinding[None])
    x = twin.point(7)
    interpolated = lists(code.interpolate_rows(constraints))
    wanted = evaluate(column(blinding), x, q) + sum(
        evaluate(r, x, q) * evaluate(c, x, q)
        for r, c in zip(interpolated, lists(coefficients), strict=True)
    )
    assert evaluate(column(p), x, q) == wanted % q
    basis = code.lagrange(positions[:4])
    for line, position in zip(lists(basis), positions[:4].tolist(), strict=True):
        at = evaluate(interpolated[0], twin.point(position), q)
        assert sum(a * b for a, b in zip(line, column(constraints[0]), strict=True)) % q == at


def test_refusals():
    q = PRIMES[3]
    for arguments, message in (
        ((3, 1, 16), "l: expected a power of two"),
        ((0, 1, 16), "l: expected a power of two"),
        ((32, 0, 16), "l: expected a power of two"),
        ((8, 9, 16), "t: expected at most n - l"),
        ((8, 2**63, 16), "t: expected at most n - l"),
        ((8, 2, 12), "n: expected a power of two"),
        ((1, 0, 1), "n: expected a power of two"),
        ((8, 2, 2**40), "n: expected a power of two"),
    ):
        with pytest.raises(ValueError, match=message):
            ReedSolomon(q, *arguments)
    with pytest.raises(ValueError, match="congruent to 1 modulo 16"):
        ReedSolomon(2**61 - 1, 4, 2, 16)
    code = ReedSolomon(q, 4, 2, 16)
    row = np.zeros((1, 16), dtype=np.uint64)
    for position in (-1, 16):
        with pytest.raises(ValueError, match=r"indices in \[0, 16\)"):
            code.evaluate_at(row, np.array([position]))
    with pytest.raises(ValueError, match=r"indices in \[0, 1\)"):
        code.quadratic_quotients(
            row,
            np.array([[0, 0, 1]]),
            np.ones((1, 1), dtype=np.uint64),
            np.zeros((1, 7), dtype=np.uint64),
        )
    with pytest.raises(ValueError, match="rows of at most 16"):
        code.evaluate(np.zeros((1, 17), dtype=np.uint64))
    with pytest.raises(ValueError, match="words below"):
        code.evaluate(np.full((1, 2), q, dtype=np.uint64))
