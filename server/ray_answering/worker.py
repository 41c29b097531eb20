"""A worker in a cluster, as its server sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import ray
import structlog
from ray.exceptions import ObjectStoreFullError, RayError

from protocol.digests import DIGEST_BYTES
from protocol.encoding import expect_bytes, expect_int
from protocol.errors import EncodingError
from server.ray_answering.actor import METHODS_AT_ONCE, WorkerActor, own_version
from server.ray_answering.objects import ClusterObjects
from server.refusals import Refusal
from server.workers.frames import Frame, Kind, decode_frame
from server.workers.process import Supply, WorkerLostError
from server.workers.tasks import refusal_value
from wire.rpc import Reason

if TYPE_CHECKING:
    from ray.actor import ActorHandle, ActorProxy

START_SECONDS = 60.0
"""Until a node has room for a worker, and it is ready."""
FULL_RETRY_SECONDS = 1.0

Result = TypeVar("Result")
_REPLIES = {
    Kind.INFER: Kind.ANSWER,
    Kind.PROVE: Kind.ANSWER,
    Kind.ENROL: Kind.VERIFIED,
    Kind.EVALUATE: Kind.EVALUATED,
}
_log = structlog.get_logger("blindproof.server")


class ClusterWorker:
    """A running worker; see `server.workers.pool.Worker`.

    Attributes:
        gone: done once the worker is lost.
        resident_bytes: the memory it had when it last said so.
        answered: works it has done.
    """

    def __init__(self, actor: ActorProxy[WorkerActor], objects: ClusterObjects) -> None:
        self._actor = actor
        self._objects = objects
        self._pid = 0
        self.gone = asyncio.create_task(self._watched())
        self.resident_bytes = 0
        self.answered = 0

    @classmethod
    async def start(cls, secret: bytes, threads: int, objects: ClusterObjects) -> ClusterWorker:
        """Start a worker on a node that has room for it, and wait until it is ready.

        Args:
            secret: the server's.  It goes to the actor's process in a call, since what an actor is
                made with is kept by the cluster's head.
            threads: it computes with, and processors it is given.
            objects: what it fetches models and keys from.

        Raises:
            WorkerLostError: it ended instead, or there is no room for it.
        """
        actor = ray.remote(WorkerActor).options(
            num_cpus=threads,
            max_concurrency=METHODS_AT_ONCE,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        worker = cls(actor.remote(), objects)
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._configure(secret, threads)
        except TimeoutError as error:
            await worker.end()
            raise WorkerLostError("no node of the cluster has room for a worker") from error
        except BaseException:
            await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Of the process, on its node."""
        return self._pid

    @property
    def ended(self) -> bool:
        """Whether the worker is known to be lost."""
        return self.gone.done()

    async def perform(self, work: Frame, supply: Supply) -> Frame:
        """See `server.workers.pool.Worker`.

        The words of a share (`EVALUATE`) stay in the cluster under the name that its frame says.
        """
        try:
            data = await self._objects.argument(work)
            held = {
                digest: await self._objects.reference(digest, blobs)
                for digest, blobs in supply.items()
            }
        except ObjectStoreFullError:
            refusal = Refusal(Reason.BUSY, "the cluster's memory is full", FULL_RETRY_SECONDS)
            return Frame(Kind.REFUSED, refusal_value(refusal))
        with _losing():
            called = self._actor.perform.remote(data, b"".join(held), list(held.values()))
            # Ray's types know nothing of methods with two results.
            reply, words = cast("tuple[ray.ObjectRef[bytes], ray.ObjectRef[bytes]]", called)
            found = self._note(await _result(reply), _REPLIES[work.kind])
        if found.kind is Kind.EVALUATED:
            self._objects.keep(expect_bytes(work.fields[-1], "share", DIGEST_BYTES), words)
        self.answered += 1
        return found

    async def end(self) -> int:
        """Kill the worker, whatever it is doing."""
        self.gone.cancel()
        await asyncio.to_thread(ray.kill, cast("ActorHandle[WorkerActor]", self._actor))
        return 0

    async def _configure(self, secret: bytes, threads: int) -> None:
        """Raises WorkerLostError."""
        frame = Frame(Kind.CONFIGURE, (secret, threads, own_version()))
        with _losing():
            reply = await _result(self._actor.configure.remote(frame.encoded()))
            ready = self._note(reply, Kind.READY)
            self._pid = expect_int(ready.fields[0], "process id")

    async def _watched(self) -> None:
        """End when the worker is lost."""
        try:
            await self._actor.watch.remote()
        except RayError as error:
            _log.info("worker gone", pid=self._pid, error=type(error).__name__)

    def _note(self, data: bytes, expected: Kind) -> Frame:
        """Take what a reply says of the worker out of it.  Raises EncodingError."""
        reply = decode_frame(data)
        if reply.kind not in {expected, Kind.REFUSED} or not reply.fields:
            raise EncodingError(f"a worker replied '{reply.kind}'")
        self.resident_bytes = expect_int(reply.fields[0], "memory")
        return Frame(reply.kind, reply.fields[1:], reply.blobs)


async def _result(reference: ray.ObjectRef[Result]) -> Result:
    """What a call comes to; it is cancelled if nobody waits for it any more."""
    try:
        return await reference
    except asyncio.CancelledError:
        ray.cancel(reference)
        raise


@contextmanager
def _losing() -> Iterator[None]:
    """What the cluster fails with, or a worker should not have said, loses the worker."""
    try:
        yield
    except RayError as error:
        raise WorkerLostError(f"a worker of the cluster is lost: {type(error).__name__}") from error
    except EncodingError as error:
        raise WorkerLostError("a worker replied what makes no sense") from error
