"""Small networks with answers of any kind, true or false, from synthetic words.

As in `scenario`: ciphertexts and keys are uniform words, and whatever a cheat may choose is a
residue per limb.  Evaluation here is plain arithmetic limb by limb, so that weights, noise and any
tensor may differ between limbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from protocol.ciphertexts import SeededCiphertexts
from protocol.families import WEIGHT_BOUND
from protocol.graph import Dense, Graph, square
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey, KeyRequest
from protocol.layers import PrivateSelection
from protocol.model import Feature, ModelCard, Profile
from protocol.nodes import Affine, Node, Power
from protocol.parameters import CkksParameters, Mode, Packing
from protocol.request import Request
from tests.adversarial.scenario import (
    DEGREE,
    MODULI,
    SERVER_KEY,
    SPECIAL,
    Residues,
    in_every_limb,
    largest_primes,
    limb_blocks,
    make_ciphertexts,
    make_request,
)
from zk_layers.commitment import commit_model, sample_opening
from zk_layers.fields import field, ntt
from zk_layers.network import NetworkRelation, NetworkWitness
from zk_layers.prove import prove_network, prove_public_network
from zk_layers.public_network import PublicNetwork
from zk_layers.reduction.speaker import kept_tensors

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Tampering = Callable[[int, int, list[Words]], Words]
"""(limb, tensor, tensors so far, the tensor's true words last) to the words (units, polys, N)."""

INPUT_SCALE, SMALL_SCALE = 60, 54
FLOODING = 60


@dataclass(frozen=True)
class Ring:
    """N, data primes and special prime."""

    degree: int
    moduli: tuple[int, ...]
    special: int


SMALL_RING = Ring(DEGREE, MODULI, SPECIAL)


@cache
def large_ring() -> Ring:
    """N = 16384 and six data primes."""
    degree = 2 * DEGREE
    moduli, special = largest_primes(60, 6, degree), largest_primes(34, 1, degree)[0]
    return Ring(degree, moduli, special)


def evaluated(
    nodes: Sequence[Node],
    weights: Words,
    inputs: Words,
    modulus: int,
    tamper: Callable[[int, list[Words]], Words] | None = None,
) -> list[Words]:
    """Every tensor of one limb, words (units, polys, N), from residues of the integers."""
    tensors = [np.ascontiguousarray(inputs)]
    for index, node in enumerate(nodes):
        if isinstance(node, Affine):
            words = _affine(node, weights, tensors, modulus)
        elif isinstance(node, Power):
            words = _power(node, tensors[node.source], modulus)
        else:
            words = _multiplied(tensors[node.left], tensors[node.right], modulus)
        if tamper is not None:
            words = tamper(index + 1, [*tensors, words])
        tensors.append(np.ascontiguousarray(words))
    return tensors


def _affine(node: Affine, weights: Words, tensors: Sequence[Words], modulus: int) -> Words:
    arithmetic = field(modulus)
    polys = max(tensors[source].shape[1] for source in node.sources)
    out = np.zeros((node.units, polys, tensors[0].shape[-1]), dtype=np.uint64)
    for term in node.terms:
        source = tensors[term.source]
        size = source.shape[1]
        for entry, (row, column) in enumerate(zip(term.outputs, term.inputs, strict=True)):
            factor = 1 if term.weights is None else int(weights[term.weights[entry]])
            scaled = arithmetic.scale(source[column], factor * term.factor)
            out[row, :size] = arithmetic.add(out[row, :size].copy(), scaled)
    if node.bias is not None:
        for row, index in enumerate(node.bias):
            bias = int(weights[index]) * node.bias_factor % modulus
            constant = np.full(out.shape[-1], bias, dtype=np.uint64)
            out[row, 0] = arithmetic.add(out[row, 0].copy(), constant)
    return out


def _power(node: Power, source: Words, modulus: int) -> Words:
    arithmetic = field(modulus)
    units, polys, degree = source.shape
    out = np.zeros((units, node.degree * (polys - 1) + 1, degree), dtype=np.uint64)
    out[:, 0] = node.coefficients[0] % modulus
    power = source
    for exponent, coefficient in enumerate(node.coefficients[1:], start=1):
        if exponent > 1:
            power = _multiplied(power, source, modulus)
        size = power.shape[1]
        scaled = arithmetic.scale(power, coefficient)
        out[:, :size] = arithmetic.add(out[:, :size].copy(), scaled)
    return out


def _multiplied(a: Words, b: Words, modulus: int) -> Words:
    """Unit by unit, as polynomials in the secret key."""
    arithmetic = field(modulus)
    out = np.zeros((a.shape[0], a.shape[1] + b.shape[1] - 1, a.shape[2]), dtype=np.uint64)
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            first, second = np.ascontiguousarray(a[:, i]), np.ascontiguousarray(b[:, j])
            out[:, i + j] = arithmetic.multiply_add(out[:, i + j].copy(), first, second)
    return out


def random_integers(graph: Graph, seed: int) -> Ints:
    """Weights of any sign; a selection's rows choose one input each."""
    rng = np.random.default_rng(seed)
    parts = []
    for matrix in graph.matrices:
        if isinstance(graph.layers[matrix.layer], PrivateSelection):
            rows = np.eye(matrix.columns, dtype=np.int64)
            parts.append(rows[rng.integers(0, matrix.columns, matrix.rows)])
        else:
            parts.append(rng.integers(-8000, 8001, (matrix.rows, matrix.width)))
    return np.concatenate([part.reshape(-1) for part in parts])


def network_card(
    graph: Graph,
    integers: Ints,
    opening: Ints,
    *,
    dropped_limbs: int = 0,
    mode: Mode = Mode.PRIVATE,
    scale: int = INPUT_SCALE,
    ring: Ring = SMALL_RING,
) -> ModelCard:
    """A card with a batch profile only."""
    parameters = CkksParameters(ring.degree, ring.moduli, ring.special, scale)
    private = mode is Mode.PRIVATE
    rows = [
        tuple(int(x) for x in integers[start : start + matrix.width])
        for matrix in graph.matrices
        for start in range(matrix.offset, matrix.offset + matrix.size, matrix.width)
    ]
    bounds = [
        1 if isinstance(graph.layers[matrix.layer], PrivateSelection) else 1 << 17
        for matrix in graph.matrices
        for _ in range(matrix.rows)
    ]
    h = commit_model(parameters.moduli[0], integers, opening).astype("<u8").tobytes()
    return ModelCard(
        name="test network",
        version="1",
        purpose="a test",
        mode=mode,
        features=tuple(Feature(f"x{k}", -1.0, 1.0, 0.0, 1.0) for k in range(graph.inputs)),
        graph=graph,
        outputs=tuple(f"y{j}" for j in range(graph.outputs_count)),
        labels=(),
        link="identity",
        unit=1.0,
        row_l1_bounds=tuple(bounds),
        profiles=(
            Profile(Packing.BATCH, parameters, FLOODING if private else None, dropped_limbs, 8),
        ),
        commitment=h if private else b"",
        public_weights=() if private else tuple(rows),
    )


@dataclass(frozen=True, eq=False)
class Network:
    """One private answer: statement and secrets.

    Attributes:
        errors: per power Python integers (J, N), in kept units.
        rounding: per power Python integers (J, N) with |r| <= P / 2; zeros without dropped limbs.
    """

    request: Request
    ciphertexts: SeededCiphertexts
    enrolled: EnrolledKey
    inputs: Words
    keys: Words
    outputs: Words
    integers: Ints
    opening: Ints
    u: Ints
    errors: tuple[npt.NDArray[np.object_], ...]
    rounding: tuple[npt.NDArray[np.object_], ...] = ()

    @property
    def sent(self) -> RequestInputs:
        """The inputs as they travelled, all encrypted."""
        return RequestInputs.encrypted_only(self.ciphertexts)

    @property
    def card(self) -> ModelCard:
        return self.request.card

    @property
    def graph(self) -> Graph:
        return self.card.graph

    @property
    def moduli(self) -> tuple[int, ...]:
        return self.card.profile(Packing.BATCH).parameters.moduli

    @property
    def degree(self) -> int:
        return self.inputs.shape[-1]

    @property
    def kept(self) -> int:
        return len(self.card.profile(Packing.BATCH).kept_moduli)

    @property
    def dropped_modulus(self) -> int:
        return math.prod(self.moduli[self.kept :])

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.graph.nodes(self.card.profile(Packing.BATCH).parameters.input_scale_log2)

    @cached_property
    def relation(self) -> NetworkRelation:
        return NetworkRelation(self.request, self.inputs, self.keys, self.outputs)

    @cached_property
    def blocks(self) -> tuple[dict[str, Words], ...]:
        """The committed residues of an honest prover, masks and pads left out."""
        blocks = limb_blocks(self.integers, self.opening, self.u, self.moduli)
        for block in blocks[self.kept :]:
            del block["u"]
        return blocks

    def tensors(self, tamper: Tampering | None = None) -> list[Words]:
        """Every tensor, words (units, polys, L, N), of the honest integers."""
        limbs = [
            evaluated(
                self.nodes,
                field(modulus).reduce_i64(self.integers),
                self.inputs[:, :, limb],
                modulus,
                None if tamper is None else lambda i, t, at=limb: tamper(at, i, t),
            )
            for limb, modulus in enumerate(self.moduli)
        ]
        return [np.stack(words, axis=2) for words in zip(*limbs, strict=True)]

    @property
    def secrets(self) -> NetworkWitness:
        tensors = self.tensors()
        scale = self.card.profile(Packing.BATCH).parameters.input_scale_log2
        kept = kept_tensors(self.graph, scale, hidden=True)
        errors = []
        for rounding, error in zip(self.rounding, self.errors, strict=True):
            whole = error.reshape(-1).astype(np.int64)
            pieces = [(self.dropped_modulus, whole)]
            if self.dropped_modulus > 1:
                high, low = rounding.reshape(-1) // (1 << 60), rounding.reshape(-1) % (1 << 60)
                pieces += [(1 << 60, high.astype(np.int64)), (1, low.astype(np.int64))]
            errors.append(tuple(pieces))
        named = {index: tensors[index] for index in kept}
        return NetworkWitness(self.integers, self.opening, self.u, tuple(errors), named)

    def answered(
        self,
        *,
        weights: Residues | None = None,
        u: Residues | None = None,
        errors: Mapping[int, Residues] | None = None,
        tamper: Tampering | None = None,
    ) -> Network:
        """The same request answered with other residues, or with tensors tampered with."""
        moduli, kept, dropped = self.moduli, self.kept, self.dropped_modulus
        weights = weights or in_every_limb(self.integers, moduli)
        u = u or in_every_limb(self.u, moduli)
        honest = {i: in_every_limb(e, moduli) for i, e in enumerate(self.errors)}
        chosen = {**honest, **(errors or {})}
        bare = [
            evaluated(
                self.nodes,
                weights[limb],
                self.inputs[:, :, limb],
                modulus,
                None if tamper is None else lambda i, t, at=limb: tamper(at, i, t),
            )[-1]
            for limb, modulus in enumerate(moduli)
        ]
        rounding = self._rounding(bare)
        count, polys = bare[0].shape[:2]
        outputs = np.empty((count, polys, kept, self.degree), dtype=np.uint64)
        for limb, modulus in enumerate(moduli[:kept]):
            arithmetic, transform = field(modulus), ntt(modulus, self.degree)
            hidden = transform.forward(u[limb])
            inverse = pow(dropped, -1, modulus)
            for j in range(count):
                for i in range(polys):
                    words = bare[limb][j, i]
                    if dropped > 1:
                        rounded = _residues(rounding[i][j], modulus)
                        words = arithmetic.add(words.copy(), transform.forward(rounded))
                        words = arithmetic.scale(words, inverse)
                    noise = transform.forward(np.ascontiguousarray(chosen[i][limb][j]))
                    words = arithmetic.add(words.copy(), noise)
                    for at, poly in ((i, 0), (i - 1, 1)):
                        if 0 <= at < polys - 1:
                            key = np.ascontiguousarray(self.keys[j * (polys - 1) + at, poly, limb])
                            words = arithmetic.multiply_add(words, key, hidden)
                    outputs[j, i, limb] = words
        return replace(self, outputs=outputs, rounding=rounding)

    def _rounding(self, bare: Sequence[Words]) -> tuple[npt.NDArray[np.object_], ...]:
        """r = -Y mod P, centred: what makes Y + r a multiple of P."""
        count, polys = bare[0].shape[:2]
        product, rounding = self.dropped_modulus, []
        for i in range(polys):
            rows = np.zeros((count, self.degree), dtype=object)
            for j in range(count):
                for modulus, words in zip(self.moduli[self.kept :], bare[self.kept :], strict=True):
                    part = product // modulus
                    coefficients = ntt(modulus, self.degree).inverse(words[j, i].copy())
                    rows[j] -= coefficients.astype(object) * (part * pow(part, -1, modulus))
            rows %= product
            rounding.append(np.where(rows > product // 2, rows - product, rows))
        return tuple(rounding)


def _residues(values: npt.NDArray[np.object_], modulus: int) -> Words:
    return (values % modulus).astype(np.uint64)


def make_network(
    graph: Graph,
    *,
    seed: int = 1,
    dropped_limbs: int = 0,
    scale: int = INPUT_SCALE,
    ring: Ring = SMALL_RING,
) -> Network:
    """An honest answer of a private network."""
    rng = np.random.default_rng(seed)
    degree, moduli = ring.degree, ring.moduli

    def uniform(count: int) -> Words:
        limbs = [rng.integers(0, q, (count, degree), dtype=np.uint64) for q in moduli]
        return np.stack(limbs, axis=1)

    integers, opening = random_integers(graph, seed), sample_opening(rng.bytes(32))
    card = network_card(
        graph, integers, opening, dropped_limbs=dropped_limbs, scale=scale, ring=ring
    )
    seeds = tuple(rng.bytes(64) for _ in range(graph.inputs))
    ciphertexts = SeededCiphertexts(seeds, uniform(graph.inputs), moduli)
    keys = KeyRequest("client", "server", degree, moduli, card.keys_needed)
    enrolled = EnrolledKey(keys, rng.bytes(32), rng.bytes(32), uniform(card.keys_needed))
    count = graph.outputs_count
    small = [rng.integers(-5, 6, (count, degree)) for _ in range(graph.output_polys - 1)]
    flood = rng.integers(-(1 << FLOODING), 1 << FLOODING, (count, degree))
    blank = Network(
        request=make_request(card, Packing.BATCH, ciphertexts.digest, enrolled.digest),
        ciphertexts=ciphertexts,
        enrolled=enrolled,
        inputs=ciphertexts.words,
        keys=enrolled.pairs(card.keys_needed, len(moduli)),
        outputs=np.empty(0, dtype=np.uint64),
        integers=integers,
        opening=opening,
        u=rng.integers(-1, 2, degree),
        errors=tuple(error.astype(object) for error in (flood, *small)),
    )
    return blank.answered()


@dataclass(frozen=True, eq=False)
class PublicAnswer:
    """One public answer."""

    request: Request
    inputs: Words
    outputs: Words
    tensors: tuple[Words, ...]

    @property
    def statement(self) -> PublicNetwork:
        return PublicNetwork(self.request, self.inputs, self.outputs)

    @property
    def proof(self) -> bytes:
        return prove_public_network(self.statement, dict(enumerate(self.tensors)))


def make_public(
    graph: Graph, *, seed: int = 1, scale: int = INPUT_SCALE, tamper: Tampering | None = None
) -> PublicAnswer:
    """An answer of a public network, its tensors tampered with if wished."""
    rng = np.random.default_rng(seed)
    integers = random_integers(graph, seed)
    opening = sample_opening(bytes(32))
    card = network_card(graph, integers, opening, mode=Mode.PUBLIC, scale=scale)
    ciphertexts = make_ciphertexts(rng, graph.inputs, MODULI)
    limbs = [
        evaluated(
            graph.nodes(scale),
            field(modulus).reduce_i64(integers),
            ciphertexts.words[:, :, limb],
            modulus,
            None if tamper is None else lambda i, t, at=limb: tamper(at, i, t),
        )
        for limb, modulus in enumerate(MODULI)
    ]
    tensors = tuple(np.stack(words, axis=2) for words in zip(*limbs, strict=True))
    request = make_request(card, Packing.BATCH, ciphertexts.digest)
    return PublicAnswer(request, ciphertexts.words, tensors[-1], tensors)


ONE_OUTPUT = Graph(3, (Dense(0, 4), square(1), Dense(2, 1)))
TWO_OUTPUTS = Graph(3, (Dense(0, 4), square(1), Dense(2, 2)))
MERGED = Graph(3, (Dense(0, 4), square(1), Dense(2, 2), Dense(3, 1)))


@cache
def one_output() -> Network:
    """3-4-1 with a square."""
    return make_network(ONE_OUTPUT)


@cache
def two_outputs() -> Network:
    """3-4-2 with a square."""
    return make_network(TWO_OUTPUTS, seed=2)


@cache
def merged() -> Network:
    """Two dense layers in a row: a hidden claim meets a hidden matrix."""
    return make_network(MERGED, seed=3, scale=SMALL_SCALE)


@cache
def rescaled() -> Network:
    """3-4-2 with a square, one limb dropped at the output."""
    return make_network(TWO_OUTPUTS, seed=4, dropped_limbs=1)


@cache
def two_squares() -> Network:
    """3-2-2-1 with two squares at N = 16384, two of six limbs dropped at the output."""
    layers = (Dense(0, 2), square(1), Dense(2, 2), square(3), Dense(4, 1))
    return make_network(Graph(3, layers), seed=5, dropped_limbs=2, scale=58, ring=large_ring())


@cache
def network_proof(make: Callable[[], Network]) -> bytes:
    """The honest proof of one of the answers above."""
    answer = make()
    return prove_network(answer.relation, answer.secrets, SERVER_KEY)


def moved(words: Words, index: tuple[int, ...], modulus: int, by: int = 1) -> Words:
    """Words with one of them moved."""
    changed = words.copy()
    changed[index] = (int(changed[index]) + by) % modulus
    return changed


def with_outputs(answer: Network, outputs: Words) -> Network:
    """The same request with other output words."""
    return replace(answer, outputs=outputs)


def weights_moved(answer: Network, index: int, by: int, limbs: Sequence[int]) -> Residues:
    """Residues of the integers, one of them moved in some limbs."""
    changed = answer.integers.copy()
    changed[index] += by
    if abs(changed[index]) > WEIGHT_BOUND:
        raise ValueError("the moved weight is out of range")
    return tuple(
        field(modulus).reduce_i64(changed if limb in limbs else answer.integers)
        for limb, modulus in enumerate(answer.moduli)
    )
