"""The key service: enrolment of clients' public keys, in two calls."""

from __future__ import annotations

import asyncio

import grpc

from audit.receipt import Action
from protocol.keys import EnrolledKey
from server.admission import Admission
from server.answering import Answering
from server.calls import Call, Calls, Context, Stream, first_message, handlers_of, receive
from server.identity import Role
from server.keys import EnrolmentSession
from server.memory import enrolment_bytes
from server.refusals import require_server
from server.settings import ServerSettings
from wire import rpc
from wire.enrolment import (
    CompletionAssembler,
    decode_begin,
    decode_completion_header,
    encode_challenge,
    encode_completed,
)
from wire.stored_key import Enrolment


class KeyService:
    """The procedures for keys."""

    def __init__(
        self, settings: ServerSettings, calls: Calls, admission: Admission, answering: Answering
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._admission = admission
        self._answering = answering

    def handlers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """What gRPC routes here."""
        return handlers_of(
            {
                rpc.BEGIN_ENROLMENT: grpc.unary_unary_rpc_method_handler(self.begin_enrolment),
                rpc.COMPLETE_ENROLMENT: grpc.stream_unary_rpc_method_handler(
                    self.complete_enrolment
                ),
            }
        )

    async def begin_enrolment(self, data: bytes, context: Context) -> bytes:
        """KeyService.BeginEnrolment."""
        async with self._calls.serving(context, rpc.BEGIN_ENROLMENT) as call:
            request, root = decode_begin(data)
            call.principal.require(Role.PREDICT)
            require_server(self._settings.server_id, request.server_id)
            call.principal.require_client(request.client_id)
            return encode_challenge(call.room.sessions.begin(request, root))

    async def complete_enrolment(self, messages: Stream, context: Context) -> bytes:
        """KeyService.CompleteEnrolment."""
        async with self._calls.serving(context, rpc.COMPLETE_ENROLMENT) as call:
            first = await first_message(messages, self._settings.header_seconds)
            event = call.begin(Action.ENROL_KEY)
            header = decode_completion_header(first)
            event.request_id = header.session_id
            call.principal.require(Role.PREDICT)
            async with self._admission.place():
                session = call.room.sessions.claim(header.session_id)
                event.enrols(session)
                call.principal.require_client(session.request.client_id)
                count = enrolment_bytes(session.request)
                call.held.enter_context(self._admission.reserve(count))
                return await self._enrol(call, session, header.proof_bytes, messages, context)

    async def _enrol(
        self,
        call: Call,
        session: EnrolmentSession,
        proof_bytes: int,
        messages: Stream,
        context: Context,
    ) -> bytes:
        """Receive the keys and the proof of a claimed session, and keep them if it holds."""
        assembler = CompletionAssembler(session.request, proof_bytes)
        await context.send_initial_metadata(rpc.ADMITTED)
        await receive(messages, self._settings.idle_seconds, assembler.add)
        b, proof = assembler.finish()
        key = EnrolledKey(session.request, session.root, session.nonce, b)
        enrolment = Enrolment(key, proof)
        await self._answering.verify_enrolment(enrolment)
        return encode_completed(await asyncio.to_thread(self._keep, call, enrolment))

    def _keep(self, call: Call, enrolment: Enrolment) -> bytes:
        """Record a verified key and then keep it, in the calling thread."""
        event, room = call.event, call.room
        assert event is not None  # noqa: S101 -- `complete_enrolment` has begun one
        try:
            return room.keys.add(
                enrolment.key, lambda: room.trail.record_enrolment(event, enrolment)
            )
        except OSError:
            event.begins_anew()  # recorded, and not kept after all
            raise
