"""Records to ciphertexts and verified outputs to numbers, for both packings.

Symbols: K features, J outputs, L limbs, N ring degree; D = 2^input_scale.  The only module of the
client that touches TenSEAL, through `fhe_layers.ckks`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fhe_layers import rns
from fhe_layers.ckks import CkksContext, CkksSecretContext
from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import Words
from protocol.model import ModelCard
from protocol.packing import answer_positions
from protocol.parameters import CkksParameters, Packing
from wire.inference import Outputs, SingleOutputs

Floats = npt.NDArray[np.float64]

__all__ = ["CkksContext", "CkksSecretContext", "decrypt", "encrypt"]


def encrypt(context: CkksSecretContext, packing: Packing, values: Floats) -> SeededCiphertexts:
    """Encrypt normalised records (records, K): K ciphertexts, or one."""
    moduli = context.parameters.moduli
    if packing is Packing.BATCH:
        seeds, bodies = context.encrypt_slots(np.ascontiguousarray(values.T))
        return SeededCiphertexts(tuple(seeds), bodies, moduli)
    scale = context.parameters.input_scale_log2
    exact = [round(math.ldexp(value, scale)) for value in values[0].tolist()]
    seed, body = context.encrypt_coefficients(exact)
    return SeededCiphertexts((seed,), body[None], moduli)


def decrypt(context: CkksSecretContext, card: ModelCard, outputs: Outputs, records: int) -> Floats:
    """Decrypt verified outputs: float64 (records, J), in units of the integer model's output."""
    count = len(card.outputs)
    if isinstance(outputs, SingleOutputs):
        scale = card.bounds(Packing.SINGLE).output_scale_log2
        positions = answer_positions(count, len(card.features))
        words = _with_coefficients(context.parameters, outputs, positions)
        integers = context.decrypt_coefficients(words, positions.tolist())
        return np.array([[integer / (1 << scale) for integer in integers]])
    scale = card.bounds(Packing.BATCH).output_scale_log2
    columns = [context.decrypt_slots(words, scale)[:records] for words in outputs.words]
    return np.stack(columns, axis=1)


def _with_coefficients(
    parameters: CkksParameters, outputs: SingleOutputs, positions: npt.NDArray[np.int64]
) -> Words:
    """The ciphertext (2, L, N) whose first polynomial has the owed coefficients and no others."""
    shape = (len(parameters.moduli), parameters.ring_degree)
    coefficients = np.zeros(shape, dtype=np.uint64)
    coefficients[:, positions] = outputs.body.T
    return np.stack([rns.to_ntt(coefficients, parameters.moduli), outputs.mask])
