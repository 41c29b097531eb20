"""Kernels in the calling thread: the same results, in a process of which it is said once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import kernels

LEAVES, PREFIX = 1024, b"\x01"


def leaves() -> np.ndarray:
    return np.arange(LEAVES * 32, dtype=np.int64).astype(np.uint8).reshape(LEAVES, 32)


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="positive"):
        kernels.compute_here(0)


def test_it_is_said_before_anything_is_computed_in_parallel():
    kernels.merkle_nodes(leaves(), PREFIX)
    with pytest.raises(RuntimeError):
        kernels.compute_here(1)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_calling_thread_is_one_of_those_that_compute(threads: int):
    program = f"""
        import os, sys
        import kernels
        from tests.property.test_kernels_threads import PREFIX, leaves

        before = len(os.listdir("/proc/self/task"))
        kernels.compute_here({threads})
        sys.stdout.write(kernels.merkle_nodes(leaves(), PREFIX).tobytes().hex())
        print(" ", len(os.listdir("/proc/self/task")) - before)
    """
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found, started = done.stdout.split()
    assert bytes.fromhex(found) == kernels.merkle_nodes(leaves(), PREFIX).tobytes()
    assert int(started) == threads - 1
