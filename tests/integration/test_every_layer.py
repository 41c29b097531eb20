"""Networks with every kind of layer, from their specification to a verified answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from blindproof.authority import Authority
from blindproof.loopback import server_thread
from blindproof.network_publishing import NetworkModel, publish_network, quantised_model
from client_sdk import Client, KeyStore
from fhe_layers.quantise_network import simulate
from protocol.model import ModelCard
from protocol.parameters import Mode
from server.settings import ServerSettings
from tests.reference.networks import image_network, residual_network
from tests.unit.blindproof.test_network_publishing import network_model
from wire.files import make_private_directory

NETWORKS = {"image": image_network, "residual": residual_network}


@dataclass(frozen=True)
class World:
    address: str
    ca: Path
    keys: KeyStore
    published: dict[tuple[str, Mode], tuple[NetworkModel, ModelCard]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("layers")
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    published = {}
    for name, network in NETWORKS.items():
        for mode in Mode:
            model = replace(network_model(network()), name=f"{name}-{mode}")
            # A cube of products magnifies what rounding does: nothing to publish, fine to test.
            card = publish_network(
                home / "models", model, mode=mode, precision_bits=8, allow_rounding=True
            )
            published[name, mode] = (model, card)
    settings = ServerSettings(
        listen="127.0.0.1:0",
        tls_certificate=certificate,
        tls_key=key,
        models=home / "models",
        state=make_private_directory(home / "state"),
        address_file=home / "address",
    )
    with server_thread(settings) as address:
        keys = KeyStore(home / "keys", passphrase=secrets.token_hex(8))
        yield World(address, ca, keys, published)


@pytest.mark.parametrize("mode", list(Mode), ids=str)
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_verified_answer_is_the_integer_network(world: World, name: str, mode: Mode):
    model, card = world.published[name, mode]
    records = np.random.default_rng(1).uniform(-2, 6, (9, len(model.features)))
    with Client(world.address, model=card.digest, keys=world.keys, ca=world.ca) as client:
        result = client.predict(records)
    quantised = quantised_model(model)
    exact = simulate(quantised.graph, quantised.integers, model.normalised(records))
    assert np.abs(result.values - exact * quantised.unit).max() <= result.error_bound
    assert result.error_bound <= 2.0**-8 * quantised.unit
    assert result.soundness_bits >= 100
