"""Evaluate a network on encrypted inputs, tile by tile, without evaluation keys.

Every layer acts on each word position alone, so the whole circuit runs on a tile of positions while
it is in the cache; ciphertexts grow in size and scale instead of being relinearised and rescaled
(docs/protocol.md, sections 15 and 16). `fhe_layers.layers` has one module per kind of node, the
mirrors of those in `zk_layers.layers` that prove them.

Symbols: K inputs, J outputs, t polynomials of an output, L limbs, n = N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import kernels
from fhe_layers import rns
from fhe_layers.layers import affine, power, product
from protocol.errors import ParameterError, ShapeError
from protocol.families import WEIGHT_BOUND
from protocol.graph import FRESH_POLYS, Affine, Graph, Node, Power


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """NTT words computed by a network.

    Attributes:
        outputs: (J, t, L, n), not yet sanitised: they give the weights away.
        kept: the tensors asked for, by index: (units, t, L, n). The server's secret as well.
    """

    outputs: rns.Words
    kept: dict[int, rns.Words]


def evaluate_network(
    graph: Graph,
    integers: rns.Integers,
    inputs: rns.Words,
    *,
    input_scale_log2: int,
    moduli: Sequence[int],
    keep: Sequence[int] = (),
) -> Evaluation:
    """Run the network: inputs (K, 2, L, n), the model's flat integers int64 (count,).

    `keep` names the intermediate tensors to store; without it only the outputs are.

    Raises:
        ShapeError: wrong shapes or types.
        ParameterError: an integer beyond +-(2^15 - 1).
        ValueError: a word that is not below its modulus, found by the kernel.
    """
    if inputs.ndim != 4:
        raise ShapeError(f"inputs: expected (K, 2, L, n), found {inputs.shape}")
    shape = (graph.inputs, FRESH_POLYS, len(moduli), inputs.shape[-1])
    rns.require_shape(inputs, shape, "inputs")
    _require_integers(integers, graph.integers_count)
    program = kernels.TileProgram(moduli, graph.inputs, FRESH_POLYS)
    for node in graph.nodes(input_scale_log2):
        _append(program, node, integers, moduli)
    stored = sorted({*keep, len(graph.layers)} - {0})
    tensors = dict(zip(stored, program.run(inputs, stored), strict=True)) | {0: inputs}
    return Evaluation(tensors[len(graph.layers)], {index: tensors[index] for index in keep})


def _append(
    program: kernels.TileProgram, node: Node, integers: rns.Integers, moduli: Sequence[int]
) -> int:
    if isinstance(node, Affine):
        return affine.append(program, node, integers, moduli)
    if isinstance(node, Power):
        return power.append(program, node, moduli)
    return product.append(program, node)


def _require_integers(integers: rns.Integers, count: int) -> None:
    if integers.dtype != "int64" or integers.shape != (count,):
        raise ShapeError(
            f"integers: expected int64 ({count},), found {integers.dtype} {integers.shape}"
        )
    # Two comparisons rather than an absolute value: |-2^63| does not exist in int64.
    if int(integers.max(initial=0)) > WEIGHT_BOUND or int(integers.min(initial=0)) < -WEIGHT_BOUND:
        raise ParameterError(f"integers: every one must lie within +-{WEIGHT_BOUND}")
