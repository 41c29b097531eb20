"""Publish a shallow network for single records: as a linear model over monomials of its features.

A collapsed model is a model of its own: its card has the monomials, its commitment the
polynomial's coefficients (docs/decisions/0012-monomials.md).

Products of units that are 0 or 1 are simplified as they are for records that a client encoded:
`fhe_layers.unit_products` says how.  The polynomial then has far fewer monomials, and differs from
the network on ciphertexts of anything else; nothing proves that inputs are records in either case.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blindproof.network_publishing import (
    NetworkModel,
    plan_of,
    quantised_model,
    require_faithful,
)
from blindproof.publishing import (
    LinearModel,
    linear_spec,
    publish_linear,
    quantised_linear,
)
from fhe_layers.collapse import collapse
from fhe_layers.network_planner import DEFAULT_NETWORK_PRECISION_BITS, NetworkPlan
from fhe_layers.packing_choice import PackingChoice, choose_packing
from fhe_layers.planner import Plan, plan
from fhe_layers.quantise_network import QuantisedNetwork
from fhe_layers.unit_products import UnitProducts
from protocol.errors import PlanningError
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing


def collapsed_model(model: NetworkModel) -> LinearModel:
    """The integer network that would be published, multiplied out.

    Raises:
        PlanningError: it has too many monomials; says how many.
        BlindproofError: the network cannot be quantised.
    """
    return _multiplied_out(model, quantised_model(model))


def _multiplied_out(model: NetworkModel, quantised: QuantisedNetwork) -> LinearModel:
    """The linear model over monomials that the integer network is.  Raises PlanningError."""
    rules = UnitProducts.of(model.features)
    numbers = quantised.integers.astype(np.float64)
    polynomials = collapse(quantised.graph, numbers, rules, model.expansion)
    weights, intercept = polynomials.real(quantised.unit)
    return LinearModel(
        **model.described(name=f"{model.name}-single", expansion=polynomials.expansion),
        weights=weights,
        intercept=intercept,
    )


def publish_collapsed(
    models: Path | str,
    model: NetworkModel,
    *,
    mode: Mode | str = Mode.PRIVATE,
    precision_bits: float = DEFAULT_NETWORK_PRECISION_BITS,
    allow_rounding: bool = False,
) -> ModelCard:
    """Publish a network for single records; the same network gives the same digest.

    Rounding happens twice: `rounding_of_network` says what becoming integers changes in the
    network, and `rounding_of` the `collapsed_model` what 16 bits for each coefficient change then.

    Raises:
        PlanningError: too many monomials, or no secure parameters reach the precision.
        ModelError: one of the roundings changes too much, or the model cannot be described.
        BlindproofError: the network cannot be quantised or stored.
    """
    quantised = quantised_model(model)
    if not allow_rounding:
        require_faithful(model, quantised)
    return publish_linear(
        models,
        _multiplied_out(model, quantised),
        mode=mode,
        packings=(Packing.SINGLE,),
        precision_bits=precision_bits,
        allow_rounding=allow_rounding,
    )


def packing_for_records(
    model: NetworkModel, records: int, *, mode: Mode, precision_bits: float
) -> PackingChoice:
    """Compare batch packing with the collapsed model by predicted seconds.

    Raises:
        PlanningError: neither is possible.
        BlindproofError: the network cannot be quantised.
    """
    single: Plan | PlanningError
    batch: NetworkPlan | PlanningError
    try:
        collapsed = collapsed_model(model)
        spec = linear_spec(collapsed, quantised_linear(collapsed), mode)
        single = plan(spec, Packing.SINGLE, precision_bits=precision_bits)
    except PlanningError as error:
        single = error
    try:
        batch = plan_of(model, quantised_model(model), mode=mode, precision_bits=precision_bits)
    except PlanningError as error:
        batch = error
    return choose_packing(records, batch, single)
