"""The rounds of a sum-check (Lund, Fortnow, Karloff, Nisan 1992), in the clear or under pads.

Every round the prover sends its polynomial g at 0, 2, 3, ..., degree; g(1) is the claim minus
g(0) and is never sent, so the sum cannot be wrong.  The next claim is g(x) for a challenge x.

With l_i the Lagrange basis of 0..degree at x:  claim' = l_1 claim + (l_0 - l_1) g(0) + sum_i>=2
l_i g(i), so a whole sum-check is one public linear combination of the first claim and of all
messages: `run_rounds` builds it once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zk_layers.extension import ONE, ZERO, Element, element
from zk_layers.reduction.exchange import Exchange
from zk_layers.reduction.forms import Algebra, Form, Opened

Words = npt.NDArray[np.uint64]


class RoundState(Protocol):
    """The prover's side of one sum-check, all limbs."""

    def message(self) -> Words:
        """The round polynomial at 0, 2, ..., degree: words (limbs, degree, 2)."""

    def bind(self, x: Words) -> None:
        """Fix the round's variable to the challenges (limbs, 2)."""


def rounds_of(size: int) -> int:
    """Variables of an array padded to a power of two."""
    return (size - 1).bit_length()


def run_rounds(
    exchange: Exchange,
    label: str,
    pads: Sequence[Sequence[int | None]],
    claims: Sequence[Form],
    *,
    algebras: Sequence[Algebra],
    state: RoundState | None,
) -> tuple[list[list[Element]], list[Form]]:
    """Run one round per entry of `pads`, each with a degree of that entry's length.

    Args:
        exchange: the conversation.
        label: names the sum-check in the transcript.
        pads: per round, per sent value, the pad.
        claims: per limb, the sum.
        algebras: per limb.
        state: the prover's.

    Returns:
        Per limb the challenges, first round first, and the claim at the end.
    """
    points: list[list[Element]] = [[] for _ in claims]
    sent: list[list[list[Opened]]] = [[] for _ in claims]
    for number, indices in enumerate(pads):
        name = f"{label} round {number}"
        words = exchange.say(name, indices, state.message if state is not None else None)
        drawn = exchange.challenge(name)
        for limb, (x,) in enumerate(drawn):
            points[limb].append(x)
            sent[limb].append(
                [Opened(element(w), pad) for w, pad in zip(words[limb], indices, strict=True)]
            )
        if state is not None:
            state.bind(np.array([x for (x,) in drawn], dtype=np.uint64))
    ends = [
        _close(algebra, claim, point, messages)
        for algebra, claim, point, messages in zip(algebras, claims, points, sent, strict=True)
    ]
    return points, ends


def _close(
    algebra: Algebra, claim: Form, point: list[Element], messages: list[list[Opened]]
) -> Form:
    scalars = algebra.scalars
    constant, pads = ZERO, {}
    carried = ONE  # product of l_1 over the later rounds
    for x, opened in zip(reversed(point), reversed(messages), strict=True):
        basis = scalars.lagrange(x, len(opened))
        weights = [scalars.sub(basis[0], basis[1]), *basis[2:]]
        for weight, value in zip(weights, opened, strict=True):
            coefficient = scalars.mul(weight, carried)
            constant = scalars.add(constant, scalars.mul(coefficient, value.sent))
            if value.pad is not None:
                pads[value.pad] = coefficient
        carried = scalars.mul(carried, basis[1])
    return algebra.add(Form(constant, pads=pads), algebra.scale(claim, carried))
