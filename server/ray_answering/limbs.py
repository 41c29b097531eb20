"""Shares of an evaluation: every prime by itself.

Evaluation multiplies and adds residues modulo each prime of the chain and never leaves it: what is
rescaled is rescaled after it (`fhe_layers.sanitise`).  So shares evaluated anywhere, laid side by
side, are the words which one evaluation gives, bit for bit.

Symbols: K inputs, J outputs, t polynomials of a tensor, L limbs, n = N; words
`(unit, poly, limb, n)`, NTT domain.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fhe_layers.network import Evaluation, evaluate_network
from fhe_layers.network_cost import predict_cost
from protocol.digests import Words
from protocol.encoding import Value, decode, encode, expect_bytes, expect_int, expect_tuple
from protocol.errors import EncodingError
from protocol.model import ModelCard
from protocol.parameters import Packing
from server.jobs import Job
from server.networks import tensors_kept
from wire.framing import WORD_BYTES

MOVED_BYTES_PER_SECOND = 4 << 28
"""What a cluster moves between two nodes, about: ten gigabits a second."""
LEAST_GAIN_SECONDS = 0.25
"""Of what is not worth the trouble."""


@dataclass(frozen=True)
class Share:
    """Some of the limbs: from `first` to before `end`.

    Raises:
        EncodingError: there are none.
    """

    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end:
            raise EncodingError(f"no limbs from {self.first} to {self.end}")


def shares_of(limbs: int, workers: int) -> tuple[Share, ...]:
    """All limbs in shares as equal as can be, one for each worker, none of them empty."""
    count = max(1, min(limbs, workers))
    bounds = [limbs * index // count for index in range(count + 1)]
    return tuple(itertools.starmap(Share, itertools.pairwise(bounds)))


def shares_worth(card: ModelCard, packing: Packing, workers: int) -> tuple[Share, ...]:
    """In how many shares an evaluation is best done by workers who are idle; one is a whole.

    Only networks evaluate for long.  What is gained is the time of the other shares; what it costs
    is to move their words, and that every worker expands the ciphertexts' seeds.
    """
    parameters = card.profile(packing).parameters
    whole = shares_of(len(parameters.moduli), 1)
    shares = shares_of(len(parameters.moduli), workers)
    if card.linear or packing is not Packing.BATCH or len(shares) == 1:
        return whole
    tensors = card.graph.tensors(parameters.input_scale_log2)
    moved = (*tensors_kept(card, packing), len(card.graph.layers))
    polynomials = sum(tensors[index].units * tensors[index].polys for index in moved)
    moved_bytes = WORD_BYTES * polynomials * len(parameters.moduli) * parameters.ring_degree
    seconds = predict_cost(card.graph, card.profile(packing)).evaluate_seconds
    gained = seconds * (1 - 1 / len(shares)) - moved_bytes / MOVED_BYTES_PER_SECOND
    return shares if gained >= LEAST_GAIN_SECONDS else whole


def evaluate_share(job: Job, share: Share) -> Evaluation:
    """Outputs (J, t, share, N) of a network's batch, and the tensors its proof starts from.

    Raises:
        EncodingError: the parameters have no such limbs.
    """
    parameters = job.profile.parameters
    if share.end > len(parameters.moduli):
        raise EncodingError(f"no limb {share.end - 1} among {len(parameters.moduli)}")
    limbs = slice(share.first, share.end)
    return evaluate_network(
        job.bundle.card.graph,
        job.bundle.integers,
        np.ascontiguousarray(job.inputs.words[:, :, limbs]),
        input_scale_log2=parameters.input_scale_log2,
        moduli=parameters.moduli[limbs],
        keep=tensors_kept(job.bundle.card, job.request.packing),
    )


def encode_share(evaluated: Evaluation) -> bytes:
    """A share as it travels: its outputs, then what is kept by index."""
    kept = tuple((index, _tensor_value(words)) for index, words in evaluated.kept.items())
    return encode((_tensor_value(evaluated.outputs), kept))


def decode_share(data: bytes) -> Evaluation:
    """Rebuild a share.

    Raises:
        EncodingError: it is none.
    """
    outputs, entries = expect_tuple(decode(data), "share", 2)
    kept = {}
    for entry in expect_tuple(entries, "kept tensors"):
        index, words = expect_tuple(entry, "kept tensor", 2)
        kept[expect_int(index, "index")] = _tensor_of(words)
    return Evaluation(_tensor_of(outputs), kept)


def joined(job: Job, shares: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of which these are all shares, in their order.

    Raises:
        EncodingError: they are not, as far as shapes tell.
    """
    limbs = len(job.profile.parameters.moduli)
    kept = tensors_kept(job.bundle.card, job.request.packing)
    if not shares or any(set(share.kept) != set(kept) for share in shares):
        raise EncodingError("shares of other tensors than the proof starts from")
    try:
        outputs = np.concatenate([share.outputs for share in shares], axis=2)
        tensors = {i: np.concatenate([share.kept[i] for share in shares], axis=2) for i in kept}
    except ValueError as error:
        raise EncodingError("shares that do not fit together") from error
    found = {words.shape[2] for words in (outputs, *tensors.values())}
    if found != {limbs}:
        raise EncodingError(f"shares of {sorted(found)} limbs, expected {limbs}")
    return Evaluation(outputs, tensors)


def _tensor_value(words: Words) -> Value:
    return words.shape, words.astype("<u8", copy=False).tobytes()


def _tensor_of(value: Value) -> Words:
    """Words (units, polys, limbs, n).  Raises EncodingError."""
    shape, data = expect_tuple(value, "tensor", 2)
    sizes = tuple(expect_int(size, "size") for size in expect_tuple(shape, "shape", 4))
    if min(sizes) < 1:
        raise EncodingError(f"tensor of shape {sizes}")
    found = expect_bytes(data, "words", WORD_BYTES * math.prod(sizes))
    return np.frombuffer(found, dtype="<u8").reshape(sizes)
