"""Choose CKKS parameters, scale and flooding for a linear model.

Symbols: N ring degree; L limbs; D input scale; 2^f flooding; J outputs, K features.

What decides: the 128-bit table caps Q; no wrap caps D, because Q/2 must exceed the largest output
plus its error; confidentiality of the weights needs f far above what an honest evaluation leaks;
precision is what D leaves above f. The error bounds are those of `protocol.bounds`, which every
party recomputes, and only declared ranges enter, never actual weights: a plan reveals nothing that
the card does not.

The cheapest ring and the fewest limbs that reach the wanted precision win; the scale is then as
large as no-wrap allows.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from fhe_layers.moduli import LIMB_BITS, modulus_chain
from fhe_layers.planned import PlannedProfile
from protocol.bounds import Bounds, linear_bounds
from protocol.errors import ParameterError, PlanningError
from protocol.families import enrolment_family, flooding_bits_family
from protocol.keys import MAX_KEYS
from protocol.model import Profile
from protocol.parameters import (
    MAX_MODULUS_BITS,
    MIN_SPECIAL_BITS,
    CkksParameters,
    Mode,
    Packing,
)

FLOODING_DISTANCE_LOG2 = -62
"""Flooded outputs are within statistical distance 2^-62 of ones that depend on the result only."""

NO_WRAP_MARGIN_BITS = 0.9
"""One bit, less what the primes lack of 2^60: a full bit would cost a whole bit of scale."""

DEFAULT_PRECISION_BITS = 16.0

_WORD_BYTES = 8
_SEED_BYTES = 64
_SCALES_LOG2 = range(10, 140)
_FLOODING_LOG2 = range(40, 111)


@dataclass(frozen=True)
class LinearModelSpec:
    """What is declared of a linear model before parameters exist.

    Attributes:
        features: K, the bias not counted.
        outputs: J.
        input_bound: largest |x| of a normalised input.
        row_l1_bound: largest declared sum of |integer weights|, bias included, of one output.
        mode: private weights (outputs are flooded) or public ones.
    """

    features: int
    outputs: int
    input_bound: float
    row_l1_bound: int
    mode: Mode

    def __post_init__(self) -> None:
        if self.features < 1 or self.outputs < 1:
            raise ParameterError("a linear model needs at least one feature and one output")


@dataclass(frozen=True)
class Plan(PlannedProfile):
    """Parameters of one packing of a linear model and what they give.

    Attributes:
        request_bytes: seeded input ciphertexts.
        response_bytes: sanitised output words, without the proof.
        public_key_bytes: enrolled keys, without their proof.
    """

    request_bytes: int
    response_bytes: int
    public_key_bytes: int


def plan(
    model: LinearModelSpec,
    packing: Packing,
    *,
    precision_bits: float = DEFAULT_PRECISION_BITS,
    ring_degree: int | None = None,
) -> Plan:
    """The cheapest secure parameters with at least this precision; the best scale for them.

    Both packings of one model must share a ring: plan one, then the other with its `ring_degree`.

    Raises:
        PlanningError: nothing fits; the message says what would.
    """
    _require_precision(precision_bits)
    best: Plan | None = None
    for degree in sorted(MAX_MODULUS_BITS) if ring_degree is None else [ring_degree]:
        candidate = _plan_in_ring(model, packing, degree, precision_bits)
        if candidate is not None and candidate.precision_bits >= precision_bits:
            return candidate
        best = _finer(best, candidate)
    raise PlanningError(_refusal(model, packing, precision_bits, ring_degree, best))


def plan_packings(
    model: LinearModelSpec,
    packings: tuple[Packing, ...],
    *,
    precision_bits: float = DEFAULT_PRECISION_BITS,
) -> tuple[Plan, ...]:
    """One plan per packing, all in the smallest ring that serves every one of them.

    Raises:
        PlanningError: no ring does; the message names the precision of the one that comes nearest.
    """
    _require_precision(precision_bits)
    nearest: Plan | None = None  # the ring's coarsest packing decides what the ring gives
    for degree in sorted(MAX_MODULUS_BITS):
        found = [_plan_in_ring(model, packing, degree, precision_bits) for packing in packings]
        plans = tuple(candidate for candidate in found if candidate is not None)
        if len(plans) < len(packings):
            continue
        coarsest = min(plans, key=lambda candidate: candidate.precision_bits)
        if coarsest.precision_bits >= precision_bits:
            return plans
        nearest = _finer(nearest, coarsest)
    if nearest is not None:
        packing = nearest.profile.packing
        raise PlanningError(_refusal(model, packing, precision_bits, None, nearest))
    raise PlanningError(_no_shared_ring(model, packings, precision_bits))


def _require_precision(bits: float) -> None:
    if not (math.isfinite(bits) and bits >= 0):
        raise PlanningError(f"precision of {bits:g} bits: expected a number from 0")


def _plan_in_ring(
    model: LinearModelSpec, packing: Packing, ring_degree: int, wanted: float
) -> Plan | None:
    """The first plan of a ring that is fine enough, or else its finest, or None."""
    best: Plan | None = None
    for candidate in _candidates(model, packing, ring_degree):
        if candidate.precision_bits >= wanted:
            return candidate
        best = _finer(best, candidate)
    return best


def _finer(best: Plan | None, other: Plan | None) -> Plan | None:
    """The one with more precision, the first if it is a tie."""
    if best is None or other is None:
        return best or other
    return other if other.precision_bits > best.precision_bits else best


def _no_shared_ring(
    model: LinearModelSpec, packings: tuple[Packing, ...], precision_bits: float
) -> str:
    """Name a packing's own refusal where it has one, or say that only the rings differ."""
    for packing in packings:
        try:
            plan(model, packing, precision_bits=precision_bits)
        except PlanningError as error:
            return (
                str(error)
                if len(packings) == 1
                else f"no single ring serves every packing: {error}"
            )
    return "no single ring serves every packing: offer one packing, or split the model"


def _candidates(model: LinearModelSpec, packing: Packing, ring_degree: int) -> Iterator[Plan]:
    """Plans in one ring, fewest limbs first, each with the largest scale that does not wrap."""
    if _layout_refusal(model, packing, ring_degree):
        return
    room = MAX_MODULUS_BITS.get(ring_degree, 0) - MIN_SPECIAL_BITS
    for limbs in range(1, room // LIMB_BITS + 1):
        chain = modulus_chain(ring_degree, limbs)
        flooding = None
        if model.mode is Mode.PRIVATE:
            flooding = _least_flooding(model, packing, CkksParameters(ring_degree, *chain, 10))
            if flooding is None:
                continue
        candidate = _widest_scale(model, packing, ring_degree, chain, flooding)
        if candidate is not None:
            yield candidate


def _least_flooding(
    model: LinearModelSpec, packing: Packing, parameters: CkksParameters
) -> int | None:
    """The least f that is far enough, or None when it or the key cannot be proved in this ring.

    The distance depends on the ring and the shape of the model, not on scale or limbs.
    """

    def is_far(flooding: int) -> bool:
        bounds = _bounds(model, packing, parameters, flooding)
        return bounds.flooding_distance_log2 <= FLOODING_DISTANCE_LOG2

    index = bisect_left(_FLOODING_LOG2, True, key=is_far)
    if index == len(_FLOODING_LOG2):
        return None
    keys = model.outputs if packing is Packing.BATCH else 1
    try:
        enrolment_family(parameters.ring_degree, keys, parameters.moduli)
        if packing is Packing.SINGLE:
            flooding_bits_family(model.outputs, _FLOODING_LOG2[index], parameters.moduli)
    except ParameterError:
        return None
    return _FLOODING_LOG2[index]


def _widest_scale(
    model: LinearModelSpec,
    packing: Packing,
    ring_degree: int,
    chain: tuple[tuple[int, ...], int],
    flooding: int | None,
) -> Plan | None:
    """The plan with the largest scale that leaves the no-wrap margin; precision grows with it."""

    def at(scale: int) -> tuple[CkksParameters, Bounds]:
        parameters = CkksParameters(ring_degree, *chain, scale)
        return parameters, _bounds(model, packing, parameters, flooding)

    def wraps(scale: int) -> bool:
        parameters, bounds = at(scale)
        encoded_bits = scale + math.log2(max(model.input_bound, 1.0))
        if encoded_bits >= parameters.modulus.bit_length() - 2:  # the encoder's own limit
            return True
        return bounds.no_wrap_bits < NO_WRAP_MARGIN_BITS

    fitting = bisect_left(_SCALES_LOG2, True, key=wraps)
    if fitting == 0:
        return None
    parameters, bounds = at(_SCALES_LOG2[fitting - 1])
    return _plan(model, Profile(packing, parameters, flooding), bounds)


def _bounds(
    model: LinearModelSpec, packing: Packing, parameters: CkksParameters, flooding: int | None
) -> Bounds:
    return linear_bounds(
        parameters,
        packing,
        outputs=model.outputs,
        row_l1_bound=model.row_l1_bound,
        input_bound=model.input_bound,
        flooding_log2=flooding,
    )


def _plan(model: LinearModelSpec, profile: Profile, bounds: Bounds) -> Plan:
    """Sizes of what travels, in words of 8 bytes and seeds of 64."""
    limbs, degree = len(profile.parameters.moduli), profile.parameters.ring_degree
    polynomial = limbs * degree * _WORD_BYTES
    batch = profile.packing is Packing.BATCH
    units = model.features if batch else 1
    body = polynomial if batch else limbs * _WORD_BYTES
    masks = model.outputs if batch else 1
    return Plan(
        profile=profile,
        bounds=bounds,
        request_bytes=units * (polynomial + _SEED_BYTES),
        response_bytes=masks * polynomial + model.outputs * body,
        public_key_bytes=masks * polynomial if profile.flooding_log2 is not None else 0,
    )


def _layout_refusal(model: LinearModelSpec, packing: Packing, ring_degree: int) -> str | None:
    """Why this shape cannot be packed in this ring, or None."""
    if packing is Packing.SINGLE and model.features * model.outputs > ring_degree:
        return (
            f"single-record packing holds features x outputs <= {ring_degree}, "
            f"the model has {model.features} x {model.outputs}: use batch packing"
        )
    if packing is Packing.BATCH and model.mode is Mode.PRIVATE and model.outputs > MAX_KEYS:
        return (
            f"a private batch needs one enrolled key per output, at most {MAX_KEYS}, "
            f"the model has {model.outputs} outputs: split it, or use single-record packing"
        )
    return None


def _refusal(
    model: LinearModelSpec,
    packing: Packing,
    wanted: float,
    ring_degree: int | None,
    best: Plan | None,
) -> str:
    largest = max(MAX_MODULUS_BITS) if ring_degree is None else ring_degree
    if largest not in MAX_MODULUS_BITS:
        return f"ring degree {largest} is not supported; use one of {sorted(MAX_MODULUS_BITS)}"
    reason = _layout_refusal(model, packing, largest)
    if reason:
        return reason
    where = "any supported ring" if ring_degree is None else f"N = {ring_degree}"
    if best is None or best.precision_bits <= 0:
        return (
            f"outputs up to {model.row_l1_bound} * {model.input_bound:g} and their noise fit no "
            f"{packing} modulus in {where}: narrow the input ranges or the weights"
            + ("" if ring_degree is None else ", or leave the ring degree open")
        )
    ring = best.parameters
    return (
        f"{wanted:g} bits of {packing} precision do not fit {where}; the nearest is "
        f"{math.floor(best.precision_bits * 10) / 10} bits at N = {ring.ring_degree} with "
        f"{len(ring.moduli)} limbs: ask for that, or narrow the input ranges or the weights"
    )
