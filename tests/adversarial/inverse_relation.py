"""A relation which only the proximity test protects: x_0 = 0 and x y = 1, element by element.

It is false.  Nothing linear binds y, so a cheat may put y = 1 / x at every position of the code:
the products are right there, the row is no codeword, and no other test looks at it.
"""

from __future__ import annotations

import numpy as np

from protocol.encoding import Value
from protocol.families import Family
from protocol.parameters import QUADRATIC_CODE
from tests.adversarial.malicious_prover import MaliciousProver
from tests.adversarial.scenario import MODULI
from zk_layers.fields import field
from zk_layers.relation import Block, Challenges, LinearForm, Relation

SIZE = QUADRATIC_CODE.message_length


class InverseRelation(Relation):
    """x has an inverse although its first element is zero."""

    label = "inverse of zero"
    code = QUADRATIC_CODE
    moduli = MODULI[:1]
    families: tuple[Family, ...] = ()

    def statement(self) -> Value:
        return "x has an inverse"

    def blocks(self, limb: int) -> tuple[Block, ...]:
        return tuple(Block(name, SIZE, aligned=True) for name in ("x", "y", "one"))

    def products(self, limb: int) -> tuple[tuple[str, str, str], ...]:
        return (("x", "y", "one"),)

    def extra_challenges(self, limb: int) -> dict[str, tuple[int, ...]]:
        return {"ones": (2, SIZE), "zero": (2, 1)}

    def linear_forms(self, challenges: Challenges) -> list[LinearForm]:
        ones, zero = (challenges.extra[0][name] for name in ("ones", "zero"))
        first = np.zeros((2, SIZE), dtype=np.uint64)
        first[:, :1] = zero
        totals = [sum(int(word) for word in row) for row in ones]
        return [LinearForm({"one": ones, "x": first}, (totals[0], totals[1]))]


def inverse_prover(seed: bytes) -> MaliciousProver:
    """Commits to a y that is 1 / x at every position."""
    modulus = MODULI[0]
    x = np.arange(SIZE, dtype=np.uint64)
    blocks = [{"x": x, "y": x, "one": np.ones(SIZE, dtype=np.uint64)}]

    def divide(limb: int, codewords: np.ndarray) -> None:
        del limb
        inverse = field(modulus).inverse(codewords[0].copy())
        codewords[1] = field(modulus).mul(codewords[2].copy(), inverse)

    return MaliciousProver(InverseRelation(), blocks, seed=seed, corrupt=divide)
