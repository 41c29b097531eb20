"""Plans and published profiles as tables and lines, for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from blindproof.tables import new_table, release_noise, size
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from fhe_layers.network_cost import PredictedCost
    from fhe_layers.network_planner import NetworkPlan
    from fhe_layers.planner import Plan
    from protocol.model import ModelCard, Profile


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
        ("request", [size(plan.request_bytes) for plan in plans]),
        ("response without proof", [size(plan.response_bytes) for plan in plans]),
        ("enrolled keys", [size(plan.public_key_bytes) for plan in plans]),
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
            lines.append(cost_line(cost, profile.parameters.slots))
        elif profile.packing is Packing.SINGLE:
            lines.append(single_cost_line(profile))
    if card.mode is Mode.PRIVATE and not card.linear:
        lines.append(f"a client enrols {card.keys_needed} keys, once")
    return lines


def cost_line(cost: PredictedCost, records: int) -> str:
    """What a batch of a network is predicted to take."""
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
        f"predicted for up to {records} records: {seconds}; {size(cost.request_bytes)} up, "
        f"{size(cost.response_bytes)} and a proof of about {_roughly(cost.proof_bytes)} "
        f"down; about {cost.server_memory_bytes >> 20} MiB on the server"
    )


def single_cost_line(profile: Profile) -> str:
    """What a single record of a linear model is predicted to take."""
    from fhe_layers.network_cost import PROOF_LIMB_BYTES
    from fhe_layers.packing_choice import single_seconds

    limbs = len(profile.parameters.moduli)
    ciphertext = limbs * profile.parameters.ring_degree * 8
    private = profile.flooding_log2 is not None
    proof = f" and a proof of about {_roughly(limbs * PROOF_LIMB_BYTES)}" if private else ""
    return (
        f"predicted for one record: {single_seconds(profile.parameters):.2g} s in all; "
        f"{size(ciphertext)} up, {size(ciphertext)}{proof} down"
    )


def _roughly(count: int) -> str:
    """A size whose last digits mean nothing."""
    return f"{float(f'{count / 1024:.2g}'):,.0f} KiB"


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
