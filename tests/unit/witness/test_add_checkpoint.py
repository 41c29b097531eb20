from __future__ import annotations

import base64

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.signed_note import sign_note
from tests.unit.audit.example_receipts import LOG, ORIGIN
from tests.unit.witness.watched_log import request
from witness.add_checkpoint import MAX_BODY_BYTES, MAX_HASHES, AddCheckpoint
from witness.errors import RefusedError

CHECKPOINT = Checkpoint(ORIGIN, 9, bytes(32))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
GOOD = request(7, (b"a" * 32, b"b" * 32), NOTE)
HASH = base64.b64encode(bytes(32))


def test_a_request_is_read():
    found = AddCheckpoint.decoded(GOOD)
    assert found == AddCheckpoint(7, (b"a" * 32, b"b" * 32), CHECKPOINT, NOTE)
    assert AddCheckpoint.decoded(request(0, (), NOTE)).proof == ()


def test_the_request_of_the_specification_is_read():
    body = (
        "old 20852014\n"
        "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
        "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
        "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
        "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
        "\n"
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        "\n"
        "\N{EM DASH} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4U"
        "RYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    )
    found = AddCheckpoint.decoded(body.encode())
    assert (found.old_size, len(found.proof), found.checkpoint.size) == (20852014, 4, 20852163)


def test_the_longest_proof_is_read_and_no_longer_one():
    longest = request(7, (bytes(32),) * MAX_HASHES, NOTE)
    assert len(AddCheckpoint.decoded(longest).proof) == MAX_HASHES
    assert len(longest) < MAX_BODY_BYTES
    with pytest.raises(RefusedError, match="at most 63 lines"):
        AddCheckpoint.decoded(request(7, (bytes(32),) * (MAX_HASHES + 1), NOTE))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"old 7\n",
        GOOD.replace(b"old 7", b"old 07"),
        GOOD.replace(b"old 7", b"old  7"),
        GOOD.replace(b"old 7", b"Old 7"),
        GOOD.replace(b"old 7", b"old -7"),
        GOOD.replace(b"old 7", b"old 7\r"),
        GOOD.replace(b"old 7", b"old 10"),
        GOOD.replace(b"old 7", b"old " + b"9" * 5000),
        GOOD.replace(b"old 7\n", b"old 7\n" + HASH[:-1] + b"\n"),
        GOOD.replace(b"old 7\n", b"old 7\nAAAA\n"),
        GOOD.replace(b"old 7\n", b"old 7\n\n"),
        GOOD.replace(b"old 7\n", b"old 7\n\xff\n"),
        b"old 7\n" + NOTE.encoded(),
        request(0, (), sign_note(f"{CHECKPOINT.text()}extension\n", ORIGIN, LOG)),
        request(0, (), sign_note("x\n", ORIGIN, LOG)),
        GOOD[:-1],
        GOOD + b"\n",
    ],
)
def test_malformed_requests_are_bad_requests(body):
    with pytest.raises(RefusedError) as caught:
        AddCheckpoint.decoded(body)
    assert caught.value.status == 400
