from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blindproof.network_publishing import NetworkModel, publish_network
from fhe_layers.quantise_network import simulate
from fhe_layers.spec import SQUARE, DenseSpec, NetworkSpec, PolynomialSpec
from protocol.errors import ModelError, PlanningError
from protocol.model import Feature, ModelCard
from protocol.parameters import Mode, Packing
from server.registry import ModelRegistry
from tests.reference.networks import image_network, mlp
from zk_layers.verify import verify_registration


def network_model(network: NetworkSpec, link: str = "identity") -> NetworkModel:
    """Columns x0, x1, ... in [-2, 6], centred on 2 and scaled into [-1, 1]."""
    labels = {"identity": (), "logistic": ("no", "yes")}.get(link)
    outputs = tuple(f"y{j}" for j in range(network.outputs))
    return NetworkModel(
        name="network",
        version="1",
        purpose="tests",
        features=tuple(Feature(f"x{k}", -2.0, 6.0, 2.0, 4.0) for k in range(network.inputs)),
        network=network,
        outputs=outputs,
        labels=outputs if labels is None else labels,
        link=link,
    )


MODEL = network_model(mlp())


def test_a_published_network_is_registered_and_serves(tmp_path):
    card = publish_network(tmp_path, MODEL)
    bundle = ModelRegistry(tmp_path).get(card.digest)
    assert verify_registration(card, bundle.registration_proof).bits >= 100
    assert [profile.packing for profile in card.profiles] == [Packing.BATCH]
    assert card.bounds(Packing.BATCH).precision_bits >= 14
    records = np.random.default_rng(1).uniform(-2, 6, (20, 5))
    inputs = MODEL.normalised(records)
    assert np.abs(inputs).max() <= 1
    values = simulate(card.graph, bundle.integers, inputs) * card.unit
    np.testing.assert_allclose(values, MODEL.network.forward(inputs), atol=1e-3)


def test_publishing_again_gives_the_same_network(tmp_path):
    assert publish_network(tmp_path, MODEL) == publish_network(tmp_path, MODEL)
    assert len(ModelRegistry(tmp_path).load_all()) == 1


def test_the_card_of_a_private_network_says_nothing_exact_of_its_weights(tmp_path):
    card = publish_network(tmp_path, network_model(image_network()))
    assert card.public_weights == ()
    assert len(set(card.row_l1_bounds)) <= len(card.graph.matrices)
    assert all(bound % (1 << max(bound.bit_length() - 4, 0)) == 0 for bound in card.row_l1_bounds)


def test_a_public_network_has_its_weights_in_its_card(tmp_path):
    card = publish_network(tmp_path, network_model(image_network()), mode=Mode.PUBLIC)
    bundle = ModelRegistry(tmp_path).get(card.digest)
    assert [len(row) for row in card.public_weights] == [13] * 3 + [13] * 3
    assert [w for row in card.public_weights for w in row] == bundle.integers.tolist()
    assert bundle.registration_proof == b""
    assert ModelCard.decoded(card.encoded()) == card


def test_a_network_without_activation_is_published_as_the_linear_model_it_is(tmp_path):
    first, _, last = MODEL.network.layers
    card = publish_network(tmp_path, replace(MODEL, network=NetworkSpec((5,), (first, last))))
    assert card.linear
    assert {profile.packing for profile in card.profiles} == set(Packing)


def test_an_impossible_precision_is_explained(tmp_path):
    with pytest.raises(PlanningError, match="nearest"):
        publish_network(tmp_path, MODEL, precision_bits=300.0)
    assert ModelRegistry(tmp_path).load_all() == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (replace(MODEL, features=MODEL.features[:4]), "5 inputs and 2 outputs for 4 inputs"),
        (replace(MODEL, outputs=("y0",)), "2 outputs for 5 inputs of its columns and 1 names"),
        (replace(MODEL, outputs=("y0", "label")), "'label' is reserved"),
        (replace(MODEL, features=(MODEL.features[0],) * 5), "distinct"),
    ],
)
def test_a_network_must_fit_its_description(tmp_path, model: NetworkModel, message: str):
    with pytest.raises(ModelError, match=message):
        publish_network(tmp_path, model)


def uneven() -> NetworkModel:
    """The output follows a weight that has two bits beside the others of its layer."""
    first = DenseSpec(np.array([[0.9, 0.0], [0.0, 1.4 * 2.0**-14]]), np.zeros(2))
    last = DenseSpec(np.array([[0.0, 1.0]]), np.zeros(1))
    return network_model(NetworkSpec((2,), (first, PolynomialSpec(SQUARE), last)))


def test_a_network_that_rounding_changes_is_published_only_on_demand(tmp_path):
    with pytest.raises(ModelError, match=r"can change output 'y0' by .*similar sizes"):
        publish_network(tmp_path, uneven())
    assert ModelRegistry(tmp_path).load_all() == []
    card = publish_network(tmp_path, uneven(), allow_rounding=True)
    assert ModelRegistry(tmp_path).get(card.digest).card == card


def test_the_weights_are_in_no_repr():
    assert "array" not in repr(MODEL)
