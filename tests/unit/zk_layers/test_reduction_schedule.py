"""What a network's reductions commit to and send follows from its graph alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from protocol.graph import (
    Add,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Mul,
    Polynomial,
    Scale,
    Selection,
    SumPool,
    square,
)
from tests.adversarial.network_scenario import Network, make_network
from tests.adversarial.scenario import DEGREE, MODULI
from zk_layers.extension import extension
from zk_layers.layers.affine import AffineStep
from zk_layers.layers.power import PowerStep
from zk_layers.layers.product import ProductStep
from zk_layers.reduction.merge import MergeStep
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.schedule import Schedule, schedule_of
from zk_layers.reduction.speaker import kept_tensors, origin

SCALE = 60
GRAPHS = {
    "dense, square, dense": Graph(3, (Dense(0, 4), square(1), Dense(2, 1))),
    "two outputs": Graph(3, (Dense(0, 4), square(1), Dense(2, 2))),
    "two squares": Graph(3, (Dense(0, 2), square(1), Dense(2, 2), square(3), Dense(4, 1))),
    "square last": Graph(3, (Dense(0, 3), square(1))),
    "square first": Graph(3, (square(0), Dense(1, 2))),
    "dense after dense": Graph(3, (Dense(0, 4), square(1), Dense(2, 2), Dense(3, 1))),
    "convolution and pooling": Graph(
        16,
        (
            Conv2d(0, (1, 4, 4), 2, (3, 3), (1, 1), (1, 1)),
            square(1),
            SumPool(2, (2, 4, 4), (2, 2), (2, 2)),
            Dense(3, 2),
        ),
    ),
    "cubic": Graph(3, (Dense(0, 2), Polynomial(1, (3, 5, 7, 2), 2), Dense(2, 1))),
    "quartic": Graph(3, (Dense(0, 2), Polynomial(1, (3, 0, 0, 2, 1), 2), Dense(2, 1))),
    "affine polynomial": Graph(3, (Dense(0, 2), Polynomial(1, (3, 5), 2), square(2), Dense(3, 1))),
    "residual": Graph(3, (Dense(0, 3), square(1), Add(2, 1), Dense(3, 1))),
    "scaled sum": Graph(3, (Dense(0, 4), square(1), Add(2, 1), Scale(3, -3), Selection(4, 2))),
    "product": Graph(3, (Dense(0, 2), Dense(0, 2), Mul(1, 2), Dense(3, 1))),
    "product with itself": Graph(3, (Dense(0, 4), Mul(1, 1), Dense(2, 1))),
    "product with the input": Graph(3, (Dense(0, 3), Mul(0, 1), Selection(2, 2))),
    "one unit": Graph(1, (Dense(0, 1), Dense(1, 1), square(2), Dense(3, 1))),
    "sums of itself": Graph(3, (Dense(0, 3), Add(1, 0), Add(2, 2), square(3), Dense(4, 2))),
    "two dense layers": Graph(3, (Dense(0, 4), Dense(1, 2))),
    "selection": Graph(4, (Selection(0, 3), Dense(1, 2), square(2), Dense(3, 2))),
    "comparisons": Graph(
        6,
        (
            Selection(0, 2, 2),  # 1
            GroupedSelection(1, 2),  # 2
            Gather(2, (0, 1, 0)),  # 3
            Gather(2, (1, 0, 0)),  # 4
            Mul(3, 4),  # 5
            Dense(5, 1),  # 6
        ),
    ),
}


def schedule(graph: Graph, *, hidden: bool = True) -> Schedule:
    return schedule_of(graph, SCALE, DEGREE, hidden=hidden)


def steps_of(made: Schedule) -> list[AffineStep | MergeStep | PowerStep | ProductStep]:
    return [step for _, steps in made.steps for step in steps]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.accepts("C-59")
def test_every_pad_has_one_use(name):
    """Each pad pads one value, masks one opening, or is one product."""
    made = schedule(GRAPHS[name])
    used: list[int | None] = [pad for pads in made.outputs.rounds for pad in pads]
    for step in steps_of(made):
        if isinstance(step, AffineStep):
            used += step.shares
            continue
        used += [pad for pads in step.rounds for pad in pads]
        if isinstance(step, MergeStep):
            used += [
                step.value,
                *(o for o, hidden in zip(step.omegas, step.hidden, strict=True) if hidden),
            ]
        else:
            factors = step.powers if isinstance(step, PowerStep) else step.factors
            used += [*factors, *step.weighted]
        for m in step.multiplications:
            used += [m.product, m.spare_product, m.spare_x]
            used += [] if m.square else [m.spare_y]
    assert Counter(used) == Counter(range(made.pads.count))


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_is_committed_in_public(name):
    made = schedule(GRAPHS[name], hidden=False)
    assert made.pads.count == 0
    assert made.multiplications == 0
    assert made.outputs.rounds == ()
    assert made.elements < schedule(GRAPHS[name]).elements


def test_a_square_layer_by_hand():
    """3-4-1, N = 8192: 15 rounds of degree 3, then h, omega, z and three masks."""
    made = schedule(GRAPHS["dense, square, dense"])
    assert made.elements == 15 * 3 + 6
    assert made.rounds_degree == 45
    assert made.multiplications == 2
    assert made.pads.count == 45 + 3 + 3 + 4  # messages; a square; a product
    public = schedule(GRAPHS["dense, square, dense"], hidden=False)
    assert public.elements == 15 * 3 + 1


@pytest.mark.parametrize(
    ("name", "private", "public"),
    [
        ("dense, square, dense", (), ()),
        ("dense after dense", (3,), ()),
        ("two squares", (), ()),
        ("residual", (1,), (1,)),
        ("product with itself", (1,), (1,)),
        ("selection", (1,), ()),
        ("comparisons", (2, 1), (2,)),
        ("product with the input", (), ()),
    ],
)
def test_claims_are_merged_where_they_have_to_be(name, private, public):
    """Where there are several, and in private where a hidden claim meets hidden integers."""
    assert schedule(GRAPHS[name]).merged == private
    assert schedule(GRAPHS[name], hidden=False).merged == public


@pytest.mark.accepts("C-56")
def test_a_merge_counts_for_its_weights():
    made = schedule(GRAPHS["residual"])
    degrees = sum(len(p) for step in steps_of(made) for p in getattr(step, "rounds", ()))
    assert made.rounds_degree == degrees + 1


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("hidden", [True, False], ids=["private", "public"])
def test_kept_tensors_exist_and_ascend(name, hidden):
    graph = GRAPHS[name]
    kept = kept_tensors(graph, SCALE, hidden=hidden)
    assert list(kept) == sorted(set(kept))
    assert all(0 < index <= len(graph.layers) for index in kept)
    merged = schedule(graph, hidden=hidden).merged
    assert {origin(graph.nodes(SCALE), tensor) for tensor in merged} - {0} <= set(kept)


def test_filled_pads_hold_their_products():
    made = schedule(GRAPHS["quartic"])
    modulus = MODULI[0]
    uniform = np.random.default_rng(2).integers(0, modulus, (made.pads.count, 2), dtype=np.uint64)
    before = uniform.copy()
    filled = made.pads.fill(uniform, extension(modulus))
    assert (uniform == before).all()
    products = set()
    for step in steps_of(made):
        for m in getattr(step, "multiplications", ()):
            for x, y, product in (
                (m.x, m.y, m.product),
                (m.spare_x, m.spare_y, m.spare_product),
            ):
                a, b = (np.ascontiguousarray(filled[[i]].T) for i in (x, y))
                assert (extension(modulus).mul(a, b)[:, 0] == filled[product]).all()
                products.add(product)
    others = [i for i in range(made.pads.count) if i not in products]
    assert (filled[others] == uniform[others]).all()
    empty = Pads(hidden=True).fill(np.zeros((0, 2), dtype=np.uint64), extension(modulus))
    assert empty.size == 0


def test_what_is_only_chosen_is_not_kept():
    """Its words are those of the units it takes: of the inputs here, and of the product."""
    layers = GRAPHS["comparisons"].layers
    assert kept_tensors(GRAPHS["comparisons"], SCALE, hidden=True) == ()
    deeper = Graph(6, (*layers[:-1], Gather(5, (2, 0, 0)), Mul(6, 3), Dense(7, 1)))
    assert kept_tensors(deeper, SCALE, hidden=True) == (5,)


def test_pads_are_part_of_the_witness_of_every_limb():
    answer: Network = make_network(GRAPHS["dense, square, dense"])
    relation = answer.relation
    for limb in range(3):
        sizes = {block.name: block.size for block in relation.blocks(limb)}
        assert sizes["pads"] == 2 * relation.schedule.pads.count
    assert relation.message_elements == relation.schedule.elements
