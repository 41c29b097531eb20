from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.quotas import LONGEST_ADVICE_SECONDS, UNLIMITED, Quota, Quotas, TokenBucket
from server.refusals import Refusal
from tests.unit.server.clocks import Clock
from wire.rpc import Reason


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refusal_of(work) -> Refusal:
    with pytest.raises(Refusal) as caught:
        work()
    assert caught.value.reason is Reason.QUOTA_EXHAUSTED
    return caught.value


def test_requests_beyond_the_rate_are_told_when_to_come_back(clock):
    meter = Quotas(Quota(requests=3), clock=clock).of("clinic")
    for _ in range(3):
        meter.take_request()
    assert refusal_of(meter.take_request).retry_seconds == pytest.approx(20)
    clock.advance(20)
    meter.take_request()
    refusal_of(meter.take_request)


def test_being_refused_costs_nothing(clock):
    meter = Quotas(Quota(requests=1), clock=clock).of("clinic")
    meter.take_request()
    for _ in range(59):
        clock.advance(1)
        refusal_of(meter.take_request)
    clock.advance(1)
    meter.take_request()


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 40)), max_size=40))
def test_in_the_long_run_nobody_exceeds_the_rate(attempts):
    """However calls are timed and sized: a minute's allowance to begin with, and the rate."""
    clock = Clock()
    meter = Quotas(Quota(compute_seconds=10), clock=clock).of("clinic")
    begin, used = clock.now, 0.0
    for pause, size in attempts:
        clock.advance(pause)
        allowed = 10 + (clock.now - begin) * 10 / 60
        try:
            reserved = meter.reserve(0, 1)
        except Refusal:
            assert used > 9 - 1e-6  # the first minute's allowance is there at once
            continue
        # When it was accepted nothing was owed, whatever it uses then.
        assert used + 1 <= allowed + 1e-6
        reserved.seconds_used = size
        reserved.settle()
        used += size


@pytest.mark.parametrize("what", ["transfer_bytes", "compute_seconds"])
def test_what_was_not_used_is_given_back_and_what_was_used_beyond_is_owed(clock, what):
    meter = Quotas(Quota(**{what: 60}), clock=clock).of("clinic")
    sizes = {"transfer_bytes": 0, "compute_seconds": 0}
    used = {"transfer_bytes": "bytes_used", "compute_seconds": "seconds_used"}[what]
    first = meter.reserve(**{**sizes, what: 60})
    refusal_of(lambda: meter.reserve(**{**sizes, what: 1}))
    first.settle()
    second = meter.reserve(**{**sizes, what: 60})
    first.settle()  # once is enough
    refusal_of(lambda: meter.reserve(**{**sizes, what: 1}))
    setattr(second, used, 90)
    second.settle()
    assert refusal_of(lambda: meter.reserve(**{**sizes, what: 1})).retry_seconds == 31
    clock.advance(31)
    meter.reserve(**{**sizes, what: 1})


def test_a_call_larger_than_a_minutes_quota_waits_for_all_of_it(clock):
    meter = Quotas(Quota(transfer_bytes=100), clock=clock).of("clinic")
    meter.reserve(1000, 0)  # full: it may, and owes
    refusal = refusal_of(lambda: meter.reserve(1000, 0))
    assert refusal.retry_seconds == pytest.approx(600)
    clock.advance(600)
    meter.reserve(1000, 0)


def test_advice_is_bounded(clock):
    meter = Quotas(Quota(transfer_bytes=1), clock=clock).of("clinic")
    meter.reserve(10**9, 0)
    assert refusal_of(lambda: meter.reserve(1, 0)).retry_seconds == LONGEST_ADVICE_SECONDS


def test_tenants_have_quotas_of_their_own(clock):
    quotas = Quotas(Quota(requests=1), {"large": Quota(requests=100)}, clock)
    quotas.of("small").take_request()
    refusal_of(quotas.of("small").take_request)
    for _ in range(100):
        quotas.of("large").take_request()
    quotas.of("another").take_request()


def test_another_quota_does_not_forget_what_was_used(clock):
    quotas = Quotas(Quota(requests=2), clock=clock)
    for _ in range(2):
        quotas.of("clinic").take_request()
    quotas.replace(Quota(requests=100))
    refusal_of(quotas.of("clinic").take_request)
    clock.advance(0.6)
    quotas.of("clinic").take_request()
    quotas.replace(UNLIMITED, {"other": Quota(requests=1)})
    for _ in range(1000):
        quotas.of("clinic").take_request()


def test_another_default_leaves_the_quotas_of_single_tenants(clock):
    quotas = Quotas(UNLIMITED, {"small": Quota(requests=1)}, clock)
    quotas.of("small").take_request()
    quotas.replace(Quota(requests=50))
    refusal_of(quotas.of("small").take_request)
    quotas.replace(Quota(requests=50), {})
    clock.advance(60)
    for _ in range(50):
        quotas.of("small").take_request()


def test_what_is_saved_up_shrinks_with_the_quota(clock):
    quotas = Quotas(Quota(requests=100), clock=clock)
    quotas.of("clinic").take_request()
    quotas.replace(Quota(requests=1))
    quotas.of("clinic").take_request()
    refusal_of(quotas.of("clinic").take_request)


def test_a_clock_that_goes_back_gives_nothing(clock):
    bucket = TokenBucket(60, clock)
    bucket.charge(60)
    clock.advance(-100)
    assert bucket.seconds_until(1) == 1
    clock.advance(1)
    assert bucket.seconds_until(1) == 0


@pytest.mark.parametrize(
    "values",
    [
        {"requests": 0},
        {"requests": 0.5},
        {"transfer_bytes": -1},
        {"compute_seconds": float("nan")},
        {"compute_seconds": float("inf")},
        {"places": 0},
    ],
)
def test_a_quota_that_serves_nobody_or_means_nothing_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Quota(**values)
