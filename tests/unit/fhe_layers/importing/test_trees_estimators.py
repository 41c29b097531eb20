"""scikit-learn's trees: read exactly, on every record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from fhe_layers.importing.imported import UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.importing.tree_estimators import SUPPORT, ensemble_of
from fhe_layers.importing.trees import RawInput, lower_ensemble
from protocol.features import encode_columns
from protocol.links import decide, predictions, probabilities

SEED = {"random_state": 0}
FEW = {"n_estimators": 7, **SEED}
CASES: dict[str, Any] = {
    "DecisionTreeClassifier": DecisionTreeClassifier(max_depth=5, **SEED),
    "DecisionTreeRegressor": DecisionTreeRegressor(max_depth=5, **SEED),
    "RandomForestClassifier": RandomForestClassifier(max_depth=4, **FEW),
    "RandomForestRegressor": RandomForestRegressor(max_depth=4, **FEW),
    "ExtraTreesClassifier": ExtraTreesClassifier(max_depth=4, **FEW),
    "ExtraTreesRegressor": ExtraTreesRegressor(max_depth=4, **FEW),
    "GradientBoostingClassifier": GradientBoostingClassifier(**FEW),
    "GradientBoostingRegressor": GradientBoostingRegressor(**FEW),
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier(max_iter=7, **SEED),
    "HistGradientBoostingRegressor": HistGradientBoostingRegressor(max_iter=7, **SEED),
}


def data_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A data set for it."""
    if name.endswith("Regressor"):
        inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    else:
        inputs, targets = load_breast_cancer(return_X_y=True)
    return inputs, targets


def test_every_kind_that_is_listed_has_a_case():
    assert {row.operator for row in SUPPORT} == set(CASES)


@pytest.mark.parametrize("name", list(CASES))
def test_values_are_the_estimators_own_on_every_record(name: str):
    inputs, targets = data_of(name)
    estimator = CASES[name].fit(inputs, targets)
    read = ensemble_of(estimator)
    made = read.ensemble.values(inputs)
    wanted = read.decision(inputs)
    assert made.shape == wanted.shape == (len(inputs), len(read.outputs))
    assert np.abs(made - wanted).max() < 1e-9 * max(1, np.abs(wanted).max())
    labels = decide(read.link, made)
    if labels is None:
        assert np.allclose(predictions(read.link, made)[:, 0], estimator.predict(inputs))
    else:
        assert (labels == estimator.predict(inputs)).all()
        assert np.allclose(probabilities(read.link, made), estimator.predict_proba(inputs))
        assert (read.labels, read.integer_labels) == (("0", "1"), True)


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("Classifier")])
def test_several_classes_with_names(name: str):
    inputs, targets = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])
    estimator = CASES[name].fit(inputs, names[targets])
    read = ensemble_of(estimator)
    made = read.ensemble.values(inputs)
    assert read.labels == ("barbera", "barolo", "grignolino")
    assert not read.integer_labels
    assert (np.array(read.labels)[decide(read.link, made)] == estimator.predict(inputs)).all()
    assert np.allclose(probabilities(read.link, made), estimator.predict_proba(inputs))
    assert len(set(read.outputs)) == 3


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_every_loss_of_boosting_starts_where_it_starts(loss: str):
    inputs, targets = data_of("GradientBoostingRegressor")
    estimator = GradientBoostingRegressor(loss=loss, **FEW).fit(inputs, targets)
    read = ensemble_of(estimator)
    assert np.allclose(read.ensemble.values(inputs)[:, 0], estimator.predict(inputs))


def test_the_exponential_loss_has_its_own_probabilities():
    inputs, targets = data_of("GradientBoostingClassifier")
    estimator = GradientBoostingClassifier(loss="exponential", **FEW).fit(inputs, targets)
    read = ensemble_of(estimator)
    found = probabilities(read.link, read.ensemble.values(inputs))
    assert np.allclose(found, estimator.predict_proba(inputs))


def test_boosting_from_zero():
    inputs, targets = data_of("GradientBoostingRegressor")
    estimator = GradientBoostingRegressor(init="zero", **FEW).fit(inputs, targets)
    assert np.allclose(
        ensemble_of(estimator).ensemble.values(inputs)[:, 0], estimator.predict(inputs)
    )


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_log_links_of_histogram_boosting(loss: str):
    inputs, targets = data_of("HistGradientBoostingRegressor")
    estimator = HistGradientBoostingRegressor(loss=loss, max_iter=5, **SEED).fit(inputs, targets)
    read = ensemble_of(estimator)
    made = read.ensemble.values(inputs)
    assert read.link == "exp"
    assert np.allclose(predictions(read.link, made)[:, 0], estimator.predict(inputs))
    assert np.allclose(read.decision(inputs), made)


def test_several_targets():
    inputs, targets = data_of("RandomForestRegressor")
    both = np.column_stack([targets, -targets])
    estimator = RandomForestRegressor(max_depth=3, **FEW).fit(inputs, both)
    read = ensemble_of(estimator)
    assert read.outputs == ("target 0", "target 1")
    assert np.allclose(read.ensemble.values(inputs), estimator.predict(inputs))
    with pytest.raises(UnsupportedModelError, match="several targets"):
        ensemble_of(DecisionTreeClassifier().fit(inputs, (both > 100).astype(int)))


def test_histogram_boosting_with_few_bins_loses_nothing():
    inputs, targets = data_of("HistGradientBoostingClassifier")
    estimator = HistGradientBoostingClassifier(max_bins=8, max_depth=3, max_iter=20, **SEED)
    read = ensemble_of(estimator.fit(inputs, targets))
    lowered = lower_ensemble(
        read.ensemble,
        [RawInput(index) for index in range(30)],
        Table.of(inputs),
        ImportOptions(edges=8),
        link=read.link,
    )
    made = lowered.network.forward(encode_columns(lowered.features, inputs))
    assert np.allclose(made, read.decision(inputs), atol=1e-9)


def test_what_has_no_encrypted_form_is_refused_with_advice():
    inputs, targets = data_of("GradientBoostingClassifier")
    other = GradientBoostingRegressor(init=LinearRegression(), **FEW).fit(inputs, targets)
    categorical = HistGradientBoostingClassifier(categorical_features=[0], max_iter=2, **SEED).fit(
        np.column_stack([inputs[:, 0] > 10, inputs]), targets
    )
    single = DecisionTreeClassifier().fit(inputs, np.zeros(len(inputs)))
    for estimator, reason in (
        (other, "an estimator of its own"),
        (categorical, "OneHotEncoder"),
        (single, "one class only"),
        (AdaBoostClassifier(n_estimators=2).fit(inputs, targets), "no tree ensemble"),
    ):
        with pytest.raises(UnsupportedModelError, match=reason):
            ensemble_of(estimator)
