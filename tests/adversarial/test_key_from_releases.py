"""The key out of released values, by a publisher who chooses the model and the worst noise.

The publisher knows what an answer is but for the key: with weights of zero it is the bias, and the
errors that can be proved are the server's to choose.  It puts an answer half way between two
doubles, so that one bit of the key decides which of them a decrypted value is nearest to.  If a
double is made before the noise is added, and the noise is below the last place of the double, every
verified answer gives a coefficient of the key.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from client_sdk import disclosure
from client_sdk.disclosure import in_units, release
from fhe_layers.encoding import decode_slots
from fhe_layers.moduli import ntt_primes
from protocol.bounds import Bounds, linear_bounds
from protocol.parameters import CkksParameters, Packing
from tests.adversarial.distributions import SIGNIFICANCE, two_samples
from tests.adversarial.scenario import DEGREE, MODULI, SPECIAL

PARAMETERS = CkksParameters(DEGREE, MODULI, SPECIAL, 139)
BIAS = 24_576
DRAWS = 4000


def bounds_of(packing: Packing, flooding_log2: int) -> Bounds:
    """A model of one feature which is at its best 2^139 fine."""
    return linear_bounds(
        PARAMETERS,
        packing,
        outputs=1,
        row_l1_bound=32_767,
        input_bound=1.0,
        flooding_log2=flooding_log2,
    )


def half_way(bounds: Bounds) -> int:
    """An answer half way between two doubles, which a publisher's bias and noise can reach."""
    value = BIAS << PARAMETERS.input_scale_log2
    last_place = 1 << (value.bit_length() - 53)
    assert bounds.disclosure_noise < last_place >> 4, "the noise is far below the last place"
    return value + last_place // 2


def draws(value: int, bounds: Bounds, first: int) -> list[Fraction]:
    """Releases of one value under so many keys, exactly."""
    found = []
    exact = np.array([[value]], dtype=object)
    for draw in range(first, first + DRAWS):
        (released,) = release(exact, bounds, draw.to_bytes(32), bytes(32))[0].tolist()
        found.append(Fraction(released))
    return found


@pytest.mark.rejects("C-41")
def test_a_double_first_would_give_the_key_away_and_what_is_released_does_not():
    bounds = bounds_of(Packing.SINGLE, 40)
    middle, shift = half_way(bounds), bounds.secret_error
    zero, one = (
        in_units(np.array([[middle + sign * shift]], dtype=object), bounds)[0, 0]
        for sign in (-1, 1)
    )
    assert zero != one, "a decrypted double is the key's bit"
    released = [set(draws(middle + sign * shift, bounds, 0)) for sign in (-1, 1)]
    assert released[0] == released[1], "both neighbours are released, whatever the bit"
    assert len(released[0]) == 2
    shares = [
        np.mean(
            [value == min(released[0]) for value in draws(middle + sign * shift, bounds, start)]
        )
        for sign, start in ((-1, DRAWS), (1, 2 * DRAWS))
    ]
    assert abs(shares[0] - shares[1]) < 6 * math.sqrt(0.5 / DRAWS)


@pytest.mark.accepts("C-41")
@pytest.mark.parametrize(("packing", "flooding"), [(Packing.SINGLE, 40), (Packing.BATCH, 81)])
def test_the_worst_key_dependent_error_moves_few_released_values(packing, flooding, monkeypatch):
    """The same noise on both phases: as many releases differ as the distance allows, so none.

    On the integers before the last step as well: there the distributions are what counts.
    """
    bounds = bounds_of(packing, flooding)
    integers: list[np.ndarray] = []
    full = disclosure.in_units

    def heard(values: np.ndarray, of: Bounds) -> np.ndarray:
        integers.append(values)
        return full(values, of)

    monkeypatch.setattr(disclosure, "in_units", heard)
    base = BIAS << PARAMETERS.input_scale_log2
    for shift in (-bounds.secret_error, bounds.secret_error):
        values = np.full((DRAWS, 1), base + shift, dtype=object)
        release(values, bounds, bytes(32), bytes(32))
    below, above = integers
    grid = 1 << (bounds.disclosure_noise.bit_length() - 2)
    assert len(set(below[:, 0])) >= 4, "the noise spreads over the grid"
    assert not any(value % grid for value in below[:, 0])
    assert np.array_equal(below, above), "2^-32 of them would differ"
    assert bounds.disclosed_distance <= Fraction(1, 1 << 33)


@pytest.mark.rejects("C-41")
def test_less_noise_than_the_claim_would_be_seen():
    """The same experiment with noise of the error's own size: the distributions come apart."""
    bounds = bounds_of(Packing.SINGLE, 40)
    noise = bounds.secret_error
    small = Bounds(
        **{name: getattr(bounds, name) for name in bounds.__dataclass_fields__}
        | {"disclosure_noise": noise, "output_scale_log2": noise.bit_length()}
    )
    samples = [
        np.array([float(value) for value in draws(shift, small, start)])
        for shift, start in ((-noise, 0), (noise, DRAWS))
    ]
    assert two_samples(*samples) < SIGNIFICANCE
    honest = [np.array([float(value) for value in draws(0, small, start)]) for start in (0, DRAWS)]
    assert two_samples(*honest) > SIGNIFICANCE


def test_decoding_does_not_amplify_what_depends_on_the_key():
    """All slots of a batch half way between two doubles, and what depends on the key in one place.

    In double precision it moves every slot by a last place.  Here it moves them by what it is, and
    by a rounding besides which is far below.
    """
    moduli = tuple(ntt_primes(DEGREE, 60, 3))
    bounds = bounds_of(Packing.BATCH, 81)
    value = BIAS << PARAMETERS.input_scale_log2
    middle = value + (1 << (value.bit_length() - 54))
    shift = bounds.secret_error
    decoded = []
    for constant in (middle - shift, middle + shift):
        words = np.zeros((1, len(moduli), DEGREE), dtype=np.uint64)
        words[0, :, 0] = [constant % q for q in moduli]
        decoded.append(decode_slots(words, moduli)[0])
    lower, upper = ([float(v) for v in row] for row in decoded)
    assert all(a != b for a, b in zip(lower, upper, strict=True)), "doubles show the bit"
    rounding = (value >> 100) + 2
    assert rounding < shift >> 8
    assert all(abs(b - a - 2 * shift) <= 2 * rounding for a, b in zip(*decoded, strict=True))
