"""The pool of a server's workers: `server.answering.Answering`, wherever they are.

Works wait in one queue and are done one at a time by each worker.  A worker that ends takes the
one it had with it, refused as worker-lost, and another takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

import structlog

from protocol.accountability import idempotency_digest
from protocol.errors import BlindproofError, EncodingError
from server.answering import Answer, InferenceTask
from server.refusals import Refusal
from server.workers.frames import Frame, Kind
from server.workers.process import COMMAND, Supply, WorkerLostError, WorkerProcess
from server.workers.tasks import answer_of, key_blobs, model_blobs, refusal_of, task_value
from wire.rpc import Reason
from wire.stored_key import Enrolment, encode_enrolment

CANCEL_SECONDS = 0.75
"""A work whose caller has gone may still take so long; then its worker is killed."""
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 3.0
"""Between starts of a worker that ends again and again without having done anything."""

Result = TypeVar("Result")
_log = structlog.get_logger("blindproof.server")


class Worker(Protocol):
    """A worker that has started.

    Attributes:
        gone: done once nothing more comes from it.
        resident_bytes: the memory it had when it last said so.
        answered: works it has done.
    """

    gone: asyncio.Task[None]
    resident_bytes: int
    answered: int

    @property
    def pid(self) -> int:
        """Of the process, on its machine."""

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended, or to say nothing more."""

    async def perform(self, work: Frame, supply: Supply) -> Frame:
        """Have something done; one thing at a time.

        Args:
            work: a frame of work.
            supply: what the worker may ask for meanwhile.

        Returns:
            The reply, without the part that is about the worker.

        Raises:
            WorkerLostError: the worker is of no more use.
        """

    async def end(self) -> int:
        """End it, whatever it is doing; its status."""


@dataclass(frozen=True)
class PoolState:
    """A pool at one moment.

    Attributes:
        workers: that are ready.
        busy: of them, at work.
        waiting: works for which there is no worker yet.
        lost: workers that ended by themselves, since the start.
        stopped: workers that were killed because nobody waited for their work any more.
        resident_bytes: of all workers, as they last said.
    """

    workers: int
    busy: int
    waiting: int
    lost: int
    stopped: int
    resident_bytes: int


@dataclass(eq=False)
class _Work(Generic[Result]):
    """Something to be done, and who waits for it."""

    frame: Frame
    supply: Supply
    read: Callable[[Frame], Result]
    result: asyncio.Future[Result]

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)

    def finish(self, reply: Frame) -> None:
        """Give the reply to who waits.  Raises WorkerLostError: it makes no sense."""
        try:
            if reply.kind is Kind.REFUSED:
                self.fail(refusal_of(reply.fields))
                return
            result = self.read(reply)
        except BlindproofError as error:
            raise WorkerLostError("a worker replied what makes no sense") from error
        if not self.result.done():
            self.result.set_result(result)


@dataclass
class _Counts:
    lost: int = 0
    stopped: int = 0
    busy: set[Worker] = field(default_factory=set)
    ready: set[Worker] = field(default_factory=set)


class Pool:
    """Work in a pool of workers.  For one event loop."""

    def __init__(
        self, start: Callable[[], Awaitable[Worker]], *, workers: int, memory_bytes: int
    ) -> None:
        """Start; needs a running event loop.

        Args:
            start: starts a worker and waits until it is ready.  Raises WorkerLostError.
            workers: how many.
            memory_bytes: a worker that has more after a work is replaced before the next.
        """
        self._start = start
        self._memory_bytes = memory_bytes
        self._works: deque[_Work[Answer] | _Work[None]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._counts = _Counts()
        self._places = [asyncio.create_task(self._place()) for _ in range(workers)]

    async def answer(self, task: InferenceTask) -> Answer:
        """See `Answering`."""
        frame = Frame(Kind.INFER, task_value(task), task.messages)
        return await self._done(frame, supply_of(task), answer_to(task))

    async def verify_enrolment(self, enrolment: Enrolment) -> None:
        """See `Answering`."""
        frame = Frame(Kind.ENROL, (), (encode_enrolment(enrolment),))
        await self._done(frame, {}, nothing_in)

    async def close(self) -> None:
        """Kill the workers; what waits or is at work is refused as lost."""
        for place in self._places:
            place.cancel()
        await asyncio.gather(*self._places, return_exceptions=True)
        self._refuse_all("this server is stopping")

    @property
    def state(self) -> PoolState:
        """For metrics."""
        counts = self._counts
        return PoolState(
            workers=len(counts.ready),
            busy=len(counts.busy),
            waiting=sum(not work.result.done() for work in self._works),
            lost=counts.lost,
            stopped=counts.stopped,
            resident_bytes=sum(worker.resident_bytes for worker in counts.ready),
        )

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are ready."""
        return tuple(sorted(worker.pid for worker in self._counts.ready))

    async def _done(self, frame: Frame, supply: Supply, read: Callable[[Frame], Result]) -> Result:
        """Have something done.  If the caller is cancelled meanwhile, nobody goes on with it."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        work = _Work(frame, supply, read, result)
        self._works.append(work)  # type: ignore[arg-type]  # one of the two kinds there are
        self._wake()
        return await result

    def _wake(self) -> None:
        """Wake the worker that was at work last: what it needs is still at hand."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return

    async def _place(self) -> None:
        """One of the places for workers: never empty for long."""
        failures = 0
        while True:
            if failures:
                wait = FIRST_BACKOFF_SECONDS * 2.0 ** (failures - 1)
                await asyncio.sleep(min(wait, LONGEST_BACKOFF_SECONDS))
            try:
                worker = await self._start()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the next one may start
                failures += 1
                self._counts.lost += 1
                _log.error("worker not started", failures=failures, exc_info=error)
                if not self._counts.ready:
                    self._refuse_all("this server has no workers now: try again later")
                continue
            try:
                useful = await self._employed(worker)
            except Exception as error:  # noqa: BLE001 -- without this place its work waits for ever
                _log.error("worker not ended", exc_info=error)
                useful = False
            failures = 0 if useful else failures + 1

    async def _employed(self, worker: Worker) -> bool:
        """Give a worker works until it is of no more use; whether it has done any."""
        self._counts.ready.add(worker)
        replaced = False
        try:
            while not replaced and (work := await self._next(worker)) is not None:
                self._counts.busy.add(worker)
                in_time = await self._perform(worker, work)
                self._counts.busy.discard(worker)
                replaced = not in_time or worker.resident_bytes > self._memory_bytes
        except WorkerLostError as error:
            _log.error("worker lost", pid=worker.pid, exc_info=error)
        finally:
            self._counts.ready.discard(worker)
            self._counts.busy.discard(worker)
            status = await worker.end()
            if self._works:
                self._wake()  # if it was this worker's turn
        if replaced:
            _log.info("worker replaced", pid=worker.pid, resident_bytes=worker.resident_bytes)
        else:
            self._counts.lost += 1
            _log.error("worker ended", pid=worker.pid, status=status)
        return replaced or worker.answered > 0

    async def _next(self, worker: Worker) -> _Work[Answer] | _Work[None] | None:
        """The next work that somebody waits for; None if the worker ends instead."""
        while not worker.ended:
            while self._works:
                work = self._works.popleft()
                if not work.result.done():
                    return work
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await asyncio.wait({idle, worker.gone}, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(ValueError):
                self._idle.remove(idle)
        return None

    async def _perform(self, worker: Worker, work: _Work[Answer] | _Work[None]) -> bool:
        """Have a worker do a work; false if it was killed because nobody waits any more.

        Raises:
            WorkerLostError: the worker is of no more use; who waits has been told.
        """
        performing = asyncio.create_task(worker.perform(work.frame, work.supply))
        try:
            await asyncio.wait({performing, work.result}, return_when=asyncio.FIRST_COMPLETED)
            if not performing.done():
                await asyncio.wait({performing}, timeout=CANCEL_SECONDS)
            if not performing.done():
                self._counts.stopped += 1
                _log.info("worker stopped: nobody waits for its work", pid=worker.pid)
                return False
            work.finish(performing.result())
        except asyncio.CancelledError:
            work.fail(_lost("this server is stopping"))
            raise
        except Exception as error:
            work.fail(_lost("a worker was lost with this request: send it again"))
            if isinstance(error, WorkerLostError):
                raise
            raise WorkerLostError("what a worker was doing failed") from error
        finally:
            performing.cancel()
        return True

    def _refuse_all(self, detail: str) -> None:
        while self._works:
            self._works.popleft().fail(_lost(detail))


class InProcesses(Pool):
    """Work in processes of this machine.  For one event loop."""

    def __init__(
        self,
        secret: bytes,
        *,
        workers: int,
        threads: int,
        memory_bytes: int,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Start; needs a running event loop, in a thread that lives as long as the pool.

        Args:
            secret: the server's.
            workers: processes.
            threads: each computes with.
            memory_bytes: a worker that has more after a work is replaced before the next.
            command: what a worker runs; for tests.
        """
        start = partial(WorkerProcess.start, secret, threads, command)
        super().__init__(start, workers=workers, memory_bytes=memory_bytes)


def supply_of(task: InferenceTask) -> dict[bytes, Callable[[], tuple[bytes, ...]]]:
    """What a worker needs for a task and may have at hand: its model and key."""
    bundle, key = task.bundle, task.key
    supply: dict[bytes, Callable[[], tuple[bytes, ...]]] = {
        bundle.digest: lambda: model_blobs(bundle)
    }
    if key is not None:
        supply[key.digest] = lambda: key_blobs(key)
    return supply


def answer_to(task: InferenceTask) -> Callable[[Frame], Answer]:
    """Reads the answer to a task from a reply.

    What a receipt will say is what the worker says: it must be of the request that was asked.
    """
    asked = idempotency_digest(task.header.client_id, task.header.request_id)

    def read(reply: Frame) -> Answer:
        """Raises EncodingError, ReceiptError."""
        answer = answer_of(reply.fields, reply.blobs)
        if answer.facts.idempotency_digest != asked:
            raise EncodingError("the answer is to another request")
        return answer

    return read


def nothing_in(reply: Frame) -> None:
    """That there is a reply is all it says."""
    del reply


def _lost(detail: str) -> Refusal:
    return Refusal(Reason.WORKER_LOST, detail, FIRST_BACKOFF_SECONDS)
