"""Small statements of every proof, true or false, from synthetic words.

A proof works on words whoever made them, so ciphertexts and enrolled keys are uniform words here
and no homomorphic library is needed.  Everything a cheat may choose (weights per limb, noise of any
size) is a residue per limb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

import kernels
from protocol.ciphertexts import SeededCiphertexts
from protocol.families import WEIGHT_BOUND
from protocol.graph import linear_graph
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey, KeyRequest
from protocol.model import Feature, ModelCard, Profile
from protocol.packing import answer_positions, weight_positions
from protocol.parameters import CkksParameters, Mode, Packing, is_prime
from protocol.request import Request
from zk_layers.commitment import commit_model, sample_opening
from zk_layers.fields import field, ntt
from zk_layers.layers.linear import (
    BatchLinearRelation,
    LinearWitness,
    SingleLinearRelation,
    flooding_bits,
)

Words = npt.NDArray[np.uint64]
Residues = tuple[Words, ...]
"""One array of words per limb."""

DEGREE = 8192
BATCH_SCALE, SINGLE_SCALE = 136, 95
BATCH_FLOODING, SINGLE_FLOODING = 92, 78
SERVER_KEY = b"long-term key of a test server"


def largest_primes(bits: int, count: int, degree: int = DEGREE) -> tuple[int, ...]:
    """The largest primes of so many bits that are 1 mod 2 N, descending."""
    found: list[int] = []
    candidate = (1 << bits) + 1 - 2 * degree
    while len(found) < count:
        if is_prime(candidate):
            found.append(candidate)
        candidate -= 2 * degree
    return tuple(found)


MODULI = largest_primes(60, 3)
SPECIAL = largest_primes(34, 1)[0]
BATCH_PARAMETERS = CkksParameters(DEGREE, MODULI, SPECIAL, BATCH_SCALE)
SINGLE_PARAMETERS = CkksParameters(DEGREE, MODULI[:2], MODULI[2], SINGLE_SCALE)


def residues(values: Sequence[int] | npt.NDArray[np.int64], modulus: int) -> Words:
    """Residues of integers of any size, same shape."""
    array = np.asarray(values)
    if array.dtype == np.int64:
        return field(modulus).reduce_i64(np.ascontiguousarray(array))
    flat = [int(value) % modulus for value in array.reshape(-1)]
    return np.array(flat, dtype=np.uint64).reshape(array.shape)


def in_every_limb(
    values: Sequence[int] | npt.NDArray[np.int64], moduli: tuple[int, ...]
) -> Residues:
    """The honest case: residues of the same integers in every limb."""
    return tuple(residues(values, modulus) for modulus in moduli)


def uniform_words(
    rng: np.random.Generator, shape: tuple[int, ...], moduli: tuple[int, ...]
) -> Words:
    """Uniform words (*shape, L, N)."""
    limbs = [rng.integers(0, q, (*shape, DEGREE), dtype=np.uint64) for q in moduli]
    return np.stack(limbs, axis=len(shape))


def wide(values: npt.NDArray[np.object_]) -> Words:
    """Python integers as signed 128-bit pairs (low, high) of words."""
    flat = [int(value) % (1 << 128) for value in values.reshape(-1)]
    pairs = [(value & ((1 << 64) - 1), value >> 64) for value in flat]
    return np.array(pairs, dtype=np.uint64).reshape(*values.shape, 2)


def uniform_integers(rng: np.random.Generator, bits: int, size: int) -> npt.NDArray[np.object_]:
    """Integers uniform in [-2^bits, 2^bits), as Python integers."""
    chunks = -(-(bits + 1) // 32)
    total = np.zeros(size, dtype=object)
    for _ in range(chunks):
        total = (total << 32) + rng.integers(0, 1 << 32, size).astype(object)
    return (total % (1 << (bits + 1))) - (1 << bits)


def make_card(
    integers: npt.NDArray[np.int64],
    opening: npt.NDArray[np.int64],
    *,
    name: str = "test model",
    row_l1_bound: int | None = None,
    commitment: bytes | None = None,
    limit: float = 8.0,
    profiles: tuple[Profile, ...] | None = None,
) -> ModelCard:
    """A private card of integers (J, K + 1)."""
    outputs, columns = integers.shape
    h = commit_model(MODULI[0], integers.reshape(-1), opening).astype("<u8").tobytes()
    return ModelCard(
        name=name,
        version="1",
        purpose="a test",
        mode=Mode.PRIVATE,
        features=tuple(Feature(f"x{k}", -limit, limit, 0.0, 1.0) for k in range(columns - 1)),
        graph=linear_graph(columns - 1, outputs),
        outputs=tuple(f"y{j}" for j in range(outputs)),
        labels=(),
        link="identity",
        unit=1.0,
        row_l1_bounds=(row_l1_bound or columns * WEIGHT_BOUND,) * outputs,
        profiles=profiles
        or (
            Profile(Packing.BATCH, BATCH_PARAMETERS, BATCH_FLOODING),
            Profile(Packing.SINGLE, SINGLE_PARAMETERS, SINGLE_FLOODING),
        ),
        commitment=h if commitment is None else commitment,
        public_weights=(),
    )


def make_ciphertexts(
    rng: np.random.Generator, count: int, moduli: tuple[int, ...]
) -> SeededCiphertexts:
    """Ciphertexts of nothing in particular."""
    seeds = tuple(rng.bytes(64) for _ in range(count))
    return SeededCiphertexts(seeds, uniform_words(rng, (count,), moduli), moduli)


def make_key(rng: np.random.Generator, keys: int) -> EnrolledKey:
    """An enrolled key of uniform words b."""
    request = KeyRequest("client", "server", DEGREE, MODULI, keys)
    return EnrolledKey(request, rng.bytes(32), rng.bytes(32), uniform_words(rng, (keys,), MODULI))


def make_request(
    card: ModelCard, packing: Packing, input_digest: bytes, key_digest: bytes = b"k" * 32
) -> Request:
    """A request with recognisable fields."""
    return Request(
        request_id=b"request number 1",
        nonce=b"a nonce that is used only once.."[:32],
        client_id="client",
        server_id="server",
        card=card,
        packing=packing,
        records=1 if packing is Packing.SINGLE else 100,
        key_digest=key_digest,
        registration_digest=b"r" * 32,
        input_digest=input_digest,
    )


def random_model(
    seed: int, outputs: int, features: int, bound: int = 20_000
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Integers (J, K + 1) and a ternary opening."""
    rng = np.random.default_rng(seed)
    integers = rng.integers(-bound, bound + 1, (outputs, features + 1))
    return integers, sample_opening(rng.bytes(32))


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch answer: statement and secrets.

    Attributes:
        e0: Python integers (J, N).
    """

    request: Request
    ciphertexts: SeededCiphertexts
    enrolled: EnrolledKey
    inputs: Words
    keys: Words
    outputs: Words
    integers: npt.NDArray[np.int64]
    opening: npt.NDArray[np.int64]
    u: npt.NDArray[np.int64]
    e0: npt.NDArray[np.object_]
    e1: npt.NDArray[np.int64]

    @property
    def sent(self) -> RequestInputs:
        """The inputs as they travelled, all encrypted."""
        return RequestInputs.encrypted_only(self.ciphertexts)

    @property
    def moduli(self) -> tuple[int, ...]:
        return MODULI

    @cached_property
    def relation(self) -> BatchLinearRelation:
        return BatchLinearRelation(self.request, self.inputs, self.keys, self.outputs)

    @property
    def secrets(self) -> LinearWitness:
        return LinearWitness(self.integers, self.opening, self.u, wide(self.e0), self.e1)

    @cached_property
    def blocks(self) -> tuple[dict[str, Words], ...]:
        """The committed residues of an honest prover, per limb, masks left out."""
        return limb_blocks(self.integers, self.opening, self.u, self.moduli)

    def answered(
        self,
        weights: Residues | None = None,
        u: Residues | None = None,
        e0: Residues | None = None,
        e1: Residues | None = None,
    ) -> Batch:
        """The same request answered with other residues of weights or noise."""
        moduli = self.moduli
        outputs = sanitised_batch(
            self.inputs,
            self.keys,
            weights=weights or in_every_limb(self.integers, moduli),
            u=u or in_every_limb(self.u, moduli),
            e0=e0 or in_every_limb(self.e0, moduli),
            e1=e1 or in_every_limb(self.e1, moduli),
        )
        return replace(self, outputs=outputs)


@dataclass(frozen=True, eq=False)
class Single:
    """One single-record answer: statement and secrets."""

    request: Request
    ciphertexts: SeededCiphertexts
    enrolled: EnrolledKey
    inputs: Words
    key: Words
    mask: Words
    body: Words
    integers: npt.NDArray[np.int64]
    opening: npt.NDArray[np.int64]
    u: npt.NDArray[np.int64]
    e0: tuple[int, ...]
    e1: npt.NDArray[np.int64]

    @property
    def sent(self) -> RequestInputs:
        """The inputs as they travelled, all encrypted."""
        return RequestInputs.encrypted_only(self.ciphertexts)

    @property
    def moduli(self) -> tuple[int, ...]:
        return MODULI[:2]

    @cached_property
    def relation(self) -> SingleLinearRelation:
        return SingleLinearRelation(self.request, self.inputs, self.key, self.mask, self.body)

    @property
    def secrets(self) -> LinearWitness:
        return LinearWitness(self.integers, self.opening, self.u, self.e0, self.e1)

    @cached_property
    def blocks(self) -> tuple[dict[str, Words], ...]:
        """The committed residues of an honest prover, per limb, masks left out."""
        bits = flooding_bits(self.e0, SINGLE_FLOODING).astype(np.uint64)
        blocks = limb_blocks(self.integers, self.opening, self.u, self.moduli)
        return tuple({**block, "bits": bits} for block in blocks)

    def answered(
        self,
        weights: Residues | None = None,
        u: Residues | None = None,
        e0: Residues | None = None,
        e1: Residues | None = None,
    ) -> Single:
        """The same request answered with other residues of weights or noise."""
        moduli = self.moduli
        mask, body = sanitised_single(
            self.inputs,
            self.key,
            weights=weights or in_every_limb(self.integers, moduli),
            u=u or in_every_limb(self.u, moduli),
            e0=e0 or in_every_limb(np.array(self.e0, dtype=object), moduli),
            e1=e1 or in_every_limb(self.e1, moduli),
        )
        return replace(self, mask=mask, body=body)


def limb_blocks(
    integers: npt.NDArray[np.int64],
    opening: npt.NDArray[np.int64],
    u: npt.NDArray[np.int64],
    moduli: tuple[int, ...],
) -> tuple[dict[str, Words], ...]:
    """weights and u in every limb, the opening in limb 0."""
    blocks = []
    for limb, modulus in enumerate(moduli):
        block = {"weights": residues(integers.reshape(-1), modulus), "u": residues(u, modulus)}
        if limb == 0:
            block["opening"] = residues(opening, modulus)
        blocks.append(block)
    return tuple(blocks)


def sanitised_batch(
    inputs: Words, keys: Words, *, weights: Residues, u: Residues, e0: Residues, e1: Residues
) -> Words:
    """Y' = W X + bias + pk u + e, words (J, 2, L, N), from residues per limb."""
    stacked = np.stack(weights, axis=-1)  # (J, K + 1, L)
    outputs = kernels.linear_words(inputs, np.ascontiguousarray(stacked[:, :-1]), list(MODULI))
    for limb, modulus in enumerate(MODULI):
        arithmetic, transform = field(modulus), ntt(modulus, DEGREE)
        masked, scale = transform.forward(u[limb]), (1 << BATCH_SCALE) % modulus
        for j in range(outputs.shape[0]):
            bias = np.full(DEGREE, int(weights[limb][j, -1]) * scale % modulus, dtype=np.uint64)
            noise = [transform.forward(np.ascontiguousarray(e[limb][j])) for e in (e0, e1)]
            noise[0] = arithmetic.add(noise[0], bias)
            for p in range(2):
                total = arithmetic.add(np.ascontiguousarray(outputs[j, p, limb]), noise[p])
                key = np.ascontiguousarray(keys[j, p, limb])
                outputs[j, p, limb] = arithmetic.multiply_add(total, key, masked)
    return outputs


def sanitised_single(
    inputs: Words, key: Words, *, weights: Residues, u: Residues, e0: Residues, e1: Residues
) -> tuple[Words, Words]:
    """Y'_1, words (L, N), and the owed coefficients of Y'_0, words (J, L)."""
    outputs, columns = weights[0].shape
    index, flipped = weight_positions(outputs, columns - 1, DEGREE)
    positions = answer_positions(outputs, columns - 1)
    limbs = inputs.shape[1]
    mask = np.empty((limbs, DEGREE), dtype=np.uint64)
    body = np.empty((outputs, limbs), dtype=np.uint64)
    for limb, modulus in enumerate(MODULI[:limbs]):
        arithmetic, transform = field(modulus), ntt(modulus, DEGREE)
        row = np.ascontiguousarray(weights[limb][:, :-1])
        polynomial = np.zeros(DEGREE, dtype=np.uint64)
        polynomial[index] = np.where(flipped, arithmetic.neg(row), row)
        weight, masked = transform.forward(polynomial), transform.forward(u[limb])
        phases = []
        for p in range(2):
            product = arithmetic.mul(np.ascontiguousarray(inputs[p, limb]), weight)
            public = np.ascontiguousarray(key[p, limb])
            phases.append(arithmetic.multiply_add(product, public, masked))
        mask[limb] = arithmetic.add(phases[1], transform.forward(e1[limb]))
        coefficients = transform.inverse(phases[0])
        scale = (1 << SINGLE_SCALE) % modulus
        for j, position in enumerate(positions):
            bias = int(weights[limb][j, -1]) * scale
            total = int(coefficients[position]) + bias + int(e0[limb][j])
            body[j, limb] = total % modulus
    return mask, body


def make_batch(outputs: int = 1, features: int = 2, seed: int = 1) -> Batch:
    """An honest batch answer."""
    rng = np.random.default_rng(seed)
    integers, opening = random_model(seed, outputs, features)
    card = make_card(integers, opening)
    ciphertexts, enrolled = make_ciphertexts(rng, features, MODULI), make_key(rng, outputs)
    blank = Batch(
        request=make_request(card, Packing.BATCH, ciphertexts.digest, enrolled.digest),
        ciphertexts=ciphertexts,
        enrolled=enrolled,
        inputs=ciphertexts.words,
        keys=enrolled.pairs(outputs, len(MODULI)),
        outputs=np.empty(0, dtype=np.uint64),
        integers=integers,
        opening=opening,
        u=rng.integers(-1, 2, DEGREE),
        e0=uniform_integers(rng, BATCH_FLOODING, outputs * DEGREE).reshape(outputs, DEGREE),
        e1=rng.integers(-5, 6, (outputs, DEGREE)),
    )
    return blank.answered()


def make_single(outputs: int = 1, features: int = 3, seed: int = 2) -> Single:
    """An honest single-record answer."""
    rng = np.random.default_rng(seed)
    integers, opening = random_model(seed, outputs, features)
    card = make_card(integers, opening)
    ciphertexts, enrolled = make_ciphertexts(rng, 1, MODULI[:2]), make_key(rng, 1)
    empty = np.empty(0, dtype=np.uint64)
    blank = Single(
        request=make_request(card, Packing.SINGLE, ciphertexts.digest, enrolled.digest),
        ciphertexts=ciphertexts,
        enrolled=enrolled,
        inputs=ciphertexts.words[0],
        key=enrolled.pairs(1, 2)[0],
        mask=empty,
        body=empty,
        integers=integers,
        opening=opening,
        u=rng.integers(-1, 2, DEGREE),
        e0=tuple(int(x) for x in uniform_integers(rng, SINGLE_FLOODING, outputs)),
        e1=rng.integers(-5, 6, DEGREE),
    )
    return blank.answered()
