"""What a request will take, of linear models and of networks, in one form.

Seconds are those of `fhe_layers.network_cost` and `fhe_layers.packing_choice`: good for comparing,
within a factor of two otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhe_layers.network_cost import PROOF_LIMB_BYTES, PredictedCost, predict_cost
from fhe_layers.network_planner import NetworkPlan
from fhe_layers.packing_choice import single_seconds
from fhe_layers.planner import Plan
from protocol.graph import Graph
from protocol.parameters import Packing

_WORD_BYTES = 8


@dataclass(frozen=True)
class Prediction:
    """Of one request.

    Attributes:
        records: how many it holds at most.
        request_bytes: seeded ciphertexts.
        response_bytes: output words, without the proof.
        proof_bytes: about, within a third.
        key_bytes: enrolled keys, once, without their proof.
        server_memory_bytes: what the server holds for it.
        seconds: by phase, in order; one entry for a single record, which is quick.
    """

    records: int
    request_bytes: int
    response_bytes: int
    proof_bytes: int
    key_bytes: int
    server_memory_bytes: int
    seconds: tuple[tuple[str, float], ...]

    @property
    def total_seconds(self) -> float:
        """Everything a client waits for, but the network."""
        return sum(seconds for _, seconds in self.seconds)


def predict_network(plan: NetworkPlan, encrypted: float = 1.0) -> Prediction:
    """Of a batch of a network; `encrypted` is the share of inputs that travel as ciphertexts."""
    cost = plan.cost.with_encrypted(encrypted)
    return Prediction(
        records=plan.parameters.slots,
        request_bytes=cost.request_bytes,
        response_bytes=cost.response_bytes,
        proof_bytes=cost.proof_bytes,
        key_bytes=cost.public_key_bytes,
        server_memory_bytes=cost.server_memory_bytes,
        seconds=_phases(cost, proved=True),
    )


def predict_linear(graph: Graph, plan: Plan, encrypted: float = 1.0) -> Prediction:
    """Of a batch, or a single record, of a linear model; `graph` is its dense layer."""
    parameters = plan.parameters
    request = plan.request_bytes
    private = plan.profile.flooding_log2 is not None
    # A public linear answer is recomputed instead of proved.
    proof = len(parameters.moduli) * PROOF_LIMB_BYTES if private else 0
    if plan.profile.packing is Packing.BATCH:
        cost = predict_cost(graph, plan.profile).with_encrypted(encrypted)
        records, seconds = parameters.slots, _phases(cost, proved=private)
        server_memory = cost.server_memory_bytes
        request = cost.request_bytes
    else:
        records = 1
        seconds = (("in all", single_seconds(parameters)),)
        # The record's ciphertext, the model's polynomials that meet it, and masks.
        polynomial = len(parameters.moduli) * parameters.ring_degree * _WORD_BYTES
        server_memory = 2 * plan.request_bytes + 4 * polynomial + 2 * plan.response_bytes
    return Prediction(
        records=records,
        request_bytes=request,
        response_bytes=plan.response_bytes,
        proof_bytes=proof,
        key_bytes=plan.public_key_bytes,
        server_memory_bytes=server_memory,
        seconds=seconds,
    )


def _phases(cost: PredictedCost, *, proved: bool) -> tuple[tuple[str, float], ...]:
    return (
        ("encrypt", cost.encrypt_seconds),
        ("evaluate", cost.evaluate_seconds),
        ("prove", cost.prove_seconds if proved else 0.0),
        ("verify", cost.verify_seconds),
        ("decrypt", cost.decrypt_seconds),
    )
