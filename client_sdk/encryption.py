"""Records to ciphertexts and verified outputs to integers, for both packings.

Symbols: K inputs, J outputs, L limbs, N ring degree; D = 2^input_scale.  The only module of the
client that touches TenSEAL, through `fhe_layers.ckks`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fhe_layers.ckks import CkksContext, CkksSecretContext
from fhe_layers.monomials import Expansion, expand, fixed_point_monomials
from fhe_layers.packing import SingleRecordLayout, fixed_point
from protocol.ciphertexts import SeededCiphertexts
from protocol.model import ModelCard
from protocol.parameters import Packing
from wire.inference import Outputs, SingleOutputs

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.object_]

__all__ = ["CkksContext", "CkksSecretContext", "decrypt", "encrypt"]


def encrypt(
    context: CkksSecretContext, packing: Packing, values: Floats, expansion: Expansion = ()
) -> SeededCiphertexts:
    """Encrypt normalised records (records, features): K ciphertexts, or one.

    Inputs are the features, or a card's expansion: monomials of them, computed here.
    """
    parameters = context.parameters
    moduli = parameters.moduli
    if packing is Packing.BATCH:
        inputs = expand(values, expansion) if expansion else values
        seeds, bodies = context.encrypt_slots(np.ascontiguousarray(inputs.T))
        return SeededCiphertexts(tuple(seeds), bodies, moduli)
    if expansion:
        exact = fixed_point_monomials(values[0], expansion, parameters.input_scale_log2)
    else:
        exact = fixed_point(values[0], parameters.input_scale_log2)
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
