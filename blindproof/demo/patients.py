"""The demonstration's model: logistic regression on scikit-learn's breast-cancer data.

Ranges and scaling come from the training patients alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindproof.publishing import LinearModel
from fhe_layers.quantise import quantise
from protocol.features import Feature

Floats = npt.NDArray[np.float64]

SEED = 0
HELD_OUT = 0.25
REGULARISATION = 0.7
MARGIN = 0.4
"""Ranges are those of the training patients, widened by this part of their width on each side."""


@dataclass(frozen=True, eq=False, repr=False)
class Patients:
    """A fitted model and the patients it has not seen.

    Attributes:
        model: ready for publication.
        held_out: float64 (patients, 30), raw values.
        truth: the patients' true labels.
        plaintext_labels: the labels scikit-learn's own model gives in the clear.
        plaintext_values: float64 (patients, 1), the log-odds it gives.
    """

    model: LinearModel
    held_out: Floats
    truth: tuple[str, ...]
    plaintext_labels: tuple[str, ...]
    plaintext_values: Floats

    @property
    def exact_values(self) -> Floats:
        """What the published integer model gives in the clear, float64 (patients, 1)."""
        quantised = quantise(self.model.weights, self.model.intercept)
        inputs = self.model.inputs_of(self.held_out)
        exact: Floats = (inputs @ quantised.weights.T + quantised.bias) * quantised.step
        return exact


def fit() -> Patients:
    """Train on three quarters of the patients."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer()
    train, held_out, classes, truth = train_test_split(
        data.data, data.target, test_size=HELD_OUT, random_state=SEED, stratify=data.target
    )
    scaler = StandardScaler().fit(train)
    classifier = LogisticRegression(C=REGULARISATION, max_iter=1000)
    classifier.fit(scaler.transform(train), classes)
    low, high = train.min(axis=0), train.max(axis=0)
    margin = MARGIN * (high - low)
    columns = zip(
        data.feature_names,
        np.maximum(low - margin, 0.0),  # sizes and ratios are never negative
        high + margin,
        scaler.mean_,
        scaler.scale_,
        strict=True,
    )
    labels = tuple(str(name) for name in data.target_names)
    model = LinearModel(
        name="breast-cancer",
        version="1",
        purpose="demonstration on scikit-learn's breast-cancer data; not for medical use",
        features=tuple(
            Feature(str(name), *(float(number) for number in numbers)) for name, *numbers in columns
        ),
        weights=classifier.coef_.astype(np.float64),
        intercept=classifier.intercept_.astype(np.float64),
        outputs=("log-odds of benign",),
        labels=labels,
        link="logistic",
    )
    predicted = classifier.predict(scaler.transform(held_out))
    log_odds = classifier.decision_function(scaler.transform(held_out))
    return Patients(
        model,
        held_out,
        tuple(labels[index] for index in truth),
        tuple(labels[index] for index in predicted),
        log_odds.astype(np.float64).reshape(-1, 1),
    )
