"""The product layer: out = left * right, unit by unit, of two tensors.

Evaluated by `fhe_layers/layers/product.py`.  One sum-check of degree 3 over (unit, n) for
v = sum_{k,n} omega(k) lam(n) a(k, n) b(k, n); its end sends a~, b~ (and omega~ and a~ b~ when omega
is hidden) under pads and leaves one claim on each source, at the same point.

Soundness in a limb: 3 (log2 K + log2 N) / |E|, and 2 / |E| per multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.nodes import Product
from zk_layers.extension import element
from zk_layers.reduction.forms import Multiplication, product_form
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.rounds import rounds_of, run_rounds
from zk_layers.reduction.run import Claim, Ending, Point, Run, Weighted

Words = npt.NDArray[np.uint64]

ROUND_DEGREE = 3


@dataclass(frozen=True, eq=False)
class ProductStep:
    """The pads of one product layer's reduction.

    Attributes:
        tensor: what the claim is about.
        node: the layer.
        rounds: per round, the pads of its message.
        factors: pads of a~ and b~.
        inner: their multiplication.
        weighted: pads of omega~ and a~ b~ when omega is hidden.
        outer: their multiplication.
    """

    tensor: int
    node: Product
    rounds: tuple[tuple[int | None, ...], ...]
    factors: tuple[int | None, ...]
    inner: Multiplication | None
    weighted: tuple[int | None, ...]
    outer: Multiplication | None

    @classmethod
    def plan(
        cls, pads: Pads, tensor: int, node: Product, units: int, degree: int, *, hidden_omega: bool
    ) -> ProductStep:
        """Count the pads of a reduction over (units, N)."""
        count = rounds_of(units) + rounds_of(degree)
        rounds = tuple(pads.many(ROUND_DEGREE) for _ in range(count))
        factors = pads.many(2)
        inner = pads.multiplication(*factors)
        weighted = pads.many(2) if hidden_omega else ()
        outer = pads.multiplication(*weighted) if hidden_omega else None
        return cls(tensor, node, rounds, factors, inner, weighted, outer)

    @property
    def multiplications(self) -> tuple[Multiplication, ...]:
        """In the order of their masks in the last message."""
        return tuple(m for m in (self.inner, self.outer) if m is not None)

    @property
    def _last(self) -> tuple[int | None, ...]:
        masks = sum(m.masks_count for m in self.multiplications)
        return (*self.factors, *self.weighted, *([None] * masks))

    @property
    def elements(self) -> int:
        """Elements of E sent, per limb."""
        return sum(len(pads) for pads in self.rounds) + len(self._last)

    def reduce(self, run: Run, claim: Claim) -> list[tuple[int, Claim]]:
        """The claims on both sources."""
        name = f"product {self.tensor}"
        state = None
        if run.speaker is not None:
            omegas = run.omegas(claim, self.tensor)
            state = run.speaker.product(self.node, omegas, claim.lam)
        challenges, ends = run_rounds(
            run.exchange, name, self.rounds, claim.values, algebras=run.algebras, state=state
        )
        point = Point.split(run.limbs, challenges, run.units[self.tensor])
        final = state.final() if state is not None else None
        words = run.exchange.say(
            f"{name} end", self._last, (lambda: self._clear(run, final)) if state else None
        )
        opened = run.opened(words, self._last)
        ending = Ending(point, ends, opened)
        for index in range(len(run.limbs)):
            self._end(run, index, claim, ending)
        return [
            (source, point.claim([of_limb[position].form() for of_limb in opened]))
            for position, source in enumerate((self.node.left, self.node.right))
        ]

    def _end(self, run: Run, index: int, claim: Claim, ending: Ending) -> None:
        """Check one limb's end."""
        opened = ending.opened[index]
        value = product_form(run.algebras[index], opened[0], opened[1], self.inner)
        weighted = Weighted(opened[2], opened[3], self.outer) if self.weighted else None
        run.require_end(index, claim, ending, value, weighted)
        masks = [mask.sent for mask in opened[2 + len(self.weighted) :]]
        run.require_products(index, self.multiplications, masks)

    def _clear(self, run: Run, final: Words | None) -> Words:
        """The prover's last message before padding, from (limbs, 3, 2) words omega~, a~, b~."""
        if final is None:
            raise ValueError("only the prover ends a sum-check")
        words = np.empty((len(run.limbs), len(self._last), 2), dtype=np.uint64)
        for index, limb in enumerate(run.limbs):
            omega, a, b = (element(pair) for pair in final[index])
            values = [a, b]
            if self.weighted:
                values += [omega, limb.scalars.mul(a, b)]
            words[index] = [*values, *run.masks(index, self.multiplications)]
        return words
