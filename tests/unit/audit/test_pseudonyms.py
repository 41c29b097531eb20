from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from audit.errors import ReceiptError
from audit.pseudonyms import MAX_IDENTIFIER, PseudonymKeys, pseudonym
from audit.signed_receipt import sign_receipt
from tests.unit.audit.example_receipts import RECEIPT, SERVER

KEY = bytes(range(32))


def test_a_pseudonym_is_of_key_tenant_and_identifier():
    found = pseudonym(KEY, "clinic", "patient 1")
    assert found == pseudonym(KEY, "clinic", "patient 1")
    assert len(found) == 32
    others = {
        pseudonym(bytes(32), "clinic", "patient 1"),
        pseudonym(KEY, "clinic2", "patient 1"),
        pseudonym(KEY, "clini", "cpatient 1"),
        pseudonym(KEY, "clinic", "patient 2"),
        pseudonym(KEY, "clinic", "patient 1 "),
    }
    assert len(others | {found}) == 6


@pytest.mark.parametrize(
    ("key", "identifier"),
    [(KEY, ""), (KEY, "x" * (MAX_IDENTIFIER + 1)), (KEY[:31], "x"), (KEY, "\ud800")],
)
def test_what_has_no_pseudonym_is_refused(key, identifier):
    with pytest.raises(ReceiptError):
        pseudonym(key, "clinic", identifier)


def test_keys_are_kept_in_private_files(tmp_path):
    keys = PseudonymKeys(tmp_path / "keys")
    first = keys.pseudonym("clinic", "patient 1")
    assert PseudonymKeys(tmp_path / "keys").pseudonym("clinic", "patient 1") == first
    assert keys.pseudonym("other", "patient 1") != first
    files = list((tmp_path / "keys").iterdir())
    assert len(files) == 2
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert all(b"clinic" not in file.name.encode() + file.read_bytes() for file in files)


def test_erasing_the_key_unlinks_and_leaves_receipts_valid(tmp_path):
    keys = PseudonymKeys(tmp_path)
    subject = keys.pseudonym("clinic", "patient 1")
    other = keys.pseudonym("other", "patient 1")
    signed = sign_receipt(replace(RECEIPT, subject=subject), SERVER)
    assert keys.erase("clinic")
    assert not keys.erase("clinic")
    assert keys.pseudonym("clinic", "patient 1") != subject
    assert keys.pseudonym("other", "patient 1") == other
    signed.verify_server(SERVER.public)


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(32)])
def test_a_damaged_or_half_erased_key_gives_no_pseudonym(tmp_path, content):
    keys = PseudonymKeys(tmp_path)
    keys.pseudonym("clinic", "patient 1")
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(ReceiptError, match="damaged"):
        keys.pseudonym("clinic", "patient 1")
