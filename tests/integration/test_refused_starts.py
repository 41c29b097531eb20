"""Settings a server cannot start with: each a `ServerError` before the port is open."""

from __future__ import annotations

import logging

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from blindproof.loopback import LocalServerError, server_thread
from protocol.errors import BlindproofError
from server.inference import InferenceEngine
from server.main import ServerError, engine_of
from server.registry import ModelRegistry
from tests.integration.conftest import World


def refusal(world: World, **changes: object) -> str:
    settings = world.settings.model_copy(update=changes)
    with pytest.raises(ServerError) as caught, server_thread(settings, world.engine):
        raise LocalServerError("started")
    return str(caught.value)


@pytest.fixture
def locked_key(tmp_path):
    path = tmp_path / "locked.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    return path


def test_tls_files_must_be_a_pair_of_pem_files(world: World, tmp_path, locked_key):
    other_certificate, other_key = world.authority.issue(tmp_path, "other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    assert "is not the key of" in refusal(world, tls_key=other_key)
    assert "is not the key of" in refusal(world, tls_certificate=other_certificate)
    assert "junk.pem: not a PEM private key" in refusal(world, tls_key=junk)
    assert "without passphrase" in refusal(world, tls_key=locked_key)
    assert "junk.pem: no PEM certificate" in refusal(world, tls_certificate=junk)
    assert "junk.pem: no PEM certificate" in refusal(world, tls_client_ca=junk)
    assert "missing.pem" in refusal(world, tls_client_ca=tmp_path / "missing.pem")


def test_directories_must_be_directories(world: World, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert "no model directory" in refusal(world, models=tmp_path / "mistyped")
    assert not (tmp_path / "mistyped").exists()
    assert "no model directory" in refusal(world, models=file)
    assert "file: not a directory" in refusal(world, state=file)
    assert "missing" in refusal(world, address_file=tmp_path / "missing" / "address")


def test_the_state_of_several_tenants_is_not_served_to_everybody(world: World, tmp_path):
    state = tmp_path / "state"
    (state / "tenants" / "ward-a").mkdir(parents=True)
    assert "names no file of tenants" in refusal(world, state=state)
    assert [path.name for path in state.iterdir()] == ["tenants"]


@pytest.mark.parametrize("permissions", [0o640, 0o604])
def test_a_secret_that_others_may_read_is_refused(world: World, tmp_path, permissions: int):
    settings = world.settings.model_copy(update={"state": tmp_path / "state"})
    assert isinstance(engine_of(settings), InferenceEngine)
    (tmp_path / "state" / "server.secret").chmod(permissions)
    with pytest.raises(ServerError, match=r"server\.secret.*chmod 600"):
        engine_of(settings)


@pytest.fixture
def audible():
    """Undo the silence of the other tests: warnings are what is looked for."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with capture_logs() as logs:
        yield logs
    structlog.configure(wrapper_class=before)


def test_new_state_and_missing_models_are_worth_a_warning(world: World, tmp_path, audible):
    ModelRegistry(tmp_path / "models")
    settings = world.settings.model_copy(
        update={"models": tmp_path / "models", "state": tmp_path / "state"}
    )
    for expected in (["no model to serve yet", "new state created"], ["no model to serve yet"]):
        audible.clear()
        with server_thread(settings):
            pass
        assert [line["event"] for line in audible] == expected


def test_a_port_that_is_taken_is_refused(world: World):
    assert issubclass(ServerError, BlindproofError)
    assert "cannot listen" in refusal(world, listen=world.address)
