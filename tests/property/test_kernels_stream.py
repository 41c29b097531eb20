"""Deterministic streams."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import (
    chacha_bytes,
    chacha_field,
    expand_ciphertexts,
    expand_seal_seed,
    expand_seal_seeds,
    xof_bytes,
    xof_field,
)
from tests.reference import seal_seed, stream
from tests.reference.inputs import (
    HALF_REJECTED,
    PRIMES,
    SEAL_REJECTS,
    generators,
    limb_words,
    uneven_primes,
)

seeds32 = st.binary(min_size=32, max_size=32)
counts = st.sampled_from([0, 1, 2, 31, 32, 33, 500, 2047, 2048, 2049, 5000])


@given(seeds32, counts)
def test_xof_bytes(seed, count):
    assert xof_bytes(seed, count) == stream.sha256_counter(seed, count)


@given(seeds32, counts)
def test_chacha_bytes(seed, count):
    assert chacha_bytes(seed, count) == stream.chacha20(seed, count)


def test_streams_across_segments():
    seed, count = bytes(range(32)), 3 * 2**14 + 17
    assert xof_bytes(seed, count) == stream.sha256_counter(seed, count)
    assert chacha_bytes(seed, count) == stream.chacha20(seed, count)


@given(seeds32, uneven_primes, counts)
@settings(max_examples=40)
def test_fields(seed, q, count):
    for kernel, twin in ((xof_field, stream.sha256_counter), (chacha_field, stream.chacha20)):
        assert kernel(seed, q, count).tolist() == stream.field(twin, seed, q, count)


@pytest.mark.parametrize("q", [PRIMES[3], HALF_REJECTED])
def test_a_short_request_is_a_prefix_of_a_long_one(q):
    # Over many seeds: some short requests fall short at first and must extend the stream.
    for i in range(300):
        seed = hashlib.sha256(i.to_bytes(4, "little")).digest()
        long = xof_field(seed, q, 3000)
        for count in (1, 3, 10, 40, 2900):
            assert np.array_equal(xof_field(seed, q, count), long[:count])


@given(
    st.binary(min_size=64, max_size=64),
    st.lists(st.sampled_from((*PRIMES, SEAL_REJECTS)), max_size=2),
    st.sampled_from([0, 1, 100, 512, 600]),
)
@settings(max_examples=12)
def test_seal_seed(seed, moduli, n):
    found = expand_seal_seed(seed, moduli, n)
    assert found.shape == (len(moduli), n)
    assert found.tolist() == seal_seed.expand(seed, moduli, n)


def test_seal_rejection_runs_past_the_first_refill():
    # 512 words fill exactly one refill, so every replacement comes from the next one.
    seed = bytes(range(64))
    found = expand_seal_seed(seed, [SEAL_REJECTS], 512)
    assert found.tolist() == seal_seed.expand(seed, [SEAL_REJECTS], 512)
    first = np.frombuffer(seal_seed.refill(seed, 0), dtype="<u8").reshape(1, 512)
    assert not np.array_equal(found, first % np.uint64(SEAL_REJECTS))


def test_many_seal_seeds():
    moduli = [PRIMES[3], PRIMES[2]]
    seeds = [bytes([i]) * 64 for i in range(3)]
    found = expand_seal_seeds(seeds, moduli, 700)
    assert np.array_equal(found, [expand_seal_seed(seed, moduli, 700) for seed in seeds])
    assert expand_seal_seeds([], moduli, 700).shape == (0, 2, 700)


@given(
    generators(),
    st.integers(0, 2),
    st.lists(st.sampled_from((*PRIMES, SEAL_REJECTS)), max_size=2),
    st.sampled_from([0, 1, 100, 600]),
)
@settings(max_examples=12)
def test_expand_ciphertexts(rng, count, moduli, n):
    seeds = [rng.bytes(64) for _ in range(count)]
    c0 = limb_words(rng, moduli, count, 1, n)[:, 0].copy()
    c0.flags.writeable = False
    found = expand_ciphertexts(seeds, c0, moduli)
    assert found.shape == (count, 2, len(moduli), n)
    assert found.tolist() == seal_seed.ciphertexts(seeds, c0.tolist(), moduli, n)
    assert np.array_equal(found[:, 1], expand_seal_seeds(seeds, moduli, n))


def test_expand_ciphertexts_refusals():
    q, seeds = PRIMES[3], [bytes(64)] * 2
    c0 = np.zeros((2, 1, 40), dtype=np.uint64)
    with pytest.raises(ValueError, match=r"c0: expected shape \[1, 1, 40\]"):
        expand_ciphertexts(seeds[:1], c0, [q])
    with pytest.raises(ValueError, match=r"c0: expected shape \[2, 2, 40\]"):
        expand_ciphertexts(seeds, c0, [q, q])
    with pytest.raises(ValueError, match="c0: expected 3 axes"):
        expand_ciphertexts(seeds, c0[0], [q])
    with pytest.raises(ValueError, match="seed: expected 64 bytes, found 32"):
        expand_ciphertexts([bytes(64), bytes(32)], c0, [q])
    with pytest.raises(TypeError, match="expected an array of uint64"):
        expand_ciphertexts(seeds, c0.view(np.int64), [q])
    for index in (0, 39, 77):
        bad = c0.copy()
        bad.reshape(-1)[index] = q
        with pytest.raises(ValueError, match=f"c0: expected words below {q}, found {q}"):
            expand_ciphertexts(seeds, bad, [q])


def test_refusals():
    for count in (-1, 2**28 + 1, 2**63, 2**70):
        for call in (
            lambda count: xof_bytes(bytes(32), count),
            lambda count: chacha_bytes(bytes(32), count),
            lambda count: xof_field(bytes(32), PRIMES[0], count),
            lambda count: expand_seal_seed(bytes(64), [PRIMES[0]], count),
        ):
            with pytest.raises(ValueError, match="expected"):
                call(count)
    with pytest.raises(ValueError, match="seed: expected 32 bytes, found 31"):
        xof_bytes(bytes(31), 1)
    with pytest.raises(ValueError, match="seed: expected 64 bytes, found 32"):
        expand_seal_seeds([bytes(32)], [PRIMES[0]], 1)
