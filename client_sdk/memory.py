"""How much memory a model's card makes its clients take, and the most a client allows.

A card says how many ciphertexts a record takes and how many public keys hide an answer.  Whoever
writes one may ask for gigabytes, so clients compute it from the card and refuse before they
enrol or encrypt anything.

Symbols: K inputs, J outputs, t polynomials of an output, L limbs, N ring degree.
"""

from __future__ import annotations

import math

from protocol.errors import ModelError
from protocol.keys import KeyRequest
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from wire.framing import WORD_BYTES
from wire.inference import input_words, output_shapes
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.ligero.shape import codeword_words, witness_words

MAX_MEMORY_BYTES = 4 << 30

_COPIES_OF_OUTPUTS = 4
"""As messages, joined, and twice their size in vectors the verifier folds them with."""
_COPIES_OF_KEYS = 4
"""b and a as enrolled, and both once more as a statement takes them."""
_COPIES_OF_FRESH_KEYS = 2
"""b and a."""
_COPIES_OF_WITNESS = 13
"""Besides codewords: bits, residues, rows, their coefficients, and the forms that fold them, with
two components each.  As measured at three sizes, a few percent to spare."""


class MemoryLimitError(ModelError):
    """A model's card makes a client take more memory than this client allows."""


def prediction_bytes(card: ModelCard, packing: Packing) -> int:
    """What one request takes, from its ciphertexts to the verified answer."""
    words = input_words(card, packing)
    words += _COPIES_OF_OUTPUTS * sum(map(math.prod, output_shapes(card, packing)))
    if card.mode is Mode.PRIVATE:
        words += _COPIES_OF_KEYS * card.keys_needed * len(card.key_moduli) * card.ring_degree
    return WORD_BYTES * words


def enrolment_bytes(request: KeyRequest) -> int:
    """What proving fresh public keys takes."""
    relation = EnrolmentRelation(request)
    words = codeword_words(relation) + _COPIES_OF_WITNESS * witness_words(relation)
    words += _COPIES_OF_FRESH_KEYS * request.keys * len(request.moduli) * request.ring_degree
    return WORD_BYTES * words


def require_memory(needed: int, allowed: int, task: str) -> None:
    """Refuse what takes more memory than is allowed.

    Raises:
        MemoryLimitError: saying what it would take and how to allow it.
    """
    if needed > allowed:
        raise MemoryLimitError(
            f"{task} takes about {_mebibytes(needed)} MiB of memory, this client allows "
            f"{_mebibytes(allowed)} MiB: to allow it, make the client with "
            f"max_memory_bytes={needed}, or give the command --max-memory {_mebibytes(needed)}"
        )


def _mebibytes(count: int) -> int:
    return -(-count >> 20)
