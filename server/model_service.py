"""The model service: what is published, with what verifies it."""

from __future__ import annotations

import asyncio

import grpc

from server.calls import Calls, Context, handlers_of
from wire import rpc
from wire.models import (
    ModelList,
    ServedModel,
    decode_list_request,
    decode_model_request,
    encode_list,
    encode_model,
)


class ModelService:
    """The procedures for models."""

    def __init__(self, server_id: str, calls: Calls) -> None:
        self._server_id = server_id
        self._calls = calls

    def handlers(self) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
        """What gRPC routes here."""
        return handlers_of(
            {
                rpc.LIST_MODELS: grpc.unary_unary_rpc_method_handler(self.list_models),
                rpc.GET_MODEL: grpc.unary_unary_rpc_method_handler(self.get_model),
            }
        )

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
