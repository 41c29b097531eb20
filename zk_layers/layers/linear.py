"""The private linear layer: Y' = W X + bias, sanitised, for committed W.

Symbols: K inputs, features or monomials of them; J outputs; W integers (J, K + 1), the bias last;
X words (K, 2, L, N); (b_j, a_j) enrolled keys; V the NTT.  The sanitiser's errors are not
committed, they are linear in what is (docs/protocol.md, section 5):

    batch    e_jp = V^-1 (Y'_jp - sum_k W_jk X_kp - [p = 0] 2^dx W_jK - pk_jp V u)
    single   e_1  = V^-1 (Y'_1 - X_1 V Pi(W) - a V u)
             e_0j = y_j - coef_jK (X_0 V Pi(W) + b V u) - 2^dx W_jK = sum_i 2^i bit_ij - 2^f

Families: 'flooding' {e_0} (batch) or 'flooding bits' (single), 'small' {u, e_1}, 'weights' {W} and,
in limb 0 where h = A W + B r is constrained, 'opening' {r}.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

import kernels
from protocol.digests import words_digest
from protocol.encoding import Value
from protocol.errors import RequestError
from protocol.families import (
    COMMITMENT_DEGREE,
    OPENING_SIZE,
    Family,
    flooding_bits_family,
    flooding_family,
    opening_family,
    small_family,
    weights_family,
)
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey
from protocol.model import ModelCard
from protocol.packing import answer_positions, weight_positions
from protocol.parameters import LINEAR_CODE, QUADRATIC_CODE, Packing
from protocol.request import Request, output_digest
from zk_layers.checks import Check, require, require_words
from zk_layers.commitment import RANK, opened_form, opened_target
from zk_layers.fields import field, ntt
from zk_layers.relation import Block, Challenges, LinearForm, Relation, Witness
from zk_layers.statement import require_inputs, require_key

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False, repr=False)
class LinearWitness:
    """The server's secrets of one answer.

    Attributes:
        integers: W, int64 (J, K + 1), bias last.
        opening: r, int64 (5120,), ternary.
        u: int64 (N,), ternary.
        e0: batch: uint64 (J, N, 2), two's complement; single: J Python integers.
        e1: batch: int64 (J, N); single: int64 (N,).
    """

    integers: npt.NDArray[np.int64]
    opening: npt.NDArray[np.int64]
    u: npt.NDArray[np.int64]
    e0: npt.NDArray[np.uint64] | tuple[int, ...]
    e1: npt.NDArray[np.int64]


class LinearRelation(Relation):
    """What both packings share: the request, the blocks, the commitment's rows.

    Raises:
        RequestError: not a private linear model in this packing.
        VerificationError: when words are not canonical or shapes are not the card's.
    """

    packing: Packing

    def __init__(self, request: Request) -> None:
        card = request.card
        profile = card.profile(self.packing)
        if profile.flooding_log2 is None or request.packing is not self.packing or not card.linear:
            raise RequestError(
                f"this relation proves private linear models in packing '{self.packing}'"
            )
        self.request = request
        self.card: ModelCard = card
        self.moduli = profile.parameters.moduli
        self.degree = profile.parameters.ring_degree
        self.flooding_log2 = profile.flooding_log2
        self.input_scale = 1 << profile.parameters.input_scale_log2
        self.outputs_count = len(card.outputs)
        self.inputs_count = card.inputs_count
        self.weights_count = self.outputs_count * (self.inputs_count + 1)
        self.limbs = tuple(range(len(self.moduli)))

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        """d, which folds h = A w + B r, in limb 0."""
        return {"commitment": (2, RANK, COMMITMENT_DEGREE)} if limb == 0 else {}

    def _opening_form(
        self, challenges: Challenges, coefficients: dict[str, Words], target: list[int]
    ) -> None:
        """Add the commitment's rows to limb 0's linear form."""
        modulus = self.moduli[0]
        challenge = challenges.extra[0]["commitment"]
        weights, opening = opened_form(modulus, challenge, self.weights_count)
        folded = challenges.folded("opening", 0, modulus)
        coefficients["weights"] = field(modulus).add(coefficients["weights"], weights)
        coefficients["opening"] = field(modulus).add(folded, opening)
        values = opened_target(modulus, challenge, self.card.commitment_words())
        for component in range(2):
            target[component] += values[component]

    def _common_blocks(self, limb: int) -> tuple[Block, ...]:
        tail = (Block("opening", OPENING_SIZE, aligned=True),) if limb == 0 else ()
        return (
            Block("weights", self.weights_count),
            *self.mask_blocks(limb),
            Block("u", self.degree, aligned=True),
            *tail,
        )

    def _common_residues(self, witness: LinearWitness, limb: int) -> dict[str, Words]:
        arithmetic = field(self.moduli[limb])
        blocks = {
            "weights": arithmetic.reduce_i64(witness.integers.reshape(-1)),
            "u": arithmetic.reduce_i64(witness.u),
        }
        if limb == 0:
            blocks["opening"] = arithmetic.reduce_i64(witness.opening)
        return blocks


class BatchLinearRelation(LinearRelation):
    """Batch packing: one ciphertext per feature, slots are records.

    Built by `linear_relation`, which sees to it that `inputs` are what the request's digest covers.
    """

    label = "blindproof linear batch"
    packing = Packing.BATCH
    code = LINEAR_CODE

    def __init__(self, request: Request, inputs: Words, keys: Words, outputs: Words) -> None:
        """State the relation.

        Args:
            request: who asked what.
            inputs: X, words (K, 2, L, N).
            keys: enrolled (b_j, a_j), words (J, 2, L, N).
            outputs: Y', words (J, 2, L, N).
        """
        super().__init__(request)
        limbs, degree, count = len(self.moduli), self.degree, self.outputs_count
        require_words("input", inputs, (self.inputs_count, 2, limbs, degree), self.moduli, 2)
        require_words("key", keys, (count, 2, limbs, degree), self.moduli, 2)
        require_words("output", outputs, (count, 2, limbs, degree), self.moduli, 2)
        self.inputs, self.keys, self.outputs = inputs, keys, outputs
        self.families: tuple[Family, ...] = (
            flooding_family(count * degree, self.flooding_log2, self.limbs),
            small_family(degree, count * degree, self.limbs),
            weights_family(self.weights_count, self.limbs),
            opening_family(),
        )

    @cached_property
    def _statement(self) -> Value:
        return (
            self.request.value(),
            words_digest("blindproof linear keys", self.keys),
            output_digest(self.outputs),
        )

    def statement(self) -> Value:
        """The request (with the input's digest), the keys' and the output's digests."""
        return self._statement

    def blocks(self, limb: int) -> tuple[Block, ...]:
        """weights, masks, u and, in limb 0, the opening."""
        return self._common_blocks(limb)

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        """The folded equations.

        With g = gamma-folded r and xi_jp = V^-T g_jp, for each component of E:

        W_jk: g^W - sum_p <xi_jp, X_kp>;  W_jK: g^W - 2^dx sum xi_j0;
        u: g^u - V^T sum_jp pk_jp xi_jp;  target: - sum_jp <xi_jp, Y'_jp>.
        """
        count, degree, limbs = self.outputs_count, self.degree, len(self.moduli)
        xi = np.empty((2, count, 2, limbs, degree), dtype=np.uint64)
        small: list[Words] = []
        for limb, modulus in enumerate(self.moduli):
            errors = np.empty((2, count, 2, degree), dtype=np.uint64)
            flooding = challenges.folded("flooding", limb, modulus)
            folded = challenges.folded("small", limb, modulus)
            errors[:, :, 0] = flooding.reshape(2, count, degree)
            errors[:, :, 1] = folded[:, degree:].reshape(2, count, degree)
            xi[:, :, :, limb] = ntt(modulus, degree).inverse_transpose(errors)
            small.append(np.ascontiguousarray(folded[:, :degree]))
        passes = kernels.inner_products(
            self.inputs, xi.reshape(2 * count, 2, limbs, degree), list(self.moduli)
        ).reshape(limbs, 2, count, self.inputs_count)
        forms = []
        for limb, modulus in enumerate(self.moduli):
            arithmetic = field(modulus)
            lines = np.ascontiguousarray(xi[:, :, :, limb])
            moved = np.empty((2, count, self.inputs_count + 1), dtype=np.uint64)
            moved[:, :, :-1] = passes[limb]
            keyed = np.zeros((2, degree), dtype=np.uint64)
            target = [0, 0]
            keys = np.ascontiguousarray(self.keys[:, :, limb])
            outputs = np.ascontiguousarray(self.outputs[:, :, limb])
            scale = np.full(degree, self.input_scale % modulus, dtype=np.uint64)
            for component in range(2):
                for j in range(count):
                    moved[component, j, -1] = arithmetic.dot(lines[component, j, 0], scale)
                    for p in range(2):
                        keyed[component] = arithmetic.multiply_add(
                            keyed[component], keys[j, p], lines[component, j, p]
                        )
                target[component] -= arithmetic.dot(
                    lines[component].reshape(-1), outputs.reshape(-1)
                )
            weights = challenges.folded("weights", limb, modulus)
            coefficients = {
                "weights": arithmetic.sub(weights, moved.reshape(2, -1)),
                "u": arithmetic.sub(small[limb], ntt(modulus, degree).forward_transpose(keyed)),
            }
            if limb == 0:
                self._opening_form(challenges, coefficients, target)
            forms.append(LinearForm(coefficients, (target[0], target[1])))
        return forms

    def witness(self, secrets: LinearWitness) -> Witness:
        """The prover's side of the relation."""
        blocks = tuple(self._common_residues(secrets, limb) for limb in self.limbs)
        families = {
            "flooding": np.asarray(secrets.e0, dtype=np.uint64).reshape(-1, 2),
            "small": np.concatenate([secrets.u, secrets.e1.reshape(-1)]),
            "weights": secrets.integers.reshape(-1),
            "opening": secrets.opening,
        }
        return Witness(blocks, families)


class SingleLinearRelation(LinearRelation):
    """Single-record packing: one ciphertext in, one polynomial and J words per limb out.

    Built by `linear_relation`, which sees to it that `inputs` are what the request's digest covers.
    """

    label = "blindproof linear single"
    packing = Packing.SINGLE
    code = QUADRATIC_CODE

    def __init__(
        self, request: Request, inputs: Words, key: Words, mask: Words, body: Words
    ) -> None:
        """State the relation.

        Args:
            request: who asked what.
            inputs: X, words (2, L, N), NTT domain.
            key: enrolled (b, a), words (2, L, N).
            mask: Y'_1, words (L, N), NTT domain.
            body: y_j, the owed coefficients of Y'_0, words (J, L).
        """
        super().__init__(request)
        limbs, degree, count = len(self.moduli), self.degree, self.outputs_count
        require_words("input", inputs, (2, limbs, degree), self.moduli, 1)
        require_words("key", key, (2, limbs, degree), self.moduli, 1)
        require_words("mask", mask, (limbs, degree), self.moduli, 0)
        require_words("body", body, (count, limbs), self.moduli, 1)
        self.inputs, self.key, self.mask, self.body = inputs, key, mask, body
        self.families: tuple[Family, ...] = (
            flooding_bits_family(count, self.flooding_log2, self.moduli),
            small_family(degree, degree, self.limbs),
            weights_family(self.weights_count, self.limbs),
            opening_family(),
        )

    @cached_property
    def _statement(self) -> Value:
        return (
            self.request.value(),
            words_digest("blindproof linear keys", self.key),
            output_digest(self.mask),
            output_digest(self.body),
        )

    def statement(self) -> Value:
        """The request (with the input's digest), the key's and the output's digests."""
        return self._statement

    @property
    def bits(self) -> int:
        """Bits of one flooding value."""
        return self.flooding_log2 + 1

    def blocks(self, limb: int) -> tuple[Block, ...]:
        """The bits of e_0 first, then as in a batch."""
        bits = Block("bits", self.outputs_count * self.bits, aligned=True)
        head, *rest = self._common_blocks(limb)
        return (bits, Block(head.name, head.size, aligned=True), *rest)

    def products(self, limb: int) -> tuple[tuple[str, str, str], ...]:
        """b b = b in limb 0; the integer projections tie the other limbs to it."""
        return (("bits", "bits", "bits"),) if limb == 0 else ()

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        """One element of E per output, for the equation of e_0."""
        return {**super().extra_challenges(limb), "answers": (2, self.outputs_count)}

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        """The folded equations.

        With d the answers' challenges placed at the owed coefficients, xi_0 = V^-T d and
        xi_1 = V^-T g^e1, for each component of E:

        W: g^W - Pi^T V^T (xi_0 X_0 + xi_1 X_1), bias: g^W - 2^dx d_j;
        u: g^u - V^T (xi_0 b + xi_1 a);  bit_ij: g^bit - 2^i d_j;
        target: - sum_j d_j (y_j + 2^f) - <xi_1, Y'_1>.
        """
        count, degree = self.outputs_count, self.degree
        positions = answer_positions(count, self.inputs_count)
        forms = []
        for limb, modulus in enumerate(self.moduli):
            arithmetic, transform = field(modulus), ntt(modulus, degree)
            answers = challenges.extra[limb]["answers"]
            small = challenges.folded("small", limb, modulus)
            lines = np.zeros((2, 2, degree), dtype=np.uint64)
            lines[:, 0, positions] = answers
            lines[:, 1] = small[:, degree:]
            xi = transform.inverse_transpose(lines)
            folded = np.empty((2, 2, degree), dtype=np.uint64)
            public = np.ascontiguousarray(np.stack([self.inputs[:, limb], self.key[:, limb]]))
            for component in range(2):
                for source in range(2):
                    products = arithmetic.mul(xi[component], public[source])
                    folded[component, source] = arithmetic.add(products[0], products[1])
            moved = transform.forward_transpose(folded)
            weights = challenges.folded("weights", limb, modulus)
            coefficients = {
                "weights": arithmetic.sub(weights, self._weight_form(moved[:, 0], answers, limb)),
                "u": arithmetic.sub(
                    np.ascontiguousarray(small[:, :degree]), np.ascontiguousarray(moved[:, 1])
                ),
                "bits": arithmetic.sub(
                    challenges.folded("flooding bits", limb, modulus),
                    self._bit_form(answers, modulus),
                ),
            }
            shifted = [
                (int(word) + (1 << self.flooding_log2)) % modulus for word in self.body[:, limb]
            ]
            shifted_words = np.array(shifted, dtype=np.uint64)
            mask = np.ascontiguousarray(self.mask[limb])
            target = [
                -arithmetic.dot(answers[component], shifted_words)
                - arithmetic.dot(xi[component, 1], mask)
                for component in range(2)
            ]
            if limb == 0:
                self._opening_form(challenges, coefficients, target)
            forms.append(LinearForm(coefficients, (target[0], target[1])))
        return forms

    def _weight_form(self, moved: Words, answers: Words, limb: int) -> Words:
        """Pi^T of polynomials (2, N), and 2^dx d_j on the biases: words (2, J (K + 1))."""
        arithmetic = field(self.moduli[limb])
        index, flipped = weight_positions(self.outputs_count, self.inputs_count, self.degree)
        gathered = np.ascontiguousarray(moved[:, index])
        form = np.empty((2, self.outputs_count, self.inputs_count + 1), dtype=np.uint64)
        form[:, :, :-1] = np.where(flipped, arithmetic.neg(gathered), gathered)
        form[:, :, -1] = arithmetic.scale(answers, self.input_scale % self.moduli[limb])
        return form.reshape(2, -1)

    def _bit_form(self, answers: Words, modulus: int) -> Words:
        """2^i d_j on bit i of output j: words (2, J (f + 1)), outputs outermost."""
        powers = np.array([pow(2, i, modulus) for i in range(self.bits)], dtype=np.uint64)
        repeated = np.repeat(answers, self.bits, axis=1)
        return field(modulus).mul(repeated, np.tile(powers, (2, self.outputs_count)))

    def witness(self, secrets: LinearWitness) -> Witness:
        """The prover's side of the relation."""
        bits = flooding_bits(tuple(int(value) for value in secrets.e0), self.flooding_log2)
        blocks = []
        for limb in self.limbs:
            residues = self._common_residues(secrets, limb)
            residues["bits"] = bits.astype(np.uint64)
            blocks.append(residues)
        families = {
            "flooding bits": bits,
            "small": np.concatenate([secrets.u, secrets.e1.reshape(-1)]),
            "weights": secrets.integers.reshape(-1),
            "opening": secrets.opening,
        }
        return Witness(tuple(blocks), families)


def flooding_bits(values: tuple[int, ...], flooding_log2: int) -> npt.NDArray[np.int64]:
    """Bits of e + 2^f, low bit first, for each e in [-2^f, 2^f): int64 (J (f + 1),)."""
    shifted = [value + (1 << flooding_log2) for value in values]
    return np.array(
        [(value >> i) & 1 for value in shifted for i in range(flooding_log2 + 1)], dtype=np.int64
    )


def linear_relation(
    request: Request,
    inputs: RequestInputs,
    key: EnrolledKey,
    outputs: Words | tuple[Words, Words],
) -> BatchLinearRelation | SingleLinearRelation:
    """The relation of one answer: the way to build one from what travelled.

    Binds together what the constructors take on trust: the expanded inputs are those of the
    request's digest, and the key is the one the request names.

    Args:
        request: who asked what.
        inputs: what was sent, encrypted and in clear.
        key: the client's enrolled key.
        outputs: batch: words (J, 2, L, N); single: mask (L, N) and body (J, L).

    Raises:
        VerificationError: inputs, key or outputs are not those of the request and its card.
    """
    card = request.card
    parameters = card.profile(request.packing).parameters
    limbs = len(parameters.moduli)
    require_inputs(request, inputs)
    batch = request.packing is Packing.BATCH
    fits = isinstance(outputs, tuple) != batch
    require(fits, Check.STATEMENT, f"not the outputs of packing '{request.packing}'")
    keys = len(card.outputs) if batch else 1
    require_key(request, key, keys)
    pairs = key.pairs(keys, limbs)
    if isinstance(outputs, tuple):
        mask, body = outputs
        return SingleLinearRelation(request, inputs.words[0], pairs[0], mask, body)
    return BatchLinearRelation(request, inputs.words, pairs, outputs)
