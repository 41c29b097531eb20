"""Messages of requests as a client sends them, for tests that send their own."""

from __future__ import annotations

import secrets
from dataclasses import replace

from client_sdk.evidence import Evidence
from protocol.request import EMPTY_LOG_HEAD, NONCE_BYTES, REQUEST_ID_BYTES, Request
from wire.inference import encode_request
from wire.v1 import inference_pb2 as pb


def messages_like(evidence: Evidence, request: Request | None = None) -> list[bytes]:
    """A request with the inputs of one that was answered, or like another, under its own id."""
    like = replace(
        request or evidence.request,
        request_id=secrets.token_bytes(REQUEST_ID_BYTES),
        nonce=secrets.token_bytes(NONCE_BYTES),
        log_head=EMPTY_LOG_HEAD,
    )
    return list(encode_request(like, evidence.inputs))


def fresh(messages: list[bytes]) -> list[bytes]:
    """The same request under another id: sent under its own again, it would be a repetition."""
    first = pb.InferRequest.FromString(messages[0])
    first.header.request_id = secrets.token_bytes(REQUEST_ID_BYTES)
    return [first.SerializeToString(), *messages[1:]]
