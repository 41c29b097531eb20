from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from audit.cosignature import (
    CLOCK_SKEW_SECONDS,
    Cosignature,
    Witness,
    WitnessPolicy,
    cosign,
    verify_cosignatures,
)
from audit.errors import NoteError, SignatureError, WitnessError
from audit.keys import SigningKey, verify_signature
from audit.merkle import EMPTY_ROOT
from audit.signed_note import KeyType, NoteKey, NoteSignature, sign_note

ORIGIN = "log.example/one"
KEY = SigningKey.from_secret(bytes(range(32)))
KNOWN = NoteKey(ORIGIN, KEY.public)
CHECKPOINT = Checkpoint(ORIGIN, 20852163, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, KEY)
ROOT = base64.b64encode(bytes(range(32))).decode()

WITNESSES = [SigningKey.from_secret(bytes([number]) * 32) for number in range(1, 4)]
NAMES = [f"witness.example/w{number}" for number in range(1, 4)]
NOW = 1679315147
POLICY = WitnessPolicy(
    tuple(
        Witness(NoteKey(name, key.public, KeyType.COSIGNATURE))
        for name, key in zip(NAMES, WITNESSES, strict=True)
    ),
    2,
)


def cosigned(*numbers, time_seconds=NOW, note=NOTE):
    lines = [cosign(note, NAMES[at], WITNESSES[at], time_seconds) for at in numbers]
    return note.with_signatures(lines)


def test_a_checkpoint_comes_back():
    assert verify_checkpoint(NOTE.encoded(), KNOWN) == (CHECKPOINT, NOTE)
    assert NOTE.text == f"{ORIGIN}\n20852163\n{ROOT}\n"


def test_the_published_checkpoint_is_read():
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    found = Checkpoint.from_text(text)
    assert (found.origin, found.size, found.text()) == (
        "example.com/behind-the-sofa",
        20852163,
        text,
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n1\n{ROOT}\nextension\n",
        f"{ORIGIN}\n1\n{ROOT}\n\n",
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n1\n{ROOT}",
        f"{ORIGIN}\n01\n{ROOT}\n",
        f"{ORIGIN}\n-1\n{ROOT}\n",
        f"{ORIGIN}\n+1\n{ROOT}\n",
        f"{ORIGIN}\n1 \n{ROOT}\n",
        f"{ORIGIN}\n\u0661\n{ROOT}\n",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{ORIGIN}\n{1 << 63}\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
        f"{ORIGIN}\n1\n{ROOT[:-1]}\n",
        f"{ORIGIN}\n1\n{ROOT}=\n",
        f"{ORIGIN}\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\n1\n_{ROOT[1:]}\n",
        f"\n1\n{ROOT}\n",
        f"a b\n1\n{ROOT}\n",
    ],
)
def test_malformed_checkpoints_are_refused_though_signed(text):
    with pytest.raises(NoteError):
        verify_checkpoint(sign_note(text, ORIGIN, KEY).encoded(), KNOWN)


def test_a_checkpoint_of_another_log_is_refused():
    other = Checkpoint("log.example/two", 1, bytes(32))
    with pytest.raises(NoteError, match="expected"):
        verify_checkpoint(sign_note(other.text(), ORIGIN, KEY).encoded(), KNOWN)
    with pytest.raises(SignatureError):
        verify_checkpoint(sign_checkpoint(other, KEY).encoded(), KNOWN)


def test_a_checkpoint_by_another_key_is_refused():
    with pytest.raises(SignatureError):
        verify_checkpoint(sign_checkpoint(CHECKPOINT, SigningKey.generate()).encoded(), KNOWN)


def test_an_empty_log_has_one_root():
    assert Checkpoint.from_text(Checkpoint(ORIGIN, 0, EMPTY_ROOT).text()).size == 0
    with pytest.raises(NoteError):
        Checkpoint(ORIGIN, 0, bytes(32))


def test_a_cosignature_has_the_bytes_of_the_specification():
    line = cosign(NOTE, NAMES[0], WITNESSES[0], NOW)
    assert line.body[:8] == NOW.to_bytes(8, "big")
    message = f"cosignature/v1\ntime {NOW}\n{ORIGIN}\n20852163\n{ROOT}\n".encode()
    verify_signature(WITNESSES[0].public, line.body[8:], message)
    assert line.key_id == POLICY.witnesses[0].key.key_id
    assert line.key_id != NoteKey(NAMES[0], WITNESSES[0].public).key_id


def test_enough_witnesses_are_enough():
    found = verify_cosignatures(cosigned(0, 2), POLICY, NOW)
    assert found == (Cosignature(NAMES[0], NOW), Cosignature(NAMES[2], NOW))


def test_of_two_cosignatures_of_one_witness_the_later_counts_once():
    note = cosigned(0, 1).with_signatures([cosign(NOTE, NAMES[0], WITNESSES[0], NOW - 9)])
    assert verify_cosignatures(note, POLICY, NOW)[0] == Cosignature(NAMES[0], NOW)
    twice = cosigned(0).with_signatures([cosign(NOTE, NAMES[0], WITNESSES[0], NOW - 9)])
    with pytest.raises(WitnessError, match="1 of 3"):
        verify_cosignatures(twice, POLICY, NOW)


@pytest.mark.parametrize("numbers", [(), (1,)])
def test_too_few_witnesses_are_refused(numbers):
    with pytest.raises(WitnessError):
        verify_cosignatures(cosigned(*numbers), POLICY, NOW)


def test_strangers_do_not_count():
    stranger = SigningKey.generate()
    note = cosigned(0).with_signatures([cosign(NOTE, NAMES[1], stranger, NOW)])
    with pytest.raises(WitnessError):
        verify_cosignatures(note, POLICY, NOW)


def test_a_cosignature_of_another_checkpoint_is_refused():
    other = sign_checkpoint(replace(CHECKPOINT, root=bytes(32)), KEY)
    moved = NOTE.with_signatures(cosigned(0, 1, note=other).signatures[1:])
    with pytest.raises(SignatureError):
        verify_cosignatures(moved, POLICY, NOW)


def test_a_cosignature_with_another_time_is_refused():
    line = cosign(NOTE, NAMES[0], WITNESSES[0], NOW)
    later = NoteSignature(line.name, line.key_id, (NOW + 1).to_bytes(8, "big") + line.body[8:])
    with pytest.raises(SignatureError):
        verify_cosignatures(cosigned(1, 2).with_signatures([later]), POLICY, NOW)


def test_a_cosignature_from_the_future_is_refused():
    edge = cosigned(0, 1, time_seconds=NOW + CLOCK_SKEW_SECONDS)
    assert len(verify_cosignatures(edge, POLICY, NOW)) == 2
    with pytest.raises(SignatureError, match="future"):
        verify_cosignatures(edge, POLICY, NOW - 1)


@pytest.mark.parametrize("body", [b"x", bytes(71), bytes(73)])
def test_a_cosignature_of_the_wrong_size_is_refused(body):
    line = NoteSignature(NAMES[0], POLICY.witnesses[0].key.key_id, body)
    with pytest.raises(SignatureError):
        verify_cosignatures(cosigned(1, 2).with_signatures([line]), POLICY, NOW)


@pytest.mark.parametrize("threshold", [0, 4])
def test_policies_nobody_can_fail_or_meet_are_refused(threshold):
    with pytest.raises(NoteError):
        replace(POLICY, threshold=threshold)


def test_one_witness_cannot_stand_for_two():
    one = POLICY.witnesses[0]
    for key in (
        replace(one.key, name="witness.example/twin"),
        replace(one.key, public=bytes(32)),
    ):
        twin = Witness(key)
        with pytest.raises(NoteError, match="own name"):
            WitnessPolicy((one, twin), 2)


def test_witnesses_do_not_sign_as_logs_do():
    with pytest.raises(NoteError, match="no key for cosignatures"):
        Witness(NoteKey(NAMES[0], WITNESSES[0].public))


@pytest.mark.parametrize("time_seconds", [-1, 1 << 63])
def test_times_that_are_no_times_are_refused(time_seconds):
    with pytest.raises(NoteError):
        cosign(NOTE, NAMES[0], WITNESSES[0], time_seconds)
