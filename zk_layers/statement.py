"""Checks that tie what travelled to the request, before a relation is stated about it."""

from __future__ import annotations

from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey
from protocol.model import ModelCard
from protocol.parameters import Packing
from protocol.request import Request
from zk_layers.checks import MIN_NO_WRAP_BITS, Check, require


def require_inputs(request: Request, inputs: RequestInputs) -> None:
    """Refuse inputs other than those of the request's digests, parameters and model.

    Raises:
        VerificationError: statement.
    """
    card, batch = request.card, request.packing is Packing.BATCH
    parameters = card.profile(request.packing).parameters
    require(
        inputs.digest == request.input_digest and inputs.moduli == parameters.moduli,
        Check.STATEMENT,
        "the ciphertexts are not the ones the request names",
    )
    require(
        inputs.plaintext_digest == request.plaintext_digest,
        Check.STATEMENT,
        "the plaintext columns are not the ones the request names",
    )
    encrypted = card.encrypted_inputs if batch else (0,)
    known = card.plaintext_inputs if batch else (0,) * bool(card.plaintext_inputs)
    plaintext = inputs.plaintext
    shape = (0, 0) if plaintext is None else plaintext.values.shape
    columns = len(card.plaintext_features)
    require(
        (inputs.encrypted, inputs.known_inputs) == (encrypted, known)
        and shape == (columns, request.records * bool(columns)),
        Check.STATEMENT,
        "the inputs are not the encrypted and the plaintext ones of the model",
    )


def require_key(request: Request, key: EnrolledKey, needed: int) -> None:
    """Refuse a key other than the request's, enrolled for others, or with too few pairs.

    Raises:
        VerificationError: statement.
    """
    parameters = request.card.profile(request.packing).parameters
    limbs = len(parameters.moduli)
    require(
        key.digest == request.key_digest
        and key.request.client_id == request.client_id
        and key.request.server_id == request.server_id
        and key.request.ring_degree == parameters.ring_degree
        and key.request.moduli[:limbs] == parameters.moduli,
        Check.STATEMENT,
        "the key is not the one the request names, or was enrolled for other parameters",
    )
    detail = f"the model needs {needed} enrolled keys"
    require(key.request.keys >= needed, Check.STATEMENT, detail)


def require_margins(card: ModelCard, packing: Packing) -> None:
    """Refuse a card whose answers could wrap around Q or drown in their own error.

    Raises:
        VerificationError: no wrap, or precision.
    """
    bounds = card.bounds(packing)
    margin = f"{bounds.no_wrap_bits:.2f} bits between the largest answer and Q/2"
    require(bounds.no_wrap_bits >= MIN_NO_WRAP_BITS, Check.NO_WRAP, margin)
    precision = f"the error bound leaves {bounds.precision_bits:.1f} bits"
    require(bounds.precision_bits > 0, Check.PRECISION, precision)
