"""Public-model mode: Freivalds' check of one linear layer (Freivalds 1977).

The weights are public and outputs are not sanitised, so there is nothing to hide and no proof to
send.  The verifier draws its own random vectors and compares <r, Y_j> with
sum_k W_jk <r, X_k> + 2^dx W_jK <r_0, 1>, in every limb and in both components of E: error at most
1/|E| per output and limb.  For one output recomputing costs as much; the check wins with many.
"""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt

import kernels
from protocol.model import ModelCard
from protocol.packing import answer_positions, weight_positions
from protocol.parameters import CkksParameters, Mode, Packing
from zk_layers.checks import MIN_NO_WRAP_BITS, Check, require, require_words
from zk_layers.fields import field, ntt
from zk_layers.soundness import SoundnessReport

Words = npt.NDArray[np.uint64]
COMPONENTS = 2


def verify_public_batch(card: ModelCard, inputs: Words, outputs: Words) -> SoundnessReport:
    """Check a batch's answer against public weights with fresh private randomness.

    Args:
        card: a public model.
        inputs: X, words (K, 2, L, N).
        outputs: Y, words (J, 2, L, N).

    Raises:
        VerificationError: naming the check that refused.
    """
    parameters = _require_public(card, Packing.BATCH)
    moduli, degree = parameters.moduli, parameters.ring_degree
    count, limbs = len(card.outputs), len(moduli)
    require_words("input", inputs, (card.inputs_count, 2, limbs, degree), moduli, 2)
    require_words("output", outputs, (count, 2, limbs, degree), moduli, 2)
    vectors = np.empty((COMPONENTS, 2, limbs, degree), dtype=np.uint64)
    for limb, modulus in enumerate(moduli):
        drawn = kernels.chacha_field(os.urandom(32), modulus, COMPONENTS * 2 * degree)
        vectors[:, :, limb] = drawn.reshape(COMPONENTS, 2, degree)
    folded_inputs = kernels.inner_products(inputs, vectors, list(moduli))
    folded_outputs = kernels.inner_products(outputs, vectors, list(moduli))
    for limb, modulus in enumerate(moduli):
        scale = (1 << parameters.input_scale_log2) % modulus
        for component in range(COMPONENTS):
            ones = np.ones(degree, dtype=np.uint64)
            constant = field(modulus).dot(vectors[component, 0, limb].copy(), ones) * scale
            seen = [int(word) for word in folded_inputs[limb, component]] + [constant]
            for j, row in enumerate(card.public_weights):
                expected = sum(w * x for w, x in zip(row, seen, strict=True)) % modulus
                found = int(folded_outputs[limb, component, j])
                detail = f"output {j} is not the public model's answer in limb {limb}"
                require(found == expected, Check.FREIVALDS, detail)
    bits = min(COMPONENTS * math.log2(modulus) for modulus in moduli)
    bits -= math.log2(limbs * count)
    return SoundnessReport(bits, {"freivalds": bits})


def verify_public_single(
    card: ModelCard, inputs: Words, mask: Words, body: Words
) -> SoundnessReport:
    """Check a single record's answer by recomputing it: one transform and two products a limb.

    Args:
        card: a public model.
        inputs: X, words (2, L, N).
        mask: Y_1, words (L, N).
        body: owed coefficients of Y_0, words (J, L).

    Raises:
        VerificationError: naming the check that refused.
    """
    parameters = _require_public(card, Packing.SINGLE)
    moduli, degree = parameters.moduli, parameters.ring_degree
    count, features, limbs = len(card.outputs), card.inputs_count, len(moduli)
    require_words("input", inputs, (2, limbs, degree), moduli, 1)
    require_words("mask", mask, (limbs, degree), moduli, 0)
    require_words("body", body, (count, limbs), moduli, 1)
    weights = np.array(card.public_weights, dtype=np.int64)
    index, flipped = weight_positions(count, features, degree)
    polynomial = np.zeros(degree, dtype=np.int64)
    polynomial[index] = np.where(flipped, -weights[:, :-1], weights[:, :-1])
    for limb, modulus in enumerate(moduli):
        arithmetic, transform = field(modulus), ntt(modulus, degree)
        transformed = transform.forward(arithmetic.reduce_i64(polynomial))
        products = [arithmetic.mul(inputs[p, limb].copy(), transformed) for p in range(2)]
        same = bool((products[1] == mask[limb]).all())
        detail = f"not the public model's answer in limb {limb}"
        require(same, Check.FREIVALDS, detail)
        coefficients = transform.inverse(products[0])
        scale = (1 << parameters.input_scale_log2) % modulus
        for j, position in enumerate(answer_positions(count, features)):
            expected = (int(coefficients[position]) + int(weights[j, -1]) * scale) % modulus
            require(int(body[j, limb]) == expected, Check.FREIVALDS, detail)
    return SoundnessReport(math.inf, {})


def _require_public(card: ModelCard, packing: Packing) -> CkksParameters:
    require(card.mode is Mode.PUBLIC, Check.STATEMENT, "the model's weights are not public")
    margin = card.bounds(packing).no_wrap_bits
    require(margin >= MIN_NO_WRAP_BITS, Check.NO_WRAP, f"{margin:.2f} bits below Q/2")
    return card.profile(packing).parameters
