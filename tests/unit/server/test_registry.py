from __future__ import annotations

import stat
from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import EncodingError, ModelError
from server.refusals import Refusal
from server.registry import ModelBundle, ModelRegistry
from wire.rpc import Reason


@pytest.mark.accepts("C-46")
def test_a_published_model_comes_back(tmp_path, bundle):
    digest = ModelRegistry(tmp_path / "models").publish(bundle)
    loaded = ModelRegistry(tmp_path / "models").get(digest)
    assert digest == bundle.card.digest
    assert loaded.card == bundle.card
    assert loaded.registration_proof == bundle.registration_proof
    assert np.array_equal(loaded.integers, bundle.integers)
    assert np.array_equal(loaded.opening, bundle.opening)
    assert loaded.registration_digest == bundle.registration_digest


def test_files_are_private_and_no_draft_is_left(tmp_path, bundle):
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    registry.publish(bundle)
    (tmp_path / "models" / "dead.beef").mkdir()
    (tmp_path / "models" / "abc").write_text("not a model")
    assert len(registry.load_all()) == 1
    (directory,) = (tmp_path / "models").glob("?" * 64)
    assert directory.name == bundle.digest.hex()
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_model_published_while_serving_is_found(tmp_path, bundle, public_bundle):
    serving = ModelRegistry(tmp_path / "models")
    assert serving.load_all() == []
    ModelRegistry(tmp_path / "models").publish(bundle)
    ModelRegistry(tmp_path / "models").publish(public_bundle)
    assert serving.get(bundle.digest).card == bundle.card
    assert {model.mode for model in serving.load_all()} == {"private", "public"}


@pytest.mark.parametrize("digest", [bytes(32), b"", bytes(31), b"/" * 32])
def test_an_unknown_model_is_refused(tmp_path, digest: bytes):
    with pytest.raises(Refusal) as caught:
        ModelRegistry(tmp_path / "models").get(digest)
    assert caught.value.reason is Reason.MODEL_UNKNOWN


@pytest.mark.parametrize("name", ["card.bin", "private.bin"])
def test_altered_files_are_refused(tmp_path, bundle, name: str):
    digest = ModelRegistry(tmp_path / "models").publish(bundle)
    path = tmp_path / "models" / digest.hex() / name
    data = bytearray(path.read_bytes())
    # the last byte: of the row of public weights' count, or of the opening
    data[-1 if name == "private.bin" else 60] ^= 1
    path.write_bytes(data)
    with pytest.raises((EncodingError, ModelError)):
        ModelRegistry(tmp_path / "models").get(digest)


def test_another_models_weights_do_not_pass_for_the_cards(bundle):
    with pytest.raises(ModelError, match="not the ones its card stands for"):
        replace(bundle, integers=-bundle.integers)
    opening = bundle.opening.copy()
    opening[0] = 1 - abs(opening[0])
    with pytest.raises(ModelError, match="not the ones its card stands for"):
        replace(bundle, opening=opening)


def test_public_integers_are_the_cards(public_bundle):
    with pytest.raises(ModelError, match="not the ones its card stands for"):
        replace(public_bundle, integers=-public_bundle.integers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"integers": np.zeros((1, 3), dtype=np.int64)}, "shape"),
        ({"integers": np.zeros((1, 4), dtype=np.int32)}, "shape"),
        ({"integers": np.full((1, 4), 40_000)}, "within"),
        ({"opening": np.zeros(5119, dtype=np.int64)}, "ternary"),
        ({"opening": np.full(5120, 2)}, "ternary"),
        ({"registration_proof": b""}, "card stands for"),
    ],
)
def test_a_bundle_is_checked(bundle, changes, message: str):
    with pytest.raises(ModelError, match=message):
        replace(bundle, **changes)


def test_a_bundle_keeps_to_the_l1_bounds_its_card_declares(bundle):
    with pytest.raises(ModelError, match="l1 bounds"):
        replace(bundle, card=replace(bundle.card, row_l1_bounds=(1,)))


def test_the_weights_are_in_no_repr(bundle):
    assert "integers" not in repr(bundle)
    assert isinstance(bundle, ModelBundle)


@pytest.mark.rejects("C-46")
def test_answers_that_are_hardly_flooded_are_not_served(bundle):
    profiles = tuple(replace(profile, flooding_log2=60) for profile in bundle.card.profiles)
    with pytest.raises(ModelError, match="floods to a distance"):
        replace(bundle, card=replace(bundle.card, profiles=profiles))
