from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import pytest

from server.fair_queue import FairQueue


@dataclass(eq=False)
class Call:
    tenant: str
    cost: float = 1.0


def anybody(tenant: str) -> bool:
    return True


def served(queue: FairQueue[Call], eligible=anybody):
    while (call := queue.first(eligible)) is not None:
        queue.serve(call)
        yield call


def filled(*calls: Call) -> FairQueue[Call]:
    queue: FairQueue[Call] = FairQueue()
    for call in calls:
        queue.add(call)
    return queue


def test_within_a_tenant_calls_keep_their_order():
    calls = [Call("a", cost) for cost in (5, 1, 3)]
    assert list(served(filled(*calls))) == calls


def test_a_tenant_with_many_calls_does_not_keep_another_waiting():
    queue = filled(*(Call("loud") for _ in range(500)), Call("quiet"))
    assert "quiet" in [call.tenant for call in islice(served(queue), 2)]


def test_shares_are_of_work_and_not_of_calls():
    queue = filled(*(Call("large", 10) for _ in range(50)), *(Call("small", 1) for _ in range(500)))
    first = list(islice(served(queue), 110))
    work = {name: sum(c.cost for c in first if c.tenant == name) for name in ("large", "small")}
    assert abs(work["large"] - work["small"]) <= 10


def test_nobody_saves_up_while_idle():
    queue = filled(*(Call("busy") for _ in range(100)))
    for _ in range(50):
        next(served(queue))
    for _ in range(100):
        queue.add(Call("idle until now"))
    first = [call.tenant for call in islice(served(queue), 20)]
    assert first.count("busy") >= 9


def test_nobody_gets_ahead_by_leaving_between_two_calls():
    queue = filled(*(Call("steady") for _ in range(100)))
    order = []
    for _ in range(40):
        if queue.newest("comes and goes") is None:
            queue.add(Call("comes and goes"))
        order.append(next(served(queue)).tenant)
    assert order.count("steady") >= 19


def test_calls_that_leave_cost_their_tenant_nothing():
    queue = filled(Call("a"), Call("b"))
    for _ in range(1000):
        gone = Call("a", 100)
        queue.add(gone)
        queue.remove(gone)
    order = [call.tenant for call in served(queue)]
    assert sorted(order) == ["a", "b"]
    queue.add(Call("b"))
    queue.add(Call("a"))
    assert queue.cost_before("a") <= 2


def test_a_tenant_that_may_not_be_served_is_passed_over():
    queue = filled(Call("full"), Call("free"))
    assert queue.first(lambda tenant: tenant != "full").tenant == "free"
    assert queue.first(lambda tenant: False) is None
    assert len(queue) == 2


def test_what_comes_first_is_predicted():
    queue = filled(*(Call("a", 2) for _ in range(5)), Call("b", 3))
    assert queue.cost_before("a") == 13  # all of its own, and b's
    assert queue.cost_before("b") == 6  # its own, and as much of a's
    assert queue.cost_before("c") == 0


def test_the_newest_call_of_a_tenant_is_the_one_that_came_last():
    first, last = Call("a"), Call("a")
    assert filled(first, last).newest("a") is last
    assert filled(first).newest("b") is None


def test_tenants_that_have_gone_are_forgotten():
    queue: FairQueue[Call] = FairQueue()
    for number in range(1000):
        queue.add(Call(f"tenant {number}"))
        next(served(queue))
    assert len(queue._tags) < 10


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_length_is_the_number_of_calls(count):
    assert len(filled(*(Call(str(number % 3)) for number in range(count)))) == count
