"""The demonstration's networks: trained here, in seconds, on data that scikit-learn brings along.

Inputs are scaled into [-1, 1] over ranges that the training records decide; a client refuses
records outside of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindproof.collapsed_publishing import collapsed_model
from blindproof.demo.patients import HELD_OUT, MARGIN, SEED
from blindproof.demo.training import Convolution, Schedule, SquareNetwork, one_hot
from blindproof.network_publishing import NetworkModel
from blindproof.publishing import LinearModel
from fhe_layers.quantise import quantise
from fhe_layers.quantise_network import QuantisedNetwork, quantise_network, simulate
from fhe_layers.spec import NetworkSpec
from protocol.features import Feature
from protocol.links import decide

Floats = npt.NDArray[np.float64]

MLP_SCHEDULE = Schedule(epochs=60, batch=64, rate=0.02, temperature=16.0, l1_bound=3.99)
# A row's norm meets the error bound once per squaring after it: deeper networks get less.
DEEP_MLP_SCHEDULE = Schedule(epochs=60, batch=64, rate=0.02, temperature=16.0, l1_bound=2.99)
CNN_SCHEDULE = Schedule(epochs=20, batch=64, rate=0.02, temperature=8.0, l1_bound=2.99)
IMAGE = (1, 8, 8)
INK = 16.0
"""Pixels of the digits are 0 to 16."""


@dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """A network and the records it has not seen.

    Attributes:
        model: ready for publication.
        precision_bits: what to ask of the planner.
        held_out: float64 (records, K), raw values.
        truth: the records' true labels.
        quantised: the integer network that is published.
    """

    model: NetworkModel
    precision_bits: float
    held_out: Floats
    truth: tuple[str, ...]
    quantised: QuantisedNetwork

    @property
    def plaintext_values(self) -> Floats:
        """Outputs of the trained network in the clear, float64 (records, J)."""
        return self.model.network.forward(self.model.normalised(self.held_out))

    @property
    def exact_values(self) -> Floats:
        """Outputs of the published integer network in the clear, float64 (records, J)."""
        inputs = self.model.normalised(self.held_out)
        return simulate(self.quantised.graph, self.quantised.integers, inputs) * self.quantised.unit

    @property
    def plaintext_labels(self) -> tuple[str, ...]:
        """The labels that the trained network gives in the clear."""
        return self.labels(self.plaintext_values)

    def labels(self, values: Floats) -> tuple[str, ...]:
        """The labels of outputs (records, J), as the model's link decides."""
        chosen = decide(self.model.link, values)
        return () if chosen is None else tuple(self.model.labels[index] for index in chosen)


@dataclass(frozen=True, eq=False, repr=False)
class OneRecord:
    """The first unseen record of a network that is published multiplied out, over monomials.

    Attributes:
        trained: the network.
        model: the linear model over monomials.
    """

    trained: Trained
    model: LinearModel

    @classmethod
    def of(cls, trained: Trained) -> OneRecord:
        """Multiply the network out.  Raises PlanningError when it has too many monomials."""
        return cls(trained, collapsed_model(trained.model))

    @property
    def held_out(self) -> Floats:
        """Raw values (1, K)."""
        return self.trained.held_out[:1]

    @property
    def truth(self) -> tuple[str, ...]:
        """The record's true label."""
        return self.trained.truth[:1]

    @property
    def plaintext_labels(self) -> tuple[str, ...]:
        """The label that the trained network gives in the clear."""
        return self.trained.plaintext_labels[:1]

    @property
    def plaintext_values(self) -> Floats:
        """Outputs of the trained network in the clear, float64 (1, J)."""
        return self.trained.plaintext_values[:1]

    @property
    def exact_values(self) -> Floats:
        """Outputs of the published polynomial in the clear, float64 (1, J)."""
        quantised = quantise(self.model.weights, self.model.intercept)
        inputs = self.model.inputs_of(self.held_out)
        exact: Floats = (inputs @ quantised.weights.T + quantised.bias) * quantised.step
        return exact


def breast_cancer_mlp(hidden: Sequence[int] = (64,)) -> Trained:
    """Dense layers of the 30 measurements, `hidden` units and the log-odds of benign."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    train, held_out, classes, truth = train_test_split(
        data.data, data.target, test_size=HELD_OUT, random_state=SEED, stratify=data.target
    )
    low, high = train.min(axis=0), train.max(axis=0)
    margin = MARGIN * (high - low)
    low, high = np.maximum(low - margin, 0.0), high + margin
    centre = train.mean(axis=0)
    scale = np.maximum(high - centre, centre - low)
    network = SquareNetwork((train.shape[1], *hidden, 1), None, SEED)
    schedule = MLP_SCHEDULE if len(hidden) == 1 else DEEP_MLP_SCHEDULE
    network.train((train - centre) / scale, classes[:, None].astype(np.float64), schedule)
    columns = zip(data.feature_names, low, high, centre, scale, strict=True)
    labels = tuple(str(name) for name in data.target_names)
    return _trained(
        name="breast-cancer-" + "-".join(map(str, (train.shape[1], *hidden, 1))),
        features=tuple(Feature(str(name), *map(float, numbers)) for name, *numbers in columns),
        network=network.spec(),
        outputs=("log-odds of benign",),
        labels=labels,
        link="logistic",
        precision_bits=20.0 if len(hidden) == 1 else 14.0,
        held_out=held_out,
        truth=tuple(labels[index] for index in truth),
    )


def digits_cnn() -> Trained:
    """Handwritten digits of 8 x 8 pixels: four kernels of 3 x 3, 32 units, ten outputs."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    train, held_out, classes, truth = train_test_split(
        data.data, data.target, test_size=HELD_OUT, random_state=SEED, stratify=data.target
    )
    front = Convolution(IMAGE, channels=4, size=3, padding=1)
    network = SquareNetwork((front.units, 32, 10), front, SEED)
    network.train(train / INK, one_hot(classes, 10), CNN_SCHEDULE)
    labels = tuple(f"digit {digit}" for digit in range(10))
    return _trained(
        name="digits-cnn",
        features=tuple(Feature(f"pixel {k}", 0.0, INK, 0.0, INK) for k in range(train.shape[1])),
        network=network.spec(),
        outputs=tuple(f"score of {digit}" for digit in range(10)),
        labels=labels,
        link="argmax",
        precision_bits=14.0,
        held_out=held_out,
        truth=tuple(labels[index] for index in truth),
    )


def _trained(
    *,
    name: str,
    features: tuple[Feature, ...],
    network: NetworkSpec,
    outputs: tuple[str, ...],
    labels: tuple[str, ...],
    link: str,
    precision_bits: float,
    held_out: Floats,
    truth: tuple[str, ...],
) -> Trained:
    model = NetworkModel(
        name=name,
        version="1",
        purpose="demonstration on data of scikit-learn; not for medical or any other use",
        features=features,
        network=network,
        outputs=outputs,
        labels=labels,
        link=link,
    )
    return Trained(model, precision_bits, held_out, truth, quantise_network(network))
