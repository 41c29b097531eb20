from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import NoteError, SignatureError
from audit.keys import SigningKey
from audit.signed_note import (
    MAX_SIGNATURES,
    KeyType,
    NoteKey,
    NoteSignature,
    SignedNote,
    sign_note,
    verify_note,
)

# The example in the documentation of golang.org/x/mod/sumdb/note.
GO_SECRET = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNX"
    "gKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
# The examples in c2sp.org/signed-note and c2sp.org/tlog-cosignature; their keys are not published.
C2SP_NOTE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU"
    "0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
C2SP_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q"
    "1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2o"
    "yin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
KEY = SigningKey.from_secret(bytes(range(32)))
NAME = "log.example/one"
KNOWN = NoteKey(NAME, KEY.public)


def test_the_published_note_verifies_and_is_what_signing_writes():
    key = NoteKey.decoded(GO_KEY)
    assert (key.name, key.kind, key.encoded()) == ("PeterNeumann", KeyType.ED25519, GO_KEY)
    note = SignedNote.decoded(GO_NOTE)
    verify_note(note, key)
    assert note.text == GO_TEXT
    secret = SigningKey.from_secret(base64.b64decode(GO_SECRET)[1:])
    assert secret.public == key.public
    assert sign_note(GO_TEXT, "PeterNeumann", secret).encoded() == GO_NOTE


@pytest.mark.parametrize("text", [C2SP_NOTE, C2SP_CHECKPOINT], ids=["note", "checkpoint"])
def test_notes_of_the_specifications_come_back(text):
    note = SignedNote.decoded(text.encode())
    assert note.encoded() == text.encode()
    assert text.startswith(note.text)
    with pytest.raises(SignatureError, match="no signature of"):
        verify_note(note, KNOWN)


@given(st.text(max_size=40), st.lists(st.binary(min_size=5, max_size=80), min_size=1, max_size=4))
def test_whatever_can_be_written_comes_back(text, bodies):
    try:
        lines = tuple(NoteSignature(NAME, body[:4], body[4:]) for body in bodies)
        note = SignedNote(text + "\n", lines)
    except NoteError:
        return
    assert SignedNote.decoded(note.encoded()) == note


@given(st.data())
def test_no_change_of_a_byte_verifies(data):
    original = sign_note("origin\n3\nroot\n", NAME, KEY).encoded()
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[at]))
    with pytest.raises((NoteError, SignatureError)):
        verify_note(SignedNote.decoded(original[:at] + bytes((byte,)) + original[at + 1 :]), KNOWN)


def _line(data):
    return f"— {NAME} {data}\n"


GOOD = "AAAAAAE="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text\n",
        "text\n\n",
        f"text\n{_line(GOOD)}",
        f"\n{_line(GOOD)}",
        f"\n\n{_line(GOOD)}",
        f"text\n\n{_line(GOOD)}trailing",
        f"text\n\n{_line(GOOD)}trailing\n",
        f"text\n\n{_line(GOOD)}\n",
        f"te\rxt\n\n{_line(GOOD)}",
        f"te\x00xt\n\n{_line(GOOD)}",
        f"text\n\n{_line(GOOD)[:-1]}",
        f"text\n\n{_line('AAAAAAF=')}",
        f"text\n\n{_line('AAAAAAE')}",
        f"text\n\n{_line('AAAAAA==')}",
        f"text\n\n{_line('AAAA')}",
        f"text\n\n{_line('AAAA AAE=')}",
        f"text\n\n{_line('')}",
        f"text\n\n- {NAME} {GOOD}\n",
        f"text\n\n—{NAME} {GOOD}\n",
        f"text\n\n— {GOOD}\n",
        f"text\n\n—  {GOOD}\n",
        f"text\n\n— a+b {GOOD}\n",
        f"text\n\n— a\u2003b {GOOD}\n",
        f"text\n\n{_line(GOOD) * (MAX_SIGNATURES + 1)}",
        "x" * (1 << 18) + f"\n\n{_line(GOOD)}",
    ],
)
def test_malformed_notes_are_refused(text):
    with pytest.raises(NoteError):
        SignedNote.decoded(text.encode())


def test_bytes_that_are_not_text_are_refused():
    with pytest.raises(NoteError, match="UTF-8"):
        SignedNote.decoded(b"\xff\n\n" + _line(GOOD).encode())


def test_lines_of_others_are_ignored_whatever_they_hold():
    note = sign_note("text\n", NAME, KEY)
    other = NoteSignature(NAME, b"\x00\x01\x02\x03", b"of another key of that name")
    verify_note(note.with_signatures([other]), KNOWN)


def test_one_false_line_of_a_known_key_is_too_much():
    note = sign_note("text\n", NAME, KEY)
    false = NoteSignature(NAME, KNOWN.key_id, bytes(64))
    with pytest.raises(SignatureError):
        verify_note(note.with_signatures([false]), KNOWN)


def test_a_line_stands_once():
    note = sign_note("text\n", NAME, KEY)
    assert note.with_signatures(note.signatures) == note


@pytest.mark.parametrize(
    "text",
    [
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("+AR", "+AB"),
        GO_KEY.replace("+AR", "+CR"),
        GO_KEY[:-1],
        GO_KEY + "A",
        GO_KEY.replace("PeterNeumann", ""),
        GO_KEY.replace("PeterNeumann", "Peter Neumann"),
        "name+00000000+AA==",
        "",
    ],
)
def test_malformed_keys_are_refused(text):
    with pytest.raises(NoteError):
        NoteKey.decoded(text)


def test_a_key_for_cosignatures_signs_no_text():
    note = sign_note("text\n", NAME, KEY)
    with pytest.raises(SignatureError):
        verify_note(note, NoteKey(NAME, KEY.public, KeyType.COSIGNATURE))
