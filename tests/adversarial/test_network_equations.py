"""Every equation that the reductions of a network leave, and the forgery it alone stops.

Limb 1 lies, the others are honest.  A forgery breaks exactly one equation; it is refused, and
accepted by a prover and a verifier who both forget that equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from protocol.graph import Add, Dense, Graph, Mul, Polynomial, square
from tests.adversarial.forgetful import forgetting
from tests.adversarial.malicious_prover import MOVED, Strategy, refused_by
from tests.adversarial.network_prover import (
    CheatingSpeaker,
    Edit,
    NetworkCheat,
    after,
    balance,
    in_range,
    inverse,
    moved_element,
    tampered_members,
    without_constraint,
)
from tests.adversarial.network_scenario import (
    Network,
    make_network,
    merged,
    moved,
    one_output,
    two_outputs,
    with_outputs,
)
from tests.adversarial.scenario import MODULI
from zk_layers.checks import Check
from zk_layers.extension import Element, element, scalars
from zk_layers.fields import field as arithmetic
from zk_layers.layers.affine import AffineStep
from zk_layers.reduction.exchange import Speaking
from zk_layers.reduction.forms import Multiplication

LIAR = 1
OFFSET = 987_654_321


@cache
def cubic() -> Network:
    """A polynomial of degree 3: the square of its argument is sent as well."""
    return make_network(Graph(3, (Dense(0, 2), Polynomial(1, (3, 5, 7, 2), 2), Dense(2, 1))))


@cache
def quartic() -> Network:
    """Degree 4: the square is squared again."""
    return make_network(Graph(3, (Dense(0, 2), Polynomial(1, (3, 5, 7, 2, 1), 2), Dense(2, 1))))


@cache
def multiplied() -> Network:
    """A product of two layers."""
    return make_network(Graph(3, (Dense(0, 2), Dense(0, 2), Mul(1, 2), Dense(3, 1))))


@dataclass(frozen=True)
class Forgery:
    """One way to break one equation.

    Attributes:
        answer: the honest answer it starts from.
        equation: its number.
        label: of the message that is changed.
        balanced: (position, equation): values of that message chosen so that equations hold.
        tensor, shift: constant added to polynomial 0 of a tensor in the liar's limb.
        product: the multiplication whose product of pads is wrong by OFFSET.
        where: see `CheatingSpeaker`.
        edits: other changes of that message, (position, change).
    """

    answer: Callable[[], Network]
    equation: int
    label: str = ""
    balanced: tuple[tuple[int, int], ...] = ()
    tensor: int | None = None
    shift: int = 0
    product: tuple[int, int] | None = None
    where: str = ""
    edits: tuple[tuple[int, int], ...] = field(default=())


def lies(name: str, label: str, **rest) -> dict[str, Forgery]:
    return {name: Forgery(label=label, **rest)}


POWER, MERGE, CUBE, TIMES = "power 2 end", "merge 3 end", "power 2 end", "product 3 end"
SQUARE = {"tensor": 2, "shift": OFFSET, "product": (2, 0), "where": "values"}
WEIGHTED = {"tensor": 3, "shift": 4 * OFFSET, "product": (2, 1), "where": "layer"}
MERGING = {"tensor": 4, "shift": 2 * OFFSET, "product": (3, 0), "where": "merge"}
FORGERIES: dict[str, Forgery] = {
    # 3-4-1: the message is h, omega, z and the masks of h h and omega z
    "value of a power": Forgery(one_output, 0, POWER, ((2, 2),)),
    "omega of a power": Forgery(one_output, 1, POWER, ((1, 2),)),
    "end of a power": Forgery(one_output, 2),
    "mask of a square": Forgery(one_output, 3, POWER, ((3, 4),), edits=((2, OFFSET),), **SQUARE),
    "product of a square": Forgery(one_output, 4, POWER, edits=((2, OFFSET),), **SQUARE),
    "first mask of a product": Forgery(one_output, 5, POWER, ((4, 7),), **WEIGHTED),
    "second mask of a product": Forgery(one_output, 6, POWER, ((5, 7),), **WEIGHTED),
    "product of omega and value": Forgery(one_output, 7, POWER, **WEIGHTED),
    "inputs": Forgery(one_output, 8, tensor=1, shift=OFFSET),
    # 3-4-2-1: the message of the merge is T, omega and the masks of their product
    "omega of a merge": Forgery(merged, 0, MERGE, ((1, 1),)),
    "end of a merge": Forgery(merged, 1),
    "first mask of a merge": Forgery(merged, 2, MERGE, ((2, 4),), **MERGING),
    "second mask of a merge": Forgery(merged, 3, MERGE, ((3, 4),), **MERGING),
    "product of a merge": Forgery(merged, 4, MERGE, **MERGING),
    # a cubic: h, h^2, omega, z, masks
    "square of a cubic": Forgery(cubic, 0, CUBE, ((3, 3), (1, 1))),
    "value of a cubic": Forgery(cubic, 1, CUBE, ((3, 3),)),
    "omega of a cubic": Forgery(cubic, 2, CUBE, ((2, 3),)),
    # a product: a, b, omega, z, masks
    "value of a product": Forgery(multiplied, 0, TIMES, ((3, 2),)),
    "omega of a product": Forgery(multiplied, 1, TIMES, ((2, 2),)),
    "end of a product": Forgery(multiplied, 2),
    "inputs of the first factor": Forgery(multiplied, 9, tensor=2, shift=OFFSET),
    "inputs of the second factor": Forgery(multiplied, 10, tensor=1, shift=OFFSET),
}


def multiplication(answer: Network, tensor: int, number: int) -> Multiplication:
    """A multiplication of the first reduction that a tensor's claims go through."""
    step = dict(answer.relation.schedule.steps)[tensor][0]
    assert not isinstance(step, AffineStep)
    return step.multiplications[number]


def cheat(forgery: Forgery) -> Callable[[bytes], NetworkCheat]:
    """The prover of a false answer."""
    base, modulus = forgery.answer(), MODULI[LIAR]

    def tamper(limb: int, tensor: int, tensors: list[np.ndarray]) -> np.ndarray:
        words = tensors[-1].copy()
        if limb == LIAR and tensor == forgery.tensor:
            shift = np.full_like(words[:, 0], forgery.shift)
            words[:, 0] = arithmetic(modulus).add(words[:, 0].copy(), shift)
        return words

    def spoil(limb: int, pads: np.ndarray) -> None:
        if forgery.product is not None and limb == LIAR:
            index = multiplication(base, *forgery.product).product
            pads[index, 0] = (int(pads[index, 0]) + OFFSET) % modulus

    def prepare(speaker: CheatingSpeaker) -> None:
        speaker.offsets[LIAR], speaker.where = OFFSET, forgery.where

    if forgery.tensor is None:
        answer = with_outputs(base, moved(base.outputs, (0, 1, LIAR, 77), modulus))
        strategy, tampering = Strategy(limbs=(0, 2)), None
    else:
        answer, strategy, tampering = base.answered(tamper=tamper), Strategy(), tamper
    edits: dict[str, Edit] = {}
    for position, by in forgery.edits:
        edits[forgery.label] = moved_element(LIAR, position, (by, 0), modulus)

    def make(seed: bytes) -> NetworkCheat:
        return NetworkCheat(
            answer,
            strategy=strategy,
            seed=seed,
            tamper=tampering,
            members=tampered_members(answer, tampering),
            edits=edits,
            pads=spoil,
            speaker=prepare,
        )

    return make


@pytest.mark.rejects("C-53")
@pytest.mark.rejects("C-55")
@pytest.mark.rejects("C-58")
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_which_this_equation_alone_stops(name):
    forgery = FORGERIES[name]
    prover, proof = in_range(cheat(forgery))
    relation = prover.answer_of.relation
    for position, number in forgery.balanced:
        proof = balance(
            prover, forgery.label, LIAR, position, lambda at=number: prover.values()[LIAR][at]
        )
    assert prover.broken() == [{forgery.equation} if limb == LIAR else set() for limb in range(3)]
    assert refused_by(relation, proof) is Check.LINEAR_SUM
    prover.strategy = MOVED
    prover.projected = prover.sent
    assert refused_by(relation, prover.answer(relation)) is Check.LINEAR
    prover.strategy = Strategy()
    with without_constraint(forgery.equation):
        accepted = prover.answer(relation)
        assert refused_by(relation, accepted) is None, "accepted once the equation is gone"
    assert refused_by(relation, accepted) is not None


def test_every_kind_of_equation_is_attacked():
    """The equations of the three networks, all of the first one's and of a merge's."""
    attacked: dict[Callable[[], Network], set[int]] = {}
    for forgery in FORGERIES.values():
        attacked.setdefault(forgery.answer, set()).add(forgery.equation)
    prover, _ = in_range(lambda seed: NetworkCheat(one_output(), seed=seed))
    assert attacked[one_output] == set(range(len(prover.run.constraints[0])))
    assert attacked[merged] == set(range(5))


@pytest.mark.rejects("C-54")
@pytest.mark.parametrize(
    "make", [one_output, two_outputs, merged, cubic, quartic, multiplied], ids=lambda m: m.__name__
)
def test_every_product_of_pads_is_checked(make):
    """A wrong product breaks the relation of its multiplication, and the end it enters."""
    answer = make()
    steps = [step for _, steps in answer.relation.schedule.steps for step in steps]
    found = [m for step in steps for m in getattr(step, "multiplications", ())]
    assert len(found) == answer.relation.schedule.multiplications
    for which in found:
        for index in (which.product, which.spare_product):

            def spoil(limb: int, pads: np.ndarray, at: int = index) -> None:
                pads[at, limb % 2] = (int(pads[at, limb % 2]) + 1) % MODULI[limb]

            prover = NetworkCheat(answer, pads=spoil)
            prover.talk()
            assert all(prover.broken())
    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed, pads=spoil))
    assert refused_by(answer.relation, proof) is Check.LINEAR_SUM


@pytest.mark.rejects("C-52")
@pytest.mark.parametrize(("make", "stride"), [(one_output, 1), (merged, 4)])
def test_every_element_of_every_message_counts(make, stride):
    """One more in either component of any value breaks an equation in that limb and in no other."""
    answer = make()
    prover, _ = in_range(lambda seed: NetworkCheat(answer, seed=seed))
    relation, said = answer.relation, dict(prover.said)
    prover.projected = prover.sent
    assert sum(words.shape[1] for words in said.values()) == relation.message_elements
    for number, (label, words) in enumerate(said.items()):
        for position in range(number % stride, words.shape[1], stride):
            limb = (number + position) % 3
            by = ((1, 0), (0, 1))[(number + position) % 2]
            prover.edits = {label: moved_element(limb, position, by, MODULI[limb])}
            prover.talk()
            assert [bool(found) for found in prover.broken()] == [at == limb for at in range(3)]
    prover.edits = {label: moved_element(2, 0, (1, 0), MODULI[2])}
    assert refused_by(relation, prover.answer(relation)) is Check.LINEAR_SUM


# ------------------------------------------------------------------------------ shares and merges


@cache
def residual() -> Network:
    """A residual sum: its reduction sends a share, and two claims meet on one tensor."""
    return make_network(Graph(3, (Dense(0, 3), square(1), Add(2, 1), Dense(3, 1))), seed=6)


@cache
def self_product() -> Network:
    """A layer times itself: two claims on one tensor at one point."""
    return make_network(Graph(3, (Dense(0, 4), Mul(1, 1), Dense(2, 1))), seed=7)


@pytest.mark.accepts("C-57")
@pytest.mark.rejects("C-57")
def test_a_value_moved_from_one_share_to_the_other():
    """The last share is what is left, so that they add up; each is a claim of its own."""
    answer = residual()
    assert refused_by(answer.relation, in_range(lambda s: NetworkCheat(answer, seed=s))[1]) is None
    edits = {"affine 3 shares": moved_element(LIAR, 0, (5, 0), MODULI[LIAR])}
    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed, edits=edits))
    assert len(prover.broken()[LIAR]) == 2, "the claims on both tensors"
    assert refused_by(answer.relation, proof) is Check.LINEAR_SUM


def multiplied_by(limb: int, position: int, factor: Element) -> Edit:
    def edit(words: np.ndarray) -> np.ndarray:
        words[limb, position] = scalars(MODULI[limb]).mul(element(words[limb, position]), factor)
        return words

    return edit


@pytest.mark.accepts("C-56")
@pytest.mark.rejects("C-56")
def test_two_false_claims_that_cancel():
    """a b = (2 a) (b / 2): the product holds, the claims on its factors do not."""
    answer, modulus = self_product(), MODULI[LIAR]
    label = "product 2 end"
    assert refused_by(answer.relation, in_range(lambda s: NetworkCheat(answer, seed=s))[1]) is None

    def exchanged(factor: Element) -> dict[str, Edit]:
        first = multiplied_by(LIAR, 0, factor)
        return {label: after(first, multiplied_by(LIAR, 1, inverse(factor, modulus)))}

    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed, edits=exchanged((2, 0))))
    (merge_end,) = prover.broken()[LIAR]
    assert refused_by(answer.relation, proof) is Check.LINEAR_SUM
    # with weights 1 and alpha known beforehand, alpha b and a / alpha weigh as much as a and b
    with forgetting(label):
        prover, _ = in_range(lambda seed: NetworkCheat(answer, seed=seed))
        with drawn_values("merge 1 weights") as drawn:
            prover.projected = prover.sent
            prover.talk()
        prover.edits = exchanged(drawn[-1][LIAR][0])
        cancelled = prover.answer(answer.relation)
        assert prover.broken()[LIAR] == set()
        assert refused_by(answer.relation, cancelled) is None
    assert refused_by(answer.relation, cancelled) is not None
    assert refused_by(answer.relation, prover.answer(answer.relation)) is Check.LINEAR_SUM
    assert merge_end in prover.broken()[LIAR]


@contextmanager
def drawn_values(label: str) -> Iterator[list[list[list[Element]]]]:
    """What is drawn under a label."""
    seen: list[list[list[Element]]] = []
    full = Speaking.challenge

    def challenge(self: Speaking, name: str, count: int = 1) -> list[list[Element]]:
        drawn = full(self, name, count)
        if name == label:
            seen.append(drawn)
        return drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Speaking, "challenge", challenge)
        yield seen
