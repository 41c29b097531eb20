"""Double-double arithmetic against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.double_double import DoubleDouble

UNIT = Fraction(1, 1 << 106)  # u^2


def exact(number: DoubleDouble) -> list[Fraction]:
    pairs = zip(number.high.tolist(), number.low.tolist(), strict=True)
    return [Fraction(high) + Fraction(low) for high, low in pairs]


def of(values: list[int]) -> DoubleDouble:
    return DoubleDouble.of_fixed_point(values, 150)


numbers = st.integers(-(1 << 300), 1 << 300)


@pytest.mark.parametrize(
    ("operation", "units"),
    [("plus", 4), ("minus", 4), ("times", 7)],
)
@given(a=numbers, b=numbers, shift=st.integers(0, 120))
def test_operations_have_their_proved_errors(
    operation: str, units: int, a: int, b: int, shift: int
) -> None:
    near = -a + (b >> 150 + shift)  # cancels in a sum
    left, right = of([a, a, a]), of([b, b >> shift, near])
    result = exact(getattr(left, operation)(right))
    for x, y, found in zip(exact(left), exact(right), result, strict=True):
        expected = {"plus": x + y, "minus": x - y, "times": x * y}[operation]
        assert abs(found - expected) <= units * UNIT * abs(expected)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1))
def test_words_are_exact_and_come_back(words: list[int]) -> None:
    number = DoubleDouble.of_words(np.array(words, dtype=np.int64))
    assert exact(number) == words
    assert number.integers().tolist() == words


@given(numbers)
def test_fixed_point_is_rounded_to_the_nearest_two_doubles(value: int) -> None:
    (found,) = exact(of([value]))
    expected = Fraction(value, 1 << 150)
    assert abs(found - expected) <= UNIT * abs(expected)


@pytest.mark.parametrize(
    "value", [Fraction(1, 2), Fraction(-7, 4), Fraction(2**60) + Fraction(1, 3)]
)
def test_integers_are_at_most_one_from_the_value(value: Fraction) -> None:
    number = of([int(value * 2**150)])
    (found,) = number.integers()
    assert isinstance(found, int)
    assert abs(found - value) <= 1
