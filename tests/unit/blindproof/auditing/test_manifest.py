"""A manifest is read in the one form it is written in."""

from __future__ import annotations

import json

import pytest

from audit.keys import SigningKey
from audit.signed_note import NoteKey
from blindproof.auditing.errors import ExportError
from blindproof.auditing.manifest import (
    Kind,
    Manifest,
    Omission,
    receipt_index,
    receipt_member,
)

MANIFEST = Manifest(
    NoteKey("log.example", SigningKey.from_secret(bytes(32)).public),
    {3: (bytes(32), bytes([1]) * 32)},
    {Kind.REQUEST.member(b"x"): Omission.REMOVED},
    {"checkpoint": bytes(32)},
)


def test_a_manifest_comes_back():
    assert Manifest.decoded(MANIFEST.encoded()) == MANIFEST


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(format="blindproof audit export 2"),
        lambda content: content.update(extra=1),
        lambda content: content.update(log_key="log.example+00000000+AAAA"),
        lambda content: content.update(members=None),
        lambda content: content["members"].append(content["members"][0]),
        lambda content: content["members"][0].update(name=5),
        lambda content: content["members"][0].update(sha256="0 0"),
        lambda content: content["omitted"][0].update(reason="because"),
        lambda content: content["omitted"][0].update(name=None),
        lambda content: content["consistency"][0].update(old_size=0),
        lambda content: content["consistency"][0].update(old_size=True),
        lambda content: content["consistency"][0].update(old_size=1 << 63),
        lambda content: content["consistency"][0].update(hashes=["AAAA"]),
        lambda content: content["consistency"][0].update(hashes=["%"]),
        lambda content: content["consistency"][0].update(hashes=["A" * 42 + "E="] * 65),
        lambda content: content.pop("omitted"),
    ],
)
def test_no_other_content_is_taken(change):
    content = json.loads(MANIFEST.encoded())
    change(content)
    with pytest.raises(ExportError):
        Manifest.decoded((json.dumps(content, indent=1) + "\n").encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, MANIFEST.encoded()[:-1]], ids=len
)
def test_no_other_text_is_taken(data):
    with pytest.raises(ExportError):
        Manifest.decoded(data)


def test_receipts_are_named_by_their_place():
    assert receipt_index(receipt_member(17)) == 17
    for name in (
        "receipts/17.json",
        "receipts/-000000000000000001.json",
        "checkpoint",
        "receipts/",
    ):
        assert receipt_index(name) is None
