"""From a trained network to a published model: fold, quantise, plan, commit, prove, store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blindproof.description import Description
from blindproof.publishing import (
    ROUNDING_SHARE_LOG2,
    LinearModel,
    parse_mode,
    publish_linear,
)
from blindproof.sealing import BLANK_COMMITMENT, publisher_key, seal
from fhe_layers.folding import fold
from fhe_layers.network_planner import (
    DEFAULT_NETWORK_PRECISION_BITS,
    DeclaredNetwork,
    NetworkPlan,
    plan_network,
)
from fhe_layers.network_rounding import NetworkRounding, network_rounding
from fhe_layers.quantise_network import QuantisedNetwork, quantise_network
from fhe_layers.spec import DenseSpec, NetworkSpec
from protocol.errors import ModelError
from protocol.graph import Graph
from protocol.model import ModelCard
from protocol.parameters import Mode
from server.registry import ModelBundle, ModelRegistry


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkModel(Description):
    """A trained network, before publication.

    Attributes:
        network: layers over its inputs, in the order of the columns and their units; an image
            channel by channel, row by row.
    """

    network: NetworkSpec = field(repr=False)


def publish_network(
    models: Path | str,
    model: NetworkModel,
    *,
    mode: Mode | str = Mode.PRIVATE,
    precision_bits: float = DEFAULT_NETWORK_PRECISION_BITS,
    allow_rounding: bool = False,
) -> ModelCard:
    """Publish a network in a server's model directory; the same network gives the same digest.

    What is published, committed and proved is the network with its weights rounded to 16 bits;
    `rounding_of_network` bounds what that changes. A network that folds to one dense layer is
    published as the linear model it is.

    Args:
        models: the directory; made if missing.
        model: what to publish.
        mode: hidden or published weights.
        precision_bits: wanted precision of an answer.
        allow_rounding: publish even if rounding may change the network noticeably.

    Raises:
        PlanningError: no secure parameters reach the precision; the message says what would.
        ModelError: rounding may change too much, a layer cannot be served, or the model cannot be
            described.
        BlindproofError: the network cannot be quantised or stored.
    """
    linear = as_linear(model)
    if linear is not None:
        return publish_linear(
            models,
            linear,
            mode=mode,
            precision_bits=precision_bits,
            allow_rounding=allow_rounding,
        )
    directory = Path(models)
    bundle = bundle_network(
        model,
        publisher_key(directory),
        mode=parse_mode(mode),
        precision_bits=precision_bits,
        allow_rounding=allow_rounding,
    )
    ModelRegistry(directory).publish(bundle)
    return bundle.card


def as_linear(model: NetworkModel) -> LinearModel | None:
    """The linear model that a network without activations is, None of any other."""
    layers = fold(model.network).layers
    if len(layers) != 1 or not isinstance(layers[0], DenseSpec):
        return None
    return LinearModel(**model.described(), weights=layers[0].weights, intercept=layers[0].bias)


def bundle_network(
    model: NetworkModel,
    key: bytes,
    *,
    mode: Mode,
    precision_bits: float,
    allow_rounding: bool = False,
) -> ModelBundle:
    """Everything a server needs to serve a network.  Raises BlindproofError."""
    quantised = quantised_model(model)
    if not allow_rounding:
        require_faithful(model, quantised)
    plan = plan_of(model, quantised, mode=mode, precision_bits=precision_bits)
    private = mode is Mode.PRIVATE
    draft = ModelCard(
        **model.described(),
        mode=mode,
        graph=quantised.graph,
        unit=quantised.unit,
        row_l1_bounds=quantised.row_l1_bounds,
        profiles=(plan.profile,),
        commitment=BLANK_COMMITMENT if private else b"",
        public_weights=() if private else matrix_rows(quantised.graph, quantised.integers),
    )
    return seal(draft, quantised.integers, key)


def quantised_model(model: NetworkModel) -> QuantisedNetwork:
    """The integer network that would be published.

    Raises:
        ModelError: features or outputs are not the network's, or a layer cannot be served.
        BlindproofError: the network cannot be quantised.
    """
    model.require_publishable()
    spec = model.network
    if (spec.inputs, spec.outputs) != (model.inputs, len(model.outputs)):
        kind = "monomials" if model.expansion else "inputs of its columns"
        raise ModelError(
            f"a network of {spec.inputs} inputs and {spec.outputs} outputs for "
            f"{model.inputs} {kind} and {len(model.outputs)} names of outputs"
        )
    return quantise_network(spec)


def plan_of(
    model: NetworkModel, quantised: QuantisedNetwork, *, mode: Mode, precision_bits: float
) -> NetworkPlan:
    """Parameters of the integer network.  Raises PlanningError."""
    declared = DeclaredNetwork(
        graph=quantised.graph,
        row_l1_bounds=quantised.row_l1_bounds,
        input_bound=float(model.input_bounds.max()),
        mode=mode,
    )
    return plan_network(declared, precision_bits=precision_bits)


def rounding_of_network(model: NetworkModel) -> NetworkRounding:
    """How far the network that would be published is from this one.  Raises BlindproofError."""
    return network_rounding(quantised_model(model), model.input_bounds)


def require_faithful(model: NetworkModel, quantised: QuantisedNetwork) -> None:
    """Refuse a network that rounding may change by too much of what its outputs may reach.

    Both are worst cases over every input; single weights may well become zero.

    Raises:
        ModelError: naming the output that changes most.
    """
    rounded = network_rounding(quantised, model.input_bounds)
    with np.errstate(invalid="ignore"):  # unbounded errors of unbounded outputs
        shares = rounded.errors / np.maximum(rounded.ranges, np.finfo(np.float64).tiny)
    worst = int(np.argmax(shares))
    if not shares[worst] <= 2.0**ROUNDING_SHARE_LOG2:
        raise ModelError(
            f"rounding the weights to 16 bits can change output '{model.outputs[worst]}' by "
            f"{rounded.errors[worst]:.2g}, of at most {rounded.ranges[worst]:.2g} in magnitude, "
            f"and makes {rounded.lost or 'no'} weights zero: bring the layers' weights and biases, "
            "and the sides of sums, to similar sizes, or allow the rounding"
        )


def matrix_rows(graph: Graph, integers: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """The rows of every matrix, as a public card lists them."""
    return tuple(
        tuple(row)
        for matrix in graph.matrices
        for row in integers[matrix.offset : matrix.offset + matrix.size]
        .reshape(matrix.rows, matrix.width)
        .tolist()
    )
