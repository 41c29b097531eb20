"""The pool of a cluster's workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from protocol.model import ModelCard
from protocol.parameters import Packing
from server.answering import Answer, InferenceTask
from server.ray_answering.cluster import connect, disconnect
from server.ray_answering.limbs import Share, shares_worth
from server.ray_answering.objects import ClusterObjects, not_at_hand
from server.ray_answering.worker import ClusterWorker
from server.workers.frames import Frame, Kind
from server.workers.pool import Pool, answer_to, nothing_in, supply_of
from server.workers.tasks import task_value

Sharing = Callable[[ModelCard, Packing, int], tuple[Share, ...]]
"""The shares in which so many idle workers evaluate."""


class InRay(Pool):
    """Work in a Ray cluster.  For one event loop."""

    def __init__(
        self,
        secret: bytes,
        *,
        address: str,
        node_address: str | None,
        workers: int,
        threads: int,
        memory_bytes: int,
        shared_bytes: int,
        sharing: Sharing = shares_worth,
    ) -> None:
        """Join a cluster and start workers there; needs a running event loop.

        Args:
            secret: the server's.
            address: of the cluster, see `connect`.
            node_address: of this machine, see `connect`.
            workers: how many; those for which no node has room now wait for one that has.
            threads: each computes with, and processors each takes of its node.
            memory_bytes: a worker that has more after a work is replaced before the next.
            shared_bytes: of the models and keys kept in the cluster's memory.
            sharing: which evaluations are shared out.

        Raises:
            ServerError: the cluster cannot be joined.
        """
        connect(address, node_address)
        self._objects = ClusterObjects(shared_bytes)
        self._sharing = sharing
        super().__init__(
            partial(ClusterWorker.start, secret, threads, self._objects),
            workers=workers,
            memory_bytes=memory_bytes,
        )

    async def answer(self, task: InferenceTask) -> Answer:
        """See `Answering`.  While several workers are idle, they share a long evaluation."""
        state = self.state
        idle = state.workers - state.busy - state.waiting
        shares = self._sharing(task.bundle.card, task.header.packing, idle)
        if idle < 2 or len(shares) < 2:
            return await super().answer(task)
        with self._objects.shares(len(shares)) as names:
            await self._evaluated(task, shares, names)
            frame = Frame(Kind.PROVE, (task_value(task), names), task.messages)
            supply = supply_of(task) | dict.fromkeys(names, not_at_hand)
            return await self._done(frame, supply, answer_to(task))

    async def _evaluated(
        self, task: InferenceTask, shares: Sequence[Share], names: Sequence[bytes]
    ) -> None:
        """Have all shares evaluated; when one fails, nobody goes on with the others."""
        evaluating = []
        for name, share in zip(names, shares, strict=True):
            fields = (task_value(task), share.first, share.end, name)
            frame = Frame(Kind.EVALUATE, fields, task.messages)
            done = self._done(frame, supply_of(task), nothing_in)
            evaluating.append(asyncio.create_task(done))
        try:
            await asyncio.gather(*evaluating)
        finally:
            for share_task in evaluating:
                share_task.cancel()

    async def close(self) -> None:
        """See `Answering`."""
        try:
            await super().close()
        finally:
            await asyncio.to_thread(disconnect)
