"""Small models, real in every other respect, which the tests of service and client share."""

from __future__ import annotations

import numpy as np

from blindproof.publishing import LinearModel, bundle_linear
from blindproof.sealing import seal
from fhe_layers.moduli import modulus_chain
from protocol.families import COMMITMENT_DEGREE
from protocol.graph import Graph, Node, Power, Product
from protocol.model import Feature, ModelCard, Profile
from protocol.parameters import CkksParameters, Mode, Packing
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


def network_bundle(
    graph: Graph,
    profile: Profile,
    mode: Mode = Mode.PRIVATE,
    *,
    link: str = "identity",
    seed: int = 3,
) -> ModelBundle:
    """A network of random integers with columns as in `linear_model`, but within [-1, 1]."""
    rng = np.random.default_rng(seed)
    parts, bounds = [], []
    for matrix in graph.matrices:
        if matrix.bias:
            rows = rng.integers(-(1 << 14), 1 << 14, (matrix.rows, matrix.width))
            bounds += [1 << int(norm).bit_length() for norm in np.abs(rows).sum(axis=1)]
        else:  # a selection
            rows = np.eye(matrix.width, dtype=np.int64)[rng.integers(0, matrix.width, matrix.rows)]
            bounds += [1] * matrix.rows
        parts.append(rows.reshape(-1))
    integers = np.concatenate(parts).astype(np.int64)
    outputs = graph.outputs_count
    private = mode is Mode.PRIVATE
    draft = ModelCard(
        name="network",
        version="1",
        purpose="tests",
        mode=mode,
        features=tuple(Feature(f"x{k}", -4.0, 6.0, 1.0, 5.0) for k in range(graph.inputs)),
        graph=graph,
        outputs=tuple(f"y{j}" for j in range(outputs)),
        labels=() if link == "identity" else tuple(f"class {j}" for j in range(outputs)),
        link=link,
        unit=1.0,
        row_l1_bounds=tuple(bounds),
        profiles=(profile,),
        commitment=bytes(2 * COMMITMENT_DEGREE * 8) if private else b"",
        public_weights=() if private else _rows(graph, integers),
    )
    return seal(draft, integers, PUBLISHER_KEY)


def network_profile(
    limbs: int,
    scale_log2: int,
    flooding_log2: int | None,
    *,
    dropped: int = 0,
    disclosure: int = 8,
    degree: int = 8192,
) -> Profile:
    """A batch over 60-bit primes."""
    moduli, special = modulus_chain(degree, limbs)
    parameters = CkksParameters(degree, moduli, special, scale_log2)
    return Profile(Packing.BATCH, parameters, flooding_log2, dropped, disclosure)


def network_values(served: ModelBundle, rows: np.ndarray) -> np.ndarray:
    """The integer network in double precision, float64 (records, J), from its lowered layers."""
    card = served.card
    centre = np.array([feature.centre for feature in card.features])
    scale = np.array([feature.scale for feature in card.features])
    tensors = [((rows - centre) / scale).T]
    for node in card.graph.nodes(0):
        tensors.append(_node_value(node, tensors, served.integers.astype(np.float64)))
    log2 = card.graph.tensors(0)[-1].scale_log2
    return np.ldexp(tensors[-1].T, -log2) * card.unit


def _node_value(node: Node, tensors: list[np.ndarray], integers: np.ndarray) -> np.ndarray:
    """One layer on plain numbers, at the scales it has when inputs are not scaled."""
    if isinstance(node, Product):
        return tensors[node.left] * tensors[node.right]
    if isinstance(node, Power):
        return sum(float(c) * tensors[node.source] ** i for i, c in enumerate(node.coefficients))
    out = np.zeros((node.units, tensors[0].shape[1]))
    for term in node.terms:
        weights = 1.0 if term.weights is None else integers[term.weights][:, None]
        np.add.at(
            out, term.outputs, float(term.factor) * weights * tensors[term.source][term.inputs]
        )
    return out if node.bias is None else out + node.bias_factor * integers[node.bias][:, None]


def _rows(graph: Graph, integers: np.ndarray) -> tuple[tuple[int, ...], ...]:
    spans = (
        integers[m.offset : m.offset + m.size].reshape(m.rows, m.width) for m in graph.matrices
    )
    return tuple(tuple(row) for matrix in spans for row in matrix.tolist())
