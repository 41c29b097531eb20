"""Each part of an export altered by somebody who makes everything else fit: none is accepted.

Every alteration begins with a genuine export; hashes, sizes and the manifest are those of the
altered content.  What is left then are the log's signatures, the tree, and the proofs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.keys import SigningKey
from audit.receipt import Action, Digests, Outcome
from audit.search import Query
from audit.signed_note import NoteKey
from blindproof.auditing.container import ContainerReader
from blindproof.auditing.errors import ExportError
from blindproof.auditing.findings import Report, Status, Subject
from blindproof.auditing.manifest import MANIFEST, Kind, Manifest, Omission, receipt_member
from blindproof.demo.altered_exports import Alteration, altered, flipped, with_members, written
from protocol.parameters import Packing
from tests.unit.blindproof.auditing.example_trail import (
    LOG_KEY,
    ORIGIN,
    ExampleTrail,
    answer,
    enrolment,
    private_model,
    verified,
)
from tests.unit.blindproof.auditing.test_verification import complaints
from wire.archived import (
    ArchivedModel,
    decode_archived_enrolment,
    decode_archived_model,
    decode_archived_request,
    decode_archived_response,
    encode_archived_enrolment,
    encode_archived_model,
    encode_archived_request,
    encode_archived_response,
)
from wire.v1 import inference_pb2 as pb

FIRST, SECOND = answer(1).receipt.receipt_id, answer(2, Packing.BATCH).receipt.receipt_id
THIRD = answer(4).receipt.receipt_id
REQUEST, RESPONSE = Kind.REQUEST.member(FIRST), Kind.RESPONSE.member(FIRST)
RECEIPT = receipt_member(1)
MODEL = Kind.MODEL.member(private_model().digest)
KEY = Kind.ENROLMENT.member(enrolment().key.digest)
OTHER_KEY = SigningKey.from_secret(b"o" * 32)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Entries: the enrolled key, a single record, a batch, another single record."""
    trail = ExampleTrail(tmp_path_factory.mktemp("altered"))
    digests = Digests(key=enrolment().key.digest)
    trail.happened(Action.ENROL_KEY, Outcome.ANSWERED, digests=digests)
    for given in (answer(1), answer(2, Packing.BATCH), answer(4)):
        trail.countersigned(trail.answered(given))
    path = tmp_path_factory.mktemp("genuine") / "trail.zip"
    trail.export(path, since=(2,))
    return path.read_bytes()


def members_of(export: bytes) -> dict[str, bytes]:
    reader = ContainerReader(BytesIO(export))
    return {name: reader.read(name) for name in reader.names}


def json_member(name: str, change: Callable[[dict[str, object]], None]):
    """Changes a receipt's file, which is written again in its one form."""

    def alter(members: dict[str, bytes]) -> None:
        content = json.loads(members[name])
        change(content)
        members[name] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

    return alter


def receipt_field(field: str, value: object):
    return json_member(RECEIPT, lambda content: content["receipt"].update({field: value}))


def swap(*names: str):
    def alter(members: dict[str, bytes]) -> None:
        first, second = names
        members[first], members[second] = members[second], members[first]

    return alter


def both(*alterations: Callable[[dict[str, bytes]], None]):
    def alter(members: dict[str, bytes]) -> None:
        for alteration in alterations:
            alteration(members)

    return alter


def changed(messages, kind, number: int, change) -> list[bytes]:
    """Archived messages with one of them changed, as protobuf reads it."""
    found = list(messages)
    parsed = kind.FromString(found[number])
    change(parsed)
    found[number] = parsed.SerializeToString()
    return found


def in_request(number: int, change):
    def alter(members: dict[str, bytes]) -> None:
        messages = decode_archived_request(members[REQUEST])
        members[REQUEST] = encode_archived_request(
            changed(messages, pb.InferRequest, number, change)
        )

    return alter


def in_response(number: int, change):
    def alter(members: dict[str, bytes]) -> None:
        messages = decode_archived_response(members[RESPONSE])
        members[RESPONSE] = encode_archived_response(
            changed(messages, pb.InferResponse, number, change)
        )

    return alter


def header(**fields: object):
    def change(parsed: pb.InferRequest) -> None:
        for name, value in fields.items():
            setattr(parsed.header, name, value)

    return in_request(0, change)


def account(**fields: object):
    def change(parsed: pb.InferRequest) -> None:
        for name, value in fields.items():
            setattr(parsed.header.account, name, value)

    return in_request(0, change)


def flip(part: str, field: str, at: int = 100):
    def change(parsed: object) -> None:
        inside = getattr(parsed, part)
        setattr(inside, field, flipped(getattr(inside, field), at))

    return change


def model_part(field: str, at: int):
    def alter(members: dict[str, bytes]) -> None:
        model = decode_archived_model(members[MODEL])
        other = replace(model, **{field: flipped(getattr(model, field), at)})
        members[MODEL] = encode_archived_model(other)

    return alter


def enrolment_proof(members: dict[str, bytes]) -> None:
    found = decode_archived_enrolment(members[KEY])
    members[KEY] = encode_archived_enrolment(replace(found, proof=flipped(found.proof, 1000)))


def put(name: str, content: bytes):
    return lambda members: members.update({name: content})


def take(name: str):
    return lambda members: members.pop(name) and None


def checkpoint_of(size: int, key: SigningKey):
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), key).encoded()


def inclusion(members: dict[str, bytes]) -> None:
    json_member(RECEIPT, lambda content: content["inclusion"].__setitem__(0, "A" * 43 + "="))(
        members
    )


def moved(members: dict[str, bytes]) -> None:
    """Entry 1 said to be entry 0, and the other way round."""
    names = receipt_member(0), RECEIPT
    swap(*names)(members)
    for index, name in enumerate(names):
        json_member(name, lambda content, index=index: content.update(index=index))(members)


ATTACKS: dict[str, tuple[Callable[[dict[str, bytes]], None], Subject, str]] = {
    "entry, who asked": (receipt_field("actor", "me"), Subject.SIGNATURE, "no signature of key"),
    "entry, when": (receipt_field("time_ns", "1"), Subject.SIGNATURE, "no signature of key"),
    "entry, outcome": (
        both(receipt_field("outcome", "denied"), receipt_field("reason", "busy")),
        Subject.SIGNATURE,
        "no signature of key",
    ),
    "entry, soundness": (
        receipt_field("soundness_bits", 300.0),
        Subject.SIGNATURE,
        "no signature of key",
    ),
    "server's signature": (
        json_member(
            RECEIPT, lambda content: content["receipt"]["server"].update(signature="0" * 128)
        ),
        Subject.SIGNATURE,
        "no signature of key",
    ),
    "server's key": (
        json_member(
            RECEIPT,
            lambda content: content["receipt"]["server"].update(public_key=OTHER_KEY.public.hex()),
        ),
        Subject.SIGNATURE,
        "signed by ",
    ),
    "client's signature": (
        json_member(
            RECEIPT, lambda content: content["receipt"]["client"].update(signature="0" * 128)
        ),
        Subject.CLIENT_SIGNATURE,
        "no signature of key",
    ),
    "place in the log": (moved, Subject.INCLUSION, "leads to root"),
    "inclusion hash": (inclusion, Subject.INCLUSION, "leads to root"),
    "inclusion, none": (
        json_member(RECEIPT, lambda content: content.update(inclusion=[])),
        Subject.INCLUSION,
        "too short",
    ),
    "name of the place": (
        json_member(RECEIPT, lambda content: content.update(index=2)),
        Subject.RECEIPT,
        "is the receipt of place 2",
    ),
    "receipt, other form": (
        lambda members: members.update({RECEIPT: members[RECEIPT] + b" "}),
        Subject.RECEIPT,
        "not in the form",
    ),
    "receipt's checkpoint": (
        json_member(
            RECEIPT,
            lambda content: content.update(checkpoint=checkpoint_of(9, OTHER_KEY).decode()),
        ),
        Subject.INCLUSION,
        "another checkpoint than the export's",
    ),
    "receipt's log key": (
        json_member(
            RECEIPT,
            lambda content: content.update(log_key=NoteKey(ORIGIN, OTHER_KEY.public).encoded()),
        ),
        Subject.INCLUSION,
        "another checkpoint than the export's",
    ),
    "checkpoint, another size": (
        lambda members: members.update(
            {"checkpoint": members["checkpoint"].replace(b"\n4\n", b"\n5\n")}
        ),
        Subject.CHECKPOINT,
        "no signature of key",
    ),
    "checkpoint, another key's": (
        put("checkpoint", checkpoint_of(4, OTHER_KEY)),
        Subject.CHECKPOINT,
        "has no signature of",
    ),
    "checkpoint, none": (put("checkpoint", b""), Subject.CHECKPOINT, "a note must end in"),
    "objects of two receipts swapped": (
        both(
            swap(REQUEST, Kind.REQUEST.member(THIRD)), swap(RESPONSE, Kind.RESPONSE.member(THIRD))
        ),
        Subject.ANSWER,
        "another request id",
    ),
    "request of another receipt": (
        swap(REQUEST, Kind.REQUEST.member(THIRD)),
        Subject.ANSWER,
        "the response answers another request",
    ),
    "answer of another receipt": (
        swap(RESPONSE, Kind.RESPONSE.member(THIRD)),
        Subject.ANSWER,
        "the response answers another request",
    ),
    "ciphertext": (
        in_request(1, flip("ciphertext", "words")),
        Subject.ANSWER,
        "another digest of the input",
    ),
    "seed": (
        in_request(1, flip("ciphertext", "seed", 0)),
        Subject.ANSWER,
        "another digest of the input",
    ),
    "output": (
        in_response(1, flip("output", "words")),
        Subject.ANSWER,
        "another digest of the output",
    ),
    "proof": (
        in_response(-1, flip("proof", "data")),
        Subject.ANSWER,
        "another digest of the proof",
    ),
    "proof, cut": (
        in_response(-1, lambda parsed: setattr(parsed.proof, "data", parsed.proof.data[:-1])),
        Subject.ANSWER,
        "proof of",
    ),
    "nonce": (header(nonce=bytes(32)), Subject.PROOF, "proof refused by the check"),
    "log head": (
        header(log_size=1, log_head=bytes([1]) * 32),
        Subject.PROOF,
        "proof refused by the check",
    ),
    "client": (header(client_id="other"), Subject.ANSWER, "another idempotency digest"),
    "server": (header(server_id="other"), Subject.PROOF, "proof refused by the check"),
    "model named": (header(model_digest=bytes(32)), Subject.ANSWER, "the request is to the model"),
    "registration named": (
        header(registration_digest=bytes(32)),
        Subject.ANSWER,
        "another registration",
    ),
    "key named": (header(key_digest=bytes(32)), Subject.ANSWER, "another digest of the key"),
    "packing": (header(packing=pb.PACKING_BATCH), Subject.ANSWER, "number of ciphertexts"),
    "records": (header(records=2), Subject.ANSWER, "2 records in one request"),
    "ciphertexts announced": (header(ciphertexts=2), Subject.ANSWER, "number of ciphertexts"),
    "columns announced": (
        header(plaintext_columns=1, plaintext_salt=bytes(32)),
        Subject.ANSWER,
        "number of plaintext columns",
    ),
    "purpose": (account(purpose="HRESCH"), Subject.ANSWER, "another purpose"),
    "subject": (account(subject=bytes(32)), Subject.ANSWER, "another subject"),
    "actor": (account(actor="me"), Subject.ANSWER, "another actor"),
    "request, not messages": (put(REQUEST, b"n"), Subject.ANSWER, "request"),
    "answer, not messages": (put(RESPONSE, b""), Subject.ANSWER, "truncated"),
    "request, missing": (take(REQUEST), Subject.ANSWER, f"no member {REQUEST}"),
    "answer, missing": (take(RESPONSE), Subject.ANSWER, f"no member {RESPONSE}"),
    "model, missing": (take(MODEL), Subject.MODEL, f"no member {MODEL}"),
    "key, missing": (take(KEY), Subject.KEY, f"no member {KEY}"),
    "model card": (model_part("card", 200), Subject.MODEL, "pinned model digest mismatch"),
    "registration": (
        model_part("registration_proof", 200),
        Subject.MODEL,
        "proof refused by the check",
    ),
    "another model": (
        put(
            MODEL,
            encode_archived_model(
                ArchivedModel(
                    answer(3, public=True).job.bundle.card.encoded(),
                    b"",
                )
            ),
        ),
        Subject.MODEL,
        "pinned model digest mismatch",
    ),
    "another key": (
        put(KEY, encode_archived_enrolment(enrolment("somebody else"))),
        Subject.KEY,
        "is in its place",
    ),
    "enrolment proof": (enrolment_proof, Subject.KEY, "proof refused by the check"),
    "extra object": (
        put(Kind.MODEL.member(bytes(32)), b"hidden"),
        Subject.CONTENTS,
        "no receipt here is about",
    ),
    "extra member": (put("readme.txt", b"hidden"), Subject.CONTENTS, "no receipt here is about"),
}


def refusals(report: Report) -> list[tuple[Subject, str]]:
    assert report.status is Status.FAILED
    return complaints(report)


@pytest.mark.accepts("C-99")
def test_the_genuine_export_is_accepted(genuine):
    report = verified(genuine)
    assert report.status is Status.PASSED, complaints(report)
    assert verified(with_members(genuine, lambda members: None)).status is Status.PASSED


@pytest.mark.rejects("C-99")
@pytest.mark.parametrize("name", ATTACKS)
def test_every_altered_part_is_refused_for_what_it_is(genuine, name):
    alteration, subject, complaint = ATTACKS[name]
    found = refusals(verified(with_members(genuine, alteration)))
    assert any(one is subject and complaint in detail for one, detail in found), found


@pytest.mark.parametrize("alteration", Alteration)
def test_the_demonstrations_alterations_are_refused_without_proofs(genuine, alteration):
    assert refusals(verified(altered(genuine, alteration), proofs=False))


@pytest.mark.rejects("C-99")
def test_another_logs_key_is_refused(genuine):
    report = verified(genuine, log_key=NoteKey(ORIGIN, OTHER_KEY.public))
    assert (Subject.LOG_KEY, Status.FAILED) in {(f.subject, f.status) for f in report.findings}
    members = members_of(genuine)
    manifest = Manifest.decoded(members[MANIFEST])
    other = replace(manifest, log_key=NoteKey(ORIGIN, OTHER_KEY.public))
    found = refusals(verified(written({**members, MANIFEST: other.encoded()})))
    assert any(subject is Subject.LOG_KEY for subject, _ in found)


@pytest.mark.rejects("C-99")
def test_consistency_must_lead_to_the_checkpoint(genuine, tmp_path):
    """Hashes of the manifest, which matter where not every entry is in the file."""
    trail = ExampleTrail(tmp_path)
    for _ in range(3):
        trail.happened(Action.PREDICT, Outcome.DENIED)
    older = trail.checkpoint()
    trail.happened(Action.PREDICT, Outcome.DENIED)
    trail.export(tmp_path / "a.zip", Query(start=3), since=(3,))
    data = (tmp_path / "a.zip").read_bytes()
    assert verified(data, checkpoints=(older,)).status is Status.PASSED
    members = members_of(data)
    manifest = Manifest.decoded(members[MANIFEST])
    hashes = manifest.consistency[3]
    for given in (hashes[:-1], (*hashes[:-1], bytes(32)), (*hashes, bytes(32))):
        other = replace(manifest, consistency={3: given}).encoded()
        ((subject, _),) = refusals(
            verified(written({**members, MANIFEST: other}), checkpoints=(older,))
        )
        assert subject is Subject.OLDER_CHECKPOINT


@pytest.mark.rejects("C-99")
def test_an_omission_is_never_more_than_not_checked(genuine):
    """Whoever writes a file may leave things out; the report says so, and `--strict` refuses it."""

    def left_out(members: dict[str, bytes]) -> None:
        del members[REQUEST]

    data = with_members(genuine, left_out)
    members = members_of(data)
    manifest = Manifest.decoded(members[MANIFEST])
    excused = replace(manifest, omitted={REQUEST: Omission.REMOVED}).encoded()
    report = verified(written({**members, MANIFEST: excused}))
    assert report.status is Status.NOT_CHECKED
    assert [one.status for one in report.receipts].count(Status.NOT_CHECKED) == 1
    # Both at once is a lie.
    members = members_of(genuine)
    manifest = Manifest.decoded(members[MANIFEST])
    lie = replace(manifest, omitted={REQUEST: Omission.REMOVED}).encoded()
    with pytest.raises(ExportError, match="says that it was left out"):
        verified(written({**members, MANIFEST: lie}))
    other = replace(manifest, omitted={"models/00": Omission.REMOVED}).encoded()
    found = refusals(verified(written({**members, MANIFEST: other})))
    assert found == [(Subject.CONTENTS, "no receipt here is about models/00")]
    other = replace(manifest, omitted={"\ud800\x1b[1m": Omission.REMOVED}).encoded()
    found = refusals(verified(written({**members, MANIFEST: other})))
    assert found == [(Subject.CONTENTS, "no receipt here is about ??[1m")]


def unlisted(genuine: bytes, **changes: bytes) -> bytes:
    """Members the manifest does not know of."""
    members = members_of(genuine)
    last = members.pop(MANIFEST)
    return written({**members, **changes, MANIFEST: last})


@pytest.mark.rejects("C-99")
def test_members_must_be_those_of_the_manifest(genuine):
    with pytest.raises(ExportError, match="not those its manifest lists: 'extra'"):
        verified(unlisted(genuine, extra=b""))
    members = members_of(genuine)
    cut = {name: content for name, content in members.items() if name != REQUEST}
    with pytest.raises(ExportError, match=f"not those its manifest lists: '{REQUEST}'"):
        verified(written(cut))
    with pytest.raises(ExportError, match="in that order"):
        verified(written(dict([*list(members.items())[-2::-1], (MANIFEST, members[MANIFEST])])))
    with pytest.raises(ExportError, match=f"no member {MANIFEST}"):
        verified(written({name: members[name] for name in members if name != MANIFEST}))
    with pytest.raises(ExportError, match="not those its manifest lists"):
        verified(with_members(genuine, take("checkpoint")))
    found = refusals(verified(unlisted(genuine, **{REQUEST: members[REQUEST] + b" "})))
    assert (Subject.ANSWER, f"member {REQUEST} is not the one the manifest lists") in found
    found = refusals(verified(unlisted(genuine, **{Kind.RESPONSE.member(SECOND): b""})))
    assert len(found) == 2, "the answer, and the file as a whole"


@pytest.mark.rejects("C-99")
@pytest.mark.parametrize("cut", [0, 1, 30, 1000, -1, -98])
def test_a_truncated_file_is_no_export(genuine, cut):
    with pytest.raises(ExportError):
        verified(genuine[:cut])


def test_the_log_key_of_the_tests_is_the_one_expected(genuine):
    assert verified(genuine).log_key == LOG_KEY
