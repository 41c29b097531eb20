"""A server's files, and requests to ask of it: encrypted once, asked many times."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from blindproof.authority import Authority
from blindproof.loopback import server_thread
from client_sdk import Client, KeyStore
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle, ModelRegistry
from server.settings import ServerSettings
from tests.faults.asking import Prepared
from tests.integration import example_models

PASSPHRASE = "a passphrase for tests"
PUBLIC, PRIVATE = "public", "private"
SINGLE = (Packing.SINGLE,)


@dataclass(frozen=True)
class Stage:
    """What a server is started from.

    Attributes:
        settings: with the state in which the client's key is enrolled; for a test of its own, see
            `copy`.
        ca: the certificate of the authority, PEM.
        prepared: a request of each model.
        keys: the client's secrets, and the directory they are in: one who sees the logs of several
            copies of the state needs a copy for each.
    """

    settings: ServerSettings
    ca: Path
    models: dict[str, ModelBundle]
    prepared: dict[str, Prepared]
    keys: KeyStore
    keys_directory: Path

    def copy(self, state: Path) -> ServerSettings:
        """Settings of a server that has a copy of the state for itself."""
        shutil.copytree(self.settings.state, state)
        return self.settings.model_copy(update={"state": state})

    def client(self, address: str, model: str = PRIVATE, **changes: object) -> Client:
        arguments = {"model": self.models[model].digest, "keys": self.keys, "ca": self.ca}
        return Client(address, **(arguments | changes))  # type: ignore[arg-type]


def build_stage(home: Path) -> Stage:
    """Publish two models, enrol a key, and keep what a client sends."""
    models = {
        PUBLIC: example_models.bundle(
            example_models.linear_model(name="public"), Mode.PUBLIC, SINGLE
        ),
        PRIVATE: example_models.bundle(example_models.linear_model(), packings=SINGLE),
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
        shutdown_seconds=5.0,
    )
    keys = KeyStore(home / "keys", passphrase=PASSPHRASE)
    stage = Stage(settings, ca, models, {}, keys, home / "keys")
    with server_thread(settings) as address:
        for name in models:
            with stage.client(address, name) as client:
                evidence = client.predict(example_models.records(1)).evidence[0]
            stage.prepared[name] = Prepared.of(evidence)
    return stage
