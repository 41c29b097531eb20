from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import digest, words_digest
from protocol.encoding import encode
from protocol.errors import (
    EncodingError,
    EnrolmentError,
    ParameterError,
    RequestError,
    ShapeError,
)
from protocol.keys import MAX_KEYS, EnrolledKey, KeyRequest, expand_a
from protocol.packing import answer_positions, weight_positions
from protocol.parameters import Packing
from protocol.request import Request, output_digest
from tests.adversarial.scenario import (
    DEGREE,
    MODULI,
    make_card,
    make_ciphertexts,
    make_request,
    random_model,
)


@pytest.fixture(scope="module")
def request_made() -> Request:
    return make_request(make_card(*random_model(1, 1, 2)), Packing.BATCH, bytes(32))


INVALID = {
    "short id": {"request_id": bytes(15)},
    "long id": {"request_id": bytes(17)},
    "short nonce": {"nonce": bytes(31)},
    "no client": {"client_id": ""},
    "long server": {"server_id": "x" * 201},
    "short key digest": {"key_digest": bytes(31)},
    "short registration digest": {"registration_digest": b""},
    "long input digest": {"input_digest": bytes(33)},
    "short plaintext digest": {"plaintext_digest": bytes(8)},
    "short log head": {"log_head": bytes(31)},
    "no records": {"records": 0},
    "more records than slots": {"records": DEGREE // 2 + 1},
    "two records in one": {"packing": Packing.SINGLE, "records": 2},
}


@pytest.mark.rejects("C-05")
@pytest.mark.parametrize("name", INVALID)
def test_invalid_requests_are_refused(request_made, name):
    with pytest.raises(RequestError):
        replace(request_made, **INVALID[name])


@pytest.mark.rejects("C-05")
@pytest.mark.parametrize("bits", [1, 64, 20_000])
def test_numbers_of_records_that_are_no_words_are_refused_before_they_are_printed(
    request_made, bits
):
    for records in {-(1 << bits), 1 << max(bits, 64)}:
        with pytest.raises(ParameterError, match="64-bit"):
            replace(request_made, records=records)


@pytest.mark.rejects("C-05")
def test_every_field_is_part_of_the_value(request_made):
    card = request_made.card
    changes = {
        "request_id": bytes(16),
        "nonce": bytes(32),
        "client_id": "c",
        "server_id": "s",
        "card": replace(card, name="other"),
        "records": 1,
        "key_digest": bytes(32),
        "registration_digest": bytes(32),
        "input_digest": b"i" * 32,
        "plaintext_digest": bytes(32),
        "log_head": b"l" * 32,
    }
    requests = [request_made, *(replace(request_made, **{k: v}) for k, v in changes.items())]
    requests.append(replace(request_made, packing=Packing.SINGLE, records=1))
    assert len({encode(request.value()) for request in requests}) == len(requests)


@pytest.mark.rejects("C-27")
def test_the_computation_digest_ignores_what_does_not_change_the_answer(request_made):
    same = replace(request_made, nonce=bytes(32), request_id=bytes(16), log_head=b"l" * 32)
    same = replace(same, client_id="other", records=7, registration_digest=bytes(32))
    same = replace(same, input_digest=b"i" * 32, plaintext_digest=bytes(32))
    evaluated = b"e" * 32
    assert same.computation_digest(evaluated) == request_made.computation_digest(evaluated)
    assert same.computation_digest(bytes(32)) != same.computation_digest(evaluated)
    for change in (
        {"key_digest": bytes(32)},
        {"card": replace(request_made.card, name="other")},
        {"packing": Packing.SINGLE, "records": 1},
    ):
        changed = replace(request_made, **change).computation_digest(evaluated)
        assert changed != same.computation_digest(evaluated)


@pytest.mark.rejects("C-05")
def test_ciphertext_digests_bind_seeds_and_bodies(rng):
    base = make_ciphertexts(rng, 2, MODULI)
    changed = base.bodies.copy()
    changed[1, 2, 5] ^= np.uint64(1)
    others = [
        replace(base, seeds=base.seeds[::-1]),
        replace(base, bodies=changed),
        replace(base, bodies=base.bodies[::-1].copy()),
        replace(base, seeds=(base.seeds[0], base.seeds[0])),
        SeededCiphertexts(base.seeds[:1], base.bodies[:1].copy(), MODULI),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6


@pytest.mark.rejects("C-03")
def test_ciphertexts_expand_to_canonical_words_and_refuse_others(rng):
    base = make_ciphertexts(rng, 2, MODULI)
    assert base.words.shape == (2, 2, 3, DEGREE)
    assert (base.words[:, 0] == base.bodies).all()
    for limb, modulus in enumerate(MODULI):
        assert (base.words[:, 1, limb] < np.uint64(modulus)).all()
        large = base.bodies.copy()
        large[1, limb, 3] = modulus
        with pytest.raises(EncodingError):
            replace(base, bodies=large)
    for broken in (
        {"seeds": base.seeds[:1]},
        {"seeds": (base.seeds[0], base.seeds[1][:63])},
        {"bodies": base.bodies[:, :2].copy()},
        {"bodies": base.bodies[0]},
        {"bodies": base.bodies.astype(np.int64)},
    ):
        with pytest.raises(ShapeError):
            replace(base, **broken)


@pytest.mark.rejects("C-06")
def test_word_digests_bind_shape_order_and_chunking(rng):
    words = rng.integers(0, 1 << 60, (2, 3, 4), dtype=np.uint64)
    others = [
        words.reshape(3, 2, 4),
        words.reshape(-1),
        words[::-1].copy(),
        words ^ np.uint64(1),
    ]
    digests = {output_digest(w) for w in (words, *others)}
    assert len(digests) == 5
    assert words_digest("a", words) != words_digest("b", words)
    assert words_digest("a", words, 64) != words_digest("a", words, 128)
    assert words_digest("a", words[:, :, ::-1][:, :, ::-1].copy()) == words_digest("a", words)


@pytest.mark.rejects("C-04")
def test_labels_separate_digests():
    assert digest("a", ("b",)) != digest("ab", ())
    assert digest("a", b"x") != digest("a", "x")


@pytest.mark.rejects("C-25")
def test_the_uniform_halves_follow_from_commitment_and_nonce():
    base = KeyRequest("c", "s", DEGREE, MODULI[:2], 2)
    words = expand_a(base, bytes(32), bytes(32))
    assert words.shape == (2, 2, DEGREE)
    assert len({words[k, m].tobytes() for k in range(2) for m in range(2)}) == 4
    for limb, modulus in enumerate(base.moduli):
        assert (words[:, limb] < np.uint64(modulus)).all()
        high = words[:, limb] >> np.uint64(56)
        assert (
            (np.bincount(high.reshape(-1).astype(int), minlength=16) / (DEGREE / 8)) < 1.3
        ).all()
    for other in (
        expand_a(base, b"r" * 32, bytes(32)),
        expand_a(base, bytes(32), b"n" * 32),
        expand_a(replace(base, client_id="d"), bytes(32), bytes(32)),
        expand_a(replace(base, server_id="t"), bytes(32), bytes(32)),
        expand_a(replace(base, keys=3), bytes(32), bytes(32))[:2],
    ):
        assert not (other == words).all(axis=-1).any()


@pytest.mark.rejects("C-26")
def test_keys_refuse_more_than_they_enrolled():
    request = KeyRequest("c", "s", DEGREE, MODULI[:2], 2)
    key = EnrolledKey(request, bytes(32), bytes(32), np.zeros((2, 2, DEGREE), dtype=np.uint64))
    assert key.pairs(2, 2).shape == (2, 2, 2, DEGREE)
    assert key.pairs(1, 1).shape == (1, 2, 1, DEGREE)
    assert (key.pairs(2, 1)[:, 1] == key.a[:, :1]).all()
    for keys, limbs in ((3, 2), (2, 3)):
        with pytest.raises(EnrolmentError, match="enrol again"):
            key.pairs(keys, limbs)
    with pytest.raises(EnrolmentError):
        replace(key, root=bytes(31))
    with pytest.raises(EnrolmentError):
        replace(key, nonce=bytes(31))
    for count in (0, MAX_KEYS + 1):
        with pytest.raises(EnrolmentError):
            replace(request, keys=count)


@pytest.mark.rejects("C-26")
def test_a_keys_digest_binds_every_part():
    request = KeyRequest("c", "s", DEGREE, MODULI[:1], 1)
    key = EnrolledKey(request, bytes(32), bytes(32), np.zeros((1, 1, DEGREE), dtype=np.uint64))
    b = key.b.copy()
    b[0, 0, 9] = 1
    others = [
        replace(key, root=b"r" * 32),
        replace(key, nonce=b"n" * 32),
        replace(key, b=b),
        replace(key, request=replace(request, client_id="d")),
    ]
    assert len({key.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(("outputs", "features"), [(1, 1), (1, 5), (3, 4), (10, 6)])
def test_weights_and_features_meet_at_the_answers(rng, outputs, features):
    """The negacyclic product of features at X^k and weights at X^(j K - k), in plain integers."""
    n = 64
    w, x = rng.integers(-9, 10, (outputs, features)), rng.integers(-9, 10, features)
    index, flipped = weight_positions(outputs, features, n)
    assert len(np.unique(index)) == index.size, "no two weights share a coefficient"
    left, right = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
    left[:features] = x
    right[index] = np.where(flipped, -w, w)
    full = np.convolve(left, right)
    product = full[:n].copy()
    product[: n - 1] -= full[n:]
    assert (product[answer_positions(outputs, features)] == w @ x).all()
