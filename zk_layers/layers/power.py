"""The power layer: out = p(in), unit by unit, for a public polynomial p of degree 1 to 4.

Evaluated by `fhe_layers/layers/power.py`.  One sum-check of degree deg p + 1 over (unit, n),

    v = sum_{k,n} omega(k) lam(n) p(h(k, n)),

ends in points rho_k, rho_n and leaves  v_end = lam~(rho_n) omega~(rho_k) p(h~(rho_k, rho_n))  with
h~ (and omega~, when the next matrix is hidden) sent under pads; the products in it are shown by
multiplications.  The claim that is left is  h~ = sum eq(rho_k) eq(rho_n) in.

Soundness in a limb: (deg p + 1)(log2 K + log2 N) / |E|, and 2 / |E| per multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.nodes import Power
from zk_layers.extension import ONE, Element, element
from zk_layers.reduction.forms import Form, Multiplication, Opened, product_form
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.rounds import rounds_of, run_rounds
from zk_layers.reduction.run import Claim, Ending, Point, Run, Weighted

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class PowerStep:
    """The pads of one power layer's reduction.

    Attributes:
        tensor: what the claim is about.
        node: the layer.
        rounds: per round, the pads of its message.
        powers: pads of h, and of h^2 when p has degree 3 or 4 and it is hidden.
        square, high: the multiplications h h, and h^2 h and h^2 h^2.
        weighted: pads of omega~ and p(h~) when omega is hidden.
        product: their multiplication.
    """

    tensor: int
    node: Power
    rounds: tuple[tuple[int | None, ...], ...]
    powers: tuple[int | None, ...]
    square: Multiplication | None
    high: tuple[Multiplication | None, ...]
    weighted: tuple[int | None, ...]
    product: Multiplication | None

    @classmethod
    def plan(
        cls, pads: Pads, tensor: int, node: Power, units: int, degree: int, *, hidden_omega: bool
    ) -> PowerStep:
        """Count the pads of a reduction over (units, N)."""
        count = rounds_of(units) + rounds_of(degree)
        rounds = tuple(pads.many(node.degree + 1) for _ in range(count))
        h = pads.one()
        powers: tuple[int | None, ...] = (h,)
        square: Multiplication | None = None
        high: tuple[Multiplication | None, ...] = ()
        if node.degree >= 2:
            square = pads.multiplication(h, h)
        if node.degree >= 3 and pads.hidden:
            squared = pads.one()
            powers = (h, squared)
            high = (pads.multiplication(squared, h),)
            if node.degree == 4:
                high = (*high, pads.multiplication(squared, squared))
        weighted = pads.many(2) if hidden_omega else ()
        product = pads.multiplication(*weighted) if hidden_omega else None
        return cls(tensor, node, rounds, powers, square, high, weighted, product)

    @property
    def multiplications(self) -> tuple[Multiplication, ...]:
        """In the order of their masks in the last message."""
        return tuple(m for m in (self.square, *self.high, self.product) if m is not None)

    @property
    def _last(self) -> tuple[int | None, ...]:
        """Pads of the last message; masks go without."""
        masks = sum(m.masks_count for m in self.multiplications)
        return (*self.powers, *self.weighted, *([None] * masks))

    @property
    def elements(self) -> int:
        """Elements of E sent, per limb."""
        return sum(len(pads) for pads in self.rounds) + len(self._last)

    def reduce(self, run: Run, claim: Claim) -> list[tuple[int, Claim]]:
        """The claim on the source."""
        source, name = self.node.source, f"power {self.tensor}"
        state = None
        if run.speaker is not None:
            omegas = run.omegas(claim, self.tensor)
            state = run.speaker.power(self.node, omegas, claim.lam)
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
        values = [self._end(run, index, claim, ending) for index in range(len(run.limbs))]
        return [(source, point.claim(values))]

    def _end(self, run: Run, index: int, claim: Claim, ending: Ending) -> Form:
        """Check one limb's end and return the form of h~."""
        opened, known = ending.opened[index], len(self.powers)
        value = self._polynomial(run, index, opened)
        weighted = None
        if self.weighted:
            weighted = Weighted(opened[known], opened[known + 1], self.product)
        run.require_end(index, claim, ending, value, weighted)
        masks = [mask.sent for mask in opened[known + len(self.weighted) :]]
        run.require_products(index, self.multiplications, masks)
        return opened[0].form()

    def _polynomial(self, run: Run, index: int, opened: list[Opened]) -> Form:
        """P(h~) as a form; notes that the opened square is the square."""
        limb = run.limbs[index]
        algebra, node = limb.algebra, self.node
        h = opened[0]
        forms = [Form(ONE), h.form()]
        if node.degree >= 2:
            squared = product_form(algebra, h, h, self.square)
            forms.append(squared)
            if node.degree >= 3:
                if len(self.powers) > 1:
                    again = opened[1]
                    run.require_zero(index, algebra.sub(again.form(), squared))
                else:
                    again = Opened(squared.constant, None)
                high = self.high or (None, None)
                forms.append(product_form(algebra, again, h, high[0]))
                if node.degree == 4:
                    forms.append(product_form(algebra, again, again, high[1]))
        return algebra.combine(list(zip(self._coefficients(limb.modulus), forms, strict=True)))

    def _coefficients(self, modulus: int) -> list[Element]:
        return [(coefficient % modulus, 0) for coefficient in self.node.coefficients]

    def _clear(self, run: Run, final: Words | None) -> Words:
        """The prover's last message before padding, from (limbs, 2, 2) words omega~, h~."""
        if final is None:
            raise ValueError("only the prover ends a sum-check")
        words = np.empty((len(run.limbs), len(self._last), 2), dtype=np.uint64)
        for index, limb in enumerate(run.limbs):
            scalars = limb.scalars
            omega, h = element(final[index, 0]), element(final[index, 1])
            powers = scalars.powers(h, self.node.degree + 1)
            values = [h, *([powers[2]] if len(self.powers) > 1 else [])]
            if self.weighted:
                values += [omega, scalars.dot(self._coefficients(limb.modulus), powers)]
            words[index] = [*values, *run.masks(index, self.multiplications)]
        return words
