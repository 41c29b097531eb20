"""Codec of the model service."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.digests import DIGEST_BYTES
from protocol.errors import EncodingError
from protocol.model import MAX_CARD_BYTES, MAX_NAME, MAX_PURPOSE, ModelCard
from protocol.parameters import MAX_IDENTITY
from wire.framing import expect_size, parse
from wire.v1 import models_pb2 as pb

MAX_LISTED_MODELS = 1024
MAX_REGISTRATION_BYTES = 2 << 20


@dataclass(frozen=True)
class ModelSummary:
    """One line of a server's list of models.  Unproved: for choosing, not for trusting."""

    digest: bytes
    name: str
    version: str
    purpose: str
    mode: str
    packings: tuple[str, ...]

    @classmethod
    def of(cls, card: ModelCard) -> ModelSummary:
        """The summary of a card."""
        return cls(
            card.digest,
            card.name,
            card.version,
            card.purpose,
            str(card.mode),
            tuple(str(profile.packing) for profile in card.profiles),
        )


@dataclass(frozen=True)
class ModelList:
    """What a server offers."""

    server_id: str
    models: tuple[ModelSummary, ...]


@dataclass(frozen=True)
class ServedModel:
    """A card and its registration proof as they came, neither of them checked yet."""

    server_id: str
    card: bytes
    registration_proof: bytes


def encode_list_request() -> bytes:
    """The request for the list of models."""
    return pb.ListModelsRequest().SerializeToString()


def decode_list_request(data: bytes) -> None:
    """Parse the request for the list; it says nothing.  Raises EncodingError."""
    parse(pb.ListModelsRequest, data)


def encode_list(models: ModelList) -> bytes:
    """The list of models."""
    return pb.ListModelsResponse(
        server_id=models.server_id,
        models=[
            pb.ModelSummary(
                digest=model.digest,
                name=model.name,
                version=model.version,
                purpose=model.purpose,
                mode=model.mode,
                packings=model.packings,
            )
            for model in models.models
        ],
    ).SerializeToString()


def decode_list(data: bytes) -> ModelList:
    """Parse a list of models.  Raises EncodingError."""
    message = parse(pb.ListModelsResponse, data)
    if len(message.models) > MAX_LISTED_MODELS:
        raise EncodingError(f"{len(message.models)} models listed, at most {MAX_LISTED_MODELS}")
    return ModelList(
        _identity(message.server_id), tuple(_summary(model) for model in message.models)
    )


def _summary(message: pb.ModelSummary) -> ModelSummary:
    if max(map(len, (message.name, message.version, message.mode, *message.packings))) > MAX_NAME:
        raise EncodingError(f"a name in a model summary has more than {MAX_NAME} characters")
    if len(message.purpose) > MAX_PURPOSE:
        raise EncodingError(f"a model's purpose has more than {MAX_PURPOSE} characters")
    return ModelSummary(
        expect_size(message.digest, DIGEST_BYTES, "model digest"),
        message.name,
        message.version,
        message.purpose,
        message.mode,
        tuple(message.packings),
    )


def encode_model_request(digest: bytes) -> bytes:
    """The request for one model."""
    return pb.GetModelRequest(digest=digest).SerializeToString()


def decode_model_request(data: bytes) -> bytes:
    """The digest of the model asked for.  Raises EncodingError."""
    return expect_size(parse(pb.GetModelRequest, data).digest, DIGEST_BYTES, "model digest")


def encode_model(model: ServedModel) -> bytes:
    """One model."""
    return pb.GetModelResponse(
        server_id=model.server_id, card=model.card, registration_proof=model.registration_proof
    ).SerializeToString()


def decode_model(data: bytes) -> ServedModel:
    """Parse one model, bounded but not verified.  Raises EncodingError."""
    message = parse(pb.GetModelResponse, data)
    if len(message.card) > MAX_CARD_BYTES:
        raise EncodingError(f"model card of {len(message.card)} bytes, at most {MAX_CARD_BYTES}")
    if len(message.registration_proof) > MAX_REGISTRATION_BYTES:
        raise EncodingError(
            f"registration proof of {len(message.registration_proof)} bytes, "
            f"at most {MAX_REGISTRATION_BYTES}"
        )
    return ServedModel(_identity(message.server_id), message.card, message.registration_proof)


def _identity(text: str) -> str:
    if not 0 < len(text) <= MAX_IDENTITY:
        raise EncodingError(f"a server identity must have 1 to {MAX_IDENTITY} characters")
    return text
