"""The verifier's checks by name.

Each refusal goes through `require`, so that a test can remove exactly one check and show the
forgery which it alone stops.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from protocol.errors import VerificationError

MIN_NO_WRAP_BITS = 0.5
"""The largest phase must stay this far below Q/2."""


class Check(StrEnum):
    """Names of the checks; the numbers are the claims of docs/protocol.md."""

    STATEMENT = "statement"
    ROOT = "committed root"
    SIZE = "size"
    CANONICAL = "canonical words"
    INTERVAL = "projection interval"
    LINEAR_SUM = "linear sum"
    PROXIMITY = "proximity columns"
    LINEAR = "linear columns"
    QUADRATIC = "quadratic columns"
    MERKLE = "merkle paths"
    SUM_CHECK = "sum-check"
    FREIVALDS = "freivalds"
    NO_WRAP = "no wrap"
    PRECISION = "precision"
    SOUNDNESS = "soundness"


def require(condition: bool, check: Check, detail: str) -> None:
    """Refuse the proof unless the condition holds.

    Raises:
        VerificationError: carrying the name of the check.
    """
    if not condition:
        raise VerificationError(str(check), detail)


def require_words(
    name: str,
    words: npt.NDArray[np.uint64],
    shape: tuple[int, ...],
    moduli: tuple[int, ...],
    limb_axis: int,
) -> None:
    """Refuse an array of another shape, or with a word that is not below its limb's modulus.

    Raises:
        VerificationError: statement or canonical words.
    """
    fits = words.shape == shape and words.dtype == np.uint64
    require(fits, Check.STATEMENT, f"{name}: shape {words.shape}, expected {shape}")
    for limb, modulus in enumerate(moduli):
        of_limb = words[(slice(None),) * limb_axis + (limb,)]  # a view: inputs have 12 MB
        canonical = int(of_limb.max()) < modulus
        require(canonical, Check.CANONICAL, f"{name}: a word exceeds its modulus in limb {limb}")
