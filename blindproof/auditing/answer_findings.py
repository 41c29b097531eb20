"""Whether archived objects are what receipts say, and whether answers are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from audit.facts import same_soundness
from audit.receipt import Action, Outcome, Receipt
from blindproof.auditing.errors import NotExportedError
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.findings import Finding, Subject, failed, not_checked, passed
from blindproof.auditing.manifest import Kind
from blindproof.auditing.object_source import ObjectSource
from blindproof.auditing.rebuilding import Answered, Model, rebuild, require_response
from blindproof.auditing.registries import enrolments_of, models_of
from client_sdk.verification import verify_answer
from protocol.errors import BlindproofError
from protocol.parameters import Mode
from wire.stored_key import Enrolment


class AnswerVerifier:
    """Verifies what archived objects show of their receipts, one receipt at a time.

    Attributes:
        named: members of all objects which the receipts so far are about.
    """

    def __init__(self, source: ObjectSource, expected: Expectations) -> None:
        self._source, self._expected = source, expected
        self._models = models_of(source, proofs=expected.proofs)
        self._enrolments = enrolments_of(source, proofs=expected.proofs)
        self.named: set[str] = set()

    def receipt(self, receipt: Receipt) -> Iterator[Finding]:
        """The findings; none for what was denied or failed, which has no objects."""
        if receipt.outcome is not Outcome.ANSWERED:
            return
        digests = receipt.digests
        if receipt.action is Action.PREDICT:
            own = (Kind.REQUEST, Kind.RESPONSE)
            self.named |= {kind.member(receipt.receipt_id) for kind in own}
            if digests.model is None:
                yield failed(Subject.MODEL, "the receipt of an answer names no model")
            else:
                yield from self._predicted(receipt, digests.model)
            return
        if digests.model is not None:
            yield self._model(digests.model)[1]
        if digests.key is not None:
            yield self._key(digests.key)[1]

    def _predicted(self, receipt: Receipt, digest: bytes) -> Iterator[Finding]:
        model, finding = self._model(digest)
        yield finding
        enrolment = None
        if receipt.digests.key is not None:
            enrolment, finding = self._key(receipt.digests.key)
            yield finding
        if model is None:
            unread = "without the model nothing can be read of the messages"
            yield not_checked(Subject.ANSWER, unread)
            yield not_checked(Subject.PROOF, unread)
            return
        yield from self._answered(receipt, model, enrolment)

    def _model(self, digest: bytes) -> tuple[Model | None, Finding]:
        self.named.add(Kind.MODEL.member(digest))
        try:
            model = self._models(digest)
        except NotExportedError as error:
            return None, not_checked(Subject.MODEL, error.reason)
        except BlindproofError as error:
            return None, failed(Subject.MODEL, error)
        card = model.card
        name = f"{card.name} {card.version}, {digest.hex()}"
        if self._expected.models and digest not in self._expected.models:
            return model, failed(Subject.MODEL, f"{name}, is none of the models given")
        if card.mode is Mode.PUBLIC:
            return model, passed(Subject.MODEL, f"{name}: its weights are in its card")
        if not self._expected.proofs:
            return model, not_checked(Subject.MODEL, f"{name}: its registration was not verified")
        return model, passed(Subject.MODEL, f"{name}: its registration holds")

    def _key(self, digest: bytes) -> tuple[Enrolment | None, Finding]:
        self.named.add(Kind.ENROLMENT.member(digest))
        try:
            enrolment = self._enrolments(digest)
        except NotExportedError as error:
            return None, not_checked(Subject.KEY, error.reason)
        except BlindproofError as error:
            return None, failed(Subject.KEY, error)
        if not self._expected.proofs:
            return enrolment, not_checked(
                Subject.KEY, f"{digest.hex()}: its proof was not verified"
            )
        return enrolment, passed(Subject.KEY, f"{digest.hex()}: its enrolment proof holds")

    def _answered(
        self, receipt: Receipt, model: Model, enrolment: Enrolment | None
    ) -> Iterator[Finding]:
        """Whether request and answer are those of the receipt, and then whether they are right."""
        name, compared = receipt.receipt_id, ""
        try:
            response = self._source.object(Kind.RESPONSE, name)
            try:
                request = self._source.object(Kind.REQUEST, name)
            except NotExportedError:
                require_response(receipt, model.card, response)
                compared = "; outputs and proof are those of the receipt"
                raise
            answered = rebuild(model, enrolment, request, response)
            answered.facts(receipt.soundness_bits).require_in(receipt)
        except NotExportedError as error:
            yield not_checked(Subject.ANSWER, f"{error.reason}{compared}")
            yield not_checked(Subject.PROOF, error.reason)
        except BlindproofError as error:
            yield failed(Subject.ANSWER, error)
            yield not_checked(Subject.PROOF, "these are not the request and answer of the receipt")
        else:
            yield passed(Subject.ANSWER, "all digests are those of the receipt")
            yield self._proof(receipt, answered)

    def _proof(self, receipt: Receipt, answered: Answered) -> Finding:
        evidence = answered.evidence
        if not self._expected.proofs:
            return not_checked(Subject.PROOF, "proofs were not asked for")
        if evidence.request.card.mode is Mode.PRIVATE and evidence.enrolment is None:
            return not_checked(Subject.PROOF, "without the client's key no proof can be verified")
        try:
            report = verify_answer(replace(evidence, inputs=evidence.inputs.compact()))
        except BlindproofError as error:
            return failed(Subject.PROOF, error)
        if not evidence.proof:
            return passed(Subject.PROOF, "the answer was computed again: the model is public")
        if not same_soundness(report.bits, receipt.soundness_bits):
            detail = f"its soundness is {report.bits} bits, not {receipt.soundness_bits}"
            return failed(Subject.PROOF, detail)
        detail = f"holds; a false one would with a probability of at most 2^-{report.bits:.1f}"
        return passed(Subject.PROOF, detail)
