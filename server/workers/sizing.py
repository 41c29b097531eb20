"""How many workers a machine takes, and in how many threads each computes."""

from __future__ import annotations

import os

THREADS_VARIABLE = "RAYON_NUM_THREADS"
"""Of a worker's environment."""


def worker_count(wanted: int | None) -> int:
    """As many as are wanted, or one for each processor this process may use."""
    if wanted is not None:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
