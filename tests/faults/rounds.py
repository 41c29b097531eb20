"""How often a fault is tried: a few times in every run of the tests, many times by `make chaos`."""

from __future__ import annotations

import os

VARIABLE = "BLINDPROOF_TEST_ROUNDS"
"""Set to `all` by `make chaos`."""


def rounds(every_run: int, chaos: int) -> int:
    """The number of times, by the variable."""
    return chaos if os.environ.get(VARIABLE) == "all" else every_run
