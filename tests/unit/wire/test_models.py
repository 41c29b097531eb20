from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.errors import EncodingError
from protocol.model import MAX_CARD_BYTES, MAX_PURPOSE
from wire import models
from wire.v1 import models_pb2 as pb


def test_a_list_comes_back(bundle):
    listed = models.ModelList("server", (models.ModelSummary.of(bundle.card),))
    assert models.decode_list(models.encode_list(listed)) == listed
    assert listed.models[0].packings == ("batch", "single")


def test_every_card_fits_the_list(bundle):
    card = replace(bundle.card, purpose="x" * MAX_PURPOSE)
    listed = models.ModelList("server", (models.ModelSummary.of(card),))
    assert models.decode_list(models.encode_list(listed)) == listed


def test_a_model_comes_back(bundle):
    served = models.ServedModel("server", bundle.card.encoded(), bundle.registration_proof)
    assert models.decode_model(models.encode_model(served)) == served


def test_a_request_comes_back():
    assert models.decode_model_request(models.encode_model_request(bytes(32))) == bytes(32)
    models.decode_list_request(models.encode_list_request())


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
def test_a_digest_has_32_bytes(size: int):
    with pytest.raises(EncodingError, match="expected 32 bytes"):
        models.decode_model_request(models.encode_model_request(bytes(size)))


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (pb.GetModelResponse(server_id="s", card=bytes(MAX_CARD_BYTES + 1)), "model card"),
        (
            pb.GetModelResponse(
                server_id="s", registration_proof=bytes(models.MAX_REGISTRATION_BYTES + 1)
            ),
            "registration proof",
        ),
        (pb.GetModelResponse(server_id=""), "identity"),
        (pb.GetModelResponse(server_id="x" * 201), "identity"),
    ],
)
def test_a_served_model_is_bounded(message, complaint: str):
    with pytest.raises(EncodingError, match=complaint):
        models.decode_model(message.SerializeToString())


@pytest.mark.parametrize(
    "model",
    [
        pb.ModelSummary(digest=bytes(31)),
        pb.ModelSummary(digest=bytes(32), name="x" * 201),
        pb.ModelSummary(digest=bytes(32), purpose="x" * 2001),
        pb.ModelSummary(digest=bytes(32), packings=["x" * 201]),
    ],
)
def test_a_summary_is_bounded(model):
    message = pb.ListModelsResponse(server_id="s", models=[model])
    with pytest.raises(EncodingError):
        models.decode_list(message.SerializeToString())


def test_a_list_is_bounded():
    many = [pb.ModelSummary(digest=bytes(32))] * (models.MAX_LISTED_MODELS + 1)
    with pytest.raises(EncodingError, match="models listed"):
        models.decode_list(pb.ListModelsResponse(server_id="s", models=many).SerializeToString())
