"""Which requests a server answers, judged before memory is taken for them.

Symbols: K inputs, J outputs, t polynomials of an output, L limbs, N ring degree.
"""

from __future__ import annotations

from dataclasses import dataclass

from fhe_layers.packing import SingleRecordLayout
from protocol.digests import DIGEST_BYTES, Words
from protocol.errors import RequestError
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey
from protocol.model import ModelCard, Profile
from protocol.parameters import Packing
from protocol.request import Request, require_records
from server.bundles import ModelBundle
from server.refusals import Refusal
from wire.inference import InferenceHeader, input_ciphertexts
from wire.rpc import Reason


@dataclass(frozen=True, eq=False)
class Job:
    """A request that may be answered.

    Attributes:
        bundle: the model.
        key: the client's enrolled key, None for a public model.
        request: who asks what.
        inputs: the K inputs, or the one of a single record: ciphertexts and columns in clear.
    """

    bundle: ModelBundle
    key: EnrolledKey | None
    request: Request
    inputs: RequestInputs

    @property
    def profile(self) -> Profile:
        """The parameters of the packing."""
        return self.bundle.card.profile(self.request.packing)

    @property
    def layout(self) -> SingleRecordLayout:
        """Where a single record's features and answers sit."""
        card = self.bundle.card
        return SingleRecordLayout(card.ring_degree, card.inputs_count, len(card.outputs))

    def key_pairs(self) -> Words:
        """Enrolled (b, a), words (keys, 2, L, N): see `keys_used`."""
        if self.key is None:
            raise RequestError("a public model uses no enrolled key")
        keys = keys_used(self.bundle.card, self.request.packing)
        return self.key.pairs(keys, len(self.profile.parameters.moduli))


def admit(
    header: InferenceHeader, bundle: ModelBundle, key: EnrolledKey | None, server_id: str
) -> None:
    """Judge a header before anything is allocated for its ciphertexts.

    Raises:
        Refusal: the request does not fit this server, the model or the key.
        RequestError: no records, or more than the packing takes.
        ModelError: the model does not offer the packing.
    """
    card = bundle.card
    parameters = card.profile(header.packing).parameters
    if header.server_id != server_id:
        raise Refusal(Reason.IDENTITY_REFUSED, f"this server is '{server_id}'")
    if header.registration_digest != bundle.registration_digest:
        raise Refusal(
            Reason.REQUEST_REFUSED, "the registration is not the one served with the model"
        )
    expected = input_ciphertexts(card, header.packing)
    if header.ciphertexts != expected:
        raise Refusal(
            Reason.REQUEST_REFUSED, f"{header.ciphertexts} ciphertexts announced, not {expected}"
        )
    columns = len(card.plaintext_features)
    if header.plaintext_columns != columns:
        raise Refusal(
            Reason.REQUEST_REFUSED,
            f"{header.plaintext_columns} plaintext columns announced, this model has {columns}",
        )
    require_records(card, header.packing, header.records)
    if key is None:
        if header.key_digest != bytes(DIGEST_BYTES):
            raise Refusal(Reason.KEY_UNFIT, "a public model takes no key: send 32 zero bytes")
        return
    enrolled = key.request
    if (enrolled.client_id, enrolled.server_id) != (header.client_id, server_id):
        raise Refusal(Reason.KEY_UNFIT, "the key was enrolled under other identities")
    if (
        enrolled.ring_degree != parameters.ring_degree
        or enrolled.moduli[: len(parameters.moduli)] != parameters.moduli
    ):
        raise Refusal(Reason.KEY_UNFIT, "the key was enrolled for other parameters: enrol again")
    keys = keys_used(card, header.packing)
    if enrolled.keys < keys:
        raise Refusal(
            Reason.KEY_UNFIT,
            f"{enrolled.keys} public keys are enrolled and this model needs {keys}: enrol again "
            f"with {keys}",
        )


def keys_used(card: ModelCard, packing: Packing) -> int:
    """Enrolled public keys that hide one answer: one per output and power of S above zero.

    J (t - 1) for a batch, hence J for a linear model; a single record's outputs share one.
    """
    return len(card.outputs) * (card.graph.output_polys - 1) if packing is Packing.BATCH else 1


def request_of(header: InferenceHeader, bundle: ModelBundle, inputs: RequestInputs) -> Request:
    """The request as the transcript absorbs it, with the server's own digests of the inputs.

    Raises:
        RequestError: more records than the packing holds.
    """
    return Request(
        request_id=header.request_id,
        nonce=header.nonce,
        client_id=header.client_id,
        server_id=header.server_id,
        card=bundle.card,
        packing=header.packing,
        records=header.records,
        key_digest=header.key_digest,
        registration_digest=header.registration_digest,
        input_digest=inputs.digest,
        plaintext_digest=inputs.plaintext_digest,
        log_head=header.log_head,
    )
