"""What a network's request will take, before anything runs: sizes, memory, seconds.

Sizes are exact. Seconds are a model with one constant per kind of work, fitted to the benchmarks
on one two-core machine (docs/performance.md): within a factor of two on machines alike, and what
is compared with each other when a planner has a choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.graph import Affine, Graph, Node, Power, Tensor
from protocol.model import Profile

_WORD_BYTES = 8
_SEED_BYTES = 64

# Nanoseconds, both cores working.
_MULTIPLY_ACCUMULATE = 0.45
_WORD_PRODUCT = 1.2
_FOLD = 1.1
_INPUT_PASS = 1.6
_ENCRYPTED_WORD = 24.0
_DECRYPTED_WORD = 9.0
# Seconds that no size explains: opening columns, rows of the witness.
_PROVE_BASE, _VERIFY_BASE = 0.06, 0.03


@dataclass(frozen=True)
class PredictedCost:
    """Of one request.

    Attributes:
        request_bytes: seeded input ciphertexts.
        response_bytes: output words, without the proof.
        public_key_bytes: enrolled keys, without their proof.
        server_memory_bytes: inputs, every intermediate tensor that a proof reads, and outputs.
        encrypt_seconds, evaluate_seconds, prove_seconds, verify_seconds, decrypt_seconds: of the
            client's and the server's work.
    """

    request_bytes: int
    response_bytes: int
    public_key_bytes: int
    server_memory_bytes: int
    encrypt_seconds: float
    evaluate_seconds: float
    prove_seconds: float
    verify_seconds: float
    decrypt_seconds: float

    @property
    def total_seconds(self) -> float:
        """Everything a client waits for, but the network."""
        return (
            self.encrypt_seconds
            + self.evaluate_seconds
            + self.prove_seconds
            + self.verify_seconds
            + self.decrypt_seconds
        )


def predict_cost(graph: Graph, profile: Profile) -> PredictedCost:
    """Sizes and times of one request of a network in batch packing."""
    parameters = profile.parameters
    limbs, degree = len(parameters.moduli), parameters.ring_degree
    polynomial = limbs * degree  # words
    tensors = graph.tensors(parameters.input_scale_log2)
    nodes = graph.nodes(parameters.input_scale_log2)
    private = profile.flooding_log2 is not None
    outputs, polys = graph.outputs_count, graph.output_polys
    words = [tensor.units * tensor.polys * polynomial for tensor in tensors]
    folded = sum(tensor.units * polynomial for tensor in tensors)
    work = sum(_work(node, tensors, index, polynomial) for index, node in enumerate(nodes))
    response = outputs * polys * len(profile.kept_moduli) * degree
    keys = outputs * (polys - 1) * polynomial if private else 0
    nano = 1e-9
    return PredictedCost(
        request_bytes=graph.inputs * (polynomial * _WORD_BYTES + _SEED_BYTES),
        response_bytes=response * _WORD_BYTES,
        public_key_bytes=keys * _WORD_BYTES,
        server_memory_bytes=(words[0] + folded + 2 * words[-1] + 2 * keys) * _WORD_BYTES,
        encrypt_seconds=nano * _ENCRYPTED_WORD * graph.inputs * polynomial,
        evaluate_seconds=nano * work,
        prove_seconds=nano * (work + _FOLD * 12 * folded + _INPUT_PASS * words[0]) + _PROVE_BASE,
        verify_seconds=nano * _INPUT_PASS * (words[0] + words[-1] + 2 * keys) + _VERIFY_BASE,
        decrypt_seconds=nano * _DECRYPTED_WORD * response,
    )


def _work(node: Node, tensors: tuple[Tensor, ...], index: int, polynomial: int) -> float:
    """Nanoseconds of one step: scalar products by weights, or products of words."""
    if isinstance(node, Affine):
        entries = sum(len(term.outputs) * tensors[term.source].polys for term in node.terms)
        return _MULTIPLY_ACCUMULATE * entries * polynomial
    made = tensors[index + 1]
    sizes = [tensors[source].polys for source in node.sources]
    if isinstance(node, Power):
        source = sizes[0]
        # Multiplying powers by the source one after the other, each product counted word by word.
        products = sum((i * (source - 1) + 1) * source for i in range(1, node.degree))
    else:
        products = sizes[0] * sizes[1]
    return _WORD_PRODUCT * made.units * products * polynomial
