"""What may leave the client: values rounded and blurred by the client's own noise.

A decrypted CKKS value carries an error that is linear in the secret key.  Two raw results give
enough equations to solve for the whole key, and the server's flooding does not help against the
server, which knows it.  A released value is therefore

    round to a grid of ( decrypted + noise ),    noise uniform in [-D, D]

with D at least 2^d times the largest key-dependent error a malicious server could have proved
(protocol.bounds), d the disclosure distance of the model's profile: 32, unless its planner had to
give some of it up.  The noise is a PRF of the client's release key and of the output, so that the
same output released twice is the same value.  (docs/protocol.md, disclosure.)
"""

from __future__ import annotations

import hashlib
import hmac
import math

import numpy as np
import numpy.typing as npt

from protocol.bounds import Bounds
from protocol.encoding import encode
from protocol.errors import BlindproofError
from protocol.model import ModelCard
from protocol.parameters import Packing

Floats = npt.NDArray[np.float64]

DISCLOSURE_LIMIT = 1 << 22
"""Values released under the secrets of a store before they are rotated.  Each is within statistical
distance 2^-d of one that does not depend on the key, d the disclosure distance of the model's
profile, even for a server that proves the worst error it can.  For an honest server of a linear
model (d = 32) the distance is about 2^-55 for a single record and less for a batch."""

_SPARE_BYTES = 16
"""Extra bytes of each draw: reducing modulo the span is then 2^-128 from uniform."""


class DecryptionError(BlindproofError):
    """Verified outputs decrypted to what no answer can be; nothing was released."""


def require_possible(decrypted: Floats, card: ModelCard, packing: Packing) -> None:
    """Refuse decrypted values (records, J) that no record in the declared ranges can give.

    A verified answer under the key it was asked for never fails this.  One that decrypts under
    another secret is uniform modulo Q, hardly ever this small, and each of its values is an
    equation in the key: it is stopped here, before any of it is released.

    Raises:
        DecryptionError: a value exceeds the largest answer and its error bound, or is not finite.
    """
    bounds = card.bounds(packing)
    if not (np.abs(decrypted) <= bounds.largest_output + bounds.error_before_release).all():
        raise DecryptionError(
            "the answer decrypts to a value no record can give: the secret key is not the one the "
            "answer was made for; nothing was released"
        )


def release(decrypted: Floats, bounds: Bounds, release_key: bytes, output_digest: bytes) -> Floats:
    """Blur and round decrypted values (records, J), in units of the integer model's output.

    The error of a released value is at most `bounds.released_error`.
    """
    grid_log2 = bounds.disclosure_noise.bit_length() - 2  # 2^grid <= D/2
    unit = math.ldexp(1.0, grid_log2 - bounds.output_scale_log2)
    noise = _noise(release_key, output_digest, bounds.disclosure_noise, decrypted.size)
    scale = -bounds.output_scale_log2
    blurred = decrypted + np.array([math.ldexp(float(value), scale) for value in noise]).reshape(
        decrypted.shape
    )
    released: Floats = np.rint(blurred / unit) * unit
    return released


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
