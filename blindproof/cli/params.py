"""`blindproof params`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from blindproof.plan_tables import cost_line, plans_table, single_cost_line
from fhe_layers.network_planner import NetworkPlan
from fhe_layers.planner import DEFAULT_PRECISION_BITS
from protocol.errors import ModelError, ParameterError
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from blindproof.publishing import LinearModel
    from fhe_layers.planner import Plan


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
            console.print(cost_line(plan.cost, plan.parameters.slots), soft_wrap=True)
        elif plan.profile.packing is Packing.SINGLE:
            console.print(single_cost_line(plan.profile), soft_wrap=True)


def _plans_of(
    model: LinearModel, mode: Mode, packings: tuple[Packing, ...], precision_bits: float
) -> tuple[tuple[Plan, ...], float]:
    """The plans of a linear model, and its unit."""
    from blindproof.publishing import linear_spec, quantised_linear
    from fhe_layers.planner import plan_packings

    quantised = quantised_linear(model)
    spec = linear_spec(model, quantised, mode)
    return plan_packings(spec, packings, precision_bits=precision_bits), quantised.unit


def _require(name: str, value: float, largest: float) -> None:
    """Raises ParameterError for NaN and everything outside (0, largest]."""
    if not 0 < value <= largest:
        raise ParameterError(f"{name}: {value:g} is not above 0 and at most {largest:g}")
