"""What a network's request will take, before anything runs: sizes, memory, seconds.

Sizes of messages are exact, but for the proof's. Memory and seconds are a model with one constant
per kind of work, fitted to three networks of up to N = 16384 and two squarings
(docs/performance.md) and to twenty trees of depth two and three on one two-core machine: within a
factor of two for these on machines alike, which is enough to choose between packings and to be
warned. Beyond them nothing was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.graph import Affine, AffineTerm, Graph, Node, Power, Product, Tensor
from protocol.model import Profile

PROOF_LIMB_BYTES = 75_000
"""Of a zero-knowledge proof, per limb, whatever the network: measured 66 to 93 thousand."""
_PUBLIC_PROOF_LIMB_BYTES = 2_000

_WORD_BYTES = 8
_SEED_BYTES = 64

# Nanoseconds of one core, fitted to the networks named above.
_MULTIPLY_ACCUMULATE = 0.38
_COPIED_WORD = 4.0
_WORD_PRODUCT = 1.2
_EXPANDED_WORD = 27.0
_SANITISED_WORD = 50.0
_SUMMED_WORD = 16.0
_SUMMED_PRODUCT = 250.0
_WITNESS_WORD = 1600.0
_CHECKED_WORD = 10.0
_ENCRYPTED_WORD = 170.0
_DECRYPTED_WORD = 32.0
# Seconds that no size explains.
_PROVE_BASE, _VERIFY_BASE, _DECRYPT_BASE = 0.07, 0.035, 0.004
_SPEEDUP = 1.7
"""Of two cores, where the work is shared between them: everywhere but in SEAL."""


@dataclass(frozen=True)
class PredictedCost:
    """Of one request.

    Attributes:
        request_bytes: seeded input ciphertexts.
        response_bytes: output words, without the proof.
        proof_bytes: about, within a third.
        public_key_bytes: enrolled keys, without their proof.
        server_memory_bytes: inputs, every intermediate tensor that a proof reads, and outputs.
        encrypt_seconds: SEAL's.
        evaluate_seconds: expanding the request and hiding the answer included.
        prove_seconds, verify_seconds, decrypt_seconds: as they say.
    """

    request_bytes: int
    response_bytes: int
    proof_bytes: int
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

    def with_encrypted(self, share: float) -> PredictedCost:
        """The same with only this share of the inputs encrypted; the others cost nothing here."""
        return replace(
            self,
            request_bytes=round(share * self.request_bytes),
            encrypt_seconds=share * self.encrypt_seconds,
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
    # A proof works on tensors whose polynomials are folded into one, in the quadratic extension.
    summed = sum(tensor.units for tensor in tensors) * polynomial
    inputs = graph.inputs * polynomial
    keys = outputs * (polys - 1) * polynomial if private else 0
    response = outputs * polys * len(profile.kept_moduli) * degree
    work = sum(_work(node, tensors, index, polynomial) for index, node in enumerate(nodes))
    evaluate = work + _EXPANDED_WORD * inputs + (_SANITISED_WORD * words[-1] if private else 0)
    products = sum(
        tensor.units
        for node, tensor in zip(nodes, tensors[1:], strict=True)
        if isinstance(node, Product)
    )
    prove = _SUMMED_WORD * summed + _SUMMED_PRODUCT * products * polynomial
    prove += _WITNESS_WORD * polynomial if private else 0
    verify = _CHECKED_WORD * (words[0] + 2 * keys + response)
    return PredictedCost(
        request_bytes=inputs * _WORD_BYTES + graph.inputs * _SEED_BYTES,
        response_bytes=response * _WORD_BYTES,
        proof_bytes=limbs * (PROOF_LIMB_BYTES if private else _PUBLIC_PROOF_LIMB_BYTES),
        public_key_bytes=keys * _WORD_BYTES,
        server_memory_bytes=(words[0] + 2 * summed + 2 * words[-1] + 2 * keys) * _WORD_BYTES,
        encrypt_seconds=1e-9 * _ENCRYPTED_WORD * inputs,
        evaluate_seconds=1e-9 * evaluate / _SPEEDUP,
        prove_seconds=(1e-9 * prove + _PROVE_BASE) / _SPEEDUP,
        verify_seconds=(1e-9 * verify + _VERIFY_BASE) / _SPEEDUP,
        decrypt_seconds=1e-9 * _DECRYPTED_WORD * response + _DECRYPT_BASE,
    )


def _work(node: Node, tensors: tuple[Tensor, ...], index: int, polynomial: int) -> float:
    """Nanoseconds of one step: copies, scalar products by weights, or products of words."""
    if isinstance(node, Affine):
        return (
            sum(_term_work(term) * tensors[term.source].polys for term in node.terms) * polynomial
        )
    made = tensors[index + 1]
    sizes = [tensors[source].polys for source in node.sources]
    if isinstance(node, Power):
        source = sizes[0]
        # Multiplying powers by the source one after the other, each product counted word by word.
        products = sum((i * (source - 1) + 1) * source for i in range(1, node.degree))
    else:
        products = sizes[0] * sizes[1]
    return _WORD_PRODUCT * made.units * products * polynomial


def _term_work(term: AffineTerm) -> float:
    """Nanoseconds of one polynomial at one position: selections copy, whatever their matrices."""
    if term.selects:
        return _COPIED_WORD * term.units
    return _MULTIPLY_ACCUMULATE * len(term.outputs) + _COPIED_WORD * term.units
