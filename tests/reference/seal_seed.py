"""SEAL's uniform polynomial from a 64-byte seed.

The generator is BLAKE2Xb with a 4096-byte output for each value of a counter. Python's ``hashlib``
makes the root digest but refuses the expansion nodes, whose depth is 0; they hash no more than one
unkeyed 64-byte block, so the compression function of RFC 7693, section 3.2, is written out here.
"""

from __future__ import annotations

import hashlib

MASK = 2**64 - 1
REFILL_BYTES = 4096

IV = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)

SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)

# Columns, then diagonals, of the 4 x 4 state.
MIXES = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def _rotate(x: int, bits: int) -> int:
    return (x >> bits | x << (64 - bits)) & MASK


def _single_block(parameters: bytes, message: bytes) -> bytes:
    """BLAKE2b of one final block under a 64-byte parameter block."""
    pairs = zip(IV, range(0, 64, 8), strict=True)
    h = [iv ^ int.from_bytes(parameters[i : i + 8], "little") for iv, i in pairs]
    block = message.ljust(128, b"\0")
    m = [int.from_bytes(block[i : i + 8], "little") for i in range(0, 128, 8)]
    v = h + list(IV)
    v[12] ^= len(message)
    v[14] ^= MASK
    for round_number in range(12):
        order = SIGMA[round_number % 10]
        for index, (a, b, c, d) in enumerate(MIXES):
            v[a] = (v[a] + v[b] + m[order[2 * index]]) & MASK
            v[d] = _rotate(v[d] ^ v[a], 32)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = _rotate(v[b] ^ v[c], 24)
            v[a] = (v[a] + v[b] + m[order[2 * index + 1]]) & MASK
            v[d] = _rotate(v[d] ^ v[a], 16)
            v[c] = (v[c] + v[d]) & MASK
            v[b] = _rotate(v[b] ^ v[c], 63)
    out = [x ^ v[i] ^ v[i + 8] for i, x in enumerate(h)]
    return b"".join(word.to_bytes(8, "little") for word in out)


def refill(seed: bytes, counter: int) -> bytes:
    """4096 bytes of the generator."""
    root = hashlib.blake2b(
        counter.to_bytes(8, "little"), key=seed, node_offset=REFILL_BYTES << 32
    ).digest()
    out = b""
    for node in range(REFILL_BYTES // 64):
        parameters = (
            bytes([64, 0, 0, 0])  # digest, key, fanout, depth
            + (64).to_bytes(4, "little")  # leaf length
            + node.to_bytes(4, "little")
            + REFILL_BYTES.to_bytes(4, "little")
            + bytes([0, 64])  # node depth, inner length
        ).ljust(64, b"\0")
        out += _single_block(parameters, root)
    return out


def expand(seed: bytes, moduli: list[int], n: int) -> list[list[int]]:
    """Uniform words ``[limb][n]``; replacements of rejected words follow the first ones."""
    stream = bytearray()
    counter = 0

    def take() -> int:
        nonlocal counter
        if not stream:
            stream.extend(refill(seed, counter))
            counter += 1
        word = int.from_bytes(stream[:8], "little")
        del stream[:8]
        return word

    raw = [[take() for _ in range(n)] for _ in moduli]
    out = []
    for line, q in zip(raw, moduli, strict=True):
        limit = MASK - MASK % q - 1
        words = []
        for first in line:
            word = first
            while word >= limit:
                word = take()
            words.append(word % q)
        out.append(words)
    return out


def ciphertexts(
    seeds: list[bytes], c0: list[list[list[int]]], moduli: list[int], n: int
) -> list[list[list[list[int]]]]:
    """Words ``[seed][poly][limb][n]``: the given polynomial, then that of the seed."""
    return [[first, expand(seed, moduli, n)] for seed, first in zip(seeds, c0, strict=True)]
