from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.errors import EncodingError
from wire import audit, rpc
from wire.v1 import audit_pb2 as pb

HASH = bytes(range(32))
RECEIPT = audit.ReceiptMessage(b"entry", 5, (HASH,), b"note", (HASH, bytes(32)))
SIGNED = audit.Countersignature(bytes(16), bytes(32), bytes(64))
CHECKPOINT = audit.CheckpointAnswer(b"note", (HASH,))


def test_every_message_comes_back():
    identity = audit.LogIdentity("name+key", "tenant")
    assert audit.decode_log(audit.encode_log(identity)) == identity
    audit.decode_log_request(audit.encode_log_request())
    for wanted in (
        audit.CheckpointRequest(),
        audit.CheckpointRequest(min_size=audit.MAX_SIZE, old_size=1, cosigned=True),
    ):
        encoded = audit.encode_checkpoint_request(wanted)
        assert audit.decode_checkpoint_request(encoded) == wanted
    assert audit.decode_checkpoint(audit.encode_checkpoint(CHECKPOINT)) == CHECKPOINT
    assert audit.decode_receipt(audit.encode_receipt(RECEIPT)) == RECEIPT
    request = audit.encode_receipt_request(bytes(16), 3)
    assert audit.decode_receipt_request(request) == (bytes(16), 3)
    for client in (None, (bytes(32), bytes(64))):
        answer = audit.ReceiptAnswer(RECEIPT, client)
        assert audit.decode_receipt_answer(audit.encode_receipt_answer(answer)) == answer
    assert audit.decode_inclusion_request(audit.encode_inclusion_request(4, 9)) == (4, 9)
    assert audit.decode_inclusion(audit.encode_inclusion([HASH])) == (HASH,)
    assert audit.decode_consistency_request(audit.encode_consistency_request(4, 9)) == (4, 9)
    assert audit.decode_consistency(audit.encode_consistency([])) == ()
    assert audit.decode_countersignature(audit.encode_countersignature(SIGNED)) == SIGNED
    audit.decode_countersigned(audit.encode_countersigned())


def receipt(**changes: object) -> bytes:
    return audit.encode_receipt(replace(RECEIPT, **changes))


def answer(**changes: bytes) -> bytes:
    return pb.GetReceiptResponse(receipt=receipt(), **changes).SerializeToString()


MANY = (HASH,) * (audit.MAX_HASHES + 1)
TOO_LARGE = audit.MAX_SIZE + 1


@pytest.mark.parametrize(
    ("decode", "data", "complaint"),
    [
        (audit.decode_receipt, receipt(entry=b""), "entry"),
        (audit.decode_receipt, receipt(entry=bytes(audit.MAX_ENTRY_BYTES + 1)), "entry"),
        (audit.decode_receipt, receipt(index=TOO_LARGE), "entries"),
        (audit.decode_receipt, receipt(inclusion=MANY), "hashes"),
        (audit.decode_receipt, receipt(inclusion=(HASH[:31],)), "32 bytes"),
        (audit.decode_receipt, receipt(checkpoint=b""), "checkpoint"),
        (audit.decode_receipt, receipt(checkpoint=bytes(audit.MAX_NOTE_BYTES + 1)), "checkpoint"),
        (audit.decode_receipt, receipt(consistency=MANY), "hashes"),
        (audit.decode_receipt, receipt(consistency=(b"",)), "32 bytes"),
        (audit.decode_receipt, b"\xff", "not a ProvenReceipt"),
        (audit.decode_receipt_answer, answer(client_key=bytes(32)), "64 bytes"),
        (audit.decode_receipt_answer, answer(client_signature=bytes(64)), "32 bytes"),
        (audit.decode_receipt_answer, pb.GetReceiptResponse().SerializeToString(), "entry"),
        (audit.decode_receipt_request, audit.encode_receipt_request(bytes(15)), "16 bytes"),
        (
            audit.decode_receipt_request,
            audit.encode_receipt_request(bytes(16), TOO_LARGE),
            "entries",
        ),
        (audit.decode_log, audit.encode_log(audit.LogIdentity("", "t")), "characters"),
        (audit.decode_log, audit.encode_log(audit.LogIdentity("k", "")), "characters"),
        (
            audit.decode_log,
            audit.encode_log(audit.LogIdentity("k" * (audit.MAX_NAME + 1), "t")),
            "characters",
        ),
        (
            audit.decode_checkpoint_request,
            pb.GetCheckpointRequest(min_size=TOO_LARGE).SerializeToString(),
            "entries",
        ),
        (
            audit.decode_checkpoint_request,
            pb.GetCheckpointRequest(old_size=TOO_LARGE).SerializeToString(),
            "entries",
        ),
        (
            audit.decode_checkpoint,
            audit.encode_checkpoint(replace(CHECKPOINT, checkpoint=b"")),
            "checkpoint",
        ),
        (
            audit.decode_checkpoint,
            audit.encode_checkpoint(replace(CHECKPOINT, consistency=MANY)),
            "hashes",
        ),
        (audit.decode_inclusion, audit.encode_inclusion([b"x"]), "32 bytes"),
        (
            audit.decode_inclusion_request,
            audit.encode_inclusion_request(TOO_LARGE, 1),
            "entries",
        ),
        (
            audit.decode_inclusion_request,
            audit.encode_inclusion_request(1, TOO_LARGE),
            "entries",
        ),
        (audit.decode_consistency, audit.encode_consistency(MANY), "hashes"),
        (
            audit.decode_consistency_request,
            audit.encode_consistency_request(TOO_LARGE, 1),
            "entries",
        ),
        (
            audit.decode_countersignature,
            audit.encode_countersignature(replace(SIGNED, receipt_id=b"")),
            "16 bytes",
        ),
        (
            audit.decode_countersignature,
            audit.encode_countersignature(replace(SIGNED, client_key=bytes(31))),
            "32 bytes",
        ),
        (
            audit.decode_countersignature,
            audit.encode_countersignature(replace(SIGNED, client_signature=bytes(65))),
            "64 bytes",
        ),
    ],
)
def test_what_is_out_of_bounds_is_refused(decode, data: bytes, complaint: str):
    with pytest.raises(EncodingError, match=complaint):
        decode(data)


@pytest.mark.parametrize(
    "decode",
    [
        audit.decode_log_request,
        audit.decode_log,
        audit.decode_checkpoint_request,
        audit.decode_checkpoint,
        audit.decode_receipt_request,
        audit.decode_receipt_answer,
        audit.decode_inclusion_request,
        audit.decode_inclusion,
        audit.decode_consistency_request,
        audit.decode_consistency,
        audit.decode_countersignature,
        audit.decode_countersigned,
    ],
)
def test_what_is_no_message_is_refused(decode):
    with pytest.raises(EncodingError):
        decode(b"\xff\xff\xff")


def test_pages_of_entries_travel():
    assert audit.decode_entries_request(audit.encode_entries_request(7, 3)) == (7, 3)
    assert audit.decode_entries(audit.encode_entries([b"one", b"two"])) == (b"one", b"two")
    assert audit.decode_entries(audit.encode_entries([])) == ()


@pytest.mark.parametrize(
    ("start", "limit"), [(0, 0), (0, audit.MAX_PAGE_ENTRIES + 1), (1 << 63, 1)]
)
def test_a_page_that_no_answer_holds_is_refused(start, limit):
    with pytest.raises(EncodingError):
        audit.decode_entries_request(audit.encode_entries_request(start, limit))


@pytest.mark.parametrize(
    "entries", [[b""], [bytes(audit.MAX_ENTRY_BYTES + 1)], [b"x"] * (audit.MAX_PAGE_ENTRIES + 1)]
)
def test_a_page_of_other_things_is_refused(entries):
    with pytest.raises(EncodingError):
        audit.decode_entries(audit.encode_entries(entries))


def test_a_full_page_fits_a_message():
    page = audit.encode_entries([bytes(audit.MAX_ENTRY_BYTES)] * audit.MAX_PAGE_ENTRIES)
    assert len(page) < rpc.MAX_MESSAGE_BYTES
