"""TenSEAL as its users run it: the same models, evaluated without any proof.

Linear models in batches: `ckks_tensor` with records in slots, times a plain weight vector. One
record: `ckks_vector.dot`, which needs Galois keys. Parameters are the ones of TenSEAL's tutorials,
N = 8192 and [60, 40, 60].

Networks, one record: `ckks_vector.mm` and `square`; a convolution as TenSEAL's own tutorial has it,
`im2col_encoding` and `conv2d_im2col`, with the tutorial's parameters, N = 8192 and seven primes.
Only the server's work is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal as ts

from fhe_layers.spec import Conv2dSpec, DenseSpec, NetworkSpec
from protocol.errors import BlindproofError

Floats = npt.NDArray[np.float64]

_LINEAR = ([60, 40, 60], 40)
_ONE_SQUARE = ([40, 30, 30, 30, 40], 30)
_TWO_SQUARES = ([31, 26, 26, 26, 26, 26, 26, 31], 26)
"""Bits of the primes, and of the scale."""


class BaselineError(BlindproofError):
    """The network is none that is written here in TenSEAL's terms, or its result is off."""


def batch_seconds(records: Floats, weights: Floats, bias: float, runs: int) -> float:
    """Median seconds of one encrypted batch product: records (R, K), weights (K,)."""
    context = _context(*_LINEAR)
    # As a (1, K) matrix per record: `mm` is then about 25 times faster than `dot` of a vector.
    tensor = ts.plain_tensor(records[:, None, :].tolist())
    encrypted = ts.ckks_tensor(context, tensor, batch=True)
    column, constant = ts.plain_tensor(weights[:, None].tolist()), ts.plain_tensor([bias])
    return _median_seconds(lambda: encrypted.mm(column) + constant, runs)


def single_seconds(record: Floats, weights: Floats, bias: float, runs: int) -> float:
    """Median seconds of one encrypted dot product: record (K,), weights (K,)."""
    context = _context(*_LINEAR)
    encrypted = ts.ckks_vector(context, record.tolist())
    plain, constant = weights.tolist(), [bias]
    return _median_seconds(lambda: encrypted.dot(plain) + constant, runs)


def network_seconds(network: NetworkSpec, record: Floats, runs: int) -> float:
    """Median seconds of one normalised record (K,) through a network with squares.

    Raises:
        BaselineError: it has other layers than dense ones, squares and a first convolution, or
            TenSEAL's answer is not the network's.
    """
    dense = [layer for layer in network.layers if isinstance(layer, DenseSpec)]
    first = network.layers[0]
    matrices = [(layer.weights.T.tolist(), layer.bias.tolist()) for layer in dense]
    squares = sum(layer.name == "square" for layer in network.layers)
    context = _context(*(_ONE_SQUARE if squares < 2 else _TWO_SQUARES))
    if isinstance(first, Conv2dSpec):
        evaluate = _convolution(context, first, network, record)
    else:
        encrypted = ts.ckks_vector(context, record.tolist())
        matrix, bias = matrices.pop(0)

        def evaluate() -> Any:  # noqa: ANN401  (TenSEAL has no types)
            return encrypted.mm(matrix) + bias

    def work() -> Any:  # noqa: ANN401
        current = evaluate()
        for weights, constants in matrices:
            current = current.square().mm(weights) + constants
        return current

    seconds, answer = _median_run(work, runs)
    expected = network.forward(record[None, :])[0]
    if not np.allclose(answer.decrypt(), expected, rtol=0.05, atol=0.05):
        raise BaselineError("TenSEAL's answer is not that of the network")
    return seconds


def _convolution(
    context: ts.Context, layer: Conv2dSpec, network: NetworkSpec, record: Floats
) -> Callable[[], Any]:
    """One channel after another over the windows of a padded image, then all in one vector."""
    if layer.weights.shape[1] != 1 or layer.stride != (1, 1):
        raise BaselineError("TenSEAL convolves one channel with one stride")
    vertical, horizontal = layer.padding
    image = np.pad(record.reshape(network.shape[1:]), ((vertical,) * 2, (horizontal,) * 2))
    encrypted, windows = ts.im2col_encoding(context, image.tolist(), *layer.kernel, 1)
    kernels = layer.weights[:, 0].tolist()

    def evaluate() -> Any:  # noqa: ANN401
        channels = [
            encrypted.conv2d_im2col(kernel, windows) + bias
            for kernel, bias in zip(kernels, layer.bias.tolist(), strict=True)
        ]
        return ts.CKKSVector.pack_vectors(channels)

    return evaluate


def _context(bits: list[int], scale_log2: int) -> ts.Context:
    context = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=bits)
    context.global_scale = 2.0**scale_log2
    context.generate_galois_keys()
    return context


def _median_seconds(work: Callable[[], object], runs: int) -> float:
    work()
    return _median_run(work, runs)[0]


def _median_run(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Median seconds, and the last result."""
    times, result = [], None
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return median(times), result
