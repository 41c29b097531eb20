"""What the kernels refuse, and how: typed errors, never a panic, whatever comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import kernels
from tests.reference.inputs import PRIMES, generators, seeds

Q = PRIMES[3]
FIELD = kernels.Modulus(Q)
TRANSFORM = kernels.NegacyclicNtt(Q, 8)
CODE = kernels.ReedSolomon(Q, 4, 3, 32)
EXTENSION = kernels.Extension(Q)
SUMCHECK = kernels.PowerSumcheck(
    [Q],
    *(np.ones((1, 2, *shape), dtype=np.uint64) for shape in ((2,), (2,), (2, 2))),
    np.ones((1, 3), dtype=np.uint64),
)
PROGRAM = kernels.TileProgram([Q], 2, 2)

# Every callable and the kinds of its arguments.
CALLS = {
    kernels.Modulus: "q",
    FIELD.add: "aa",
    FIELD.sub: "aa",
    FIELD.neg: "a",
    FIELD.mul: "aa",
    FIELD.scale: "ai",
    FIELD.inverse: "a",
    FIELD.dot: "aa",
    FIELD.powers: "ic",
    FIELD.reduce_i64: "a",
    FIELD.reduce_wide: "a",
    FIELD.multiply_add: "aaa",
    kernels.NegacyclicNtt: "qc",
    TRANSFORM.forward: "a",
    TRANSFORM.inverse: "a",
    TRANSFORM.forward_transpose: "a",
    TRANSFORM.inverse_transpose: "a",
    kernels.ReedSolomon: "qccc",
    CODE.encode: "aao",
    CODE.evaluate: "ao",
    CODE.evaluate_at: "aa",
    CODE.lagrange: "a",
    CODE.interpolate_rows: "a",
    CODE.linear_polynomials: "aaa",
    CODE.quadratic_quotients: "aaaa",
    CODE.group_sum: "a",
    kernels.TileProgram: "mcc",
    PROGRAM.affine: "cta",
    PROGRAM.power: "ca",
    PROGRAM.product: "cc",
    PROGRAM.run: "ak",
    kernels.Extension: "q",
    EXTENSION.mul: "aa",
    EXTENSION.scale: "aa",
    EXTENSION.inner: "aa",
    EXTENSION.combine_words: "aa",
    EXTENSION.inner_words: "aa",
    EXTENSION.eq_table: "a",
    kernels.PowerSumcheck: "maaaa",
    kernels.PowerSumcheck.of_words: "maaaaa",
    kernels.ProductSumcheck: "maaaaa",
    kernels.GramSumcheck: "maaaaaaaa",
    SUMCHECK.message: "",
    SUMCHECK.bind: "a",
    SUMCHECK.final: "",
    kernels.sigma_fold: "aam",
    kernels.evaluate_folded: "aaam",
    kernels.cross_gram: "aam",
    kernels.combine_rows_extension: "aam",
    kernels.combine_rows: "qaa",
    kernels.gemm: "qaa",
    kernels.linear_small: "aam",
    kernels.linear_words: "aam",
    kernels.inner_products: "aam",
    kernels.fold_bits: "qaa",
    kernels.project_bits_i64: "aa",
    kernels.project_bits_wide: "aa",
    kernels.project_bits_mod: "qaa",
    kernels.fold_i32: "qaa",
    kernels.project_i32: "aa",
    kernels.xof_bytes: "sc",
    kernels.xof_field: "sqc",
    kernels.chacha_bytes: "sc",
    kernels.chacha_field: "sqc",
    kernels.expand_ciphertexts: "Sam",
    kernels.expand_seal_seed: "smc",
    kernels.expand_seal_seeds: "Smc",
    kernels.sha256_chunks: "ac",
    kernels.hash_columns: "Aas",
    kernels.gather_columns: "aa",
    kernels.hash_leaves: "aas",
    kernels.merkle_nodes: "as",
    kernels.merkle_root: "aascs",
}

DTYPES = (np.uint64, np.int64, np.uint8, np.int32, np.float64, np.complex128, ">u8", "O", "U3")
LENGTHS = (0, 1, 2, 3, 4, 5, 8, 10, 32)
JUNK = (None, "text", b"", 1.5, -1, 2**70, [], [[1]], object(), np.uint64(7), np.zeros(()))


def junk_array(rng):
    """An array of any dtype, shape, layout and alignment; often of a plausible one."""
    shape = tuple(int(rng.choice(LENGTHS)) for _ in range(rng.integers(0, 5)))
    if rng.random() < 0.1:
        return np.broadcast_to(np.uint64(3), (2**40, 0))
    dtype = np.dtype(DTYPES[0 if rng.random() < 0.5 else rng.integers(0, len(DTYPES))])
    array = np.array(rng.integers(0, 250, shape)).astype(dtype)
    if dtype == np.uint64 and rng.random() < 0.3:
        array += np.uint64(rng.choice([Q, 2**63]))
    match rng.integers(0, 8):
        case 0:
            return array.T
        case 1:
            return array[..., ::2] if array.ndim else array
        case 2 if dtype != "O" and array.size:
            raw = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:]
            return raw.view(dtype).reshape(array.shape)
        case 3:
            array.flags.writeable = False
            return array
        case 4:
            return np.array(JUNK[rng.integers(0, len(JUNK))], dtype=object)
        case _:
            return array


POOLS = {
    "q": (Q, Q, Q, Q + 2, 0, 2**60, PRIMES[0], 2**64),
    "m": ([], [Q], [Q, Q], [Q, Q, Q], [Q, 4], [Q, -1]),
    "c": (0, 1, 2, 8, 16, 100, 2**32, 2**63, 2**64 - 1),
    "i": (0, 1, -5, 2**200),
    "s": (bytes(0), bytes(32), bytes(32), bytes(64), bytes(64), bytes(300)),
    "S": ([], [bytes(64)], [bytes(64)] * 2, [bytes(32)]),
    "k": ([], [0], [0, 1], [1, 1], [2**64], [-1], [[0]]),
}


def junk(rng, kind):
    """One argument of a kind: mostly right, sometimes near it, sometimes anything."""
    if rng.random() < 0.1:
        return JUNK[rng.integers(0, len(JUNK))]
    if kind == "o" and rng.random() < 0.5:
        return None
    if kind in "ao":
        return junk_array(rng)
    if kind == "A":
        return [junk_array(rng) for _ in range(rng.integers(0, 3))]
    if kind == "t":
        return [
            (junk(rng, "c"), *(junk_array(rng) for _ in range(3)), junk(rng, "m"))
            for _ in range(rng.integers(0, 3))
        ]
    pool = POOLS[kind]
    return pool[rng.integers(0, len(pool))]


@given(generators())
@settings(max_examples=150)
def test_junk_is_refused_with_a_typed_error(rng):
    # A panic of the Rust code would surface as PanicException, which is no Exception at all.
    for call, kinds in CALLS.items():
        arguments = [junk(rng, kind) for kind in kinds]
        try:
            call(*arguments)
        except (TypeError, ValueError):
            continue
        except RuntimeError as error:  # only a sum-check can be out of turn
            assert "rounds are" in str(error)  # noqa: PT017


def test_every_function_is_fuzzed():
    names = {call.__name__ for call in CALLS}
    # Said once in a process, with one number: see test_kernels_threads.
    assert set(kernels.__all__) - {"compute_here"} <= names
    for thing in (FIELD, TRANSFORM, CODE, EXTENSION, SUMCHECK, PROGRAM):
        methods = {
            name
            for name in dir(type(thing))
            if not name.startswith("_") and callable(getattr(thing, name))
        }
        assert methods <= names


@given(seeds)
def test_plausible_arguments_of_random_sizes(seed):
    """Right kinds and dtypes, independent sizes: only shapes can be wrong."""
    rng = np.random.default_rng(seed)

    def draw(dtype, axes):
        shape = rng.choice([0, 1, 2, 4, 8, 32], axes)
        return rng.integers(0, 4, shape).astype(dtype)

    signatures = {
        FIELD.add: ("u8", 2, "u8", 2),
        FIELD.dot: ("u8", 1, "u8", 1),
        FIELD.reduce_wide: ("u8", 2),
        CODE.encode: ("u8", 2, "u8", 2, "u8", 2),
        CODE.evaluate: ("u8", 2, "u8", 2),
        CODE.evaluate_at: ("u8", 2, "i8", 1),
        CODE.lagrange: ("i8", 1),
        CODE.linear_polynomials: ("u8", 3, "u8", 2, "u8", 2),
        CODE.quadratic_quotients: ("u8", 2, "i8", 2, "u8", 2, "u8", 2),
        EXTENSION.mul: ("u8", 2, "u8", 2),
        EXTENSION.inner: ("u8", 2, "u8", 2),
        EXTENSION.combine_words: ("u8", 2, "u8", 2),
        EXTENSION.inner_words: ("u8", 2, "u8", 2),
        EXTENSION.eq_table: ("u8", 2),
        kernels.gather_columns: ("u8", 2, "i8", 1),
        kernels.project_bits_i64: ("u1", 2, "i8", 1),
        kernels.project_bits_wide: ("u1", 2, "u8", 2),
        kernels.project_i32: ("i4", 2, "i8", 1),
    }
    for call, signature in signatures.items():
        arguments = [
            draw(dtype, axes) for dtype, axes in zip(signature[::2], signature[1::2], strict=True)
        ]
        try:
            call(*arguments)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017


def test_messages_name_the_argument():
    a = np.zeros((2, 8), dtype=np.uint64)
    for message, error, call in (
        (
            "expected an array of uint64, found an array of int64",
            TypeError,
            lambda: FIELD.neg(a.view("i8")),
        ),
        (
            "found an array of >u8\nwhile processing 'b'",
            TypeError,
            lambda: FIELD.add(a, a.astype(">u8")),
        ),
        ("found list\nwhile processing 'a'", TypeError, lambda: FIELD.neg([1, 2])),
        ("a: expected a C-contiguous array", ValueError, lambda: FIELD.neg(a.T)),
        (
            r"b: expected shape \[2, 8\], found shape \[2, 7\]",
            ValueError,
            lambda: FIELD.add(a, a[:, :7].copy()),
        ),
        (
            "rows: expected 2 axes, found shape",
            ValueError,
            lambda: kernels.combine_rows(Q, a[0], a),
        ),
        ("expected an integer, found", TypeError, lambda: FIELD.scale(a, 1.5)),
        ("expected an odd prime", ValueError, lambda: kernels.gemm(Q + 2, a, a)),
        ("result: expected at most", ValueError, lambda: FIELD.powers(2, 2**40)),
    ):
        with pytest.raises(error, match=message):
            call()
    misaligned = np.zeros(65, dtype=np.uint8)[1:].view(np.uint64)
    with pytest.raises(ValueError, match="a: expected an aligned array"):
        FIELD.neg(misaligned)


def test_words_that_are_not_canonical():
    for word in (Q, Q + 1, 2**63, 2**64 - 1):
        a = np.zeros(5000, dtype=np.uint64)
        a[4321] = word
        with pytest.raises(ValueError, match=f"a: .* found {word} at flat index 4321"):
            FIELD.neg(a)


def test_read_only_arrays_are_accepted_and_left_alone(rng):
    a = rng.integers(0, Q, (3, 8), dtype=np.uint64)
    a.flags.writeable = False
    before = a.copy()
    TRANSFORM.forward(a)
    FIELD.multiply_add(a, a, a)
    assert np.array_equal(a, before)
    assert FIELD.add(a, a).flags.writeable
