"""What each kind of proof absorbs and draws, in order."""

from __future__ import annotations

import numpy as np
import pytest

import zk_layers.relation
from protocol.keys import EnrolledKey
from tests.adversarial.false_keys import NONCE, REQUEST
from tests.adversarial.malicious_prover import refusal
from tests.adversarial.scenario import make_batch, make_card, make_single, random_model
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.ligero.verifier import verify
from zk_layers.registration import RegistrationRelation
from zk_layers.relation import Relation
from zk_layers.transcript import Transcript

LONGER_THAN_ANY_PROOF = 1 << 20
Order = list[str]
"""Events as 'absorb root' or 'challenge columns'."""


def relations() -> dict[str, Relation]:
    """One small relation of each kind."""
    integers, opening = random_model(1, 1, 2)
    words = np.zeros((1, len(REQUEST.moduli), REQUEST.ring_degree), dtype=np.uint64)
    return {
        "batch": make_batch().relation,
        "single": make_single().relation,
        "registration": RegistrationRelation(make_card(integers, opening)),
        "enrolment": EnrolmentRelation(REQUEST, EnrolledKey(REQUEST, bytes(32), NONCE, words)),
    }


def verified_order(relation: Relation) -> Order:
    """What the verifier's transcript does, up to the positions.

    A long proof of zeros gets as far, since zeros are canonical and in range.
    """
    events: Order = []

    class RecordingTranscript(Transcript):
        def __init__(self, label: str) -> None:
            super().__init__(label)
            events.append(f"start {label}")

        def absorb(self, label: str, data: bytes) -> None:
            super().absorb(label, data)
            events.append(f"absorb {label}")

        def challenge_seed(self, label: str) -> bytes:
            events.append(f"challenge {label}")
            return super().challenge_seed(label)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zk_layers.relation, "Transcript", RecordingTranscript)
        refusal(lambda: verify(relation, bytes(LONGER_THAN_ANY_PROOF)))
    return events


def recorded_orders() -> dict[str, Order]:
    """The order of every kind of proof."""
    return {name: verified_order(relation) for name, relation in relations().items()}
