"""Bounds of networks against what inputs, noise and sanitisers at their worst do to a slot."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bounds import Bounds, network_bounds
from protocol.errors import ParameterError
from protocol.families import PUBLIC_NOISE_BOUND, network_families
from protocol.graph import (
    Add,
    Affine,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Mul,
    Polynomial,
    Power,
    PrivateSelection,
    Product,
    Scale,
    Selection,
    SumPool,
    square,
)
from protocol.parameters import FRESH_NOISE_BOUND, CkksParameters
from tests.adversarial.scenario import DEGREE, MODULI, SPECIAL
from tests.unit.protocol.test_bounds import canonical_norm
from tests.unit.protocol.test_parameters import primes

MLP = Graph(30, (Dense(0, 64), square(1), Dense(2, 1)))
DEEPER = Graph(30, (Dense(0, 64), square(1), Dense(2, 16), square(3), Dense(4, 1)))
DIGITS = Graph(
    64,
    (
        Conv2d(0, (1, 8, 8), 4, (3, 3), (1, 1), (1, 1)),
        square(1),
        Dense(2, 32),
        square(3),
        Dense(4, 10),
    ),
)
EVERY_LAYER = Graph(
    16,
    (
        Conv2d(0, (1, 4, 4), 2, (2, 2)),  # 1: (2, 3, 3)
        SumPool(1, (2, 3, 3), (2, 2), (1, 1)),  # 2: (2, 2, 2)
        Polynomial(2, (9, -7, 3), 3),  # 3
        Selection(3, 5),  # 4
        Scale(4, -2),  # 5
        Add(4, 5),  # 6
        Mul(6, 4),  # 7
        Gather(7, (4, 0, 0, 2)),  # 8
        Selection(8, 3, 2),  # 9: (3, 2)
        GroupedSelection(9, 3),  # 10
        Dense(10, 2),  # 11
    ),
)
PARAMETERS = CkksParameters(DEGREE, MODULI, SPECIAL, 62)


def rows_of(graph: Graph) -> int:
    return sum(matrix.rows for matrix in graph.matrices)


def parameters(degree: int, bits: int, limbs: int, special_bits: int, scale: int) -> CkksParameters:
    chain = primes(bits, degree, limbs + 1)
    special = chain[-1] if special_bits == bits else primes(special_bits, degree, 1)[0]
    return CkksParameters(degree, tuple(chain[:limbs]), special, scale)


def bounds_of(graph: Graph, ring: CkksParameters = PARAMETERS, **changes: object) -> Bounds:
    fields = {
        "row_l1_bounds": tuple(
            1 if isinstance(graph.layers[matrix.layer], PrivateSelection) else 4 << 15
            for matrix in graph.matrices
            for _ in range(matrix.rows)
        ),
        "input_bound": 1.0,
        "flooding_log2": 99,
        "dropped_limbs": 0,
        "disclosure_log2": 32,
    }
    return network_bounds(graph, ring, **(fields | changes))


@pytest.mark.parametrize(
    ("graph", "ring", "flooding", "dropped", "bits"),
    [
        (MLP, PARAMETERS, 99, 0, 33),
        (DEEPER, parameters(16384, 60, 6, 60, 58), 129, 2, 24),
        (DIGITS, parameters(16384, 60, 6, 60, 58), 132, 2, 24),
    ],
    ids=["30-64-1", "30-64-16-1", "digits"],
)
def test_the_reference_networks_have_the_documented_precision(graph, ring, flooding, dropped, bits):
    bounds = bounds_of(graph, ring, flooding_log2=flooding, dropped_limbs=dropped)
    assert bits <= bounds.bits_before_release < bits + 1
    assert bounds.no_wrap_bits > 2
    assert -62 < bounds.flooding_distance_log2 <= -60
    nearer = bounds_of(graph, ring, flooding_log2=flooding - 1, dropped_limbs=dropped)
    assert nearer.flooding_distance_log2 > bounds.flooding_distance_log2 + 0.9


def magnitudes(graph: Graph, integers: np.ndarray, slots: list[int], scale: int) -> list[list[int]]:
    """Every tensor of one slot with exact integer arithmetic."""
    tensors = [slots]
    for node in graph.nodes(scale):
        if isinstance(node, Affine):
            out = [0] * node.units
            for term in node.terms:
                entries = term.entries(integers)
                for j, k, w in zip(term.outputs, term.inputs, entries, strict=True):
                    out[j] += term.factor * int(w) * tensors[term.source][k]
            if node.bias is not None:
                out = [
                    v + node.bias_factor * int(integers[b])
                    for v, b in zip(out, node.bias, strict=True)
                ]
        elif isinstance(node, Power):
            out = [
                sum(c * v**i for i, c in enumerate(node.coefficients)) for v in tensors[node.source]
            ]
        else:
            assert isinstance(node, Product)
            pairs = zip(tensors[node.left], tensors[node.right], strict=True)
            out = [a * b for a, b in pairs]
        tensors.append(out)
    return tensors


def extreme_integers(graph: Graph, rng: np.random.Generator, aligned: bool) -> np.ndarray:
    """Rows of l1 norm 4 * 2^15 exactly; aligned: all of one sign, so that nothing cancels."""
    rows = []
    for matrix in graph.matrices:
        for row in range(matrix.rows):
            values = np.zeros(matrix.width, dtype=np.int64)
            if isinstance(graph.layers[matrix.layer], PrivateSelection):
                values[row % matrix.columns] = 1
            else:
                share = (4 << 15) // matrix.width
                values[:] = share
                values[0] += (4 << 15) - share * matrix.width
                if not aligned:
                    values *= rng.choice([-1, 1], matrix.width)
            rows.append(values)
    return np.concatenate(rows)


@pytest.mark.accepts("C-29")
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([MLP, EVERY_LAYER]))
@pytest.mark.accepts("C-67")
def test_no_perturbed_input_leaves_the_bounds(seed, aligned, graph):
    rng = np.random.default_rng(seed)
    ring = replace(PARAMETERS, input_scale_log2=30)
    bounds = bounds_of(graph, ring, flooding_log2=None)
    integers = extreme_integers(graph, rng, aligned)
    sign = rng.choice([-1, 1])
    ones = np.ones(graph.inputs, dtype=int) if aligned else rng.choice([-1, 1], graph.inputs)
    exact = [int(sign * x) << 30 for x in ones]
    # fresh noise and rounding that gather in one slot
    noise = math.floor((FRESH_NOISE_BOUND + 1) * 2 * DEGREE / math.pi)
    encoded = math.floor(2 * DEGREE / math.pi)
    clean = magnitudes(graph, integers, exact, 30)
    rounded = magnitudes(graph, integers, [x + int(sign) * encoded for x in exact], 30)
    noisy = magnitudes(graph, integers, [x + int(sign) * noise for x in exact], 30)
    for tensor, largest in zip(clean, bounds.largest_values, strict=True):
        assert max(map(abs, tensor)) <= largest
    errors = [abs(a - b) for a, b in zip(noisy[-1], clean[-1], strict=True)]
    assert max(errors) <= bounds.error
    secret = [abs(a - b) for a, b in zip(noisy[-1], rounded[-1], strict=True)]
    assert max(secret) <= bounds.secret_error
    if aligned and graph is MLP and sign > 0:
        assert max(abs(v) for v in clean[-1]) > bounds.largest_values[-1] * 0.9
        assert max(errors) > bounds.error * 0.9, "the bound is not idle"
        assert max(secret) > bounds.secret_error * 0.9


def test_a_slot_collects_two_pi_ths_of_the_coefficients():
    """The k of the bounds: reached by the sign of a cosine, passed by nothing."""
    slot = 1 / math.sin(math.pi / (2 * DEGREE))
    angles = np.pi * (2 * 777 + 1) * np.arange(DEGREE) / DEGREE
    for phase in np.linspace(0, np.pi, 7):
        assert canonical_norm(np.sign(np.cos(angles + phase) + 1e-9)) <= slot * (1 + 1e-9)
    assert canonical_norm(np.sign(np.cos(angles) + 1e-9)) > 0.99 * slot
    assert canonical_norm(np.ones(DEGREE)) == pytest.approx(slot), "all ones are as bad"


def evaluation(polynomial: np.ndarray) -> np.ndarray:
    n = len(polynomial)
    return np.fft.fft(polynomial * np.exp(1j * np.pi * np.arange(n) / n))


@pytest.mark.accepts("C-29")
@pytest.mark.parametrize("dropped", [0, 1])
def test_the_worst_provable_sanitiser_stays_within_the_bound(dropped):
    """All ones gather in one slot: key, errors and u together, each as long as can be proved."""
    graph = Graph(1, (square(0), Dense(1, 1)))
    ring = replace(PARAMETERS, input_scale_log2=20)
    bounds = bounds_of(graph, ring, dropped_limbs=dropped, flooding_log2=90)
    flooding, *errors, u, _, _ = network_families(
        outputs=1,
        polys=3,
        integers=2,
        ring_degree=DEGREE,
        moduli=MODULI,
        flooding_log2=90,
        dropped_limbs=dropped,
    )
    unit = float(ring.modulus)  # keeps products inside a double
    ones = evaluation(np.ones(DEGREE))
    secret, dropped_modulus = ones, float(bounds.dropped_modulus)
    total = flooding.proved_bound / unit * ones
    hidden = sum(e.proved_bound / unit * ones * secret**i for i, e in enumerate(errors, start=1))
    masked = dropped_modulus / unit * (PUBLIC_NOISE_BOUND * ones) * (u.proved_bound * ones)
    hidden = hidden + masked * (1 + secret)
    reached, reached_secret = np.abs(total + hidden).max(), np.abs(hidden).max()
    assert reached * unit <= bounds.error
    assert reached_secret * unit <= bounds.secret_error
    sanitiser_only = bounds.error - bounds_of(graph, ring, flooding_log2=None).error
    assert reached * unit > 0.9 * sanitiser_only
    assert bounds.dropped_modulus == math.prod(MODULI[3 - dropped :])
    assert bounds.output_scale == Fraction(2**bounds.output_scale_log2, bounds.dropped_modulus)


def test_an_honest_server_stays_within_the_flooding_distance(rng):
    """Coefficients of e_i s^i and e_pk u s^i for the worst keys found, against the distance."""
    graph = Graph(1, (square(0), Dense(1, 1)))
    shift = 2.0 ** (bounds_of(graph).flooding_distance_log2 + 100) / DEGREE
    keys = [np.ones(DEGREE), np.sign(np.cos(np.pi * 1555 * np.arange(DEGREE) / DEGREE) + 1e-9)]
    keys.append(rng.integers(-1, 2, DEGREE).astype(float))
    worst = 0.0
    for secret in keys:
        s = evaluation(secret)
        noise = sum(evaluation(rng.binomial(42, 0.5, DEGREE) - 21.0) * s**i for i in (1, 2))
        u = evaluation(rng.integers(-1, 2, DEGREE).astype(float))
        noise = noise + evaluation(16 * secret) * u * (1 + s)
        coefficients = np.fft.ifft(noise)  # rotated, which changes no magnitude
        worst = max(worst, float(np.abs(coefficients).max()))
    assert worst <= shift
    assert worst > shift / 64, "nor is it idle"


def test_rescaling_costs_no_more_than_its_rounding():
    ring = parameters(16384, 60, 6, 60, 58)
    whole = bounds_of(DEEPER, ring, flooding_log2=129)
    for dropped in (1, 2):
        rescaled = bounds_of(DEEPER, ring, flooding_log2=129, dropped_limbs=dropped)
        assert whole.error < rescaled.error
        assert whole.output_scale_log2 == rescaled.output_scale_log2
        assert rescaled.flooding_distance_log2 > whole.flooding_distance_log2
    assert rescaled.bits_before_release > whole.bits_before_release - 0.1
    gone = bounds_of(DEEPER, ring, flooding_log2=129, dropped_limbs=3)
    assert gone.bits_before_release < whole.bits_before_release - 5


@pytest.mark.accepts("C-41")
@pytest.mark.parametrize("disclosure", [8, 20, 32])
def test_what_is_released_hides_the_secret_dependent_part(disclosure):
    bounds = bounds_of(MLP, disclosure_log2=disclosure)
    assert bounds.disclosure_noise == max(bounds.error >> 2, bounds.secret_error << disclosure)
    expected = -math.log2(bounds.released_error)
    assert bounds.precision_bits == pytest.approx(expected)
    assert bounds.error_before_release < bounds.released_error


@pytest.mark.parametrize(
    "changes",
    [
        {"row_l1_bounds": (4 << 15,) * 64 + (8 << 15,)},
        {"row_l1_bounds": (4 << 15,) * 63 + (5 << 15, 4 << 15)},
        {"input_bound": 2.0},
        {"flooding_log2": 100},
        {"disclosure_log2": 33},
    ],
)
def test_bounds_grow_with_what_they_depend_on(changes):
    base, more = bounds_of(MLP), bounds_of(MLP, **changes)
    assert more.released_error > base.released_error
    assert more.no_wrap_bits <= base.no_wrap_bits
    if "disclosure_log2" not in changes:
        assert more.error > base.error
    if "flooding_log2" not in changes and "disclosure_log2" not in changes:
        assert more.no_wrap_bits < base.no_wrap_bits


@pytest.mark.rejects("C-67")
@pytest.mark.rejects("C-30")
def test_values_beyond_half_of_q_have_no_margin():
    wide = Graph(1, (square(0), *[Scale(1 + i, (1 << 31) - 1) for i in range(2)]))
    assert bounds_of(wide, flooding_log2=None).no_wrap_bits < 0
    ring = replace(PARAMETERS, input_scale_log2=30)
    assert bounds_of(wide, ring, flooding_log2=None).no_wrap_bits > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"row_l1_bounds": (1,) * 64},
        {"row_l1_bounds": (1,) * 66},
        {"row_l1_bounds": (0,) + (1,) * 64},
        {"input_bound": 0.0},
        {"input_bound": math.nan},
        {"input_bound": math.inf},
        {"flooding_log2": 170},
        {"flooding_log2": 99, "dropped_limbs": 2},
    ],
)
def test_bounds_of_nothing_are_refused(changes):
    with pytest.raises(ParameterError):
        bounds_of(MLP, **changes)


def test_public_answers_are_not_flooded():
    public = bounds_of(MLP, flooding_log2=None)
    assert public.flooding_distance_log2 == -math.inf
    assert public.error < bounds_of(MLP).error
    assert public.secret_error < public.error
    assert public.largest_output == 64.0
    assert rows_of(MLP) == 65
