"""The gRPC services: bytes in, bytes out, every failure a typed status.

Calls arrive as raw bytes and are parsed here, under the same handling of failures as everything
after.  Work on words runs in threads, so that the event loop answers health checks meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog

from fhe_layers.inputs import request_inputs
from protocol.errors import EncodingError
from protocol.keys import EnrolledKey
from protocol.parameters import Mode
from server.bundles import ModelBundle
from server.inference import InferenceEngine
from server.jobs import Job, admit, request_of
from server.keys import EnrolledKeyStore, EnrolmentSession, EnrolmentSessions
from server.memory import MemoryBudget, enrolment_bytes, inference_bytes
from server.refusals import Refusal, as_refusal
from server.registry import ModelRegistry
from server.settings import ServerSettings
from wire import rpc
from wire.enrolment import (
    CompletionAssembler,
    decode_begin,
    decode_completion_header,
    encode_challenge,
    encode_completed,
)
from wire.inference import InferenceHeader, RequestAssembler, decode_header, encode_response
from wire.models import (
    ModelList,
    ServedModel,
    decode_list_request,
    decode_model_request,
    encode_list,
    encode_model,
)
from zk_layers.verify import verify_enrolment

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Stream: TypeAlias = AsyncIterator[bytes]
Result = TypeVar("Result")
_ADMITTED = ((rpc.ADMITTED_METADATA, "1"),)
_log = structlog.get_logger("blindproof.server")


class Service:
    """All procedures of one server."""

    def __init__(
        self,
        settings: ServerSettings,
        registry: ModelRegistry,
        keys: EnrolledKeyStore,
        engine: InferenceEngine,
        executor: Executor,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._keys = keys
        self._engine = engine
        self._executor = executor
        self._sessions = EnrolmentSessions(
            settings.max_enrolment_sessions, settings.enrolment_seconds
        )
        self._running = 0
        self._memory = MemoryBudget(settings.max_memory_bytes)

    def handlers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """What gRPC routes here."""
        procedures: dict[rpc.Method, grpc.RpcMethodHandler[bytes, bytes]] = {
            rpc.LIST_MODELS: grpc.unary_unary_rpc_method_handler(self.list_models),
            rpc.GET_MODEL: grpc.unary_unary_rpc_method_handler(self.get_model),
            rpc.BEGIN_ENROLMENT: grpc.unary_unary_rpc_method_handler(self.begin_enrolment),
            rpc.COMPLETE_ENROLMENT: grpc.stream_unary_rpc_method_handler(self.complete_enrolment),
            rpc.INFER: grpc.stream_stream_rpc_method_handler(self.infer),
        }
        services = {method.service for method in procedures}
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    method.name: handler
                    for method, handler in procedures.items()
                    if method.service == service
                },
            )
            for service in sorted(services)
        ]

    async def list_models(self, data: bytes, context: Context) -> bytes:
        """ModelService.ListModels."""
        async with self._call(context, rpc.LIST_MODELS):
            decode_list_request(data)
            summaries = await asyncio.to_thread(self._registry.load_all)
            return encode_list(ModelList(self._settings.server_id, tuple(summaries)))

    async def get_model(self, data: bytes, context: Context) -> bytes:
        """ModelService.GetModel."""
        async with self._call(context, rpc.GET_MODEL):
            digest = decode_model_request(data)
            bundle = await asyncio.to_thread(self._registry.get, digest)
            return encode_model(
                ServedModel(
                    self._settings.server_id, bundle.card.encoded(), bundle.registration_proof
                )
            )

    async def begin_enrolment(self, data: bytes, context: Context) -> bytes:
        """KeyService.BeginEnrolment."""
        async with self._call(context, rpc.BEGIN_ENROLMENT):
            request, root = decode_begin(data)
            self._check_identities(context, request.client_id, request.server_id)
            return encode_challenge(self._sessions.begin(request, root))

    async def complete_enrolment(self, messages: Stream, context: Context) -> bytes:
        """KeyService.CompleteEnrolment."""
        async with self._call(context, rpc.COMPLETE_ENROLMENT):
            header = decode_completion_header(await self._header(messages))
            async with self._slot():
                session = self._sessions.claim(header.session_id)
                with self._memory.reserve(enrolment_bytes(session.request)):
                    return await self._enrol(session, header.proof_bytes, messages, context)

    async def _enrol(
        self, session: EnrolmentSession, proof_bytes: int, messages: Stream, context: Context
    ) -> bytes:
        """Receive the keys and the proof of a claimed session and keep them if it holds."""
        assembler = CompletionAssembler(session.request, proof_bytes)
        await context.send_initial_metadata(_ADMITTED)
        await self._receive(messages, assembler.add)
        b, proof = assembler.finish()
        key = EnrolledKey(session.request, session.root, session.nonce, b)

        def enrol() -> bytes:
            verify_enrolment(key, proof)
            return self._keys.add(key)

        return encode_completed(await self._compute(enrol))

    async def infer(self, messages: Stream, context: Context) -> None:
        """InferenceService.Infer."""
        async with self._call(context, rpc.INFER):
            header = decode_header(await self._header(messages))
            self._check_identities(context, header.client_id, header.server_id)
            async with self._slot():
                bundle, key = await self._admitted(header)
                with self._memory.reserve(inference_bytes(bundle.card, header.packing)):
                    for message in await self._answer(header, bundle, key, messages, context):
                        async with _within(self._settings.idle_seconds, "the answer was not read"):
                            await context.write(message)

    async def _admitted(self, header: InferenceHeader) -> tuple[ModelBundle, EnrolledKey | None]:
        """The model and the key of a request that may be answered."""
        bundle = await asyncio.to_thread(self._registry.get, header.model_digest)
        key = None
        if bundle.card.mode is Mode.PRIVATE:
            key = await asyncio.to_thread(self._keys.get, header.key_digest)
        admit(header, bundle, key, self._settings.server_id)
        return bundle, key

    async def _answer(
        self,
        header: InferenceHeader,
        bundle: ModelBundle,
        key: EnrolledKey | None,
        messages: Stream,
        context: Context,
    ) -> list[bytes]:
        """Receive the inputs a header announced and compute the response's messages."""
        assembler = RequestAssembler(bundle.card, header)
        await context.send_initial_metadata(_ADMITTED)
        await self._receive(messages, assembler.add)
        received = assembler.finish()

        def answer() -> list[bytes]:
            inputs = request_inputs(bundle.card, header.packing, header.records, *received)
            request = request_of(header, bundle, inputs)
            response = self._engine.answer(Job(bundle, key, request, inputs))
            return list(encode_response(header.request_id, response))

        return await self._compute(answer)

    async def _header(self, messages: Stream) -> bytes:
        """The first message, awaited without a slot and not for long: streams cost peers nothing.

        Raises:
            Refusal: it did not come in time (too-slow).
            EncodingError: the stream ended.
        """
        message = await _next(messages, self._settings.header_seconds)
        if message is None:
            raise EncodingError("the stream ended before its header")
        return message

    async def _receive(self, messages: Stream, add: Callable[[bytes], None]) -> None:
        """Pass every further message on.

        Raises:
            Refusal: the peer paused for too long (too-slow).
        """
        while (message := await _next(messages, self._settings.idle_seconds)) is not None:
            add(message)

    async def _compute(self, work: Callable[[], Result]) -> Result:
        """Run what takes all cores, a few at a time; lookups have threads of their own."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    @asynccontextmanager
    async def _call(self, context: Context, method: rpc.Method) -> AsyncIterator[None]:
        """Bound the call's time and turn every failure into its status."""
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                yield
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 -- the last line: the peer learns a reason only
            refusal = as_refusal(error)
            if refusal.reason is rpc.Reason.INTERNAL:
                _log.error("call failed", method=method.path, exc_info=error)
            else:
                _log.info("call refused", method=method.path, reason=str(refusal.reason))
            metadata = ((rpc.REASON_METADATA, str(refusal.reason)),)
            await context.abort(refusal.status, str(refusal), metadata)

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


async def _next(messages: Stream, seconds: float) -> bytes | None:
    """The next message, None at the end.  Raises Refusal (too-slow) when it takes longer."""
    async with _within(seconds, "no message"):
        return await anext(messages, None)


@asynccontextmanager
async def _within(seconds: float, complaint: str) -> AsyncIterator[None]:
    """Refuse (too-slow) a peer who lets the server wait longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        detail = f"{complaint} within {seconds:g} seconds"
        raise Refusal(rpc.Reason.TOO_SLOW, detail) from None
