"""`blindproof params`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindproof.cli.tables import kibibytes, new_table, release_noise
from fhe_layers.network_planner import NetworkPlan
from fhe_layers.planner import DEFAULT_PRECISION_BITS
from protocol.errors import ModelError, ParameterError
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from blindproof.publishing import LinearModel
    from fhe_layers.network_cost import PredictedCost
    from fhe_layers.planner import Plan
    from protocol.model import ModelCard, Profile


def params(  # noqa: PLR0917  (a command's options)
    features: Annotated[
        int | None, typer.Option(min=1, help="Number of input columns of a linear model.")
    ] = None,
    outputs: Annotated[
        int | None, typer.Option(min=1, help="Number of outputs; 1 if not given.")
    ] = None,
    input_bound: Annotated[
        float | None,
        typer.Option(help="Largest magnitude of a normalised input; 8 if not given."),
    ] = None,
    row_l1: Annotated[
        float | None,
        typer.Option(
            help="Sum of |weights| of an output over the largest |weight|; 8 if not given."
        ),
    ] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="Hidden or published weights; private if not given.")
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(help="Bits of precision wanted; 16 for a linear model, 14 for a network."),
    ] = None,
    network: Annotated[
        Path | None, typer.Option(help="JSON file of a network, instead of a shape.")
    ] = None,
    packing: Annotated[
        Packing | None,
        typer.Option(help="Of a network: batches, or single records of a shallow one."),
    ] = None,
) -> None:
    """Show the parameters a model would get, and what a request would cost; publishes nothing.

    A linear model is described by its shape, a network by its file.
    """
    if network is not None and features is None:
        shape = {"outputs": outputs, "input-bound": input_bound, "row-l1": row_l1, "mode": mode}
        given = [f"--{name}" for name, value in shape.items() if value is not None]
        if given:
            raise ParameterError(f"the network's file decides {' and '.join(given)}: leave it")
        _network_params(network, precision, packing)
    elif features is not None and network is None:
        if packing is not None:
            raise ParameterError("a linear model is shown in both packings: leave --packing")
        plans = _linear_plans(
            features,
            outputs=1 if outputs is None else outputs,
            input_bound=8.0 if input_bound is None else input_bound,
            row_l1=8.0 if row_l1 is None else row_l1,
            mode=Mode.PRIVATE if mode is None else mode,
            precision=precision,
        )
        Console(highlight=False).print(plans_table(plans))
    else:
        raise ParameterError("describe one model: --features, or --network")


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


def _network_params(path: Path, precision: float | None, packing: Packing | None) -> None:
    """The plans of what `publish` would make of the file."""
    from blindproof.collapsed_publishing import collapsed_model
    from blindproof.file_errors import naming
    from blindproof.model_file import read_model_file
    from blindproof.network_publishing import (
        NetworkModel,
        as_linear,
        plan_of,
        quantised_model,
    )
    from fhe_layers.network_planner import DEFAULT_NETWORK_PRECISION_BITS

    file = read_model_file(path)
    wanted = DEFAULT_NETWORK_PRECISION_BITS if precision is None else precision
    console = Console(highlight=False)
    plans: tuple[Plan | NetworkPlan, ...]
    with naming(path):
        model = file.model()
        if not isinstance(model, NetworkModel):
            raise ModelError("a linear model: describe its shape")
        linear = as_linear(model)
        if packing is Packing.SINGLE:
            plans, unit = _plans_of(collapsed_model(model), file.mode, (Packing.SINGLE,), wanted)
        elif linear is not None:
            plans, unit = _plans_of(linear, file.mode, tuple(Packing), wanted)
            console.print("without activations this network is a linear model", soft_wrap=True)
        else:
            quantised = quantised_model(model)
            plans = (plan_of(model, quantised, mode=file.mode, precision_bits=wanted),)
            unit = quantised.unit
    console.print(plans_table(plans, unit))
    for plan in plans:
        if isinstance(plan, NetworkPlan):
            console.print(_cost_line(plan.cost, plan.parameters.slots), soft_wrap=True)
        elif plan.profile.packing is Packing.SINGLE:
            console.print(_single_cost_line(plan.profile), soft_wrap=True)


def _plans_of(
    model: LinearModel, mode: Mode, packings: tuple[Packing, ...], precision_bits: float
) -> tuple[tuple[Plan, ...], float]:
    """The plans of a linear model, and its unit."""
    from blindproof.publishing import linear_spec, quantised_linear
    from fhe_layers.planner import plan_packings

    quantised = quantised_linear(model)
    spec = linear_spec(model, quantised, mode)
    return plan_packings(spec, packings, precision_bits=precision_bits), quantised.unit


def plans_table(plans: Sequence[Plan | NetworkPlan], unit: float | None = None) -> Table:
    """Plans side by side, errors in the output's own units if the model's is known."""
    error_label = "error bound, weights below 1" if unit is None else "error bound"
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
        ("noise on release", [release_noise(plan.profile) for plan in plans]),
        ("precision", [f"{plan.precision_bits:.1f} bits" for plan in plans]),
        (error_label, [f"{plan.error_bound * (unit or 1.0):.2e}" for plan in plans]),
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
        "noise on release",
    )
    for profile in card.profiles:
        bounds = card.bounds(profile.packing)
        table.add_row(
            str(profile.packing),
            str(profile.parameters.ring_degree),
            str(len(profile.parameters.moduli)),
            f"{bounds.precision_bits:.1f} bits",
            f"{bounds.released_error * card.unit:.2e}",
            release_noise(profile),
        )
    return table


def cost_lines(card: ModelCard) -> list[str]:
    """What a request is predicted to take: of a network's batch, or of a single record."""
    from fhe_layers.network_cost import predict_cost

    lines = []
    for profile in card.profiles:
        if not card.linear:
            encrypted = len(card.encrypted_inputs) / card.inputs_count
            cost = predict_cost(card.graph, profile).with_encrypted(encrypted)
            lines.append(_cost_line(cost, profile.parameters.slots))
        elif profile.packing is Packing.SINGLE:
            lines.append(_single_cost_line(profile))
    if card.mode is Mode.PRIVATE and not card.linear:
        lines.append(f"a client enrols {card.keys_needed} keys, once")
    return lines


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
        f"{kibibytes(cost.response_bytes)} and a proof of about {_roughly(cost.proof_bytes)} "
        f"down; about {cost.server_memory_bytes >> 20} MiB on the server"
    )


def _single_cost_line(profile: Profile) -> str:
    from fhe_layers.network_cost import PROOF_LIMB_BYTES
    from fhe_layers.packing_choice import single_seconds

    limbs = len(profile.parameters.moduli)
    ciphertext = limbs * profile.parameters.ring_degree * 8
    private = profile.flooding_log2 is not None
    proof = f" and a proof of about {_roughly(limbs * PROOF_LIMB_BYTES)}" if private else ""
    return (
        f"predicted for one record: {single_seconds(profile.parameters):.2g} s in all; "
        f"{kibibytes(ciphertext)} up, {kibibytes(ciphertext)}{proof} down"
    )


def _roughly(count: int) -> str:
    """A size whose last digits mean nothing."""
    return f"{float(f'{count / 1024:.2g}'):,.0f} KiB"


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
