from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from audit.errors import ReceiptError, ReceiptMismatchError
from audit.facts import AnsweredFacts, answered_digests, answered_facts
from audit.receipt import Action, Digests, Outcome, Purpose, Receipt, TimeSource
from protocol.accountability import (
    Account,
    graph_digest,
    idempotency_digest,
    parameters_digest,
    proof_digest,
)
from protocol.features import Privacy
from protocol.parameters import Mode, Packing
from protocol.request import Request
from tests.integration import example_models

OTHER = bytes(range(32))
OUTPUT, PROOF, BITS = b"o" * 32, b"proof", 101.5
ACCOUNT = Account("clinic", "ward-7", "TREAT", b"s" * 32)


def request_of(mode: Mode) -> Request:
    card = example_models.bundle(example_models.linear_model(), mode).card
    return Request(
        request_id=b"r" * 16,
        nonce=b"n" * 32,
        client_id="client",
        server_id="server",
        card=card,
        packing=Packing.BATCH,
        records=1,
        key_digest=b"k" * 32 if mode is Mode.PRIVATE else bytes(32),
        registration_digest=b"g" * 32 if mode is Mode.PRIVATE else bytes(32),
        input_digest=b"i" * 32,
    )


@pytest.fixture(scope="module")
def asked() -> Request:
    return request_of(Mode.PRIVATE)


@pytest.fixture(scope="module")
def facts(asked: Request) -> AnsweredFacts:
    return answered_facts(asked, OUTPUT, PROOF, BITS, ACCOUNT)


@pytest.fixture(scope="module")
def receipt(facts: AnsweredFacts) -> Receipt:
    stated: dict[str, Any] = {each.name: getattr(facts, each.name) for each in fields(facts)}
    return Receipt(
        receipt_id=b"t" * 16,
        time_ns=1,
        time_source=TimeSource.SYSTEM,
        action=Action.PREDICT,
        outcome=Outcome.ANSWERED,
        reason=None,
        software_version="1",
        **stated,
    )


def test_facts_are_what_was_asked_and_answered(asked: Request, facts: AnsweredFacts):
    assert facts == AnsweredFacts(
        tenant="clinic",
        actor="ward-7",
        purpose=Purpose.TREATMENT,
        subject=b"s" * 32,
        request_id=b"r" * 16,
        idempotency_digest=idempotency_digest("client", b"r" * 16),
        digests=Digests(
            model=asked.card.digest,
            parameters=parameters_digest(asked.card, Packing.BATCH),
            graph=graph_digest(asked.card),
            input=b"i" * 32,
            output=OUTPUT,
            proof=proof_digest(PROOF),
            plaintext=None,
            key=b"k" * 32,
        ),
        soundness_bits=BITS,
        error_bound=asked.card.bounds(Packing.BATCH).released_error * asked.card.unit,
    )


def test_what_is_not_there_has_no_digest():
    public = answered_facts(request_of(Mode.PUBLIC), OUTPUT, b"", float("inf"), ACCOUNT)
    assert (public.digests.key, public.digests.proof, public.soundness_bits) == (None, None, None)


def test_columns_in_clear_have_their_salted_digest(asked: Request):
    first, *rest = asked.card.features
    card = replace(asked.card, features=(replace(first, privacy=Privacy.PLAINTEXT), *rest))
    request = replace(asked, card=card, plaintext_digest=OTHER)
    assert answered_digests(request, OUTPUT, PROOF).plaintext == OTHER


def test_a_purpose_that_there_is_not_is_refused(asked: Request):
    with pytest.raises(ReceiptError, match="expected one of TREAT"):
        answered_facts(asked, OUTPUT, PROOF, BITS, Account(purpose="FUN"))


@pytest.mark.accepts("C-93")
def test_their_own_receipt_is_accepted(facts: AnsweredFacts, receipt: Receipt):
    facts.require_in(receipt)
    # What the server alone knows is no fact of the client's.
    facts.require_in(replace(receipt, time_ns=2, time_source=TimeSource.NTP, software_version="2"))


@pytest.mark.accepts("C-93")
def test_soundness_may_differ_by_what_platforms_do(facts: AnsweredFacts, receipt: Receipt):
    facts.require_in(replace(receipt, soundness_bits=math.nextafter(BITS, math.inf)))
    with pytest.raises(ReceiptMismatchError, match="another soundness bits"):
        facts.require_in(replace(receipt, soundness_bits=BITS + 2.0**-19))


CHANGES: dict[str, object] = {
    "tenant": "other",
    "actor": "other",
    "purpose": Purpose.RESEARCH,
    "subject": None,
    "request_id": OTHER[:16],
    "idempotency_digest": None,
    "soundness_bits": 101.6,
    "error_bound": 1.0,
}


@pytest.mark.rejects("C-93")
@pytest.mark.parametrize("name", CHANGES)
def test_every_fact_is_compared(facts: AnsweredFacts, receipt: Receipt, name: str):
    with pytest.raises(ReceiptMismatchError, match=f"another {name.replace('_', ' ')}"):
        facts.require_in(replace(receipt, **{name: CHANGES[name]}))


def test_no_fact_is_left_out_of_these_tests():
    assert {*CHANGES, "digests"} == {each.name for each in fields(AnsweredFacts)}


@pytest.mark.rejects("C-93")
@pytest.mark.parametrize("name", [each.name for each in fields(Digests)])
@pytest.mark.parametrize("value", [OTHER, None])
def test_every_digest_is_compared(facts: AnsweredFacts, receipt: Receipt, name: str, value):
    if value is None and name == "plaintext":
        value = bytes(32)
    altered = replace(receipt, digests=replace(receipt.digests, **{name: value}))
    with pytest.raises(ReceiptMismatchError, match=f"another digest of the {name}"):
        facts.require_in(altered)


@pytest.mark.rejects("C-93")
@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.DENIED, "reason": "busy"},
        {"outcome": Outcome.FAILED, "reason": "internal"},
        *({"action": action} for action in Action if action is not Action.PREDICT),
    ],
)
def test_only_an_answered_prediction_is_an_answer(facts, receipt, changes):
    with pytest.raises(ReceiptMismatchError, match="not of an answer"):
        facts.require_in(replace(receipt, **changes))
