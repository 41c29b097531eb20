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
    error_family,
    flooding_bits_family,
    flooding_family,
    network_families,
    opening_family,
    randomiser_family,
    small_family,
    weights_family,
)
from tests.adversarial.scenario import MODULI, largest_primes

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


DEEP = {
    "outputs": 10,
    "polys": 5,
    "integers": 8594,
    "ring_degree": 16384,
    "moduli": largest_primes(60, 6, 16384),
    "flooding_log2": 132,
    "dropped_limbs": 2,
}
"""The convolutional network of the demonstration."""


def test_families_of_a_network():
    families = network_families(**DEEP)
    size, every = 10 * 16384, tuple(range(6))
    assert [(family.name, family.size, family.limbs) for family in families] == [
        ("flooding", size, every),
        *((f"error {power}", size, every) for power in (1, 2, 3, 4)),
        ("u", 16384, (0, 1, 2, 3)),
        ("weights", 8594, every),
        ("opening", OPENING_SIZE, (0,)),
    ]
    assert {family.kind for family in families} == {FamilyKind.BINARY}
    plain = network_families(**(DEEP | {"dropped_limbs": 0}))
    dropped = math.prod(DEEP["moduli"][4:])
    assert families[1].mask_bound == families[1].honest_bound << 14
    assert plain[1].mask_bound == plain[1].honest_bound << 14
    for kept_units, family in zip(plain[:5], families[:5], strict=True):
        assert kept_units.honest_bound * dropped < family.honest_bound
        assert family.honest_bound < 7 * kept_units.honest_bound * dropped


@pytest.mark.accepts("C-63")
@pytest.mark.rejects("C-20")
@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_masks_of_a_network_hide(dropped):
    for family in network_families(**(DEEP | {"dropped_limbs": dropped})):
        assert family.projections * family.honest_bound / family.mask_bound < 0.14
        assert family.interval < 1 << (8 * family.encoded_bytes - 1)
        held = math.prod(DEEP["moduli"][limb] for limb in family.limbs)
        assert 2 * family.proved_bound < held


@pytest.mark.rejects("C-63")
@pytest.mark.rejects("C-20")
@pytest.mark.parametrize(
    "changes",
    [
        {"dropped_limbs": 4},
        {"flooding_log2": 340},
        {"dropped_limbs": 2, "flooding_log2": 225},
    ],
)
def test_noise_beyond_its_limbs_is_refused(changes):
    with pytest.raises(ParameterError, match="masks of"):
        network_families(**(DEEP | changes))


@pytest.mark.rejects("C-20")
def test_honest_projections_of_a_network_stay_within_their_bound(rng):
    """The worst rounding a client can provoke is P / 2 in every coefficient."""
    size, dropped = 4096, MODULI[2]
    fields = {"flooding_log2": 60, "limbs": LIMBS}
    noise = rng.binomial(42, 0.5, size) - 21.0
    flood = rng.uniform(-(2.0**60), 2.0**60, size)
    plain = [error_family(i, size, dropped_modulus=1, **fields) for i in (0, 1)]
    scaled = [error_family(i, size, dropped_modulus=dropped, **fields) for i in (0, 1)]
    worst = float(dropped) * (noise + 0.5)
    cases = [
        (plain[0], flood),
        (plain[1], noise),
        (scaled[0], float(dropped) * (flood + 0.5)),
        (scaled[1], worst),
        (scaled[1], -worst),
        (randomiser_family(size, LIMBS), rng.integers(-1, 2, size)),
    ]
    for family, members in cases:
        assert len(members) == family.size
        assert 0.05 < deviations(rng, family, members) <= 1
    without_mean = error_family(1, size, dropped_modulus=1, **fields).honest_bound * dropped
    assert deviations(rng, scaled[1], worst) * scaled[1].honest_bound > without_mean / 4


@pytest.mark.accepts("C-24")
@pytest.mark.parametrize(
    ("keys", "bits", "limbs", "degree"),
    [(40, 60, 6, 16384), (64, 60, 7, 16384), (64, 60, 13, 32768), (2, 60, 3, 8192)],
)
def test_keys_of_networks_can_be_enrolled(keys, bits, limbs, degree):
    family = enrolment_family(degree, keys, largest_primes(bits, limbs, degree))
    assert family.size == (1 + keys) * degree
    assert family.mask_bound > family.honest_bound << 8


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
