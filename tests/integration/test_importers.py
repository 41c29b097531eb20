"""Models of other libraries, from their own objects and files to verified answers on every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindproof
from client_sdk import Client, KeyStore
from tests.integration.conftest import PASSPHRASE, World

VECTORS = Path(__file__).parent.parent / "vectors" / "onnx"

DATASETS: dict[str, Callable[..., Any]] = {
    "breast cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "digits": load_digits,
    "wine": load_wine,
}
NETWORKS = {
    "breast cancer": "breast_cancer_hummingbird.onnx",
    "diabetes": "diabetes_mlp.onnx",
    "digits": "digits_cnn.onnx",
    "wine": "wine_mlp.onnx",
}
EDGES = {"diabetes": 6, "digits": 12, "wine": 6}
"""Fewer than would be chosen, and enough for what is asked of accuracy: requests are smaller."""


@pytest.fixture(scope="module")
def world(world: World) -> World:
    """The world with a key store of this file's own: what is enrolled here is no other test's."""
    return replace(world, keys=KeyStore(world.home / "importers' keys", passphrase=PASSPHRASE))


@dataclass(frozen=True)
class Case:
    """A model, and the table it was fitted on."""

    model: object
    records: pd.DataFrame
    target: pd.Series
    float_predictions: np.ndarray
    """What the library itself says: classes, or values."""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_regression(self) -> bool:
        return self.target.dtype.kind == "f"


def table(dataset: str) -> tuple[pd.DataFrame, pd.Series]:
    return DATASETS[dataset](return_X_y=True, as_frame=True)


def fitted(dataset: str) -> tuple[Any, pd.DataFrame, pd.Series]:
    records, target = table(dataset)
    model = Ridge() if target.dtype.kind == "f" else LogisticRegression(max_iter=2000)
    return make_pipeline(StandardScaler(), model).fit(records, target), records, target


def scikit_learn(dataset: str) -> Case:
    model, records, target = fitted(dataset)
    return Case(model, records, target, model.predict(records))


def onnx_file(dataset: str) -> Case:
    skl2onnx = pytest.importorskip("skl2onnx")
    model, records, target = fitted(dataset)
    converted = skl2onnx.to_onnx(
        model, records.to_numpy(np.float32)[:1], options={LogisticRegression: {"zipmap": False}}
    )
    return Case(converted.SerializeToString(), records, target, model.predict(records))


def boosted_stumps(dataset: str) -> Case:
    xgboost = pytest.importorskip("xgboost")
    records, target = table(dataset)
    kind = xgboost.XGBRegressor if target.dtype.kind == "f" else xgboost.XGBClassifier
    # On quartiles, so that every column needs three comparisons and thresholds stay what they are.
    model = kind(n_estimators=20, max_depth=1, max_bin=4, tree_method="hist", n_jobs=1)
    model.fit(records, target)
    edges = {"edges": EDGES[dataset]} if dataset in EDGES else {}
    return Case(model, records, target, model.predict(records), edges)


def exported_network(dataset: str) -> Case:
    """Files that PyTorch and hummingbird wrote; they know no classes."""
    records, target = table(dataset)
    if dataset == "digits":
        records = records / 16
    path = VECTORS / NETWORKS[dataset]
    reference = pytest.importorskip("onnx.reference").ReferenceEvaluator(str(path))
    (given,) = reference.input_names
    tensor = records.to_numpy(np.float32)
    if dataset == "digits":
        tensor = tensor.reshape(-1, 1, 8, 8)
    outputs = reference.run(None, {given: tensor})
    if dataset == "diabetes":
        return Case(path, records, target, outputs[0][:, 0].astype(np.float64))
    classes = outputs[0] if outputs[0].ndim == 1 else outputs[0].argmax(axis=1)
    options: dict[str, Any] = {"labels": sorted(set(target))}
    if dataset == "digits":
        options["precision_bits"] = 8  # enough for every label, and half the ring
    return Case(path, records, target, classes, options)


IMPORTERS: dict[str, Callable[[str], Case]] = {
    "scikit-learn": scikit_learn,
    "ONNX": onnx_file,
    "XGBoost": boosted_stumps,
    "exported network": exported_network,
}
CASES = [(importer, dataset) for importer in IMPORTERS for dataset in DATASETS]


@pytest.mark.parametrize(("importer", "dataset"), CASES)
def test_every_row_is_answered_as_simulated(
    world: World, tmp_path: Path, importer: str, dataset: str
):
    case = IMPORTERS[importer](dataset)
    compiled = blindproof.compile(
        case.model, case.records, target=case.target, packing="batch", **case.options
    )
    simulated = compiled.simulate(case.records)
    if case.is_regression:
        own = r2_score(case.target, case.float_predictions)
        assert r2_score(case.target, simulated.predictions) >= own - 0.01
    else:
        own = np.mean(case.float_predictions.astype(str) == case.target.astype(str))
        kept = np.mean(np.array(simulated.labels) == case.target.astype(str))
        assert kept >= own - 0.005
        assert compiled.accuracy.undecided == 0

    card = compiled.publish(world.settings.models)
    with Client(world.address, model=card.digest, keys=world.keys, ca=world.ca) as client:
        result = client.predict(case.records)
    assert len(result.evidence) == 1  # one request holds them all
    assert result.error_bound == pytest.approx(compiled.error_bound)
    assert np.abs(result.values - simulated.values).max() <= result.error_bound
    assert result.labels == simulated.labels
    if simulated.probabilities is not None:
        assert np.allclose(result.probabilities, simulated.probabilities, atol=1e-4)
