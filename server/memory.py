"""How much memory the words of a call take, and a bound on what all calls hold together.

A linear model's call holds a few megabytes, a deep network's hundreds: their number alone says
little, so calls reserve their bytes before any are received.

Symbols: L limbs, N ring degree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from protocol.keys import KeyRequest
from protocol.model import ModelCard
from protocol.parameters import Packing
from server.networks import tensors_kept
from server.refusals import Refusal
from wire.framing import WORD_BYTES
from wire.inference import input_ciphertexts, output_shapes
from wire.rpc import Reason

_COPIES_OF_INPUTS = 3
"""c_0 as received, and both polynomials once expanded."""
_COPIES_OF_OUTPUTS = 3
"""Bare, sanitised, and as messages."""
_COPIES_OF_KEYS = 2
"""b as received, and a once expanded."""


class MemoryBudget:
    """Bytes that calls may hold at once.  For one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold so many bytes while the context lasts.

        Raises:
            Refusal: more than there ever is (request-refused), or than is left now (busy).
        """
        if count > self._limit:
            raise Refusal(
                Reason.REQUEST_REFUSED,
                f"a call of this size takes {count >> 20} MiB, this server allows "
                f"{self._limit >> 20} MiB",
            )
        if self._held + count > self._limit:
            raise Refusal(Reason.BUSY, "this server is busy: try again later")
        self._held += count
        try:
            yield
        finally:
            self._held -= count


def inference_bytes(card: ModelCard, packing: Packing) -> int:
    """Words of one request: inputs, outputs, and the tensors its proof starts from."""
    parameters = card.profile(packing).parameters
    polynomial = len(parameters.moduli) * parameters.ring_degree
    words = _COPIES_OF_INPUTS * input_ciphertexts(card, packing) * polynomial
    words += _COPIES_OF_OUTPUTS * sum(map(math.prod, output_shapes(card, packing)))
    if not card.linear:
        tensors = card.graph.tensors(parameters.input_scale_log2)
        kept = (tensors[index] for index in tensors_kept(card, packing))
        words += polynomial * sum(tensor.units * tensor.polys for tensor in kept)
    return WORD_BYTES * words


def enrolment_bytes(request: KeyRequest) -> int:
    """Words of the public keys of one enrolment."""
    return WORD_BYTES * _COPIES_OF_KEYS * request.keys * len(request.moduli) * request.ring_degree
