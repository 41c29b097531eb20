"""Whole circuits of the tile kernel against exact integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import TileProgram, linear_small
from tests.reference import circuit
from tests.reference.inputs import PRIMES, generators, limb_words, words

LIMIT = 2**15 - 1
ROW_NORM = 2**30

limbs = st.lists(st.sampled_from(PRIMES), min_size=1, max_size=3)
widths = st.sampled_from([1, 7, 8, 9, 64, 130])


def matrix(rng, units, inputs):
    """A sparse matrix whose rows often share their columns, as those of real layers do."""
    patterns = [np.flatnonzero(rng.random(inputs) < rng.random()) for _ in range(3)]
    rows = [patterns[rng.integers(0, 3)] for _ in range(units)]
    indptr = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate(rows).astype(np.int32)
    values = rng.integers(-LIMIT, LIMIT, columns.size, endpoint=True)
    extreme = rng.choice([-LIMIT, LIMIT], columns.size)
    values = np.where(rng.random(columns.size) < 0.5, extreme, values)
    return indptr, columns, values.astype(np.int32)


def words_per_limb(rng, moduli, width):
    return np.stack([words(rng, q, width) for q in moduli])


@st.composite
def circuits(draw):
    """A program, its input and all tensors computed with integers."""
    moduli, rng, n = draw(limbs), draw(generators()), draw(widths)
    units, polys = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    program = TileProgram(moduli, units, polys)
    x = limb_words(rng, moduli, units, polys, n)
    tensors = [x.astype(object)]
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["affine", "power", "product"]))
        source = draw(st.integers(0, len(tensors) - 1))
        operand, other = tensors[source], draw(st.integers(0, len(tensors) - 1))
        if kind == "affine":
            units = draw(st.integers(1, 5))
            sources = [source, other][: draw(st.integers(1, 2))]
            parts = [
                (i, *matrix(rng, units, len(tensors[i])), words_per_limb(rng, moduli, 1)[:, 0])
                for i in sources
            ]
            if draw(st.booleans()):
                parts = [(*part[:-1], [1] * len(moduli)) for part in parts]
            bias = words_per_limb(rng, moduli, units) if draw(st.booleans()) else None
            tensor = program.affine(units, parts, bias)
            exact = [(tensors[part[0]], *part[1:]) for part in parts]
            tensors.append(circuit.affine(units, exact, bias, moduli))
        elif kind == "power" and operand.shape[1] <= 5:
            degree = draw(st.integers(1, 4))
            coefficients = words_per_limb(rng, moduli, degree + 1)
            coefficients[:, rng.random(degree + 1) < 0.4] = 0
            if draw(st.booleans()):
                coefficients[:, -1] = 1
            tensor = program.power(source, coefficients)
            tensors.append(circuit.power(operand, coefficients, moduli))
        elif operand.shape[0] == len(tensors[other]) and operand.shape[1] <= 9:
            tensor = program.product(source, other)
            tensors.append(circuit.product(operand, tensors[other], moduli))
        else:
            continue
        assert tensor == len(tensors) - 1
    return program, x, tensors


@given(circuit=circuits(), data=st.data())
def test_every_tensor_is_the_one_integers_give(circuit, data):
    program, x, tensors = circuit
    indices = st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=5)
    for keep in (list(range(len(tensors))), [len(tensors) - 1], data.draw(indices)):
        found = program.run(x, keep)
        assert len(found) == len(keep)
        for index, words_found in zip(keep, found, strict=True):
            assert words_found.dtype == np.uint64
            assert words_found.shape == tensors[index].shape
            assert (words_found.astype(object) == tensors[index]).all()


@pytest.mark.parametrize("polys", [2, 3, 5, 8, 17])
@pytest.mark.parametrize("q", PRIMES)
def test_squares_of_the_largest_words_do_not_overflow(polys, q):
    x = np.full((2, polys, 1, 9), q - 1, dtype=np.uint64)
    program = TileProgram([q], 2, polys)
    square = program.power(0, np.array([[0, 0, 1]], dtype=np.uint64))
    again = program.product(0, 0)
    found, twice = program.run(x, [square, again])
    counts = [min(i, polys - 1) - max(0, i - polys + 1) + 1 for i in range(2 * polys - 1)]
    assert (found == np.array(counts, dtype=np.uint64)[:, None, None]).all()
    assert np.array_equal(found, twice)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("q", PRIMES)
def test_the_longest_row_does_not_overflow(sign, q):
    count = ROW_NORM // 2**18
    x = np.full((count, 1, 1, 8), q - 1, dtype=np.uint64)
    indptr, columns = np.array([0, count]), np.arange(count, dtype=np.int32)
    values = np.full(count, sign * 2**18, dtype=np.int32)
    program = TileProgram([q], count, 1)
    program.affine(1, [(0, indptr, columns, values, [1])], None)
    assert set(program.run(x, [1])[0].reshape(-1).tolist()) == {-sign * ROW_NORM % q}
    values[0] += sign
    with pytest.raises(ValueError, match="sum of magnitudes of at most 1073741824"):
        program.affine(1, [(0, indptr, columns, values, [1])], None)


def test_the_sizes_of_the_protocol(rng):
    moduli = [PRIMES[3]] * 3
    x = limb_words(rng, moduli, 30, 2, 8192)
    weights = rng.integers(-LIMIT, LIMIT, (64, 30))
    program = TileProgram(moduli, 30, 2)
    indptr, columns = np.arange(65) * 30, np.tile(np.arange(30, dtype=np.int32), 64)
    values = weights.reshape(-1).astype(np.int32)
    hidden = program.affine(64, [(0, indptr, columns, values, [1, 1, 1])], None)
    square = program.power(hidden, np.array([[0, 0, 1]] * 3, dtype=np.uint64))
    found, squares = program.run(x, [hidden, square])
    assert np.array_equal(found, linear_small(x, weights, moduli))
    assert squares.shape == (64, 3, 3, 8192)
    middle = found[:, 0, :, :5].astype(object) * found[:, 1, :, :5] * 2 % moduli[0]
    assert (squares[:, 1, :, :5] == middle).all()


def test_refusals(rng):
    q = PRIMES[3]
    x = words(rng, q, 2, 2, 1, 8)
    indptr, columns = np.array([0, 2]), np.array([0, 1], dtype=np.int32)
    values, bias = np.array([1, -1], dtype=np.int32), np.zeros((1, 1), dtype=np.uint64)
    square = np.array([[0, 0, 1]], dtype=np.uint64)
    with pytest.raises(ValueError, match="moduli: expected at least one"):
        TileProgram([], 2, 2)
    for units, polys in ((0, 2), (2, 0), (1, 65), (2**20, 2), (2**63, 2)):
        with pytest.raises(ValueError, match="tensor: expected 1 to 64 polynomials"):
            TileProgram([q], units, polys)
    program = TileProgram([q], 2, 2)
    with pytest.raises(ValueError, match="terms: expected at least one"):
        program.affine(1, [], None)
    for term, message in (
        ((1, indptr, columns, values, [1]), "source: expected a tensor made before"),
        ((0, np.array([0, 1]), columns, values, [1]), "row pointers"),
        ((0, np.array([1, 2]), columns, values, [1]), "row pointers"),
        ((0, np.array([0, 3]), columns, values, [1]), "indptr: expected indices"),
        ((0, np.array([0, 1, 2]), columns, values, [1]), r"indptr: expected shape \[2\]"),
        ((0, indptr, np.array([0, 2], dtype=np.int32), values, [1]), "columns: expected indices"),
        ((0, indptr, np.array([0, -1], dtype=np.int32), values, [1]), "columns: expected indices"),
        ((0, indptr, columns, values[:1].copy(), [1]), r"values: expected shape \[2\]"),
        ((0, indptr, columns, values, [1, 1]), "factor: expected 1 integers"),
    ):
        with pytest.raises(ValueError, match=message):
            program.affine(1, [term], bias)
    good = (0, indptr, columns, values, [1])
    with pytest.raises(ValueError, match="row pointers"):
        program.affine(3, [(0, np.array([0, 2, 1, 2]), columns, values, [1])], None)
    with pytest.raises(ValueError, match=r"bias: expected shape \[1, 1\]"):
        program.affine(1, [good], np.zeros((1, 2), dtype=np.uint64))
    with pytest.raises(ValueError, match="bias: expected words below"):
        program.affine(1, [good], np.full((1, 1), q, dtype=np.uint64))
    with pytest.raises(ValueError, match="coefficients: expected 2 to 5"):
        program.power(0, square[:, :1].copy())
    with pytest.raises(ValueError, match="coefficients: expected 2 to 5"):
        program.power(0, np.ones((1, 6), dtype=np.uint64))
    with pytest.raises(ValueError, match="coefficients: expected words below"):
        program.power(0, square + np.uint64(q))
    with pytest.raises(ValueError, match="left: expected a tensor made before"):
        program.product(1, 0)
    assert program.affine(1, [good], bias) == 1
    with pytest.raises(ValueError, match="right: expected 2 units, found 1"):
        program.product(0, 1)
    for tensor in range(1, 6):
        assert program.product(tensor, tensor) == tensor + 1
    with pytest.raises(ValueError, match="tensor: expected 1 to 64 polynomials"):
        program.product(6, 6)
    with pytest.raises(ValueError, match="tensor: expected 1 to 64 polynomials"):
        program.power(6, square)
    with pytest.raises(ValueError, match="keep: expected a tensor made before"):
        program.run(x, [7])
    with pytest.raises(ValueError, match=r"words: expected shape \[2, 2, 1, 8\]"):
        program.run(x[:1].copy(), [1])
    bad = x.copy()
    bad[1, 1, 0, 7] = q
    with pytest.raises(ValueError, match=f"words below {q}, found {q} at flat index 7"):
        program.run(bad, [1])
    with pytest.raises(ValueError, match="words: expected words below"):
        program.run(bad, [])
