from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from audit.bls import BlsKey
from audit.cosignature import MAX_WITNESSES, Witness, WitnessPolicy
from audit.errors import NoteError, PolicyError
from audit.signed_note import KeyType, NoteKey
from audit.witness_policy import (
    MAX_FILE_BYTES,
    decode_policy,
    decode_witness,
    encode_policy,
    encode_witness,
    read_policy,
    require_url,
)


def witness(number: int, **changes) -> Witness:
    key = NoteKey(f"witness.example/w{number}", bytes([number]) * 32, KeyType.COSIGNATURE)
    return replace(Witness(key), **changes)


POLICY = WitnessPolicy(
    (
        witness(1, url="https://w1.example/submit", bls=BlsKey(b"k" * 48, b"p" * 96)),
        witness(2, url="http://127.0.0.1:8000"),
        witness(3),
    ),
    2,
)


def altered(change) -> bytes:
    content = json.loads(encode_policy(POLICY))
    change(content)
    return json.dumps(content).encode()


def first(content):
    return content["witnesses"][0]


def test_a_policy_comes_back(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(encode_policy(POLICY))
    assert read_policy(path) == POLICY


def test_an_entry_comes_back():
    for each in POLICY.witnesses:
        assert decode_witness(encode_witness(each).encode()) == each


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it.update(format="something else"), "format"),
        (lambda it: it.pop("threshold"), "'threshold': field required"),
        (lambda it: it.update(threshold="2"), "threshold"),
        (lambda it: it.update(threshold=2.0), "threshold"),
        (lambda it: it.update(threshold=0), "asks for 1 to 3"),
        (lambda it: it.update(threshold=4), "asks for 1 to 3"),
        (lambda it: it.update(witnesses=[]), "names 1 to"),
        (lambda it: it.update(more=1), "more"),
        (lambda it: first(it).update(weight=2), "weight"),
        (lambda it: first(it).pop("key"), "key"),
        (lambda it: first(it).update(key="w+0+0"), "not a verifier key"),
        (lambda it: first(it).update(name="witness.example/other"), "one of the two is wrong"),
        (lambda it: first(it).pop("bls_proof"), "come together"),
        (lambda it: first(it).update(bls_key="!"), "bls_key"),
        (lambda it: first(it).update(bls_key=base64.b64encode(bytes(47)).decode()), "48 bytes"),
        (lambda it: first(it).update(url="http://w1.example"), "only on this machine"),
        (lambda it: first(it).update(url="https://w1.example/?x"), "https://host/prefix"),
        (lambda it: it["witnesses"].append(first(it)), "own name and its own key"),
        (lambda it: it.update(witnesses=[first(it)] * (MAX_WITNESSES + 1)), "witnesses"),
    ],
)
def test_what_is_no_policy_is_refused_with_what_is_wrong(change, said):
    with pytest.raises(PolicyError, match=said):
        decode_policy(altered(change))


def test_keys_of_logs_are_no_keys_of_witnesses():
    log = NoteKey("witness.example/w1", bytes(32))
    with pytest.raises(PolicyError, match="no key for cosignatures"):
        decode_policy(altered(lambda it: first(it).update(key=log.encoded())))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{" * 5000, b"null", b'"x"'])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(PolicyError):
        decode_policy(data)
    with pytest.raises(PolicyError):
        decode_witness(data)


def test_files_are_read_within_bounds_and_named(tmp_path):
    path = tmp_path / "policy.json"
    with pytest.raises(PolicyError, match=r"policy\.json: cannot be read"):
        read_policy(path)
    path.write_bytes(encode_policy(POLICY).encode() + b" " * MAX_FILE_BYTES)
    with pytest.raises(PolicyError, match=r"policy\.json: .*at most"):
        read_policy(path)
    with pytest.raises(PolicyError, match="at most"):
        decode_witness(b" " * (MAX_FILE_BYTES + 1))


def test_as_many_witnesses_as_fit_in_a_note_are_allowed():
    many = tuple(witness(number) for number in range(1, MAX_WITNESSES + 2))
    assert len(WitnessPolicy(many[:-1], MAX_WITNESSES).witnesses) == MAX_WITNESSES
    with pytest.raises(NoteError, match="names 1 to"):
        WitnessPolicy(many, 1)


@pytest.mark.parametrize(
    "url",
    ["https://w.example", "https://w.example:8443/a/b", "http://localhost:1", "http://[::1]:80/"],
)
def test_urls_that_may_be_asked(url):
    require_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "w.example",
        "ftp://w.example",
        "http://w.example",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "https://",
        "https://user@w.example",
        "https://w.example/#x",
        "https://w.example:99999",
        "https://[::1",
    ],
)
def test_urls_that_may_not(url):
    with pytest.raises(PolicyError):
        require_url(url)
