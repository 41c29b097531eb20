"""What the proof of a network shows of its weights: nothing; and what shortcuts would show."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest

import zk_layers.relation
from tests.adversarial.distributions import SIGNIFICANCE, kolmogorov, two_samples
from tests.adversarial.lattice import short_solution
from tests.adversarial.malicious_prover import glue, refused_by
from tests.adversarial.network_prover import NetworkCheat, in_range
from tests.adversarial.network_scenario import (
    Network,
    merged,
    network_proof,
    one_output,
    rescaled,
    two_outputs,
    with_outputs,
)
from tests.adversarial.scenario import DEGREE, MODULI, SERVER_KEY, uniform_words
from tests.adversarial.simulator import programmed, simulated
from zk_layers.extension import extension
from zk_layers.fields import field, ntt
from zk_layers.ligero.verifier import verify
from zk_layers.prove import prove_network
from zk_layers.randomness import ProverRandomness
from zk_layers.reduction.exchange import Speaking
from zk_layers.transcript import Transcript

ANSWERS = [one_output, two_outputs, merged, rescaled]


@pytest.mark.parametrize("make", ANSWERS, ids=lambda make: make.__name__)
def test_a_simulator_without_witness_is_accepted(make, monkeypatch):
    """Every message of the reductions is uniform and the proof holds all the same."""
    answer = make()
    with monkeypatch.context() as patch:
        patch.setattr(zk_layers.relation, "Transcript", programmed(os.urandom(32)))
        proof = simulated(answer.relation)
        verify(answer.relation, proof)
    assert refused_by(answer.relation, proof) is not None, "it took the programming"


def test_a_simulated_answer_may_be_any_words(monkeypatch):
    """The statement need not even be true: the simulator knows nothing."""
    base = rescaled()
    rng = np.random.default_rng(3)
    words = uniform_words(rng, base.outputs.shape[:2], MODULI[: base.kept])
    answer = with_outputs(base, words)
    monkeypatch.setattr(zk_layers.relation, "Transcript", programmed(os.urandom(32)))
    verify(answer.relation, simulated(answer.relation))


def said_words(answer: Network, runs: int) -> np.ndarray:
    """What honest provers send in the reductions, each word divided by its modulus."""
    shares = []
    for _ in range(runs):
        prover = NetworkCheat(answer)
        prover.talk()
        for message in prover.exchange.sent:
            words = np.frombuffer(message, dtype="<u8").reshape(3, -1)
            shares += [words[limb] / q for limb, q in enumerate(MODULI)]
    return np.concatenate(shares)


def test_messages_are_uniform_whatever_the_weights():
    base = one_output()
    samples = []
    for value in (0, 32_767):
        integers = np.full_like(base.integers, value)
        samples.append(said_words(replace(base, integers=integers).answered(), 4))
    assert all(kolmogorov(sample) > SIGNIFICANCE for sample in samples)
    assert two_samples(*samples) > SIGNIFICANCE


def test_clear_messages_would_show_the_weights():
    """The same statistics on what is padded: with zero weights every message is zero."""
    base = one_output()
    zero = replace(base, integers=np.zeros_like(base.integers)).answered()
    prover = NetworkCheat(zero)
    prover.talk()
    clear = np.concatenate([words[:, :3].reshape(-1) for words in prover.said.values()])
    assert not clear.any()
    assert kolmogorov(np.zeros(len(clear))) < SIGNIFICANCE


@pytest.mark.rejects("C-59")
def test_a_pad_serves_once():
    modulus = MODULI[0]
    pads = [np.array([[5, 6], [7, 8]], dtype=np.uint64)]
    clear = np.array([[[100, 200]]], dtype=np.uint64)
    speaking = Speaking(Transcript("pads"), [modulus], pads)
    speaking.say("first", (0,), lambda: clear)
    speaking.say("second", (1,), lambda: clear)
    with pytest.raises(RuntimeError, match="twice"):
        speaking.say("third", (0,), lambda: clear)
    # what it would show: the difference of two values, here of two claims
    other = np.array([[[140, 260]]], dtype=np.uint64)
    twice = [
        Speaking(Transcript("pads"), [modulus], pads).say("x", (0,), lambda v=v: v)
        for v in (clear, other)
    ]
    assert (field(modulus).sub(twice[1].copy(), twice[0].copy()) == other - clear).all()


@pytest.mark.accepts("C-59")
def test_pads_are_fresh_in_every_attempt():
    """No word of one attempt's pads or messages occurs in another's."""
    answer = one_output()
    pads, sent = [], []
    for _ in range(2):
        prover = NetworkCheat(answer)
        prover.talk()
        pads.append(np.concatenate([fresh["pads"] for fresh in prover.fresh]))
        sent.append(np.frombuffer(b"".join(prover.exchange.sent), dtype="<u8"))
    assert not np.intersect1d(*pads).size
    assert not np.intersect1d(*sent).size
    first, second = (
        answer.relation.fresh_blocks(0, ProverRandomness(bytes(32)))["pads"] for _ in range(2)
    )
    assert (first == second).all(), "of one seed they would be the same"


def test_a_rolled_back_machine_pads_with_other_pads(monkeypatch):
    """The operating system repeats itself; the request's nonce still tells the attempts apart."""
    monkeypatch.setattr(os, "urandom", bytes)
    answer = one_output()
    again = replace(answer, request=replace(answer.request, nonce=bytes(32)))
    first, second, repeated = (
        prove_network(at.relation, at.secrets, SERVER_KEY) for at in (answer, again, answer)
    )
    assert first[:32] != second[:32]
    assert first == repeated, "the test would not notice an unpatched generator"


@pytest.mark.parametrize(("units", "limbs"), [(4, 2), (16, 3)])
def test_one_bare_claim_would_give_a_row_away(units, limbs):
    """omega~ at a public point, unpadded: two equations mod Q for a row of short weights."""
    rng = np.random.default_rng(units)
    moduli = MODULI[:limbs]
    weights = [int(w) for w in rng.integers(-32_767, 32_768, units)]
    tables = [
        extension(q).eq_table(rng.integers(0, q, ((units - 1).bit_length(), 2), dtype=np.uint64))
        for q in moduli
    ]
    rows, claims = [], []
    for c in range(2):
        row = [glue([int(table[c, k]) for table in tables], moduli) for k in range(units)]
        rows.append(row)
        claims.append(sum(a * w for a, w in zip(row, weights, strict=True)) % math.prod(moduli))
    assert short_solution((rows[0], rows[1]), (claims[0], claims[1]), math.prod(moduli)) == weights


def test_the_bare_claims_of_a_real_run_are_never_sent():
    """omega~ of the last matrix, as in the attack above, occurs in the clear messages only."""
    answer = one_output()
    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed))
    clear = prover.said["power 2 end"]
    words = {int(word) for word in clear[:, :3].reshape(-1)}
    sent = set(np.frombuffer(b"".join(prover.exchange.sent), dtype="<u8").tolist())
    assert not words & sent
    for word in words:
        assert int(word).to_bytes(8, "little") not in proof


def distance_from_zero(answer: Network, integers: np.ndarray) -> int:
    """Largest coefficient mod q_0 of Y'_1 - Y'_0 - Y'_2 minus what these integers would give."""
    modulus = MODULI[0]
    arithmetic = field(modulus)
    bare = replace(answer, integers=integers).tensors()[-1][0, :, 0]
    difference = [
        arithmetic.sub(np.ascontiguousarray(answer.outputs[0, i, 0]), np.ascontiguousarray(bare[i]))
        for i in range(3)
    ]
    left = arithmetic.sub(arithmetic.sub(difference[1], difference[0]), difference[2])
    coefficients = ntt(modulus, DEGREE).inverse(left).astype(object)
    return int(
        np.abs(np.where(coefficients > modulus // 2, coefficients - modulus, coefficients)).max()
    )


def test_one_key_for_two_powers_would_tell_a_right_model_from_a_wrong_one():
    """Y'_1 - Y'_0 - Y'_2 = Y_1 - Y_0 - Y_2 + e_1 - e_0 - e_2 once both powers share (b, a)."""
    base = one_output()
    small = np.zeros_like(base.errors[0])  # flooding would hide in one limb what it cannot in three
    base = replace(base, errors=(small, *base.errors[1:]))
    guess = base.integers.copy()
    guess[0] += 1
    shared = replace(base, keys=np.stack([base.keys[0], base.keys[0]])).answered()
    assert distance_from_zero(shared, base.integers) < 100
    assert distance_from_zero(shared, guess) > 1 << 50
    independent = base.answered()
    assert distance_from_zero(independent, base.integers) > 1 << 50


@pytest.mark.parametrize("make", ANSWERS, ids=lambda make: make.__name__)
def test_proofs_of_one_statement_have_one_length_but_for_the_paths(make):
    answer, proof = make(), network_proof(make)
    other = prove_network(answer.relation, answer.secrets, SERVER_KEY)
    assert (len(proof) - len(other)) % 32 == 0
    assert abs(len(proof) - len(other)) < 120 * 32
