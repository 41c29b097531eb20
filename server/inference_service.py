"""The inference service: requests in, answers out, each durable with its receipt before it leaves.

Work on words runs elsewhere, so that the event loop answers health checks meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc

from audit.errors import DuplicateReceiptError
from audit.receipt import Action
from audit.recorder import CommitStep
from protocol.keys import EnrolledKey
from protocol.parameters import Mode
from server.admission import Admission
from server.answering import Answering, InferenceTask
from server.bundles import ModelBundle
from server.calls import (
    Call,
    Calls,
    Context,
    Stream,
    both,
    first_message,
    handlers_of,
    receive,
    within,
)
from server.events import Event
from server.identity import Role
from server.jobs import admit
from server.memory import inference_bytes
from server.refusals import require_server
from server.rooms import Room
from server.settings import ServerSettings
from server.trail import Answered
from wire import rpc
from wire.audit import encode_receipt
from wire.inference import InferenceHeader, RequestAssembler, decode_header, encode_receipt_part


@dataclass(frozen=True)
class _Asked:
    """A request for inference: its receipt, its first message raw and parsed, and who waits."""

    room: Room
    event: Event
    first: bytes
    header: InferenceHeader
    context: Context


class InferenceService:
    """The procedure for inference."""

    def __init__(
        self, settings: ServerSettings, calls: Calls, admission: Admission, answering: Answering
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._admission = admission
        self._answering = answering

    def handlers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """What gRPC routes here."""
        return handlers_of({rpc.INFER: grpc.stream_stream_rpc_method_handler(self.infer)})

    async def infer(self, messages: Stream, context: Context) -> None:
        """InferenceService.Infer."""
        async with self._calls.serving(context, rpc.INFER) as call:
            first = await first_message(messages, self._settings.header_seconds)
            event = call.begin(Action.PREDICT)
            header = decode_header(first)
            event.asks(header)
            call.principal.require(Role.PREDICT)
            require_server(self._settings.server_id, header.server_id)
            call.principal.require_client(header.client_id)
            event.require_account(header)
            asked = _Asked(call.room, event, first, header, context)
            async with self._admission.place():
                await self._answer(call, asked, messages)

    async def _answer(self, call: Call, asked: _Asked, messages: Stream) -> None:
        """Answer a request in its place: from the archive, if it was answered before."""
        found = await asked.room.trail.find_answer(asked.header)
        if found is not None:
            answered, count = found
            call.held.enter_context(self._admission.reserve(count))
            await self._repeat(asked, answered)
            return
        bundle, key = await self._admitted(asked)
        count = inference_bytes(bundle.card, asked.header.packing)
        call.held.enter_context(self._admission.reserve(count))
        await self._infer(asked, bundle, key, messages)

    async def _admitted(self, asked: _Asked) -> tuple[ModelBundle, EnrolledKey | None]:
        """The model and the key of a request that may be answered."""
        room, header = asked.room, asked.header
        bundle = await asyncio.to_thread(room.registry.get, header.model_digest)
        key = None
        if bundle.card.mode is Mode.PRIVATE:
            key = await asyncio.to_thread(room.keys.get, header.key_digest)
        admit(header, bundle, key, self._settings.server_id)
        return bundle, key

    async def _infer(
        self, asked: _Asked, bundle: ModelBundle, key: EnrolledKey | None, messages: Stream
    ) -> None:
        """Receive the inputs a header announced, answer, record the answer, release it."""
        event, trail = asked.event, asked.room.trail
        assembler = RequestAssembler(bundle.card, asked.header)
        received = [asked.first]

        def add(message: bytes) -> None:
            assembler.add(message)
            received.append(message)

        await asked.context.send_initial_metadata(rpc.ADMITTED)
        await receive(messages, self._settings.idle_seconds, add)
        ciphertexts, plaintext = assembler.finish()
        task = InferenceTask(
            asked.room.tenant, bundle, key, asked.header, tuple(received), ciphertexts, plaintext
        )
        # The disk takes the request while the processors work on it.
        kept, answer = await both(
            trail.keep_request(event, received, seal=plaintext is not None),
            self._answering.answer(task),
        )
        objects = [kept, *await trail.keep_response(event, bundle, answer.messages)]
        try:
            answered = await trail.record_answer(event, answer.facts, bundle.digest, objects)
        except DuplicateReceiptError:
            # The same request came twice at once, and the other one was recorded first.
            found = await trail.find_answer(asked.header)
            if found is None:
                raise
            answer.messages.clear()
            await self._repeat(asked, found[0])
        else:
            await self._release(asked, answered, answer.messages)

    async def _repeat(self, asked: _Asked, answered: Answered) -> None:
        """Send what a request was answered before; nothing more is received for it."""
        outgoing = await asked.room.trail.repeat_answer(asked.event, answered, asked.first)
        await self._release(asked, answered, outgoing)

    async def _release(self, asked: _Asked, answered: Answered, outgoing: list[bytes]) -> None:
        """Send an answer, which is durable, and the receipt after it."""
        trail = asked.room.trail
        receipt = await trail.proven(answered, asked.header.log_size)
        trail.observe(CommitStep.RELEASING)
        for message in (*outgoing, encode_receipt_part(encode_receipt(receipt))):
            async with within(self._settings.idle_seconds, "the answer was not read"):
                await asked.context.write(message)
        trail.observe(CommitStep.RELEASED)
