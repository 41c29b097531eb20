from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.collapse import collapse
from fhe_layers.network_planner import DeclaredNetwork, NetworkPlan, plan_network
from fhe_layers.packing_choice import choose_packing, single_seconds
from fhe_layers.planner import LinearModelSpec, Plan, plan
from protocol.errors import ParameterError, PlanningError
from protocol.graph import Dense, Graph, square
from protocol.parameters import Mode, Packing

GRAPH = Graph(30, (Dense(0, 64), square(1), Dense(2, 1)))
TOO_MANY = PlanningError("46,375 monomials")


@pytest.fixture(scope="module")
def batch() -> NetworkPlan:
    norms = (1 << 17,) * (64 + 1)
    return plan_network(DeclaredNetwork(GRAPH, norms, 1.0, Mode.PRIVATE))


@pytest.fixture(scope="module")
def single() -> Plan:
    monomials = len(collapse(GRAPH, np.zeros(GRAPH.integers_count)).expansion)
    return plan(LinearModelSpec(monomials, 1, 1.0, 1 << 22, Mode.PRIVATE), Packing.SINGLE)


def test_one_record_goes_alone_and_a_ward_in_a_batch(batch, single):
    alone, ward = (choose_packing(records, batch, single) for records in (1, 1000))
    assert alone.packing is Packing.SINGLE
    assert alone.seconds == single_seconds(single.parameters)
    assert ward.packing is Packing.BATCH
    assert ward.seconds == batch.cost.total_seconds


def test_the_number_named_is_where_the_choice_turns(batch, single):
    reason = choose_packing(1, batch, single).reason
    turning = int(reason.removesuffix(" records").rsplit(" ", 1)[1])
    assert choose_packing(turning - 1, batch, single).packing is Packing.SINGLE
    assert choose_packing(turning, batch, single).packing is Packing.BATCH


def test_more_records_than_slots_take_several_batches(batch, single):
    slots = batch.parameters.slots
    one, two = (choose_packing(count, batch, single).seconds for count in (slots, slots + 1))
    assert two == 2 * one


def test_what_is_impossible_is_not_chosen_and_its_reason_given(batch, single):
    kept = choose_packing(1, batch, TOO_MANY)
    assert kept.packing is Packing.BATCH
    assert "46,375 monomials" in kept.reason
    kept = choose_packing(1000, PlanningError("no ring is wide enough"), single)
    assert kept.packing is Packing.SINGLE
    assert "no ring is wide enough" in kept.reason


def test_nothing_possible_is_refused_with_both_reasons():
    with pytest.raises(PlanningError, match=r"no ring.*46,375 monomials"):
        choose_packing(1, PlanningError("no ring"), TOO_MANY)


def test_no_records_are_no_plan(batch, single):
    with pytest.raises(ParameterError):
        choose_packing(0, batch, single)
