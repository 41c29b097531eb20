"""What a worker does, however its work reaches it: frames in, frames out, things fetched by digest.

The models and enrolled keys it was last asked for stay at hand, within bounds; both are compared
with their digests when they arrive.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from protocol.encoding import Value
from protocol.errors import EncodingError
from protocol.keys import EnrolledKey
from server.answering import InferenceTask, answer_with
from server.bundles import ModelBundle
from server.inference import InferenceEngine
from server.refusals import as_refusal
from server.workers.frames import Frame, Kind
from server.workers.recent import Recent
from server.workers.tasks import facts_value, key_of, model_of, named_in, refusal_value, task_of
from wire.rpc import Reason
from wire.stored_key import decode_enrolment
from zk_layers.verify import verify_enrolment

CACHED_MODEL_BYTES = 64 << 20
"""Of the models at hand, as they travel."""
CACHED_KEY_BYTES = 128 << 20
"""Of enrolled words at hand; their uniform halves take as much again."""

Fetch = Callable[[bytes], tuple[bytes, ...]]
"""The blobs of the model or key of a digest.  Raises BlindproofError: they are not to be had."""
_log = structlog.get_logger("blindproof.worker")


class Evaluator:
    """Answers frames.  For one thread."""

    def __init__(self, engine: InferenceEngine, fetch: Fetch) -> None:
        """Begin with nothing at hand.

        Args:
            engine: what evaluates and proves.
            fetch: where models and keys come from.
        """
        self._engine = engine
        self._fetch = fetch
        self._models: Recent[ModelBundle] = Recent(CACHED_MODEL_BYTES)
        self._keys: Recent[EnrolledKey] = Recent(CACHED_KEY_BYTES)

    def reply(self, frame: Frame) -> Frame:
        """Do what a frame asks; a failure is a reply too."""
        try:
            kind, fields, blobs = self._work(frame)
        except Exception as error:  # noqa: BLE001 -- the server learns a reason, its operator more
            return refused(error)
        return Frame(kind, fields, blobs)

    def task(self, frame: Frame) -> InferenceTask:
        """The task which a frame of kind `INFER` names.

        Raises:
            BlindproofError: it names none.
        """
        tenant, model, key = named_in(frame.fields)
        return task_of(tenant, self._model(model), self._key(key), frame.blobs)

    def _work(self, frame: Frame) -> tuple[Kind, tuple[Value, ...], tuple[bytes, ...]]:
        if frame.kind is Kind.INFER:
            answer = answer_with(self._engine, self.task(frame))
            return Kind.ANSWER, facts_value(answer.facts), tuple(answer.messages)
        if frame.kind is Kind.ENROL and len(frame.blobs) == 1:
            enrolment = decode_enrolment(frame.blobs[0])
            verify_enrolment(enrolment.key, enrolment.proof)
            return Kind.VERIFIED, (), ()
        raise EncodingError(f"a frame of kind '{frame.kind}' is no work")

    def _model(self, digest: bytes) -> ModelBundle:
        found = self._models.get(digest)
        if found is None:
            blobs = self._fetch(digest)
            found = model_of(digest, blobs)
            self._models.put(digest, found, sum(map(len, blobs)))
        return found

    def _key(self, digest: bytes | None) -> EnrolledKey | None:
        if digest is None:
            return None
        found = self._keys.get(digest)
        if found is None:
            found = key_of(digest, self._fetch(digest))
            self._keys.put(digest, found, found.b.nbytes)
        return found


def refused(error: Exception) -> Frame:
    """The reply for a failure; one that nobody expected is logged where it happened."""
    if as_refusal(error).reason is Reason.INTERNAL:
        _log.error("work failed", exc_info=error)
    return Frame(Kind.REFUSED, refusal_value(error))
