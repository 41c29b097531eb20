"""`blindproof params`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindproof.cli.tables import kibibytes, new_table
from fhe_layers.planner import DEFAULT_PRECISION_BITS
from protocol.errors import ModelError, ParameterError
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from fhe_layers.network_cost import PredictedCost
    from fhe_layers.network_planner import NetworkPlan
    from fhe_layers.planner import Plan
    from protocol.model import ModelCard


def params(  # noqa: PLR0917  (a command's options)
    features: Annotated[
        int | None, typer.Option(min=1, help="Number of input columns of a linear model.")
    ] = None,
    outputs: Annotated[int, typer.Option(min=1, help="Number of outputs.")] = 1,
    input_bound: Annotated[
        float, typer.Option(help="Largest magnitude of a normalised input.")
    ] = 8.0,
    row_l1: Annotated[
        float, typer.Option(help="Sum of |weights| of an output over the largest |weight|.")
    ] = 8.0,
    mode: Annotated[Mode, typer.Option(help="Hidden or published weights.")] = Mode.PRIVATE,
    precision: Annotated[
        float | None,
        typer.Option(help="Bits of precision wanted; 16 for a linear model, 14 for a network."),
    ] = None,
    network: Annotated[
        Path | None, typer.Option(help="JSON file of a network, instead of a shape.")
    ] = None,
) -> None:
    """Show the parameters a model would get, and what a request would cost; publishes nothing.

    A linear model is described by its shape, a network by its file.
    """
    if (features is None) == (network is None):
        raise ParameterError("describe one model: --features, or --network")
    if network is not None:
        _network_params(network, precision)
    elif features is not None:
        plans = _linear_plans(
            features,
            outputs=outputs,
            input_bound=input_bound,
            row_l1=row_l1,
            mode=mode,
            precision=precision,
        )
        Console(highlight=False).print(plans_table(plans))


def _linear_plans(
    features: int,
    *,
    outputs: int,
    input_bound: float,
    row_l1: float,
    mode: Mode,
    precision: float | None,
) -> tuple[Plan, ...]:
    from fhe_layers.planner import LinearModelSpec, plan_packings
    from protocol.families import MAX_INTEGERS, WEIGHT_BITS
    from protocol.model import MAX_INPUT_BOUND

    _require("--input-bound", input_bound, MAX_INPUT_BOUND)
    _require("--row-l1", row_l1, MAX_INTEGERS)
    _require(
        "weights and biases of (features + 1) x outputs", (features + 1) * outputs, MAX_INTEGERS
    )
    spec = LinearModelSpec(
        features=features,
        outputs=outputs,
        input_bound=input_bound,
        row_l1_bound=max(1, math.ceil(row_l1 * 2**WEIGHT_BITS)),
        mode=mode,
    )
    wanted = DEFAULT_PRECISION_BITS if precision is None else precision
    return plan_packings(spec, (Packing.BATCH, Packing.SINGLE), precision_bits=wanted)


def _network_params(path: Path, precision: float | None) -> None:
    from blindproof.model_file import read_model_file
    from blindproof.network_publishing import NetworkModel, plan_of, quantised_model
    from fhe_layers.network_planner import DEFAULT_NETWORK_PRECISION_BITS

    file = read_model_file(path)
    model = file.model()
    if not isinstance(model, NetworkModel):
        raise ModelError(f"{path}: a linear model: describe its shape")
    wanted = DEFAULT_NETWORK_PRECISION_BITS if precision is None else precision
    plan = plan_of(model, quantised_model(model), mode=file.mode, precision_bits=wanted)
    console = Console(highlight=False)
    console.print(plans_table((plan,)))
    console.print(_cost_line(plan.cost, plan.parameters.slots), soft_wrap=True)


def plans_table(plans: Sequence[Plan | NetworkPlan]) -> Table:
    """Plans side by side."""
    table = new_table(
        "Parameters, 128-bit secure", "", *(str(plan.profile.packing) for plan in plans)
    )
    rows: list[tuple[str, list[str]]] = [
        ("ring degree N", [str(plan.parameters.ring_degree) for plan in plans]),
        ("records in a request", [_records(plan) for plan in plans]),
        ("data primes, bits", [_primes(plan) for plan in plans]),
        ("log2(QP)", [f"{_modulus_bits(plan):.0f}" for plan in plans]),
        ("input scale", [f"2^{plan.parameters.input_scale_log2}" for plan in plans]),
        ("flooding", [_flooding(plan) for plan in plans]),
        ("limbs dropped", [str(plan.profile.dropped_limbs) for plan in plans]),
        ("disclosure distance", [f"2^{plan.profile.disclosure_log2}" for plan in plans]),
        ("precision", [f"{plan.precision_bits:.1f} bits" for plan in plans]),
        ("error bound, in units", [f"{plan.error_bound:.2e}" for plan in plans]),
        ("no-wrap margin", [f"{plan.no_wrap_margin_bits:.1f} bits" for plan in plans]),
        ("request", [kibibytes(plan.request_bytes) for plan in plans]),
        ("response without proof", [kibibytes(plan.response_bytes) for plan in plans]),
        ("enrolled keys", [kibibytes(plan.public_key_bytes) for plan in plans]),
    ]
    for label, cells in rows:
        table.add_row(label, *cells)
    return table


def profiles_table(card: ModelCard) -> Table:
    """The profiles of a published model."""
    table = new_table(
        f"{card.name} {card.version}, {card.mode}",
        "packing",
        "N",
        "limbs",
        "precision",
        "error bound",
    )
    for profile in card.profiles:
        bounds = card.bounds(profile.packing)
        table.add_row(
            str(profile.packing),
            str(profile.parameters.ring_degree),
            str(len(profile.parameters.moduli)),
            f"{bounds.precision_bits:.1f} bits",
            f"{bounds.released_error * card.unit:.2e}",
        )
    return table


def cost_lines(card: ModelCard) -> list[str]:
    """What a request of a network's batch is predicted to take; nothing for a linear model."""
    from fhe_layers.network_cost import predict_cost

    if card.linear:
        return []
    profile = card.profile(Packing.BATCH)
    return [
        _cost_line(predict_cost(card.graph, profile), profile.parameters.slots),
        *([f"a client enrols {card.keys_needed} keys, once"] if card.mode is Mode.PRIVATE else []),
        f"released values hide the secret key by a factor of 2^{profile.disclosure_log2}",
    ]


def _cost_line(cost: PredictedCost, records: int) -> str:
    seconds = ", ".join(
        f"{name} {value:.2g} s"
        for name, value in (
            ("encrypt", cost.encrypt_seconds),
            ("evaluate", cost.evaluate_seconds),
            ("prove", cost.prove_seconds),
            ("verify", cost.verify_seconds),
        )
    )
    return (
        f"predicted for up to {records} records: {seconds}; {kibibytes(cost.request_bytes)} up, "
        f"{kibibytes(cost.response_bytes)} and a proof down; about "
        f"{cost.server_memory_bytes >> 20} MiB on the server"
    )


def _require(name: str, value: float, largest: float) -> None:
    """Raises ParameterError for NaN and everything outside (0, largest]."""
    if not 0 < value <= largest:
        raise ParameterError(f"{name}: {value:g} is not above 0 and at most {largest:g}")


def _records(plan: Plan | NetworkPlan) -> str:
    return str(plan.parameters.slots) if plan.profile.packing is Packing.BATCH else "1"


def _primes(plan: Plan | NetworkPlan) -> str:
    return " + ".join(str(prime.bit_length()) for prime in plan.parameters.moduli)


def _modulus_bits(plan: Plan | NetworkPlan) -> float:
    parameters = plan.parameters
    return math.log2(parameters.modulus) + math.log2(parameters.special_modulus)


def _flooding(plan: Plan | NetworkPlan) -> str:
    if plan.profile.flooding_log2 is None:
        return "none"
    return f"2^{plan.profile.flooding_log2}, distance 2^{plan.flooding_distance_log2:.0f}"
