"""Add a product of two tensors to a tile program, unit by unit.

*Size*: ciphertexts of t and t' polynomials in S multiply to t + t' - 1; nothing is relinearised.
*Scale*: the product of both scales. *Noise*: |x| e' + |y| e + e e'.
"""

from __future__ import annotations

import kernels
from protocol.graph import Product


def append(program: kernels.TileProgram, node: Product) -> int:
    """Append the node; returns the tensor's number."""
    return program.product(node.left, node.right)
