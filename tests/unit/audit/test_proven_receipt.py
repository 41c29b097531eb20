from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import AuditError, InclusionError, NoteError, ReceiptError, SignatureError
from audit.keys import SigningKey
from audit.proven_receipt import MAX_FILE_BYTES, MAX_HASHES, ProvenReceipt
from audit.signed_note import NoteKey
from audit.signed_receipt import sign_receipt
from audit.tree import MemoryNodes, Tree
from tests.unit.audit.example_receipts import CLIENT, LOG, LOG_KEY, ORIGIN, RECEIPT, numbered

SIZE, INDEX = 7, 4


def proven(size: int = SIZE) -> ProvenReceipt:
    """The entry of a log whose key signs receipts too."""
    signed = sign_receipt(RECEIPT, LOG)
    entries = [numbered(number) for number in range(SIZE)]
    entries[INDEX] = signed
    tree = Tree(MemoryNodes(), 0)
    tree.append([each.leaf for each in entries])
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), LOG)
    return ProvenReceipt(signed, INDEX, tuple(tree.inclusion_proof(INDEX, size)), note, LOG_KEY)


PROVEN = proven()


def test_a_receipt_is_verified_with_its_log():
    checkpoint = PROVEN.verify(LOG_KEY)
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, SIZE)


def test_a_receipt_may_be_put_under_another_checkpoint():
    other = proven(INDEX + 1)
    assert PROVEN.under(other.checkpoint, other.inclusion) == other
    assert other.verify(LOG_KEY).size == INDEX + 1


STRANGER = SigningKey.generate()


@pytest.mark.parametrize(
    ("altered", "error"),
    [
        (replace(PROVEN, index=INDEX + 1), InclusionError),
        (replace(PROVEN, index=-1), InclusionError),
        (replace(PROVEN, inclusion=PROVEN.inclusion[:-1]), InclusionError),
        (replace(PROVEN, signed=sign_receipt(replace(RECEIPT, time_ns=1), LOG)), InclusionError),
        (replace(PROVEN, signed=sign_receipt(RECEIPT, STRANGER)), SignatureError),
        (
            replace(PROVEN, signed=replace(PROVEN.signed, receipt=replace(RECEIPT, time_ns=1))),
            SignatureError,
        ),
        (
            replace(
                PROVEN,
                checkpoint=sign_checkpoint(Checkpoint(ORIGIN, SIZE, bytes(32)), LOG),
            ),
            InclusionError,
        ),
        (
            replace(
                PROVEN,
                checkpoint=sign_checkpoint(Checkpoint(ORIGIN, SIZE, bytes(32)), STRANGER),
            ),
            SignatureError,
        ),
        (
            replace(
                PROVEN,
                checkpoint=sign_checkpoint(Checkpoint("other", SIZE, bytes(32)), LOG),
            ),
            SignatureError,
        ),
        (replace(PROVEN, log_key=NoteKey(ORIGIN, STRANGER.public)), NoteError),
    ],
)
def test_what_does_not_verify_is_refused(altered: ProvenReceipt, error: type[AuditError]):
    with pytest.raises(error) as caught:
        altered.verify(LOG_KEY)
    assert caught.type is error


@pytest.mark.parametrize("key", [NoteKey("other", LOG.public), NoteKey(ORIGIN, STRANGER.public)])
def test_the_key_is_from_elsewhere(key: NoteKey):
    with pytest.raises(NoteError, match="a receipt of the log"):
        PROVEN.verify(key)


def test_a_file_comes_back_with_and_without_the_clients_signature():
    signed = replace(PROVEN, signed=PROVEN.signed.countersigned(CLIENT))
    for each in (PROVEN, signed):
        again = ProvenReceipt.from_json(each.to_json())
        assert again == each
        assert again.to_json() == each.to_json()


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(PROVEN.to_json())
    change(content)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def member(name: str, value: object) -> str:
    return changed(lambda content: content.update({name: value}))


def test_a_change_of_nothing_is_accepted():
    assert ProvenReceipt.from_json(changed(lambda content: None)) == PROVEN


@pytest.mark.parametrize("name", list(json.loads(PROVEN.to_json())))
def test_every_member_is_needed_and_has_its_type(name: str):
    with pytest.raises(AuditError):
        ProvenReceipt.from_json(changed(lambda content: content.pop(name)))
    for value in (None, True, 1.5, {}, ["x"], "x"):
        with pytest.raises(AuditError):
            ProvenReceipt.from_json(member(name, value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        '"text"',
        "[" * 100_000,
        PROVEN.to_json()[:-1],
        PROVEN.to_json() + "\n",
        PROVEN.to_json().replace("\n", "\r\n"),
        member("more", 1),
        PROVEN.to_json().replace('"index": 4,', '"index": 4,\n  "index": 4,'),
        PROVEN.to_json().replace('"index": 4,', '"index": 4.0,'),
        PROVEN.to_json().replace('"index": 4,', f'"index": {"9" * 5000},'),
        PROVEN.to_json().replace('"index": 4,', '"index": NaN,'),
        member("format", "blindproof proven receipt 2"),
        member("checkpoint", PROVEN.checkpoint.encoded().decode() + "\ud800"),
        member("inclusion", ["not base64!"]),
        member("inclusion", ["AA="]),
        member("inclusion", ["A" * 44] * (MAX_HASHES + 1)),
        member("log_key", "name+00000000+AAAA"),
    ],
)
def test_what_was_not_written_here_is_not_read(text: str):
    with pytest.raises((ReceiptError, NoteError)):
        ProvenReceipt.from_json(text)


def test_a_file_is_bounded_before_it_is_parsed():
    with pytest.raises(ReceiptError, match="at most"):
        ProvenReceipt.from_json(" " * (MAX_FILE_BYTES + 1))
