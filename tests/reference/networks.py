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


def inputs(spec: NetworkSpec, records: int = 7, seed: int = 1) -> np.ndarray:
    """Normalised records in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (records, spec.inputs))
