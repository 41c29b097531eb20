"""A network's batch: evaluate, hide, prove.

Symbols: K inputs, J outputs, t polynomials of an output, L limbs, L' <= L of them kept in the
outputs, N ring degree; words `(unit, poly, limb, n)`, NTT domain.
"""

from __future__ import annotations

from collections.abc import Mapping

from fhe_layers.network import Evaluation, evaluate_network
from fhe_layers.network_cost import predict_cost
from fhe_layers.sanitise import sanitise_network
from protocol.digests import Words
from protocol.errors import RequestError
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from server.jobs import Job
from wire.inference import BatchOutputs
from zk_layers.network import NetworkRelation, NetworkWitness, network_relation
from zk_layers.prove import prove_network, prove_public_network
from zk_layers.public_network import PublicNetwork, public_network
from zk_layers.reduction.schedule import schedule_of
from zk_layers.reduction.speaker import copied_polynomials, kept_tensors


def tensors_kept(card: ModelCard, packing: Packing) -> tuple[int, ...]:
    """The tensors a proof starts from, by index; all others live for a tile's time only."""
    scale = card.profile(packing).parameters.input_scale_log2
    return kept_tensors(card.graph, scale, hidden=card.mode is Mode.PRIVATE)


def polynomials_copied(card: ModelCard, packing: Packing) -> int:
    """Polynomials that are laid out once more for one step of the proof, at most."""
    scale = card.profile(packing).parameters.input_scale_log2
    return copied_polynomials(card.graph, scale)


def pads_committed(card: ModelCard, packing: Packing) -> int:
    """Field elements that hide a private answer's reductions, per limb."""
    parameters = card.profile(packing).parameters
    schedule = schedule_of(
        card.graph, parameters.input_scale_log2, parameters.ring_degree, hidden=True
    )
    return 2 * schedule.pads.count


def predicted_seconds(job: Job) -> dict[str, float]:
    """What the stages of an answer will take, about."""
    cost = predict_cost(job.bundle.card.graph, job.profile)
    return {"evaluate": cost.evaluate_seconds, "prove": cost.prove_seconds}


def evaluate(job: Job, inputs: Words) -> Evaluation:
    """Bare outputs (J, t, L, N) of inputs (K, 2, L, N), and what their proof starts from."""
    parameters, graph = job.profile.parameters, job.bundle.card.graph
    return evaluate_network(
        graph,
        job.bundle.integers,
        inputs,
        input_scale_log2=parameters.input_scale_log2,
        moduli=parameters.moduli,
        keep=tensors_kept(job.bundle.card, job.request.packing),
    )


def sanitise(
    job: Job, evaluated: Evaluation, flooding_log2: int, seed: bytes
) -> tuple[Words, NetworkWitness]:
    """Outputs (J, t, L', N) rescaled and hidden, and the secrets that explain them."""
    bundle, profile = job.bundle, job.profile
    batch = sanitise_network(
        evaluated.outputs,
        job.key_pairs(),
        seed,
        flooding_log2=flooding_log2,
        dropped_limbs=profile.dropped_limbs,
        moduli=profile.parameters.moduli,
    )
    witness = NetworkWitness(
        bundle.integers, bundle.opening, batch.noise.u, batch.noise.errors, evaluated.kept
    )
    return batch.outputs, witness


def prove(job: Job, outputs: BatchOutputs, witness: NetworkWitness, prover_key: bytes) -> bytes:
    """The proof of a private answer."""
    return prove_network(answer_relation(job, outputs), witness, prover_key)


def answer_relation(job: Job, outputs: BatchOutputs) -> NetworkRelation:
    """What a private answer claims."""
    if job.key is None:
        raise RequestError("a private answer needs an enrolled key")
    return network_relation(job.request, job.inputs, job.key, outputs.words)


def prove_public(job: Job, outputs: BatchOutputs, kept: Mapping[int, Words]) -> bytes:
    """The proof of a public answer: sum-checks, nothing hidden."""
    return prove_public_network(public_statement(job, outputs), kept)


def public_statement(job: Job, outputs: BatchOutputs) -> PublicNetwork:
    """What a public answer claims."""
    return public_network(job.request, job.inputs, outputs.words)
