"""Tasks and what comes of them, as they travel to whoever does the work and back.

A request travels as the messages it came in and names its model and key by digest; who does not
have them asks.  So nothing large is sent that is there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields

from audit.facts import AnsweredFacts
from audit.receipt import Digests, Purpose
from protocol.digests import DIGEST_BYTES
from protocol.encoding import Value, expect_bytes, expect_float, expect_text, expect_tuple
from protocol.errors import EncodingError
from protocol.keys import EnrolledKey
from protocol.request import REQUEST_ID_BYTES
from server.answering import Answer, InferenceTask
from server.bundles import ModelBundle, bundle_of, parts_of
from server.refusals import Refusal, as_refusal
from wire.bundle_file import BundleParts
from wire.inference import RequestAssembler, decode_header
from wire.rpc import Reason
from wire.stored_key import decode_key, encode_key


def task_value(task: InferenceTask) -> tuple[Value, ...]:
    """What a task says beside its messages: tenant, model and key."""
    key = None if task.key is None else task.key.digest
    return (task.tenant, task.bundle.digest, key)


def named_in(values: Sequence[Value]) -> tuple[str, bytes, bytes | None]:
    """Tenant, and the digests of model and key, of a `task_value`.  Raises EncodingError."""
    tenant, model, key = expect_tuple(tuple(values), "task", 3)
    return (
        expect_text(tenant, "tenant"),
        expect_bytes(model, "model digest", DIGEST_BYTES),
        None if key is None else expect_bytes(key, "key digest", DIGEST_BYTES),
    )


def task_of(
    tenant: str, bundle: ModelBundle, key: EnrolledKey | None, messages: tuple[bytes, ...]
) -> InferenceTask:
    """A task whose messages are parsed again, where the work is done.

    Raises:
        EncodingError: they are no request of this model.
    """
    if not messages:
        raise EncodingError("a task without messages")
    header = decode_header(messages[0])
    assembler = RequestAssembler(bundle.card, header)
    for message in messages[1:]:
        assembler.add(message)
    ciphertexts, plaintext = assembler.finish()
    return InferenceTask(tenant, bundle, key, header, messages, ciphertexts, plaintext)


def facts_value(facts: AnsweredFacts) -> tuple[Value, ...]:
    """The canonical value of the facts of an answer."""
    return (
        facts.tenant,
        facts.actor,
        str(facts.purpose),
        facts.subject,
        facts.request_id,
        facts.idempotency_digest,
        astuple(facts.digests),
        facts.soundness_bits,
        facts.error_bound,
    )


def facts_from_value(value: Sequence[Value]) -> AnsweredFacts:
    """Rebuild the facts of an answer.

    Raises:
        EncodingError, ReceiptError: no facts.
    """
    tenant, actor, purpose, subject, request_id, idempotency, digests, bits, error = expect_tuple(
        tuple(value), "facts", len(fields(AnsweredFacts))
    )
    found = expect_tuple(digests, "digests", len(fields(Digests)))
    return AnsweredFacts(
        tenant=expect_text(tenant, "tenant"),
        actor=expect_text(actor, "actor"),
        purpose=Purpose.of(expect_text(purpose, "purpose")),
        subject=None if subject is None else expect_bytes(subject, "subject", DIGEST_BYTES),
        request_id=expect_bytes(request_id, "request id", REQUEST_ID_BYTES),
        idempotency_digest=expect_bytes(idempotency, "idempotency digest", DIGEST_BYTES),
        digests=Digests(
            *(None if one is None else expect_bytes(one, "digest", DIGEST_BYTES) for one in found)
        ),
        soundness_bits=None if bits is None else expect_float(bits, "soundness"),
        error_bound=expect_float(error, "error bound"),
    )


def answer_of(values: Sequence[Value], messages: tuple[bytes, ...]) -> Answer:
    """An answer from what travelled.  Raises EncodingError, ReceiptError."""
    return Answer(facts_from_value(values), list(messages))


def refusal_value(error: Exception) -> tuple[Value, ...]:
    """What the peer will be told of an error."""
    refusal = as_refusal(error)
    return (str(refusal.reason), str(refusal), refusal.retry_seconds)


def refusal_of(values: Sequence[Value]) -> Refusal:
    """A refusal from what travelled.  Raises EncodingError."""
    reason, detail, retry = expect_tuple(tuple(values), "refusal", 3)
    try:
        named = Reason(expect_text(reason, "reason"))
    except ValueError:
        raise EncodingError(f"no call is refused for {reason!r}") from None
    seconds = None if retry is None else expect_float(retry, "advice")
    return Refusal(named, expect_text(detail, "detail"), seconds)


def model_blobs(bundle: ModelBundle) -> tuple[bytes, ...]:
    """A model with its secrets: card, registration, private part."""
    parts = parts_of(bundle)
    return (parts.card, parts.registration, parts.private or b"")


def model_of(digest: bytes, blobs: Sequence[bytes]) -> ModelBundle:
    """The model of a digest, checked like one that is read from disk.

    Raises:
        BlindproofError: it is another one, or not what its card stands for.
    """
    if len(blobs) != 3:
        raise EncodingError(f"a model in {len(blobs)} parts, expected 3")
    parts = BundleParts(*blobs)
    if parts.digest != digest:
        raise EncodingError("the model is another one than asked for")
    return bundle_of(parts)


def key_blobs(key: EnrolledKey) -> tuple[bytes, ...]:
    """An enrolled key as it is stored."""
    return (encode_key(key),)


def key_of(digest: bytes, blobs: Sequence[bytes]) -> EnrolledKey:
    """The enrolled key of a digest.

    Raises:
        BlindproofError: it is another one, or none.
    """
    if len(blobs) != 1:
        raise EncodingError(f"an enrolled key in {len(blobs)} parts, expected 1")
    key = decode_key(blobs[0])
    if key.digest != digest:
        raise EncodingError("the enrolled key is another one than asked for")
    return key
