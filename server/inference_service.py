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
from server.admission import Admission, Ticket, ticket_of
from server.answering import Answer, Answering, InferenceTask
from server.bundles import ModelBundle
from server.calls import (
    Call,
    Calls,
    Context,
    Procedures,
    Stream,
    both,
    first_message,
    next_message,
    receive,
    within,
)
from server.demand import Demand, inference_demand, repetition_demand
from server.events import Event
from server.jobs import admit
from server.refusals import Refusal, require_server
from server.settings import ServerSettings
from server.trail import Answered, Trail
from server.uploads import ParkedUploads, Upload, UploadName
from wire import rpc
from wire.audit import encode_receipt
from wire.inference import (
    InferenceHeader,
    RequestAssembler,
    decode_continuation,
    decode_header,
    decode_timings,
    encode_receipt_part,
)
from wire.transfer import Position


@dataclass(frozen=True, eq=False)
class _Asked:
    """A request for inference.

    Attributes:
        call: that is being served.
        event: what its receipt will say.
        first: its first message, as it came.
        header: what that says.
        context: who waits.
        ticket: its place, or what will become one.
    """

    call: Call
    event: Event
    first: bytes
    header: InferenceHeader
    context: Context
    ticket: Ticket

    @property
    def trail(self) -> Trail:
        """Where it is recorded."""
        return self.call.room.trail

    @property
    def upload(self) -> UploadName:
        """What comes after the header."""
        return UploadName.of(self.call.principal, self.first)

    @property
    def seconds_left(self) -> float:
        """Until the call is over."""
        return self.call.seconds_left(self.context)


class InferenceService:
    """The procedure for inference."""

    def __init__(
        self, settings: ServerSettings, calls: Calls, admission: Admission, answering: Answering
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._admission = admission
        self._answering = answering
        self._uploads = ParkedUploads(settings.max_parked_bytes, settings.parked_seconds)

    @property
    def uploads(self) -> ParkedUploads:
        """Broken ones, whose clients may come back."""
        return self._uploads

    def configure(self, settings: ServerSettings) -> None:
        """Take new time limits, for what begins from now on."""
        self._settings = settings

    def procedures(self) -> Procedures:
        """What is routed here."""
        return {rpc.INFER: grpc.stream_stream_rpc_method_handler(self.infer)}

    async def infer(self, messages: Stream, context: Context) -> None:
        """InferenceService.Infer."""
        async with self._calls.serving(context, rpc.INFER) as call:
            first = await first_message(messages, self._settings.header_seconds)
            event = call.begin(Action.PREDICT)
            header = decode_header(first)
            event.asks(header)
            # First: no receipt of a refusal has another's name.
            call.require_client(header.client_id)
            require_server(self._settings.server_id, header.server_id)
            event.require_account(header)
            ticket = ticket_of(call, self._admission)
            asked = _Asked(call, event, first, header, context, ticket)
            await self._answer(asked, messages)

    async def _answer(self, asked: _Asked, messages: Stream) -> None:
        """Answer a request in its place: from the archive, if it was answered before."""
        found = await asked.trail.find_answer(asked.header)
        if found is not None:
            answered, count = found
            self._uploads.take(asked.upload)
            await asked.ticket.place(repetition_demand(count), asked.seconds_left)
            outgoing = await asked.trail.repeat_answer(asked.event, answered, asked.first)
            await self._release(asked, answered, await self._remaining(asked, outgoing))
            return
        # Judged before it waits, so that what will be refused is refused at once; and again when it
        # has its place, so that while it waits it holds neither model nor key.
        demand = await self._demand(asked)
        await asked.ticket.place(demand, asked.seconds_left)
        bundle, key = await self._admitted(asked)
        await self._infer(asked, bundle, key, messages)

    async def _demand(self, asked: _Asked) -> Demand:
        bundle, _ = await self._admitted(asked)
        return inference_demand(bundle.card, asked.header.packing)

    async def _admitted(self, asked: _Asked) -> tuple[ModelBundle, EnrolledKey | None]:
        """The model and the key of a request that may be answered."""
        room, header = asked.call.room, asked.header
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
        event, trail = asked.event, asked.trail
        async with self._uploads.surviving(asked.upload) as upload:
            assembler = RequestAssembler(bundle.card, asked.header)
            with self._calls.telemetry.span("receive"):
                await self._receive(asked, upload, assembler, messages)
            upload.broke_off = not assembler.is_complete
            ciphertexts, plaintext = assembler.finish()
            received = [asked.first, *upload.messages]
            task = InferenceTask(
                asked.call.room.tenant,
                bundle,
                key,
                asked.header,
                tuple(received),
                ciphertexts,
                plaintext,
            )
            # The disk takes the request while the processors work on it.
            kept, answer = await both(
                trail.keep_request(event, received, seal=plaintext is not None),
                self._worked(asked, task),
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
            outgoing = await trail.repeat_answer(event, found[0], asked.first)
            await self._release(asked, found[0], outgoing)
        else:
            await self._release(asked, answered, answer.messages)

    async def _worked(self, asked: _Asked, task: InferenceTask) -> Answer:
        with self._calls.telemetry.span("work") as span:
            async with asked.ticket.working():
                answer = await self._answering.answer(task)
            self._calls.telemetry.stages(decode_timings(answer.messages[0]), span)
            return answer

    async def _receive(
        self, asked: _Asked, upload: Upload, assembler: RequestAssembler, messages: Stream
    ) -> None:
        """Take an upload from its beginning, or from where it broke if the client has it so.

        Raises:
            Refusal: the peer paused for too long (too-slow), or goes on from somewhere else than
                was said (request-refused).
            EncodingError: the messages are not those which the header announced.
        """
        held = None
        if upload.messages:
            held = await asyncio.to_thread(Position.after, upload.messages)
        said = () if held is None else ((rpc.HELD_METADATA, str(held)),)
        await asked.context.send_initial_metadata((*rpc.ADMITTED, *said))

        def add(message: bytes) -> None:
            assembler.add(message)
            upload.messages.append(asked.ticket.count(message))

        idle = self._settings.idle_seconds
        if held is not None:
            first = await next_message(messages, idle)
            if first is None:
                return  # it broke again, and is parked again with what it has
            claimed = decode_continuation(first)
            if claimed is None:
                upload.messages.clear()
                add(first)
            elif claimed != held:
                raise Refusal(rpc.Reason.REQUEST_REFUSED, "there is no upload to continue there")
            for message in upload.messages if claimed is not None else ():
                assembler.add(message)
                await asyncio.sleep(0)  # other calls come in between
        await receive(messages, idle, add)

    async def _remaining(self, asked: _Asked, outgoing: list[bytes]) -> list[bytes]:
        """The messages of an answer which a client does not have yet, by what it says it has."""
        said = dict(asked.context.invocation_metadata() or ()).get(rpc.RECEIVED_METADATA)
        claimed = Position.parsed(said)
        if claimed is None:
            return outgoing
        had = outgoing[: claimed.messages]
        if await asyncio.to_thread(Position.after, had) != claimed:
            return outgoing
        await asked.context.send_initial_metadata(((rpc.CONTINUES_METADATA, str(claimed)),))
        return outgoing[claimed.messages :]

    async def _release(self, asked: _Asked, answered: Answered, outgoing: list[bytes]) -> None:
        """Send an answer, which is durable, and the receipt after it."""
        trail = asked.trail
        receipt = await trail.proven(answered, asked.header.log_size)
        trail.observe(CommitStep.RELEASING)
        with self._calls.telemetry.span("release"):
            for message in (*outgoing, encode_receipt_part(encode_receipt(receipt))):
                async with within(self._settings.idle_seconds, "the answer was not read"):
                    await asked.context.write(asked.ticket.count(message))
        trail.observe(CommitStep.RELEASED)
