"""Block sizes behind the lattice assumptions of docs/protocol.md, section 6.

Core-SVP methodology: BKZ with block size b reaches root Hermite factor
delta(b) = ((pi b)^(1/b) b / (2 pi e))^(1 / (2 (b - 1))) (Chen 2013) and costs 2^(0.292 b)
(Becker, Ducas, Gama, Laarhoven 2016).  Ring structure is not exploited by the best known attacks at
these ranks.

Run as a script to print the table.
"""

from __future__ import annotations

import math

CORE_SVP = 0.292
COMMITMENT_ROWS = 2 * 1024
OPENING_COLUMNS = 5 * 1024
MODULUS_BITS = 60


def root_hermite(block: int) -> float:
    """delta(b)."""
    return ((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) ** (
        1 / (2 * (block - 1))
    )


def block_for(delta: float) -> int:
    """Smallest block size whose root Hermite factor is at most delta."""
    block = 60
    while root_hermite(block) > delta:
        block += 1
    return block


def module_sis_block(norm_log2: float, columns: int) -> int:
    """Block size that finds a solution of this Euclidean norm in the commitment's SIS lattice.

    The attacker picks the best number of columns m: delta^m q^(n/m) = norm.
    """
    volume_log2 = COMMITMENT_ROWS * MODULUS_BITS
    best = min(columns, round(2 * volume_log2 / norm_log2))
    return block_for(2 ** ((norm_log2 - volume_log2 / best) / best))


def module_lwe_block() -> int:
    """Block size of the primal attack on hiding: find ternary r in the coset of B r."""
    deviation = math.sqrt(2 / 3)
    block = 60
    dimension = OPENING_COLUMNS + 1
    while True:
        log_delta = math.log2(root_hermite(block))
        reach = log_delta * (2 * block - dimension) + COMMITMENT_ROWS * MODULUS_BITS / dimension
        if math.log2(deviation * math.sqrt(block)) <= reach:
            return block
        block += 1


def request_norm_log2(weights: int) -> float:
    """log2 norm of the difference between a registered opening and a request's.

    A request's integers are at most 2 (M - B'), see `protocol.families`.
    """
    weight_bound = 2 * (weights * 2**15) * 2**14 + 2**15
    opening_bound = 2 * math.ceil(10 * math.sqrt(OPENING_COLUMNS / 3)) * 2**14 + 1
    return math.log2(math.hypot(math.sqrt(weights) * weight_bound, 72 * opening_bound))


def main() -> None:
    """Print the table."""
    hiding = module_lwe_block()
    print(f"hiding: Module-LWE, BKZ block {hiding}, core-SVP 2^{CORE_SVP * hiding:.0f}")  # noqa: T201
    for weights in (31, 256, 3041, 16384):
        norm = request_norm_log2(weights)
        columns = OPENING_COLUMNS + weights
        block = module_sis_block(norm, columns)
        print(  # noqa: T201
            f"binding: {weights:7d} integers, difference 2^{norm:.1f}, BKZ block {block}, "
            f"core-SVP 2^{CORE_SVP * block:.0f}"
        )


if __name__ == "__main__":
    main()
