"""The services for models, keys and inference: bytes in, bytes out, every failure a typed status.

Work on words runs in threads, so that the event loop answers health checks meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from audit.errors import DuplicateReceiptError
from audit.facts import AnsweredFacts, answered_facts
from audit.receipt import Action
from audit.recorder import CommitStep
from fhe_layers.inputs import request_inputs
from protocol.errors import EncodingError
from protocol.keys import EnrolledKey
from protocol.parameters import Mode
from server.bundles import ModelBundle
from server.calls import Calls, Context, Stream, both, handlers_of, next_message, within
from server.events import Event
from server.inference import InferenceEngine
from server.jobs import Job, admit, request_of
from server.keys import EnrolledKeyStore, EnrolmentSession, EnrolmentSessions
from server.memory import MemoryBudget, enrolment_bytes, inference_bytes
from server.refusals import Refusal
from server.registry import ModelRegistry
from server.settings import ServerSettings
from server.threads import in_thread
from server.trail import Answered, Trail
from wire import rpc
from wire.audit import encode_receipt
from wire.enrolment import (
    CompletionAssembler,
    decode_begin,
    decode_completion_header,
    encode_challenge,
    encode_completed,
)
from wire.inference import (
    InferenceHeader,
    RequestAssembler,
    decode_header,
    encode_receipt_part,
    encode_response,
    outputs_digest,
)
from wire.models import (
    ModelList,
    ServedModel,
    decode_list_request,
    decode_model_request,
    encode_list,
    encode_model,
)
from wire.stored_key import Enrolment
from zk_layers.verify import verify_enrolment

Result = TypeVar("Result")
_ADMITTED = ((rpc.ADMITTED_METADATA, "1"),)


@dataclass(frozen=True)
class _Asked:
    """A request for inference: its receipt, its first message raw and parsed, and who waits."""

    event: Event
    first: bytes
    header: InferenceHeader
    context: Context


class Service:
    """The procedures of one server, but for those of its audit trail."""

    def __init__(
        self,
        settings: ServerSettings,
        *,
        registry: ModelRegistry,
        keys: EnrolledKeyStore,
        engine: InferenceEngine,
        executor: Executor,
        trail: Trail,
        calls: Calls,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._keys = keys
        self._engine = engine
        self._executor = executor
        self._trail = trail
        self._calls = calls
        self._sessions = EnrolmentSessions(
            settings.max_enrolment_sessions, settings.enrolment_seconds
        )
        self._running = 0
        self._memory = MemoryBudget(settings.max_memory_bytes)

    def handlers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """What gRPC routes here."""
        return handlers_of(
            {
                rpc.LIST_MODELS: grpc.unary_unary_rpc_method_handler(self.list_models),
                rpc.GET_MODEL: grpc.unary_unary_rpc_method_handler(self.get_model),
                rpc.BEGIN_ENROLMENT: grpc.unary_unary_rpc_method_handler(self.begin_enrolment),
                rpc.COMPLETE_ENROLMENT: grpc.stream_unary_rpc_method_handler(
                    self.complete_enrolment
                ),
                rpc.INFER: grpc.stream_stream_rpc_method_handler(self.infer),
            }
        )

    async def list_models(self, data: bytes, context: Context) -> bytes:
        """ModelService.ListModels."""
        async with self._calls.serving(context, rpc.LIST_MODELS):
            decode_list_request(data)
            summaries = await asyncio.to_thread(self._registry.load_all)
            return encode_list(ModelList(self._settings.server_id, tuple(summaries)))

    async def get_model(self, data: bytes, context: Context) -> bytes:
        """ModelService.GetModel."""
        async with self._calls.serving(context, rpc.GET_MODEL):
            digest = decode_model_request(data)
            bundle = await asyncio.to_thread(self._registry.get, digest)
            return encode_model(
                ServedModel(
                    self._settings.server_id, bundle.card.encoded(), bundle.registration_proof
                )
            )

    async def begin_enrolment(self, data: bytes, context: Context) -> bytes:
        """KeyService.BeginEnrolment."""
        async with self._calls.serving(context, rpc.BEGIN_ENROLMENT):
            request, root = decode_begin(data)
            self._check_identities(context, request.client_id, request.server_id)
            return encode_challenge(self._sessions.begin(request, root))

    async def complete_enrolment(self, messages: Stream, context: Context) -> bytes:
        """KeyService.CompleteEnrolment."""
        async with self._calls.serving(context, rpc.COMPLETE_ENROLMENT) as call:
            first = await self._header(messages)
            event = call.event = self._trail.event(Action.ENROL_KEY)
            header = decode_completion_header(first)
            event.request_id = header.session_id
            async with self._slot():
                session = self._sessions.claim(header.session_id)
                event.enrols(session)
                call.held.enter_context(self._memory.reserve(enrolment_bytes(session.request)))
                return await self._enrol(event, session, header.proof_bytes, messages, context)

    async def _enrol(
        self,
        event: Event,
        session: EnrolmentSession,
        proof_bytes: int,
        messages: Stream,
        context: Context,
    ) -> bytes:
        """Receive the keys and the proof of a claimed session, and keep them if it holds."""
        assembler = CompletionAssembler(session.request, proof_bytes)
        await context.send_initial_metadata(_ADMITTED)
        await self._receive(messages, assembler.add)
        b, proof = assembler.finish()
        key = EnrolledKey(session.request, session.root, session.nonce, b)

        def enrol() -> bytes:
            verify_enrolment(key, proof)
            try:
                return self._keys.add(
                    key, lambda: self._trail.record_enrolment(event, Enrolment(key, proof))
                )
            except OSError:
                event.begins_anew()  # recorded, and not kept after all
                raise

        return encode_completed(await self._compute(enrol))

    async def infer(self, messages: Stream, context: Context) -> None:
        """InferenceService.Infer."""
        async with self._calls.serving(context, rpc.INFER) as call:
            first = await self._header(messages)
            event = call.event = self._trail.event(Action.PREDICT)
            header = decode_header(first)
            event.asks(header)
            self._check_identities(context, header.client_id, header.server_id)
            event.require_account(header)
            async with self._slot():
                asked = _Asked(event, first, header, context)
                found = await self._trail.find_answer(header)
                if found is not None:
                    answered, count = found
                    call.held.enter_context(self._memory.reserve(count))
                    await self._repeat(asked, answered)
                    return
                bundle, key = await self._admitted(header)
                count = inference_bytes(bundle.card, header.packing)
                call.held.enter_context(self._memory.reserve(count))
                await self._infer(asked, bundle, key, messages)

    async def _admitted(self, header: InferenceHeader) -> tuple[ModelBundle, EnrolledKey | None]:
        """The model and the key of a request that may be answered."""
        bundle = await asyncio.to_thread(self._registry.get, header.model_digest)
        key = None
        if bundle.card.mode is Mode.PRIVATE:
            key = await asyncio.to_thread(self._keys.get, header.key_digest)
        admit(header, bundle, key, self._settings.server_id)
        return bundle, key

    async def _infer(
        self, asked: _Asked, bundle: ModelBundle, key: EnrolledKey | None, messages: Stream
    ) -> None:
        """Receive the inputs a header announced, answer, record the answer, release it."""
        event, header = asked.event, asked.header
        assembler = RequestAssembler(bundle.card, header)
        received = [asked.first]

        def add(message: bytes) -> None:
            assembler.add(message)
            received.append(message)

        await asked.context.send_initial_metadata(_ADMITTED)
        await self._receive(messages, add)
        ciphertexts, plaintext = assembler.finish()

        def answer() -> tuple[AnsweredFacts, list[bytes]]:
            inputs = request_inputs(
                bundle.card, header.packing, header.records, ciphertexts, plaintext
            )
            request = request_of(header, bundle, inputs)
            job = Job(bundle, key, request, inputs)
            response = self._engine.answer(job)
            facts = answered_facts(
                request,
                outputs_digest(response.outputs),
                response.proof,
                self._engine.soundness_bits(job, response),
                header.account,
            )
            return facts, list(encode_response(header.request_id, response))

        # The disk takes the request while the processors work on it.
        kept, (facts, outgoing) = await both(
            self._trail.keep_request(event, received, seal=plaintext is not None),
            self._compute(answer),
        )
        objects = [kept, *await self._trail.keep_response(event, bundle, outgoing)]
        try:
            answered = await self._trail.record_answer(event, facts, bundle.digest, objects)
        except DuplicateReceiptError:
            # The same request came twice at once, and the other one was recorded first.
            found = await self._trail.find_answer(header)
            if found is None:
                raise
            outgoing.clear()
            await self._repeat(asked, found[0])
        else:
            await self._release(asked, answered, outgoing)

    async def _repeat(self, asked: _Asked, answered: Answered) -> None:
        """Send what a request was answered before; nothing more is received for it."""
        outgoing = await self._trail.repeat_answer(asked.event, answered, asked.first)
        await self._release(asked, answered, outgoing)

    async def _release(self, asked: _Asked, answered: Answered, outgoing: list[bytes]) -> None:
        """Send an answer, which is durable, and the receipt after it."""
        receipt = await self._trail.proven(answered, asked.header.log_size)
        self._trail.observe(CommitStep.RELEASING)
        for message in (*outgoing, encode_receipt_part(encode_receipt(receipt))):
            async with within(self._settings.idle_seconds, "the answer was not read"):
                await asked.context.write(message)
        self._trail.observe(CommitStep.RELEASED)

    async def _header(self, messages: Stream) -> bytes:
        """The first message, awaited without a slot and not for long: streams cost peers nothing.

        Raises:
            Refusal: it did not come in time (too-slow).
            EncodingError: the stream ended.
        """
        message = await next_message(messages, self._settings.header_seconds)
        if message is None:
            raise EncodingError("the stream ended before its header")
        return message

    async def _receive(self, messages: Stream, add: Callable[[bytes], None]) -> None:
        """Pass every further message on.

        Raises:
            Refusal: the peer paused for too long (too-slow).
        """
        while (message := await next_message(messages, self._settings.idle_seconds)) is not None:
            add(message)

    async def _compute(self, work: Callable[[], Result]) -> Result:
        """Run what takes all cores, a few at a time; lookups have threads of their own."""
        return await in_thread(self._executor, work)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the places for calls that hold words in memory; refused at once when none is."""
        if self._running >= self._settings.max_requests:
            raise Refusal(rpc.Reason.BUSY, "this server is busy: try again later")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _check_identities(self, context: Context, client_id: str, server_id: str) -> None:
        """Names must be true as far as TLS can tell: ours always, the client's with mutual TLS."""
        if server_id != self._settings.server_id:
            raise Refusal(
                rpc.Reason.IDENTITY_REFUSED, f"this server is '{self._settings.server_id}'"
            )
        if self._settings.tls_client_ca is not None:
            shown: Any = context.auth_context().get("x509_common_name", ())
            if client_id.encode() not in tuple(shown):
                raise Refusal(
                    rpc.Reason.IDENTITY_REFUSED, "the client identity is not the certificate's"
                )
