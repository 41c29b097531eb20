"""The key service: enrolment of clients' public keys, in two calls."""

from __future__ import annotations

import asyncio

import grpc

from audit.receipt import Action
from protocol.keys import EnrolledKey
from server.admission import Admission, ticket_of
from server.answering import Answering
from server.calls import Call, Calls, Context, Procedures, Stream, first_message, receive
from server.demand import enrolment_demand
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

    def configure(self, settings: ServerSettings) -> None:
        """Take new time limits, for what begins from now on."""
        self._settings = settings

    def procedures(self) -> Procedures:
        """What is routed here."""
        return {
            rpc.BEGIN_ENROLMENT: grpc.unary_unary_rpc_method_handler(self.begin_enrolment),
            rpc.COMPLETE_ENROLMENT: grpc.stream_unary_rpc_method_handler(self.complete_enrolment),
        }

    async def begin_enrolment(self, data: bytes, context: Context) -> bytes:
        """KeyService.BeginEnrolment."""
        async with self._calls.serving(context, rpc.BEGIN_ENROLMENT) as call:
            request, root = decode_begin(data)
            require_server(self._settings.server_id, request.server_id)
            call.require_client(request.client_id)
            return encode_challenge(call.room.sessions.begin(request, root))

    async def complete_enrolment(self, messages: Stream, context: Context) -> bytes:
        """KeyService.CompleteEnrolment."""
        async with self._calls.serving(context, rpc.COMPLETE_ENROLMENT) as call:
            first = await first_message(messages, self._settings.header_seconds)
            event = call.begin(Action.ENROL_KEY)
            header = decode_completion_header(first)
            event.request_id = header.session_id
            ticket = ticket_of(call, self._admission)
            session = call.room.sessions.claim(header.session_id)
            event.enrols(session)
            call.require_client(session.request.client_id)
            demand = enrolment_demand(session.request, header.proof_bytes)
            await ticket.place(demand, call.seconds_left(context))
            assembler = CompletionAssembler(session.request, header.proof_bytes)
            await context.send_initial_metadata(rpc.ADMITTED)
            await receive(ticket.counted(messages), self._settings.idle_seconds, assembler.add)
            b, proof = assembler.finish()
            key = EnrolledKey(session.request, session.root, session.nonce, b)
            enrolment = Enrolment(key, proof)
            async with ticket.working():
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
