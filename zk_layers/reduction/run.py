"""One run of the reductions: what both sides keep while claims travel from outputs to inputs.

A claim on tensor T says  value = sum_{k,n} omega(k) lam(n) T_sigma(k, n)  where T_sigma is T with
its polynomials folded at S = sigma, lam is public and omega, over the units, is public or a public
combination of rows of a hidden matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protocol.nodes import AffineTerm, Power, Product
from zk_layers.extension import ONE, Element, element
from zk_layers.reduction.exchange import Exchange
from zk_layers.reduction.forms import Form, Multiplication, Opened, WeightForm, product_form
from zk_layers.reduction.limb import Limb, limb_of
from zk_layers.reduction.rounds import RoundState, rounds_of

Words = npt.NDArray[np.uint64]


class SumcheckState(RoundState, Protocol):
    """The prover's side of a sum-check over (unit, n)."""

    def final(self) -> Words:
        """omega~ and the tensors' values at the end: words (limbs, 1 + tensors, 2)."""


class Speaker(Protocol):
    """What only the prover can compute."""

    @property
    def residues(self) -> Sequence[Words]:
        """Per limb the model's integers mod q."""

    def pads(self, limb: int) -> Words:
        """The committed pads, words (pads, 2)."""

    def folded(self, tensor: int) -> Words:
        """T_sigma: words (limbs, 2, units, N)."""

    def power(self, node: Power, omegas: Words, lam: Words) -> SumcheckState:
        """The sum-check of a power layer: omegas (limbs, 2, units), lam (limbs, 2, N)."""

    def product(self, node: Product, omegas: Words, lam: Words) -> SumcheckState:
        """The sum-check of a product layer."""

    def contract(self, tensor: int, lam: Words) -> Words:
        """sum_n lam(n) T_sigma(k, n): words (limbs, 2, units)."""

    def row(self, tensor: int, units: Words) -> Words:
        """sum_k units(k) T_sigma(k, n): words (limbs, 2, N)."""

    def line(self, lam: Words, row: Words) -> SumcheckState:
        """The sum-check of sum_n lam(n) row(n), both words (limbs, 2, size)."""


@dataclass(frozen=True, eq=False)
class Point:
    """Where a sum-check over (unit, n) ended.

    Attributes:
        units: eq(rho_k, .) over a tensor's units, per limb words (2, units).
        rows: eq(rho_n, .), words (limbs, 2, N).
    """

    units: list[Words]
    rows: Words

    @classmethod
    def split(cls, limbs: Sequence[Limb], challenges: list[list[Element]], units: int) -> Point:
        """From all challenges, those of the unit first."""
        bits = rounds_of(units)
        over_units, over_rows = [], []
        for limb, point in zip(limbs, challenges, strict=True):
            first = np.array(point[:bits], dtype=np.uint64).reshape(-1, 2)
            second = np.array(point[bits:], dtype=np.uint64).reshape(-1, 2)
            table = limb.extension.eq_table(first)[:, :units]
            over_units.append(np.ascontiguousarray(table))
            over_rows.append(limb.extension.eq_table(second))
        return cls(over_units, np.stack(over_rows))

    def claim(self, values: list[Form]) -> Claim:
        """The claim that a tensor takes these values there."""
        return Claim(self.rows, [ONE] * len(values), self.units, (), values)


@dataclass(frozen=True, eq=False)
class Claim:
    """One claim on one tensor.

    Attributes:
        lam: words (limbs, 2, N).
        lam_sums: per limb the sum of lam over n.
        outer: per limb words (2, units), units of the tensor or of the route's first matrix.
        route: empty when omega = outer is public; else a hidden matrix A_0 and public ones after
            it, omega = A_m^T ... A_1^T A_0^T outer.
        values: per limb.
    """

    lam: Words
    lam_sums: list[Element]
    outer: list[Words]
    route: tuple[AffineTerm, ...]
    values: list[Form]

    @property
    def hidden(self) -> bool:
        """Whether omega depends on a hidden matrix."""
        return bool(self.route)


@dataclass(frozen=True, eq=False)
class Ending:
    """The last step of a sum-check, all limbs.

    Attributes:
        point: where it ended.
        claims: per limb, what is left to show.
        opened: per limb, the values of the last message.
    """

    point: Point
    claims: list[Form]
    opened: list[list[Opened]]


@dataclass(frozen=True, eq=False)
class Weighted:
    """omega~ and what it weighs, opened in one limb, and the multiplication of the two."""

    omega: Opened
    value: Opened
    multiplication: Multiplication | None


class Run:
    """State of one run, all limbs."""

    def __init__(
        self,
        exchange: Exchange,
        units: Sequence[int],
        *,
        hidden: bool,
        residues: Sequence[Words] | None,
        sacrifices: Sequence[Element],
        speaker: Speaker | None,
    ) -> None:
        """Start a run.

        Args:
            exchange: messages and challenges.
            units: per tensor.
            hidden: whether weights are hidden from the verifier.
            residues: per limb the model's integers mod q: the prover's, or everybody's.
            sacrifices: per limb the challenge r of multiplications, empty when nothing is hidden.
            speaker: the prover's.
        """
        self.exchange = exchange
        self.units = tuple(units)
        self.hidden = hidden
        self.residues = residues
        self.sacrifices = tuple(sacrifices)
        self.speaker = speaker
        self.limbs = tuple(limb_of(modulus) for modulus in exchange.moduli)
        self.algebras = tuple(limb.algebra for limb in self.limbs)
        self.constraints: list[list[Form]] = [[] for _ in self.limbs]

    def omegas(self, claim: Claim, tensor: int) -> Words:
        """The vectors omega over a tensor's units, for the prover: words (limbs, 2, units)."""
        units = self.units[tensor]
        stacked = np.empty((len(self.limbs), 2, units), dtype=np.uint64)
        sizes = [*(term.units for term in claim.route[1:]), units]
        for index, limb in enumerate(self.limbs):
            vector = claim.outer[index]
            residues = None if self.residues is None else self.residues[index]
            for term, size in zip(claim.route, sizes, strict=False):
                vector = limb.pull_back(term, vector, size, residues)
            stacked[index] = vector
        return stacked

    def omega_form(self, index: int, claim: Claim, inner: Words) -> Form:
        """sum_k omega(k) inner(k) in one limb, inner words (2, units)."""
        limb = self.limbs[index]
        vector = inner
        for term in reversed(claim.route[1:]):
            vector = limb.push_forward(term, vector)
        if claim.route:
            part = limb.weight_form(claim.route[0], claim.outer[index], vector)
            return Form(weights=((ONE, part),))
        return Form(element(limb.extension.inner(claim.outer[index], vector)))

    def weights(self, index: int, part: WeightForm) -> Form:
        """A linear form in the model's integers: evaluated when they are public."""
        if self.hidden:
            return Form(weights=((ONE, part),))
        if self.residues is None:
            raise ValueError("a public model's integers are needed")
        words = self.residues[index][part.offset : part.offset + part.words.shape[1]]
        value = self.limbs[index].extension.inner_words(words[None], part.words)
        return Form(element(value[:, 0]))

    def require_zero(self, index: int, form: Form) -> None:
        """Note a form that must vanish."""
        self.constraints[index].append(form)

    def require_end(
        self,
        index: int,
        claim: Claim,
        ending: Ending,
        value: Form,
        weighted: Weighted | None,
    ) -> None:
        """Note, in one limb, that a sum-check ended in lam~ omega~ value.

        Args:
            index: the limb.
            claim: what the sum-check was about.
            ending: its last step.
            value: what omega~ weighs, as a form.
            weighted: omega~ and the value as they were opened, None when omega is public.
        """
        limb, point = self.limbs[index], ending.point
        algebra = limb.algebra
        scale = element(limb.extension.inner(claim.lam[index], point.rows[index]))
        if weighted is not None:
            self.require_zero(index, algebra.sub(weighted.value.form(), value))
            expected = self.omega_form(index, claim, point.units[index])
            self.require_zero(index, algebra.sub(weighted.omega.form(), expected))
            form = product_form(algebra, weighted.omega, weighted.value, weighted.multiplication)
            product = algebra.scale(form, scale)
        else:
            weight = element(limb.extension.inner(claim.outer[index], point.units[index]))
            product = algebra.scale(value, limb.scalars.mul(scale, weight))
        self.require_zero(index, algebra.sub(ending.claims[index], product))

    def masks(self, index: int, multiplications: Sequence[Multiplication]) -> list[Element]:
        """The prover's opened masks of some products, in one limb."""
        if not multiplications:
            return []
        if self.speaker is None:
            raise ValueError("only the prover knows the pads")
        pads, r = self.speaker.pads(index), self.sacrifices[index]
        scalars = self.limbs[index].scalars
        return [mask for m in multiplications for mask in m.masks(scalars, r, pads)]

    def require_products(
        self, index: int, multiplications: Sequence[Multiplication], masks: list[Element]
    ) -> None:
        """Note what the opened masks must satisfy."""
        for multiplication in multiplications:
            count = multiplication.masks_count
            r, algebra = self.sacrifices[index], self.algebras[index]
            for form in multiplication.constraints(algebra, r, masks[:count]):
                self.require_zero(index, form)
            masks = masks[count:]

    def opened(self, words: Words, pads: Sequence[int | None]) -> list[list[Opened]]:
        """A message's values: per limb, per element."""
        return [
            [Opened(element(pair), pad) for pair, pad in zip(of_limb, pads, strict=True)]
            for of_limb in words
        ]
