from __future__ import annotations

import stat
import threading

import pytest

from audit.errors import ArchiveUnavailableError, ObjectDamagedError, ObjectErasedError
from audit.sealing import FORMAT, OVERHEAD, SealingKeys

DATA = b"age=71;smoker=1" * 10
OBJECT = ("clinic", "request", b"n" * 16)


def test_what_was_sealed_is_unsealed_and_shows_nothing(sealing_keys):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    assert sealing_keys.unseal(*OBJECT, sealed) == DATA
    assert len(sealed) == len(DATA) + OVERHEAD
    assert b"age" not in sealed
    assert sealing_keys.seal(*OBJECT, DATA) != sealed  # another nonce


def test_every_altered_byte_is_found(sealing_keys):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    for at in range(len(sealed)):
        altered = bytearray(sealed)
        altered[at] ^= 1
        # Whoever alters the name of the key is told that there is no such key.
        expected = ObjectErasedError if 0 <= at - len(FORMAT) < 16 else ObjectDamagedError
        with pytest.raises(expected):
            sealing_keys.unseal(*OBJECT, bytes(altered))
    for short in (b"", sealed[:-1], sealed[: OVERHEAD - 1]):
        with pytest.raises(ObjectDamagedError):
            sealing_keys.unseal(*OBJECT, short)


@pytest.mark.parametrize(
    "other", [("clinic", "response", b"n" * 16), ("clinic", "request", b"m" * 16)]
)
def test_no_object_stands_for_another(sealing_keys, other):
    with pytest.raises(ObjectDamagedError):
        sealing_keys.unseal(*other, sealing_keys.seal(*OBJECT, DATA))


def test_no_tenant_reads_what_is_anothers(sealing_keys, tmp_path):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    with pytest.raises(ObjectErasedError):
        sealing_keys.unseal("other", *OBJECT[1:], sealed)
    sealing_keys.seal("other", *OBJECT[1:], DATA)
    with pytest.raises(ObjectErasedError):
        sealing_keys.unseal("other", *OBJECT[1:], sealed)
    # Nor by exchanging the keys: the tenant is authenticated.
    one, two = (tmp_path / "sealing").iterdir()
    one.write_bytes(two.read_bytes())
    sealed = sealing_keys.seal(*OBJECT, DATA)
    with pytest.raises(ObjectDamagedError):
        sealing_keys.unseal("other", *OBJECT[1:], sealed)


def test_keys_are_private_and_outlive_the_process(sealing_keys, tmp_path):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    (path,) = (tmp_path / "sealing").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "clinic" not in path.name
    assert SealingKeys(tmp_path / "sealing").unseal(*OBJECT, sealed) == DATA


def test_an_erased_key_makes_its_objects_unreadable_for_ever(sealing_keys, tmp_path):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    other = sealing_keys.seal("other", *OBJECT[1:], DATA)
    assert sealing_keys.erase("clinic")
    assert not sealing_keys.erase("clinic")
    assert len(list((tmp_path / "sealing").iterdir())) == 1
    with pytest.raises(ObjectErasedError, match="was erased"):
        sealing_keys.unseal(*OBJECT, sealed)
    newer = sealing_keys.seal(*OBJECT, DATA)  # under a new key
    assert sealing_keys.unseal(*OBJECT, newer) == DATA
    with pytest.raises(ObjectErasedError):
        sealing_keys.unseal(*OBJECT, sealed)
    assert sealing_keys.unseal("other", *OBJECT[1:], other) == DATA


def test_a_half_erased_key_seals_nothing(sealing_keys, tmp_path):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    (path,) = (tmp_path / "sealing").iterdir()
    path.write_bytes(bytes(32))
    with pytest.raises(ObjectErasedError):
        sealing_keys.unseal(*OBJECT, sealed)
    with pytest.raises(ArchiveUnavailableError, match="half erased"):
        sealing_keys.seal(*OBJECT, DATA)
    assert sealing_keys.erase("clinic")
    sealing_keys.seal(*OBJECT, DATA)


def test_a_damaged_key_is_neither_used_nor_replaced(sealing_keys, tmp_path):
    sealed = sealing_keys.seal(*OBJECT, DATA)
    (path,) = (tmp_path / "sealing").iterdir()
    path.write_bytes(b"short")
    for attempt in (
        lambda: sealing_keys.seal(*OBJECT, DATA),
        lambda: sealing_keys.unseal(*OBJECT, sealed),
    ):
        with pytest.raises(ArchiveUnavailableError, match="damaged"):
            attempt()
    assert path.read_bytes() == b"short"


def test_keys_that_cannot_be_kept_are_a_typed_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArchiveUnavailableError):
        SealingKeys(tmp_path / "file")
    keys = SealingKeys(tmp_path / "sealing")
    (tmp_path / "sealing").rmdir()
    with pytest.raises(ArchiveUnavailableError):
        keys.seal(*OBJECT, DATA)


def test_many_who_seal_first_use_one_key(tmp_path):
    sealed, barrier = [], threading.Barrier(8)

    def seal():
        keys = SealingKeys(tmp_path / "sealing")
        barrier.wait()
        sealed.append(keys.seal(*OBJECT, DATA))

    threads = [threading.Thread(target=seal) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = SealingKeys(tmp_path / "sealing")
    assert [keys.unseal(*OBJECT, one) for one in sealed] == [DATA] * 8
