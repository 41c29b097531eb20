"""What is refused before anything is proved: graphs, profiles, masks and margins out of range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol.errors import ModelError, ParameterError
from protocol.graph import MAX_POLYS, Add, Dense, Graph, Mul, Polynomial, Scale, SumPool, square
from protocol.layers import MAX_LAYERS, MAX_UNITS
from protocol.model import MAX_DROPPED_LIMBS, NETWORK_FLOODING_LOG2_RANGE, ModelCard, Profile
from protocol.parameters import Packing
from tests.adversarial.network_scenario import network_card, one_output, rescaled, two_squares
from tests.unit.zk_layers.test_reduction_schedule import GRAPHS
from zk_layers.checks import MIN_NO_WRAP_BITS
from zk_layers.verify import verify_network


@pytest.mark.accepts("C-48")
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_within_their_limits(name):
    graph = GRAPHS[name]
    assert Graph.from_value(graph.value()) == graph


@pytest.mark.rejects("C-48")
@pytest.mark.parametrize(
    "make",
    [
        lambda: Graph(3, ()),
        lambda: Graph(3, (square(0), *(Scale(i + 1, 3) for i in range(MAX_LAYERS)))),
        lambda: Graph(3, (square(1), Dense(0, 2))),
        lambda: Graph(3, (Dense(0, 2), Dense(0, 3))),
        lambda: Graph(3, (square(0), Dense(1, MAX_UNITS + 1))),
        lambda: Graph(3, (square(0), Dense(1, MAX_UNITS), Dense(2, 2))),
        lambda: Graph(3, tuple(square(i) for i in range(MAX_POLYS.bit_length()))),
        lambda: Graph(3, (Dense(0, 2), Add(1, 0))),
        lambda: Graph(3, (Dense(0, 2), Mul(1, 0))),
        lambda: Graph(3, (SumPool(0, (1, 2, 2), (1, 1), (1, 1)),)),
        lambda: Graph(3, (Polynomial(0, (1,), 0),)),
        lambda: Graph(3, (Polynomial(0, (1, 0), 0),)),
        lambda: Graph(3, (Polynomial(0, (0, 0, 0, 0, 0, 1), 0),)),
        lambda: Graph(3, (Scale(0, 0), square(1))),
    ],
    ids=range(14),
)
def test_graphs_beyond_their_limits(make: Callable[[], Graph]):
    with pytest.raises(ModelError):
        make()


def with_profile(**changes) -> ModelCard:
    card = rescaled().card
    return replace(card, profiles=(replace(card.profiles[0], **changes),))


@pytest.mark.accepts("C-49")
def test_profiles_of_networks():
    low, high = NETWORK_FLOODING_LOG2_RANGE
    assert with_profile(flooding_log2=low).profiles[0].flooding_log2 == low
    assert low < high
    assert two_squares().kept == 4
    assert [len(card.profiles) for card in (one_output().card, rescaled().card)] == [1, 1]


@pytest.mark.rejects("C-49")
@pytest.mark.parametrize(
    "changes",
    [
        {"packing": Packing.SINGLE, "dropped_limbs": 0},
        {"flooding_log2": NETWORK_FLOODING_LOG2_RANGE[0] - 1},
        {"flooding_log2": NETWORK_FLOODING_LOG2_RANGE[1] + 1},
        {"flooding_log2": None},
        {"dropped_limbs": MAX_DROPPED_LIMBS},
        {"dropped_limbs": -1},
    ],
    ids=str,
)
def test_profiles_that_networks_do_not_have(changes):
    with pytest.raises((ModelError, ParameterError)):
        with_profile(**changes)


@pytest.mark.accepts("C-63")
def test_masks_below_a_quarter_of_their_limbs():
    for answer in (one_output(), rescaled(), two_squares()):
        for family in answer.relation.families:
            product = 1
            for limb in family.limbs:
                product *= answer.moduli[limb]
            assert 4 * family.mask_bound < product


@pytest.mark.rejects("C-63")
def test_masks_that_say_nothing_mod_q():
    """Flooding so long that short mod Q would hold of anything."""
    card = one_output().card
    profile: Profile = card.profiles[0]
    longest = max(
        f for f in range(60, 180) if accepted(replace(card, profiles=(at(profile, 60),)), f)
    )
    assert 140 < longest < 180
    assert not accepted(card, longest + 1)
    with pytest.raises((ParameterError, ModelError)):
        replace(card, profiles=(at(profile, longest + 1),))


def at(profile: Profile, flooding: int) -> Profile:
    return replace(profile, flooding_log2=flooding)


def accepted(card: ModelCard, flooding: int) -> bool:
    try:
        replace(card, profiles=(at(card.profiles[0], flooding),))
    except (ParameterError, ModelError):
        return False
    return True


@pytest.mark.accepts("C-67")
@pytest.mark.rejects("C-67")
def test_bounds_of_every_tensor_decide():
    """The largest value is that of an inner tensor here: the output alone would fit."""
    answer = one_output()
    assert answer.card.bounds(Packing.BATCH).no_wrap_bits >= MIN_NO_WRAP_BITS
    graph = Graph(3, (Dense(0, 4), square(1), Dense(2, 1)))
    opening, integers = answer.opening, answer.integers
    wide = network_card(graph, integers, opening, scale=75)
    assert wide.bounds(Packing.BATCH).no_wrap_bits < MIN_NO_WRAP_BITS
    small = replace(wide, row_l1_bounds=(*wide.row_l1_bounds[:4], 1))
    bounds = small.bounds(Packing.BATCH)
    assert bounds.no_wrap_bits < MIN_NO_WRAP_BITS, "the square wraps already"
    request = replace(answer.request, card=wide)
    changed = replace(answer, request=request).answered()
    with pytest.raises(Exception, match="no wrap"):
        verify_network(changed.relation, b"")
