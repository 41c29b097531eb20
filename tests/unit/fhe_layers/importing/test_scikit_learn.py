"""Every class that the document lists, on real data."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fhe_layers.importing.card_columns import sample_inputs, sample_values
from fhe_layers.importing.imported import ImportedModel, Treatment, UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.scikit_learn import SUPPORT, import_estimator
from fhe_layers.importing.table import Table
from fhe_layers.quantise_network import quantise_network, simulate
from protocol import links
from tests.unit.fhe_layers.importing import sklearn_cases as cases


def imported(estimator: object, sample: object, **options: object) -> ImportedModel:
    return import_estimator(estimator, Table.of(sample), ImportOptions(**options))


def network_inputs(model: ImportedModel, sample: object) -> np.ndarray:
    raw = sample_values(model.features, Table.of(sample))
    return sample_inputs(model.features, model.expansion, raw)


def require_same(estimator: object, sample: object, model: ImportedModel) -> None:
    """Labels, probabilities and predictions are the estimator's own."""
    made = model.network.forward(network_inputs(model, sample))
    assert made.shape == (len(sample), len(model.outputs))
    wanted = model.decision(sample_values(model.features, Table.of(sample)))
    np.testing.assert_allclose(made, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
    chosen = links.decide(model.link, made)
    if chosen is None:
        predictions = links.predictions(model.link, made)
        own = np.asarray(estimator.predict(sample)).reshape(predictions.shape)
        np.testing.assert_allclose(predictions, own, rtol=1e-9, atol=1e-9 * np.abs(own).max())
        return
    assert [model.labels[index] for index in chosen] == list(map(str, estimator.predict(sample)))
    probabilities = links.probabilities(model.link, made)
    if probabilities is not None:
        np.testing.assert_allclose(
            probabilities, estimator.predict_proba(sample), rtol=1e-8, atol=1e-12
        )


def test_every_row_of_the_document_has_a_case():
    operators = [row.operator for row in SUPPORT]
    assert len(set(operators)) == len(operators)
    refused = {row.operator for row in SUPPORT if row.treatment is Treatment.REFUSED}
    assert refused == set(cases.REFUSED)
    assert set(operators) - refused == {*cases.READ, *cases.TREES}


@pytest.mark.parametrize("operator", cases.READ)
def test_the_network_computes_what_the_estimator_does(operator: str):
    estimator, sample = cases.READ[operator]()
    model = imported(estimator, sample)
    require_same(estimator, sample, model)
    named = {step.operator for step in model.steps}
    assert named


@pytest.mark.parametrize("operator", cases.TREES)
def test_trees_agree_with_the_estimator(operator: str):
    estimator, sample = cases.TREES[operator]()
    model = imported(estimator, sample, edges=64)
    made = model.network.forward(network_inputs(model, sample))
    wanted = model.decision(sample_values(model.features, Table.of(sample)))
    chosen = links.decide(model.link, made)
    if chosen is None:
        residue = ((made - wanted) ** 2).sum() / ((wanted - wanted.mean()) ** 2).sum()
        assert residue < 0.02
    else:
        labels = np.array([model.labels[index] for index in chosen])
        assert (labels == estimator.predict(sample).astype(str)).mean() > 0.99


@pytest.mark.parametrize("operator", cases.REFUSED)
def test_what_cannot_be_served_is_refused_with_advice(operator: str):
    estimator, sample = cases.REFUSED[operator]()
    with pytest.raises(UnsupportedModelError) as refusal:
        imported(estimator, sample)
    assert refusal.value.operator == operator
    assert refusal.value.node
    assert refusal.value.instead
    assert f"({operator}) cannot be served" in str(refusal.value)


@pytest.mark.parametrize(
    "operator", ["LogisticRegression", "IncrementalPCA", "SVC", "OneHotEncoder", "KBinsDiscretizer"]
)
def test_the_integer_network_gives_the_same_labels(operator: str):
    estimator, sample = cases.READ[operator]()
    model = imported(estimator, sample)
    quantised = quantise_network(model.network)
    inputs = network_inputs(model, sample)
    values = simulate(quantised.graph, quantised.integers, inputs) * quantised.unit
    chosen = links.decide(model.link, values)
    agreed = [model.labels[index] for index in chosen] == estimator.predict(sample).astype(str)
    assert agreed.mean() > 0.995


@pytest.mark.parametrize("operator", ["Lasso", "PolynomialFeatures", "PLSRegression"])
def test_the_integer_network_predicts_as_well(operator: str):
    estimator, sample = cases.READ[operator]()
    model = imported(estimator, sample)
    quantised = quantise_network(model.network)
    inputs = network_inputs(model, sample)
    values = simulate(quantised.graph, quantised.integers, inputs) * quantised.unit
    wanted = np.asarray(estimator.predict(sample)).reshape(values.shape)
    missed = ((values - wanted) ** 2).sum(axis=0)
    assert (missed / ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)).max() < 1e-4


def test_reading_scikit_learn_models_does_not_import_scikit_learn():
    code = (
        "import sys, fhe_layers.importing.scikit_learn\n"
        "assert not {'sklearn', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
