"""Records to ciphertexts and verified outputs to numbers, for both packings.

Symbols: K features, J outputs, L limbs, N ring degree; D = 2^input_scale.  The only module of the
client that touches TenSEAL, through `fhe_layers.ckks`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fhe_layers.ckks import CkksContext, CkksSecretContext
from fhe_layers.packing import SingleRecordLayout, fixed_point
from protocol.ciphertexts import SeededCiphertexts
from protocol.model import ModelCard
from protocol.parameters import Packing
from wire.inference import Outputs, SingleOutputs

Floats = npt.NDArray[np.float64]

__all__ = ["CkksContext", "CkksSecretContext", "decrypt", "encrypt"]


def encrypt(context: CkksSecretContext, packing: Packing, values: Floats) -> SeededCiphertexts:
    """Encrypt normalised records (records, K): K ciphertexts, or one."""
    moduli = context.parameters.moduli
    if packing is Packing.BATCH:
        seeds, bodies = context.encrypt_slots(np.ascontiguousarray(values.T))
        return SeededCiphertexts(tuple(seeds), bodies, moduli)
    exact = fixed_point(values[0], context.parameters.input_scale_log2)
    seed, body = context.encrypt_coefficients(exact)
    return SeededCiphertexts((seed,), body[None], moduli)


def decrypt(context: CkksSecretContext, card: ModelCard, outputs: Outputs, records: int) -> Floats:
    """Decrypt verified outputs: float64 (records, J), in units of the integer model's output."""
    if isinstance(outputs, SingleOutputs):
        scale = card.bounds(Packing.SINGLE).output_scale_log2
        layout = SingleRecordLayout(card.ring_degree, len(card.features), len(card.outputs))
        moduli = context.parameters.moduli
        words = layout.response_ciphertext(outputs.body, outputs.mask, moduli)
        integers = context.decrypt_coefficients(words, layout.output_positions.tolist())
        return np.array([[integer / (1 << scale) for integer in integers]])
    scale = card.bounds(Packing.BATCH).output_scale_log2
    columns = [context.decrypt_slots(words, scale)[:records] for words in outputs.words]
    return np.stack(columns, axis=1)
