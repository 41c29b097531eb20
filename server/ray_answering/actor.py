"""What runs on a node: an actor that answers frames.

Ray finds this class by its name on every node, where this program is installed: no code travels.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

import ray
from ray.exceptions import RayError

from protocol.digests import DIGEST_BYTES
from protocol.encoding import expect_bytes, expect_int, expect_text, expect_tuple
from protocol.errors import EncodingError
from server.answering import job_of
from server.inference import SECRET_BYTES
from server.ray_answering.engine import SharingEngine
from server.ray_answering.limbs import Share, decode_share, encode_share, evaluate_share
from server.refusals import Refusal
from server.workers.evaluator import Evaluator, refused
from server.workers.frames import Frame, Kind, decode_frame
from server.workers.worker import resident_bytes
from wire.rpc import Reason

METHODS_AT_ONCE = 2
"""`perform`, one call at a time, and `watch`."""


class WorkerActor:
    """One worker of a cluster."""

    def __init__(self) -> None:
        self._held: Mapping[bytes, ray.ObjectRef[bytes]] = {}

    @ray.method
    def configure(self, data: bytes) -> bytes:
        """Take the server's secret and get ready to work; the process's memory and id.

        Raises:
            EncodingError: another frame, or a server of another version, which may prove
                differently.
        """
        frame = decode_frame(data)
        secret, threads, theirs = expect_tuple(frame.fields, "configuration", 3)
        if frame.kind is not Kind.CONFIGURE:
            raise EncodingError("a worker is configured first")
        if (wanted := expect_text(theirs, "version")) != own_version():
            raise EncodingError(f"this node has version {own_version()}, the server {wanted}")
        # Read when the kernels first share out work, which they have not done yet.
        os.environ["RAYON_NUM_THREADS"] = str(expect_int(threads, "threads"))
        self._engine = SharingEngine(expect_bytes(secret, "secret", SECRET_BYTES))
        self._evaluator = Evaluator(self._engine, self._fetch)
        return Frame(Kind.READY, (resident_bytes(), os.getpid())).encoded()

    @ray.method(num_returns=2)
    def perform(
        self, data: bytes, names: bytes, references: Sequence[ray.ObjectRef[bytes]]
    ) -> tuple[bytes, bytes]:
        """Do what a frame asks.

        Args:
            data: the frame.
            names: of the things in the cluster which it may need, one digest after the other.
            references: to these things.

        Returns:
            The reply, with this process's memory before its fields; and the words of a share,
            which stay in the cluster.
        """
        words = b""
        with self._holding(names, references):
            try:
                reply, words = self._reply(decode_frame(data))
            except Exception as error:  # noqa: BLE001 -- the server learns a reason
                reply = refused(error)
        fields = (resident_bytes(), *reply.fields)
        return Frame(reply.kind, fields, reply.blobs).encoded(), words

    @ray.method
    def watch(self) -> None:
        """Return never: a call that fails when the actor is lost."""
        threading.Event().wait()

    def _reply(self, frame: Frame) -> tuple[Frame, bytes]:
        """Raises BlindproofError."""
        if frame.kind is Kind.EVALUATE:
            values, first, end, _ = expect_tuple(frame.fields, "share of a task", 4)
            share = Share(expect_int(first, "first limb"), expect_int(end, "end of the limbs"))
            task = Frame(Kind.INFER, expect_tuple(values, "task"), frame.blobs)
            evaluated = evaluate_share(job_of(self._evaluator.task(task)), share)
            return Frame(Kind.EVALUATED), encode_share(evaluated)
        if frame.kind is Kind.PROVE:
            values, names = expect_tuple(frame.fields, "task with shares", 2)
            shares = [
                decode_share(self._get(expect_bytes(name, "share", DIGEST_BYTES)))
                for name in expect_tuple(names, "shares")
            ]
            task = Frame(Kind.INFER, expect_tuple(values, "task"), frame.blobs)
            with self._engine.given(shares):
                return self._evaluator.reply(task), b""
        return self._evaluator.reply(frame), b""

    @contextmanager
    def _holding(self, names: bytes, references: Sequence[ray.ObjectRef[bytes]]) -> Iterator[None]:
        starts = range(0, len(names), DIGEST_BYTES)
        each = (names[start : start + DIGEST_BYTES] for start in starts)
        self._held = dict(zip(each, references, strict=True))
        try:
            yield
        finally:
            self._held = {}

    def _fetch(self, digest: bytes) -> tuple[bytes, ...]:
        """The blobs of a model or key.  Raises as `_get`."""
        return decode_frame(self._get(digest)).blobs

    def _get(self, name: bytes) -> bytes:
        """A thing of the cluster.

        Raises:
            Refusal: it was lost with a node (worker-lost).
            EncodingError: it did not come with the task.
        """
        if name not in self._held:
            raise EncodingError("a task without something it needs")
        try:
            return ray.get(self._held[name])
        except RayError as error:
            detail = "a node was lost with a part of this request: send it again"
            raise Refusal(Reason.WORKER_LOST, detail) from error


def own_version() -> str:
    """Of this program."""
    return version("blindproof")
