"""Registration: once per private model, exact ranges of the committed integers.

Limb 0 only, no projection, no slack (docs/protocol.md, section 6).  Per integer W: 15 magnitude
bits, a sign s, the magnitude m and z = s m, so that W = m - 2 z:

    b b = b,  s s = s,  s m = z,  c c = c,  r r = v,  v r = r (r ternary)
    m = sum 2^i b_i;  sum_row m + sum 2^i c_i = declared l1 bound of the row;  h = A (m - 2 z) + B r

A selection's rows have a bound of 1 and, in addition, sum_row (m - 2 z) = 1: integers whose
magnitudes sum to at most 1 and which sum to 1 are a single 1 among zeros.

Requests show h again with short integers; two different openings of one h would break Module-SIS,
so every request inherits these ranges.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from protocol.digests import digest
from protocol.encoding import Value
from protocol.errors import ModelError
from protocol.families import COMMITMENT_DEGREE, OPENING_SIZE, WEIGHT_BITS, WEIGHT_BOUND, Family
from protocol.layers import PrivateSelection
from protocol.model import ModelCard
from protocol.parameters import QUADRATIC_CODE, Mode
from zk_layers.checks import Check, require
from zk_layers.commitment import RANK, opened_form, opened_target
from zk_layers.fields import field
from zk_layers.relation import Block, Challenges, LinearForm, Relation, Witness

Words = npt.NDArray[np.uint64]


class RegistrationRelation(Relation):
    """The committed integers of a card are within their declared ranges."""

    label = "blindproof registration"
    code = QUADRATIC_CODE
    families: tuple[Family, ...] = ()

    def __init__(self, card: ModelCard) -> None:
        if card.mode is not Mode.PRIVATE:
            raise ModelError("only private models are registered")
        self.card = card
        self.moduli = card.key_moduli[:1]
        matrices = card.graph.matrices
        widths = [matrix.width for matrix in matrices for _ in range(matrix.rows)]
        chosen = [
            isinstance(card.graph.layers[matrix.layer], PrivateSelection)
            for matrix in matrices
            for _ in range(matrix.rows)
        ]
        self.rows = len(widths)
        self.count = card.graph.integers_count
        self.row_of = np.repeat(np.arange(self.rows), widths)
        self.selections = np.flatnonzero(chosen)
        self.slack_bits = [bound.bit_length() for bound in card.row_l1_bounds]
        reach = max(card.row_l1_bounds) * 2 + (self.count << WEIGHT_BITS)
        require(reach < self.moduli[0], Check.NO_WRAP, "the l1 sums do not fit the first modulus")

    @cached_property
    def _statement(self) -> Value:
        return (self.card.digest, self.card.commitment, self.card.row_l1_bounds)

    def statement(self) -> Value:
        """The card, which holds commitment, graph, parameters and declared bounds."""
        return self._statement

    def blocks(self, limb: int) -> tuple[Block, ...]:
        """Bits (bit outermost), sign, magnitude, z, slack bits, r and its square."""
        del limb
        sizes = {
            "bits": WEIGHT_BITS * self.count,
            "sign": self.count,
            "magnitude": self.count,
            "negative": self.count,
            "slack": sum(self.slack_bits),
            "opening": OPENING_SIZE,
            "square": OPENING_SIZE,
        }
        return tuple(Block(name, size, aligned=True) for name, size in sizes.items())

    def products(self, limb: int) -> tuple[tuple[str, str, str], ...]:
        """Bits are bits, z = s m, r is ternary."""
        del limb
        return (
            ("bits", "bits", "bits"),
            ("sign", "sign", "sign"),
            ("sign", "magnitude", "negative"),
            ("slack", "slack", "slack"),
            ("opening", "opening", "square"),
            ("square", "opening", "opening"),
        )

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        """One element of E per equation."""
        del limb
        challenges: dict[str, tuple[int, ...]] = {
            "commitment": (2, RANK, COMMITMENT_DEGREE),
            "magnitudes": (2, self.count),
            "norms": (2, self.rows),
        }
        if self.selections.size:
            challenges["selections"] = (2, self.selections.size)
        return challenges

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        """The folded equations; see the module's docstring."""
        modulus = self.moduli[0]
        arithmetic = field(modulus)
        extra = challenges.extra[0]
        weights, opening = opened_form(modulus, extra["commitment"], self.count)
        magnitudes, rows = extra["magnitudes"], extra["norms"]
        slack_row = np.repeat(np.arange(self.rows), self.slack_bits)
        slack_power = np.concatenate([np.arange(bits) for bits in self.slack_bits])
        powers = np.broadcast_to(np.uint64(1) << slack_power.astype(np.uint64), (2, slack_row.size))
        bits = [arithmetic.scale(magnitudes, modulus - (1 << i)) for i in range(WEIGHT_BITS)]
        per_row = arithmetic.add(magnitudes, np.ascontiguousarray(rows[:, self.row_of]))
        # one challenge per selected row, zero for the others
        selections = np.zeros_like(rows)
        if self.selections.size:
            selections[:, self.selections] = extra["selections"]
        weights = arithmetic.add(weights, np.ascontiguousarray(selections[:, self.row_of]))
        coefficients = {
            "bits": np.concatenate(bits, axis=1),
            "magnitude": arithmetic.add(np.ascontiguousarray(weights), per_row),
            "negative": arithmetic.scale(np.ascontiguousarray(weights), modulus - 2),
            "slack": arithmetic.mul(
                np.ascontiguousarray(rows[:, slack_row]), np.ascontiguousarray(powers)
            ),
            "opening": opening,
        }
        target = list(opened_target(modulus, extra["commitment"], self.card.commitment_words()))
        for component in range(2):
            target[component] += sum(
                int(word) * bound
                for word, bound in zip(rows[component], self.card.row_l1_bounds, strict=True)
            )
            target[component] += sum(int(word) for word in selections[component])
        return [LinearForm(coefficients, (target[0], target[1]))]

    def witness(self, integers: npt.NDArray[np.int64], opening: npt.NDArray[np.int64]) -> Witness:
        """The prover's side: all the model's integers, of any shape, and the opening (5120,).

        Raises:
            ModelError: when the integers exceed what the card declares.
        """
        flat = integers.reshape(-1)
        magnitude = np.abs(flat)
        sums = np.zeros(self.rows, dtype=np.int64)
        np.add.at(sums, self.row_of, magnitude)
        slack = np.array(self.card.row_l1_bounds) - sums
        if magnitude.max(initial=0) > WEIGHT_BOUND or (slack < 0).any():
            raise ModelError("the model's integers exceed the ranges its card declares")
        arithmetic = field(self.moduli[0])
        contents = {
            "bits": np.concatenate([(magnitude >> i) & 1 for i in range(WEIGHT_BITS)]),
            "sign": (flat < 0).astype(np.int64),
            "magnitude": magnitude,
            "negative": np.where(flat < 0, magnitude, 0),
            "slack": np.concatenate(
                [
                    (value >> np.arange(bits)) & 1
                    for value, bits in zip(slack, self.slack_bits, strict=True)
                ]
            ),
            "opening": opening,
            "square": opening * opening,
        }
        blocks = {name: arithmetic.reduce_i64(values) for name, values in contents.items()}
        return Witness((blocks,), {})


def registration_digest(proof: bytes) -> bytes:
    """Digest of a registration proof, bound into every request."""
    return digest("blindproof registration", proof)
