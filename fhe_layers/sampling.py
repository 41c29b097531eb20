"""Noise from a seed: the distributions a sanitised answer needs.

One 32-byte seed gives independent streams, one for each label, of ChaCha20 keyed by
HMAC-SHA256(seed, label). The same seed always gives the same noise: the server derives it from
everything that determines an answer, so that asking again averages nothing away.
"""

from __future__ import annotations

import hmac

import numpy as np

import kernels
from fhe_layers import rns
from protocol.errors import ParameterError

SEED_BYTES = 32
BINOMIAL_COINS = 21  # per side, as in SEAL: variance 10.5
LARGEST_FLOODING_LOG2 = 112  # the exact projection of the proof takes integers below 2^113
LARGEST_WIDE_LOG2 = 240
PIECE_BITS = 60

_WORD_BITS = 64
_BINOMIAL_MASK = np.uint64((1 << BINOMIAL_COINS) - 1)
_TERNARY_BOUND = 255  # the largest multiple of 3 a byte can be compared with


def stream(seed: bytes, label: bytes, count: int) -> bytes:
    """`count` bytes; streams of different labels are independent. Raises ParameterError."""
    if len(seed) != SEED_BYTES:
        raise ParameterError(f"noise seed: expected {SEED_BYTES} bytes, found {len(seed)}")
    return kernels.chacha_bytes(hmac.digest(seed, b"blindproof/sanitise/" + label, "sha256"), count)


def ternary(seed: bytes, count: int) -> rns.Integers:
    """Uniform in {-1, 0, 1}, by rejection of the one byte in 256 that would bias the remainder."""
    wanted = count + count // 64 + 64
    while True:
        drawn = np.frombuffer(stream(seed, b"u", wanted), dtype=np.uint8)
        accepted = drawn[drawn < _TERNARY_BOUND][:count]
        if accepted.size == count:
            return (accepted % np.uint8(3)).astype(np.int64) - 1
        wanted *= 2


def binomial(seed: bytes, label: bytes, count: int) -> rns.Integers:
    """Centred binomial: heads among 21 coins minus heads among 21 others, so within +-21."""
    words = np.frombuffer(stream(seed, label, 8 * count), dtype="<u8")
    heads = np.bitwise_count(words & _BINOMIAL_MASK)
    tails = np.bitwise_count((words >> np.uint64(BINOMIAL_COINS)) & _BINOMIAL_MASK)
    difference: rns.Integers = heads.astype(np.int64) - tails.astype(np.int64)
    return difference


def flooding(seed: bytes, count: int, flooding_log2: int) -> rns.Words:
    """Uniform in [-2^f, 2^f) as two's complement 128-bit words (count, 2): (low, high)."""
    if not 1 <= flooding_log2 <= LARGEST_FLOODING_LOG2:
        raise ParameterError(
            f"flooding must be 2^1..2^{LARGEST_FLOODING_LOG2}, got 2^{flooding_log2}"
        )
    drawn = np.frombuffer(stream(seed, b"e0", 16 * count), dtype="<u8").reshape(count, 2)
    drawn_mask, half = (1 << (flooding_log2 + 1)) - 1, 1 << flooding_log2
    low = drawn[:, 0] & _low_word(drawn_mask)
    high = drawn[:, 1] & _low_word(drawn_mask >> _WORD_BITS)
    borrow = (low < _low_word(half)).astype(np.uint64)
    # uint64 arithmetic wraps, which is exactly two's complement.
    return np.stack([low - _low_word(half), high - _low_word(half >> _WORD_BITS) - borrow], axis=-1)


def wide_uniform(
    seed: bytes, label: bytes, count: int, bound_log2: int
) -> tuple[tuple[int, rns.Integers], ...]:
    """Uniform in [-2^f, 2^f), f up to 240, as pieces (2^(60 k), int64 (count,)).

    The pieces are the digits of f + 1 random bits, the top one lowered by half its range.
    """
    if not 1 <= bound_log2 <= LARGEST_WIDE_LOG2:
        raise ParameterError(f"noise must be 2^1..2^{LARGEST_WIDE_LOG2}, got 2^{bound_log2}")
    pieces = -(-(bound_log2 + 1) // PIECE_BITS)
    drawn = np.frombuffer(stream(seed, label, 8 * pieces * count), dtype="<u8")
    found = []
    for piece, words in enumerate(drawn.reshape(pieces, count)):
        bits = min(PIECE_BITS, bound_log2 + 1 - PIECE_BITS * piece)
        digits = (words & _low_word((1 << bits) - 1)).astype(np.int64)
        if piece == pieces - 1:
            digits -= 1 << (bits - 1)
        found.append((1 << (PIECE_BITS * piece), digits))
    return tuple(found)


def _low_word(value: int) -> np.uint64:
    return np.uint64(value & ((1 << _WORD_BITS) - 1))
