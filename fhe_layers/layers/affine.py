"""Add an affine node to a tile program: dense layers, convolutions, pooling, sums, selections.

    out_j = sum over terms of factor * sum_e w_e x_e + bias_factor * b_j

*Size*: the largest of the sources; a shorter ciphertext has zeros for its missing polynomials.
*Scale*: integer weights multiply the scale by the weight unit 2^15 (selections, gathers, pools and
public factors leave it alone, the value grows instead); terms of different scale meet at the larger
one, by a power of two in `factor`, and the bias enters at the scale of the result, by
`bias_factor`.
*Noise*: that of row j is at most sum_e |factor w_e| times that of the sources; a bias is exact.

A bias is a constant polynomial: the same word at every position of the transform, of the first
polynomial only. Entries that are zero are multiplied like any other: time says nothing of weights.

A private selection's rows are unit vectors, and its words are those of the units chosen: they are
copied, one entry a row whatever the choice. Only which addresses are read depends on it, all of
them in a tile that is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

import kernels
from fhe_layers import rns
from protocol.errors import ParameterError
from protocol.graph import Affine
from protocol.nodes import AffineTerm

Int32s: TypeAlias = npt.NDArray[np.int32]
SparseRows: TypeAlias = tuple[rns.Integers, Int32s, Int32s]
"""Row pointers (units + 1,), columns and values (entries,)."""


def append(
    program: kernels.TileProgram, node: Affine, integers: rns.Integers, moduli: Sequence[int]
) -> int:
    """Append the node, with the model's flat integers; returns the tensor's number.

    Factors are exact integers of any size and are reduced in each limb.

    Raises:
        ParameterError: the row of a selection is not a unit vector.
    """
    terms = [
        (term.source, *_rows(term, integers), [term.factor % q for q in moduli])
        for term in node.terms
    ]
    if node.bias is None:
        return program.affine(node.units, terms, None)
    biases = integers[node.bias]
    fields = [rns.modulus(q) for q in moduli]
    words = np.stack([field.scale(field.reduce_i64(biases), node.bias_factor) for field in fields])
    return program.affine(node.units, terms, words)


def _rows(term: AffineTerm, integers: rns.Integers) -> SparseRows:
    return _chosen(term, integers) if term.selects else term.matrix_csr(integers)


def _chosen(term: AffineTerm, integers: rns.Integers) -> SparseRows:
    """A selection with its ones only, and zeros in public places.

    The kernel shares work between rows of equal columns, so that time would tell how many choices
    are equal. No two rows have equal columns here: after its choice a row names units that spell
    its own number, with weight zero.

    Raises:
        ParameterError: a row is not a unit vector.
    """
    _, columns, values = term.matrix_csr(integers)
    rows = values.reshape(term.units, -1)
    ones = rows == 1
    if not ((ones.sum(axis=1) == 1) & (np.abs(rows).sum(axis=1) == 1)).all():
        raise ParameterError("a selection's rows are unit vectors")
    places = np.column_stack([columns[ones.reshape(-1)], _numbers(term)])
    width = places.shape[1]
    weights = np.zeros(places.shape, dtype=np.int32)
    weights[:, 0] = 1
    pointers = np.arange(0, places.size + 1, width, dtype=np.int64)
    return pointers, places.reshape(-1).astype(np.int32), weights.reshape(-1)


def _numbers(term: AffineTerm) -> Int32s:
    """Row numbers written with the source's units for digits: (units, digits)."""
    base = int(term.inputs.max()) + 1
    rest = np.arange(term.units, dtype=np.int32)
    digits: list[Int32s] = []
    while base > 1 and (not digits or rest.any()):
        digits.append(rest % base)
        rest = rest // base
    return np.array(digits, dtype=np.int32).reshape(len(digits), term.units).T
