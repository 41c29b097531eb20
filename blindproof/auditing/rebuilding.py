"""From archived messages back to the request and the answer that a receipt is about.

Nothing is taken from the receipt: digests are computed from what is archived, and then compared.
What no digest of a receipt and no proof binds is the server's own account of its timings, the size
beside the log head that a request names, and of an answer without a proof (public linear models)
the request's nonce, server and log head.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.facts import AnsweredFacts, answered_facts
from audit.receipt import Receipt
from blindproof.auditing.errors import ExportError
from client_sdk.evidence import MAX_INPUT_BYTES, Evidence
from fhe_layers.inputs import request_inputs
from protocol.accountability import Account, parameters_digest, proof_digest
from protocol.digests import DIGEST_BYTES
from protocol.inputs import RequestInputs
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from protocol.request import Request, require_records
from wire.archived import decode_archived_request, decode_archived_response
from wire.framing import WORD_BYTES
from wire.inference import (
    InferenceHeader,
    RequestAssembler,
    Response,
    ResponseAssembler,
    decode_header,
    input_ciphertexts,
    input_words,
    outputs_digest,
)
from wire.stored_key import Enrolment
from zk_layers.registration import registration_digest


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model of an export, accepted.

    Attributes:
        card: the card.
        registration_proof: empty if it is public.
    """

    card: ModelCard
    registration_proof: bytes


@dataclass(frozen=True, eq=False, repr=False)
class Answered:
    """A request and its answer.

    Attributes:
        evidence: what the proof is verified with; without an enrolment if none was given.
        account: who asked, as the request says.
    """

    evidence: Evidence
    account: Account

    def facts(self, soundness_bits: float | None) -> AnsweredFacts:
        """What a receipt about them must say.

        Args:
            soundness_bits: of the proof.
        """
        evidence = self.evidence
        output = outputs_digest(evidence.outputs)
        request = evidence.request
        return answered_facts(request, output, evidence.proof, soundness_bits, self.account)


def rebuild(
    model: Model, enrolment: Enrolment | None, request_object: bytes, response_object: bytes
) -> Answered:
    """Read a request and its answer again.

    Args:
        model: which the receipt names.
        enrolment: the key which the receipt names, if it is known.
        request_object: archived messages.
        response_object: archived messages.

    Raises:
        ExportError: about another model or registration.
        BlindproofError: malformed, as whoever received the messages would have found.
    """
    header, *messages = decode_archived_request(request_object)
    request, inputs, account = _request(decode_header(header), messages, model)
    response = read_response(model.card, request.packing, request.request_id, response_object)
    evidence = Evidence(
        request, model.registration_proof, enrolment, inputs, response.outputs, response.proof
    )
    return Answered(evidence, account)


def read_response(
    card: ModelCard, packing: Packing, request_id: bytes, response_object: bytes
) -> Response:
    """Read an answer again.  Raises EncodingError: malformed, or to another request."""
    assembler = ResponseAssembler(card, packing, request_id)
    for message in decode_archived_response(response_object):
        assembler.add(message)
    return assembler.finish()


def require_response(receipt: Receipt, card: ModelCard, response_object: bytes) -> None:
    """Compare an answer with its receipt where the request is not known.

    Raises:
        ExportError: another answer.
        EncodingError: malformed, or to another request.
    """
    digests = receipt.digests
    fitting = [
        profile.packing
        for profile in card.profiles
        if parameters_digest(card, profile.packing) == digests.parameters
    ]
    if not fitting:
        raise ExportError("the receipt names parameters which the model does not have")
    response = read_response(card, fitting[0], receipt.request_id, response_object)
    if outputs_digest(response.outputs) != digests.output:
        raise ExportError("the outputs are not those of the receipt")
    if (proof_digest(response.proof) if response.proof else None) != digests.proof:
        raise ExportError("the proof is not that of the receipt")


def _request(
    header: InferenceHeader, messages: list[bytes], model: Model
) -> tuple[Request, RequestInputs, Account]:
    card = model.card
    private = card.mode is Mode.PRIVATE
    registration = registration_digest(model.registration_proof) if private else bytes(DIGEST_BYTES)
    if header.model_digest != card.digest:
        raise ExportError(f"the request is to the model {header.model_digest.hex()}")
    if header.registration_digest != registration:
        raise ExportError("the request names another registration of the model")
    if not private and header.key_digest != bytes(DIGEST_BYTES):
        raise ExportError("the request to a public model names a key")
    # As the server judged it, before memory is taken for it.
    require_records(card, header.packing, header.records)
    if header.ciphertexts != input_ciphertexts(card, header.packing):
        raise ExportError("the request announces another number of ciphertexts")
    if header.plaintext_columns != len(card.plaintext_features):
        raise ExportError("the request announces another number of plaintext columns")
    needed = WORD_BYTES * input_words(card, header.packing)
    if needed > MAX_INPUT_BYTES:
        raise ExportError(
            f"the request's inputs take {needed >> 20} MiB once they are expanded, at most "
            f"{MAX_INPUT_BYTES >> 20} MiB"
        )
    assembler = RequestAssembler(card, header)
    for message in messages:
        assembler.add(message)
    inputs = request_inputs(card, header.packing, header.records, *assembler.finish())
    request = Request(
        request_id=header.request_id,
        nonce=header.nonce,
        client_id=header.client_id,
        server_id=header.server_id,
        card=card,
        packing=header.packing,
        records=header.records,
        key_digest=header.key_digest,
        registration_digest=registration,
        input_digest=inputs.digest,
        plaintext_digest=inputs.plaintext_digest,
        log_head=header.log_head,
    )
    return request, inputs, header.account
