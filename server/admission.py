"""Which calls hold words in memory and compute, in which order, and which are told to come later.

A call whose header is known has a ticket; there are so many.  With it the call is judged, and then
waits, holding nothing but its header, for a place: there are so many, and so many bytes of memory
for all of them.  A call that would wait longer than it can is told so at once.  In its place it
sends its words, and computes when one of the workers is free.

What is charged to a tenant's quota is said in `server.quotas`, whose call is next in
`server.fair_queue`, how work is predicted in `server.prediction`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from server.calls import Call
from server.demand import Demand
from server.fair_queue import FairQueue
from server.prediction import WorkTimes
from server.quotas import Meter, Quota, Quotas, Reservation
from server.refusals import Refusal
from server.settings import ServerSettings
from server.telemetry import Telemetry, silent
from wire.rpc import Reason

SHORTEST_ADVICE_SECONDS = 0.5
LONGEST_ADVICE_SECONDS = 60.0
LEAST_OF_PLANNED = 0.5
"""Plans are right within a factor of two.  A call is not refused for what its work alone may take,
or nothing would ever be measured."""
LEAST_COST = 0.01
"""In seconds, of a call that is only read from the archive: it is not for nothing either."""


class Admission:
    """Tickets, places and workers of one server.  For one event loop."""

    def __init__(
        self,
        settings: ServerSettings,
        workers: int | None = None,
        quotas: Quotas | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Open.

        Args:
            settings: how much there is of everything.
            workers: pieces of work that are done at once; as many as the settings say if None.
            quotas: of the tenants; those of the settings for each if None.
            clock: seconds, monotonic.
            telemetry: told how long calls wait.
        """
        self.telemetry = telemetry or silent()
        self.quotas = quotas or Quotas(quota_of(settings), clock=clock)
        self.times = WorkTimes(clock)
        self.clock = clock
        self._workers = workers or settings.compute_threads
        self.workers = asyncio.Semaphore(self._workers)
        self._settings = settings
        self._tickets: set[Ticket] = set()
        self._queue: FairQueue[Ticket] = FairQueue()
        self._placed: set[Ticket] = set()
        self._held_bytes = 0

    def configure(self, settings: ServerSettings) -> None:
        """Take another number of places, of tickets, and other quotas of all tenants."""
        self._settings = settings
        self.quotas.replace(quota_of(settings))  # those of single tenants: see `server.tenancy`
        self.dispatch()

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._queue)

    @property
    def placed(self) -> int:
        """Calls that have one."""
        return len(self._placed)

    @property
    def held_bytes(self) -> int:
        """Memory reserved for them."""
        return self._held_bytes

    @contextmanager
    def ticket(self, tenant: str) -> Iterator[Ticket]:
        """A ticket for a call of a tenant, and whatever it gets with it, while the context lasts.

        Raises:
            Refusal: the tenant has no request left (quota-exhausted), or there is no ticket left
                (busy).
        """
        meter = self.quotas.of(tenant)
        meter.take_request()
        try:
            self._require_ticket(tenant)
        except Refusal:
            meter.give_request_back()
            raise
        ticket = Ticket(self, tenant, meter)
        self._tickets.add(ticket)
        try:
            yield ticket
        finally:
            self._tickets.discard(ticket)
            self.leave_queue(ticket)
            ticket.settle()
            if ticket in self._placed:
                self._placed.remove(ticket)
                self._held_bytes -= ticket.demand.memory_bytes
            self.dispatch()

    def enqueue(self, ticket: Ticket, seconds_left: float) -> None:
        """Let a ticket wait for its place; `Ticket.decided` is called when it has one.

        Raises:
            Refusal: it takes more memory than there is (request-refused), or it would not be
                finished in the time that it has: because of others (busy), or in any case
                (too-slow).
        """
        limit = self._settings.max_memory_bytes
        if ticket.demand.memory_bytes > limit:
            raise Refusal(
                Reason.REQUEST_REFUSED,
                f"a call of this size takes {ticket.demand.memory_bytes >> 20} MiB, this server "
                f"allows {limit >> 20} MiB",
            )
        if not ticket.least_seconds < seconds_left:
            raise Refusal(
                Reason.TOO_SLOW,
                f"this takes about {ticket.cost:.1f} seconds here, and the call ends in "
                f"{max(0.0, seconds_left):.1f}: allow it more time",
            )
        wait = self.predicted_wait(ticket.tenant)
        if wait + ticket.least_seconds > seconds_left:
            raise self.busy(wait + ticket.least_seconds - seconds_left)
        self._queue.add(ticket)

    def leave_queue(self, ticket: Ticket) -> None:
        """Let a ticket wait no longer, if it does."""
        if ticket.is_waiting:
            self._queue.remove(ticket)
            ticket.decided(self.busy(0.0))
            self.dispatch()

    def predicted_wait(self, tenant: str) -> float:
        """Seconds until a worker would be free for a further call of a tenant."""
        unfinished = [seconds for ticket in self._placed if (seconds := ticket.seconds_left()) > 0]
        if len(unfinished) + len(self._queue) < self._workers:
            return 0.0
        return (sum(unfinished) + self._queue.cost_before(tenant)) / self._workers

    def _require_ticket(self, tenant: str) -> None:
        """Have a ticket left, at the cost of the tenant that has most of them.  Raises Refusal."""
        if len(self._tickets) < self._settings.max_streams:
            return
        counts = Counter(ticket.tenant for ticket in self._tickets)
        largest, count = counts.most_common(1)[0]
        victim = self._queue.newest(largest)
        refusal = self.busy(self.predicted_wait(tenant))
        if count - counts[tenant] <= 1 or victim is None:
            raise refusal
        self._tickets.discard(victim)
        self._queue.remove(victim)
        victim.decided(self.busy(self.predicted_wait(largest)))

    def dispatch(self) -> None:
        """Give places to whom they are due.

        A call for which there is not yet memory is not overtaken: large ones would wait for ever.
        """
        while len(self._placed) < self._settings.max_requests:
            ticket = self._queue.first(self._may_have_another)
            if ticket is None:
                return
            if self._held_bytes + ticket.demand.memory_bytes > self._settings.max_memory_bytes:
                return
            self._queue.serve(ticket)
            self._placed.add(ticket)
            self._held_bytes += ticket.demand.memory_bytes
            ticket.decided(None)

    def _may_have_another(self, tenant: str) -> bool:
        places = self.quotas.of(tenant).quota.places
        return places is None or places > sum(held.tenant == tenant for held in self._placed)

    @staticmethod
    def busy(seconds: float) -> Refusal:
        """The refusal of a call which may come back after so many seconds."""
        advice = min(max(seconds, SHORTEST_ADVICE_SECONDS), LONGEST_ADVICE_SECONDS)
        return Refusal(Reason.BUSY, "this server is busy: try again later", advice)


def ticket_of(call: Call, admission: Admission) -> Ticket:
    """A ticket for a call, which has it until its receipt is written: see `Call.held`."""
    return call.held.enter_context(admission.ticket(call.principal.tenant))


def quota_of(settings: ServerSettings) -> Quota:
    """The quota of every tenant that has none of its own.

    With several tenants, none has all places unless the settings say so: slow uploads would keep
    everybody else out.
    """
    places = settings.quota_places
    if places is None and settings.tenants is not None:
        places = max(1, settings.max_requests // 2)
    return Quota(
        settings.quota_requests,
        settings.quota_transfer_bytes,
        settings.quota_compute_seconds,
        places,
    )


class Ticket:
    """One call on its way: judged, waiting, in its place, at work."""

    def __init__(self, admission: Admission, tenant: str, meter: Meter) -> None:
        self.tenant = tenant
        self.demand = Demand(0, 0)
        self.cost = 0.0
        self.least_seconds = 0.0
        self._admission = admission
        self._meter = meter
        self._reservation: Reservation | None = None
        self._decision: asyncio.Future[Refusal | None] | None = None
        self._begun: float | None = None
        self._done = False

    async def place(self, demand: Demand, seconds_left: float) -> None:
        """Wait for a place.

        Args:
            demand: what the call takes.
            seconds_left: until the call must be over.

        Raises:
            Refusal: see `Admission.enqueue`; or the tenant has used up its quota
                (quota-exhausted), or a tenant with fewer calls needed the ticket (busy).
        """
        measured = self._admission.times.recent(demand.kind)
        planned = max(demand.planned_seconds, LEAST_COST)
        self.demand = demand
        self.cost = planned if measured is None else measured
        self.least_seconds = LEAST_OF_PLANNED * planned if measured is None else measured
        try:
            self._reservation = self._meter.reserve(demand.transfer_bytes, self.cost)
            with self._admission.telemetry.waiting():
                await self._wait(seconds_left)
        except Refusal as refusal:
            if refusal.reason in {Reason.BUSY, Reason.QUOTA_EXHAUSTED}:
                self._meter.give_request_back()
            raise

    async def _wait(self, seconds_left: float) -> None:
        self._admission.enqueue(self, seconds_left)
        decision = self._decision = asyncio.get_running_loop().create_future()
        self._admission.dispatch()
        try:
            async with asyncio.timeout(seconds_left - self.least_seconds):
                refusal = await decision
        except TimeoutError:  # what would have to be done by now is not even begun
            self._admission.leave_queue(self)  # no place while its refusal is recorded
            raise self._admission.busy(self._admission.predicted_wait(self.tenant)) from None
        if refusal is not None:
            raise refusal

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """One of the workers, once there is one.

        Work that is given up is charged as if it had been done: it may still go on for a while,
        and asking for work to cancel it gains nobody anything.
        """
        clock = self._admission.clock
        async with self._admission.workers:
            self._begun = began = clock()
            charged = 0.0
            try:
                yield
            except BaseException:
                charged = max(self.cost, clock() - began)
                raise
            else:
                charged = clock() - began
                self._admission.times.observe(self.demand.kind, charged)
            finally:
                self._done = True
                if self._reservation is not None:
                    self._reservation.seconds_used += charged

    def count(self, message: bytes) -> bytes:
        """Count a message that has come, or is sent; returns it."""
        if self._reservation is not None:
            self._reservation.bytes_used += len(message)
        return message

    async def counted(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Messages, counted as they come."""
        async for message in messages:
            yield self.count(message)

    def seconds_left(self) -> float:
        """Work of this call that is not yet done, about."""
        if self._done:
            return 0.0
        begun = self._begun
        return self.cost if begun is None else max(0.0, self.cost - self._admission.clock() + begun)

    @property
    def is_waiting(self) -> bool:
        """Whether it is in the queue."""
        return self._decision is not None

    def decided(self, refusal: Refusal | None) -> None:
        """Be in the queue no longer: with a place, or refused after all."""
        decision, self._decision = self._decision, None
        if decision is not None and not decision.done():
            decision.set_result(refusal)

    def settle(self) -> None:
        """Charge what was used."""
        if self._reservation is not None:
            self._reservation.settle()
