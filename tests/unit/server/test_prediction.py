from __future__ import annotations

import pytest

from server.prediction import MAX_KINDS, REMEMBERED_SECONDS, WorkTimes
from tests.unit.server.clocks import Clock


def test_nothing_is_known_of_what_was_never_done():
    times = WorkTimes(Clock())
    times.observe("one", 3.0)
    assert times.recent("other") is None


def test_the_average_follows_what_is_measured():
    times = WorkTimes(Clock())
    times.observe("kind", 1.0)
    assert times.recent("kind") == 1.0
    times.observe("kind", 2.0)
    assert times.recent("kind") == pytest.approx(1.2)
    for _ in range(40):
        times.observe("kind", 2.0)
    assert times.recent("kind") == pytest.approx(2.0, rel=1e-3)


def test_a_machine_that_stood_still_once_is_forgiven():
    """Calls that are refused are never measured: without forgetting they would be for ever."""
    clock = Clock()
    times = WorkTimes(clock)
    times.observe("kind", 3600.0)
    clock.advance(REMEMBERED_SECONDS + 1)
    assert times.recent("kind") is None
    times.observe("kind", 1.0)
    assert times.recent("kind") == 1.0


def test_kinds_are_bounded():
    times = WorkTimes(Clock())
    for kind in range(3 * MAX_KINDS):
        times.observe(kind, 1.0)
    assert len(times._measured) == MAX_KINDS
    assert times.recent(3 * MAX_KINDS - 1) == 1.0
