"""Write the test vectors beside this file: ``python -m tests.vectors.generate``.

The vectors pin the transcript of `blindproof/1`: the order of what is absorbed and drawn in each
kind of proof, and the bytes of every primitive of the transcript for a fixed sequence; also the
words of encoded plaintext columns.  They change only together with the protocol version.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from fhe_layers.encoding import encode_slots
from fhe_layers.moduli import ntt_primes
from protocol.digests import digest, words_digest
from protocol.encoding import encode
from tests.vectors.recording import recorded_orders
from zk_layers.transcript import Transcript

MODULUS = 1152921504606830593
FOLDER = Path(__file__).resolve().parent


def transcript_vector() -> dict[str, str]:
    """Outputs of one transcript that uses every operation once, as hex or digests."""
    transcript = Transcript("vector")
    transcript.absorb("first", b"some bytes")
    transcript.absorb("empty", b"")
    found = {"seed": transcript.challenge_seed("seed").hex()}
    words = transcript.challenge_field("field", (2, 5), MODULUS)
    found["field"] = words.astype("<u8").tobytes().hex()
    bits = transcript.challenge_bits("bits", 2, 9)
    found["bits"] = bits.tobytes().hex()
    integers = transcript.challenge_integers("integers", 2, 3)
    found["integers"] = integers.astype("<i4").tobytes().hex()
    positions = transcript.challenge_positions("positions", 131, 8192)
    found["positions"] = hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
    transcript.absorb("last", bytes(range(256)))
    found["end"] = transcript.challenge_seed("end").hex()
    return found


def digest_vector() -> dict[str, str]:
    """Canonical encoding and digests of one value of every kind."""
    value = (None, True, False, 0, -1, 128, -(1 << 70), 1.5, "text \u00e9", b"\x00\xff", ((), (1,)))
    words = np.arange(6, dtype=np.uint64).reshape(2, 3)
    return {
        "encoding": encode(value).hex(),
        "digest": digest("label", value).hex(),
        "words": words_digest("label", words).hex(),
        "words in chunks": words_digest("label", words, 16).hex(),
    }


def encoding_vector() -> dict[str, str]:
    """Words of fixed values: what every machine must compute of columns that travel in clear."""
    found = {}
    for degree, scale in ((8192, 60), (16384, 100), (32768, 139)):
        moduli = tuple(ntt_primes(degree, 60, 3))
        steps = np.arange(3 * (degree // 2), dtype=np.int64).reshape(3, -1)
        values = (steps * 7919 % 20011 - 10000) / 4096.0  # exact quotients
        words = encode_slots(values / 3.0, degree, scale, moduli)
        name = f"degree {degree}, scale 2^{scale}"
        found[name] = hashlib.sha256(words.astype("<u8").tobytes()).hexdigest()
    return found


def main() -> None:
    """Write all vectors."""
    for name, content in (
        ("transcript", transcript_vector()),
        ("digests", digest_vector()),
        ("orders", recorded_orders()),
        ("encodings", encoding_vector()),
    ):
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        (FOLDER / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
