"""The server's side of the trail: what is recorded, when, and what is never released without."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import grpc
import numpy as np
import pytest
import structlog

from audit.archive import ObjectKind
from audit.errors import ObjectMissingError
from audit.facts import answered_facts
from audit.log_check import check_log
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Action, Digests, Outcome, Purpose
from audit.recorder import CommitStep, Recorder
from audit.retention import RetentionRules, sweep
from audit.sealing import SealingKeys
from audit.signed_note import SignedNote
from audit.signed_receipt import SignedReceipt
from blindproof.loopback import server_process, server_thread
from client_sdk import Client, KeyStore
from client_sdk.evidence import Evidence
from client_sdk.records import RawRecords
from client_sdk.verification import accept_model, verify_answer
from protocol.accountability import Account, idempotency_digest
from protocol.keys import KeyRequest
from protocol.parameters import Mode
from server.inference import InferenceEngine
from server.jobs import Job
from server.main import ServerError
from server.registry import ModelRegistry
from server.settings import ServerSettings
from server.trail_files import DATABASE, SEALING
from tests.adversarial.plaintext_scenario import mixed_bundle, mixed_records
from tests.integration import asking
from tests.integration.asking import (
    ask,
    changed,
    connected,
    eventually,
    infer,
    outcome_of,
    receipt_of,
    receipts,
    receipts_of,
    trail_of,
)
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import network_bundle, network_profile, records
from tests.integration.raw_requests import fresh, messages_like
from tests.integration.test_networks import PERCEPTRON
from wire import rpc
from wire.archived import (
    decode_archived_enrolment,
    decode_archived_model,
    decode_archived_request,
    decode_archived_response,
)
from wire.audit import decode_log, encode_log_request
from wire.enrolment import decode_challenge, encode_begin, encode_completion
from wire.inference import (
    RequestAssembler,
    Response,
    ResponseAssembler,
    decode_header,
    outputs_digest,
)
from wire.rpc import Reason
from zk_layers.prove import EnrolmentProver
from zk_layers.verify import verify_enrolment

SECONDS = asking.SECONDS
MARK = 63.015625
"""A patient's age that occurs nowhere else."""
MODELS = ("private", "public", "perceptron", "public perceptron")


class PausedEngine(InferenceEngine):
    """Answers when it is told to, or fails."""

    def __init__(self) -> None:
        super().__init__(bytes(range(32)))
        self.started, self.released = threading.Event(), threading.Event()
        self.released.set()
        self.error: Exception | None = None
        self.meeting: threading.Barrier | None = None

    def pause(self) -> None:
        self.started.clear()
        self.released.clear()

    def answer(self, job: Job) -> Response:
        self.started.set()
        assert self.released.wait(SECONDS)
        if self.error is not None:
            raise self.error
        response = super().answer(job)
        if self.meeting is not None:
            self.meeting.wait(SECONDS)
        return response


class Watch:
    """The steps a commit has taken; stops at one of them if it is told to."""

    def __init__(self) -> None:
        self.steps: list[CommitStep] = []
        self.at: CommitStep | None = None
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, step: CommitStep) -> None:
        self.steps.append(step)
        if step is self.at:
            self.reached.set()
            assert self.opened.wait(SECONDS)

    def stop_at(self, step: CommitStep) -> None:
        self.steps.clear()
        self.reached.clear()
        self.opened.clear()
        self.at = step

    def go_on(self) -> None:
        self.at = None
        self.opened.set()


@dataclass
class Served:
    """A server with a state of its own, and requests to send to it."""

    world: World
    settings: ServerSettings
    address: str
    engine: PausedEngine
    watch: Watch
    keys: KeyStore
    channel: grpc.Channel
    evidence: dict[str, Evidence]

    def messages(self, model: str = "public") -> list[bytes]:
        return messages_like(self.evidence[model])

    def infer(self, messages: list[bytes]) -> asking.Outcome:
        return infer(self.channel, messages)

    def client(self, model: str, **changes: object) -> Client:
        return Client(
            self.address,
            model=self.world.models[model].digest,
            keys=self.keys,
            ca=self.world.ca,
            **changes,  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
def served(world: World, tmp_path_factory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    registry = ModelRegistry(world.settings.models)
    world.models["perceptron"] = network_bundle(PERCEPTRON, network_profile(3, 60, 101))
    world.models["public perceptron"] = network_bundle(
        PERCEPTRON, network_profile(3, 60, None), Mode.PUBLIC
    )
    world.models["mixed"] = mixed_bundle()
    for name in ("perceptron", "public perceptron", "mixed"):
        registry.publish(world.models[name])
    settings = world.settings.model_copy(update={"state": home / "state", "max_requests": 8})
    engine, watch = PausedEngine(), Watch()
    with (
        server_thread(settings, engine, watch) as address,
        connected(address, world.ca) as channel,
    ):
        keys = KeyStore(home / "keys", passphrase=PASSPHRASE)
        served = Served(world, settings, address, engine, watch, keys, channel, {})
        for model in MODELS:
            with served.client(model) as client:
                rows = records(2, len(world.models[model].card.features))
                served.evidence[model] = client.predict(rows, packing="batch").evidence[0]
        with served.client("private") as client:
            served.evidence["single"] = client.predict(records(1), packing="single").evidence[0]
        with served.client("mixed") as client:
            raw = mixed_records(3)
            raw[0, 1] = MARK
            served.evidence["mixed"] = client.predict(RawRecords(raw), packing="batch").evidence[0]
        yield served


@pytest.fixture(autouse=True)
def undisturbed(served: Served) -> None:
    served.watch.steps.clear()
    served.watch.at = None
    served.engine.error = served.engine.meeting = None
    served.engine.released.set()


@pytest.fixture
def trail(served: Served):
    with trail_of(served.settings) as files:
        yield files


@pytest.fixture
def error_lines() -> Iterator[list[dict[str, object]]]:
    """What the server logs as an error."""
    lines: list[dict[str, object]] = []

    def keep(_: object, __: str, event: dict[str, object]) -> str:
        lines.append(event)
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    structlog.configure(
        processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    yield lines
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )


# ------------------------------------------------------------------------- what a receipt says


@pytest.mark.parametrize("name", [*MODELS, "single", "mixed"])
def test_a_receipt_says_what_the_client_finds_in_request_and_answer(served: Served, trail, name):
    evidence = served.evidence[name]
    request = evidence.request
    digest = idempotency_digest(request.client_id, request.request_id)
    signed = trail.log.find_request("default", digest).receipt()
    signed.verify_server(trail.key.public)
    bits = verify_answer(evidence).bits if evidence.proof else None
    facts = answered_facts(
        request, outputs_digest(evidence.outputs), evidence.proof, bits, Account()
    )
    facts.require_in(signed.receipt)
    assert (signed.receipt.soundness_bits is None) == (name == "public")
    assert abs(signed.receipt.time_ns - time.time_ns()) < 600 * 10**9
    assert signed.receipt.reason is None


def test_a_receipt_names_who_asked_why_and_about_whom(served: Served, trail):
    asked = changed(served.messages(), actor="ward-7", purpose="TREAT", subject=b"s" * 32)
    assert served.infer(asked).code is grpc.StatusCode.OK
    (receipt,) = receipts_of(trail, asked)
    assert (receipt.actor, receipt.purpose) == ("ward-7", Purpose.TREATMENT)
    assert (receipt.subject, receipt.tenant) == (b"s" * 32, "default")


def test_what_the_receipt_names_is_archived_as_it_travelled(served: Served, trail):
    asked = served.messages("private")
    outcome = served.infer(asked)
    (receipt,) = receipts_of(trail, asked)
    archive, name = trail.archive, receipt.receipt_id
    assert decode_archived_request(archive.read(ObjectKind.REQUEST, name)) == tuple(asked)
    kept = decode_archived_response(archive.read(ObjectKind.RESPONSE, name))
    assert kept == tuple(outcome.messages)
    model = decode_archived_model(archive.read(ObjectKind.MODEL, receipt.digests.model))
    card = accept_model(model.card, model.registration_proof, receipt.digests.model)
    enrolment = decode_archived_enrolment(archive.read(ObjectKind.ENROLMENT, receipt.digests.key))
    verify_enrolment(enrolment.key, enrolment.proof)
    assert enrolment.key.digest == receipt.digests.key

    header = decode_header(asked[0])
    assembler = RequestAssembler(card, header)
    for message in asked[1:]:
        assembler.add(message)
    assert np.array_equal(
        assembler.finish()[0].bodies, served.evidence["private"].inputs.ciphertexts.bodies
    )
    answer = ResponseAssembler(card, header.packing, header.request_id)
    for message in kept:
        answer.add(message)
    assert outputs_digest(answer.finish().outputs) == receipt.digests.output


def test_the_receipt_comes_last_and_is_proven(served: Served, trail):
    first, second = served.messages(), served.messages()
    before = trail.log.head()
    sent = changed(second, log_size=before.size, log_head=before.digest)
    assert served.infer(first).receipt.consistency == ()
    came = served.infer(sent).receipt
    checkpoint = _proven(came, trail).verify(trail.log_key)
    assert checkpoint.size > came.index >= before.size
    hashes = trail.log.consistency_proof(before.size, checkpoint.size)
    assert came.consistency == hashes != ()


def _proven(came, trail) -> ProvenReceipt:
    return ProvenReceipt(
        SignedReceipt.from_entry(came.entry),
        came.index,
        came.inclusion,
        SignedNote.decoded(came.checkpoint),
        trail.log_key,
    )


# ------------------------------------------------------------------- nothing without its receipt


@pytest.mark.accepts("C-95")
@pytest.mark.parametrize("model", ["public", "private"])
def test_an_answer_goes_through_every_step_in_order(served: Served, model: str):
    assert served.infer(served.messages(model)).code is grpc.StatusCode.OK
    eventually(lambda: served.watch.steps[-1:] == [CommitStep.RELEASED])
    # Those who wait are told by another thread than the one that says so.
    taken = [step for step in served.watch.steps if step is not CommitStep.ACKNOWLEDGED]
    assert taken == [step for step in CommitStep if step is not CommitStep.ACKNOWLEDGED]
    assert served.watch.steps.count(CommitStep.ACKNOWLEDGED) == 1


@pytest.mark.accepts("C-95")
@pytest.mark.parametrize(
    "step", [step for step in CommitStep if step not in {CommitStep.RELEASING, CommitStep.RELEASED}]
)
def test_no_byte_arrives_before_the_commit_is_acknowledged(served: Served, trail, step: CommitStep):
    asked, arrived = served.messages(), threading.Event()
    served.watch.stop_at(step)

    def receive() -> asking.Outcome:
        call = served.channel.stream_stream(rpc.INFER.path)(iter(asked), timeout=SECONDS)
        first = next(call)
        arrived.set()
        return [first, *call]

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(receive)
        assert served.watch.reached.wait(SECONDS)
        # The receipt is in the log from the commit on, and the answer is on its way after it only.
        committed = list(CommitStep).index(step) >= list(CommitStep).index(CommitStep.COMMITTED)
        assert len(receipts_of(trail, asked)) == committed
        assert step is CommitStep.ACKNOWLEDGED or not arrived.wait(0.2)
        served.watch.go_on()
        assert len(answer.result(SECONDS)) > 1


@pytest.mark.rejects("C-95")
def test_nothing_is_released_without_the_archive_and_everything_once_it_is_back(
    served: Served, trail, error_lines
):
    archive, aside = served.settings.state / "archive", served.settings.state / "aside"
    asked = served.messages()
    archive.rename(aside)
    archive.write_bytes(b"a file where a directory was")
    try:
        outcome = served.infer(asked)
    finally:
        archive.unlink()
        aside.rename(archive)
    assert (outcome.code, outcome.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        Reason.AUDIT_UNAVAILABLE,
    )
    assert outcome.messages == []
    assert [line["event"] for line in error_lines] == ["call failed"]
    failed = receipt_of(trail, outcome)
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, Reason.AUDIT_UNAVAILABLE)
    assert served.infer(asked).code is grpc.StatusCode.OK
    assert [one.outcome for one in receipts_of(trail, asked)] == [Outcome.FAILED, Outcome.ANSWERED]


def test_a_request_that_cannot_be_archived_has_its_place_until_its_work_has_ended(served: Served):
    """Else requests that hold memory would wait for the processors without being counted."""
    archive, aside = served.settings.state / "archive", served.settings.state / "aside"
    served.engine.pause()
    archive.rename(aside)
    archive.write_bytes(b"a file where a directory was")
    try:
        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(served.infer, served.messages())
            assert served.engine.started.wait(SECONDS)
            assert not wait([refused], 0.3).done
            served.engine.released.set()
            assert refused.result(SECONDS).reason == Reason.AUDIT_UNAVAILABLE
    finally:
        served.engine.released.set()
        archive.unlink()
        aside.rename(archive)


@pytest.mark.rejects("C-95")
@pytest.mark.parametrize("while_answering", [False, True])
def test_nothing_is_released_without_the_database_and_everything_once_it_is_back(
    served: Served, trail, while_answering: bool
):
    database, aside = served.settings.state / DATABASE, served.settings.state / "aside.db"
    asked = served.messages()
    served.engine.pause()
    with ThreadPoolExecutor(1) as pool:
        if while_answering:
            answer = pool.submit(served.infer, asked)
            assert served.engine.started.wait(SECONDS)
        database.rename(aside)
        try:
            if not while_answering:
                answer = pool.submit(served.infer, asked)
            served.engine.released.set()
            outcome = answer.result(SECONDS)
            denied = served.infer(changed(served.messages(), records=0))
        finally:
            aside.rename(database)
    for refused in (outcome, denied):
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            Reason.AUDIT_UNAVAILABLE,
        )
        assert (refused.messages, refused.receipt_id) == ([], None)
    assert receipts_of(trail, asked) == []
    assert served.infer(asked).code is grpc.StatusCode.OK
    assert len(receipts_of(trail, asked)) == 1


@pytest.mark.rejects("C-95")
def test_a_log_that_went_back_is_not_written_to(served: Served, world: World, tmp_path):
    """Another file under the same name, with an older log in it."""
    settings = served.settings.model_copy(update={"state": tmp_path / "state"})
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert infer(channel, served.messages()).code is grpc.StatusCode.OK
    database = settings.state / DATABASE
    older = database.read_bytes()
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert infer(channel, served.messages()).code is grpc.StatusCode.OK
        for file in settings.state.glob(f"{DATABASE}*"):
            file.unlink()
        database.write_bytes(older)
        outcome = infer(channel, served.messages())
    assert (outcome.reason, outcome.messages) == (Reason.AUDIT_UNAVAILABLE, [])


# ----------------------------------------------------------------------- refusals have receipts


def _with_a_name(message: bytes) -> bytes:
    """The message with a field that nobody knows."""
    return message + b"\x9a\x06\x08Jane Doe"


def _cut(messages: list[bytes]) -> list[bytes]:
    return [messages[0], messages[1][:-8], *messages[2:]]


@pytest.mark.parametrize(
    ("model", "change", "reason"),
    [
        ("public", _cut, Reason.MALFORMED),
        ("public", lambda m: [m[0], *map(_with_a_name, m[1:])], Reason.MALFORMED),
        ("public", lambda m: changed(m, records=0), Reason.REQUEST_REFUSED),
        ("public", lambda m: changed(m, purpose="CURIOSITY"), Reason.REQUEST_REFUSED),
        ("public", lambda m: changed(m, server_id="another"), Reason.IDENTITY_REFUSED),
        ("public", lambda m: changed(m, tenant="another"), Reason.IDENTITY_REFUSED),
        ("public", lambda m: changed(m, model_digest=b"m" * 32), Reason.MODEL_UNKNOWN),
        ("private", lambda m: changed(m, key_digest=b"k" * 32), Reason.KEY_UNKNOWN),
        ("private", lambda m: changed(m, client_id="somebody else"), Reason.KEY_UNFIT),
        (
            "public",
            lambda m: changed(m, log_size=1 << 40, log_head=b"h" * 32),
            Reason.RECEIPT_UNKNOWN,
        ),
        ("public", lambda m: changed(m, log_size=1, log_head=b"h" * 32), Reason.RECEIPT_UNKNOWN),
    ],
)
def test_a_denied_request_has_a_receipt_that_says_why(served: Served, trail, model, change, reason):
    asked = change(served.messages(model))
    header = decode_header(asked[0])
    outcome = served.infer(asked)
    assert outcome.reason == reason
    receipt = receipt_of(trail, outcome)
    assert (receipt.outcome, receipt.reason) == (Outcome.DENIED, reason)
    assert receipt.action is Action.PREDICT
    assert receipt.request_id == header.request_id
    assert receipt.actor == header.account.actor_of(header.client_id)
    assert receipt.tenant == "default"
    assert receipt.purpose is Purpose.OPERATIONS
    assert receipt.idempotency_digest is None
    key = header.key_digest if any(header.key_digest) else None
    assert receipt.digests == Digests(model=header.model_digest, key=key)
    assert trail.archive.find(ObjectKind.REQUEST, receipt.receipt_id) is None


@pytest.mark.parametrize("change", [lambda m: b"\xff" * 40, lambda m: b"", _with_a_name])
def test_a_header_that_cannot_be_read_is_denied_to_nobody_in_particular(
    served: Served, trail, change
):
    first, *rest = served.messages()
    outcome = served.infer([change(first), *rest])
    assert outcome.reason == Reason.MALFORMED
    receipt = receipt_of(trail, outcome)
    assert (receipt.outcome, receipt.actor) == (Outcome.DENIED, "unidentified")
    assert receipt.digests == Digests()


def test_a_stream_without_a_header_is_no_event(served: Served, trail):
    before = trail.log.head()
    outcome = served.infer([])
    assert (outcome.reason, outcome.receipt_id) == (Reason.MALFORMED, None)
    assert trail.log.head() == before


def test_a_server_that_is_busy_says_so_in_a_receipt(served: Served, world: World, tmp_path):
    settings = served.settings.model_copy(
        update={
            "state": tmp_path / "state",
            "max_requests": 1,
            "max_streams": 1,
            "request_seconds": 2.0,
        }
    )
    release = threading.Event()
    waiting = served.messages()

    def stalled() -> Iterator[bytes]:
        yield waiting[0]
        release.wait(SECONDS)

    with server_thread(settings) as address, connected(address, world.ca) as channel:
        first = channel.stream_stream(rpc.INFER.path)(stalled(), timeout=SECONDS)
        first.initial_metadata()  # it was admitted and holds the only slot
        busy = infer(channel, served.messages())
        slow = outcome_of(first)
        release.set()
    with trail_of(settings) as files:
        denied, failed = receipts(files)
    assert (denied.outcome, denied.reason) == (Outcome.DENIED, Reason.BUSY)
    assert denied.receipt_id == busy.receipt_id
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, Reason.TOO_SLOW)
    assert failed.receipt_id == slow.receipt_id
    assert failed.request_id == decode_header(waiting[0]).request_id


def test_a_failure_of_the_server_is_a_receipt_of_failure(served: Served, trail):
    served.engine.error = RuntimeError("a secret of the server")
    outcome = served.infer(served.messages())
    assert outcome.reason == Reason.INTERNAL
    failed = receipt_of(trail, outcome)
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, Reason.INTERNAL)


def test_a_peer_that_goes_leaves_a_receipt(served: Served, trail):
    asked = served.messages()
    served.engine.pause()
    call = served.channel.stream_stream(rpc.INFER.path)(iter(asked), timeout=SECONDS)
    assert served.engine.started.wait(SECONDS)
    call.cancel()
    eventually(lambda: len(receipts_of(trail, asked)) == 1)
    served.engine.released.set()
    (failed,) = receipts_of(trail, asked)
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, Reason.CANCELLED)
    assert served.infer(asked).code is grpc.StatusCode.OK  # it may ask again


def test_behind_too_many_receipts_a_call_is_refused_without(
    served: Served, trail, monkeypatch, error_lines
):
    monkeypatch.setattr(Recorder, "offer", lambda recorder, signed: None)
    before = trail.log.head()
    outcome = served.infer(changed(served.messages(), records=0))
    assert (outcome.reason, outcome.receipt_id) == (Reason.REQUEST_REFUSED, None)
    assert trail.log.head() == before
    (missed,) = (line for line in error_lines if line["event"] == "receipt missed")
    assert (missed["reason"], missed["missed"]) == (Reason.REQUEST_REFUSED, 1)


# ------------------------------------------------------------------------------- repetitions


@pytest.mark.accepts("C-96")
@pytest.mark.parametrize("model", ["public", "private", "mixed"])
def test_a_repetition_is_given_the_same_answer_and_no_second_receipt(served: Served, trail, model):
    asked = served.messages(model)
    first = served.infer(asked)
    served.engine.error = RuntimeError("asked to compute again")
    for _ in range(3):
        again = served.infer(asked[:1])  # nothing is uploaded
        assert again.messages == first.messages
        assert not again.admitted
        assert (again.receipt.entry, again.receipt.index) == (
            first.receipt.entry,
            first.receipt.index,
        )
        _proven(again.receipt, trail).verify(trail.log_key)
    assert first.admitted
    assert len(receipts_of(trail, asked)) == 1


@pytest.mark.accepts("C-96")
def test_a_repetition_is_answered_after_a_restart_and_without_the_model(
    served: Served, world: World, tmp_path
):
    settings = served.settings.model_copy(update={"state": tmp_path / "state"})
    asked = served.messages()
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        first = infer(channel, asked)
    (tmp_path / "models").mkdir()
    settings = settings.model_copy(update={"models": tmp_path / "models"})
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        again = infer(channel, asked[:1])
        assert infer(channel, fresh(asked)).reason == Reason.MODEL_UNKNOWN
    assert (again.messages, again.receipt.entry) == (first.messages, first.receipt.entry)


def test_a_repetition_counts_in_memory_like_a_request(served: Served, world: World, tmp_path):
    settings = served.settings.model_copy(update={"state": tmp_path / "state"})
    asked = served.messages()
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert infer(channel, asked).code is grpc.StatusCode.OK
    settings = settings.model_copy(update={"max_memory_bytes": 1 << 10})
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        for messages in (asked, served.messages()):
            refused = infer(channel, messages)
            assert refused.reason == Reason.REQUEST_REFUSED
            assert "this server allows 0 MiB" in refused.detail


@pytest.mark.rejects("C-96")
def test_with_mutual_tls_nobody_is_given_what_another_was_answered(
    served: Served, world: World, tmp_path
):
    settings = served.settings.model_copy(
        update={"state": tmp_path / "state", "tls_client_ca": world.ca}
    )
    asked = changed(served.messages(), client_id="alice")
    reasons = {}
    with server_thread(settings) as address:
        for name in ("alice", "bob"):
            certificate, key = world.authority.issue(tmp_path, name)
            credentials = grpc.ssl_channel_credentials(
                world.ca.read_bytes(), key.read_bytes(), certificate.read_bytes()
            )
            options = (("grpc.use_local_subchannel_pool", 1),)
            with grpc.secure_channel(address, credentials, options) as channel:
                reasons[name] = infer(channel, asked).reason
    assert reasons == {"alice": "", "bob": Reason.IDENTITY_REFUSED}


@pytest.mark.rejects("C-96")
@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b"n" * 32},
        {"records": 1},
        {"purpose": "TREAT"},
        {"actor": "another"},
        {"log_size": 1, "log_head": None},
        {"model_digest": b"m" * 32},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_request_under_the_same_id_is_refused(served: Served, trail, changes):
    asked = served.messages()
    first = served.infer(asked)
    if "log_head" in changes:
        head = trail.log.inclusion_proof(0, 1).head
        changes = {"log_size": 1, "log_head": head.digest}
    outcome = served.infer(changed(asked, **changes))
    assert (outcome.reason, outcome.messages) == (Reason.REQUEST_REFUSED, [])
    assert "another request was answered under this id" in outcome.detail
    outcomes = [receipt.outcome for receipt in receipts_of(trail, asked)]
    assert outcomes == [Outcome.ANSWERED, Outcome.DENIED]
    assert served.infer(asked).messages == first.messages


def test_the_same_id_of_another_client_is_another_request(served: Served, trail):
    asked = served.messages()
    assert served.infer(asked).code is grpc.StatusCode.OK
    assert served.infer(changed(asked, client_id="another client")).code is grpc.StatusCode.OK
    assert [one.outcome for one in receipts_of(trail, asked)] == [Outcome.ANSWERED] * 2


@pytest.mark.accepts("C-96")
def test_the_same_request_twice_at_once_has_one_receipt(served: Served, trail):
    asked = served.messages("private")
    served.engine.meeting = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(served.infer, (asked, asked)))
    assert outcomes[0].code is outcomes[1].code is grpc.StatusCode.OK
    assert outcomes[0].messages == outcomes[1].messages
    assert outcomes[0].receipt.entry == outcomes[1].receipt.entry
    assert len(receipts_of(trail, asked)) == 1


@pytest.mark.rejects("C-96")
def test_of_two_requests_under_one_id_at_once_one_is_refused(served: Served, trail):
    asked = served.messages()
    served.engine.meeting = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(served.infer, (asked, changed(asked, nonce=b"n" * 32))))
    assert sorted(outcome.reason for outcome in outcomes) == ["", Reason.REQUEST_REFUSED]
    (refused,) = (outcome for outcome in outcomes if outcome.reason)
    assert refused.messages == []
    assert receipt_of(trail, refused).outcome is Outcome.DENIED


@pytest.mark.accepts("C-96")
@pytest.mark.parametrize("step", [CommitStep.APPENDED, CommitStep.COMMITTED])
def test_an_answer_whose_client_has_gone_is_given_to_the_repetition(served: Served, trail, step):
    asked = served.messages()
    served.watch.stop_at(step)
    call = served.channel.stream_stream(rpc.INFER.path)(iter(asked), timeout=SECONDS)
    assert served.watch.reached.wait(SECONDS)
    call.cancel()
    time.sleep(0.2)  # the server's call has been told
    served.watch.go_on()
    eventually(lambda: len(receipts_of(trail, asked)) == 1)
    again = served.infer(asked[:1])
    assert not again.admitted
    (receipt,) = receipts_of(trail, asked)
    assert receipt.outcome is Outcome.ANSWERED
    kept = decode_archived_response(trail.archive.read(ObjectKind.RESPONSE, receipt.receipt_id))
    assert kept == tuple(again.messages)


@pytest.mark.parametrize("kind", [ObjectKind.REQUEST, ObjectKind.RESPONSE])
def test_a_repetition_of_what_is_no_longer_kept_is_refused(
    served: Served, world: World, tmp_path, kind
):
    settings = served.settings.model_copy(update={"state": tmp_path / "state"})
    asked = served.messages()
    rules = {
        ObjectKind.REQUEST: RetentionRules(0, None),
        ObjectKind.RESPONSE: RetentionRules(None, 0),
    }
    with (
        server_thread(settings) as address,
        connected(address, world.ca) as channel,
        trail_of(settings) as files,
    ):
        assert infer(channel, asked).code is grpc.StatusCode.OK
        (receipt,) = receipts_of(files, asked)
        sweep(files.archive, rules[kind], time.time_ns())
        with pytest.raises(ObjectMissingError):
            files.archive.read(kind, receipt.receipt_id)
        outcome = infer(channel, asked)
        assert outcome.reason == Reason.REQUEST_REFUSED
        assert "no longer kept" in outcome.detail
        assert receipt_of(files, outcome).outcome is Outcome.DENIED


# ------------------------------------------------------------------------- columns in clear


def test_requests_with_columns_in_clear_rest_sealed_and_can_be_erased(
    served: Served, world: World, tmp_path
):
    settings = served.settings.model_copy(update={"state": tmp_path / "state"})
    asked = served.messages("mixed")
    mark = np.float64(MARK).tobytes()
    assert any(mark in message for message in asked)
    # The key is enrolled at the other server; its file is all this one needs.
    settings.state.mkdir()
    for file in (served.settings.state / "keys").iterdir():
        (settings.state / "keys").mkdir(exist_ok=True)
        (settings.state / "keys" / file.name).write_bytes(file.read_bytes())
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert infer(channel, asked).code is grpc.StatusCode.OK
        for path in filter(Path.is_file, settings.state.rglob("*")):
            assert mark not in path.read_bytes(), path
        with trail_of(settings) as files:
            (receipt,) = receipts_of(files, asked)
            kept = files.archive.read(ObjectKind.REQUEST, receipt.receipt_id)
            assert decode_archived_request(kept) == tuple(asked)
            assert SealingKeys(settings.state / SEALING).erase("default")
            outcome = infer(channel, asked)
            assert outcome.reason == Reason.REQUEST_REFUSED
            assert "no longer kept" in outcome.detail
            check_log(files.engine, files.log_key)


def test_requests_without_any_are_kept_as_they_came(served: Served, trail):
    asked = served.messages()
    served.infer(asked)
    (receipt,) = receipts_of(trail, asked)
    kept = trail.archive.find(ObjectKind.REQUEST, receipt.receipt_id)
    assert not kept.sealed
    assert asked[1] in trail.archive.store.get(kept.address)


# ------------------------------------------------------------------------------- enrolment


@dataclass
class Enrolling:
    """An honest enrolment, up to its completion."""

    session: bytes
    messages: list[bytes]
    digest: bytes


def _enrolling(served: Served, channel: grpc.Channel | None = None) -> Enrolling:
    card = served.world.models["private"].card
    request = KeyRequest("enrolling", "test server", card.ring_degree, card.key_moduli, 1)
    secret = np.random.default_rng(5).integers(-1, 2, card.ring_degree).astype(np.int8)
    prover = EnrolmentProver(request, secret)
    begun, _ = ask(
        channel or served.channel, rpc.BEGIN_ENROLMENT, encode_begin(request, prover.root)
    )
    challenge = decode_challenge(begun)
    key, proof = prover.answer(challenge.nonce)
    messages = list(encode_completion(challenge.session_id, key.b, proof))
    return Enrolling(challenge.session_id, messages, key.digest)


def _complete(channel: grpc.Channel, messages: list[bytes]) -> asking.Outcome:
    outcome = asking.Outcome()
    try:
        channel.stream_unary(rpc.COMPLETE_ENROLMENT.path)(iter(messages), timeout=SECONDS)
    except grpc.RpcError as error:
        asking.refuse(outcome, error)
    return outcome


def test_an_enrolled_key_has_a_receipt_and_is_archived_with_its_proof(served: Served, trail):
    enrolling = _enrolling(served)
    assert _complete(served.channel, enrolling.messages).code is grpc.StatusCode.OK
    receipt = receipts(trail)[-1]
    assert (receipt.action, receipt.outcome) == (Action.ENROL_KEY, Outcome.ANSWERED)
    assert (receipt.actor, receipt.purpose) == ("enrolling", Purpose.OPERATIONS)
    assert receipt.digests == Digests(key=enrolling.digest)
    assert receipt.request_id == enrolling.session
    kept = decode_archived_enrolment(trail.archive.read(ObjectKind.ENROLMENT, enrolling.digest))
    verify_enrolment(kept.key, kept.proof)


@pytest.mark.parametrize("step", [CommitStep.OBJECTS_WRITTEN, CommitStep.APPENDED])
def test_a_key_is_used_only_after_its_receipt_is_durable(served: Served, trail, step):
    enrolling = _enrolling(served)
    file = served.settings.state / "keys" / f"{enrolling.digest.hex()}.key"
    served.watch.stop_at(step)
    with ThreadPoolExecutor(1) as pool:
        completed = pool.submit(_complete, served.channel, enrolling.messages)
        assert served.watch.reached.wait(SECONDS)
        assert not file.exists()
        served.watch.go_on()
        assert completed.result(SECONDS).code is grpc.StatusCode.OK
    assert file.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m[:-1], Reason.MALFORMED),
        (lambda m: [m[0], m[2], m[1], *m[3:]], Reason.MALFORMED),
        (lambda m: [*m[:-1], m[-1][:-1] + bytes([m[-1][-1] ^ 1])], Reason.PROOF_REFUSED),
    ],
)
def test_a_denied_enrolment_has_a_receipt(served: Served, trail, change, reason):
    enrolling = _enrolling(served)
    outcome = _complete(served.channel, change(enrolling.messages))
    assert outcome.reason == reason
    receipt = receipt_of(trail, outcome)
    assert (receipt.action, receipt.outcome) == (Action.ENROL_KEY, Outcome.DENIED)
    assert (receipt.reason, receipt.actor) == (reason, "enrolling")
    assert trail.archive.find(ObjectKind.ENROLMENT, enrolling.digest) is None


def test_an_unknown_session_is_nobodys(served: Served, trail):
    enrolling = _enrolling(served)
    assert _complete(served.channel, enrolling.messages).code is grpc.StatusCode.OK
    outcome = _complete(served.channel, enrolling.messages)
    assert outcome.reason == Reason.ENROLMENT_UNKNOWN
    receipt = receipt_of(trail, outcome)
    assert (receipt.outcome, receipt.actor) == (Outcome.DENIED, "unidentified")
    assert receipt.request_id == enrolling.session


def test_an_enrolment_counts_in_memory(served: Served, world: World, tmp_path):
    settings = served.settings.model_copy(
        update={"state": tmp_path / "state", "max_memory_bytes": 1 << 10}
    )
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        refused = _complete(channel, _enrolling(served, channel).messages)
    assert refused.reason == Reason.REQUEST_REFUSED
    assert "this server allows 0 MiB" in refused.detail


def test_a_full_store_is_recorded_and_no_key_is(served: Served, world: World, tmp_path):
    settings = served.settings.model_copy(
        update={"state": tmp_path / "state", "max_enrolled_keys": 1}
    )
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert _complete(channel, _enrolling(served, channel).messages).reason == ""
        second = _enrolling(served, channel)
        outcome = _complete(channel, second.messages)
        with trail_of(settings) as files:
            assert outcome.reason == Reason.KEYS_FULL
            assert receipt_of(files, outcome).outcome is Outcome.DENIED
            assert files.archive.find(ObjectKind.ENROLMENT, second.digest) is None


@pytest.mark.rejects("C-95")
def test_a_key_that_cannot_be_recorded_is_not_kept(served: Served, trail):
    enrolling = _enrolling(served)
    archive, aside = served.settings.state / "archive", served.settings.state / "aside"
    archive.rename(aside)
    try:
        outcome = _complete(served.channel, enrolling.messages)
    finally:
        aside.rename(archive)
    assert outcome.reason == Reason.AUDIT_UNAVAILABLE
    assert receipt_of(trail, outcome).outcome is Outcome.FAILED
    assert not (served.settings.state / "keys" / f"{enrolling.digest.hex()}.key").exists()


def test_a_key_that_cannot_be_kept_after_all_is_recorded_as_that(
    served: Served, trail, monkeypatch
):
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    enrolling = _enrolling(served)
    monkeypatch.setattr("server.keys.write_private", full)
    outcome = _complete(served.channel, enrolling.messages)
    assert outcome.reason == Reason.INTERNAL
    answered, failed = (one for one in receipts(trail) if one.request_id == enrolling.session)
    assert (answered.outcome, failed.outcome) == (Outcome.ANSWERED, Outcome.FAILED)
    assert failed.receipt_id == outcome.receipt_id
    assert failed.digests == answered.digests == Digests(key=enrolling.digest)


# -------------------------------------------------------------------------- start and shutdown


def _alone(address: str, ca: Path, messages: list[bytes]) -> asking.Outcome:
    with connected(address, ca) as channel:
        return infer(channel, messages)


def test_a_server_that_stops_records_the_calls_it_ends(served: Served, world: World, tmp_path):
    settings = served.settings.model_copy(
        update={"state": tmp_path / "state", "shutdown_seconds": 0.2}
    )
    asked, engine = served.messages(), PausedEngine()
    engine.pause()
    with ThreadPoolExecutor(2) as pool:
        with server_thread(settings, engine) as address:
            answer = pool.submit(_alone, address, world.ca, asked)
            assert engine.started.wait(SECONDS)
            # The server's end waits for the thread that computes.
            pool.submit(lambda: (time.sleep(1.0), engine.released.set()))
        assert answer.result(SECONDS).messages == []
    with trail_of(settings) as files:
        (failed,) = receipts_of(files, asked)
        assert (failed.outcome, failed.reason) == (Outcome.FAILED, Reason.CANCELLED)
        check_log(files.engine, files.log_key)


def test_no_released_answer_is_without_receipt_after_sigterm(
    served: Served, world: World, tmp_path
):
    settings = served.settings.model_copy(
        update={"state": tmp_path / "state", "address_file": tmp_path / "address"}
    )
    variables = {
        f"BLINDPROOF_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "server"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        stdout=subprocess.DEVNULL,
    )
    released: list[bytes] = []
    asked = [served.messages() for _ in range(200)]
    eventually(settings.address_file.exists)
    with connected(settings.address_file.read_text(), world.ca) as channel:

        def one(messages: list[bytes]) -> None:
            outcome = infer(channel, messages)
            if outcome.receipt is not None:
                released.append(outcome.receipt.entry)

        with ThreadPoolExecutor(4) as pool:
            for messages in asked:
                pool.submit(one, messages)
            eventually(lambda: len(released) >= 20)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
    with trail_of(settings) as files:
        entries = {entry.data for entry in files.log.entries()}
        assert 20 <= len(released) < len(asked)
        assert set(released) <= entries
        check_log(files.engine, files.log_key)


def test_a_state_directory_without_a_log_gets_one_and_keeps_it(world: World, tmp_path):
    settings = world.settings.model_copy(
        update={"state": tmp_path / "state", "address_file": tmp_path / "address"}
    )
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "server.secret").write_bytes(secrets.token_bytes(32))
    (tmp_path / "state" / "server.secret").chmod(0o600)
    found = []
    for _ in range(2):
        with server_process(settings) as (address, _), connected(address, world.ca) as channel:
            answer, _ = ask(channel, rpc.GET_LOG, encode_log_request())
            found.append(decode_log(answer))
    assert found[0] == found[1]
    assert found[0].tenant == "default"
    assert found[0].log_key.startswith("blindproof/sha256:")  # 'test server' is no token
    for name in ("audit.db", "audit.key"):
        assert (settings.state / name).stat().st_mode & 0o077 == 0


def test_the_log_must_extend_a_checkpoint_that_was_kept_elsewhere(
    served: Served, world: World, tmp_path
):
    checkpoint = tmp_path / "checkpoint"
    settings = served.settings.model_copy(
        update={"state": tmp_path / "state", "audit_checkpoint": checkpoint}
    )
    older = settings.model_copy(update={"audit_checkpoint": None})
    with server_thread(older) as address, connected(address, world.ca) as channel:
        before = (settings.state / DATABASE).read_bytes()
        checkpoint.write_bytes(infer(channel, served.messages()).receipt.checkpoint)
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert infer(channel, served.messages()).code is grpc.StatusCode.OK
    for file in settings.state.glob(f"{DATABASE}*"):
        file.unlink()
    for content in (before, None):
        if content is not None:
            (settings.state / DATABASE).write_bytes(content)
        else:
            (settings.state / DATABASE).unlink()
        with pytest.raises(ServerError, match="entries and had"), server_thread(settings):
            raise AssertionError("started")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"audit_database": "mysql://elsewhere/log"}, "SQLite"),
        ({"audit_database": "sqlite:////nonexistent/directory/audit.db"}, "no database can be"),
        ({"audit_archive": "ftp://elsewhere"}, "an archive is"),
        ({"audit_archive": "/dev/null/archive"}, "Not a directory"),
        ({"audit_origin": "no name"}, "key names have"),
        ({"audit_checkpoint": Path("/nonexistent/checkpoint")}, "nonexistent"),
        ({"audit_witnesses": Path("/nonexistent/policy")}, "nonexistent"),
        ({"audit_page": "127.0.0.1:1", "audit_page_token": Path("/dev/null/x")}, "."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_trail_that_cannot_be_opened_stops_the_start(world: World, tmp_path, changes, match):
    settings = world.settings.model_copy(update={"state": tmp_path / "state", **changes})
    with pytest.raises(ServerError, match=match), server_thread(settings):
        raise AssertionError("started")


def test_another_servers_log_is_not_written_to(world: World, tmp_path):
    settings = world.settings.model_copy(update={"state": tmp_path / "state"})
    with server_thread(settings):
        pass
    other = settings.model_copy(update={"server_id": "another"})
    with pytest.raises(ServerError, match="the log of"), server_thread(other):
        raise AssertionError("started")


def test_old_requests_and_answers_are_removed_by_rule(served: Served, world: World, tmp_path):
    settings = served.settings.model_copy(update={"state": tmp_path / "state"})
    asked = served.messages()
    with server_thread(settings) as address, connected(address, world.ca) as channel:
        assert infer(channel, asked).code is grpc.StatusCode.OK
    swept = settings.model_copy(update={"audit_requests_days": 0.0})
    with server_thread(swept), trail_of(settings) as files:
        (receipt,) = receipts_of(files, asked)
        request = lambda: files.archive.find(ObjectKind.REQUEST, receipt.receipt_id)  # noqa: E731
        eventually(lambda: request().removed_ns is not None)
        assert files.archive.find(ObjectKind.RESPONSE, receipt.receipt_id).removed_ns is None


def test_the_page_is_served_when_it_is_asked_for(world: World, tmp_path):
    """On its own port, with the server's certificate, and for whoever has the token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = world.settings.model_copy(
        update={"state": tmp_path / "state", "audit_page": f"127.0.0.1:{port}"}
    )
    trusted = ssl.create_default_context(cafile=str(world.ca))
    statuses = []
    with server_thread(settings):
        token = (settings.state / "audit-page.token").read_text().strip()
        for headers in ({}, {"Authorization": f"Bearer {token}"}):
            connection = HTTPSConnection("localhost", port, timeout=SECONDS, context=trusted)
            connection.request("GET", "/", headers=headers)
            statuses.append(connection.getresponse().status)
            connection.close()
    assert statuses == [401, 200]
