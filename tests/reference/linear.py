"""Linear maps over ciphertext words ``[k, poly, limb, n]``, as object arrays of integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _moduli(moduli: list[int]) -> NDArray[np.object_]:
    return np.array(moduli, dtype=object)


def linear(
    words: NDArray[np.uint64], weights: NDArray[np.generic], moduli: list[int]
) -> NDArray[np.uint64]:
    """``sum_k weights[j, k] words[k]``, weights ``[j, k]`` or, per limb, ``[j, k, limb]``."""
    q = _moduli(moduli)[:, None]
    integers = words.astype(object)
    outputs, count = weights.shape[:2]
    out = np.zeros((outputs, *words.shape[1:]), dtype=object)
    for j in range(outputs):
        for k in range(count):
            # A single weight stands for all limbs.
            weight = np.atleast_1d(weights[j, k]).astype(object)
            out[j] = (out[j] + weight[:, None] * integers[k]) % q
    return out.astype(np.uint64)


def inner_products(
    words: NDArray[np.uint64], vectors: NDArray[np.uint64], moduli: list[int]
) -> NDArray[np.uint64]:
    """Sums over poly and n: ``[limb, c, k]``."""
    out = np.zeros((len(moduli), len(vectors), len(words)), dtype=object)
    for c, vector in enumerate(vectors.astype(object)):
        for k, word in enumerate(words.astype(object)):
            for limb, q in enumerate(moduli):
                out[limb, c, k] = int((word[:, limb] * vector[:, limb]).sum()) % q
    return out.astype(np.uint64)
