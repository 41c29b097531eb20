from __future__ import annotations

import os
import stat
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from protocol.encoding import encode
from protocol.errors import BlindproofError, EncodingError, ModelError
from server.bundles import bundle_of, card_of, parts_of
from server.refusals import Refusal
from server.registry import ModelRegistry
from server.storage import StorageError
from wire.bundle_file import (
    FORMAT,
    MAX_PRIVATE_BYTES,
    decode_bundle,
    encode_bundle,
    read_bundle,
    write_bundle,
)


def test_a_model_survives_a_bundle_file(tmp_path, bundle):
    path = tmp_path / "risk.blindproof"
    write_bundle(path, parts_of(bundle))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    carried = bundle_of(read_bundle(path))
    assert carried.card == bundle.card
    assert carried.registration_proof == bundle.registration_proof
    assert np.array_equal(carried.integers, bundle.integers)
    assert np.array_equal(carried.opening, bundle.opening)


def test_the_same_model_gives_the_same_bytes(bundle):
    assert encode_bundle(parts_of(bundle)) == encode_bundle(parts_of(replace(bundle)))


def test_a_public_bundle_is_verified_and_not_served(bundle):
    parts = decode_bundle(encode_bundle(parts_of(bundle, private=False)))
    assert parts.private is None
    assert card_of(parts) == bundle.card
    with pytest.raises(ModelError, match="has no weights"):
        bundle_of(parts)


def test_a_public_bundle_holds_no_weight(bundle):
    """Neither the integers nor the opening, in the encoding they are stored in."""
    data = encode_bundle(parts_of(bundle, private=False))
    assert bundle.opening.astype("<i1").tobytes()[:64] not in data
    assert bundle.integers.astype("<i8").tobytes() not in data


def test_a_public_bundle_with_another_registration_is_refused(bundle):
    proof = bytearray(bundle.registration_proof)
    proof[len(proof) // 2] ^= 1
    parts = replace(parts_of(bundle, private=False), registration=bytes(proof))
    with pytest.raises(BlindproofError):
        card_of(parts)


def test_a_registration_of_a_public_model_is_refused(public_bundle):
    parts = replace(parts_of(public_bundle), registration=b"proof")
    with pytest.raises(ModelError, match="no registration"):
        card_of(parts)


@pytest.mark.parametrize("at", [0.001, 0.3, 0.9999])
def test_an_altered_bundle_is_refused(bundle, at: float):
    data = bytearray(encode_bundle(parts_of(bundle)))
    data[int(at * len(data))] ^= 1
    with pytest.raises(BlindproofError):
        bundle_of(decode_bundle(bytes(data)))


def test_what_is_no_bundle_is_refused(bundle):
    parts = parts_of(bundle)
    whole = encode_bundle(parts)
    for data in (
        b"",
        whole[:-1],
        whole + b"\0",
        encode(("another format", parts.card, parts.registration, parts.private)),
        encode((FORMAT, parts.card, parts.registration)),
        encode((FORMAT, parts.card, parts.registration, "text")),
        encode((FORMAT, parts.card, parts.registration, bytes(MAX_PRIVATE_BYTES + 1))),
    ):
        with pytest.raises(EncodingError):
            decode_bundle(data)


def test_a_bundle_dropped_into_the_directory_is_served_until_it_is_removed(tmp_path, bundle):
    serving = ModelRegistry(tmp_path / "models")
    assert serving.load_all() == []
    path = tmp_path / "models" / "any name.blindproof"
    write_bundle(path, parts_of(bundle))
    assert [model.digest for model in serving.load_all()] == [bundle.digest]
    assert serving.get(bundle.digest).card == bundle.card
    path.unlink()
    with pytest.raises(Refusal, match="no model"):
        serving.get(bundle.digest)
    assert serving.load_all() == []


def test_a_file_that_is_still_being_copied_is_served_when_it_is_whole(tmp_path, bundle):
    serving = ModelRegistry(tmp_path / "models")
    path = tmp_path / "models" / "risk.blindproof"
    data = encode_bundle(parts_of(bundle))
    path.write_bytes(data[: len(data) // 2])
    with capture_logs() as logs:
        assert serving.load_all() == []
        assert serving.load_all() == []
    assert [line["event"] for line in logs] == ["model skipped"]
    path.write_bytes(data)
    assert [model.digest for model in serving.load_all()] == [bundle.digest]


def test_a_public_bundle_in_the_directory_is_skipped(tmp_path, bundle):
    serving = ModelRegistry(tmp_path / "models")
    write_bundle(tmp_path / "models" / "risk.blindproof", parts_of(bundle, private=False))
    with capture_logs() as logs:
        assert serving.load_all() == []
    assert "has no weights" in logs[0]["error"]


def test_a_directory_and_a_file_of_one_model_are_one_model(tmp_path, bundle):
    serving = ModelRegistry(tmp_path / "models")
    serving.publish(bundle)
    write_bundle(tmp_path / "models" / "copy.blindproof", parts_of(bundle))
    assert len(serving.load_all()) == 1


@pytest.mark.parametrize("damage", ["public", "forged", "directory"])
def test_no_other_file_hides_a_whole_model(tmp_path, bundle, damage):
    """A public copy beside the model is what `blindproof models export` leaves there."""
    models = tmp_path / "models"
    serving = ModelRegistry(models)
    parts = parts_of(bundle)
    write_bundle(models / "whole.blindproof", parts)
    if damage == "public":
        write_bundle(models / "a copy.blindproof", replace(parts, private=None))
    elif damage == "forged":
        write_bundle(models / "a copy.blindproof", replace(parts, registration=b"none"))
    else:
        (models / bundle.digest.hex()).mkdir()
    assert serving.get(bundle.digest).card == bundle.card
    assert [model.digest for model in serving.load_all()] == [bundle.digest]
    (models / "whole.blindproof").unlink()
    with pytest.raises(StorageError):
        serving.get(bundle.digest)


def test_what_is_no_file_is_skipped_without_waiting_for_it(tmp_path, bundle):
    """Opening a pipe would wait for a writer, and keep a thread of the server's for ever."""
    models = tmp_path / "models"
    serving = ModelRegistry(models)
    os.mkfifo(models / "a pipe.blindproof")
    (models / "device.blindproof").symlink_to("/dev/zero")
    (models / "dangling.blindproof").symlink_to(tmp_path / "nothing")
    (models / "directory.blindproof").mkdir()
    write_bundle(models / "whole.blindproof", parts_of(bundle))
    with capture_logs() as logs:
        assert [model.digest for model in serving.load_all()] == [bundle.digest]
        assert [model.digest for model in serving.load_all()] == [bundle.digest]
    assert len(logs) == 4
    (models / "whole.blindproof").unlink()
    directory = models / bundle.digest.hex()
    directory.mkdir()
    os.mkfifo(directory / "card.bin")
    with pytest.raises(StorageError, match="not a regular file"):
        serving.get(bundle.digest)


def test_a_card_of_another_digest_is_refused_before_it_is_parsed(tmp_path, bundle, monkeypatch):
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    card = tmp_path / "models" / bundle.digest.hex() / "card.bin"
    card.write_bytes(b"no card at all")
    monkeypatch.setattr("server.bundles.ModelCard", None)
    with pytest.raises(StorageError, match="the card has the digest"):
        ModelRegistry(tmp_path / "models").get(bundle.digest)


def test_what_was_used_longest_ago_is_read_again(tmp_path, bundle, public_bundle, monkeypatch):
    monkeypatch.setattr("server.registry.MAX_LOADED", 1)
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    registry.publish(public_bundle)
    first = registry.get(bundle.digest)
    assert registry.get(bundle.digest) is first
    registry.get(public_bundle.digest)
    again = registry.get(bundle.digest)
    assert again is not first
    assert again.card == first.card


def test_listing_more_models_than_are_kept_reads_each_once(
    tmp_path, bundle, public_bundle, monkeypatch
):
    """Whoever may list must not make the server verify every registration each time."""
    monkeypatch.setattr("server.registry.MAX_LOADED", 1)
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    registry.publish(public_bundle)
    listed = registry.load_all()
    assert {model.digest for model in listed} == {bundle.digest, public_bundle.digest}
    monkeypatch.setattr("server.registry.bundle_of", None)
    assert registry.load_all() == listed
    (tmp_path / "models" / bundle.digest.hex()).rename(tmp_path / "removed")
    assert [model.digest for model in registry.load_all()] == [public_bundle.digest]
