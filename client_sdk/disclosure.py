"""What may leave the client: values rounded and blurred by the client's own noise.

A decrypted CKKS value carries an error that is linear in the secret key.  Two raw results give
enough equations to solve for the whole key, and the server's flooding does not help against the
server, which knows it.  A released value is therefore

    round to a grid of ( decrypted + noise ),    noise uniform in [-D, D]

with D at least 2^c times the largest key-dependent error a malicious server could have proved
(protocol.bounds), c the disclosure distance of the model's profile: 32, unless its planner had to
give some of it up.  The noise is a PRF of the client's release key and of the output, so that the
same output released twice is the same value.  (docs/protocol.md, disclosure.)

All of it is arithmetic on integers at the output's scale.  A double is made of the result, last of
all: rounding a decrypted value to a double would itself depend on the key, and where D is below the
last place of the double it would be all that the release shows.
"""

from __future__ import annotations

import hashlib
import hmac
import math

import numpy as np
import numpy.typing as npt

from protocol.bounds import DISCLOSURE_LOG2, Bounds
from protocol.encoding import encode
from protocol.errors import BlindproofError, ModelError
from protocol.model import DISCLOSURE_LOG2_RANGE, ModelCard
from protocol.parameters import Packing

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.object_]
"""Python integers at the output's scale, modulo the full Q."""

DISCLOSURE_LIMIT = 1 << 22
"""Units of disclosure under the secrets of a store before they are rotated."""

DISCLOSURE_UNIT_LOG2 = -25
"""A unit of statistical distance: the limit is 2^-3 in all, even against a server that proves the
worst error it can.  A value takes the units of its distance and one at least, so that four million
values of a linear model (2^-33 each) are within 2^-11."""

_SPARE_BYTES = 16
"""Extra bytes of each draw: reducing modulo the span is then 2^-128 from uniform."""


class DecryptionError(BlindproofError):
    """Verified outputs decrypted to what no answer can be; nothing was released."""


def require_distance(card: ModelCard, packing: Packing, least_log2: int | None) -> None:
    """Refuse a card whose released values hide the key less than the client wants.

    Args:
        card: the model.
        packing: the profile that is to be used.
        least_log2: the least disclosure distance; if None, 32 for linear models, and for networks
            the least that a card may have.

    Raises:
        ModelError: the profile's distance is smaller.
    """
    if least_log2 is None:
        least_log2 = DISCLOSURE_LOG2 if card.linear else DISCLOSURE_LOG2_RANGE[0]
    found = card.profile(packing).disclosure_log2
    if found < least_log2:
        raise ModelError(
            f"released values of this model's packing '{packing}' hide the secret key by a factor "
            f"of 2^{found}, this client wants 2^{least_log2}: ask the publisher for a profile with "
            "less precision and more distance, or accept it with a lower min_disclosure_log2"
        )


def disclosure_units(card: ModelCard, packing: Packing, records: int) -> int:
    """What releasing the answers to so many records takes of `DISCLOSURE_LIMIT`."""
    distance = card.bounds(packing).disclosed_distance
    each = max(math.ceil(distance * (1 << -DISCLOSURE_UNIT_LOG2)), 1)
    return records * len(card.outputs) * each


def require_possible(decrypted: Integers, card: ModelCard, packing: Packing) -> None:
    """Refuse decrypted values (records, J) that no record in the declared ranges can give.

    A verified answer under the key it was asked for never fails this.  One that decrypts under
    another secret is uniform modulo Q, hardly ever this small, and each of its values is an
    equation in the key: it is stopped here, before any of it is released.

    Raises:
        DecryptionError: a value exceeds the largest answer and its error bound.
    """
    bounds = card.bounds(packing)
    if not (np.abs(decrypted) <= bounds.largest_values[-1] + bounds.error).all():
        raise DecryptionError(
            "the answer decrypts to a value no record can give: the secret key is not the one the "
            "answer was made for; nothing was released"
        )


def release(
    decrypted: Integers, bounds: Bounds, release_key: bytes, output_digest: bytes
) -> Floats:
    """Blur and round decrypted values (records, J); the result is in units of the output.

    The error of a released value is at most `bounds.released_error`, but for the last place of
    the double that it becomes.
    """
    grid_log2 = bounds.disclosure_noise.bit_length() - 2  # 2^grid <= D/2
    half = 1 << (grid_log2 - 1)
    noise = _noise(release_key, output_digest, bounds.disclosure_noise, decrypted.size)
    blurred = decrypted + np.array(noise, dtype=object).reshape(decrypted.shape)
    rounded: Integers = (blurred + half) >> grid_log2 << grid_log2
    return in_units(rounded, bounds)


def in_units(integers: Integers, bounds: Bounds) -> Floats:
    """Integers at the output's scale as doubles in units of the output, each correctly rounded.

    What has not been released says more than it may once it is a double: see the top.
    """
    scaled: Floats = (integers / (1 << bounds.output_scale_log2)).astype(np.float64)
    return scaled


def _noise(release_key: bytes, output_digest: bytes, bound: int, count: int) -> list[int]:
    """`count` integers uniform in [-bound, bound], a function of key and output."""
    seed = hmac.digest(release_key, encode(("blindproof release", output_digest)), hashlib.sha256)
    span = 2 * bound + 1
    width = (span.bit_length() + 7) // 8 + _SPARE_BYTES
    stream = hashlib.shake_256(seed).digest(count * width)
    return [
        int.from_bytes(stream[start : start + width], "little") % span - bound
        for start in range(0, len(stream), width)
    ]
