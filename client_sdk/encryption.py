"""Records to ciphertexts and verified outputs to integers, for both packings.

Symbols: C columns, K inputs, K' of them encrypted, J outputs, L limbs, N ring degree.  The only
module of the client that touches TenSEAL, through `fhe_layers.ckks`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fhe_layers.ckks import CkksContext, CkksSecretContext
from fhe_layers.inputs import batch_inputs, record_inputs
from fhe_layers.packing import SingleRecordLayout
from protocol.ciphertexts import SeededCiphertexts
from protocol.features import encode_columns
from protocol.model import ModelCard
from protocol.parameters import Packing
from wire.inference import Outputs, SingleOutputs

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.object_]

__all__ = ["CkksContext", "CkksSecretContext", "decrypt", "encrypt"]


def encrypt(
    context: CkksSecretContext, card: ModelCard, packing: Packing, raw: Floats
) -> SeededCiphertexts:
    """Encrypt the inputs that a card wants encrypted, and no others: K' ciphertexts, or one.

    Args:
        context: under the client's secret, with the parameters of the packing.
        card: the model.
        packing: a single record's ciphertext has zeros where plaintext inputs will be added.
        raw: (records, C), as `client_sdk.records.raw_values` gives them.
    """
    units, moduli = encode_columns(card.features, raw), context.parameters.moduli
    if packing is Packing.BATCH:
        inputs = batch_inputs(card, units, card.encrypted_inputs)
        seeds, bodies = context.encrypt_slots(np.ascontiguousarray(inputs.T))
        return SeededCiphertexts(tuple(seeds), bodies, moduli)
    exact = record_inputs(card, units[0], card.encrypted_inputs)
    seed, body = context.encrypt_coefficients(exact)
    return SeededCiphertexts((seed,), body[None], moduli)


def decrypt(context: CkksSecretContext, card: ModelCard, outputs: Outputs) -> Integers:
    """Decrypt verified outputs to Python integers (records, J) at the output's scale.

    Records are one, or all the N/2 slots of a batch, used or not.  The scale is that of the full
    modulus: what rescaling divided by is multiplied in again.  See `client_sdk.disclosure` for why
    these are no doubles yet.
    """
    if isinstance(outputs, SingleOutputs):
        layout = SingleRecordLayout(card.ring_degree, card.inputs_count, len(card.outputs))
        moduli = context.parameters.moduli
        words = layout.response_ciphertext(outputs.body, outputs.mask, moduli)
        owed = context.decrypt_coefficients(words, layout.output_positions.tolist())
        return np.array([owed], dtype=object)
    dropped = card.bounds(Packing.BATCH).dropped_modulus
    return context.decrypt_slot_integers(outputs.words, dropped).T
