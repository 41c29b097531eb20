"""An honest export passes; a log that lies under its own key does not."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest

from audit import bls as bls_module
from audit.aggregate_cosignature import aggregate_cosignatures, cosign_bls
from audit.bls import BlsSigningKey
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.cosignature import Witness, WitnessPolicy, cosign
from audit.keys import SigningKey
from audit.receipt import Action, Digests, Outcome, Purpose
from audit.search import Query
from audit.signed_note import KeyType, NoteKey
from blindproof.auditing import registries
from blindproof.auditing.exporting import Chosen, write_export
from blindproof.auditing.findings import Status, Subject
from protocol.parameters import Packing
from tests.unit.blindproof.auditing.example_trail import (
    CLIENT,
    KEY,
    LOG_KEY,
    NOW,
    ORIGIN,
    Answer,
    answer,
    answer_with_plaintext,
    enrolment,
    private_model,
    verified,
)


def complaints(report):
    """Subjects and details of everything that failed."""
    every = (*report.findings, *(each for one in report.receipts for each in one.findings))
    return [
        (finding.subject, finding.detail) for finding in every if finding.status is Status.FAILED
    ]


def only_complaint(report):
    ((subject, detail),) = complaints(report)
    return subject, detail


@pytest.mark.accepts("C-99")
def test_an_honest_export_passes_whole(exported):
    progress = []
    expected = {"client_keys": frozenset({CLIENT.public})}
    report = verified(exported, **expected)
    assert report.status is Status.PASSED
    assert report.counts(Subject.PROOF) == {Status.PASSED: 4}
    assert report.counts(Subject.ANSWER) == {Status.PASSED: 4}
    assert report.counts(Subject.KEY) == {Status.PASSED: 4}
    assert report.counts(Subject.CLIENT_SIGNATURE) == {Status.PASSED: 1}
    assert report.findings[-1].detail == "the whole log: each of its 6 entries"
    assert progress == []


def test_progress_is_told(exported):
    from blindproof.auditing.expectations import Expectations
    from blindproof.auditing.verification import verify_export

    seen = []
    with exported.open("rb") as stream:
        expected = Expectations(LOG_KEY, NOW, proofs=False)
        verify_export(stream, expected, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 6) for number in range(7)]


def test_what_was_not_exported_is_not_checked_and_said_so(varied, tmp_path):
    varied.export(tmp_path / "a.zip")
    report = verified(tmp_path / "a.zip")
    assert report.status is Status.NOT_CHECKED
    assert report.receipts[5].status is Status.NOT_CHECKED
    details = {finding.subject: finding.detail for finding in report.receipts[5].findings}
    assert details[Subject.PROOF] == "columns in clear were not exported"
    assert "outputs and proof are those of the receipt" in details[Subject.ANSWER]
    assert [one.status for one in report.receipts[:5]] == [Status.PASSED] * 5
    varied.export(tmp_path / "b.zip", objects=False)
    report = verified(tmp_path / "b.zip")
    assert report.counts(Subject.PROOF) == {Status.NOT_CHECKED: 4}
    assert report.counts(Subject.MODEL) == {Status.NOT_CHECKED: 4}
    assert report.counts(Subject.SIGNATURE) == {Status.PASSED: 6}


def test_without_the_request_the_answer_is_compared_all_the_same(trail, tmp_path):
    given = answer_with_plaintext()
    digests = replace(given.receipt.digests, output=bytes(32))
    trail.answered(given, digests=digests)
    trail.export(tmp_path / "a.zip")
    subject, detail = only_complaint(verified(tmp_path / "a.zip"))
    assert (subject, detail) == (Subject.ANSWER, "the outputs are not those of the receipt")


def test_proofs_can_be_left_out_and_the_report_says_so(exported):
    report = verified(exported, proofs=False)
    assert report.status is Status.NOT_CHECKED
    assert report.counts(Subject.PROOF) == {Status.NOT_CHECKED: 4}
    assert report.counts(Subject.ANSWER) == {Status.PASSED: 4}
    assert any("Proofs were not verified" in sentence for sentence in report.assumptions)


def test_models_and_keys_are_verified_once(exported, monkeypatch):
    calls = []
    for name in ("accept_model", "verify_enrolment"):
        real = getattr(registries, name)
        monkeypatch.setattr(
            registries,
            name,
            lambda *given, real=real, name=name: calls.append(name) or real(*given),
        )
    assert verified(exported).status is Status.PASSED
    assert sorted(calls) == ["accept_model"] * 3 + ["verify_enrolment"] * 2
    monkeypatch.setattr(registries, "KEPT", 0)
    calls.clear()
    assert verified(exported).status is Status.PASSED
    assert len(calls) == 5, "what had to be read again was verified again"


@pytest.mark.rejects("C-99")
@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("soundness_bits", 400.0, "its soundness is"),
        ("soundness_bits", None, "its soundness is"),
        ("error_bound", 1e-30, "another error bound"),
        ("purpose", Purpose.RESEARCH, "another purpose"),
        ("actor", "somebody-else", "another actor"),
        ("tenant", "another", "another tenant"),
        ("subject", None, "another subject"),
        ("request_id", bytes(16), "another request id"),
        ("idempotency_digest", None, "another idempotency digest"),
    ],
)
def test_a_log_that_signs_other_facts_is_refused(trail, tmp_path, field, value, complaint):
    trail.answered(answer(1), **{field: value})
    trail.export(tmp_path / "a.zip")
    _, detail = only_complaint(verified(tmp_path / "a.zip"))
    assert complaint in detail


@pytest.mark.rejects("C-99")
@pytest.mark.parametrize("name", ["parameters", "graph", "input", "output", "proof", "plaintext"])
def test_a_log_that_signs_other_digests_is_refused(trail, tmp_path, name):
    digests = replace(answer(1).receipt.digests, **{name: bytes(32)})
    trail.answered(answer(1), digests=digests)
    trail.export(tmp_path / "a.zip")
    assert only_complaint(verified(tmp_path / "a.zip"))[1].startswith(
        f"the receipt says another digest of the {name}"
    )


@pytest.mark.rejects("C-99")
def test_a_false_proof_under_a_true_receipt_is_refused(trail, tmp_path):
    """The server signed what it sent: only the proof shows that it is wrong."""
    honest, other = answer(1), answer(4)
    response = replace(other.response, proof=honest.response.proof)
    lie = forged(honest, response)
    trail.answered(lie)
    trail.export(tmp_path / "a.zip")
    subject, detail = only_complaint(verified(tmp_path / "a.zip"))
    assert subject is Subject.PROOF
    assert "proof refused by the check" in detail


@pytest.mark.rejects("C-99")
def test_a_wrong_answer_of_a_public_model_is_refused(trail, tmp_path):
    trail.answered(forged(answer(3, public=True), answer(5, public=True).response))
    trail.export(tmp_path / "a.zip")
    assert only_complaint(verified(tmp_path / "a.zip"))[0] is Subject.PROOF


def forged(given, response) -> Answer:
    """A request answered by something else, with a receipt of that."""
    from wire.archived import encode_archived_response
    from wire.inference import encode_response

    messages = list(encode_response(given.job.request.request_id, response))
    return replace(given, response=response, response_object=encode_archived_response(messages))


def test_one_request_has_one_receipt(trail, tmp_path):
    receipt = answer(1).receipt
    trail.answered(answer(1))
    trail.answered(answer(1), receipt_id=bytes(16), tenant="other", idempotency_digest=None)
    trail.export(tmp_path / "a.zip", objects=False)
    assert complaints(verified(tmp_path / "a.zip")) == []
    # A database without its constraint, and a log that minds nothing: its own code refuses both.
    from sqlalchemy import text

    from audit import log

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "_require_new", lambda *given: None)
        with trail.engine.begin() as connection:
            connection.execute(text("UPDATE audit_entries SET idempotency_digest = NULL"))
        patch.setattr(log, "require_filed", lambda *given: None)
        trail.record(replace(receipt, receipt_id=bytes([7]) * 16))
        note = trail.log.checkpoint(KEY)
        write_export(tmp_path / "b.zip", trail, note, Chosen(objects=False), trail.log.entries(0))
    subject, detail = only_complaint(verified(tmp_path / "b.zip"))
    assert (subject, detail) == (
        Subject.RECEIPT,
        "the log has an earlier receipt of the same request",
    )


def test_only_the_models_given_may_answer(exported):
    digest = private_model().digest
    report = verified(exported, models=frozenset({digest}))
    assert [subject for subject, _ in complaints(report)] == [Subject.MODEL] * 2
    assert all("none of the models given" in detail for _, detail in complaints(report))
    assert report.counts(Subject.PROOF) == {Status.PASSED: 4}, "they are verified all the same"


def test_only_the_clients_given_may_sign(exported):
    report = verified(exported, client_keys=frozenset({bytes(32)}))
    assert only_complaint(report)[0] is Subject.CLIENT_SIGNATURE


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize("part", ["whole", "part"])
def test_the_log_only_grew_since_an_older_checkpoint(trail, tmp_path, part):
    empty = trail.checkpoint()
    for _ in range(3):
        trail.happened(Action.PREDICT, Outcome.DENIED)
    older = trail.checkpoint()
    for _ in range(4):
        trail.happened(Action.PREDICT, Outcome.DENIED)
    query = Query() if part == "whole" else Query(start=2, stop=5)
    since = () if part == "whole" else (3,)
    trail.export(tmp_path / "a.zip", query, since=since)
    now = trail.checkpoint()
    report = verified(tmp_path / "a.zip", checkpoints=(empty, older, now))
    assert report.status is Status.PASSED, complaints(report)
    fork = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), KEY).encoded()
    report = verified(tmp_path / "a.zip", checkpoints=(fork,))
    subject, detail = only_complaint(report)
    assert subject is Subject.OLDER_CHECKPOINT
    assert ("another history" in detail) == (part == "whole")
    trail.happened(Action.PREDICT, Outcome.DENIED)
    report = verified(tmp_path / "a.zip", checkpoints=(trail.checkpoint(),))
    assert "it has 8 entries and the export's only 7" in only_complaint(report)[1]
    other = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), CLIENT).encoded()
    report = verified(tmp_path / "a.zip", checkpoints=(other, b"no note"))
    assert [subject for subject, _ in complaints(report)] == [Subject.OLDER_CHECKPOINT] * 2


def test_a_part_does_not_show_what_it_was_not_asked_to(trail, tmp_path):
    for _ in range(2):
        trail.happened(Action.PREDICT, Outcome.DENIED)
    older = trail.checkpoint()
    trail.happened(Action.PREDICT, Outcome.DENIED)
    trail.export(tmp_path / "a.zip", Query(start=2))
    report = verified(tmp_path / "a.zip", checkpoints=(older,))
    assert "export it with --since-checkpoint" in only_complaint(report)[1]
    assert report.findings[-1].detail == "1 of the log's 3 entries: 2"


def test_gaps_are_shown(trail, tmp_path):
    for number in range(7):
        outcome = Outcome.DENIED if number in {0, 1, 3} else Outcome.FAILED
        trail.happened(Action.PREDICT, outcome)
    trail.export(tmp_path / "a.zip", Query(outcome=Outcome.FAILED))
    detail = verified(tmp_path / "a.zip").findings[-1].detail
    assert detail == "4 of the log's 7 entries: 2, 4-6"


@pytest.mark.accepts("C-97")
def test_witnesses_count(trail, tmp_path, monkeypatch):
    trail.happened(Action.PREDICT, Outcome.DENIED)
    keys = [SigningKey.from_secret(bytes([number]) * 32) for number in range(3)]
    bls = [BlsSigningKey.from_secret(bytes(31) + bytes([number + 1])) for number in range(2)]
    witnesses = tuple(
        Witness(
            NoteKey(f"w{number}", key.public, KeyType.COSIGNATURE),
            bls=bls[number].proven() if number < 2 else None,
        )
        for number, key in enumerate(keys)
    )
    note = trail.log.checkpoint(KEY)
    for number in (0, 1):
        note = note.with_signatures([cosign(note, f"w{number}", keys[number], NOW)])
    single = {
        f"w{number}": cosign_bls(note.text, f"w{number}", bls[number]).body for number in (0, 1)
    }
    policy = WitnessPolicy(witnesses, 2)
    line = aggregate_cosignatures(note.text, ORIGIN, policy, single)
    path = tmp_path / "a.zip"
    write_export(path, trail, note, Chosen(), trail.log.entries(0))
    (finding,) = (
        f for f in verified(path, witnesses=policy).findings if f.subject is Subject.WITNESSES
    )
    assert (finding.status, finding.detail) == (
        Status.PASSED,
        "cosigned by w0, w1; 2 of 3 were asked for",
    )
    report = verified(path, witnesses=WitnessPolicy(witnesses, 3))
    assert only_complaint(report) == (
        Subject.WITNESSES,
        "2 of 3 witnesses have signed, 3 must",
    )
    aggregated = note.with_signatures([line])
    write_export(path, trail, aggregated, Chosen(), trail.log.entries(0))
    report = verified(path, witnesses=policy)
    assert [f.detail for f in report.findings if f.subject is Subject.WITNESSES][1] == (
        "one BLS signature of w0, w1"
    )
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "py_ecc.bls.ciphersuites", None)
        bls_module._scheme.cache_clear()
        report = verified(path, witnesses=policy)
    bls_module._scheme.cache_clear()
    assert complaints(report) == []
    last = [f for f in report.findings if f.subject is Subject.WITNESSES][1]
    assert last.status is Status.NOT_CHECKED
    assert "pip install 'blindproof[witness]'" in last.detail
    altered = replace(line, body=line.body[:1] + bytes(96))
    write_export(path, trail, note.with_signatures([altered]), Chosen(), trail.log.entries(0))
    assert only_complaint(verified(path, witnesses=policy))[0] is Subject.WITNESSES


def test_another_logs_export_is_refused(exported):
    other = NoteKey("log.example/other", KEY.public)
    report = verified(exported, log_key=other)
    subjects = {subject for subject, _ in complaints(report)}
    assert {Subject.LOG_KEY, Subject.CHECKPOINT, Subject.INCLUSION} <= subjects
    assert report.checkpoint is None
    report = verified(exported, log_key=NoteKey(ORIGIN, CLIENT.public))
    subjects = {subject for subject, _ in complaints(report)}
    assert {Subject.LOG_KEY, Subject.CHECKPOINT, Subject.INCLUSION, Subject.SIGNATURE} <= subjects


def test_a_receipt_of_an_answer_names_its_model(trail, tmp_path):
    trail.happened(Action.PREDICT, Outcome.ANSWERED)
    trail.export(tmp_path / "a.zip")
    assert only_complaint(verified(tmp_path / "a.zip"))[0] is Subject.MODEL


def test_an_enrolled_key_is_verified(trail, tmp_path):
    digests = Digests(key=enrolment().key.digest)
    trail.happened(Action.ENROL_KEY, Outcome.ANSWERED, digests=digests)
    trail.answered(answer(1, Packing.BATCH))
    trail.export(tmp_path / "a.zip")
    report = verified(tmp_path / "a.zip")
    assert report.status is Status.PASSED
    assert report.receipts[0].findings[-1].subject is Subject.KEY


def test_an_empty_export_says_so(trail, tmp_path):
    trail.export(tmp_path / "a.zip")
    report = verified(tmp_path / "a.zip")
    assert (report.status, report.receipts) == (Status.PASSED, ())
    assert math.isclose(report.size, (tmp_path / "a.zip").stat().st_size)
