"""Points of BLS12-381 as py_ecc has them; imported without the limit of recursion that it sets."""

from __future__ import annotations

import sys

_limit = sys.getrecursionlimit()
from py_ecc.bls.ciphersuites import G2ProofOfPossession  # noqa: E402
from py_ecc.bls.g2_primitives import G1_to_pubkey, pubkey_to_G1  # noqa: E402
from py_ecc.optimized_bls12_381 import add, neg  # noqa: E402

sys.setrecursionlimit(_limit)

__all__ = ["G1_to_pubkey", "G2ProofOfPossession", "add", "neg", "pubkey_to_G1"]
