from __future__ import annotations

import hashlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors.generate import MODULUS, digest_vector, transcript_vector
from tests.vectors.recording import recorded_orders
from zk_layers.transcript import Transcript


@pytest.fixture(scope="module")
def vectors(repository_root):
    folder = repository_root / "tests" / "vectors"
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_the_transcript_computes_its_vector(vectors):
    assert transcript_vector() == vectors["transcript"]


def test_digests_compute_their_vector(vectors):
    assert digest_vector() == vectors["digests"]


@pytest.mark.accepts("C-07")
@pytest.mark.parametrize("kind", ["batch", "single", "registration", "enrolment"])
def test_each_proof_absorbs_and_draws_in_the_recorded_order(vectors, kind):
    assert recorded_orders()[kind] == vectors["orders"][kind]


@pytest.mark.accepts("C-07")
@pytest.mark.parametrize("kind", ["batch", "single", "registration", "enrolment"])
def test_every_message_is_absorbed_before_the_challenges_that_answer_it(vectors, kind):
    order = vectors["orders"][kind]
    place = {event: index for index, event in enumerate(order)}
    first_challenge = min(i for e, i in place.items() if e.startswith("challenge"))
    for event in ("absorb parameters", "absorb statement", "absorb root"):
        assert place[event] < first_challenge
    for event, index in place.items():
        if event.startswith("challenge projection"):
            assert place["absorb root"] < index < place["absorb projections"]
        if event.startswith(("challenge gamma", "challenge rows", "challenge products")):
            assert place["absorb projections"] < index < place["absorb proximity"]
    assert order[-1] == "challenge columns"
    assert order[-4:-1] == ["absorb proximity", "absorb linear", "absorb quadratic"]
    assert len(place) == len(order), "no label serves twice"


class Reference:
    """The transcript as its docstring says it, in a few plain lines."""

    def __init__(self, label: str) -> None:
        self.state = self.hashed(b"blindproof transcript/1" + self.framed(label))

    @staticmethod
    def hashed(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    @staticmethod
    def framed(label: str) -> bytes:
        return struct.pack("<I", len(label.encode())) + label.encode()

    def absorb(self, label: str, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        self.state = self.hashed(self.state + b"absorb" + self.framed(label) + length + data)

    def seed(self, label: str) -> bytes:
        seed = self.hashed(self.state + b"challenge" + self.framed(label))
        self.state = self.hashed(self.state + b"ratchet")
        return seed

    def stream(self, seed: bytes, count: int) -> bytes:
        blocks = (self.hashed(seed + struct.pack("<Q", i)) for i in range(-(-count // 32)))
        return b"".join(blocks)[:count]

    def field(self, label: str, count: int) -> list[int]:
        stream, mask = self.stream(self.seed(label), 64 * count), (1 << 60) - 1
        words = (
            int.from_bytes(stream[i : i + 8], "little") & mask for i in range(0, 64 * count, 8)
        )
        return [word for word in words if word < MODULUS][:count]


@given(
    st.text(max_size=20),
    st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=50)), max_size=5),
    st.text(max_size=10),
)
def test_the_transcript_follows_its_description(start, absorbed, label):
    transcript, reference = Transcript(start), Reference(start)
    for name, data in absorbed:
        transcript.absorb(name, data)
        reference.absorb(name, data)
    assert transcript.challenge_seed(label) == reference.seed(label)
    drawn = transcript.challenge_field(label, (2, 3), MODULUS)
    assert drawn.reshape(-1).tolist() == reference.field(label, 6)
    stream = reference.stream(reference.seed(label), 24)
    assert transcript.challenge_bits(label, 2, 12).tobytes() == stream
    stream = reference.stream(reference.seed(label), 24)
    assert transcript.challenge_integers(label, 2, 3).astype("<i4").tobytes() == stream
    assert transcript.challenge_seed("end") == reference.seed("end")


def test_labels_and_lengths_are_framed():
    """No two sequences of messages share their bytes."""
    sequences = [
        [("ab", b"c")],
        [("a", b"bc")],
        [("a", b"b"), ("", b"c")],
        [("a", b""), ("b", b"c")],
        [],
    ]
    seeds = set()
    for sequence in sequences:
        transcript = Transcript("x")
        for label, data in sequence:
            transcript.absorb(label, data)
        seeds.add(transcript.challenge_seed("seed"))
    assert len(seeds) == len(sequences)


def test_challenges_of_one_label_differ_from_draw_to_draw():
    transcript = Transcript("x")
    assert len({transcript.challenge_seed("same") for _ in range(10)}) == 10


@pytest.mark.rejects("C-34")
@pytest.mark.parametrize(("count", "length"), [(131, 8192), (8, 8), (1, 2), (100, 128)])
def test_positions_are_distinct_ascending_and_in_range(count, length):
    for attempt in range(20):
        drawn = Transcript(f"{attempt}").challenge_positions("columns", count, length)
        assert drawn.dtype == np.int64
        assert len(drawn) == count
        assert (np.diff(drawn) > 0).all()
        assert 0 <= drawn[0] <= drawn[-1] < length


def test_positions_cover_the_code_evenly():
    drawn = [Transcript(f"{i}").challenge_positions("c", 125, 8192) for i in range(200)]
    counts, _ = np.histogram(np.concatenate(drawn), bins=32, range=(0, 8192))
    expected = 200 * 125 / 32
    assert ((counts - expected) ** 2 / expected).sum() < 80  # 31 degrees of freedom
