from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from fhe_layers.network_cost import predict_cost
from fhe_layers.network_planner import (
    DISCLOSURE_LOG2_RANGE,
    FLOODING_DISTANCE_LOG2,
    NO_WRAP_MARGIN_BITS,
    DeclaredNetwork,
    plan_network,
)
from fhe_layers.quantise_network import quantise_network
from protocol.bounds import Bounds, network_bounds
from protocol.errors import PlanningError
from protocol.graph import Conv2d, Dense, Graph, GroupedSelection, Selection, square
from protocol.model import Profile
from protocol.parameters import MAX_MODULUS_BITS, Mode
from tests.reference.networks import forest

ONE = 1 << 15


def declared(graph: Graph, *norms: float, mode: Mode = Mode.PRIVATE) -> DeclaredNetwork:
    """Norms in units of one, a value per matrix."""
    bounds = (
        int(norm * ONE)
        for matrix, norm in zip(graph.matrices, norms, strict=True)
        for _ in range(matrix.rows)
    )
    return DeclaredNetwork(graph, tuple(bounds), 1.0, mode)


def mlp(*sizes: int) -> Graph:
    layers = [Dense(0, sizes[1])]
    for units in sizes[2:]:
        layers += [square(len(layers)), Dense(len(layers) + 1, units)]
    return Graph(sizes[0], tuple(layers))


SHALLOW = declared(mlp(30, 64, 1), 4, 4)
DEEP = declared(mlp(30, 64, 16, 1), 3, 6, 13)
CNN = declared(
    Graph(
        64,
        (
            Conv2d(0, (1, 8, 8), 4, (3, 3), padding=(1, 1)),
            square(1),
            Dense(2, 32),
            square(3),
            Dense(4, 10),
        ),
    ),
    3,
    6,
    6,
)


def bounds_of(network: DeclaredNetwork, profile: Profile) -> Bounds:
    return network_bounds(
        network.graph,
        profile.parameters,
        row_l1_bounds=network.row_l1_bounds,
        input_bound=network.input_bound,
        flooding_log2=profile.flooding_log2,
        dropped_limbs=profile.dropped_limbs,
        disclosure_log2=profile.disclosure_log2,
    )


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    ("network", "ring", "limbs", "dropped", "bits"),
    [(SHALLOW, 8192, 3, 0, 20.0), (DEEP, 16384, 6, 2, 14.0), (CNN, 16384, 6, 2, 14.0)],
)
def test_a_plan_keeps_every_promise(  # noqa: PLR0917
    network: DeclaredNetwork, ring: int, limbs: int, dropped: int, bits: float, mode: Mode
):
    network = replace(network, mode=mode)
    chosen = plan_network(network, precision_bits=bits)
    parameters, profile = chosen.parameters, chosen.profile
    assert (parameters.ring_degree, len(parameters.moduli)) == (ring, limbs)
    total = math.log2(math.prod((*parameters.moduli, parameters.special_modulus)))
    assert total <= MAX_MODULUS_BITS[ring]
    assert chosen.precision_bits >= bits
    assert chosen.bounds == bounds_of(network, profile)
    assert chosen.bounds.no_wrap_bits >= NO_WRAP_MARGIN_BITS
    low, high = DISCLOSURE_LOG2_RANGE
    assert low <= profile.disclosure_log2 <= high
    if mode is Mode.PUBLIC:
        assert (profile.flooding_log2, profile.dropped_limbs) == (None, 0)
        return
    assert profile.dropped_limbs == dropped
    distance = chosen.bounds.flooding_distance_log2
    assert FLOODING_DISTANCE_LOG2 - 1 <= distance <= FLOODING_DISTANCE_LOG2


@pytest.mark.parametrize("network", [SHALLOW, DEEP, CNN])
def test_nothing_is_left_over(network: DeclaredNetwork):
    """Neither a larger scale, nor another dropped limb, nor more disclosure distance would do."""
    chosen = plan_network(network)
    profile, parameters = chosen.profile, chosen.parameters
    wider = replace(parameters, input_scale_log2=parameters.input_scale_log2 + 1)
    wrapping = bounds_of(network, replace(profile, parameters=wider))
    assert wrapping.no_wrap_bits < NO_WRAP_MARGIN_BITS
    if profile.disclosure_log2 < DISCLOSURE_LOG2_RANGE[1]:
        further = replace(profile, disclosure_log2=profile.disclosure_log2 + 1)
        assert bounds_of(network, further).precision_bits < 14.0
    if profile.dropped_limbs:
        more = replace(profile, dropped_limbs=profile.dropped_limbs + 1)
        assert bounds_of(network, more).precision_bits < 14.0


def test_less_precision_buys_disclosure_distance():
    fine, coarse = (plan_network(CNN, precision_bits=bits) for bits in (16.0, 14.0))
    assert coarse.profile.disclosure_log2 > fine.profile.disclosure_log2


def test_more_precision_takes_a_larger_ring():
    fine = plan_network(SHALLOW, precision_bits=34.0)
    assert fine.parameters.ring_degree > 8192
    assert fine.precision_bits >= 34


def test_a_wish_too_fine_is_refused_with_the_nearest_plan_which_then_works():
    with pytest.raises(PlanningError) as caught:
        plan_network(DEEP, precision_bits=200)
    match = re.search(r"the nearest is ([0-9.]+) bits at N = (\d+)", str(caught.value))
    assert match is not None
    offered = plan_network(DEEP, precision_bits=float(match[1]))
    assert offered.parameters.ring_degree == int(match[2])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (declared(mlp(4, 4, 4, 4, 1), *[2.0**20] * 4), "depth 3.*fewer squarings"),
        (declared(mlp(4, 4, 33), 4, 4), "66 enrolled keys, at most 64.*public mode"),
    ],
)
def test_what_does_not_fit_is_told_what_to_change(network: DeclaredNetwork, message: str):
    with pytest.raises(PlanningError, match=message):
        plan_network(network)


def test_three_squarings_are_the_end_and_fit():
    assert plan_network(declared(mlp(4, 4, 4, 4, 1), 1, 1, 1, 1)).precision_bits >= 14


def test_public_mode_takes_more_outputs_than_keys_allow():
    assert plan_network(declared(mlp(4, 4, 33), 4, 4, mode=Mode.PUBLIC)).precision_bits >= 14


def test_a_ring_can_be_imposed():
    assert plan_network(SHALLOW, ring_degree=16384).parameters.ring_degree == 16384
    with pytest.raises(PlanningError, match="do not fit N = 8192"):
        plan_network(DEEP, ring_degree=8192)
    with pytest.raises(PlanningError, match="not supported"):
        plan_network(DEEP, ring_degree=10000)


@pytest.mark.parametrize("precision", [math.nan, -1.0, math.inf])
def test_a_precision_that_is_no_wish_is_refused(precision: float):
    with pytest.raises(PlanningError, match="expected a number from 0"):
        plan_network(SHALLOW, precision_bits=precision)


def test_predicted_sizes_are_the_ones_that_travel():
    chosen = plan_network(CNN)
    cost, limbs, ring = chosen.cost, 6, 16384
    assert cost.request_bytes == 64 * (limbs * ring * 8 + 64)
    assert cost.response_bytes == 10 * 5 * (limbs - 2) * ring * 8
    assert cost.public_key_bytes == 40 * limbs * ring * 8
    assert cost.server_memory_bytes > cost.request_bytes + cost.response_bytes


@pytest.mark.parametrize(("depth", "bits"), [(2, 20.0), (3, 14.0)])
def test_trees_fit_the_smallest_ring(depth: int, bits: float):
    """Twenty trees on 240 comparisons: bits stay bits when they are multiplied."""
    quantised = quantise_network(forest(20, 30, 8, depth))
    trees = DeclaredNetwork(quantised.graph, quantised.row_l1_bounds, 1.0, Mode.PRIVATE)
    plan = plan_network(trees, precision_bits=bits)
    assert (plan.parameters.ring_degree, len(plan.parameters.moduli)) == (8192, 3)
    assert plan.precision_bits >= bits


def test_a_refusal_says_that_a_tensor_is_too_wide_for_larger_rings():
    quantised = quantise_network(forest(50, 30, 8))
    trees = DeclaredNetwork(quantised.graph, quantised.row_l1_bounds, 1.0, Mode.PRIVATE)
    with pytest.raises(PlanningError, match=r"nearest is .* fewer units than 2800 in a tensor"):
        plan_network(trees, precision_bits=26)


def test_choices_cost_copies_and_not_their_matrices():
    profile = plan_network(SHALLOW).profile
    wide, narrow = (
        predict_cost(Graph(240, (GroupedSelection(0, 60), Selection(1, units))), profile)
        for units in (60, 1)
    )
    weighted = predict_cost(Graph(240, (GroupedSelection(0, 60), Dense(1, 60))), profile)
    assert narrow.evaluate_seconds < wide.evaluate_seconds < weighted.evaluate_seconds


def test_predicted_seconds_grow_with_the_work():
    costs = [predict_cost(n.graph, plan_network(n).profile) for n in (SHALLOW, DEEP, CNN)]
    for smaller, larger in pairwise(costs):
        assert smaller.evaluate_seconds < larger.evaluate_seconds
        assert smaller.prove_seconds < larger.prove_seconds
        assert smaller.total_seconds < larger.total_seconds
