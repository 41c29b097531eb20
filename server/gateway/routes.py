"""Which request is which procedure."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BeforeValidator, Field

from protocol.keys import KeyRequest
from server.gateway.documents import (
    ChallengeDocument,
    CheckpointDocument,
    CountersignatureDocument,
    EnrolmentDocument,
    EntriesDocument,
    HashesDocument,
    KeyDocument,
    LogDocument,
    ModelDocument,
    ModelListDocument,
    ProvenReceiptDocument,
    ReceiptDocument,
    hexadecimal,
)
from server.gateway.invoking import Invocation
from server.gateway.openapi import MESSAGES, WITH_BODY, json_body, messages_body, problems
from wire import rpc
from wire.audit import (
    MAX_PAGE_ENTRIES,
    MAX_SIZE,
    CheckpointRequest,
    Countersignature,
    decode_checkpoint,
    decode_consistency,
    decode_countersigned,
    decode_entries,
    decode_inclusion,
    decode_log,
    decode_receipt_answer,
    encode_checkpoint_request,
    encode_consistency_request,
    encode_countersignature,
    encode_entries_request,
    encode_inclusion_request,
    encode_log_request,
    encode_receipt_request,
)
from wire.enrolment import decode_challenge, decode_completed, encode_begin
from wire.models import decode_list, decode_model, encode_list_request, encode_model_request
from wire.publication import (
    REQUEST_ID_BYTES,
    decode_published,
    decode_withdrawn,
    encode_withdrawal,
)

_STREAM = (
    "Messages of blindproof.v1, each behind its length as a varint, as protobuf delimits them: "
    "{0}. With `Expect: 100-continue` no body is sent that would not be read."
)
_DECIMAL_DIGITS = 19


def _decimal(value: Any) -> Any:  # noqa: ANN401 -- whatever a query has
    """Plain decimal digits, no other way to write a number."""
    plain = isinstance(value, str) and value.isascii() and value.isdigit()
    if isinstance(value, str) and (not plain or len(value) > _DECIMAL_DIGITS):
        raise ValueError("expected decimal digits")
    return value


ModelDigest: TypeAlias = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
ReceiptId: TypeAlias = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Size: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SIZE), BeforeValidator(_decimal), Query()]

PageSize: TypeAlias = Annotated[
    int, Field(ge=1, le=MAX_PAGE_ENTRIES), BeforeValidator(_decimal), Query()
]
RequestId: TypeAlias = Annotated[
    str, Query(pattern="^[0-9a-f]{32}$", description="For the receipt; random if absent.")
]


def gateway_routes(invocation: Invocation) -> APIRouter:
    """All routes."""
    router = APIRouter(prefix="/v1")
    for add in (_add_models, _add_keys, _add_predictions, _add_log, _add_receipts):
        add(router, invocation)
    return router


def _add_models(router: APIRouter, invocation: Invocation) -> None:
    @router.get("/models", responses=problems(), tags=["models"])
    async def list_models(request: Request) -> ModelListDocument:
        """Models by digest, for people choosing one.  Nothing in the list is proved."""
        found = await invocation.unary(request, rpc.LIST_MODELS, encode_list_request())
        return ModelListDocument.of(decode_list(found))

    @router.get("/models/{digest}", responses=problems(HTTPStatus.NOT_FOUND), tags=["models"])
    async def get_model(request: Request, digest: ModelDigest) -> ModelDocument:
        """One model's card and registration proof."""
        asked = encode_model_request(bytes.fromhex(digest))
        return ModelDocument.of(decode_model(await invocation.unary(request, rpc.GET_MODEL, asked)))

    @router.post(
        "/models",
        responses=problems(
            *WITH_BODY, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INSUFFICIENT_STORAGE
        ),
        openapi_extra=messages_body(
            _STREAM.format("PublishModelRequest: one header, the bundle's pieces in order")
        ),
        tags=["models"],
    )
    async def publish_model(request: Request) -> ProvenReceiptDocument:
        """Publish a model.  Needs the role publish."""
        found = await invocation.upload(request, rpc.PUBLISH_MODEL)
        return ProvenReceiptDocument.of(decode_published(found))

    @router.delete("/models/{digest}", responses=problems(HTTPStatus.NOT_FOUND), tags=["models"])
    async def withdraw_model(
        request: Request, digest: ModelDigest, request_id: RequestId | None = None
    ) -> ProvenReceiptDocument:
        """Stop serving a model.  Needs the role publish."""
        named = secrets.token_bytes(REQUEST_ID_BYTES)
        if request_id is not None:
            named = bytes.fromhex(request_id)
        asked = encode_withdrawal(named, bytes.fromhex(digest))
        found = await invocation.unary(request, rpc.WITHDRAW_MODEL, asked)
        return ProvenReceiptDocument.of(decode_withdrawn(found))


def _add_keys(router: APIRouter, invocation: Invocation) -> None:
    refusals = (*WITH_BODY, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)

    @router.post(
        "/enrolments",
        responses=problems(*refusals),
        openapi_extra=json_body(EnrolmentDocument),
        tags=["keys"],
    )
    async def begin_enrolment(request: Request) -> ChallengeDocument:
        """Commit to keys, before they exist, and get the nonce which they then depend on."""
        asked = await invocation.document(request, EnrolmentDocument)
        begin = encode_begin(
            KeyRequest(
                asked.client_id,
                asked.server_id,
                asked.ring_degree,
                tuple(int(modulus) for modulus in asked.moduli),
                asked.keys,
            ),
            bytes.fromhex(asked.root),
        )
        found = await invocation.unary(request, rpc.BEGIN_ENROLMENT, begin)
        return ChallengeDocument.of(decode_challenge(found))

    @router.post(
        "/keys",
        responses=problems(*refusals, HTTPStatus.INSUFFICIENT_STORAGE),
        openapi_extra=messages_body(
            _STREAM.format(
                "CompleteEnrolmentRequest: one header, every key chunk in order (key by key, limb "
                "by limb), the proof's chunks in order"
            )
        ),
        tags=["keys"],
    )
    async def complete_enrolment(request: Request) -> KeyDocument:
        """Send the keys and their proof."""
        found = await invocation.upload(request, rpc.COMPLETE_ENROLMENT)
        return KeyDocument(key_digest=decode_completed(found).hex())


def _add_predictions(router: APIRouter, invocation: Invocation) -> None:
    sent = _STREAM.format(
        "InferRequest: one header, every plaintext column and every ciphertext in order"
    )
    received = (
        "Messages as in the request: InferResponse: one header, every output chunk in order, the "
        "proof's chunks in order, the receipt. Nothing is sent before the answer and its receipt "
        "are durable; what ends early is no answer."
    )

    @router.post(
        "/predictions",
        response_class=Response,
        responses={
            200: {"description": received, "content": MESSAGES},
            **problems(
                *WITH_BODY,
                HTTPStatus.NOT_FOUND,
                HTTPStatus.CONFLICT,
                HTTPStatus.UNPROCESSABLE_ENTITY,
            ),
        },
        openapi_extra=messages_body(sent),
        tags=["predictions"],
    )
    async def infer(request: Request) -> Response:
        """One verified inference.

        The same header again, byte for byte, is answered with what was answered then.
        """
        return invocation.exchange(request, rpc.INFER)


def _add_log(router: APIRouter, invocation: Invocation) -> None:
    unknown = problems(HTTPStatus.NOT_FOUND)

    @router.get("/log", responses=problems(), tags=["audit"])
    async def get_log(request: Request) -> LogDocument:
        """Whose log this is; unproved: pin the key you have from elsewhere."""
        found = await invocation.unary(request, rpc.GET_LOG, encode_log_request())
        return LogDocument.of(decode_log(found))

    @router.get(
        "/log/checkpoint",
        responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        tags=["audit"],
    )
    async def get_checkpoint(
        request: Request, min_size: Size = 0, old_size: Size = 0, *, cosigned: bool = False
    ) -> CheckpointDocument:
        """The log as it is, and that it extends what it was."""
        asked = encode_checkpoint_request(CheckpointRequest(min_size, old_size, cosigned))
        found = await invocation.unary(request, rpc.GET_CHECKPOINT, asked)
        return CheckpointDocument.of(decode_checkpoint(found))

    @router.get("/log/entries", responses=problems(), tags=["audit"])
    async def read_entries(
        request: Request, start: Size = 0, limit: PageSize = MAX_PAGE_ENTRIES
    ) -> EntriesDocument:
        """Entries in order; fewer than the limit are no sign of the end, none is.

        Needs the role audit.
        """
        asked = encode_entries_request(start, limit)
        found = await invocation.unary(request, rpc.READ_ENTRIES, asked)
        return EntriesDocument.of(decode_entries(found))

    @router.get("/log/inclusion", responses=unknown, tags=["audit"])
    async def get_inclusion(request: Request, index: Size, size: Size) -> HashesDocument:
        """Hashes which show that an entry is in the log at a size."""
        asked = encode_inclusion_request(index, size)
        found = await invocation.unary(request, rpc.GET_INCLUSION, asked)
        return HashesDocument(hashes=hexadecimal(decode_inclusion(found)))

    @router.get("/log/consistency", responses=unknown, tags=["audit"])
    async def get_consistency(request: Request, old_size: Size, new_size: Size) -> HashesDocument:
        """Hashes which show that the log at one size extends the log at another."""
        asked = encode_consistency_request(old_size, new_size)
        found = await invocation.unary(request, rpc.GET_CONSISTENCY, asked)
        return HashesDocument(hashes=hexadecimal(decode_consistency(found)))


def _add_receipts(router: APIRouter, invocation: Invocation) -> None:
    @router.get("/receipts/{receipt_id}", responses=problems(HTTPStatus.NOT_FOUND), tags=["audit"])
    async def get_receipt(
        request: Request, receipt_id: ReceiptId, old_size: Size = 0
    ) -> ReceiptDocument:
        """One receipt with what proves it.  Who knows its id may read it."""
        asked = encode_receipt_request(bytes.fromhex(receipt_id), old_size)
        found = await invocation.unary(request, rpc.GET_RECEIPT, asked)
        return ReceiptDocument.of(decode_receipt_answer(found))

    @router.put(
        "/receipts/{receipt_id}/countersignature",
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(*WITH_BODY, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
        openapi_extra=json_body(CountersignatureDocument),
        tags=["audit"],
    )
    async def countersign(request: Request, receipt_id: ReceiptId) -> None:
        """Leave the client's signature over a receipt, once it has verified the answer."""
        signed = await invocation.document(request, CountersignatureDocument)
        message = encode_countersignature(
            Countersignature(
                bytes.fromhex(receipt_id),
                bytes.fromhex(signed.client_key),
                bytes.fromhex(signed.client_signature),
            )
        )
        decode_countersigned(await invocation.unary(request, rpc.COUNTERSIGN, message))
