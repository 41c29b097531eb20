"""Add an affine node to a tile program: dense layers, convolutions, pooling, sums, selections.

    out_j = sum over terms of factor * sum_e w_e x_e + bias_factor * b_j

*Size*: the largest of the sources; a shorter ciphertext has zeros for its missing polynomials.
*Scale*: integer weights multiply the scale by the weight unit 2^15 (selections, pools and public
factors leave it alone, the value grows instead); terms of different scale meet at the larger one,
by a power of two in `factor`, and the bias enters at the scale of the result, by `bias_factor`.
*Noise*: that of row j is at most sum_e |factor w_e| times that of the sources; a bias is exact.

A bias is a constant polynomial: the same word at every position of the transform, of the first
polynomial only. Entries that are zero are multiplied like any other: time says nothing of weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import kernels
from fhe_layers import rns
from protocol.graph import Affine


def append(
    program: kernels.TileProgram, node: Affine, integers: rns.Integers, moduli: Sequence[int]
) -> int:
    """Append the node, with the model's flat integers; returns the tensor's number.

    Factors are exact integers of any size and are reduced in each limb.
    """
    terms = [
        (term.source, *term.matrix_csr(integers), [term.factor % q for q in moduli])
        for term in node.terms
    ]
    if node.bias is None:
        return program.affine(node.units, terms, None)
    biases = integers[node.bias]
    fields = [rns.modulus(q) for q in moduli]
    words = np.stack([field.scale(field.reduce_i64(biases), node.bias_factor) for field in fields])
    return program.affine(node.units, terms, words)
