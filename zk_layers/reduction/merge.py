"""Several claims on one tensor, or one with a hidden omega, become one claim at a public point.

With challenges alpha_c (alpha_0 = 1) a sum-check of degree 2 over (unit, n) for

    sum_c alpha_c v_c = sum_{k,n} (sum_c alpha_c omega_c(k) lam_c(n)) T(k, n)

ends with T~ (and each hidden omega_c~) sent under pads:
v_end = sum_c alpha_c lam_c~(rho_n) omega_c~(rho_k) T~.

Soundness in a limb: (1 + 2 (log2 K + log2 N)) / |E|, and 2 / |E| per multiplication.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zk_layers.extension import ONE, Element, element
from zk_layers.reduction.forms import Multiplication, product_form
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.rounds import rounds_of, run_rounds
from zk_layers.reduction.run import Claim, Ending, Point, Run, Speaker, SumcheckState

Words = npt.NDArray[np.uint64]

ROUND_DEGREE = 2


@dataclass(frozen=True, eq=False)
class MergeStep:
    """The pads of one merge.

    Attributes:
        tensor: what the claims are about.
        rounds: per round, the pads of its message.
        value: pad of T~.
        omegas: per claim the pad of omega~; None for a public one.
        hidden: per claim whether its omega is hidden.
        products: per claim the multiplication omega~ T~ of a hidden one.
    """

    tensor: int
    rounds: tuple[tuple[int | None, ...], ...]
    value: int | None
    omegas: tuple[int | None, ...]
    hidden: tuple[bool, ...]
    products: tuple[Multiplication | None, ...]

    @classmethod
    def plan(
        cls, pads: Pads, tensor: int, units: int, degree: int, hidden: Sequence[bool]
    ) -> MergeStep:
        """Count the pads of a merge over (units, N)."""
        count = rounds_of(units) + rounds_of(degree)
        rounds = tuple(pads.many(ROUND_DEGREE) for _ in range(count))
        value = pads.one()
        omegas = tuple(pads.one() if one else None for one in hidden)
        products = tuple(pads.multiplication(omega, value) for omega in omegas)
        return cls(tensor, rounds, value, omegas, tuple(hidden), products)

    @property
    def multiplications(self) -> tuple[Multiplication, ...]:
        """In the order of their masks in the last message."""
        return tuple(m for m in self.products if m is not None)

    @property
    def _last(self) -> tuple[int | None, ...]:
        omegas = [pad for pad, hidden in zip(self.omegas, self.hidden, strict=True) if hidden]
        masks = sum(m.masks_count for m in self.multiplications)
        return (self.value, *omegas, *([None] * masks))

    @property
    def elements(self) -> int:
        """Elements of E sent, per limb."""
        return sum(len(pads) for pads in self.rounds) + len(self._last)

    def reduce(self, run: Run, claims: Sequence[Claim]) -> Claim:
        """The one claim that is left."""
        name = f"merge {self.tensor}"
        drawn = run.exchange.challenge(f"{name} weights", len(claims) - 1)
        alphas = [[ONE, *of_limb] for of_limb in drawn]
        values = [
            algebra.combine([(a, c.values[i]) for a, c in zip(alphas[i], claims, strict=True)])
            for i, algebra in enumerate(run.algebras)
        ]
        state = None
        if run.speaker is not None:
            state = _MergeState(run, run.speaker, self.tensor, claims, alphas)
        challenges, ends = run_rounds(
            run.exchange, name, self.rounds, values, algebras=run.algebras, state=state
        )
        point = Point.split(run.limbs, challenges, run.units[self.tensor])
        words = run.exchange.say(
            f"{name} end",
            self._last,
            (lambda: self._clear(run, state, point)) if state is not None else None,
        )
        opened = run.opened(words, self._last)
        ending = Ending(point, ends, opened)
        for index in range(len(run.limbs)):
            self._end(run, index, list(zip(claims, alphas[index], strict=True)), ending)
        return point.claim([of_limb[0].form() for of_limb in opened])

    def _end(
        self, run: Run, index: int, claims: Sequence[tuple[Claim, Element]], ending: Ending
    ) -> None:
        """Check one limb's end; claims with their alphas."""
        point, end = ending.point, ending.claims[index]
        limb = run.limbs[index]
        algebra, scalars = limb.algebra, limb.scalars
        value, *rest = ending.opened[index]
        expected = []
        for position, (claim, alpha) in enumerate(claims):
            line = element(limb.extension.inner(claim.lam[index], point.rows[index]))
            factor = scalars.mul(alpha, line)
            if self.hidden[position]:
                omega = rest.pop(0)
                form = run.omega_form(index, claim, point.units[index])
                run.require_zero(index, algebra.sub(omega.form(), form))
                expected.append(
                    (factor, product_form(algebra, omega, value, self.products[position]))
                )
            else:
                weight = element(limb.extension.inner(claim.outer[index], point.units[index]))
                expected.append((scalars.mul(factor, weight), value.form()))
        run.require_zero(index, algebra.sub(end, algebra.combine(expected)))
        run.require_products(index, self.multiplications, [mask.sent for mask in rest])

    def _clear(self, run: Run, state: _MergeState, point: Point) -> Words:
        """The prover's last message before padding."""
        final = state.final()
        words = np.empty((len(run.limbs), len(self._last), 2), dtype=np.uint64)
        for index, limb in enumerate(run.limbs):
            omegas = [
                element(limb.extension.inner(vector[index], point.units[index]))
                for vector, hidden in zip(state.omegas, self.hidden, strict=True)
                if hidden
            ]
            masks = run.masks(index, self.multiplications)
            words[index] = [element(final[index, 1]), *omegas, *masks]
        return words


class _MergeState:
    """Rounds over the units on the contracted tensor, then rounds over n on one row of it."""

    def __init__(
        self,
        run: Run,
        speaker: Speaker,
        tensor: int,
        claims: Sequence[Claim],
        alphas: list[list[Element]],
    ) -> None:
        self._run, self._speaker, self._tensor = run, speaker, tensor
        self._claims, self._alphas = claims, alphas
        self.omegas = [run.omegas(claim, tensor) for claim in claims]
        self._lines: list[SumcheckState] = [
            speaker.line(self._scaled(omegas, position), speaker.contract(tensor, claim.lam))
            for position, (claim, omegas) in enumerate(zip(claims, self.omegas, strict=True))
        ]
        self._unit_rounds = rounds_of(run.units[tensor])
        self._challenges: list[Words] = []
        if self._unit_rounds == 0:
            self._start_rows()

    def message(self) -> Words:
        """The sum of all claims' round polynomials."""
        total = self._lines[0].message()
        for line in self._lines[1:]:
            other = line.message()
            for index, limb in enumerate(self._run.limbs):
                total[index] = limb.field.add(total[index], other[index])
        return total

    def bind(self, x: Words) -> None:
        """Fix one variable."""
        self._challenges.append(x)
        for line in self._lines:
            line.bind(x)
        if len(self._challenges) == self._unit_rounds:
            self._start_rows()

    def final(self) -> Words:
        """Words (limbs, 2, 2): one and T~."""
        return self._lines[0].final()

    def _start_rows(self) -> None:
        limbs = self._run.limbs
        units = self._run.units[self._tensor]
        table = np.empty((len(limbs), 2, units), dtype=np.uint64)
        for index, limb in enumerate(limbs):
            points = np.array([x[index] for x in self._challenges], dtype=np.uint64)
            table[index] = limb.extension.eq_table(points.reshape(-1, 2))[:, :units]
        lam = np.zeros_like(self._claims[0].lam)
        for position, (claim, omegas) in enumerate(zip(self._claims, self.omegas, strict=True)):
            for index, limb in enumerate(limbs):
                omega = element(limb.extension.inner(omegas[index], table[index]))
                factor = limb.scalars.mul(omega, self._alphas[index][position])
                scaled = limb.extension.scale(
                    np.ascontiguousarray(claim.lam[index]), np.array(factor, dtype=np.uint64)
                )
                lam[index] = limb.field.add(lam[index], scaled)
        self._lines = [self._speaker.line(lam, self._speaker.row(self._tensor, table))]

    def _scaled(self, omegas: Words, position: int) -> Words:
        """alpha_c omega_c, all limbs."""
        return np.stack(
            [
                limb.extension.scale(
                    np.ascontiguousarray(omegas[index]),
                    np.array(self._alphas[index][position], dtype=np.uint64),
                )
                for index, limb in enumerate(self._run.limbs)
            ]
        )
