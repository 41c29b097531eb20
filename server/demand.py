"""What a call asks of the server, known from its header and its model before any of it arrives.

Symbols: L limbs, N ring degree.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from fhe_layers.network_cost import predict_cost
from protocol.keys import KeyRequest
from protocol.model import ModelCard
from protocol.parameters import Packing
from server.memory import enrolment_bytes, inference_bytes
from wire.framing import WORD_BYTES
from wire.inference import input_ciphertexts, output_shapes

LINEAR_SECONDS = 0.2
"""Of an answer of a linear model, until one was measured."""
ENROLMENT_SECONDS_PER_KEY = 0.2
"""Of verifying an enrolment, until one was measured."""
PUBLICATION_SECONDS = 0.5
"""Of verifying a model that is published, until one was measured."""
PUBLICATION_BYTES = 64 << 20
"""What that takes beside the bundle."""
_COPIES_OF_BUNDLE = 4
"""As pieces, as one object, in parts, and as what they stand for."""


@dataclass(frozen=True)
class Demand:
    """What one call will take.

    Attributes:
        memory_bytes: for its words, while it holds a place.
        transfer_bytes: of its messages, both ways, without the proof.
        planned_seconds: of one worker, if nothing like it was measured yet.
        kind: what its work has in common with other calls' that take as long; None if there is no
            work.
    """

    memory_bytes: int
    transfer_bytes: int
    planned_seconds: float = 0.0
    kind: Hashable = None


def inference_demand(card: ModelCard, packing: Packing) -> Demand:
    """Of a request that is to be computed."""
    parameters = card.profile(packing).parameters
    words = input_ciphertexts(card, packing) * len(parameters.moduli) * parameters.ring_degree
    words += parameters.slots * len(card.plaintext_features)
    words += sum(map(math.prod, output_shapes(card, packing)))
    planned = LINEAR_SECONDS
    if not card.linear:
        cost = predict_cost(card.graph, card.profile(packing))
        planned = cost.evaluate_seconds + cost.prove_seconds
    return Demand(
        inference_bytes(card, packing), WORD_BYTES * words, planned, (card.digest, packing)
    )


def repetition_demand(memory_bytes: int) -> Demand:
    """Of a request that was answered: what is stored is read and sent."""
    return Demand(memory_bytes, memory_bytes)


def enrolment_demand(request: KeyRequest, proof_bytes: int) -> Demand:
    """Of an enrolment whose keys and proof are to come."""
    size = request.keys, len(request.moduli), request.ring_degree
    return Demand(
        enrolment_bytes(request),
        WORD_BYTES * math.prod(size) + proof_bytes,
        request.keys * ENROLMENT_SECONDS_PER_KEY,
        ("enrolment", *size),
    )


def publication_demand(bundle_bytes: int) -> Demand:
    """Of a model that is published: its registration proof is verified."""
    memory = PUBLICATION_BYTES + _COPIES_OF_BUNDLE * bundle_bytes
    return Demand(memory, bundle_bytes, PUBLICATION_SECONDS, "publication")
