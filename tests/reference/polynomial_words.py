"""A ciphertext of exact integers that adds and multiplies as a polynomial in S."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class PolynomialWords:
    """Words ``(poly, limb, n)`` as an object array, reduced after every operation."""

    def __init__(self, words: Any, moduli: Sequence[int]) -> None:
        self.moduli = tuple(moduli)
        self.words = words.astype(object) % np.array(moduli, dtype=object)[:, None]

    def __add__(self, other: PolynomialWords | int) -> PolynomialWords:
        if isinstance(other, int):  # a constant: the same word everywhere in the NTT domain
            words = self.words.copy()
            words[0] += other
            return PolynomialWords(words, self.moduli)
        size = max(len(self.words), len(other.words))
        words = np.zeros((size, *self.words.shape[1:]), dtype=object)
        words[: len(self.words)] += self.words
        words[: len(other.words)] += other.words
        return PolynomialWords(words, self.moduli)

    def __mul__(self, other: PolynomialWords | int) -> PolynomialWords:
        if isinstance(other, int):
            return PolynomialWords(self.words * other, self.moduli)
        size = len(self.words) + len(other.words) - 1
        words = np.zeros((size, *self.words.shape[1:]), dtype=object)
        for i, left in enumerate(self.words):
            for j, right in enumerate(other.words):
                words[i + j] += left * right
        return PolynomialWords(words, self.moduli)
