"""The model service: what is published, with what verifies it; and publishing it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import grpc

from audit.receipt import Action
from server.admission import Admission, ticket_of
from server.bundles import ModelBundle, bundle_of
from server.calls import Call, Calls, Context, Procedures, Stream, first_message, receive
from server.demand import publication_demand
from server.events import Event
from server.settings import ServerSettings
from server.storage import StorageError
from server.trail import Answered
from wire import rpc
from wire.models import (
    ModelList,
    ServedModel,
    decode_list_request,
    decode_model_request,
    encode_list,
    encode_model,
)
from wire.publication import (
    PublicationAssembler,
    decode_publication,
    decode_withdrawal,
    encode_published,
    encode_withdrawn,
)

Recording: TypeAlias = Callable[[Answered], None]
"""Told of the receipt of a change, before its effect."""


class ModelService:
    """The procedures for models."""

    def __init__(self, settings: ServerSettings, calls: Calls, admission: Admission) -> None:
        self._settings = settings
        self._server_id = settings.server_id
        self._calls = calls
        self._admission = admission

    def configure(self, settings: ServerSettings) -> None:
        """Take new time limits, for what begins from now on."""
        self._settings = settings

    def procedures(self) -> Procedures:
        """What is routed here."""
        return {
            rpc.LIST_MODELS: grpc.unary_unary_rpc_method_handler(self.list_models),
            rpc.GET_MODEL: grpc.unary_unary_rpc_method_handler(self.get_model),
            rpc.PUBLISH_MODEL: grpc.stream_unary_rpc_method_handler(self.publish_model),
            rpc.WITHDRAW_MODEL: grpc.unary_unary_rpc_method_handler(self.withdraw_model),
        }

    async def list_models(self, data: bytes, context: Context) -> bytes:
        """ModelService.ListModels."""
        async with self._calls.serving(context, rpc.LIST_MODELS) as call:
            decode_list_request(data)
            summaries = await asyncio.to_thread(call.room.registry.load_all)
            return encode_list(ModelList(self._server_id, tuple(summaries)))

    async def get_model(self, data: bytes, context: Context) -> bytes:
        """ModelService.GetModel."""
        async with self._calls.serving(context, rpc.GET_MODEL) as call:
            digest = decode_model_request(data)
            bundle = await asyncio.to_thread(call.room.registry.get, digest)
            return encode_model(
                ServedModel(self._server_id, bundle.card.encoded(), bundle.registration_proof)
            )

    async def publish_model(self, messages: Stream, context: Context) -> bytes:
        """ModelService.PublishModel."""
        async with self._calls.serving(context, rpc.PUBLISH_MODEL) as call:
            first = await first_message(messages, self._settings.header_seconds)
            event = call.begin(Action.PUBLISH_MODEL)
            header = decode_publication(first)
            event.concerns(header.request_id, header.digest)
            ticket = ticket_of(call, self._admission)
            demand = publication_demand(header.bundle_bytes)
            await ticket.place(demand, call.seconds_left(context))
            assembler = PublicationAssembler(header)
            await context.send_initial_metadata(rpc.ADMITTED)
            await receive(ticket.counted(messages), self._settings.idle_seconds, assembler.add)
            parts = assembler.finish()
            async with ticket.working():
                bundle = await asyncio.to_thread(bundle_of, parts)
                # What is there already is verified again, one after the other: no other work of
                # the threads that everybody shares waits behind many who publish.
                answered = await asyncio.to_thread(_publish, call, bundle)
            return encode_published(await call.room.trail.proven(answered, 0))

    async def withdraw_model(self, data: bytes, context: Context) -> bytes:
        """ModelService.WithdrawModel."""
        async with self._calls.serving(context, rpc.WITHDRAW_MODEL) as call:
            call.begin(Action.WITHDRAW_MODEL).concerns(*decode_withdrawal(data))
            answered = await asyncio.to_thread(_withdraw, call)
            return encode_withdrawn(await call.room.trail.proven(answered, 0))


def _publish(call: Call, bundle: ModelBundle) -> Answered:
    """Record a model that was judged, and then serve it; in the calling thread."""
    room, event = call.room, _event_of(call)

    def change(recorded: Recording) -> None:
        room.registry.publish(
            bundle, lambda served: recorded(room.trail.record_model(event, served))
        )

    return _recorded(event, change)


def _withdraw(call: Call) -> Answered:
    """Record that a model is withdrawn, and then serve it no more; in the calling thread."""
    room, event = call.room, _event_of(call)
    digest = event.digests.model
    assert digest is not None  # noqa: S101 -- the request has one

    def change(recorded: Recording) -> None:
        room.registry.withdraw(digest, lambda: recorded(room.trail.record_model(event)))

    return _recorded(event, change)


def _recorded(event: Event, change: Callable[[Recording], None]) -> Answered:
    """Make a change between whose preparation and effect its receipt becomes durable."""
    answered: list[Answered] = []
    try:
        change(answered.append)
    except StorageError:
        if answered:
            event.begins_anew()  # recorded, and not done after all
        raise
    return answered[0]


def _event_of(call: Call) -> Event:
    assert call.event is not None  # noqa: S101 -- each procedure has begun one
    return call.event
