"""Small real networks, one of every layer, for tests of folding, quantising and planning."""

from __future__ import annotations

import numpy as np

from fhe_layers.spec import (
    SQUARE,
    AddSpec,
    BatchNormSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    GatherSpec,
    GroupedSelectionSpec,
    LayerSpec,
    MulSpec,
    NetworkSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    SelectionSpec,
)


def dense(rng: np.random.Generator, into: int, out: int, source: int | None = None) -> DenseSpec:
    """Rows of l1 norm about one."""
    return DenseSpec(rng.uniform(-2, 2, (out, into)) / into, rng.uniform(-0.5, 0.5, out), source)


def mlp(seed: int = 0, sizes: tuple[int, ...] = (5, 4, 2)) -> NetworkSpec:
    """Dense layers with squares between."""
    rng = np.random.default_rng(seed)
    layers: list[LayerSpec] = []
    for index in range(len(sizes) - 1):
        if index:
            layers.append(PolynomialSpec(SQUARE))
        layers.append(dense(rng, sizes[index], sizes[index + 1]))
    return NetworkSpec((sizes[0],), tuple(layers))


def image_network(seed: int = 0) -> NetworkSpec:
    """Convolution, batch normalisation, square, average pool, flatten, dense."""
    rng = np.random.default_rng(seed)
    norm = BatchNormSpec(
        rng.uniform(0.5, 2, 3),
        rng.uniform(-0.1, 0.1, 3),
        rng.uniform(-0.2, 0.2, 3),
        rng.uniform(0.2, 2, 3),
    )
    return NetworkSpec(
        (2, 5, 6),
        (
            Conv2dSpec(
                rng.uniform(-0.3, 0.3, (3, 2, 3, 2)),
                rng.uniform(-0.1, 0.1, 3),
                stride=(1, 2),
                padding=(1, 1),
            ),
            norm,
            PolynomialSpec(SQUARE),
            PoolSpec((3, 2), (2, 2)),
            FlattenSpec(),
            dense(rng, 12, 3),
        ),
    )


def residual_network(seed: int = 0) -> NetworkSpec:
    """Every layer that the other two lack, and sums whose sides have different units."""
    rng = np.random.default_rng(seed)
    return NetworkSpec(
        (6,),
        (
            dense(rng, 6, 4),  # 1
            PolynomialSpec((0.25, 0.5, 0.125)),  # 2
            SelectionSpec((5, 0, 0, 2), source=0),  # 3
            AddSpec(2, 3),  # 4
            ScaleSpec(-0.5),  # 5
            MulSpec(5, 1),  # 6
            PolynomialSpec((0.0, 0.0, 0.0, 2.0)),  # 7
            AddSpec(7, 4),  # 8
            dense(rng, 4, 2),  # 9
        ),
    )


def forest(
    trees: int = 2, features: int = 3, thresholds: int = 4, depth: int = 3, seed: int = 0
) -> NetworkSpec:
    """Trees as polynomials of comparisons, on bits (features, thresholds).

    A tree of depth d is a sum of products of up to d comparisons, each of which is a private
    choice of a feature, then of a threshold: one dense layer for each degree, and their sum.
    """
    rng = np.random.default_rng(seed)
    nodes = 2**depth - 1
    count = trees * nodes
    layers: list[LayerSpec] = [
        SelectionSpec(rng.integers(0, features, count).tolist(), positions=thresholds),
        GroupedSelectionSpec(rng.integers(0, thresholds, count).tolist()),
    ]
    bits, parts = len(layers), [dense(rng, count, 1, len(layers))]
    pairs = [(0, 1), (0, 2)] if depth == 2 else [(0, 1), (0, 2), (0, 4), (0, 6), (2, 5), (2, 6)]
    triples = [] if depth == 2 else [(0, 3), (0, 4), (1, 5), (1, 6)]  # a pair and a comparison
    left, width = bits, nodes
    for joined in filter(None, (pairs, triples)):
        for source, stride, side in ((left, width, 0), (bits, nodes, 1)):
            units = [t * stride + pair[side] for t in range(trees) for pair in joined]
            layers.append(GatherSpec(units, source))
        layers.append(MulSpec(len(layers) - 1, len(layers)))
        left, width = len(layers), len(joined)
        parts.append(dense(rng, trees * width, 1, left))
    first = len(layers) + 1
    layers += parts
    total = first
    for part in range(first + 1, first + len(parts)):
        layers.append(AddSpec(total, part))
        total = len(layers)
    return NetworkSpec((features * thresholds,), tuple(layers))


def inputs(spec: NetworkSpec, records: int = 7, seed: int = 1) -> np.ndarray:
    """Normalised records in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (records, spec.inputs))
