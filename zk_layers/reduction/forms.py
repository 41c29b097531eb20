"""Affine forms: values which the verifier knows up to committed pads.

A message of a private proof is one-time padded: the prover sends v - p for a committed pad p, so
that both sides know v as the form (v - p) + p.  Sums and multiples by public elements of E stay
affine; a product of two padded values is affine too once the product of their pads is committed
(`Multiplication`).  In a public proof nothing is padded and every form is a constant.

Symbols, per limb: p_i committed pads in E; w the model's integers; F the hidden part of the first
claim, a linear form in the rest of the witness (docs/protocol.md, section 18).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from zk_layers.extension import ONE, ZERO, Element, Scalars

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class WeightForm:
    """sum_i words[:, i] w[offset + i], coefficients words (2, size) over E."""

    offset: int
    words: Words


@dataclass(frozen=True, eq=False)
class Form:
    """constant + first F + sum_i pads_i p_i + sum of scalar * WeightForm."""

    constant: Element = ZERO
    first: Element = ZERO
    pads: dict[int, Element] = field(default_factory=dict)
    weights: tuple[tuple[Element, WeightForm], ...] = ()

    def known(self) -> Element:
        """The value of a form in which nothing is hidden.

        Raises:
            ValueError: something is.
        """
        if self.first != ZERO or self.pads or self.weights:
            raise ValueError("the value of this form is hidden")
        return self.constant


@dataclass(frozen=True)
class Opened:
    """A value v sent as v - p: `sent` and the index of p, None when nothing is padded."""

    sent: Element
    pad: int | None

    def form(self) -> Form:
        """The value as a form."""
        return Form(self.sent) if self.pad is None else Form(self.sent, pads={self.pad: ONE})


@dataclass(frozen=True)
class Algebra:
    """Forms over one limb's extension."""

    scalars: Scalars

    def add(self, *forms: Form) -> Form:
        """The sum."""
        scalars = self.scalars
        pads = dict(forms[0].pads)
        for form in forms[1:]:
            for index, coefficient in form.pads.items():
                known = pads.get(index)
                pads[index] = coefficient if known is None else scalars.add(known, coefficient)
        return Form(
            scalars.add(*(form.constant for form in forms)),
            scalars.add(*(form.first for form in forms)),
            pads,
            tuple(part for form in forms for part in form.weights),
        )

    def scale(self, form: Form, factor: Element) -> Form:
        """A multiple by a public element."""
        if factor == ONE:
            return form
        mul = self.scalars.mul
        return Form(
            mul(form.constant, factor),
            mul(form.first, factor) if form.first != ZERO else ZERO,
            {index: mul(value, factor) for index, value in form.pads.items()},
            tuple((mul(value, factor), part) for value, part in form.weights),
        )

    def sub(self, a: Form, b: Form) -> Form:
        """a - b."""
        return self.add(a, self.scale(b, self.scalars.neg(ONE)))

    def combine(self, terms: list[tuple[Element, Form]]) -> Form:
        """A public linear combination."""
        return self.add(*(self.scale(form, factor) for factor, form in terms))


@dataclass(frozen=True)
class Multiplication:
    """Pads which make the product of two padded values an affine form.

    The prover commits to p_x p_y and, to prove that it is the product, to a second triple
    p'_x, p'_y, p'_x p'_y which is sacrificed: with a challenge r drawn after the commitment it
    opens d = r p_x - p'_x and e = p_y - p'_y, uniform whatever the pads are, and

        d e + d p'_y + e p'_x + p'_x p'_y - r p_x p_y = 0

    is linear in what is committed.  A square has y = x, p'_y = p'_x, opens d alone and shows
    d (r p_x + p'_x) = r^2 p_x^2 - p'_x^2.  A wrong product survives for one r at most (two for a
    square).  Attributes are pad indices.
    """

    x: int
    y: int
    product: int
    spare_x: int
    spare_y: int
    spare_product: int

    @property
    def square(self) -> bool:
        """Whether both factors are the same padded value."""
        return self.x == self.y

    @property
    def masks_count(self) -> int:
        """Elements sent: d, and e unless it is a square."""
        return 1 if self.square else 2

    def masks(self, scalars: Scalars, r: Element, pads: Words) -> list[Element]:
        """The prover's d (and e) from its pads, words (pads, 2)."""

        def pad(index: int) -> Element:
            return (int(pads[index, 0]), int(pads[index, 1]))

        d = scalars.sub(scalars.mul(r, pad(self.x)), pad(self.spare_x))
        return [d] if self.square else [d, scalars.sub(pad(self.y), pad(self.spare_y))]

    def constraints(self, algebra: Algebra, r: Element, masks: list[Element]) -> list[Form]:
        """Forms which vanish for an honest prover."""
        scalars = algebra.scalars
        minus_r = scalars.neg(r)
        minus_one = scalars.neg(ONE)
        d = masks[0]
        opened_x = Form(d, pads={self.x: minus_r, self.spare_x: ONE})
        if self.square:
            relation = {
                self.x: scalars.mul(d, r),
                self.spare_x: d,
                self.product: scalars.neg(scalars.mul(r, r)),
                self.spare_product: ONE,
            }
            return [opened_x, Form(pads=relation)]
        e = masks[1]
        opened_y = Form(e, pads={self.y: minus_one, self.spare_y: ONE})
        relation = {
            self.spare_y: d,
            self.spare_x: e,
            self.spare_product: ONE,
            self.product: minus_r,
        }
        return [opened_x, opened_y, Form(scalars.mul(d, e), pads=relation)]


def product_form(
    algebra: Algebra, x: Opened, y: Opened, multiplication: Multiplication | None
) -> Form:
    """X y = x^ y^ + x^ p_y + y^ p_x + p_x p_y; the multiplication is None when nothing is hidden.

    Raises:
        ValueError: a multiplication made for other pads.
    """
    scalars = algebra.scalars
    constant = scalars.mul(x.sent, y.sent)
    if multiplication is None:
        return Form(constant)
    if (x.pad, y.pad) != (multiplication.x, multiplication.y):
        raise ValueError("this multiplication belongs to other pads")
    if multiplication.square:
        crossed = {multiplication.x: scalars.scale(x.sent, 2)}
    else:
        crossed = {multiplication.x: y.sent, multiplication.y: x.sent}
    return Form(constant, pads={**crossed, multiplication.product: ONE})
