"""`blindproof params`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindproof.cli.tables import kibibytes, new_table
from fhe_layers.planner import DEFAULT_PRECISION_BITS
from protocol.errors import ParameterError
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from fhe_layers.planner import Plan
    from protocol.model import ModelCard


def params(  # noqa: PLR0917  (a command's options)
    features: Annotated[int, typer.Option(min=1, help="Number of input columns.")],
    outputs: Annotated[int, typer.Option(min=1, help="Number of outputs.")] = 1,
    input_bound: Annotated[
        float, typer.Option(help="Largest magnitude of a normalised input.")
    ] = 8.0,
    row_l1: Annotated[
        float, typer.Option(help="Sum of |weights| of an output over the largest |weight|.")
    ] = 8.0,
    mode: Annotated[Mode, typer.Option(help="Hidden or published weights.")] = Mode.PRIVATE,
    precision: Annotated[
        float, typer.Option(help="Bits of precision wanted.")
    ] = DEFAULT_PRECISION_BITS,
) -> None:
    """Show the parameters a linear model of this shape would get."""
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
    plans = plan_packings(spec, (Packing.BATCH, Packing.SINGLE), precision_bits=precision)
    Console(highlight=False).print(plans_table(plans))


def plans_table(plans: tuple[Plan, ...]) -> Table:
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
    cost = predict_cost(card.graph, profile)
    ends = [cost.encrypt_seconds, cost.evaluate_seconds, cost.prove_seconds, cost.verify_seconds]
    seconds = ", ".join(
        f"{name} {value:.2g} s"
        for name, value in zip(("encrypt", "evaluate", "prove", "verify"), ends, strict=True)
    )
    sizes = f"{kibibytes(cost.request_bytes)} up, {kibibytes(cost.response_bytes)} and a proof down"
    memory = f"{cost.server_memory_bytes >> 20} MiB on the server"
    return [
        f"predicted for up to {profile.parameters.slots} records: {seconds}; {sizes}; {memory}",
        f"a client enrols {card.keys_needed} keys, once",
        f"released values hide the secret key by a factor of 2^{profile.disclosure_log2}",
    ]


def _require(name: str, value: float, largest: float) -> None:
    """Raises ParameterError for NaN and everything outside (0, largest]."""
    if not 0 < value <= largest:
        raise ParameterError(f"{name}: {value:g} is not above 0 and at most {largest:g}")


def _records(plan: Plan) -> str:
    return str(plan.parameters.slots) if plan.profile.packing is Packing.BATCH else "1"


def _primes(plan: Plan) -> str:
    return " + ".join(str(prime.bit_length()) for prime in plan.parameters.moduli)


def _modulus_bits(plan: Plan) -> float:
    parameters = plan.parameters
    return math.log2(parameters.modulus) + math.log2(parameters.special_modulus)


def _flooding(plan: Plan) -> str:
    if plan.profile.flooding_log2 is None:
        return "none"
    return f"2^{plan.profile.flooding_log2}, distance 2^{plan.flooding_distance_log2:.0f}"
