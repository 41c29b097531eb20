"""Trees over ciphertexts: verified answers are the library's own, whatever the formulation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer

import blindproof
from client_sdk import Client, KeyStore, Result
from protocol.graph import Dense, Mul, Selection
from protocol.model import ModelCard
from tests.integration.conftest import PASSPHRASE, World


@pytest.fixture(scope="module")
def world(world: World) -> World:
    """The world with a key store of this file's own: what is enrolled here is no other test's."""
    return replace(world, keys=KeyStore(world.home / "trees' keys", passphrase=PASSPHRASE))


def answered(world: World, compiled: blindproof.Compiled, rows: pd.DataFrame) -> Result:
    """Publish and ask."""
    card = compiled.publish(world.settings.models)
    with Client(world.address, model=card.digest, keys=world.keys, ca=world.ca) as client:
        return client.predict(rows)


def columns(data: Any, *names: str) -> tuple[pd.DataFrame, pd.Series]:
    records, target = data(return_X_y=True, as_frame=True)
    return (records[list(names)] if names else records), target


def test_boosted_stumps_are_a_linear_model_over_comparisons(world: World):
    rows, target = columns(load_breast_cancer)
    model = HistGradientBoostingClassifier(max_depth=1, max_iter=50, max_bins=4, random_state=0)
    model.fit(rows, target)
    compiled = blindproof.compile(model, rows, target=target, packing="batch", name="stumps")
    assert [type(layer) for layer in compiled.prepared.graph.layers] == [Dense]
    result = answered(world, compiled, rows)
    assert result.labels == tuple(str(label) for label in model.predict(rows))
    assert np.allclose(result.probabilities, model.predict_proba(rows), atol=1e-3)


def test_stumps_answer_single_records(world: World):
    rows, target = columns(load_diabetes)
    model = GradientBoostingRegressor(max_depth=1, random_state=0).fit(rows, target)
    compiled = blindproof.compile(model, rows, target=target, packing="single", name="one record")
    result = answered(world, compiled, rows[:2])
    assert np.abs(result.values - compiled.simulate(rows[:2]).values).max() <= result.error_bound
    assert result.precision_bits > 20


@pytest.fixture(scope="module")
def forest() -> tuple[RandomForestClassifier, pd.DataFrame, pd.Series]:
    """Six trees of depth 3 over four columns of eight bins."""
    rows, target = columns(load_wine, "alcohol", "flavanoids", "proline", "hue")
    bins = KBinsDiscretizer(8, encode="ordinal", quantile_method="averaged_inverted_cdf")
    trees = RandomForestClassifier(max_depth=3, n_estimators=6, random_state=0)
    return make_pipeline(bins, trees).fit(rows, target), rows, target


def test_forests_of_depth_three_are_products_along_private_paths(world: World, forest: Any):
    model, rows, target = forest
    compiled = blindproof.compile(model, rows, target=target, name="forest")
    graph = compiled.prepared.graph
    assert graph.multiplicative_depth == 2
    assert sum(isinstance(layer, Mul) for layer in graph.layers) == 2
    result = answered(world, compiled, rows)
    assert result.labels == tuple(str(label) for label in model.predict(rows))
    assert np.allclose(result.probabilities, model.predict_proba(rows), atol=2e-3)
    assert np.abs(result.values - compiled.simulate(rows).values).max() <= result.error_bound
    offer = compiled.offers[0]
    assert result.precision_bits == pytest.approx(offer.plan.precision_bits, abs=0.01)
    assert len(result.proof) < 2 * offer.predicted.proof_bytes


@pytest.mark.parametrize(
    ("data", "model"),
    [
        (load_breast_cancer, GradientBoostingClassifier(n_estimators=20, random_state=0)),
        (load_diabetes, RandomForestRegressor(20, max_depth=3, random_state=0)),
    ],
)
def test_twenty_trees_of_depth_three_whose_thresholds_may_be_shown(
    world: World, data: Any, model: Any
):
    """As they were fitted: nothing was binned, and nothing moves."""
    rows, target = columns(data)
    model.fit(rows, target)
    compiled = blindproof.compile(model, rows, target=target, show_thresholds=True)
    result = answered(world, compiled, rows)
    assert result.labels == compiled.simulate(rows).labels
    assert np.abs(result.values - compiled.simulate(rows).values).max() <= result.error_bound
    if result.labels is None:
        assert r2_score(model.predict(rows), result.predictions[:, 0]) > 0.999
    else:
        assert result.labels == tuple(str(label) for label in model.predict(rows))


def test_the_same_trees_answer_single_records_over_monomials_of_bits(world: World, forest: Any):
    model, rows, target = forest
    compiled = blindproof.compile(
        model, rows, target=target, name="forest, multiplied out", packing="single"
    )
    result = answered(world, compiled, rows[:3])
    assert result.labels == tuple(str(label) for label in model.predict(rows[:3]))


def test_cards_of_two_models_of_one_shape_differ_in_nothing_that_tells_of_their_trees(
    forest: Any,
):
    _, rows, target = forest
    cards: list[ModelCard] = []
    for seed in (1, 2):
        bins = KBinsDiscretizer(8, encode="ordinal", quantile_method="averaged_inverted_cdf")
        trees = RandomForestClassifier(max_depth=3, n_estimators=6, random_state=seed)
        model = make_pipeline(bins, trees).fit(rows, target)
        cards.append(blindproof.compile(model, rows, target=target, name="f").prepared.draft)
    first, second = cards
    assert first.features == second.features
    kinds = [
        [type(layer) for layer in card.graph.layers if type(layer).__name__ != "Scale"]
        for card in cards
    ]
    assert kinds[0] == kinds[1]
    chosen = [
        [layer for layer in card.graph.layers if isinstance(layer, Selection)] for card in cards
    ]
    assert chosen[0] == chosen[1]
