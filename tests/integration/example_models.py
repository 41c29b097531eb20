"""Small models, real in every other respect, which the tests of service and client share."""

from __future__ import annotations

import numpy as np

from blindproof.publishing import LinearModel, bundle_linear
from protocol.model import Feature
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle

PUBLISHER_KEY = bytes(range(32))
BOTH = (Packing.BATCH, Packing.SINGLE)


def linear_model(
    features: int = 3, outputs: int = 1, *, link: str = "logistic", seed: int = 1, name: str = "ex"
) -> LinearModel:
    """A random model with columns named x0, x1, ... in [-4, 6], centred on 1."""
    rng = np.random.default_rng(seed)
    labels = {"logistic": ("no", "yes"), "identity": ()}.get(
        link, tuple(f"class {j}" for j in range(outputs))
    )
    return LinearModel(
        name=name,
        version="1",
        purpose="tests",
        features=tuple(Feature(f"x{k}", -4.0, 6.0, 1.0, 2.0) for k in range(features)),
        weights=rng.uniform(-1, 1, (outputs, features)),
        intercept=rng.uniform(-1, 1, outputs),
        outputs=tuple(f"y{j}" for j in range(outputs)),
        labels=labels,
        link=link,
    )


def bundle(
    model: LinearModel, mode: Mode = Mode.PRIVATE, packings: tuple[Packing, ...] = BOTH
) -> ModelBundle:
    """The model as a server serves it."""
    return bundle_linear(model, PUBLISHER_KEY, mode=mode, packings=packings, precision_bits=16.0)


def records(count: int, features: int = 3, seed: int = 2) -> np.ndarray:
    """Records inside the declared range, float64 (count, features)."""
    return np.random.default_rng(seed).uniform(-4, 6, (count, features))


def exact_values(served: ModelBundle, rows: np.ndarray) -> np.ndarray:
    """The integer model in double precision, float64 (records, J)."""
    card = served.card
    centre = np.array([feature.centre for feature in card.features])
    scale = np.array([feature.scale for feature in card.features])
    normalised = (rows - centre) / scale
    return (normalised @ served.weights.T + served.bias) * card.unit / 2**15
