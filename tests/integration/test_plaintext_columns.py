"""Columns in clear over TLS: honest predictions, what travels, and what the server refuses."""

from __future__ import annotations

import logging

import grpc
import numpy as np
import pytest
import structlog

from blindproof.network_publishing import NetworkModel, bundle_network
from client_sdk import Client, RangeError, verify_evidence
from client_sdk.evidence import decode_evidence, encode_evidence
from client_sdk.records import RawRecords
from fhe_layers.spec import SQUARE, DenseSpec, NetworkSpec, PolynomialSpec
from protocol.errors import EncodingError, ModelError, ParameterError
from protocol.features import encode_columns
from protocol.parameters import Mode, Packing
from server.registry import ModelRegistry
from tests.adversarial.plaintext_scenario import (
    COLUMNS,
    EXPANSION,
    OPEN_COLUMNS,
    OPEN_MONOMIALS,
    OPEN_UNITS,
    exact_values,
    mixed_bundle,
    mixed_records,
)
from tests.integration.conftest import World
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.inference import encode_request, input_words
from wire.rpc import Reason
from wire.v1 import inference_pb2 as pb

MALFORMED, REFUSED = Reason.MALFORMED, Reason.REQUEST_REFUSED
MARK = 63.015625
"""A patient's age that occurs nowhere else."""


def client_of(world: World, served) -> Client:
    ModelRegistry(world.settings.models).publish(served)
    world.models["mixed"] = served
    return world.client("mixed")


@pytest.fixture(scope="module")
def asked(world: World):
    """A batch of three and its result."""
    raw = mixed_records(3)
    raw[0, 1] = MARK
    with client_of(world, mixed_bundle()) as client:
        return client.predict(RawRecords(raw), packing="batch")


@pytest.mark.accepts("C-81")
@pytest.mark.parametrize("packing", list(Packing), ids=str)
@pytest.mark.parametrize("mode", list(Mode), ids=str)
@pytest.mark.parametrize("expansion", [(), EXPANSION], ids=["units", "monomials"])
def test_predictions_are_the_integer_models(world: World, tmp_path, packing, mode, expansion):
    served = mixed_bundle(mode, expansion)
    raw = mixed_records(1 if packing is Packing.SINGLE else 20)
    with client_of(world, served) as client:
        result = client.predict(RawRecords(raw), packing=str(packing))
    exact = exact_values(served, raw)
    assert np.abs(result.values - exact).max() <= result.error_bound + 1e-14  # of doubles
    inputs = result.evidence[0].inputs
    known = OPEN_MONOMIALS if expansion else OPEN_UNITS
    count = len(expansion) or 11
    if packing is Packing.BATCH:
        assert inputs.encrypted == tuple(sorted(set(range(count)) - set(known)))
        assert inputs.known_inputs == known
    assert len(inputs.ciphertexts.seeds) == len(inputs.encrypted)
    assert np.array_equal(inputs.plaintext.values, raw[:, list(OPEN_COLUMNS)].T)
    result.save(tmp_path / "evidence")
    (answer,) = verify_evidence(tmp_path / "evidence", served.digest)
    assert answer.records == len(raw)


@pytest.mark.parametrize("mode", list(Mode), ids=str)
def test_a_network_with_plaintext_columns(world: World, mode):
    rng = np.random.default_rng(4)
    model = NetworkModel(
        name="mixed network",
        version="1",
        purpose="tests",
        features=COLUMNS,
        network=NetworkSpec(
            (11,),
            (
                DenseSpec(rng.uniform(-0.3, 0.3, (3, 11)), rng.uniform(-0.3, 0.3, 3)),
                PolynomialSpec(SQUARE),
                DenseSpec(rng.uniform(-1, 1, (1, 3)), rng.uniform(-0.3, 0.3, 1)),
            ),
        ),
        outputs=("y",),
        labels=(),
        link="identity",
    )
    served = bundle_network(model, bytes(range(32)), mode=mode, precision_bits=12.0)
    raw = mixed_records(5)
    with client_of(world, served) as client:
        result = client.predict(RawRecords(raw))
    first, _, last = model.network.layers
    hidden = (encode_columns(COLUMNS, raw) @ first.weights.T + first.bias) ** 2
    wanted = hidden @ last.weights.T + last.bias
    assert np.abs(result.values - wanted).max() < 2e-3
    assert len(result.evidence[0].ciphertexts.seeds) == 3


@pytest.mark.rejects("C-81")
def test_what_the_card_encrypts_is_not_in_the_request_in_clear(asked):
    answer = asked.evidence[0]
    sent = b"".join(encode_request(answer.request, answer.inputs))
    raw = mixed_records(3)
    raw[0, 1] = MARK
    markers = raw[:, 0].astype("<f8")
    assert not any(value.tobytes() in sent for value in (markers, markers[0], (markers - 1) / 5))
    assert all(value.tobytes() in sent for value in raw[:, OPEN_COLUMNS].astype("<f8").ravel())


def test_each_request_has_a_salt_of_its_own(world: World):
    with client_of(world, mixed_bundle()) as client:
        salts = {
            client.predict(RawRecords(mixed_records(1))).evidence[0].inputs.plaintext.salt
            for _ in "ab"
        }
    assert len(salts) == 2
    assert all(len(salt) == 32 for salt in salts)


def test_expanded_words_are_not_kept(asked):
    inputs = asked.evidence[0].inputs
    assert not {"words", "known"} & {*vars(inputs), *vars(inputs.ciphertexts)}


def test_only_columns_that_the_client_allows_are_sent_in_clear(world: World):
    served = mixed_bundle()
    open_names = [served.card.features[index].name for index in OPEN_COLUMNS]
    client_of(world, served).close()
    world.phases.clear()
    with (
        world.client("mixed", plaintext=open_names[1:]) as client,
        pytest.raises(ModelError, match=f"'{open_names[0]}' sent in clear"),
    ):
        client.predict(RawRecords(mixed_records(1)))
    assert world.phases == []
    with world.client("mixed", plaintext=[*open_names, "another"]) as client:
        assert len(client.predict(RawRecords(mixed_records(1))).values) == 1
    with pytest.raises(ParameterError, match="names of columns"):
        world.client("mixed", plaintext="age")


def test_a_value_out_of_range_is_not_sent(world: World):
    raw = mixed_records(1)
    raw[0, 1] = 17.0
    with client_of(world, mixed_bundle()) as client, pytest.raises(RangeError, match="'age'"):
        client.predict(RawRecords(raw))


def infer(world: World, messages: list[bytes]) -> tuple[Reason | None, str]:
    """Send raw messages; the reason and the words of the refusal, (None, "") for an answer."""
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with grpc.secure_channel(world.address, credentials) as channel:
        call = channel.stream_stream(rpc.INFER.path)(iter(messages), timeout=20)
        try:
            list(call)
        except grpc.RpcError as error:
            reason = dict(error.trailing_metadata()).get(rpc.REASON_METADATA, "")
            return Reason(reason), error.details() or ""
    return None, ""


def header(message: bytes, **changes: object) -> bytes:
    parsed = pb.InferRequest.FromString(message)
    for name, value in changes.items():
        setattr(parsed.header, name, value)
    return parsed.SerializeToString()


def column(message: bytes, **changes: object) -> bytes:
    parsed = pb.InferRequest.FromString(message)
    assert parsed.WhichOneof("part") == "plaintext"
    for name, value in changes.items():
        setattr(parsed.plaintext, name, value)
    return parsed.SerializeToString()


def doubles(*values: float) -> bytes:
    return np.array(values, dtype="<f8").tobytes()


@pytest.fixture
def sent(asked) -> list[bytes]:
    evidence = asked.evidence[0]
    return messages_like(evidence)


@pytest.mark.accepts("C-76")
def test_the_recorded_messages_are_accepted(world: World, sent):
    assert len(sent) == 1 + len(OPEN_COLUMNS) + 3
    assert infer(world, fresh(sent)) == (None, "")


NO_COLUMNS = {"plaintext_columns": 0, "plaintext_salt": b""}


@pytest.mark.rejects("C-76")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda m: [header(m[0], **NO_COLUMNS), *m[5:]], REFUSED, id="none"),
        pytest.param(lambda m: [header(m[0], **NO_COLUMNS), *m[1:]], REFUSED, id="unannounced"),
        pytest.param(lambda m: [m[0], *m[5:]], MALFORMED, id="announced and not sent"),
        pytest.param(lambda m: [m[0], *m[2:]], MALFORMED, id="the first missing"),
        pytest.param(lambda m: [*m[:4], *m[5:]], MALFORMED, id="the last missing"),
        pytest.param(lambda m: [m[0], m[2], m[1], *m[3:]], MALFORMED, id="out of order"),
        pytest.param(lambda m: [*m[:5], m[4], *m[5:]], MALFORMED, id="one twice"),
        pytest.param(lambda m: [m[0], *m[5:], *m[1:5]], MALFORMED, id="after the ciphertexts"),
        pytest.param(lambda m: m[:5], MALFORMED, id="no ciphertexts"),
        pytest.param(
            lambda m: [header(m[0], plaintext_columns=2**32 - 1), *m[1:]], REFUSED, id="too many"
        ),
        pytest.param(
            lambda m: [header(m[0], plaintext_salt=bytes(31)), *m[1:]], MALFORMED, id="a short salt"
        ),
        pytest.param(
            lambda m: [header(m[0], records=4097), *m[1:]], REFUSED, id="more records than slots"
        ),
        pytest.param(lambda m: [header(m[0], records=2), *m[1:]], MALFORMED, id="fewer records"),
        pytest.param(lambda m: [m[0], column(m[1], values=b""), *m[2:]], MALFORMED, id="empty"),
        pytest.param(
            lambda m: [m[0], column(m[1], values=doubles(MARK, 40)), *m[2:]], MALFORMED, id="short"
        ),
        pytest.param(
            lambda m: [m[0], column(m[1], values=doubles(MARK, 40, np.nan)), *m[2:]],
            MALFORMED,
            id="NaN",
        ),
        pytest.param(
            lambda m: [m[0], column(m[1], values=doubles(MARK, 40, -np.inf)), *m[2:]],
            MALFORMED,
            id="an infinity",
        ),
        pytest.param(
            lambda m: [m[0], m[1], m[2], column(m[3], values=doubles(-0.0, 1, 1)), *m[4:]],
            MALFORMED,
            id="a negative zero",
        ),
        pytest.param(
            lambda m: [m[0], column(m[1], values=doubles(MARK, 40, 90.5)), *m[2:]],
            REFUSED,
            id="out of range",
        ),
        pytest.param(
            lambda m: [*m[:2], column(m[2], values=doubles(0, 0.5, 1)), *m[3:]],
            REFUSED,
            id="no index of a category",
        ),
        pytest.param(
            lambda m: [*m[:2], column(m[2], values=doubles(0, 3, 1)), *m[3:]],
            REFUSED,
            id="an index beyond the categories",
        ),
    ],
)
def test_a_request_with_other_columns_is_refused(world: World, sent, change, reason):
    found, words = infer(world, change(fresh(sent)))
    assert found is reason
    assert all(text not in words for text in (f"{MARK}", "90.5", "0.5", "nan", "inf"))


@pytest.mark.rejects("C-76")
def test_columns_for_a_model_without_any_are_refused(world: World, sent):
    with world.client() as client:
        evidence = client.predict(np.ones((3, 3)), packing="batch").evidence[0]
    first, *rest = messages_like(evidence)
    announced = header(first, plaintext_columns=4, plaintext_salt=bytes(32))
    assert infer(world, [announced, *sent[1:5], *rest])[0] is REFUSED
    assert infer(world, [first, *sent[1:5], *rest])[0] is MALFORMED
    salted = header(first, plaintext_salt=bytes(32))
    assert infer(world, [salted, *rest])[0] is MALFORMED


def test_no_log_line_holds_a_value(world: World, sent):
    """Neither of an answered request nor of refused ones."""
    lines: list[str] = []

    def keep(_: object, __: str, event: dict[str, object]) -> str:
        lines.append(repr(event))
        raise structlog.DropEvent

    structlog.configure(
        processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
    )
    try:
        infer(world, fresh(sent))
        for last in (90.5, np.nan):
            first, changed, *rest = fresh(sent)
            infer(world, [first, column(changed, values=doubles(MARK, 40, last)), *rest])
    finally:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    assert any("call refused" in line for line in lines)
    assert not any(str(MARK) in line or "90.5" in line for line in lines)


def test_no_repr_holds_a_value(asked):
    evidence = asked.evidence[0]
    for thing in (asked, evidence, evidence.inputs, evidence.inputs.plaintext, evidence.request):
        assert str(MARK) not in repr(thing)


def test_evidence_that_expands_beyond_all_memory_is_refused(asked, monkeypatch):
    """A value in clear of 8 bytes may stand for a polynomial: bounded when written and read."""
    data = encode_evidence(asked.evidence)
    card = asked.evidence[0].request.card
    assert len(decode_evidence(data)) == 1
    limit = 8 * input_words(card, Packing.BATCH)
    monkeypatch.setattr("client_sdk.evidence.MAX_INPUT_BYTES", limit - 1)
    with pytest.raises(EncodingError, match="once they are expanded"):
        decode_evidence(data)
    with pytest.raises(EncodingError, match="once they are expanded"):
        encode_evidence(asked.evidence)
