from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blindproof.publishing import LinearModel, publish_linear, rounding_of
from protocol.about import About
from protocol.errors import ModelError, PlanningError
from protocol.features import Category, Feature, Privacy, Thermometer
from protocol.parameters import Mode, Packing
from server.registry import ModelRegistry
from server.storage import StorageError
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
    rows = bundle.rows(card.graph.matrices[0])
    assert card.public_weights == tuple(map(tuple, rows.tolist()))
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


def uneven(weights: list[float], intercept: float) -> LinearModel:
    """One output of inputs in [-1, 1]."""
    return replace(
        MODEL,
        features=tuple(Feature(f"x{k}", -1.0, 1.0, 0.0, 1.0) for k in range(len(weights))),
        weights=np.array([weights]),
        intercept=np.array([intercept]),
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (uneven([1.0, 1e-6], 0.0), "1 weights become zero.*feature 'x1' in output 'y0'.*rescale"),
        (uneven([0.03, 0.02], 1000.0), r"can change output 'y0' by .*2\^-8 of its range.*centre"),
    ],
)
def test_a_model_that_rounding_changes_is_published_only_on_demand(
    tmp_path, model: LinearModel, message: str
):
    with pytest.raises(ModelError, match=message):
        publish_linear(tmp_path, model)
    assert ModelRegistry(tmp_path).load_all() == []
    card = publish_linear(tmp_path, model, allow_rounding=True)
    assert ModelRegistry(tmp_path).get(card.digest).card == card


def test_the_rounding_bound_holds_for_the_published_integers(tmp_path):
    card = publish_linear(tmp_path, MODEL)
    bundle = ModelRegistry(tmp_path).get(card.digest)
    inputs = np.random.default_rng(3).uniform(-2.5, 2.5, (1000, 3))
    real = inputs @ MODEL.weights.T + MODEL.intercept
    published = (inputs @ bundle.weights.T + bundle.bias) * card.unit / 2**15
    errors = rounding_of(MODEL).errors
    assert (np.abs(real - published) <= errors).all()
    assert (errors < 1e-3).all()


@pytest.mark.parametrize("intercept", [0.0, 0.7])
def test_an_output_that_is_constant_is_no_rounding_error(tmp_path, intercept: float):
    publish_linear(tmp_path, uneven([0.0, 0.0], intercept))


def test_weights_must_be_of_the_features(tmp_path):
    with pytest.raises(ModelError, match="2 columns for 3 inputs"):
        publish_linear(tmp_path, replace(MODEL, weights=MODEL.weights[:, :2]))


@pytest.mark.parametrize("name", ["label", "line", "score"])
def test_names_that_stand_beside_the_outputs_are_reserved(tmp_path, name: str):
    with pytest.raises(ModelError, match=f"'{name}' is reserved"):
        publish_linear(tmp_path, replace(MODEL, outputs=(name,)))


def test_a_file_in_the_directorys_place_is_a_clear_error(tmp_path):
    (tmp_path / "models").write_text("")
    for path in (tmp_path / "models", tmp_path / "models" / "below"):
        with pytest.raises(StorageError, match=r"models.*ot a directory"):
            publish_linear(path, MODEL)


def test_publishing_again_repairs_a_damaged_model(tmp_path):
    card = publish_linear(tmp_path, MODEL)
    (tmp_path / card.digest.hex() / "private.bin").write_bytes(b"damaged")
    assert publish_linear(tmp_path, MODEL) == card
    assert ModelRegistry(tmp_path).get(card.digest).card == card


def test_a_publisher_key_that_others_may_read_is_refused(tmp_path):
    publish_linear(tmp_path, MODEL)
    (tmp_path / ".publisher.key").chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        publish_linear(tmp_path, MODEL)


def test_the_weights_are_in_no_repr():
    assert "weights" not in repr(MODEL)
    assert "intercept" not in repr(MODEL)


MIXED = replace(
    MODEL,
    features=(
        Feature("age", 0.0, 100.0, 50.0, 50.0, privacy=Privacy.PLAINTEXT, missing=40.0),
        Thermometer("steps", 0.0, 9.0, (2.0, 5.0)),
        Category("colour", ("blue", "red")),
    ),
    weights=np.array([[0.5, -0.25, 1e-7, 0.75, 1.0]]),
    local=("patient",),
    about=About(licence="CC0-1.0"),
    labels=("0", "1"),
    integer_labels=True,
)


@pytest.mark.parametrize("expansion", [(), ((0,), (1,), (2,), (0, 3), (0, 0, 4))])
def test_columns_of_every_kind_are_published(tmp_path, expansion):
    model = replace(MIXED, expansion=expansion)
    card = publish_linear(tmp_path, model)
    for name, value in model.described().items():
        assert getattr(card, name) == value
    assert card.inputs_count == model.inputs == 5
    assert card.input_bound == model.input_bounds.max()
    assert ModelRegistry(tmp_path).get(card.digest).card == card


def test_inputs_are_the_units_or_their_products():
    raw = np.array([[100.0, 3.0, 1.0], [25.0, 5.5, 0.0]])
    units = [[1.0, 1.0, 0.0, 0.0, 1.0], [-0.5, 1.0, 1.0, 1.0, 0.0]]
    assert MIXED.inputs_of(raw).tolist() == units
    assert MIXED.input_names[:2] == ("age", "steps > 2")
    products = replace(MIXED, expansion=((0,), (0, 4), (1, 2)), weights=np.ones((1, 3)))
    assert products.inputs_of(raw).tolist() == [[1.0, 1.0, 0.0], [-0.5, 0.0, 1.0]]
    assert products.input_names == ("age", "age * colour = red", "steps > 2 * steps > 5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local": ("line",)}, "'line' is reserved"),
        ({"local": MIXED.outputs}, "'y0' would stand twice"),
        ({"local": ("exp(y0)",), "link": "exp", "labels": ()}, "'exp.y0.' would stand twice"),
        ({"local": ("age",)}, "feature names must be distinct"),
    ],
)
def test_a_column_of_the_predictions_has_one_meaning(tmp_path, change, message: str):
    with pytest.raises(ModelError, match=message):
        publish_linear(tmp_path, replace(MIXED, integer_labels=False, **change))
