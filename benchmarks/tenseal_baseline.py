"""TenSEAL as its users run it: the same linear model, evaluated without any proof.

Batch: `ckks_tensor` with records in slots, times a plain weight vector.  Single record:
`ckks_vector.dot`, which needs Galois keys.  Parameters are the ones its tutorials use,
N = 8192 and [60, 40, 60].
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import numpy.typing as npt
import tenseal as ts

Floats = npt.NDArray[np.float64]


def _context() -> ts.Context:
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 60]
    )
    context.global_scale = 2.0**40
    context.generate_galois_keys()
    return context


def _median_seconds(work: Callable[[], object], runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def batch_seconds(records: Floats, weights: Floats, bias: float, runs: int) -> float:
    """Median seconds of one encrypted batch product: records (R, K), weights (K,)."""
    context = _context()
    # As a (1, K) matrix per record: `mm` is then about 25 times faster than `dot` of a vector.
    tensor = ts.plain_tensor(records[:, None, :].tolist())
    encrypted = ts.ckks_tensor(context, tensor, batch=True)
    column, constant = ts.plain_tensor(weights[:, None].tolist()), ts.plain_tensor([bias])
    return _median_seconds(lambda: encrypted.mm(column) + constant, runs)


def single_seconds(record: Floats, weights: Floats, bias: float, runs: int) -> float:
    """Median seconds of one encrypted dot product: record (K,), weights (K,)."""
    context = _context()
    encrypted = ts.ckks_vector(context, record.tolist())
    plain, constant = weights.tolist(), [bias]
    return _median_seconds(lambda: encrypted.dot(plain) + constant, runs)
