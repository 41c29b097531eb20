from __future__ import annotations

import pytest

from protocol.errors import EncodingError
from wire.audit import ReceiptMessage
from wire.bundle_file import MAX_BUNDLE_BYTES, BundleParts, encode_bundle
from wire.publication import (
    Publication,
    PublicationAssembler,
    decode_publication,
    decode_published,
    decode_withdrawal,
    decode_withdrawn,
    encode_publication,
    encode_published,
    encode_withdrawal,
    encode_withdrawn,
)
from wire.v1 import models_pb2 as pb

PARTS = BundleParts(b"card" * 100_000, b"proof", b"private")
BUNDLE = encode_bundle(PARTS)
REQUEST_ID = bytes(range(16))
RECEIPT = ReceiptMessage(b"entry", 3, (bytes(32),), b"note", ())


def messages(digest: bytes = PARTS.digest, bundle: bytes = BUNDLE) -> list[bytes]:
    return list(encode_publication(REQUEST_ID, digest, bundle))


def assembled(sent: list[bytes]) -> BundleParts:
    assembler = PublicationAssembler(decode_publication(sent[0]))
    for message in sent[1:]:
        assembler.add(message)
    return assembler.finish()


def test_a_bundle_arrives_in_pieces():
    sent = messages()
    assert decode_publication(sent[0]) == Publication(REQUEST_ID, PARTS.digest, len(BUNDLE))
    assert len(sent) == 3
    assert assembled(sent) == PARTS


def header(**changes: object) -> bytes:
    fields = {"request_id": REQUEST_ID, "digest": PARTS.digest, "bundle_bytes": 10, **changes}
    return pb.PublishModelRequest(header=pb.PublishModelHeader(**fields)).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        header(request_id=b"short"),
        header(digest=b"short"),
        header(bundle_bytes=0),
        header(bundle_bytes=MAX_BUNDLE_BYTES + 1),
        header() + b"\x78\x01",
        messages()[1],
    ],
)
def test_a_malformed_header_is_refused(data):
    with pytest.raises(EncodingError):
        decode_publication(data)


@pytest.mark.parametrize(
    "sent",
    [
        messages()[:-1],
        [*messages(), messages()[-1]],
        [messages()[0], *messages()],
        messages(digest=bytes(32)),
        messages(bundle=b"no bundle"),
        [*messages()[:1], b"\xff"],
        [*messages()[:1], b""],
    ],
    ids=["missing", "too much", "two headers", "another model", "no bundle", "junk", "empty"],
)
def test_what_is_not_the_announced_bundle_is_refused(sent):
    with pytest.raises(EncodingError):
        assembled(sent)


def test_a_bundle_beyond_what_was_announced_is_not_collected():
    assembler = PublicationAssembler(Publication(REQUEST_ID, PARTS.digest, 10))
    with pytest.raises(EncodingError, match="bundle piece"):
        assembler.add(messages()[1])


def test_withdrawals_and_receipts_travel():
    assert decode_withdrawal(encode_withdrawal(REQUEST_ID, PARTS.digest)) == (
        REQUEST_ID,
        PARTS.digest,
    )
    assert decode_published(encode_published(RECEIPT)) == RECEIPT
    assert decode_withdrawn(encode_withdrawn(RECEIPT)) == RECEIPT


@pytest.mark.parametrize("data", [b"", b"\xff", encode_withdrawal(b"", PARTS.digest)])
def test_a_malformed_withdrawal_is_refused(data):
    with pytest.raises(EncodingError):
        decode_withdrawal(data)


@pytest.mark.parametrize("decode", [decode_published, decode_withdrawn])
def test_an_answer_without_a_receipt_is_refused(decode):
    with pytest.raises(EncodingError):
        decode(b"")
