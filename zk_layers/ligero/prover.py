"""The Ligero prover: commit, project, answer.

Message order: root; (what the relation binds after it); projection vectors; integers U; gammas,
the relation's challenges; (the relation's rounds); row challenges; test polynomials; positions;
columns, salts, paths.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import kernels
from protocol.encoding import encode
from protocol.errors import BlindproofError
from protocol.families import Family
from zk_layers.fields import field, reed_solomon
from zk_layers.ligero.messages import encode_projections, row_challenges
from zk_layers.ligero.shape import COMPONENTS, limb_shapes
from zk_layers.merkle import LEAF_PREFIX, SALT_BYTES, merkle_tree, open_leaves
from zk_layers.randomness import ProverRandomness
from zk_layers.reduction.exchange import Speaking
from zk_layers.relation import Challenges, Relation, Witness, mask_name
from zk_layers.shortness import Projection, integer_residues
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]

MAX_ATTEMPTS = 200


class ProjectionOutOfRange(BlindproofError):  # noqa: N818  (an event, not a fault)
    """A projection fell outside its interval: throw the attempt away, start afresh."""


class UnsatisfiedError(BlindproofError):
    """The prover's own witness is wrong: a fault of this program or of the machine."""


class Prover:
    """One attempt at one proof; the commitment opens once."""

    def __init__(self, relation: Relation, witness: Witness, randomness: ProverRandomness) -> None:
        self.code = relation.code
        self.moduli = relation.moduli
        self.shapes = limb_shapes(relation)
        self.witness = witness
        self.randomness = randomness
        self.masks = {
            family.name: randomness.masks(family.name, family.projections, family.mask_bound)
            for family in relation.families
        }
        self._opened = False
        self.coefficients: list[Words] = []
        self.blinding: list[dict[str, Words]] = []
        self.quotients: list[Words] = []
        self.codewords: list[Words] = []
        self.fresh: list[dict[str, Words]] = []
        for limb in range(len(self.moduli)):
            self.fresh.append(relation.fresh_blocks(limb, randomness))
            self._encode_limb(relation.families, limb)
        salts = randomness.bytes("salts", SALT_BYTES * self.code.codeword_length)
        self.salts = np.frombuffer(salts, dtype=np.uint8).reshape(-1, SALT_BYTES)
        self.tree = merkle_tree(kernels.hash_columns(self.codewords, self.salts, LEAF_PREFIX))
        self.root: bytes = self.tree[1].tobytes()

    def _encode_limb(self, families: tuple[Family, ...], limb: int) -> None:
        code, modulus, shape = self.code, self.moduli[limb], self.shapes[limb]
        rows = reed_solomon(modulus, code)
        contents = {**self.witness.blocks[limb], **self.fresh[limb]}
        for family in families:
            if limb in family.limbs:
                contents[mask_name(family)] = integer_residues(self.masks[family.name], modulus)
        messages = shape.layout.place(contents, 1)[0]
        padding = self.randomness.field(
            f"rows {limb}", (shape.witness_rows, code.opened_columns), modulus
        )
        blinding = self._blinding(limb)
        codewords = np.empty((shape.rows, code.codeword_length), dtype=np.uint64)
        coefficients, _ = rows.encode(messages, padding, out=codewords[: shape.witness_rows])
        parts = (shape.proximity, shape.linear, shape.products)
        for part, polynomials in zip(parts, blinding.values(), strict=False):
            rows.evaluate(polynomials, out=codewords[part])
        self.coefficients.append(coefficients)
        self.blinding.append(blinding)
        self.codewords.append(codewords)

    def _blinding(self, limb: int) -> dict[str, Words]:
        """Coefficients of the blinding rows, in row order."""
        code, modulus = self.code, self.moduli[limb]
        length = code.message_length
        proximity = self.randomness.field(
            f"proximity {limb}", (COMPONENTS, code.row_degree), modulus
        )
        linear = self.randomness.field(f"linear {limb}", (COMPONENTS, code.linear_length), modulus)
        for row in linear:  # the sum over H is l times the sum of every l-th coefficient
            row[0] = -sum(int(word) for word in row[length::length]) % modulus
        blinding = {"proximity": proximity, "linear": linear}
        quotient = np.zeros((COMPONENTS, 0), dtype=np.uint64)
        if self.shapes[limb].quadratic:
            size = (COMPONENTS, code.quotient_length)
            quotient = self.randomness.field(f"quadratic {limb}", size, modulus)
            blinding["quadratic"] = multiply_by_vanishing(quotient, length, modulus)
        self.quotients.append(quotient)
        return blinding

    def open_once(self) -> None:
        """Refuse to open the commitment a second time: columns of two openings would leak."""
        if self._opened:
            raise RuntimeError("a commitment opens once: commit afresh for another answer")
        self._opened = True

    def project(self, relation: Relation, projections: tuple[Projection, ...]) -> list[list[int]]:
        """The integers U_s = <r_s, x> + y_s of every family."""
        return [
            [
                value + mask
                for value, mask in zip(
                    projection.project(self.witness.families[family.name]),
                    self.masks[family.name],
                    strict=True,
                )
            ]
            for family, projection in zip(relation.families, projections, strict=True)
        ]

    def answer(self, relation: Relation) -> bytes:
        """The whole proof; once, for a commitment opens once.

        Raises:
            ProjectionOutOfRange: nothing of this attempt may leave the prover.
        """
        self.open_once()
        transcript = relation.begin()
        transcript.absorb("root", self.root)
        relation.absorb_after_root(transcript)
        projections = relation.draw_projections(transcript)
        projected = self.project(relation, projections)
        self.check_intervals(relation, projected)
        integers = encode_projections(relation.families, projected)
        transcript.absorb("projections", integers)
        challenges = relation.draw_challenges(
            transcript, projections, tuple(tuple(values) for values in projected)
        )
        exchange, challenges = self._converse(relation, transcript, challenges)
        rows = [
            row_challenges(transcript, limb, modulus, shape)
            for limb, (modulus, shape) in enumerate(zip(self.moduli, self.shapes, strict=True))
        ]
        proximity = b"".join(
            self.proximity_polynomials(limb, weights) for limb, (weights, _) in enumerate(rows)
        )
        linear = self.linear_polynomials(relation, challenges)
        quadratic = b"".join(
            self.quadratic_quotients(limb, weights) for limb, (_, weights) in enumerate(rows)
        )
        for name, message in (
            ("proximity", proximity),
            ("linear", linear),
            ("quadratic", quadratic),
        ):
            transcript.absorb(name, message)
        positions = transcript.challenge_positions(
            "columns", self.code.opened_columns, self.code.codeword_length
        )
        messages = b"".join(exchange.sent)
        tests = proximity + linear + quadratic
        return self.root + integers + messages + tests + self.open_columns(positions)

    def _converse(
        self, relation: Relation, transcript: Transcript, challenges: Challenges
    ) -> tuple[Speaking, Challenges]:
        """The relation's own messages, under the committed pads."""
        pads = [fresh["pads"].reshape(-1, 2) for fresh in self.fresh if "pads" in fresh]
        exchange = Speaking(transcript, self.moduli, pads)
        make = self.witness.speaker
        speaker = None if make is None else make(challenges, pads)
        return exchange, relation.converse(challenges, exchange, speaker)

    def check_intervals(self, relation: Relation, projected: list[list[int]]) -> None:
        """Give the attempt up if any projection is out of range."""
        for family, values in zip(relation.families, projected, strict=True):
            if max(map(abs, values)) > family.interval:
                raise ProjectionOutOfRange(family.name)

    def check_sums(self, found: tuple[int, ...], target: tuple[int, int]) -> None:
        """Stop when the witness does not satisfy the relation: blinding rows hide true sums only.

        A polynomial with another sum would show by how much an equation fails, which may be a
        function of the weights.

        Raises:
            UnsatisfiedError: nothing of this proof may leave the prover.
        """
        if found != target:
            raise UnsatisfiedError("the witness does not satisfy the relation; no proof is sent")

    def proximity_polynomials(self, limb: int, weights: Words) -> bytes:
        """Random combination of all rows, plus blinding: (2, k) words."""
        modulus = self.moduli[limb]
        rows = np.concatenate([self.coefficients[limb], self.blinding[limb]["proximity"]])
        ones = np.concatenate([weights, np.eye(COMPONENTS, dtype=np.uint64)], axis=1)
        return kernels.combine_rows(modulus, rows, ones).tobytes()

    def linear_polynomials(self, relation: Relation, challenges: Challenges) -> bytes:
        """sum_i R_i P_i plus blinding, in all limbs: (2, k + l - 1) words each."""
        out = []
        for limb, form in enumerate(relation.complete_forms(challenges)):
            shape = self.shapes[limb]
            constraint = shape.layout.place(form.coefficients, COMPONENTS)
            rows = reed_solomon(self.moduli[limb], self.code)
            words = self.codewords[limb][: shape.witness_rows]
            blinding = self.blinding[limb]["linear"]
            polynomials = rows.linear_polynomials(constraint, words, blinding)
            self.check_sums(tuple(map(rows.group_sum, polynomials)), form.target)
            out.append(polynomials.tobytes())
        return b"".join(out)

    def quadratic_quotients(self, limb: int, weights: Words) -> bytes:
        """Quotient by X^l - 1 of the random combination of the products' defects."""
        shape = self.shapes[limb]
        if not shape.quadratic:
            return b""
        rows = reed_solomon(self.moduli[limb], self.code)
        words = self.codewords[limb][: shape.witness_rows]
        quotients = rows.quadratic_quotients(words, shape.triples, weights, self.quotients[limb])
        return quotients.tobytes()

    def open_columns(self, positions: npt.NDArray[np.int64]) -> bytes:
        """Columns, salts and Merkle paths at the positions."""
        columns = [kernels.gather_columns(words, positions) for words in self.codewords]
        salts = self.salts[positions].tobytes()
        paths = open_leaves(self.tree, positions)
        return np.concatenate(columns, axis=1).tobytes() + salts + paths


def multiply_by_vanishing(quotients: Words, length: int, modulus: int) -> Words:
    """(X^l - 1) times each row of coefficients."""
    vectors, size = quotients.shape
    shifted = np.zeros((vectors, size + length), dtype=np.uint64)
    shifted[:, length:] = quotients
    padded = np.zeros_like(shifted)
    padded[:, :size] = quotients
    return field(modulus).sub(shifted, padded)


def prove(
    relation: Relation,
    witness: Witness,
    server_key: bytes,
    prover: type[Prover] = Prover,
) -> bytes:
    """Prove a relation, starting again with fresh randomness until all projections are in range.

    Args:
        relation: the public statement.
        witness: what satisfies it.
        server_key: long-term secret mixed into the proof's randomness.
        prover: makes one attempt.

    Raises:
        UnsatisfiedError: the witness does not satisfy the relation.
        ProjectionOutOfRange: after MAX_ATTEMPTS, which no honest prover meets.
    """
    statement = encode(relation.statement())
    for attempt in range(MAX_ATTEMPTS):
        randomness = ProverRandomness.fresh(server_key, statement, attempt)
        try:
            return prover(relation, witness, randomness).answer(relation)
        except ProjectionOutOfRange:
            continue
    raise ProjectionOutOfRange(f"no projection in range after {MAX_ATTEMPTS} attempts")
