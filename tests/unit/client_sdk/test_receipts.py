from __future__ import annotations

from dataclasses import replace

import pytest

from audit.cosignature import Witness, WitnessPolicy, cosign
from audit.errors import (
    AuditError,
    NoteError,
    PolicyError,
    ReceiptError,
    SignatureError,
    WitnessError,
)
from audit.keys import SigningKey
from audit.signed_note import KeyType, NoteKey
from audit.witness_policy import encode_policy
from client_sdk import (
    AsyncClient,
    EncodingError,
    LogKeyError,
    ParameterError,
    ReceiptMissingError,
    ReceiptTimeError,
    verify_receipt,
)
from client_sdk.receipts import stated_account
from tests.unit.audit.example_receipts import CLIENT, LOG_KEY
from tests.unit.audit.test_proven_receipt import PROVEN, SIZE

WITNESS = SigningKey.generate()
NAMED = NoteKey("witness.example/1", WITNESS.public, KeyType.COSIGNATURE)
POLICY = WitnessPolicy((Witness(NAMED),), 1)
SIGNED = replace(PROVEN, signed=PROVEN.signed.countersigned(CLIENT))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text(PROVEN.to_json())
    return path


@pytest.mark.parametrize("key", [LOG_KEY, LOG_KEY.encoded()])
def test_a_receipt_file_is_verified_offline(path, key):
    verified = verify_receipt(path, key)
    assert verified.receipt == PROVEN.signed.receipt
    assert (verified.index, verified.checkpoint.size) == (PROVEN.index, SIZE)
    assert (verified.cosignatures, verified.client_key) == ((), None)


def test_every_alteration_of_a_receipt_file_is_refused(path):
    """One letter or digit at a time: there is no byte that nothing checks."""
    text = SIGNED.to_json()
    path.write_text(text)
    assert verify_receipt(path, LOG_KEY).client_key == CLIENT.public
    for at in range(0, len(text), 3):
        other = "b" if text[at] != "b" else "c"
        path.write_text(text[:at] + other + text[at + 1 :])
        with pytest.raises((AuditError, EncodingError)):
            verify_receipt(path, LOG_KEY)


def test_the_clients_signature_is_checked_if_there_is_one(path):
    path.write_text(SIGNED.to_json())
    assert verify_receipt(path, LOG_KEY, client_key=CLIENT.public.hex()).client_key == CLIENT.public
    with pytest.raises(SignatureError, match="expected"):
        verify_receipt(path, LOG_KEY, client_key=bytes(32))
    client = replace(SIGNED.signed.client, signature=bytes(64))
    path.write_text(replace(SIGNED, signed=replace(SIGNED.signed, client=client)).to_json())
    with pytest.raises(SignatureError, match="no signature of key"):
        verify_receipt(path, LOG_KEY)


def test_a_client_that_should_have_signed_is_missed(path):
    with pytest.raises(SignatureError, match="the client has not signed"):
        verify_receipt(path, LOG_KEY, client_key=CLIENT.public)


@pytest.mark.parametrize("key", ["xyz", "00" * 31, b"short"])
def test_a_malformed_client_key_is_refused(path, key):
    with pytest.raises(ReceiptError, match="a client's key"):
        verify_receipt(path, LOG_KEY, client_key=key)


@pytest.mark.accepts("C-97")
@pytest.mark.rejects("C-97")
def test_witnesses_are_counted_if_a_policy_asks_for_them(path, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(encode_policy(POLICY))
    for given in (POLICY, policy, str(policy)):
        with pytest.raises(WitnessError, match="0 of 1"):
            verify_receipt(path, LOG_KEY, witnesses=given)
    line = cosign(PROVEN.checkpoint, NAMED.name, WITNESS, 1_767_225_600)
    cosigned = replace(PROVEN, checkpoint=PROVEN.checkpoint.with_signatures([line]))
    path.write_text(cosigned.to_json())
    for given in (POLICY, policy, str(policy)):
        verified = verify_receipt(path, LOG_KEY, witnesses=given)
        assert [each.witness for each in verified.cosignatures] == [NAMED.name]


def test_a_file_that_is_none_is_refused(path, tmp_path):
    with pytest.raises(EncodingError, match=r"missing\.json: No such file"):
        verify_receipt(tmp_path / "missing.json", LOG_KEY)
    path.write_bytes(b"\xff")
    with pytest.raises(ReceiptError, match="not UTF-8"):
        verify_receipt(path, LOG_KEY)
    path.write_bytes(b" " * (1 << 20))
    with pytest.raises(EncodingError, match="more than"):
        verify_receipt(path, LOG_KEY)
    with pytest.raises(NoteError, match="not a verifier key"):
        verify_receipt(path, "key")


@pytest.mark.parametrize("text", ["", "Dr Who", "a@b.example", "x" * 129, "-x", "a\nb", "ü"])
@pytest.mark.parametrize("name", ["tenant", "actor"])
def test_what_no_receipt_takes_is_refused_before_anything_is_sent(store, name: str, text: str):
    with pytest.raises(ParameterError, match=name) as caught:
        AsyncClient("127.0.0.1:1", model=bytes(32), keys=store, **{name: text})
    assert not text or text not in str(caught.value)


def test_a_purpose_is_a_code(store):
    assert stated_account("t", None, "TREAT").purpose == "TREAT"
    with pytest.raises(ReceiptError, match="expected one of TREAT, ETREAT"):
        AsyncClient("127.0.0.1:1", model=bytes(32), keys=store, purpose="treatment")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"log_key": "key"}, NoteError),
        ({"witnesses": "/nowhere/policy.json"}, PolicyError),
        ({"retries": -1}, ParameterError),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_once(store, options, error):
    with pytest.raises(error):
        AsyncClient("127.0.0.1:1", model=bytes(32), keys=store, **options)


def test_a_client_shows_the_pinned_key(store):
    pinned = AsyncClient("127.0.0.1:1", model=bytes(32), keys=store, log_key=LOG_KEY)
    assert pinned.log_key == LOG_KEY.encoded()
    assert AsyncClient("127.0.0.1:1", model=bytes(32), keys=store).log_key is None


def test_every_refusal_of_a_receipt_has_one_base():
    for kind in (LogKeyError, ReceiptMissingError, ReceiptTimeError, WitnessError):
        assert issubclass(kind, AuditError)
