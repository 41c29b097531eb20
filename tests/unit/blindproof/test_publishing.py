from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blindproof.publishing import publish_linear
from protocol.errors import ModelError, PlanningError
from protocol.parameters import Mode, Packing
from server.registry import ModelRegistry
from tests.integration.example_models import linear_model
from zk_layers.verify import verify_registration

MODEL = linear_model()


def test_a_published_model_is_registered_and_serves(tmp_path):
    card = publish_linear(tmp_path, MODEL)
    bundle = ModelRegistry(tmp_path).get(card.digest)
    assert verify_registration(card, bundle.registration_proof).bits >= 100
    step = card.unit / 2**15
    assert np.abs(bundle.weights * step - MODEL.weights).max() <= step
    assert np.abs(bundle.bias * step - MODEL.intercept).max() <= step


def test_publishing_again_gives_the_same_model(tmp_path):
    first = publish_linear(tmp_path, MODEL)
    assert publish_linear(tmp_path, MODEL) == first
    assert len(ModelRegistry(tmp_path).load_all()) == 1


def test_two_publishers_of_the_same_weights_have_different_commitments(tmp_path):
    """Otherwise weights could be guessed and compared."""
    cards = [publish_linear(tmp_path / name, MODEL) for name in "ab"]
    assert cards[0].commitment != cards[1].commitment


@pytest.mark.parametrize(
    "change", [{"version": "2"}, {"weights": MODEL.weights * 0.9}, {"purpose": "another"}]
)
def test_any_change_draws_another_opening(tmp_path, change):
    registry = ModelRegistry(tmp_path)
    cards = [publish_linear(tmp_path, model) for model in (MODEL, replace(MODEL, **change))]
    openings = [registry.get(card.digest).opening for card in cards]
    assert not np.array_equal(*openings)


def test_the_card_of_a_private_model_says_nothing_exact_of_its_weights(tmp_path):
    card = publish_linear(tmp_path, MODEL)
    assert card.public_weights == ()
    assert all(bound & (bound - 1) == 0 for bound in card.row_l1_bounds)


def test_a_public_model_has_its_weights_in_its_card(tmp_path):
    card = publish_linear(tmp_path, MODEL, mode=Mode.PUBLIC)
    bundle = ModelRegistry(tmp_path).get(card.digest)
    assert card.public_weights == tuple(map(tuple, bundle.integers.tolist()))
    assert bundle.registration_proof == b""


def test_one_packing_alone_may_be_offered(tmp_path):
    card = publish_linear(tmp_path, MODEL, packings=(Packing.SINGLE,))
    assert [profile.packing for profile in card.profiles] == [Packing.SINGLE]


def test_an_impossible_precision_is_explained(tmp_path):
    with pytest.raises(PlanningError, match="nearest"):
        publish_linear(tmp_path, MODEL, precision_bits=200.0)
    assert ModelRegistry(tmp_path).load_all() == []


def test_names_must_be_distinct(tmp_path):
    features = (MODEL.features[0], *MODEL.features[:2])
    with pytest.raises(ModelError, match="distinct"):
        publish_linear(tmp_path, replace(MODEL, features=features))
