"""What a verified answer is worth: error bound, wrap-around and flooding distance.

Everything here follows from public data and proved ranges (docs/protocol.md, section 9):
every party recomputes it.  The phase of a ciphertext of t polynomials is sum_i Y_i s^i mod Q; the
model's integers act on integer plaintexts, and outputs carry a scale which the graph decides.

The slots of a polynomial with coefficients of at most b are at most N b; those of a product of
two polynomials at most N^2 times the product of their coefficient bounds.

Networks
--------
*Slots.*  Networks multiply such bounds, so the sharp one is used: a slot is at most k b with
k = 1 / sin(pi / 2N), about 0.64 N.  For sum_j a_j z^j with z an odd power of a 2N-th root of unity
is, at some angle t, sum_j a_j cos(t + arg z^j), and the angles are those of all N lines through
the 2N-th roots: b times the sum of |cos| over N equidistant points of half a circle.

*Values.*  For every tensor, v bounds a slot of the exact integer model and d the error of a slot
under encryption.  With l the largest registered l1 norm of a matrix's rows, bias included, and
2^s the scale of its source,

    dense, convolution   v' = l max(v, 2^s)         d' = l d
    selection, gather    v' = v                     d' = d
    sum over a windows   v' = a v                   d' = a d
    sum, public factor   of magnitudes              the same
    sum_i c_i x^i        v' = sum_i |c_i| v^i       d' = sum_i |c_i| ((v + d)^i - v^i)
    product              v' = v_a v_b               d' = (v_a + d_a)(v_b + d_b) - v_a v_b

At the input d is fresh noise (21 per coefficient) and the encoder (1 per coefficient, and a
relative 2^-44).  Walking the encoder's part alone gives d_0; f(x + d_0 + noise) - f(x + d_0) is at
most d - d_0 by the same rules: this is the part that the secret key's noise makes.

*Sanitiser.*  Everything is counted modulo the full Q, at the output's scale before rescaling: with
P the product of the dropped limbs the response Y'' gives

    P Y''(S) = Y(S) + P sum_{i < t-1} (b_i + a_i S) u S^i + sum_{i < t} e_i S^i   mod Q.

Proved are |e_i| <= E_i, |u| <= U, |b_i + a_i s| <= 16 and ternary s, so that slots are at most

    k E_0 + sum_{i >= 1} k^(i+1) E_i + P sum_{i < t-1} k^(i+2) 16 U .

*Decoder.*  Its rounding is a relative 2^-90 of the largest slot, v + d and the sanitiser's part.

*On average.*  What a server may plant, the sanitiser's part, is bounded at its worst.  Fresh noise
is the client's own: a slot of it has variance m N, m = 10.5, so that its mean magnitude is at most
sqrt(m N) while d counts 21 k, at least 2^8 times as much for N >= 4096.  d is a sum of monomials
with at least one such factor.  One with i of them has a mean of at most 2 i^(i/2) (m N)^(i/2)
(sub-Gaussian moments, Hoelder), less than 2^-8 of its bound for i <= 16 as well: the mean of that
part of the error is at most 2^-8 of it.

*No wrap.*  Coefficients are never above the largest slot, so Q/2 must exceed v + d at every tensor
and v plus the whole error at the output; kept moduli and scales are P times smaller on both sides.

*Flooding distance.*  What an honest server adds in kept units besides e_0 depends on the model or
on the key: e_i s^i for i >= 1, (b_i + a_i s) u s^i, and the rounding r_i s^i / P.  The client may
have chosen s, every b_i + a_i s and r_i; e_i and u are the server's.  As slots of s are at most k,
|s^i|_2 <= k^(i-1) sqrt(N), and |p s^i|_2 <= k^i |p|_2 for every p.  A coefficient of e s^i for
random e with sub-Gaussian moment m passes 13 sqrt(m) |s^i|_2 with probability 2 exp(-13^2 / 2) at
most; one of r s^i / P is at most |r/P|_2 |s^i|_2 <= sqrt(N) / 2 |s^i|_2.  A shift of one
coefficient by h is h / 2^(f+1) of statistical distance under flooding in [-2^f, 2^f).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from protocol.errors import ParameterError
from protocol.families import (
    FRESH_NOISE_MOMENT,
    PUBLIC_NOISE_BOUND,
    WEIGHT_BITS,
    flooding_family,
    network_families,
    small_family,
)
from protocol.graph import Graph
from protocol.layers import (
    Add,
    Conv2d,
    Dense,
    Gather,
    Layer,
    Mul,
    Polynomial,
    PrivateSelection,
    Scale,
)
from protocol.parameters import FRESH_NOISE_BOUND, SECRET_BOUND, CkksParameters, Packing

ENCODER_ERROR_LOG2 = -44
"""Relative error of double-precision encoding, generous for N <= 32768."""

DECODER_ERROR_LOG2 = -90
"""Error of the slots decoded, relative to the largest of them; for N <= 32768, derived in
`fhe_layers.embedding`.  Rounding depends on what is rounded and so on the secret key."""

DISCLOSURE_LOG2 = 32
"""By default released values are hidden by noise at least 2^32 times the largest error that depends
on the secret key and that a malicious server can prove (about 2^55 times an honest server's, or
more)."""

_FRESH_NOISE_SHARE_LOG2 = 8
"""What fresh noise does to an answer is on average at most 2^-8 of its bound; derived above."""

_HONEST_DEVIATIONS = 13
"""Standard deviations of the noise of an honest server that count in the flooding distance."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of one answer, in units of 2^-output_scale_log2 unless said otherwise.

    Attributes:
        output_scale_log2: log2 of the output's scale modulo the full Q.
        error: bound on |decrypted - exact integer model|, per released value.
        secret_error: the part of the error that depends on the client's secret key, the decoder's
            rounding included.
        mean_secret_error: bound on the expected magnitude of that part, over the client's own noise
            and for the worst server.
        disclosure_noise: the client's own noise, uniform in [-this, this], added on release.
        precision_bits: -log2 of the released value's error bound in units of the output.
        no_wrap_bits: log2(Q/2) minus log2 of the largest phase, the least over all tensors;
            positive, or it does not fit.
        flooding_distance_log2: statistical distance of an output from an ideal one.
        largest_values: bound on the exact values of every tensor at its own scale, input first.
        dropped_modulus: P; response words carry the scale 2^output_scale_log2 / P.
    """

    output_scale_log2: int
    error: int
    secret_error: int
    mean_secret_error: int
    disclosure_noise: int
    precision_bits: float
    no_wrap_bits: float
    flooding_distance_log2: float
    largest_values: tuple[int, ...] = ()
    dropped_modulus: int = 1

    @property
    def output_scale(self) -> Fraction:
        """The exact scale of the words of a response."""
        return Fraction(1 << self.output_scale_log2, self.dropped_modulus)

    @property
    def largest_output(self) -> float:
        """Bound on an exact output, in units of the output."""
        return _ldexp(self.largest_values[-1], -self.output_scale_log2)

    @property
    def error_before_release(self) -> float:
        """Error bound of a decrypted value, in units of the output."""
        return _ldexp(self.error, -self.output_scale_log2)

    @property
    def bits_before_release(self) -> float:
        """-log2 of the error bound of a decrypted value in units of the output."""
        return self.output_scale_log2 - math.log2(self.error)

    @property
    def disclosed_distance(self) -> Fraction:
        """Statistical distance of a released value from one that does not depend on the key.

        Together with all that the server sees; distances of several values add up.
        """
        return Fraction(self.mean_secret_error, 2 * self.disclosure_noise + 1)

    @property
    def released_error(self) -> float:
        """Error bound of a released value, in units of the output, its own noise included."""
        return _ldexp(self.error + 2 * self.disclosure_noise, -self.output_scale_log2)


def _ldexp(value: int, exponent: int) -> float:
    """value * 2^exponent rounded up, for integers beyond the range of a float too."""
    excess = max(value.bit_length() - 1000, 0)
    try:
        return math.ldexp(-(-value >> excess), exponent + excess)
    except OverflowError:
        return math.inf


def linear_bounds(
    parameters: CkksParameters,
    packing: Packing,
    *,
    outputs: int,
    row_l1_bound: int,
    input_bound: float,
    flooding_log2: int | None,
    disclosure_log2: int = DISCLOSURE_LOG2,
) -> Bounds:
    """Bounds of a linear model's answer.

    Args:
        parameters: the ring.
        packing: batch or single record.
        outputs: J.
        row_l1_bound: largest declared sum of |weights|, bias included, of one output.
        input_bound: largest |x| of a normalised input; the bias counts as an input of 1.
        flooding_log2: f, or None in public mode, where nothing is sanitised.
        disclosure_log2: how far released noise is above the error that depends on the key.

    Raises:
        ParameterError: when an input bound or a l1 bound is not positive.
    """
    if row_l1_bound < 1 or not (math.isfinite(input_bound) and input_bound > 0):
        raise ParameterError("row l1 bound and input bound must be positive")
    degree = parameters.ring_degree
    limbs = tuple(range(len(parameters.moduli)))
    batch = packing is Packing.BATCH
    spread = degree if batch else 1  # a slot collects every coefficient, a read-out just one

    # Fresh noise fills every coefficient of an input, so that a read-out of one output meets the
    # weights of all of them; the record itself fills K coefficients and meets its own row alone.
    noisy_rows = 1 if batch else outputs
    input_noise = noisy_rows * row_l1_bound * FRESH_NOISE_BOUND * spread
    secret_error = input_noise
    flooding = 0
    distance = float("-inf")
    if flooding_log2 is not None:
        noise = outputs * degree if batch else degree
        short = small_family(degree, noise, limbs).proved_bound
        product = degree * short * (PUBLIC_NOISE_BOUND + SECRET_BOUND)
        secret_error += product * spread
        if batch:
            family = flooding_family(outputs * degree, flooding_log2, limbs)
            flooding = family.proved_bound * degree
        else:
            flooding = 1 << flooding_log2
        honest = degree * (PUBLIC_NOISE_BOUND + FRESH_NOISE_BOUND * SECRET_BOUND)
        released = outputs * spread
        distance = math.log2(honest) + math.log2(released) - flooding_log2 - 1

    largest = math.ceil(row_l1_bound * max(input_bound, 1.0)) << parameters.input_scale_log2
    scale = parameters.input_scale_log2 + WEIGHT_BITS
    rounding = (largest >> -ENCODER_ERROR_LOG2) if batch else 0
    rounding += row_l1_bound * spread  # plaintexts are rounded to integers
    if batch:
        secret_error += _decoder_error(largest + flooding + secret_error + rounding)
    largest_input = math.ceil(math.ldexp(input_bound, parameters.input_scale_log2))
    return _summary(
        parameters,
        scale=scale,
        error=flooding + secret_error + rounding,
        secret_error=secret_error,
        mean_secret_error=secret_error,
        disclosure_log2=disclosure_log2,
        largest_values=(largest_input, largest),
        largest_phase=0,
        distance=distance,
    )


def _summary(
    parameters: CkksParameters,
    *,
    scale: int,
    error: int,
    secret_error: int,
    mean_secret_error: int,
    disclosure_log2: int,
    largest_values: tuple[int, ...],
    largest_phase: int,
    distance: float,
    dropped_modulus: int = 1,
) -> Bounds:
    """`largest_phase` is of all tensors but the output, in which the whole error counts."""
    disclosure = max(error >> 2, secret_error << disclosure_log2)
    largest_phase = max(largest_phase, largest_values[-1] + error)
    return Bounds(
        output_scale_log2=scale,
        error=error,
        secret_error=secret_error,
        mean_secret_error=mean_secret_error,
        disclosure_noise=disclosure,
        precision_bits=scale - math.log2(error + 2 * disclosure),
        no_wrap_bits=math.log2(parameters.modulus) - 1 - math.log2(largest_phase),
        flooding_distance_log2=distance,
        largest_values=largest_values,
        dropped_modulus=dropped_modulus,
    )


def _decoder_error(largest_slot: int) -> int:
    """What decoding rounds away: `DECODER_ERROR_LOG2`, and one for rounding to an integer."""
    return (largest_slot >> -DECODER_ERROR_LOG2) + 2


def network_bounds(
    graph: Graph,
    parameters: CkksParameters,
    *,
    row_l1_bounds: tuple[int, ...],
    input_bound: float,
    flooding_log2: int | None,
    dropped_limbs: int = 0,
    disclosure_log2: int = DISCLOSURE_LOG2,
) -> Bounds:
    """Bounds of a network's answer in batch packing; derived at the top of this module.

    Args:
        graph: the network.
        parameters: the ring.
        row_l1_bounds: declared sum of |weights|, bias included, of every matrix row in order.
        input_bound: largest |x| of a normalised input.
        flooding_log2: f, or None in public mode, where nothing is sanitised.
        dropped_limbs: limbs dropped by the rescaling of the outputs.
        disclosure_log2: how far released noise is above the error that depends on the key.

    Raises:
        ParameterError: a bound is not positive, there is not one l1 bound per matrix row, or the
            sanitiser's noise does not fit the modulus.
    """
    rows = sum(matrix.rows for matrix in graph.matrices)
    if len(row_l1_bounds) != rows or min(row_l1_bounds, default=1) < 1:
        raise ParameterError(f"a network of {rows} matrix rows needs as many positive l1 bounds")
    if not (math.isfinite(input_bound) and input_bound > 0):
        raise ParameterError("the input bound must be positive")
    scale = graph.tensors(parameters.input_scale_log2)[-1].scale_log2
    dropped_modulus = math.prod(parameters.moduli[len(parameters.moduli) - dropped_limbs :])

    values = _walk(graph, parameters, row_l1_bounds, input_bound)
    output = values[-1]
    flooding, hidden, distance = 0, 0, -math.inf
    if flooding_log2 is not None:
        flooding, hidden = _sanitiser_errors(graph, parameters, flooding_log2, dropped_limbs)
        distance = _flooding_distance(graph, parameters, flooding_log2, dropped_limbs > 0)
    decoder = _decoder_error(output.value + flooding + hidden + output.error)
    fresh = output.error - output.encoding
    return _summary(
        parameters,
        scale=scale,
        error=flooding + hidden + output.error + decoder,
        secret_error=hidden + fresh + decoder,
        mean_secret_error=hidden + -(-fresh >> _FRESH_NOISE_SHARE_LOG2) + decoder,
        disclosure_log2=disclosure_log2,
        largest_values=tuple(tensor.value for tensor in values),
        largest_phase=max(tensor.value + tensor.error for tensor in values[:-1]),
        distance=distance,
        dropped_modulus=dropped_modulus,
    )


@dataclass(frozen=True)
class _Magnitude:
    """Of one tensor, integers at its scale, per slot.

    Attributes:
        value: v, of the exact model.
        error: d, all that encryption and encoding of the input make of it.
        encoding: d_0, what the encoding alone makes of it.
    """

    value: int
    error: int
    encoding: int

    def times(self, factor: int) -> _Magnitude:
        """Of the tensor times an integer of this magnitude."""
        return _Magnitude(self.value * factor, self.error * factor, self.encoding * factor)


def _walk(
    graph: Graph, parameters: CkksParameters, row_l1_bounds: tuple[int, ...], input_bound: float
) -> list[_Magnitude]:
    """Magnitudes of every tensor, the input first."""
    slot, scale_log2 = _slot_bound(parameters.ring_degree), parameters.input_scale_log2
    largest = math.ceil(math.ldexp(input_bound, scale_log2))
    encoding = slot + (largest >> -ENCODER_ERROR_LOG2)
    found = [_Magnitude(largest, encoding + FRESH_NOISE_BOUND * slot, encoding)]
    norms, row = {}, 0
    for matrix in graph.matrices:
        norms[matrix.layer] = max(row_l1_bounds[row : row + matrix.rows])
        row += matrix.rows
    tensors = graph.tensors(scale_log2)
    for index, layer in enumerate(graph.layers):
        sources = [found[source] for source in layer.sources]
        scales = [tensors[source].scale_log2 for source in layer.sources]
        found.append(_after(layer, sources, scales, norms.get(index, 1)))
    return found


def _after(
    layer: Layer, sources: list[_Magnitude], scales: list[int], row_l1_bound: int
) -> _Magnitude:
    """Magnitudes of a layer's result; `row_l1_bound` is that of its matrix."""
    first = sources[0]
    if isinstance(layer, Dense | Conv2d):
        with_bias = max(first.value, 1 << scales[0])  # the bias counts as an input of 1
        return _Magnitude(with_bias, first.error, first.encoding).times(row_l1_bound)
    if isinstance(layer, PrivateSelection | Gather):
        return first
    if isinstance(layer, Scale):
        return first.times(abs(layer.factor))
    if isinstance(layer, Polynomial):
        return _after_polynomial(layer.aligned(scales[0]), first)
    if isinstance(layer, Add):
        left, right = (
            source.times(1 << (max(scales) - scale))
            for source, scale in zip(sources, scales, strict=True)
        )
        return _Magnitude(
            left.value + right.value, left.error + right.error, left.encoding + right.encoding
        )
    if isinstance(layer, Mul):
        other = sources[1]
        value = first.value * other.value
        return _Magnitude(
            value,
            (first.value + first.error) * (other.value + other.error) - value,
            (first.value + first.encoding) * (other.value + other.encoding) - value,
        )
    return first.times(layer.area)


def _after_polynomial(coefficients: tuple[int, ...], source: _Magnitude) -> _Magnitude:
    def at(x: int) -> int:
        return sum(abs(c) * x**i for i, c in enumerate(coefficients))

    value = at(source.value)
    return _Magnitude(
        value,
        at(source.value + source.error) - value,
        at(source.value + source.encoding) - value,
    )


def _sanitiser_errors(
    graph: Graph, parameters: CkksParameters, flooding_log2: int, dropped_limbs: int
) -> tuple[int, int]:
    """Slots of proved flooding, and of all the proved noise that meets the secret key."""
    degree, moduli, polys = parameters.ring_degree, parameters.moduli, graph.output_polys
    flooding, *errors, randomiser, _, _ = network_families(
        outputs=graph.outputs_count,
        polys=polys,
        integers=graph.integers_count,
        ring_degree=degree,
        moduli=moduli,
        flooding_log2=flooding_log2,
        dropped_limbs=dropped_limbs,
    )
    slot = _slot_bound(degree)
    secret = slot * SECRET_BOUND
    hidden = sum(
        slot * family.proved_bound * secret**power for power, family in enumerate(errors, start=1)
    )
    masked = (slot * PUBLIC_NOISE_BOUND) * (slot * randomiser.proved_bound)
    hidden += (
        math.prod(moduli[len(moduli) - dropped_limbs :])
        * masked
        * sum(secret**power for power in range(polys - 1))
    )
    return slot * flooding.proved_bound, hidden


def _slot_bound(ring_degree: int) -> int:
    """k, the largest slot of a polynomial with coefficients in [-1, 1], rounded up."""
    return math.ceil(1 / math.sin(math.pi / (2 * ring_degree)) + 2**-20)


def _flooding_distance(
    graph: Graph, parameters: CkksParameters, flooding_log2: int, rescaled: bool
) -> float:
    """log2 of the statistical distance which flooding leaves for an honest server."""
    degree, polys = parameters.ring_degree, graph.output_polys
    slot = float(_slot_bound(degree))
    norms = [1.0] + [slot ** (power - 1) * math.sqrt(degree) for power in range(1, polys)]
    errors = _HONEST_DEVIATIONS * math.sqrt(FRESH_NOISE_MOMENT) * sum(norms[1:])
    public_key = PUBLIC_NOISE_BOUND * math.sqrt(degree)
    masked = _HONEST_DEVIATIONS * public_key * sum(slot**power for power in range(polys - 1))
    rounding = math.sqrt(degree) / 2 * sum(norms) if rescaled else 0.0
    released = graph.outputs_count * degree
    draws = 2 * polys - 2  # random terms of a coefficient
    tail = draws * 2 * math.exp(-(_HONEST_DEVIATIONS**2) / 2)
    shift = math.ldexp(errors + masked + rounding, -flooding_log2 - 1)
    return math.log2(released * (shift + tail))
