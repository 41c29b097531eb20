"""What an export holds, what it leaves out, and how it is written."""

from __future__ import annotations

import stat
from collections import Counter
from contextlib import closing

import pytest
from sqlalchemy import delete

from audit.archive import ObjectKind
from audit.database import writing
from audit.errors import SignatureError, UnknownEntryError
from audit.receipt import Action, Outcome
from audit.schema import objects
from audit.search import Query
from audit.signed_receipt import sign_receipt
from blindproof.auditing.errors import ExportError, NotExportedError
from blindproof.auditing.export_file import ExportFile
from blindproof.auditing.exporting import Chosen, write_export
from blindproof.auditing.manifest import Kind, Omission
from tests.unit.blindproof.auditing.example_trail import (
    CLIENT,
    KEY,
    LOG_KEY,
    answer,
    answer_with_plaintext,
)


def opened(path):
    return closing(path.open("rb"))


def test_receipts_come_with_their_objects_each_once(varied, tmp_path):
    done = varied.export(tmp_path / "a.zip", plaintext=True)
    # Four requests and answers, three models, two keys.
    assert (done.receipts, done.objects, done.omitted) == (6, 13, Counter())
    with opened(tmp_path / "a.zip") as stream:
        export = ExportFile(stream)
        assert export.indices == (0, 1, 2, 3, 4, 5)
        assert export.log_key == LOG_KEY
        given = answer(1)
        name = given.receipt.receipt_id
        assert export.object(Kind.REQUEST, name) == given.request_object
        assert export.object(Kind.RESPONSE, name) == given.response_object
        assert export.receipt(1).signed.client is not None
        assert export.receipt(2).signed.client is None


def test_the_same_log_gives_the_same_file(varied, tmp_path):
    varied.export(tmp_path / "a.zip")
    varied.export(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert stat.S_IMODE((tmp_path / "a.zip").stat().st_mode) == 0o600


def test_columns_in_clear_are_left_out_unless_they_are_asked_for(varied, tmp_path):
    done = varied.export(tmp_path / "a.zip")
    assert done.omitted == Counter({Omission.PLAINTEXT: 1})
    given = answer_with_plaintext()
    with (
        opened(tmp_path / "a.zip") as stream,
        pytest.raises(NotExportedError, match="columns in clear"),
    ):
        ExportFile(stream).object(Kind.REQUEST, given.receipt.receipt_id)
    columns = given.job.inputs.plaintext
    assert columns is not None
    clear = columns.values[0].astype("<f8").tobytes()
    assert clear not in (tmp_path / "a.zip").read_bytes()
    varied.export(tmp_path / "b.zip", plaintext=True)
    assert clear in (tmp_path / "b.zip").read_bytes()


def test_objects_are_left_out_on_demand(varied, tmp_path):
    done = varied.export(tmp_path / "a.zip", objects=False)
    assert (done.receipts, done.objects) == (6, 0)
    assert done.omitted == Counter({Omission.NOT_ASKED: 13})


def test_what_the_archive_has_lost_is_named(trail, tmp_path):
    receipt = trail.answered(answer(1))
    response = trail.archive.find(ObjectKind.RESPONSE, receipt.receipt_id)
    trail.archive.store.delete(response.address)
    request = trail.archive.find(ObjectKind.REQUEST, receipt.receipt_id)
    (path,) = (tmp_path / "archive").rglob(request.address.hex())
    path.chmod(0o600)
    path.write_bytes(b"something else")
    with writing(trail.engine).begin() as connection:
        connection.execute(delete(objects).where(objects.c.kind == str(ObjectKind.MODEL)))
    done = trail.export(tmp_path / "a.zip")
    assert done.omitted == Counter({Omission.MISSING: 2, Omission.DAMAGED: 1})


def test_an_erased_key_is_named(trail, tmp_path):
    trail.answered(answer_with_plaintext())
    for key in (tmp_path / "sealing").iterdir():
        key.unlink()
    done = trail.export(tmp_path / "a.zip", plaintext=True)
    assert done.omitted == Counter({Omission.ERASED: 1})


def test_an_export_is_whole_or_not_there(trail, tmp_path):
    trail.happened(Action.PREDICT, Outcome.DENIED)
    note = trail.log.checkpoint(KEY)
    trail.happened(Action.PREDICT, Outcome.DENIED)
    before = set(tmp_path.iterdir())
    # The second receipt is not in that checkpoint.
    with pytest.raises(UnknownEntryError, match="no leaf 1"):
        write_export(tmp_path / "a.zip", trail, note, Chosen(), trail.log.entries(0))
    assert set(tmp_path.iterdir()) == before


def test_what_nobody_could_verify_is_not_written(trail, tmp_path):
    trail.log.append([sign_receipt(answer(1).receipt, CLIENT)])
    with pytest.raises(SignatureError, match="signed by"):
        trail.export(tmp_path / "a.zip", objects=False)


def test_no_receipt_is_written_twice(trail, tmp_path):
    trail.happened(Action.PREDICT, Outcome.DENIED)
    note = trail.log.checkpoint(KEY)
    entries = [*trail.log.entries(0), *trail.log.entries(0)]
    with pytest.raises(ExportError, match="twice"):
        write_export(tmp_path / "a.zip", trail, note, Chosen(), entries)


def test_a_part_of_the_log_is_a_part(varied, tmp_path):
    done = varied.export(tmp_path / "a.zip", Query(outcome=Outcome.DENIED))
    assert (done.receipts, done.objects) == (1, 0)
    assert done.checkpoint.size == 6
