from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

import server.registry
from protocol.errors import ModelError
from protocol.graph import Dense, Graph, Selection
from protocol.parameters import Mode
from server.bundles import parts_of
from server.refusals import Refusal
from server.registry import ModelBundle, ModelRegistry
from server.storage import StorageError
from tests.adversarial.network_scenario import network_card
from wire.bundle_file import write_bundle
from wire.rpc import Reason
from zk_layers.prove import prove_registration


def registered_again(bundle: ModelBundle) -> ModelBundle:
    """The same model with another proof."""
    proof = prove_registration(bundle.card, bundle.integers, bundle.opening, b"another" * 5)
    assert proof != bundle.registration_proof
    return replace(bundle, registration_proof=proof)


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


def alter(path: Path) -> None:
    """Change one bit, of the opening's last integer where it is the private file."""
    data = bytearray(path.read_bytes())
    data[-1 if path.name == "private.bin" else 60] ^= 1
    path.write_bytes(data)


FILES = ["card.bin", "private.bin", "registration.bin"]
DAMAGES = [alter, Path.unlink, lambda path: path.write_bytes(b"")]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_errors_of_the_server_that_name_the_path(
    tmp_path, bundle, name: str, damage: Callable[[Path], object]
):
    digest = ModelRegistry(tmp_path / "models").publish(bundle)
    path = tmp_path / "models" / digest.hex() / name
    damage(path)
    with pytest.raises(StorageError) as caught:
        ModelRegistry(tmp_path / "models").get(digest)
    assert str(path.parent) in str(caught.value)


def test_one_damaged_model_does_not_hide_the_others_and_is_logged_once(
    tmp_path, bundle, public_bundle
):
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    registry.publish(public_bundle)
    damaged = tmp_path / "models" / bundle.digest.hex()
    alter(damaged / "private.bin")
    serving = ModelRegistry(tmp_path / "models")
    with capture_logs() as logs:
        listed = [serving.load_all(), serving.load_all()]
    for models in listed:
        assert [model.digest for model in models] == [public_bundle.digest]
    assert [(line["event"], line["path"]) for line in logs] == [("model skipped", str(damaged))]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_publishing_again_repairs_a_damaged_model(
    tmp_path, bundle, name: str, damage: Callable[[Path], object]
):
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    damage(tmp_path / "models" / bundle.digest.hex() / name)
    registry.publish(bundle)
    assert ModelRegistry(tmp_path / "models").get(bundle.digest).card == bundle.card
    assert [path.name for path in (tmp_path / "models").iterdir()] == [bundle.digest.hex()]


def test_publishing_replaces_a_file_in_the_models_place(tmp_path, bundle):
    registry = ModelRegistry(tmp_path / "models")
    (tmp_path / "models" / bundle.digest.hex()).write_text("not a directory")
    registry.publish(bundle)
    assert registry.get(bundle.digest).card == bundle.card


def test_a_whole_model_is_left_as_it_is(tmp_path, bundle):
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    path = tmp_path / "models" / bundle.digest.hex() / "card.bin"
    before = path.stat()
    registry.publish(bundle)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_is_no_model_directory(tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(StorageError, match="models: not a directory"):
        ModelRegistry(tmp_path / "models")


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
        ({"integers": np.zeros(3, dtype=np.int64)}, "shape"),
        ({"integers": np.zeros(4, dtype=np.int32)}, "shape"),
        ({"integers": np.full(4, 40_000)}, "within"),
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


@pytest.mark.rejects("C-74")
@pytest.mark.parametrize("row", [(0, 0), (-1, 0), (1, 1), (2, -1)], ids=str)
@pytest.mark.parametrize("mode", list(Mode), ids=str)
def test_a_bundles_selections_are_unit_vectors(mode, row):
    graph = Graph(2, (Selection(0, 1), Dense(1, 1)))
    opening = np.zeros(5120, dtype=np.int64)
    card = network_card(graph, np.array([1, 0, 5, 5]), opening, mode=mode)
    with pytest.raises(ModelError, match="a selection's rows are unit vectors"):
        ModelBundle(card, b"", np.array([*row, 5, 5]), opening)


def test_the_weights_are_in_no_repr(bundle):
    assert "integers" not in repr(bundle)
    assert isinstance(bundle, ModelBundle)


@pytest.mark.rejects("C-46")
def test_answers_that_are_hardly_flooded_are_not_served(bundle):
    profiles = tuple(replace(profile, flooding_log2=60) for profile in bundle.card.profiles)
    with pytest.raises(ModelError, match="floods to a distance"):
        replace(bundle, card=replace(bundle.card, profiles=profiles))


def test_a_model_is_there_once_its_receipt_is_and_not_before(tmp_path, bundle):
    registry = ModelRegistry(tmp_path / "models")

    def recorded(served: ModelBundle) -> None:
        assert served is bundle
        assert registry.stored() == []

    def unrecorded(_: ModelBundle) -> None:
        raise ModelError("the log cannot be written")

    with pytest.raises(ModelError, match="the log cannot be written"):
        registry.publish(bundle, unrecorded)
    assert list((tmp_path / "models").iterdir()) == []
    registry.publish(bundle, recorded)
    assert [model.digest for model in registry.stored()] == [bundle.digest]
    calls: list[ModelBundle] = []
    registry.publish(bundle, calls.append)
    assert len(calls) == 1


def test_of_two_registrations_of_a_model_the_first_is_served_and_told(tmp_path, bundle):
    registry = ModelRegistry(tmp_path / "models")
    registry.publish(bundle)
    told: list[ModelBundle] = []
    registry.publish(registered_again(bundle), told.append)
    assert [model.registration_proof for model in told] == [bundle.registration_proof]
    assert registry.get(bundle.digest).registration_proof == bundle.registration_proof


def test_a_registration_that_replaces_a_files_is_served_at_once(tmp_path, bundle):
    registry = ModelRegistry(tmp_path / "models")
    write_bundle(tmp_path / "models" / "file.blindproof", parts_of(bundle))
    registry.get(bundle.digest)
    other = registered_again(bundle)
    registry.publish(other)
    assert registry.get(bundle.digest).registration_proof == other.registration_proof


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(
    tmp_path, bundle, monkeypatch
):
    models = tmp_path / "models"
    registry = ModelRegistry(models)
    registry.publish(bundle)
    for name in (".0123456789abcdef", ".other", "0123456789abcdef"):
        (models / name).mkdir()
        (models / name / "private.bin").write_bytes(b"weights")
    before = sorted(models.iterdir())
    registry.remove_leftovers()
    assert sorted(models.iterdir()) == before
    monkeypatch.setattr(server.registry, "LEFT_OVER_SECONDS", -1.0)
    registry.remove_leftovers()
    before.remove(models / ".0123456789abcdef")
    assert sorted(models.iterdir()) == before
    assert registry.get(bundle.digest).card == bundle.card


def test_a_withdrawn_model_is_nowhere_and_a_held_one_goes_on(tmp_path, bundle, public_bundle):
    registry = ModelRegistry(tmp_path / "models")
    for model in (bundle, public_bundle):
        registry.publish(model)
    write_bundle(tmp_path / "models" / "copy.blindproof", parts_of(bundle))
    held = registry.get(bundle.digest)
    registry.load_all()

    def unrecorded() -> None:
        raise ModelError("the log cannot be written")

    with pytest.raises(ModelError, match="the log cannot be written"):
        registry.withdraw(bundle.digest, unrecorded)
    assert registry.get(bundle.digest) is held
    registry.withdraw(bundle.digest)
    assert [model.digest for model in registry.load_all()] == [public_bundle.digest]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [public_bundle.digest.hex()]
    for ask in (registry.get, registry.withdraw):
        with pytest.raises(Refusal) as caught:
            ask(bundle.digest)
        assert caught.value.reason is Reason.MODEL_UNKNOWN
    assert held.card == bundle.card
    registry.publish(bundle)
    assert registry.get(bundle.digest).card == bundle.card


def test_there_are_no_more_models_than_there_may_be(tmp_path, bundle, public_bundle):
    registry = ModelRegistry(tmp_path / "models", limit=1)
    registry.publish(bundle)
    with pytest.raises(Refusal) as caught:
        registry.publish(public_bundle)
    assert caught.value.reason is Reason.MODELS_FULL
    registry.publish(bundle)  # is there
    registry.withdraw(bundle.digest)
    registry.publish(public_bundle)
