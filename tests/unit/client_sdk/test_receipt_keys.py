"""What a key store has for receipts: the key that signs them, and the keys of pseudonyms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from audit.errors import ReceiptError
from audit.keys import verify_signature
from audit.pseudonyms import MAX_IDENTIFIER
from client_sdk.keystore import KeyStore, _Secrets
from protocol.errors import KeyStoreError

SUBJECT = "patient 4711"


def opened(tmp_path) -> KeyStore:
    return KeyStore(tmp_path / "keys", passphrase="right")


def test_the_key_is_made_once_and_stays(store: KeyStore, tmp_path):
    key = store.receipt_key()
    assert opened(tmp_path).receipt_key().public == key.public
    verify_signature(key.public, store.receipt_key().sign(b"message"), b"message")


def test_of_several_who_need_it_first_one_makes_it(store: KeyStore):
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: store.receipt_key().public, range(8)))
    assert len(made) == 1


def test_two_stores_have_two_keys(store: KeyStore, tmp_path):
    other = KeyStore(tmp_path / "other", passphrase="right")
    assert other.receipt_key().public != store.receipt_key().public
    assert other.pseudonym("clinic", SUBJECT) != store.pseudonym("clinic", SUBJECT)


def test_rotation_keeps_it_with_the_identity(store: KeyStore, tmp_path):
    key, client_id, named = store.receipt_key(), store.client_id, store.pseudonym("t", SUBJECT)
    store.rotate()
    assert (store.client_id, store.receipt_key().public) == (client_id, key.public)
    assert store.pseudonym("t", SUBJECT) == named


def test_it_is_under_the_passphrase(store: KeyStore, tmp_path):
    secret = store.receipt_key().secret()
    for path in (tmp_path / "keys").rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes()
    assert secret.hex() not in repr(store)


def test_a_store_from_before_receipts_is_read_and_gets_a_key(
    store: KeyStore, tmp_path, monkeypatch
):
    content = store._read()
    with monkeypatch.context() as older:
        older.setattr(_Secrets, "value", lambda self: _Secrets_value(self)[:-1])
        store._write(content)
    again = opened(tmp_path)
    assert again.client_id == content.client_id
    assert again._read().receipt_key is None
    assert again.receipt_key().public == opened(tmp_path).receipt_key().public


_Secrets_value = _Secrets.value


def test_a_subject_has_one_pseudonym_per_tenant(store: KeyStore, tmp_path):
    named = store.pseudonym("clinic", SUBJECT)
    assert len(named) == 32
    assert opened(tmp_path).pseudonym("clinic", SUBJECT) == named
    assert store.pseudonym("other", SUBJECT) != named
    assert store.pseudonym("clinic", "patient 4712") != named


def test_an_erased_key_does_not_come_back(store: KeyStore):
    named, other = store.pseudonym("clinic", SUBJECT), store.pseudonym("other", SUBJECT)
    assert store.erase_pseudonyms("clinic")
    assert not store.erase_pseudonyms("clinic")
    assert store.pseudonym("clinic", SUBJECT) != named
    assert store.pseudonym("other", SUBJECT) == other


@pytest.mark.rejects("C-101")
@pytest.mark.parametrize("identifier", ["", "x" * (MAX_IDENTIFIER + 1), "lone \ud800 surrogate"])
def test_an_identifier_that_is_refused_is_not_shown(store: KeyStore, identifier: str):
    with pytest.raises(ReceiptError) as caught:
        store.pseudonym("clinic", identifier)
    assert not identifier or identifier not in str(caught.value)


@pytest.mark.accepts("C-101")
def test_no_identifier_is_written_anywhere(store: KeyStore, tmp_path):
    store.pseudonym("clinic", SUBJECT)
    for path in (tmp_path / "keys").rglob("*"):
        assert SUBJECT not in str(path)
        if path.is_file():
            assert SUBJECT.encode() not in path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0


def test_a_key_that_cannot_be_made_is_a_store_that_cannot_be_used(store: KeyStore, tmp_path):
    (tmp_path / "keys" / "pseudonyms").touch()
    with pytest.raises(KeyStoreError, match="File exists"):
        store.pseudonym("clinic", SUBJECT)
