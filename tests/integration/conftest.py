"""One TLS server for all tests, and clients of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from blindproof.authority import Authority
from blindproof.demo.cheats import DishonestEngine
from blindproof.loopback import server_thread
from client_sdk import Client, KeyStore, Phase
from protocol.parameters import Mode
from server.registry import ModelBundle, ModelRegistry
from server.settings import ServerSettings
from tests.integration import example_models

PASSPHRASE = "a passphrase for tests"


@dataclass
class World:
    """A running server, its models and the files around it."""

    home: Path
    address: str
    authority: Authority
    ca: Path
    settings: ServerSettings
    engine: DishonestEngine
    keys: KeyStore
    models: dict[str, ModelBundle]
    phases: list[Phase] = field(default_factory=list)

    def client(self, model: str = "private", **changes: object) -> Client:
        """A client of one of the models; its phases are recorded."""
        arguments = {
            "model": self.models[model].digest,
            "keys": self.keys,
            "ca": self.ca,
            "observer": self.phases.append,
            **changes,
        }
        self.phases.clear()
        return Client(self.address, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def quiet_server() -> Iterator[None]:
    """No log lines of servers in threads, and no change for the tests of other folders."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("world")
    models = {
        "private": example_models.bundle(example_models.linear_model()),
        "public": example_models.bundle(
            example_models.linear_model(outputs=2, link="argmax"), Mode.PUBLIC
        ),
        "two outputs": example_models.bundle(
            example_models.linear_model(outputs=2, link="identity", name="two")
        ),
    }
    registry = ModelRegistry(home / "models")
    for bundle in models.values():
        registry.publish(bundle)
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    settings = ServerSettings(
        listen="127.0.0.1:0",
        server_id="test server",
        tls_certificate=certificate,
        tls_key=key,
        models=home / "models",
        state=home / "state",
        max_requests=64,
    )
    keys = KeyStore(home / "keys", passphrase=PASSPHRASE)
    engine = DishonestEngine(bytes(range(32)))
    with server_thread(settings, engine) as address:
        yield World(home, address, authority, ca, settings, engine, keys, models)


@pytest.fixture
def fresh_keys(tmp_path: Path) -> Callable[[], KeyStore]:
    """Makes a key store of its own for a test."""
    return lambda: KeyStore(tmp_path / "fresh keys", passphrase=PASSPHRASE)
