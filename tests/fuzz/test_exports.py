"""Random changes of an export: never a crash, and never accepted while they mean anything.

Zip binds every byte of the file here (`blindproof.auditing.container`).  Of archived messages, what
is bound by nothing is what `blindproof.auditing.rebuilding` names: the server's timings, the size
beside the log head, and whatever protobuf reads as the same message.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from audit.receipt import Action, Digests, Outcome
from blindproof.auditing.errors import ExportError
from blindproof.auditing.findings import Status
from blindproof.auditing.manifest import Kind, Manifest
from blindproof.auditing.rebuilding import Model, rebuild
from blindproof.demo.altered_exports import with_members
from client_sdk.evidence import encode_evidence
from tests.unit.blindproof.auditing.example_trail import (
    Answer,
    ExampleTrail,
    answer,
    enrolment,
    verified,
)

RAW, REWRITTEN = 600, 200
ANSWERS = (answer(1), answer(4))


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory: Path = tmp_path_factory.mktemp("fuzz")
    trail = ExampleTrail(directory)
    digests = Digests(key=enrolment().key.digest)
    trail.happened(Action.ENROL_KEY, Outcome.ANSWERED, digests=digests)
    for given in ANSWERS:
        trail.countersigned(trail.answered(given))
    trail.export(directory / "trail.zip")
    return (directory / "trail.zip").read_bytes()


def changed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    match rng.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + rng.randbytes(rng.randrange(1, 20)) + data[at:]
        case 2:
            end = min(len(data), at + rng.randrange(1, 100))
            return data[:at] + data[end:]
        case _:
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def refused(data: bytes, *, proofs: bool) -> bool:
    """Anything but the typed error fails the test by itself."""
    try:
        return verified(data, proofs=proofs).status is Status.FAILED
    except ExportError:
        return True


@pytest.mark.rejects("C-99")
def test_no_byte_of_the_file_may_change(genuine):
    rng = random.Random("raw")
    assert not refused(genuine, proofs=True)
    for _ in range(RAW):
        data = changed(genuine, rng)
        # The directory at the end has a share of its own, it is so much smaller than the rest.
        if rng.random() < 0.3:
            data = genuine[:-2500] + changed(genuine[-2500:], rng)
        assert data == genuine or refused(data, proofs=False)


@pytest.mark.rejects("C-99")
def test_no_content_may_change_even_if_all_hashes_fit(genuine):
    rng = random.Random("rewritten")
    accepted = 0
    for _ in range(REWRITTEN):
        kept: dict[str, bytes] = {}

        def alter(members: dict[str, bytes], kept: dict[str, bytes] = kept) -> None:
            name = rng.choice(sorted(members))
            data = members[name]
            # Headers and framing are at the beginning, words and proofs everywhere.
            head = rng.random() < 0.5 and len(data) > 400
            members[name] = changed(data[:400], rng) + data[400:] if head else changed(data, rng)
            kept.update(members)

        data = with_members(genuine, alter)
        if data != genuine and not refused(data, proofs=True):
            assert means_the_same(kept)
            accepted += 1
    assert accepted < REWRITTEN // 10


def means_the_same(members: dict[str, bytes]) -> bool:
    """Whether all that is read from requests and answers is what was."""
    return all(evidence(given, members) == evidence(given, None) for given in ANSWERS)


def evidence(given: Answer, members: dict[str, bytes] | None) -> bytes:
    name = given.receipt.receipt_id
    request, response = given.request_object, given.response_object
    if members is not None:
        request = members[Kind.REQUEST.member(name)]
        response = members[Kind.RESPONSE.member(name)]
    bundle = given.job.bundle
    model = Model(bundle.card, bundle.registration_proof)
    return encode_evidence((rebuild(model, given.enrolment, request, response).evidence,))


def test_no_manifest_crashes_the_reader():
    rng = random.Random("manifest")
    manifest = {
        "format": "blindproof audit export 1",
        "log_key": "log+00000000+AAAA",
        "consistency": [{"old_size": 1, "hashes": ["AAAA"]}],
        "omitted": [{"name": "a", "reason": "b"}],
        "members": [{"name": "a", "sha256": "00"}],
    }
    values = [None, True, -1, 1 << 80, 1e400, "", "é\ud800", [], {}, [[]], {"name": []}]
    for _ in range(2000):
        content = json.loads(json.dumps(manifest))
        name = rng.choice(list(content))
        if rng.random() < 0.5 or not isinstance(content[name], list):
            content[name] = rng.choice(values)
        else:
            inside = content[name][0]
            inside[rng.choice(list(inside))] = rng.choice(values)
        with pytest.raises(ExportError):
            Manifest.decoded((json.dumps(content, indent=1) + "\n").encode())
        with pytest.raises(ExportError):
            Manifest.decoded(changed(json.dumps(content).encode(), rng))
