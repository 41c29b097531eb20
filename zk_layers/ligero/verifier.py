"""The Ligero verifier.  It imports nothing of the prover.

Everything is read from the proof with lengths known beforehand; `verify` returns nothing and
raises one typed error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import kernels
from protocol.parameters import CodeParameters
from zk_layers.checks import Check, require
from zk_layers.fields import field, reed_solomon
from zk_layers.ligero.messages import decode_projections, projection_bytes, row_challenges
from zk_layers.ligero.shape import COMPONENTS, LimbShape, limb_shapes
from zk_layers.merkle import HASH_BYTES, LEAF_PREFIX, SALT_BYTES, sibling_nodes, verify_leaves
from zk_layers.reduction.exchange import ELEMENT_BYTES, Reading
from zk_layers.relation import LinearForm, Relation

Words = npt.NDArray[np.uint64]
WORD_BYTES = 8


class _Reader:
    """Reads a proof front to back; too short is a refusal."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def expect(self, count: int) -> None:
        """Refuse at once what is too short to be a proof, before any work is done for it."""
        require(count <= self.left, Check.SIZE, f"{self.left} bytes, a proof has at least {count}")

    def take(self, count: int) -> bytes:
        require(
            count <= self.left,
            Check.SIZE,
            f"proof of {len(self._data)} bytes ends early: {count} wanted, {self.left} left",
        )
        self._at += count
        return self._data[self._at - count : self._at]


def verify(relation: Relation, proof: bytes, expected_root: bytes | None = None) -> None:
    """Verify a proof of a relation.

    Args:
        relation: the public statement.
        proof: untrusted bytes.
        expected_root: the commitment the prover is already held to, if there is one.

    Raises:
        VerificationError: naming the check that refused.
    """
    code, moduli, families = relation.code, relation.moduli, relation.families
    shapes = limb_shapes(relation)
    reader = _Reader(proof)
    reader.expect(_fixed_bytes(relation, shapes))
    transcript = relation.begin()
    root = reader.take(HASH_BYTES)
    held = expected_root is None or root == expected_root
    require(held, Check.ROOT, "the proof opens another commitment than the one announced")
    transcript.absorb("root", root)
    relation.absorb_after_root(transcript)
    projections = relation.draw_projections(transcript)
    integers = reader.take(projection_bytes(families))
    transcript.absorb("projections", integers)
    projected = decode_projections(families, integers)
    for family, values in zip(families, projected, strict=True):
        require(
            max(map(abs, values)) <= family.interval,
            Check.INTERVAL,
            f"a projection of family '{family.name}' exceeds {family.interval.bit_length()} bits",
        )
    challenges = relation.draw_challenges(transcript, projections, projected)
    challenges = relation.converse(challenges, Reading(transcript, moduli, reader.take), None)
    weights = [
        row_challenges(transcript, limb, modulus, shape)
        for limb, (modulus, shape) in enumerate(zip(moduli, shapes, strict=True))
    ]
    tests: list[_LimbTests] = []
    for name, length, present in (
        ("proximity", code.row_degree, [True] * len(shapes)),
        ("linear", code.linear_length, [True] * len(shapes)),
        ("quadratic", code.quotient_length, [shape.quadratic for shape in shapes]),
    ):
        message = reader.take(WORD_BYTES * COMPONENTS * length * sum(present))
        transcript.absorb(name, message)
        tests.append(_read_polynomials(message, name, length, present, moduli))
    positions = transcript.challenge_positions("columns", code.opened_columns, code.codeword_length)
    columns = _read_columns(reader, shapes, code, positions, root)
    forms = relation.complete_forms(challenges)
    for limb, (modulus, shape) in enumerate(zip(moduli, shapes, strict=True)):
        canonical = bool((columns[limb] < np.uint64(modulus)).all())
        require(canonical, Check.CANONICAL, f"an opened word exceeds its modulus in limb {limb}")
        opened = _OpenedLimb(code, modulus, limb, shape, positions, columns[limb])
        proximity, linear, quadratic = (polynomials[limb] for polynomials in tests)
        opened.check_proximity(proximity, weights[limb][0])
        opened.check_linear(linear, forms[limb])
        if shape.quadratic:
            opened.check_quadratic(quadratic, weights[limb][1])


def _fixed_bytes(relation: Relation, shapes: tuple[LimbShape, ...]) -> int:
    """Length of a proof without its Merkle paths, whose number depends on the positions."""
    code = relation.code
    polynomials = sum(
        code.row_degree + code.linear_length + shape.quadratic * code.quotient_length
        for shape in shapes
    )
    rows = sum(shape.rows for shape in shapes)
    words = COMPONENTS * polynomials + code.opened_columns * rows
    salts = SALT_BYTES * code.opened_columns
    messages = ELEMENT_BYTES * relation.message_elements * len(shapes)
    integers = projection_bytes(relation.families)
    return HASH_BYTES + integers + messages + WORD_BYTES * words + salts


_LimbTests = list[Words]
"""One test's polynomials: per limb words (2, length), empty where the limb has no such test."""


def _read_polynomials(
    message: bytes, name: str, length: int, present: list[bool], moduli: tuple[int, ...]
) -> _LimbTests:
    words = np.frombuffer(message, dtype="<u8").astype(np.uint64).reshape(-1, COMPONENTS, length)
    at = 0
    polynomials: _LimbTests = []
    for limb, modulus in enumerate(moduli):
        if not present[limb]:
            polynomials.append(np.zeros((COMPONENTS, 0), dtype=np.uint64))
            continue
        canonical = bool((words[at] < np.uint64(modulus)).all())
        require(canonical, Check.CANONICAL, f"a {name} word exceeds its modulus in limb {limb}")
        polynomials.append(words[at])
        at += 1
    return polynomials


def _read_columns(
    reader: _Reader,
    shapes: tuple[LimbShape, ...],
    code: CodeParameters,
    positions: npt.NDArray[np.int64],
    root: bytes,
) -> list[Words]:
    """Read columns, salts and paths, check the paths: words (rows, t) per limb."""
    opened = code.opened_columns
    total = sum(shape.rows for shape in shapes)
    raw = np.frombuffer(reader.take(WORD_BYTES * opened * total), dtype="<u8")
    columns = raw.astype(np.uint64).reshape(opened, total)
    salts = np.frombuffer(reader.take(SALT_BYTES * opened), dtype=np.uint8)
    leaves = kernels.hash_leaves(columns, salts.reshape(opened, SALT_BYTES), LEAF_PREFIX)
    nodes = len(sibling_nodes(positions, code.codeword_length))
    paths = reader.take(HASH_BYTES * nodes)
    require(reader.left == 0, Check.SIZE, f"{reader.left} unread bytes after the proof")
    verify_leaves(root, positions, leaves, paths, code.codeword_length)
    ends = np.cumsum([shape.rows for shape in shapes])[:-1]
    return [np.ascontiguousarray(part.T) for part in np.split(columns, ends, axis=1)]


@dataclass(frozen=True)
class _OpenedLimb:
    """The tests of one limb at the opened columns.

    Attributes:
        columns: words (rows, t), rows in the order of `LimbShape`.
    """

    code: CodeParameters
    modulus: int
    limb: int
    shape: LimbShape
    positions: npt.NDArray[np.int64]
    columns: Words

    @property
    def _witness(self) -> Words:
        return self.columns[: self.shape.witness_rows]

    def _require_equal(self, found: Words, expected: Words, check: Check) -> None:
        equal = bool((found == expected).all())
        require(equal, check, f"columns and test polynomial disagree in limb {self.limb}")

    def check_proximity(self, polynomials: Words, weights: Words) -> None:
        """sum_i rho_i row_i + blinding = w at the opened points; deg w < k by its length."""
        modulus = self.modulus
        combined = kernels.combine_rows(modulus, self._witness, weights)
        found = field(modulus).add(combined, self.columns[self.shape.proximity])
        expected = reed_solomon(modulus, self.code).evaluate_at(polynomials, self.positions)
        self._require_equal(found, expected, Check.PROXIMITY)

    def check_linear(self, polynomials: Words, form: LinearForm) -> None:
        """p sums to the target on H, and sum_i R_i row_i + blinding = p at the opened points."""
        modulus = self.modulus
        rows = reed_solomon(modulus, self.code)
        sums = tuple(rows.group_sum(polynomial) for polynomial in polynomials)
        require(
            sums == form.target,
            Check.LINEAR_SUM,
            f"the linear test misses its target in limb {self.limb}",
        )
        constraints = self.shape.layout.place(form.coefficients, COMPONENTS)
        flat = constraints.reshape(-1, self.code.message_length)
        basis = rows.lagrange(self.positions)
        values = kernels.gemm(modulus, flat, basis).reshape(COMPONENTS, -1, len(self.positions))
        ones = np.ones((1, self.shape.witness_rows), dtype=np.uint64)
        found = np.concatenate(
            [
                kernels.combine_rows(modulus, field(modulus).mul(value, self._witness), ones)
                for value in values
            ]
        )
        found = field(modulus).add(found, self.columns[self.shape.linear])
        self._require_equal(found, rows.evaluate_at(polynomials, self.positions), Check.LINEAR)

    def check_quadratic(self, quotients: Words, weights: Words) -> None:
        """sum_c z_c (row_a row_b - row_c) + blinding = (X^l - 1) g at the opened points."""
        modulus = self.modulus
        arithmetic, rows = field(modulus), reed_solomon(modulus, self.code)
        first, second, product = (
            np.ascontiguousarray(self.columns[self.shape.triples[:, i]]) for i in range(3)
        )
        defects = arithmetic.sub(arithmetic.mul(first, second), product)
        found = arithmetic.add(
            kernels.combine_rows(modulus, defects, weights), self.columns[self.shape.products]
        )
        vanishing = np.zeros((1, self.code.message_length + 1), dtype=np.uint64)
        vanishing[0, 0], vanishing[0, -1] = modulus - 1, 1
        factor = rows.evaluate_at(vanishing, self.positions)
        values = rows.evaluate_at(quotients, self.positions)
        expected = arithmetic.mul(values, np.repeat(factor, COMPONENTS, axis=0))
        self._require_equal(found, expected, Check.QUADRATIC)
