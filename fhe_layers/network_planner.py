"""Choose CKKS parameters for a network: ring, primes, scale, flooding, rescaling, disclosure.

Symbols: N ring degree; L limbs; D input scale; 2^f flooding; t polynomials of an output; J outputs.

Ciphertexts are never rescaled inside a network, so a squaring doubles the bits that values take
and the 128-bit table ends at three squarings. What decides, in this order:

* the fewest limbs of the smallest ring which reach the wanted precision, with the longest primes
  that SEAL takes and that leave room for its special prime;
* D as large as no wrap allows at any tensor, because key-dependent noise does not grow with it;
* f just far enough from what an honest server's own noise says of model and key;
* as many limbs dropped from the answer as keep the precision: that is for free;
* what is left of the precision goes into the distance at which released values hide the key.

Only declared ranges enter, never actual weights: a plan reveals nothing that the card does not.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fhe_layers.moduli import LIMB_BITS, modulus_chain
from fhe_layers.network_cost import PredictedCost, predict_cost
from fhe_layers.planned import PlannedProfile
from protocol.bounds import Bounds, network_bounds
from protocol.errors import ParameterError, PlanningError
from protocol.graph import Graph
from protocol.keys import MAX_KEYS
from protocol.model import (
    MAX_DROPPED_LIMBS,
    MAX_TENSOR_WORDS,
    NETWORK_FLOODING_LOG2_RANGE,
    Profile,
)
from protocol.parameters import (
    MAX_LIMBS,
    MAX_MODULUS_BITS,
    MIN_PRIME_BITS,
    MIN_SPECIAL_BITS,
    CkksParameters,
    Mode,
    Packing,
)

FLOODING_DISTANCE_LOG2 = -60
"""Flooded outputs are within statistical distance 2^-60 of ones that depend on the result only."""

NO_WRAP_MARGIN_BITS = 0.9
"""One bit, less what the primes lack of 2^60."""

DEFAULT_NETWORK_PRECISION_BITS = 14.0
DISCLOSURE_LOG2_RANGE = (8, 32)
"""Released values hide key-dependent errors by at least the first and, if precision allows, up to
the second of these powers of two."""

_SCALES_LOG2 = range(10, 140)
_FLOODING_LOG2 = range(NETWORK_FLOODING_LOG2_RANGE[0], NETWORK_FLOODING_LOG2_RANGE[1] + 1)


@dataclass(frozen=True)
class DeclaredNetwork:
    """What is declared of a network before parameters exist.

    Attributes:
        graph: layers.
        row_l1_bounds: declared l1 norm of every matrix row, bias included, in order.
        input_bound: largest |x| of a normalised input.
        mode: private weights (outputs are sanitised) or public ones.
    """

    graph: Graph
    row_l1_bounds: tuple[int, ...]
    input_bound: float
    mode: Mode

    @property
    def keys(self) -> int:
        """Enrolled keys which a private answer takes: J (t - 1)."""
        return self.graph.outputs_count * (self.graph.output_polys - 1)


@dataclass(frozen=True)
class NetworkPlan(PlannedProfile):
    """Parameters of a network and what they give.

    Attributes:
        cost: what a request will take, before anything runs.
    """

    cost: PredictedCost

    @property
    def request_bytes(self) -> int:
        """Seeded input ciphertexts."""
        return self.cost.request_bytes

    @property
    def response_bytes(self) -> int:
        """Output words, without the proof."""
        return self.cost.response_bytes

    @property
    def public_key_bytes(self) -> int:
        """Enrolled keys, without their proof."""
        return self.cost.public_key_bytes


def plan_network(
    network: DeclaredNetwork,
    *,
    precision_bits: float = DEFAULT_NETWORK_PRECISION_BITS,
    ring_degree: int | None = None,
) -> NetworkPlan:
    """The cheapest secure parameters with at least this precision.

    Raises:
        PlanningError: nothing fits; the message says why and what would.
    """
    if not (math.isfinite(precision_bits) and precision_bits >= 0):
        raise PlanningError(f"precision of {precision_bits:g} bits: expected a number from 0")
    if ring_degree is not None and ring_degree not in MAX_MODULUS_BITS:
        raise PlanningError(
            f"ring degree {ring_degree} is not supported; use one of {sorted(MAX_MODULUS_BITS)}"
        )
    if network.mode is Mode.PRIVATE and network.keys > MAX_KEYS:
        raise PlanningError(
            f"{network.graph.outputs_count} private outputs of {network.graph.output_polys} "
            f"polynomials take {network.keys} enrolled keys, at most {MAX_KEYS}: use fewer "
            "squarings or outputs, or public mode"
        )
    nearest: NetworkPlan | None = None
    degrees = sorted(MAX_MODULUS_BITS) if ring_degree is None else [ring_degree]
    chains = [chain for degree in degrees for chain in _chains(degree)]
    fitting = [chain for chain in chains if _fits_memory(network, chain)]
    for chain in fitting:
        candidate = _widest_scale(network, chain, dropped_limbs=0)
        if candidate is None:
            continue
        if candidate.precision_bits >= precision_bits:
            return _refined(network, candidate, precision_bits)
        if nearest is None or candidate.precision_bits > nearest.precision_bits:
            nearest = candidate
    crowded = len(fitting) < len(chains)
    raise PlanningError(_refusal(network, precision_bits, ring_degree, nearest, crowded=crowded))


def _chains(ring_degree: int) -> Iterator[CkksParameters]:
    """Parameter sets of a ring at the least scale, fewest limbs first, longest primes."""
    room = MAX_MODULUS_BITS[ring_degree] - MIN_SPECIAL_BITS
    for limbs in range(1, MAX_LIMBS + 1):
        bits = min(LIMB_BITS, room // limbs)
        if bits < MIN_PRIME_BITS:
            return
        chain = modulus_chain(ring_degree, limbs, bits)
        yield CkksParameters(ring_degree, *chain, _SCALES_LOG2[0])


def _fits_memory(network: DeclaredNetwork, parameters: CkksParameters) -> bool:
    """Whether every tensor has a size that a card allows."""
    tensors = network.graph.tensors(parameters.input_scale_log2)
    largest = max(tensor.units * tensor.polys for tensor in tensors)
    return largest * len(parameters.moduli) * parameters.ring_degree <= MAX_TENSOR_WORDS


def _widest_scale(
    network: DeclaredNetwork, parameters: CkksParameters, dropped_limbs: int
) -> NetworkPlan | None:
    """The plan with the largest scale that does not wrap, at the least disclosure distance."""
    try:
        flooding = _least_flooding(network, parameters, dropped_limbs)
    except ParameterError:
        return None

    def at(scale: int) -> Bounds:
        return _bounds(
            network,
            Profile(
                Packing.BATCH,
                replace(parameters, input_scale_log2=scale),
                flooding,
                dropped_limbs,
                DISCLOSURE_LOG2_RANGE[0],
            ),
        )

    def wraps(scale: int) -> bool:
        encoded_bits = scale + math.log2(max(network.input_bound, 1.0))
        too_long = encoded_bits >= parameters.modulus.bit_length() - 2  # the encoder's own limit
        return too_long or at(scale).no_wrap_bits < NO_WRAP_MARGIN_BITS

    fitting = bisect_left(_SCALES_LOG2, True, key=wraps)
    if fitting == 0:
        return None
    scale = _SCALES_LOG2[fitting - 1]
    profile = Profile(
        Packing.BATCH,
        replace(parameters, input_scale_log2=scale),
        flooding,
        dropped_limbs,
        DISCLOSURE_LOG2_RANGE[0],
    )
    return _plan(network, profile)


def _least_flooding(
    network: DeclaredNetwork, parameters: CkksParameters, dropped_limbs: int
) -> int | None:
    """The least f that is far enough; None in public mode.

    The distance depends on the ring, the size of the outputs and whether they are rescaled.

    Raises:
        ParameterError: it cannot be proved in these limbs.
    """
    if network.mode is Mode.PUBLIC:
        return None

    def is_far(flooding: int) -> bool:
        profile = Profile(Packing.BATCH, parameters, flooding, dropped_limbs)
        return _bounds(network, profile).flooding_distance_log2 <= FLOODING_DISTANCE_LOG2

    index = bisect_left(_FLOODING_LOG2, True, key=is_far)
    if index == len(_FLOODING_LOG2):
        raise ParameterError("no flooding is far enough")
    return _FLOODING_LOG2[index]


def _refined(network: DeclaredNetwork, plan: NetworkPlan, wanted: float) -> NetworkPlan:
    """Drop limbs, then raise the disclosure distance, while the precision stays."""
    most = min(MAX_DROPPED_LIMBS, len(plan.parameters.moduli) - 1)
    if network.mode is Mode.PRIVATE:
        for dropped in range(most, 0, -1):
            candidate = _widest_scale(network, plan.parameters, dropped)
            if candidate is not None and candidate.precision_bits >= wanted:
                plan = candidate
                break
    low, high = DISCLOSURE_LOG2_RANGE

    def too_coarse(disclosure: int) -> bool:
        profile = replace(plan.profile, disclosure_log2=disclosure)
        return _bounds(network, profile).precision_bits < wanted

    distances = range(low, high + 1)
    best = distances[bisect_left(distances, True, key=too_coarse) - 1]
    return _plan(network, replace(plan.profile, disclosure_log2=best))


def _bounds(network: DeclaredNetwork, profile: Profile) -> Bounds:
    return network_bounds(
        network.graph,
        profile.parameters,
        row_l1_bounds=network.row_l1_bounds,
        input_bound=network.input_bound,
        flooding_log2=profile.flooding_log2,
        dropped_limbs=profile.dropped_limbs,
        disclosure_log2=profile.disclosure_log2,
    )


def _plan(network: DeclaredNetwork, profile: Profile) -> NetworkPlan:
    return NetworkPlan(profile, _bounds(network, profile), predict_cost(network.graph, profile))


def _refusal(
    network: DeclaredNetwork,
    wanted: float,
    ring_degree: int | None,
    nearest: NetworkPlan | None,
    *,
    crowded: bool,
) -> str:
    """Why nothing was found; `crowded`: some parameters were left out for their size."""
    where = "any supported ring" if ring_degree is None else f"N = {ring_degree}"
    smaller = "use fewer squarings, smaller weights or narrower input ranges"
    if crowded:
        widest = max(tensor.units for tensor in network.graph.tensors(0))
        smaller += f", fewer units than {widest} in a tensor"
    if network.mode is Mode.PRIVATE:
        smaller += ", or public mode"
    if nearest is None or nearest.precision_bits <= 0:
        depth = network.graph.multiplicative_depth
        return (
            f"values of a network of multiplicative depth {depth} and their noise do not fit "
            f"{where}: {smaller}"
        )
    ring = nearest.parameters
    return (
        f"{wanted:g} bits of precision do not fit {where}; the nearest is "
        f"{math.floor(nearest.precision_bits * 10) / 10} bits at N = {ring.ring_degree} with "
        f"{len(ring.moduli)} limbs: ask for that, or {smaller}"
    )
