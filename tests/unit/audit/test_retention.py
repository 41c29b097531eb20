"""What a sweep removes, and what it must not."""

from __future__ import annotations

import math
import os
import time

import pytest
from sqlalchemy import select

import audit.retention
from audit.archive import Archive, ObjectKind
from audit.database import writing_sessions
from audit.errors import ArchiveUnavailableError, ObjectMissingError
from audit.object_store import open_store
from audit.retention import RetentionRules, sweep
from audit.schema import objects
from audit.store_check import check_store
from tests.unit.audit.s3_server import running_s3, store_url

HOUR = 3600 * 10**9
DAY = 24 * HOUR


def keep(archive, kind, name, data, *, recorded=True):
    kept = archive.keep(kind, name, data, tenant="clinic")
    if recorded:
        with writing_sessions(archive.engine)() as session:
            archive.record_within(session, [kept])
            session.commit()
    return kept


def after(kept, nanoseconds):
    return kept.stored_ns + nanoseconds


def make_older(archive, kept, nanoseconds):
    """As if the object had been put long ago."""
    path = archive.store._path(kept.address)
    when = path.stat().st_mtime_ns - nanoseconds
    os.utime(path, ns=(when, when))


def test_only_what_the_rules_say_is_removed(archive):
    kept = {kind: keep(archive, kind, b"n", f"a {kind}".encode()) for kind in ObjectKind}
    now = after(kept[ObjectKind.ENROLMENT], 2 * DAY)
    assert sweep(archive, RetentionRules(), now).requests == 0
    for kind in ObjectKind:
        assert archive.read(kind, b"n")
    swept = sweep(archive, RetentionRules(requests_seconds=86400), now)
    assert (swept.requests, swept.responses) == (1, 0)
    with pytest.raises(ObjectMissingError, match="removed by a rule"):
        archive.read(ObjectKind.REQUEST, b"n")
    row = archive.find(ObjectKind.REQUEST, b"n")
    assert (row.removed_ns, row.address) == (now, kept[ObjectKind.REQUEST].address)
    with pytest.raises(ObjectMissingError):
        archive.store.get(row.address)
    swept = sweep(archive, RetentionRules(1, 1), now + 5)
    assert (swept.requests, swept.responses) == (0, 1)
    assert archive.find(ObjectKind.REQUEST, b"n").removed_ns == now  # once, not again
    for kind in (ObjectKind.MODEL, ObjectKind.ENROLMENT):
        assert archive.read(kind, b"n")
    found = check_store(archive.engine, archive.store)
    assert not found.missing + found.damaged
    assert (found.rows, found.removed, found.objects) == (4, 2, 2)


def test_the_age_is_counted_from_when_it_was_stored(archive):
    kept = keep(archive, ObjectKind.RESPONSE, b"n", b"data")
    rules = RetentionRules(responses_seconds=60)
    assert sweep(archive, rules, after(kept, 60 * 10**9 - 1)).responses == 0
    assert sweep(archive, rules, after(kept, 60 * 10**9)).responses == 1


def test_an_object_that_another_row_names_stays(archive):
    request = keep(archive, ObjectKind.REQUEST, b"n", b"same bytes")
    answer = keep(archive, ObjectKind.RESPONSE, b"n", b"same bytes")
    newer = keep(archive, ObjectKind.REQUEST, b"newer", b"same bytes")
    assert request.address == answer.address == newer.address
    now = after(request, DAY)
    assert sweep(archive, RetentionRules(requests_seconds=60), now).requests == 2
    assert archive.read(ObjectKind.RESPONSE, b"n") == b"same bytes"
    assert sweep(archive, RetentionRules(None, 60), now).responses == 1
    assert list(archive.store.addresses()) == []


def test_what_was_put_again_after_its_row_expired_waits_for_its_new_row(archive):
    """Between `keep` and `record_within` of a second object of the same bytes, a sweep runs."""
    first = keep(archive, ObjectKind.REQUEST, b"n", b"same bytes")
    make_older(archive, first, DAY)
    time.sleep(0.02)  # longer than a file system's clock ticks
    again = keep(archive, ObjectKind.REQUEST, b"newer", b"same bytes", recorded=False)
    assert sweep(archive, RetentionRules(requests_seconds=0), first.stored_ns).requests == 1
    with writing_sessions(archive.engine)() as session:
        archive.record_within(session, [again])
        session.commit()
    assert archive.read(ObjectKind.REQUEST, b"newer") == b"same bytes"


def nothing_is_lost(archive):
    found = check_store(archive.engine, archive.store)
    return not found.missing + found.damaged


def test_orphans_are_removed_once_nobody_can_be_about_to_name_them(archive):
    orphan = keep(archive, ObjectKind.REQUEST, b"n", b"orphan", recorded=False)
    named = keep(archive, ObjectKind.REQUEST, b"m", b"named")
    now = time.time_ns()
    assert sweep(archive, RetentionRules(), now).orphans == 0
    assert check_store(archive.engine, archive.store).orphans == 1
    for kept in (orphan, named):
        make_older(archive, kept, DAY + 10**9)
    assert sweep(archive, RetentionRules(), now).orphans == 1
    assert list(archive.store.addresses()) == [named.address]
    assert check_store(archive.engine, archive.store).orphans == 0


def test_an_orphan_that_is_put_again_is_no_orphan(archive):
    orphan = keep(archive, ObjectKind.REQUEST, b"n", b"orphan", recorded=False)
    make_older(archive, orphan, DAY)
    keep(archive, ObjectKind.REQUEST, b"n", b"orphan", recorded=False)
    assert sweep(archive, RetentionRules(), time.time_ns()).orphans == 0
    assert archive.store.get(orphan.address) == b"orphan"


def test_drafts_of_the_dead_are_removed(archive, tmp_path):
    draft = tmp_path / "archive" / "drafts" / ".draft-0"
    draft.write_bytes(b"half")
    assert sweep(archive, RetentionRules(), time.time_ns()).drafts == 0
    assert sweep(archive, RetentionRules(), time.time_ns() + 2 * DAY).drafts == 1


def test_more_than_one_page_is_removed(archive, monkeypatch):
    monkeypatch.setattr(audit.retention, "_ROWS", 3)
    for number in range(8):
        last = keep(archive, ObjectKind.REQUEST, bytes([number]), bytes([number]))
        keep(archive, ObjectKind.MODEL, bytes([number]), bytes([number]) * 2)
        keep(archive, ObjectKind.MODEL, b"m", bytes([number]) * 3)  # orphans but the first
    assert sweep(archive, RetentionRules(0, 0), last.stored_ns).requests == 8
    assert sweep(archive, RetentionRules(), last.stored_ns + 2 * DAY).orphans == 7
    assert nothing_is_lost(archive)
    assert len(list(archive.store.addresses())) == 9


def test_a_sweep_that_breaks_in_the_middle_is_finished_by_the_next(archive, tmp_path):
    kept = keep(archive, ObjectKind.REQUEST, b"n", b"data")
    (tmp_path / "archive").rename(tmp_path / "away")
    with pytest.raises(ArchiveUnavailableError):
        sweep(archive, RetentionRules(requests_seconds=0), kept.stored_ns)
    (tmp_path / "away").rename(tmp_path / "archive")
    assert archive.find(ObjectKind.REQUEST, b"n").removed_ns == kept.stored_ns
    assert nothing_is_lost(archive)
    assert sweep(archive, RetentionRules(), kept.stored_ns + 2 * DAY).orphans == 1
    assert list(archive.store.addresses()) == []


def test_objects_in_s3_are_swept_too(log, sealing_keys):
    with running_s3() as endpoint:
        archive = Archive(log.engine, open_store(store_url(endpoint, "swept")), sealing_keys)
        kept = keep(archive, ObjectKind.REQUEST, b"n", b"data")
        keep(archive, ObjectKind.RESPONSE, b"n", b"answer")
        keep(archive, ObjectKind.RESPONSE, b"n", b"orphan")
        assert sweep(archive, RetentionRules(requests_seconds=0), kept.stored_ns).orphans == 0
        swept = sweep(archive, RetentionRules(), kept.stored_ns + 2 * DAY)
        assert archive.read(ObjectKind.RESPONSE, b"n") == b"answer"
        assert swept.orphans in {1, 2}  # S3 counts time in seconds: the request may wait till now
        assert len(list(archive.store.addresses())) == 1


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_rules_are_of_a_time(seconds):
    with pytest.raises(ValueError, match="seconds"):
        RetentionRules(requests_seconds=seconds)
    with pytest.raises(ValueError, match="seconds"):
        RetentionRules(responses_seconds=seconds)


def test_rows_outlive_their_bytes(archive):
    kept = keep(archive, ObjectKind.REQUEST, b"n", b"data")
    sweep(archive, RetentionRules(requests_seconds=0), kept.stored_ns)
    with archive.engine.connect() as connection:
        assert len(connection.execute(select(objects)).all()) == 1
