"""Places, tickets and workers, with a clock of their own."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from server.admission import Admission, Ticket, quota_of
from server.demand import Demand
from server.quotas import Quota, Quotas
from server.refusals import Refusal
from server.settings import ServerSettings
from tests.unit.server.clocks import Clock
from wire.rpc import Reason

LONG = 1e6
WORK = Demand(10, 1000, 1.0, "work")


@pytest.fixture
def settings(tmp_path) -> ServerSettings:
    return ServerSettings(
        tls_certificate=tmp_path / "cert.pem",
        tls_key=tmp_path / "key.pem",
        models=tmp_path,
        state=tmp_path,
        max_requests=2,
        max_streams=6,
        max_memory_bytes=100,
    )


def running(scenario) -> None:
    """Run a scenario in an event loop of its own, for not too long."""

    async def run() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(run())


class Caller:
    """A call that has a ticket, and waits for its place in the background."""

    def __init__(self, admission: Admission, tenant: str = "a") -> None:
        self._held = ExitStack()
        self.ticket: Ticket = self._held.enter_context(admission.ticket(tenant))
        self.task: asyncio.Task[None] | None = None

    async def wait(self, demand: Demand = WORK, left: float = LONG) -> Caller:
        async def place() -> None:
            try:
                await self.ticket.place(demand, left)
            except BaseException:
                self._held.close()
                raise

        self.task = asyncio.create_task(place())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return self

    @property
    def placed(self) -> bool:
        return self.task.done() and self.task.exception() is None

    @property
    def refusal(self) -> Refusal | None:
        found = self.task.exception() if self.task.done() else None
        assert found is None or isinstance(found, Refusal)
        return found

    async def end(self) -> None:
        self._held.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def waiting(admission: Admission, tenant: str = "a", demand=WORK, left=LONG) -> Caller:
    return await Caller(admission, tenant).wait(demand, left)


async def worked(admission: Admission, clock: Clock, seconds: float, tenant: str = "a") -> None:
    """A call that computes for so long."""
    caller = await waiting(admission, tenant)
    async with caller.ticket.working():
        clock.advance(seconds)
    await caller.end()


def test_who_waits_has_a_place_as_soon_as_one_is_free(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        first, second, third = [await waiting(admission) for _ in range(3)]
        assert (first.placed, second.placed, third.placed) == (True, True, False)
        assert (admission.placed, admission.waiting, admission.held_bytes) == (2, 1, 20)
        await first.end()
        assert third.placed
        await second.end()
        await third.end()
        assert (admission.placed, admission.waiting, admission.held_bytes) == (0, 0, 0)

    running(scenario)


def test_a_call_waits_for_memory_too_and_is_not_overtaken(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        first = await waiting(admission, demand=Demand(60, 0, 1.0))
        large = await waiting(admission, demand=Demand(50, 0, 1.0))
        small = await waiting(admission, demand=Demand(10, 0, 1.0))
        assert (large.placed, small.placed) == (False, False)
        await first.end()
        assert (large.placed, small.placed) == (True, True)

    running(scenario)


def test_a_call_that_never_fits_is_not_told_to_come_back(settings):
    async def scenario() -> None:
        refusal = (await waiting(Admission(settings), demand=Demand(101, 0))).refusal
        assert (refusal.reason, refusal.retry_seconds) == (Reason.REQUEST_REFUSED, None)

    running(scenario)


@pytest.mark.parametrize("left", [0.0, -1.0, float("nan")])
def test_a_call_without_time_is_refused_at_once(settings, left):
    async def scenario() -> None:
        admission = Admission(settings)
        refusal = (await waiting(admission, left=left)).refusal
        assert refusal.reason is Reason.TOO_SLOW
        assert admission.placed == 0

    running(scenario)


def test_a_call_without_a_deadline_waits(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        assert (await waiting(admission, left=float("inf"))).placed

    running(scenario)


def test_a_call_that_would_wait_too_long_is_told_at_once_when_to_come_back(settings):
    async def scenario() -> None:
        clock = Clock()
        admission = Admission(settings, workers=1, clock=clock)
        await worked(admission, clock, 10.0)
        callers = [await waiting(admission) for _ in range(3)]
        assert admission.predicted_wait("a") == pytest.approx(30)
        refusal = (await waiting(admission, left=35.0)).refusal
        assert refusal.reason is Reason.BUSY
        assert refusal.retry_seconds == pytest.approx(5)
        assert (await waiting(admission, left=41.0)).refusal is None
        await callers[2].end()

    running(scenario)


def test_work_under_way_counts_only_for_what_is_left_of_it(settings):
    async def scenario() -> None:
        clock = Clock()
        admission = Admission(settings, workers=1, clock=clock)
        await worked(admission, clock, 10.0)
        caller = await waiting(admission)
        async with caller.ticket.working():
            clock.advance(8.0)
            assert admission.predicted_wait("a") == pytest.approx(2)
            clock.advance(8.0)
            assert admission.predicted_wait("a") == 0
        early = await waiting(admission)
        async with early.ticket.working():
            clock.advance(1.0)
        assert admission.predicted_wait("a") == 0

    running(scenario)


def test_work_that_takes_longer_than_the_call_may_is_refused_once_it_was_measured(settings):
    async def scenario() -> None:
        clock = Clock()
        admission = Admission(settings, clock=clock)
        planned = await waiting(admission, left=0.6)  # planned for a second, within a factor of two
        assert planned.placed
        await planned.end()
        await worked(admission, clock, 5.0)
        refusal = (await waiting(admission, left=4.9)).refusal
        assert (refusal.reason, refusal.retry_seconds) == (Reason.TOO_SLOW, None)
        assert "5.0 seconds" in str(refusal)

    running(scenario)


def test_who_has_waited_all_his_time_is_told_so_while_there_is_time(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        early = [await waiting(admission, demand=Demand(1, 0)) for _ in range(2)]
        late = await waiting(admission, demand=Demand(1, 0, 40.0), left=20.2)
        await asyncio.wait([late.task])  # for 0.2 seconds: what is left it would need for its work
        assert late.refusal.reason is Reason.BUSY
        assert (admission.waiting, admission.placed) == (0, len(early))

    running(scenario)


def test_who_is_told_so_gets_no_place_while_that_is_recorded(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        with admission.ticket("a") as large, admission.ticket("a") as late:
            await large.place(Demand(60, 0), LONG)
            with pytest.raises(Refusal, match="busy"):
                await late.place(Demand(50, 0, 0.0), 0.1)
            small = await waiting(admission, demand=Demand(10, 0))
            assert (admission.waiting, admission.placed, small.placed) == (0, 2, True)

    running(scenario)


def test_a_cancelled_call_leaves_the_queue_at_once(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        first, _ = [await waiting(admission) for _ in range(2)]
        gone, patient = [await waiting(admission) for _ in range(2)]
        gone.task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert admission.waiting == 1
        await first.end()
        assert patient.placed

    running(scenario)


def test_a_place_that_came_too_late_is_given_to_the_next(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        first, second = [await waiting(admission) for _ in range(2)]
        gone, patient = [await waiting(admission) for _ in range(2)]
        first._held.close()  # gone has its place, and does not know it yet
        gone.task.cancel()
        await asyncio.wait([gone.task])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert patient.placed
        assert admission.placed == 2
        await second.end()

    running(scenario)


def test_there_are_so_many_tickets_and_no_more(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        callers = [await waiting(admission) for _ in range(6)]
        with pytest.raises(Refusal) as caught:
            Caller(admission)
        assert caught.value.reason is Reason.BUSY
        assert caught.value.retry_seconds > 0
        await callers[-1].end()
        Caller(admission)

    running(scenario)


def test_refused_for_want_of_a_ticket_costs_no_request(settings):
    async def scenario() -> None:
        admission = Admission(settings, quotas=Quotas(Quota(requests=7), clock=Clock()))
        callers = [await waiting(admission) for _ in range(6)]
        for _ in range(10):
            with pytest.raises(Refusal) as caught:
                Caller(admission)
            assert caught.value.reason is Reason.BUSY
        await callers[0].end()
        callers.append(Caller(admission))

    running(scenario)


@pytest.mark.rejects("C-106")
def test_a_tenant_that_fills_the_queue_makes_room_for_another(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        loud = [await waiting(admission, "loud") for _ in range(6)]
        quiet = [await waiting(admission, "quiet") for _ in range(3)]
        assert [caller.refusal is None for caller in loud] == [True] * 3 + [False] * 3
        refusal = loud[-1].refusal
        assert refusal.reason is Reason.BUSY
        assert refusal.retry_seconds > 0
        with pytest.raises(Refusal):  # both have as many now
            Caller(admission, "quiet")
        admission.configure(settings.model_copy(update={"max_streams": 7}))
        loud.append(await waiting(admission, "loud"))
        with pytest.raises(Refusal):  # or they would displace each other in turn
            Caller(admission, "quiet")
        await loud[0].end()
        await loud[1].end()
        assert quiet[0].placed

    running(scenario)


@pytest.mark.accepts("C-106")
def test_places_are_shared_between_tenants(settings):
    async def scenario() -> None:
        admission = Admission(settings.model_copy(update={"max_streams": 1000}))
        loud = [await waiting(admission, "loud") for _ in range(100)]
        quiet = await waiting(admission, "quiet")
        await loud[0].end()
        await loud[1].end()
        assert quiet.placed

    running(scenario)


def test_a_tenant_has_no_more_places_than_its_quota_says(settings):
    async def scenario() -> None:
        quotas = Quotas(tenants={"small": Quota(places=1)})
        admission = Admission(settings, quotas=quotas)
        small = [await waiting(admission, "small") for _ in range(2)]
        other = await waiting(admission, "other")
        assert [caller.placed for caller in (*small, other)] == [True, False, True]
        await other.end()
        assert not small[1].placed
        await small[0].end()
        assert small[1].placed

    running(scenario)


@pytest.mark.parametrize(
    ("several", "places", "expected"),
    [(False, None, None), (True, None, 1), (True, 2, 2), (False, 1, 1)],
)
def test_of_several_tenants_none_has_every_place_unless_it_is_said(
    settings, tmp_path, several, places, expected
):
    tenants = tmp_path / "tenants.toml" if several else None
    changed = settings.model_copy(update={"tenants": tenants, "quota_places": places})
    assert quota_of(changed).places == expected


def test_refused_for_want_of_a_place_costs_no_request(settings):
    async def scenario() -> None:
        clock = Clock()
        admission = Admission(settings, workers=1, quotas=Quotas(Quota(requests=4), clock=clock))
        callers = [await waiting(admission) for _ in range(3)]
        for _ in range(10):
            assert (await waiting(admission, left=1.0)).refusal.reason is Reason.BUSY
        callers.append(Caller(admission))
        with pytest.raises(Refusal) as caught:
            Caller(admission)
        assert caught.value.reason is Reason.QUOTA_EXHAUSTED

    running(scenario)


@pytest.mark.rejects("C-106")
def test_cancelling_in_a_loop_uses_up_the_quota(settings):
    async def scenario() -> None:
        admission = Admission(settings, quotas=Quotas(Quota(requests=5), clock=Clock()))
        for _ in range(5):
            caller = await waiting(admission)
            await caller.end()
        with pytest.raises(Refusal) as caught:
            Caller(admission)
        assert caught.value.reason is Reason.QUOTA_EXHAUSTED

    running(scenario)


def test_work_given_up_is_charged_as_if_it_had_been_done(settings):
    async def scenario() -> None:
        quotas = Quotas(Quota(compute_seconds=3), clock=Clock())
        admission = Admission(settings, quotas=quotas)
        for _ in range(3):
            caller = await waiting(admission)
            with pytest.raises(asyncio.CancelledError):
                async with caller.ticket.working():
                    raise asyncio.CancelledError
            await caller.end()
        assert (await waiting(admission)).refusal.reason is Reason.QUOTA_EXHAUSTED

    running(scenario)


def test_work_given_up_late_is_charged_for_all_the_time_it_has_taken(settings):
    async def scenario() -> None:
        clock = Clock()
        admission = Admission(
            settings, quotas=Quotas(Quota(compute_seconds=60), clock=Clock()), clock=clock
        )
        caller = await waiting(admission)

        async def give_up_late() -> None:
            async with caller.ticket.working():
                clock.advance(60.0)
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await give_up_late()
        await caller.end()
        assert (await waiting(admission)).refusal.reason is Reason.QUOTA_EXHAUSTED

    running(scenario)


def test_refused_for_want_of_another_quota_costs_no_request(settings):
    async def scenario() -> None:
        quotas = Quotas(Quota(requests=1, compute_seconds=3), clock=Clock())
        admission = Admission(settings, quotas=quotas)
        quotas.of("a").reserve(0, 3)
        for _ in range(3):
            assert (await waiting(admission)).refusal.reason is Reason.QUOTA_EXHAUSTED
        Caller(admission)

    running(scenario)


def test_what_travelled_is_charged_and_not_what_was_announced(settings):
    async def scenario() -> None:
        quotas = Quotas(Quota(transfer_bytes=1000), clock=Clock())
        admission = Admission(settings, quotas=quotas)
        caller = await waiting(admission)
        assert (await waiting(admission)).refusal.reason is Reason.QUOTA_EXHAUSTED
        caller.ticket.count(bytes(400))
        await caller.end()
        for expected in (True, False):
            placed = await waiting(admission, demand=Demand(1, 600))
            assert placed.placed is expected

    running(scenario)


def test_workers_are_so_many(settings):
    async def scenario() -> None:
        admission = Admission(settings, workers=1)
        at_work = []

        async def work(caller: Caller) -> None:
            async with caller.ticket.working():
                at_work.append(caller)
                assert len(at_work) == 1
                await asyncio.sleep(0.01)
                at_work.remove(caller)

        callers = [await waiting(admission) for _ in range(2)]
        await asyncio.gather(*map(work, callers))

    running(scenario)


def test_a_repetition_needs_no_worker_and_teaches_nothing(settings):
    async def scenario() -> None:
        admission = Admission(settings)
        caller = await waiting(admission, demand=Demand(10, 10))
        assert caller.placed
        await caller.end()
        assert admission.times.recent(None) is None

    running(scenario)


def test_other_numbers_are_those_of_who_waits_already(settings):
    async def scenario() -> None:
        admission = Admission(settings, 1, clock=Clock())
        callers = [await waiting(admission) for _ in range(4)]
        assert [caller.placed for caller in callers] == [True, True, False, False]
        more = {"max_requests": 3, "max_streams": 4, "quota_requests": 60.0}
        admission.configure(settings.model_copy(update=more))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [caller.placed for caller in callers] == [True, True, True, False]
        with pytest.raises(Refusal, match="busy"):
            Caller(admission)
        assert admission.quotas.of("a").quota.requests == 60.0
        for caller in callers:
            await caller.end()

    running(scenario)
