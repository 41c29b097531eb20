"""How much memory the words of a call take.

A linear model's call holds a few megabytes, a deep network's hundreds: their number alone says
little, so calls reserve their bytes before any are received (`server.admission`).

Symbols: L limbs, N ring degree.
"""

from __future__ import annotations

import math

from protocol.families import BINARY_PROJECTIONS, OPENING_SIZE
from protocol.keys import KeyRequest
from protocol.model import ModelCard
from protocol.parameters import LINEAR_CODE, NETWORK_CODE, QUADRATIC_CODE, Mode, Packing
from server.jobs import keys_used
from server.networks import pads_committed, polynomials_copied, tensors_kept
from wire.framing import WORD_BYTES
from wire.inference import input_ciphertexts, input_words, output_shapes

_COPIES_OF_OUTPUTS = 4
"""Bare, sanitised, as messages, and as one object for the archive."""
_COPIES_OF_REQUEST = 2
"""As messages, and as one object for the archive."""
_COPIES_OF_SEALED_REQUEST = 3
"""That object, what it is sealed to, and the same as it is written."""
_COPIES_OF_KEYS = 5
"""b as received, a once expanded; b three times while it is made into one object."""
_COPIES_OF_PAIRS = 4
"""(b, a) stacked for the sanitiser, and again for the proof."""
_LINEAR_FAMILIES = 4
_SPARE_ROWS = 10
"""Of a limb: at most four blocks start a row of their own, and six rows blind the tests."""


def inference_bytes(card: ModelCard, packing: Packing) -> int:
    """Words of one request.

    Inputs as words and as they are archived, outputs and, as far as the model has them, the key
    pairs that hide the outputs, the tensors the proof starts from, those it copies for a step, and
    the proof's codewords.
    """
    parameters = card.profile(packing).parameters
    polynomial = len(parameters.moduli) * parameters.ring_degree
    words = input_words(card, packing) + _archived_words(card, packing)
    words += _COPIES_OF_OUTPUTS * sum(map(math.prod, output_shapes(card, packing)))
    if card.mode is Mode.PRIVATE:
        words += _COPIES_OF_PAIRS * keys_used(card, packing) * polynomial
    words += codeword_words(card, packing)
    if not card.linear:
        tensors = card.graph.tensors(parameters.input_scale_log2)
        kept = (tensors[index] for index in tensors_kept(card, packing))
        words += polynomial * sum(tensor.units * tensor.polys for tensor in kept)
        words += polynomial * polynomials_copied(card, packing)
    return WORD_BYTES * words


def _archived_words(card: ModelCard, packing: Packing) -> int:
    """What a request takes beside its words: as it travelled, and on the way to the archive."""
    parameters = card.profile(packing).parameters
    words = input_ciphertexts(card, packing) * len(parameters.moduli) * parameters.ring_degree
    if not card.plaintext_features:
        return _COPIES_OF_REQUEST * words
    records = parameters.slots if packing is Packing.BATCH else 1
    return _COPIES_OF_SEALED_REQUEST * (words + len(card.plaintext_features) * records)


def codeword_words(card: ModelCard, packing: Packing) -> int:
    """Codewords of one private answer's proof: an upper bound, a few rows a limb above the exact.

    Known before there is a statement: what is committed in a limb is the model's integers, u and
    the masks; the bits of a single record's noise, or the pads of a network's proof; in the first
    limb the opening.  That u is absent from dropped limbs is not counted.
    """
    profile = card.profile(packing)
    if profile.flooding_log2 is None:
        return 0
    parameters = profile.parameters
    elements = card.graph.integers_count + parameters.ring_degree
    if not card.linear:
        code, families = NETWORK_CODE, card.graph.output_polys + 3
        elements += pads_committed(card, packing)
    elif packing is Packing.SINGLE:
        code, families = QUADRATIC_CODE, _LINEAR_FAMILIES
        elements += len(card.outputs) * (profile.flooding_log2 + 1)
    else:
        code, families = LINEAR_CODE, _LINEAR_FAMILIES
    elements += families * BINARY_PROJECTIONS
    rows = len(parameters.moduli) * (-(-elements // code.message_length) + _SPARE_ROWS)
    rows += OPENING_SIZE // code.message_length
    return rows * code.codeword_length


def enrolment_bytes(request: KeyRequest) -> int:
    """Words of the public keys of one enrolment."""
    return WORD_BYTES * _COPIES_OF_KEYS * request.keys * len(request.moduli) * request.ring_degree
