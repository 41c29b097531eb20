"""The error bound against measured errors, of honest noise and of the worst that can be proved."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import kernels
from protocol.bounds import Bounds, linear_bounds
from protocol.errors import ParameterError
from protocol.families import PUBLIC_NOISE_BOUND, flooding_family, small_family
from protocol.packing import answer_positions
from protocol.parameters import FRESH_NOISE_BOUND, Packing
from tests.adversarial.malicious_prover import glue
from tests.adversarial.scenario import (
    BATCH_FLOODING,
    BATCH_PARAMETERS,
    DEGREE,
    SINGLE_FLOODING,
    SINGLE_PARAMETERS,
    SINGLE_SCALE,
    Single,
    in_every_limb,
    make_single,
    residues,
)
from zk_layers.fields import field, ntt


def single_bounds(single: Single) -> Bounds:
    return single.request.card.bounds(Packing.SINGLE)


def encrypted(
    rng: np.random.Generator, secret: np.ndarray, message: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """(c_0, c_1) with c_0 + c_1 s = message + noise, words (2, L, N)."""
    words = np.empty((2, 2, DEGREE), dtype=np.uint64)
    plain = message.astype(object) + noise
    for limb, modulus in enumerate(SINGLE_PARAMETERS.moduli):
        arithmetic, transform = field(modulus), ntt(modulus, DEGREE)
        uniform = rng.integers(0, modulus, DEGREE, dtype=np.uint64)
        masked = arithmetic.mul(uniform, transform.forward(residues(secret, modulus)))
        body = transform.forward(residues(plain, modulus))
        words[0, limb], words[1, limb] = arithmetic.sub(body, masked), uniform
    return words


def decrypted(single: Single, secret: np.ndarray) -> list[int]:
    """y_j + (Y'_1 s) at the owed coefficients, centred mod Q."""
    positions = answer_positions(*[len(x) for x in (single.body, single.request.card.features)])
    phases = np.empty_like(single.body)
    for limb, modulus in enumerate(single.moduli):
        arithmetic, transform = field(modulus), ntt(modulus, DEGREE)
        key = transform.forward(residues(secret, modulus))
        product = transform.inverse(arithmetic.mul(single.mask[limb].copy(), key))
        phases[:, limb] = arithmetic.add(
            np.ascontiguousarray(single.body[:, limb]), np.ascontiguousarray(product[positions])
        )
    return [glue([int(word) for word in row], single.moduli) for row in phases]


@pytest.fixture(scope="module", params=["random", "extreme"])
def real(request) -> tuple[Single, np.ndarray, list[int]]:
    """A record under a real key: answer, secret key and the exact integer outputs."""
    rng = np.random.default_rng(12)
    single = make_single(outputs=2, features=3, seed=12)
    if request.param == "random":
        secret = rng.integers(-1, 2, DEGREE)
        key_error = rng.integers(-PUBLIC_NOISE_BOUND, PUBLIC_NOISE_BOUND, DEGREE)
        noise = rng.binomial(42, 0.5, DEGREE) - 21
    else:
        secret = np.ones(DEGREE, dtype=np.int64)
        key_error = np.full(DEGREE, -PUBLIC_NOISE_BOUND)
        noise = np.full(DEGREE, FRESH_NOISE_BOUND)
    values = rng.uniform(-8, 8, 3)
    message = np.zeros(DEGREE, dtype=object)
    message[:3] = [round(math.ldexp(value, 40)) << (SINGLE_SCALE - 40) for value in values]
    zero = np.zeros(DEGREE, dtype=object)
    single = replace(
        single,
        inputs=encrypted(rng, secret, message, noise),
        key=encrypted(rng, secret, zero, key_error),
    )
    exact = [
        sum(int(w) * int(x) for w, x in zip(row[:-1], message[:3], strict=True))
        + (int(row[-1]) << SINGLE_SCALE)
        for row in single.integers
    ]
    return single, secret, exact


@pytest.mark.accepts("C-29")
def test_honest_answers_stay_within_the_bound(real):
    single, secret, exact = real
    bounds = single_bounds(single)
    errors = [a - b for a, b in zip(decrypted(single.answered(), secret), exact, strict=True)]
    assert max(map(abs, errors)) <= bounds.error
    assert max(map(abs, errors)) > bounds.error >> 20, "the bound is not idle"


@pytest.mark.accepts("C-29")
@pytest.mark.parametrize("sign", [1, -1])
def test_the_worst_provable_noise_stays_within_the_bound(real, sign):
    """u and e_1 as long as the projections allow, all of one sign; flooding at its end."""
    single, secret, exact = real
    bounds = single_bounds(single)
    short = small_family(DEGREE, DEGREE, (0, 1)).proved_bound
    long = np.full(DEGREE, sign * short)
    edge = (1 << SINGLE_FLOODING) - 1 if sign > 0 else -(1 << SINGLE_FLOODING)
    worst = single.answered(
        u=in_every_limb(long, single.moduli),
        e1=in_every_limb(long, single.moduli),
        e0=in_every_limb(np.array([edge] * 2, dtype=object), single.moduli),
    )
    errors = [a - b for a, b in zip(decrypted(worst, secret), exact, strict=True)]
    assert max(map(abs, errors)) <= bounds.error
    flooding = [e - edge for e in errors]
    assert max(map(abs, flooding)) <= bounds.secret_error


@pytest.mark.accepts("C-30")
def test_the_largest_phase_stays_below_half_of_q(real):
    single, secret, exact = real
    bounds = single_bounds(single)
    half = SINGLE_PARAMETERS.modulus // 2
    reach = half / 2**bounds.no_wrap_bits
    assert max(map(abs, exact)) + bounds.error <= reach
    assert all(abs(value) < half for value in decrypted(single.answered(), secret))


def canonical_norm(polynomial: np.ndarray) -> float:
    """Largest magnitude of a slot: the values at the odd 2N-th roots of unity."""
    n = len(polynomial)
    twisted = polynomial * np.exp(1j * np.pi * np.arange(n) / n)
    return float(np.abs(np.fft.fft(twisted)).max())


def test_slots_collect_at_most_n_times_the_coefficient_bound(rng):
    bounded = [rng.uniform(-1, 1, DEGREE), np.ones(DEGREE)]
    angles = np.pi * (2 * 777 + 1) * np.arange(DEGREE) / DEGREE
    bounded.append(np.sign(np.cos(angles)))  # as bad as coefficients in [-1, 1] can be
    norms = [canonical_norm(polynomial) for polynomial in bounded]
    assert max(norms) <= DEGREE
    assert max(norms) > 0.6 * DEGREE


def test_the_bound_of_a_batch_covers_its_parts(rng):
    """Slots of proved flooding and of u e_pk + e_1 s at their worst signs, against the bound."""
    bounds = linear_bounds(
        BATCH_PARAMETERS,
        Packing.BATCH,
        outputs=1,
        row_l1_bound=1 << 19,
        input_bound=8.0,
        flooding_log2=BATCH_FLOODING,
    )
    flood = flooding_family(DEGREE, BATCH_FLOODING, (0, 1, 2)).proved_bound
    short = small_family(DEGREE, DEGREE, (0, 1, 2)).proved_bound
    # a constant-sign product in the ring: coefficient N - 1 of all-ones squared is N
    product = DEGREE * short * (PUBLIC_NOISE_BOUND + 1)
    angles = np.pi * (2 * 777 + 1) * np.arange(DEGREE) / DEGREE
    aligned = canonical_norm(np.sign(np.cos(angles)))
    noise = (1 << 19) * FRESH_NOISE_BOUND
    reached = aligned * (flood + product + noise)
    assert reached <= bounds.error
    assert bounds.error < 2 * DEGREE * (flood + product + noise)
    assert bounds.secret_error >= aligned * (product + noise)


@pytest.mark.accepts("C-41")
def test_what_is_released_hides_the_secret_dependent_part():
    bounds = single_bounds(make_single())
    assert bounds.disclosure_noise >= bounds.secret_error << 32
    assert bounds.disclosure_noise >= bounds.error >> 2
    expected = math.ldexp(bounds.error + 2 * bounds.disclosure_noise, -bounds.output_scale_log2)
    assert bounds.released_error == expected
    assert bounds.precision_bits == pytest.approx(-math.log2(expected))


@pytest.mark.parametrize(
    ("name", "value"),
    [("row_l1_bound", 2), ("input_bound", 16.0), ("outputs", 2), ("flooding_log2", 93)],
)
def test_bounds_grow_with_what_they_depend_on(name, value):
    fields = {"outputs": 1, "row_l1_bound": 1, "input_bound": 8.0, "flooding_log2": 92}
    base = linear_bounds(BATCH_PARAMETERS, Packing.BATCH, **fields)
    more = linear_bounds(BATCH_PARAMETERS, Packing.BATCH, **(fields | {name: value}))
    assert more.no_wrap_bits < base.no_wrap_bits or more.error > base.error
    assert more.error >= base.error


@pytest.mark.rejects("C-30")
def test_margins_shrink_as_the_input_grows():
    margins = [
        linear_bounds(
            SINGLE_PARAMETERS,
            Packing.SINGLE,
            outputs=1,
            row_l1_bound=1 << 18,
            input_bound=bound,
            flooding_log2=78,
        ).no_wrap_bits
        for bound in (1.0, 8.0, 64.0, 512.0)
    ]
    assert margins == sorted(margins, reverse=True)
    assert margins[0] > 0 > margins[-1]


@pytest.mark.parametrize(
    ("l1", "bound"), [(0, 1.0), (-5, 1.0), (5, 0.0), (5, -1.0), (5, math.inf), (5, math.nan)]
)
def test_bounds_of_nothing_are_refused(l1, bound):
    with pytest.raises(ParameterError):
        linear_bounds(
            SINGLE_PARAMETERS,
            Packing.SINGLE,
            outputs=1,
            row_l1_bound=l1,
            input_bound=bound,
            flooding_log2=78,
        )


def test_public_answers_are_not_flooded():
    public = linear_bounds(
        SINGLE_PARAMETERS,
        Packing.SINGLE,
        outputs=1,
        row_l1_bound=100,
        input_bound=1.0,
        flooding_log2=None,
    )
    assert public.flooding_distance_log2 == -math.inf
    assert public.error == public.secret_error + 100
    assert kernels.__name__ == "kernels"
