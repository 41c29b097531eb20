from __future__ import annotations

import math

import numpy as np
import pytest

from protocol.errors import ParameterError
from protocol.families import (
    COMMITMENT_DEGREE,
    INTEGER_BITS,
    OPENING_SIZE,
    PUBLIC_NOISE_BOUND,
    WEIGHT_BITS,
    WEIGHT_BOUND,
    Family,
    FamilyKind,
    enrolment_family,
    flooding_bits_family,
    flooding_family,
    opening_family,
    small_family,
    weights_family,
)
from tests.adversarial.scenario import MODULI

LIMBS = (0, 1, 2)
FAMILIES = [
    flooding_family(8192, 92, LIMBS),
    small_family(8192, 8192, LIMBS),
    weights_family(31, LIMBS),
    weights_family(400_000, LIMBS),
    opening_family(),
    flooding_bits_family(1, 78, MODULI[:2]),
    flooding_bits_family(10, 78, MODULI[:2]),
    enrolment_family(8192, 1, MODULI),
    enrolment_family(32768, 10, MODULI),
]


@pytest.mark.rejects("C-20")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f"{f.name} {f.size}")
def test_masks_hide_and_intervals_are_representable(family):
    assert family.interval == family.mask_bound - family.honest_bound > 0
    assert family.proved_bound == 2 * family.interval
    assert family.interval < 1 << (8 * family.encoded_bytes - 1)
    loss = family.projections * family.honest_bound / family.mask_bound
    assert loss < 0.14, "an honest attempt fails seldom"


def deviations(rng: np.random.Generator, family: Family, members: np.ndarray) -> float:
    """|<r, x>| of many random r, in units of B'; floats are exact enough for a ratio."""
    if family.kind is FamilyKind.BINARY:
        vectors = rng.integers(0, 2, (400, family.size)).astype(float)
    else:
        half = 1 << (INTEGER_BITS - 1)
        vectors = rng.integers(-half, half, (400, family.size)).astype(float)
    return float(np.abs(vectors @ members.astype(float)).max()) / family.honest_bound


@pytest.mark.rejects("C-20")
def test_honest_projections_stay_within_their_bound(rng):
    size = 4096
    flood = 2.0**40
    cases = [
        (flooding_family(size, 40, LIMBS), rng.uniform(-flood, flood, size)),
        (
            small_family(size, size, LIMBS),
            np.concatenate([rng.integers(-1, 2, size), rng.binomial(42, 0.5, size) - 21]),
        ),
        (weights_family(size, LIMBS), np.full(size, WEIGHT_BOUND)),
        (opening_family(), rng.integers(-1, 2, OPENING_SIZE)),
        (flooding_bits_family(2, 78, MODULI), np.ones(158)),
        (
            enrolment_family(size, 1, MODULI),
            np.concatenate([rng.integers(-1, 2, size), rng.binomial(42, 0.5, size) - 21]),
        ),
    ]
    for family, members in cases:
        assert len(members) == family.size
        assert deviations(rng, family, members) <= 1
        assert family.honest_bound * 10_000 > np.abs(members).max(), "nor is it absurdly wide"


@pytest.mark.rejects("C-12")
@pytest.mark.parametrize("count", [1, 31, 3041, 65_536, 400_000])
def test_proved_weights_determine_the_registered_integers(count):
    """Equal mod q_0 and both short: equal as integers, in every limb."""
    assert weights_family(count, LIMBS).proved_bound + WEIGHT_BOUND < MODULI[0]


@pytest.mark.rejects("C-24")
@pytest.mark.parametrize("family", FAMILIES[5:], ids=lambda f: f"{f.name} {f.size}")
def test_ties_leave_no_room_in_limb_0(family):
    value = PUBLIC_NOISE_BOUND if family.name == "key" else 1
    assert family.kind is FamilyKind.INTEGER
    assert family.proved_bound + (value << INTEGER_BITS) < MODULI[0]
    assert min(MODULI) > 1 << INTEGER_BITS


@pytest.mark.rejects("C-24")
def test_ties_that_do_not_fit_are_refused():
    with pytest.raises(ParameterError, match="tie"):
        flooding_bits_family(10_000, 78, MODULI)
    with pytest.raises(ParameterError, match="tie"):
        enrolment_family(8192, 1, (MODULI[0], (1 << 31) - 1))
    with pytest.raises(ParameterError, match="tie"):
        enrolment_family(8192, 1, ((1 << 45) - 229, MODULI[1]))


@pytest.mark.rejects("C-20")
def test_every_number_of_a_family_is_absorbed():
    base = Family("x", 8, (0, 1), FamilyKind.BINARY, 10, 1000)
    others = [
        Family("y", 8, (0, 1), FamilyKind.BINARY, 10, 1000),
        Family("x", 9, (0, 1), FamilyKind.BINARY, 10, 1000),
        Family("x", 8, (0,), FamilyKind.BINARY, 10, 1000),
        Family("x", 8, (0, 1), FamilyKind.INTEGER, 10, 1000),
        Family("x", 8, (0, 1), FamilyKind.BINARY, 11, 1000),
        Family("x", 8, (0, 1), FamilyKind.BINARY, 10, 1001),
    ]
    assert len({family.value() for family in (base, *others)}) == 7


def test_constants_fit_each_other():
    assert (1 << WEIGHT_BITS) - 1 == WEIGHT_BOUND
    assert OPENING_SIZE == 5 * COMMITMENT_DEGREE
    assert math.log2(PUBLIC_NOISE_BOUND) == 4
