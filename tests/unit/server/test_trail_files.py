"""Where a trail is, and who makes one."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256

import pytest

from audit.archive import ObjectKind
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import (
    ArchiveUnavailableError,
    LogStateError,
    LogUnavailableError,
    NoteError,
    SignatureError,
)
from audit.head import Head
from audit.keys import SigningKey
from audit.receipt import Action, Digests, Outcome, Purpose, TimeSource
from audit.recorder import Recorded
from audit.signed_receipt import sign_receipt
from protocol.accountability import Account
from server.events import Event, software_version
from server.refusals import Refusal
from server.trail_files import default_origin, open_trail_files
from tests.unit.audit.example_receipts import numbered
from wire.rpc import Reason

ORIGIN = "log.example/clinic"


@pytest.fixture
def opened(tmp_path):
    """Opens trails of one state directory, and closes them."""
    made = []

    def make(*places, **options):
        made.append(open_trail_files(tmp_path / "state", *places, **options))
        return made[-1]

    yield make
    for files in made:
        files.close()


def test_a_trail_is_made_once_and_found_again_by_who_knows_no_name(tmp_path, opened):
    first = opened(origin=ORIGIN)
    head = first.log.append([numbered(1)])
    second = opened()
    assert second.log.head() == head
    assert second.log_key == first.log_key
    assert second.log_key.name == ORIGIN
    kept = first.archive.keep(ObjectKind.REQUEST, b"name", b"data", tenant="clinic")
    assert second.archive.store.get(kept.address) == b"data"
    assert {path.name for path in (tmp_path / "state").iterdir()} >= {
        "audit.db",
        "audit.key",
        "archive",
        "sealing",
    }


def test_who_only_reads_makes_nothing(tmp_path, opened):
    with pytest.raises(LogUnavailableError, match="no audit trail"):
        opened()
    assert not (tmp_path / "state").exists()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "audit.key").write_bytes(bytes(32))
    with pytest.raises(LogUnavailableError, match=r"audit\.db is not there"):
        opened()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["audit.key"]


def test_who_looks_for_a_trail_of_several_tenants_is_told_where_they_are(tmp_path, opened):
    (tmp_path / "state" / "tenants").mkdir(parents=True)
    with pytest.raises(LogUnavailableError, match=r"each tenant's is in .*/state/tenants/<tenant>"):
        opened()


def test_a_database_that_holds_no_trail_is_none(tmp_path, opened):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "audit.key").touch(0o600)
    (tmp_path / "state" / "audit.key").write_bytes(SigningKey.generate().secret())
    (tmp_path / "state" / "audit.db").touch()
    with pytest.raises(LogUnavailableError, match="no audit trail in this database"):
        opened()


def test_a_log_that_is_gone_is_not_begun_anew(tmp_path, opened):
    """Another would have the same key, and nobody would name what is archived."""
    files = opened(origin=ORIGIN)
    files.log.append([numbered(1)])
    kept = files.archive.keep(ObjectKind.REQUEST, b"name", b"data", tenant="clinic")
    files.close()
    (tmp_path / "state" / "audit.db").rename(tmp_path / "log.db")
    for name in ("audit.key", "archive"):
        with pytest.raises(LogStateError, match="holds no log"):
            opened(origin=ORIGIN)
        (tmp_path / "state" / name).rename(tmp_path / name)
    assert opened(origin=ORIGIN).log.head().size == 0
    shared = str(tmp_path / "archive")
    with pytest.raises(LogStateError, match="archive with objects"):
        open_trail_files(tmp_path / "second", None, shared, origin=ORIGIN)
    assert not (tmp_path / "second" / "audit.key").exists()
    restored = f"sqlite:///{tmp_path / 'log.db'}"
    with pytest.raises(LogStateError, match=r"log has 1 entries and its key .*audit\.key is gone"):
        open_trail_files(tmp_path / "third", restored, shared, origin=ORIGIN)
    (tmp_path / "audit.key").rename(tmp_path / "third" / "audit.key")
    with closing(open_trail_files(tmp_path / "third", restored, shared, origin=ORIGIN)) as again:
        assert again.log.head().size == 1
        assert again.archive.store.get(kept.address) == b"data"


def test_a_start_that_was_interrupted_is_taken_up_again(tmp_path, opened):
    """The log was made and its key was not; a request came and its receipt did not."""
    opened(origin=ORIGIN).archive.keep(ObjectKind.REQUEST, b"name", b"data", tenant="clinic")
    assert opened(origin=ORIGIN).log.head().size == 0
    (tmp_path / "state" / "audit.key").unlink()
    assert opened(origin=ORIGIN).log.head().size == 0


def test_log_and_archive_may_be_elsewhere(tmp_path, opened):
    places = f"sqlite:///{tmp_path / 'elsewhere.db'}", str(tmp_path / "objects")
    files = opened(*places, origin=ORIGIN)
    files.archive.keep(ObjectKind.REQUEST, b"name", b"data", tenant="clinic")
    assert (tmp_path / "elsewhere.db").exists()
    assert any((tmp_path / "objects").rglob("*"))
    assert opened(*places).log.origin == ORIGIN
    with pytest.raises(ArchiveUnavailableError):
        opened(places[0], "ftp://elsewhere", origin=ORIGIN)


def test_the_log_extends_the_checkpoint_or_is_not_opened(tmp_path, opened):
    files = opened(origin=ORIGIN)
    files.log.append([numbered(1)])
    path = tmp_path / "checkpoint"
    path.write_bytes(files.log.checkpoint(files.key).encoded())
    assert opened(origin=ORIGIN, checkpoint=path).log.head().size == 1
    other = Checkpoint(ORIGIN, 1, numbered(2).leaf)
    path.write_bytes(sign_checkpoint(other, files.key).encoded())
    with pytest.raises(LogStateError, match="another history"):
        opened(origin=ORIGIN, checkpoint=path)
    path.write_bytes(sign_checkpoint(Checkpoint("another", 1, other.root), files.key).encoded())
    with pytest.raises(SignatureError, match="no signature of"):
        opened(origin=ORIGIN, checkpoint=path)
    path.write_bytes(b"no note")
    with pytest.raises(NoteError):
        opened(origin=ORIGIN, checkpoint=path)


@pytest.mark.parametrize(
    ("server_id", "origin"),
    [
        ("clinic-3", "blindproof/clinic-3"),
        ("local trial", "blindproof/sha256:{digest}"),
        ("a+b", "blindproof/sha256:{digest}"),
    ],
)
def test_a_server_names_its_log(server_id, origin, tmp_path, opened):
    expected = origin.format(digest=sha256(server_id.encode()).hexdigest())
    assert default_origin(server_id) == expected
    assert opened(origin=default_origin(server_id)).log_key.name == expected


def test_an_event_says_what_is_known_and_not_more():
    event = Event(Action.PREDICT, "clinic")
    receipt = event.refused(Reason.BUSY, 5, TimeSource.NTP)
    assert (receipt.actor, receipt.tenant, receipt.subject) == ("unidentified", "clinic", None)
    assert (receipt.time_ns, receipt.time_source) == (5, TimeSource.NTP)
    assert (receipt.digests, receipt.purpose) == (Digests(), Purpose(Account().purpose))
    assert receipt.software_version == software_version()
    assert sign_receipt(receipt, SigningKey.generate()).receipt == receipt
    assert len({Event(Action.PREDICT, "clinic").receipt_id for _ in range(8)}) == 8


@pytest.mark.parametrize("reason", list(Reason))
def test_what_broke_has_failed_and_what_was_refused_is_denied(reason: Reason):
    broken = {"internal", "cancelled", "too-slow", "audit-unavailable", "worker-lost"}
    receipt = Event(Action.PREDICT, "clinic").refused(reason, 0, TimeSource.SYSTEM)
    assert receipt.outcome is (Outcome.FAILED if reason in broken else Outcome.DENIED)
    assert receipt.reason == str(reason)
    assert str(Refusal(reason, "detail")) == "detail"


def test_what_happens_after_a_recorded_event_has_a_receipt_of_its_own():
    event = Event(Action.ENROL_KEY, "clinic")
    event.repeats(bytes(16), Recorded(3, Head(4, bytes(32))))
    assert event.receipt_id == bytes(16)
    assert event.recording.result(0).index == 3
    event.begins_anew()
    assert event.recording is None
    assert event.receipt_id != bytes(16)
