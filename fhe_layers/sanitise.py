"""Re-randomise an output so that it says nothing of the weights beyond the decrypted values.

The client knows its own ciphertexts, so a bare w * c1 gives w away by a division. Each output
polynomial pair is therefore hidden under a fresh RLWE encryption of zero made from the client's
enrolled key, plus flooding:

    Y'_0 = Y_0 + b V u + V e_0        Y'_1 = Y_1 + a V u + V e_1

(docs/protocol.md, sanitised outputs.) Symbols: (b, a) an enrolled key with b + a s small; u a
ternary polynomial, one per response; e_0 flooding, uniform in [-2^f, 2^f); e_1 centred binomial; J
outputs, L limbs, n = N, V the NTT. With one u, outputs need independent keys: a batch response
takes one enrolled key per output, while a single-record response packs all outputs in one
polynomial and needs one.

All noise comes from one 32-byte seed, which the server derives with a secret PRF from everything
that determines Y: the same request repeated gets the same noise, so repetition averages nothing
away.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import kernels
from fhe_layers import rns
from fhe_layers.layers.linear import bias_residues, require_integers
from fhe_layers.packing import SingleRecordLayout
from protocol.errors import ParameterError, ShapeError

SEED_BYTES = 32
BINOMIAL_COINS = 21  # per side, as in SEAL: variance 10.5
LARGEST_FLOODING_LOG2 = 112  # the exact projection of the proof takes integers below 2^113

_WORD_BITS = 64
_BINOMIAL_MASK = np.uint64((1 << BINOMIAL_COINS) - 1)
_TERNARY_BOUND = 255  # the largest multiple of 3 a byte can be compared with


@dataclass(frozen=True, eq=False, repr=False)
class BatchNoise:
    """The integers behind a sanitised batch; part of the prover's witness.

    Attributes:
        u: int64 (N,), ternary.
        e0: uint64 (J, N, 2), two's complement 128-bit integers (low, high).
        e1: int64 (J, N).
    """

    u: rns.Integers
    e0: rns.Words
    e1: rns.Integers


@dataclass(frozen=True, eq=False, repr=False)
class SanitisedBatch:
    """What leaves the server, (J, 2, L, n) NTT words, and the noise that stays."""

    outputs: rns.Words
    noise: BatchNoise


@dataclass(frozen=True, eq=False, repr=False)
class SingleRecordNoise:
    """The integers behind a sanitised record; part of the prover's witness.

    Attributes:
        u: int64 (N,), ternary.
        e0: J integers in [-2^f, 2^f).
        e1: int64 (N,).
    """

    u: rns.Integers
    e0: tuple[int, ...]
    e1: rns.Integers


@dataclass(frozen=True, eq=False, repr=False)
class SanitisedRecord:
    """What leaves the server, and the noise that stays.

    Attributes:
        body: words (J, L), the owed coefficients of the first polynomial.
        mask: NTT words (L, n), the second polynomial.
        noise: never sent.
    """

    body: rns.Words
    mask: rns.Words
    noise: SingleRecordNoise


def sanitise_batch(
    outputs: rns.Words,
    keys: rns.Words,
    seed: bytes,
    *,
    flooding_log2: int,
    moduli: Sequence[int],
) -> SanitisedBatch:
    """Y'[j, p] = Y[j, p] + key[j, p] * V u + V e_p[j] for outputs and enrolled keys (J, 2, L, n).

    Raises ShapeError, ParameterError.
    """
    if outputs.ndim != 4:
        raise ShapeError(f"outputs: expected (J, 2, L, n), found {outputs.shape}")
    count, degree = outputs.shape[0], outputs.shape[-1]
    rns.require_shape(outputs, (count, 2, len(moduli), degree), "outputs")
    rns.require_shape(keys, outputs.shape, "keys")
    noise = BatchNoise(
        u=_ternary(seed, degree),
        e0=_flooding(seed, count * degree, flooding_log2).reshape(count, degree, 2),
        e1=_binomial(seed, count * degree).reshape(count, degree),
    )
    sanitised = np.empty_like(outputs)
    for limb, q in enumerate(moduli):
        field, ntt = rns.modulus(q), rns.transform(q, degree)
        ephemeral = ntt.forward(field.reduce_i64(noise.u))
        errors = (ntt.forward(field.reduce_wide(noise.e0)), ntt.forward(field.reduce_i64(noise.e1)))
        for j in range(count):
            for p in range(2):
                hidden = field.multiply_add(outputs[j, p, limb], keys[j, p, limb], ephemeral)
                sanitised[j, p, limb] = field.add(hidden, errors[p][j])
    return SanitisedBatch(sanitised, noise)


def sanitise_single(
    output: rns.Words,
    key: rns.Words,
    bias: rns.Integers,
    seed: bytes,
    *,
    layout: SingleRecordLayout,
    input_scale_log2: int,
    flooding_log2: int,
    moduli: Sequence[int],
) -> SanitisedRecord:
    """Mask Y_1 + a V u + V e_1, and coefficient jK of Y_0 + b V u plus bias and flooding.

    output and key (2, L, n), bias (J,). Only owed coefficients are computed into the response; the
    others would reveal cross terms of weights and features. Raises ShapeError, ParameterError.
    """
    shape = (2, len(moduli), layout.ring_degree)
    rns.require_shape(output, shape, "output")
    rns.require_shape(key, shape, "key")
    require_integers(bias, (layout.outputs,), "bias")
    wide = _flooding(seed, layout.outputs, flooding_log2)
    noise = SingleRecordNoise(
        u=_ternary(seed, layout.ring_degree),
        e0=tuple(_signed(int(low), int(high)) for low, high in wide),
        e1=_binomial(seed, layout.ring_degree),
    )
    body = np.empty((layout.outputs, len(moduli)), dtype=np.uint64)
    mask = np.empty((len(moduli), layout.ring_degree), dtype=np.uint64)
    for limb, q in enumerate(moduli):
        field, ntt = rns.modulus(q), rns.transform(q, layout.ring_degree)
        ephemeral = ntt.forward(field.reduce_i64(noise.u))
        hidden = field.multiply_add(output[1, limb], key[1, limb], ephemeral)
        mask[limb] = field.add(hidden, ntt.forward(field.reduce_i64(noise.e1)))
        first = ntt.inverse(field.multiply_add(output[0, limb], key[0, limb], ephemeral))
        owed = field.add(
            np.ascontiguousarray(first[layout.output_positions]),
            bias_residues(bias, input_scale_log2, q),
        )
        body[:, limb] = field.add(owed, field.reduce_wide(wide))
    return SanitisedRecord(body, mask, noise)


def _stream(seed: bytes, label: bytes, count: int) -> bytes:
    """`count` bytes of ChaCha20 keyed with HMAC-SHA256(seed, label): independent streams."""
    if len(seed) != SEED_BYTES:
        raise ParameterError(f"noise seed: expected {SEED_BYTES} bytes, found {len(seed)}")
    return kernels.chacha_bytes(hmac.digest(seed, b"blindproof/sanitise/" + label, "sha256"), count)


def _ternary(seed: bytes, count: int) -> rns.Integers:
    """Uniform in {-1, 0, 1}, by rejection of the one byte in 256 that would bias the remainder."""
    wanted = count + count // 64 + 64
    while True:
        stream = np.frombuffer(_stream(seed, b"u", wanted), dtype=np.uint8)
        accepted = stream[stream < _TERNARY_BOUND][:count]
        if accepted.size == count:
            return accepted.astype(np.int64) % 3 - 1
        wanted *= 2


def _binomial(seed: bytes, count: int) -> rns.Integers:
    """Centred binomial: heads among 21 coins minus heads among 21 others, so within +-21."""
    words = np.frombuffer(_stream(seed, b"e1", 8 * count), dtype="<u8")
    heads = np.bitwise_count(words & _BINOMIAL_MASK)
    tails = np.bitwise_count((words >> np.uint64(BINOMIAL_COINS)) & _BINOMIAL_MASK)
    difference: rns.Integers = heads.astype(np.int64) - tails.astype(np.int64)
    return difference


def _flooding(seed: bytes, count: int, flooding_log2: int) -> rns.Words:
    """Uniform in [-2^f, 2^f) as two's complement 128-bit words (count, 2): (low, high)."""
    if not 1 <= flooding_log2 <= LARGEST_FLOODING_LOG2:
        raise ParameterError(
            f"flooding must be 2^1..2^{LARGEST_FLOODING_LOG2}, got 2^{flooding_log2}"
        )
    stream = np.frombuffer(_stream(seed, b"e0", 16 * count), dtype="<u8").reshape(count, 2)
    drawn_mask, half = (1 << (flooding_log2 + 1)) - 1, 1 << flooding_log2
    low = stream[:, 0] & _low_word(drawn_mask)
    high = stream[:, 1] & _low_word(drawn_mask >> _WORD_BITS)
    borrow = (low < _low_word(half)).astype(np.uint64)
    # uint64 arithmetic wraps, which is exactly two's complement.
    return np.stack([low - _low_word(half), high - _low_word(half >> _WORD_BITS) - borrow], axis=-1)


def _low_word(value: int) -> np.uint64:
    return np.uint64(value & ((1 << _WORD_BITS) - 1))


def _signed(low: int, high: int) -> int:
    """The integer of one two's complement 128-bit pair."""
    value = low | high << _WORD_BITS
    return value - (1 << 2 * _WORD_BITS) if high >> (_WORD_BITS - 1) else value
