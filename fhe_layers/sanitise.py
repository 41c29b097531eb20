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

An output of a network is a polynomial in S of t coefficients (S stands for the secret key), and is
hidden as one, with an enrolled key for each (output j, power i < t - 1) and one error e_i a power:

    Y'(S) = Y(S) + sum_i (b_ji + a_ji S) u S^i + sum_i e_i S^i

It may be rescaled first, by the product P of the last limbs, which saves their words: then Y is
replaced by (Y - [Y mod P]) / P, and the noise is drawn in the units of what is kept, so that it
floods the rounding too, which depends on the model.

All noise comes from one 32-byte seed, which the server derives with a secret PRF from everything
that determines Y: the same request repeated gets the same noise, so repetition averages nothing
away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fhe_layers import rns, sampling
from fhe_layers.layers.linear import bias_residues, require_integers
from fhe_layers.packing import SingleRecordLayout
from protocol.errors import ParameterError, ShapeError

_WORD_BITS = 64

Pieces: TypeAlias = tuple[tuple[int, rns.Integers], ...]
"""Long integers as sum_k factor_k values_k, int64 values: what a proof can project exactly."""


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


@dataclass(frozen=True, eq=False, repr=False)
class NetworkNoise:
    """The integers behind a sanitised answer of a network; part of the prover's witness.

    Attributes:
        u: int64 (N,), ternary.
        errors: for each power i of S, the integers (J * N,) of the identity

                P Y''_ji = Y_ji + P (b_ji u + a_j(i-1) u) + error_ji   mod Q

            in coefficients: P times the drawn noise minus the centred [Y mod P].
    """

    u: rns.Integers
    errors: tuple[Pieces, ...]


@dataclass(frozen=True, eq=False, repr=False)
class SanitisedNetwork:
    """What leaves the server, (J, t, L', n) NTT words over the kept limbs, and what stays."""

    outputs: rns.Words
    noise: NetworkNoise


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
        u=sampling.ternary(seed, degree),
        e0=sampling.flooding(seed, count * degree, flooding_log2).reshape(count, degree, 2),
        e1=sampling.binomial(seed, b"e1", count * degree).reshape(count, degree),
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
    wide = sampling.flooding(seed, layout.outputs, flooding_log2)
    noise = SingleRecordNoise(
        u=sampling.ternary(seed, layout.ring_degree),
        e0=tuple(_signed(int(low), int(high)) for low, high in wide),
        e1=sampling.binomial(seed, b"e1", layout.ring_degree),
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


def sanitise_network(
    outputs: rns.Words,
    keys: rns.Words,
    seed: bytes,
    *,
    flooding_log2: int,
    dropped_limbs: int,
    moduli: Sequence[int],
) -> SanitisedNetwork:
    """Rescale by the last `dropped_limbs` primes and hide: (J, t, L, n) to (J, t, L', n).

    keys (J (t - 1), 2, L, n): the one of output j and power i is number j (t - 1) + i. e_0 is
    uniform in [-2^f, 2^f), the others are centred binomial. Raises ShapeError, ParameterError.
    """
    if outputs.ndim != 4 or outputs.shape[1] < 2:
        raise ShapeError(f"outputs: expected (J, t, L, n), found {outputs.shape}")
    count, polys, limbs, degree = outputs.shape
    rns.require_shape(outputs, (count, polys, len(moduli), degree), "outputs")
    rns.require_shape(keys, (count * (polys - 1), 2, limbs, degree), "keys")
    if not 0 <= dropped_limbs < limbs:
        raise ParameterError(f"cannot drop {dropped_limbs} of {limbs} limbs")
    kept, dropped = moduli[: limbs - dropped_limbs], moduli[limbs - dropped_limbs :]
    divisor, ephemeral = math.prod(dropped), sampling.ternary(seed, degree)
    drawn: list[Pieces] = [sampling.wide_uniform(seed, b"e0", count * degree, flooding_log2)]
    drawn += [
        ((1, sampling.binomial(seed, b"e%d" % power, count * degree)),) for power in range(1, polys)
    ]
    errors = tuple(
        (*_rounding(outputs[:, power], dropped), *((divisor * f, values) for f, values in noise))
        for power, noise in enumerate(drawn)
    )
    sanitised = np.empty((count, polys, len(kept), degree), dtype=np.uint64)
    pairs = keys.reshape(count, polys - 1, 2, limbs, degree)
    for limb, q in enumerate(kept):
        field, ntt = rns.modulus(q), rns.transform(q, degree)
        hiding = ntt.forward(field.reduce_i64(ephemeral))
        inverse = pow(divisor, -1, q)
        for power, pieces in enumerate(errors):
            # Noise and rounding together are one transform and, if P > 1, one division.
            error = ntt.forward(_residues(pieces, q).reshape(count, degree))
            answer = field.add(np.ascontiguousarray(outputs[:, power, limb]), error)
            if dropped:
                answer = field.scale(answer, inverse)
            for j in range(count):
                row = answer[j]
                for key in _key_polynomials(pairs[j, :, :, limb], power):
                    row = field.multiply_add(row, key, hiding)
                sanitised[j, power, limb] = row
    return SanitisedNetwork(sanitised, NetworkNoise(ephemeral, errors))


def _rounding(words: rns.Words, dropped: Sequence[int]) -> Iterator[tuple[int, rns.Integers]]:
    """-[Y mod P], centred, in coefficients, as pieces: of outputs (J, L, n), (J * n,) each."""
    if not dropped:
        return
    first = words.shape[1] - len(dropped)
    coefficients = np.stack(
        [
            rns.transform(q, words.shape[-1]).inverse(np.ascontiguousarray(words[:, first + limb]))
            for limb, q in enumerate(dropped)
        ]
    )
    radix = 1
    for q, digit in zip(dropped, rns.centred_digits(coefficients, dropped), strict=True):
        yield radix, -digit.reshape(-1)
        radix *= q


def _residues(pieces: Pieces, modulus: int) -> rns.Words:
    """sum_k factor_k values_k mod q."""
    field = rns.modulus(modulus)
    (unit, values), *others = pieces
    total = field.reduce_i64(values)
    if unit != 1:
        total = field.scale(total, unit)
    for factor, values in others:
        total = field.add(total, field.scale(field.reduce_i64(values), factor))
    return total


def _key_polynomials(pairs: rns.Words, power: int) -> Iterator[rns.Words]:
    """What multiplies u S^power: b of this power's key, a of the one before; pairs (t-1, 2, n)."""
    if power < len(pairs):
        yield pairs[power, 0]
    if power > 0:
        yield pairs[power - 1, 1]


def _signed(low: int, high: int) -> int:
    """The integer of one two's complement 128-bit pair."""
    value = low | high << _WORD_BITS
    return value - (1 << 2 * _WORD_BITS) if high >> (_WORD_BITS - 1) else value
