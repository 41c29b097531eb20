"""A trail with real answers, whose log's key the tests have: they can make it say anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from audit.archive import Archive, ObjectKind
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.countersignatures import countersign
from audit.database import open_engine, writing_sessions
from audit.facts import answered_facts
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.object_store import open_store
from audit.receipt import Action, Digests, Outcome, Purpose, Receipt, TimeSource
from audit.sealing import SealingKeys
from audit.search import Query, search
from audit.signed_note import NoteKey
from audit.signed_receipt import sign_receipt
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.exporting import Chosen, Exported, write_export
from blindproof.auditing.findings import Report
from blindproof.auditing.verification import verify_export
from client_sdk.encryption import CkksContext, encrypt
from fhe_layers.inputs import request_inputs
from protocol.accountability import Account
from protocol.keys import KeyRequest
from protocol.parameters import Mode, Packing
from protocol.request import Request
from server.bundles import ModelBundle
from server.inference import InferenceEngine
from server.jobs import Job
from tests.adversarial import plaintext_scenario as mixed
from tests.integration import example_models
from wire.archived import (
    ArchivedModel,
    encode_archived_enrolment,
    encode_archived_model,
    encode_archived_request,
    encode_archived_response,
)
from wire.inference import Response, encode_request, encode_response, outputs_digest
from wire.stored_key import Enrolment
from zk_layers.prove import EnrolmentProver

KEY = SigningKey.from_secret(b"k" * 32)
CLIENT = SigningKey.from_secret(b"c" * 32)
ORIGIN = "log.example/clinic"
LOG_KEY = NoteKey(ORIGIN, KEY.public)
ACCOUNT = Account("clinic", "ward-7", "TREAT", b"p" * 32)
NOW = 1_790_000_000
ENGINE = InferenceEngine(bytes(range(32)))
SECRET = np.random.default_rng(8).integers(-1, 2, 8192).astype(np.int8)


@cache
def private_model() -> ModelBundle:
    return example_models.bundle(example_models.linear_model())


@cache
def public_model() -> ModelBundle:
    model = example_models.linear_model(outputs=2, link="argmax", name="open")
    return example_models.bundle(model, Mode.PUBLIC)


@cache
def enrolment(client: str = "client") -> Enrolment:
    card = private_model().card
    request = KeyRequest(client, "server", card.ring_degree, card.key_moduli, card.keys_needed)
    return Enrolment(*EnrolmentProver(request, SECRET).answer(bytes(32)))


@dataclass(frozen=True, eq=False)
class Answer:
    """One request, its answer, and what the server keeps of both."""

    job: Job
    response: Response
    enrolment: Enrolment | None
    request_object: bytes
    response_object: bytes

    @property
    def receipt(self) -> Receipt:
        """What an honest server says of it."""
        request, response = self.job.request, self.response
        facts = answered_facts(
            request,
            outputs_digest(response.outputs),
            response.proof,
            ENGINE.soundness_bits(self.job, response),
            ACCOUNT,
        )
        return Receipt(
            receipt_id=request.request_id[::-1],
            time_ns=NOW * 10**9 + request.request_id[0],
            time_source=TimeSource.NTP,
            tenant=facts.tenant,
            actor=facts.actor,
            purpose=facts.purpose,
            subject=facts.subject,
            action=Action.PREDICT,
            outcome=Outcome.ANSWERED,
            reason=None,
            digests=facts.digests,
            software_version="1",
            soundness_bits=facts.soundness_bits,
            error_bound=facts.error_bound,
            request_id=facts.request_id,
            idempotency_digest=facts.idempotency_digest,
        )


@cache
def answer(number: int, packing: Packing = Packing.SINGLE, *, public: bool = False) -> Answer:
    """An honest answer to a request without plaintext columns."""
    served = public_model() if public else private_model()
    card = served.card
    key = None if public else enrolment()
    raw = example_models.records(1, seed=number)
    context = CkksContext(card.profile(packing).parameters).with_secret(SECRET)
    inputs = request_inputs(card, packing, 1, encrypt(context, card, packing, raw), None)
    request = Request(
        request_id=bytes([number]) * 16,
        nonce=bytes([number]) * 32,
        client_id="client",
        server_id="server",
        card=card,
        packing=packing,
        records=1,
        key_digest=bytes(32) if key is None else key.key.digest,
        registration_digest=served.registration_digest,
        input_digest=inputs.digest,
    )
    return _answered(Job(served, None if key is None else key.key, request, inputs), key)


@cache
def answer_with_plaintext() -> Answer:
    """An honest answer to a request with columns in clear."""
    job = mixed.asked(Packing.SINGLE, mixed.mixed_records(1))
    return _answered(job, mixed.enrolment(job.bundle))


def _answered(job: Job, key: Enrolment | None) -> Answer:
    response = ENGINE.answer(job)
    request = job.request
    return Answer(
        job,
        response,
        key,
        encode_archived_request(list(encode_request(request, job.inputs, ACCOUNT))),
        encode_archived_response(list(encode_response(request.request_id, response))),
    )


class ExampleTrail:
    """A log, its archive and the key, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.engine = open_engine(f"sqlite:///{directory / 'audit.db'}")
        self.log = AuditLog.open(self.engine, ORIGIN)
        store = open_store(str(directory / "archive"))
        self.archive = Archive(self.engine, store, SealingKeys(directory / "sealing"))
        self.log_key = LOG_KEY
        self._numbers = iter(range(1000, 2000))

    def record(self, receipt: Receipt) -> None:
        self.log.append([sign_receipt(receipt, KEY)])

    def answered(self, given: Answer, **changes: object) -> Receipt:
        """Keep an answer and record a receipt that says what it should, or something else."""
        receipt = replace(given.receipt, **changes)
        self.keep(ObjectKind.REQUEST, receipt.receipt_id, given.request_object, given)
        self.keep(ObjectKind.RESPONSE, receipt.receipt_id, given.response_object)
        bundle = given.job.bundle
        model = ArchivedModel(bundle.card.encoded(), bundle.registration_proof)
        self.keep(ObjectKind.MODEL, bundle.digest, encode_archived_model(model))
        if given.enrolment is not None:
            content = encode_archived_enrolment(given.enrolment)
            self.keep(ObjectKind.ENROLMENT, given.enrolment.key.digest, content)
        self.record(receipt)
        return receipt

    def keep(
        self, kind: ObjectKind, name: bytes, content: bytes, given: Answer | None = None
    ) -> None:
        sealed = given is not None and bool(given.job.bundle.card.plaintext_features)
        kept = self.archive.keep(kind, name, content, tenant="clinic", seal=sealed)
        with writing_sessions(self.engine).begin() as session:
            self.archive.record_within(session, [kept])

    def happened(self, action: Action, outcome: Outcome, **changes: object) -> Receipt:
        """Record a receipt of something that leaves no answer."""
        number = next(self._numbers)
        receipt = Receipt(
            receipt_id=number.to_bytes(16, "big"),
            time_ns=NOW * 10**9,
            time_source=TimeSource.SYSTEM,
            tenant="clinic",
            actor="ward-7",
            purpose=Purpose.OPERATIONS,
            subject=None,
            action=action,
            outcome=outcome,
            reason=None if outcome is Outcome.ANSWERED else "busy",
            digests=Digests(),
            software_version="1",
            soundness_bits=None,
            error_bound=None,
            request_id=number.to_bytes(16, "big"),
        )
        receipt = replace(receipt, **changes)
        self.record(receipt)
        return receipt

    def countersigned(self, receipt: Receipt, key: SigningKey = CLIENT) -> None:
        signed = self.log.find_receipt(receipt.receipt_id).receipt().countersigned(key)
        assert signed.client is not None
        countersign(self.log, receipt.receipt_id, signed.client)

    def checkpoint(self) -> bytes:
        head = self.log.head()
        return sign_checkpoint(Checkpoint(ORIGIN, head.size, head.root), KEY).encoded()

    def export(self, path: Path, query: Query = Query(), **chosen: object) -> Exported:  # noqa: B008
        """Everything under the log as it is, unless something else is asked for."""
        note = self.log.checkpoint(KEY)
        entries = search(self.log, query)
        return write_export(path, self, note, Chosen(**chosen), entries)


def verified(content: bytes | Path, **expected: object) -> Report:
    data = content if isinstance(content, bytes) else content.read_bytes()
    return verify_export(
        BytesIO(data), Expectations(**{"log_key": LOG_KEY, "now_seconds": NOW + 60, **expected})
    )
