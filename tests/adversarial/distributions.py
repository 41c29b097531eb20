"""Tests of distributions."""

from __future__ import annotations

import math

import numpy as np

SIGNIFICANCE = 1e-6
"""Tests of distributions fail this often by chance."""


def kolmogorov(sample: np.ndarray) -> float:
    """p-value that values in [0, 1] are uniform (Kolmogorov's limit, Stephens' correction)."""
    ordered, n = np.sort(sample), len(sample)
    steps = np.arange(n + 1) / n
    distance = max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))
    x = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    terms = ((-1) ** (i - 1) * math.exp(-2 * (i * x) ** 2) for i in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))


def two_samples(first: np.ndarray, second: np.ndarray) -> float:
    """p-value that two samples are of one distribution."""
    both = np.sort(np.concatenate([first, second]))
    below = (np.searchsorted(np.sort(s), both, side="right") / len(s) for s in (first, second))
    distance = float(np.max(np.abs(np.subtract(*below))))
    n = len(first) * len(second) / (len(first) + len(second))
    x = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    terms = ((-1) ** (i - 1) * math.exp(-2 * (i * x) ** 2) for i in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
