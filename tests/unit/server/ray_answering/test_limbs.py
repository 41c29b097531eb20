"""Shares of an evaluation are exactly the evaluation, and what is none is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.network import Evaluation
from protocol.ciphertexts import SeededCiphertexts
from protocol.encoding import encode
from protocol.errors import EncodingError
from protocol.graph import Dense, Graph, Mul, square
from protocol.inputs import RequestInputs
from protocol.parameters import Mode, Packing
from server import networks
from server.jobs import Job, request_of
from server.ray_answering.engine import SharingEngine
from server.ray_answering.limbs import (
    Share,
    decode_share,
    encode_share,
    evaluate_share,
    joined,
    shares_of,
    shares_worth,
)
from tests.integration.example_models import bundle, linear_model, network_bundle, network_profile
from wire.inference import InferenceHeader

LIMBS, INPUTS = 3, 2
# The proof of a product starts from both of its sources.
GRAPH = Graph(INPUTS, (Dense(0, 2), square(1), Mul(1, 2), Dense(3, 1)))


@pytest.fixture(scope="module")
def job() -> Job:
    served = network_bundle(GRAPH, network_profile(LIMBS, 60, None), Mode.PUBLIC)
    parameters = served.card.profile(Packing.BATCH).parameters
    rng = np.random.default_rng(5)
    bodies = np.stack(
        [rng.integers(0, q, (INPUTS, 8192), dtype=np.uint64) for q in parameters.moduli], axis=1
    )
    seeds = tuple(rng.bytes(64) for _ in range(INPUTS))
    inputs = RequestInputs.encrypted_only(SeededCiphertexts(seeds, bodies, parameters.moduli))
    header = InferenceHeader(
        request_id=bytes(16),
        nonce=bytes(32),
        client_id="client",
        server_id="server",
        model_digest=served.digest,
        registration_digest=served.registration_digest,
        key_digest=bytes(32),
        packing=Packing.BATCH,
        records=1,
        ciphertexts=INPUTS,
    )
    return Job(served, None, request_of(header, served, inputs), inputs)


@pytest.fixture(scope="module")
def whole(job: Job) -> Evaluation:
    return networks.evaluate(job, job.inputs.words)


def evaluated(job: Job, workers: int) -> list[Evaluation]:
    """Shares that have travelled."""
    shares = shares_of(LIMBS, workers)
    return [decode_share(encode_share(evaluate_share(job, share))) for share in shares]


@given(limbs=st.integers(1, 40), workers=st.integers(-1, 50))
def test_shares_are_all_limbs_once_in_nearly_equal_parts(limbs: int, workers: int):
    shares = shares_of(limbs, workers)
    assert [limb for share in shares for limb in range(share.first, share.end)] == [*range(limbs)]
    sizes = [share.end - share.first for share in shares]
    assert len(sizes) <= max(1, workers)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("workers", [2, 3])
def test_shares_side_by_side_are_the_whole_bit_for_bit(job: Job, whole: Evaluation, workers: int):
    found = joined(job, evaluated(job, workers))
    assert np.array_equal(found.outputs, whole.outputs)
    assert whole.kept.keys() == found.kept.keys() != set()
    for index, words in whole.kept.items():
        assert np.array_equal(found.kept[index], words)


def test_an_engine_takes_the_shares_it_is_given_and_evaluates_otherwise(
    job: Job, whole: Evaluation
):
    engine = SharingEngine(bytes(32))
    marked = [replace(share, outputs=share.outputs + 1) for share in evaluated(job, 2)]
    with engine.given(marked):
        assert np.array_equal(engine.evaluate(job, job.inputs.words).outputs, whole.outputs + 1)
    assert np.array_equal(engine.evaluate(job, job.inputs.words).outputs, whole.outputs)


def test_shares_of_something_else_are_refused(job: Job):
    first, second = evaluated(job, 2)
    other = replace(second, kept={})
    narrow = replace(second, outputs=second.outputs[..., :4096])
    for shares in ([], [first], [first, second, second], [first, other], [first, narrow]):
        with pytest.raises(EncodingError, match=r"^shares "):
            joined(job, shares)


def test_limbs_that_are_not_there_are_not_evaluated(job: Job):
    with pytest.raises(EncodingError, match="no limb 3 among 3"):
        evaluate_share(job, Share(2, 4))
    for first, end in ((1, 1), (2, 1), (-1, 1)):
        with pytest.raises(EncodingError, match="no limbs"):
            Share(first, end)


@pytest.mark.parametrize(
    "value",
    [
        (),
        ((1, 1, 1, 1), bytes(8)),
        (((1, 1, 1, 1), bytes(7)), ()),
        (((0, 1, 1, 1), b""), ()),
        (((1, 1, 1), bytes(8)), ()),
        (((1, 1, 1, 1), bytes(8)), (1,)),
    ],
)
def test_bytes_that_are_no_share_are_refused(value: object):
    with pytest.raises(EncodingError):
        decode_share(encode(value))


def test_only_long_evaluations_of_networks_are_shared_out():
    small = network_bundle(GRAPH, network_profile(LIMBS, 60, None), Mode.PUBLIC).card
    wide = Graph(30, (Dense(0, 200), square(1), Dense(2, 30), square(3), Dense(4, 1)))
    large = network_bundle(wide, network_profile(6, 56, None, degree=16384), Mode.PUBLIC).card
    linear = bundle(linear_model()).card
    assert shares_worth(large, Packing.BATCH, 2) == shares_of(6, 2)
    assert shares_worth(large, Packing.BATCH, 1) == shares_of(6, 1)
    for card in (small, linear):
        assert len(shares_worth(card, Packing.BATCH, 8)) == 1
