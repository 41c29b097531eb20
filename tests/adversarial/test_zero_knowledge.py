"""What a proof shows of its witness: nothing.

A simulator that knows no witness makes accepting transcripts; what an honest prover sends has the
same distribution for very different models; and no randomness serves twice.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
import pytest

import zk_layers.relation
from protocol.families import Family, FamilyKind
from tests.adversarial.distributions import SIGNIFICANCE, kolmogorov, two_samples
from tests.adversarial.false_keys import NONCE, REQUEST, honest
from tests.adversarial.malicious_prover import interpolated, refusal, refused_by, without
from tests.adversarial.scenario import (
    SERVER_KEY,
    Batch,
    Single,
    make_batch,
    make_card,
    make_single,
    random_model,
)
from tests.adversarial.simulator import programmed, simulated, uniform
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.fields import reed_solomon
from zk_layers.ligero.prover import ProjectionOutOfRange, Prover
from zk_layers.ligero.verifier import verify
from zk_layers.merkle import HASH_BYTES
from zk_layers.prove import EnrolmentProver, prove_linear, prove_registration
from zk_layers.randomness import ProverRandomness
from zk_layers.registration import RegistrationRelation
from zk_layers.relation import Relation
from zk_layers.shortness import Projection
from zk_layers.transcript import Transcript
from zk_layers.verify import verify_enrolment, verify_linear, verify_registration

HVZK = pytest.mark.accepts("C-37")


# ------------------------------------------------------------------------------------- simulator


@HVZK
@pytest.mark.parametrize("name", ["batch", "two_outputs", "single", "single_two_outputs"])
def test_a_simulator_without_witness_is_accepted(request, monkeypatch, name):
    answer: Batch | Single = request.getfixturevalue(name)
    monkeypatch.setattr(zk_layers.relation, "Transcript", programmed(os.urandom(32)))
    proof = simulated(answer.relation)
    verify_linear(answer.relation, proof)
    monkeypatch.undo()
    assert refused_by(answer.relation, proof) is not None, "it took the programming"


@HVZK
def test_a_simulated_answer_may_be_any_words(batch, monkeypatch):
    """The statement need not even be true: the simulator knows nothing."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, min(batch.moduli), batch.outputs.shape, dtype=np.uint64)
    relation = type(batch.relation)(batch.request, batch.inputs, batch.keys, words)
    monkeypatch.setattr(zk_layers.relation, "Transcript", programmed(os.urandom(32)))
    verify_linear(relation, simulated(relation))


@HVZK
def test_the_simulator_of_registration_and_enrolment(monkeypatch):
    integers, opening = random_model(41, 2, 3)
    card = make_card(integers, opening)
    key, _ = EnrolmentProver(REQUEST, honest()[0].astype(np.int8)).answer(NONCE)
    monkeypatch.setattr(zk_layers.relation, "Transcript", programmed(os.urandom(32)))
    verify_registration(card, simulated(RegistrationRelation(card)))
    relation = EnrolmentRelation(REQUEST, key)
    verify(relation, simulated(relation))
    # the announced root is the only thing that ties a simulated proof down
    assert refusal(lambda: verify_enrolment(key, simulated(relation))) is Check.ROOT
    with without(Check.ROOT):
        verify_enrolment(key, simulated(relation))


@HVZK
def test_simulated_and_real_proofs_have_the_same_sizes(batch, batch_proof, monkeypatch):
    monkeypatch.setattr(zk_layers.relation, "Transcript", programmed(os.urandom(32)))
    simulation = simulated(batch.relation)
    # only the paths vary, with the positions
    assert abs(len(simulation) - len(batch_proof)) < 100 * HASH_BYTES


# --------------------------------------------------------------------------------- distributions


class MaskOnlyProver(Prover):
    """Projects with fresh masks and commits to nothing: projections are all that is wanted."""

    def __init__(self, relation: Relation, answer: Batch | Single, seed: bytes) -> None:
        self.witness = relation.witness(answer.secrets)
        randomness = ProverRandomness(seed)
        self.masks = {
            family.name: randomness.masks(family.name, family.projections, family.mask_bound)
            for family in relation.families
        }


def accepted_projections(
    answer: Batch | Single, family: Family, wanted: int, seed: int
) -> np.ndarray:
    """U / (M - B') of accepted attempts of one family, each in [-1, 1]."""
    relation = answer.relation
    index = relation.families.index(family)
    rng = np.random.default_rng(seed)
    kept: list[float] = []
    while len(kept) < wanted:
        transcript = Transcript(rng.bytes(16).hex())
        projections = tuple(Projection.draw(transcript, f) for f in relation.families)
        prover = MaskOnlyProver(relation, answer, rng.bytes(32))
        values = prover.project(relation, projections)[index]
        if max(map(abs, values)) <= family.interval:
            kept += [value / family.interval for value in values]
    return np.array(kept)


def extreme_models() -> tuple[Batch, Batch]:
    """All weights as large as they may be, and all zero."""
    base = make_batch()
    large = np.full_like(base.integers, 32_767)
    zero = np.zeros_like(base.integers)
    return replace(base, integers=large), replace(base, integers=zero)


@HVZK
@pytest.mark.parametrize("name", ["flooding", "small", "weights", "opening"])
def test_accepted_projections_do_not_depend_on_the_model(name):
    """128 per attempt: real masks, real vectors, models of extreme weights."""
    samples = []
    for index, answer in enumerate(extreme_models()):
        family = next(f for f in answer.relation.families if f.name == name)
        samples.append(accepted_projections(answer, family, 12 * 128, 100 + index))
    for sample in samples:
        assert kolmogorov((sample + 1) / 2) > SIGNIFICANCE
    assert two_samples(*samples) > SIGNIFICANCE


@HVZK
def test_unmasked_projections_would_show_the_model():
    """The same statistics see the difference once the masks are gone."""
    samples = []
    for index, answer in enumerate(extreme_models()):
        relation = answer.relation
        family = next(f for f in relation.families if f.name == "weights")
        transcript = Transcript(f"{index}")
        projection = Projection.draw(transcript, family)
        members = relation.witness(answer.secrets).families["weights"]
        samples.append(np.array(projection.project(members)) / family.honest_bound)
    assert two_samples(*samples) < SIGNIFICANCE


@HVZK
def test_opened_columns_are_uniform_whatever_the_witness():
    """Top bits of every opened witness word, for two very different models."""
    for answer in extreme_models():
        relation = answer.relation
        prover = Prover(
            relation, relation.witness(answer.secrets), ProverRandomness(os.urandom(32))
        )
        code = relation.code
        positions = np.arange(0, code.codeword_length, 65)[: code.opened_columns].astype(np.int64)
        for limb, shape in enumerate(prover.shapes):
            opened = prover.codewords[limb][: shape.witness_rows, positions]
            bins = (opened >> np.uint64(relation.moduli[limb].bit_length() - 4)).reshape(-1)
            counts = np.bincount(bins.astype(np.int64), minlength=16)
            expected = opened.size / 16
            statistic = float(((counts - expected) ** 2 / expected).sum())
            # Wilson and Hilferty's normal approximation of chi-square with 15 degrees of freedom
            z = ((statistic / 15) ** (1 / 3) - (1 - 2 / 135)) / math.sqrt(2 / 135)
            assert math.erfc(z / math.sqrt(2)) / 2 > SIGNIFICANCE


@HVZK
def test_one_row_opened_at_t_columns_fits_every_message(single):
    """Any t words of a row are consistent with any l message elements: t random coefficients."""
    code, modulus = single.relation.code, single.moduli[0]
    rows = reed_solomon(modulus, code)
    positions = np.arange(7, 7 + 60 * code.opened_columns, 60, dtype=np.int64)
    assert positions[-1] < code.codeword_length
    _, seen = rows.encode(
        np.arange(code.message_length, dtype=np.uint64).reshape(1, -1),
        uniform((1, code.opened_columns), modulus),
    )
    wanted = seen[0, positions]
    # for the zero message P = (X^l - 1) S: interpolate S, of t coefficients, through wanted
    line = np.array([[0, 1]], dtype=np.uint64)
    at = [int(x) for x in rows.evaluate_at(line, positions)[0]]
    values = [
        int(word) * pow(pow(x, code.message_length, modulus) - 1, -1, modulus) % modulus
        for word, x in zip(wanted, at, strict=True)
    ]
    randomness = interpolated(at, values, code.opened_columns, modulus).reshape(1, -1)
    zero = np.zeros((1, code.message_length), dtype=np.uint64)
    _, other = rows.encode(zero, randomness)
    assert (other[0, positions] == wanted).all()


# ------------------------------------------------------------------------------------- randomness


@pytest.mark.rejects("C-37")
@pytest.mark.parametrize("draw", ["bytes", "field", "masks"])
def test_randomness_under_one_label_serves_once(draw):
    source = ProverRandomness(bytes(32))
    arguments = {
        "bytes": ("label", 8),
        "field": ("label", (4,), (1 << 60) - 93),
        "masks": ("label", 4, 100),
    }[draw]
    if draw == "field":
        arguments = ("label", (4,), make_single().moduli[0])
    getattr(source, draw)(*arguments)
    with pytest.raises(RuntimeError, match="twice"):
        getattr(source, draw)(*arguments)


@pytest.mark.rejects("C-37")
def test_a_rolled_back_machine_commits_to_another_tree(monkeypatch, single):
    """The operating system repeats itself; key, statement and attempt still tell proofs apart."""
    monkeypatch.setattr(os, "urandom", bytes)
    roots = {
        (key, statement, attempt): ProverRandomness.fresh(key, statement, attempt).bytes("x", 32)
        for key in (b"one key", b"another")
        for statement in (b"statement", b"statemenu")
        for attempt in (0, 1)
    }
    assert len(set(roots.values())) == len(roots)
    again = replace(single, request=replace(single.request, nonce=bytes(32)))
    first, second = (
        prove_linear(answer.relation, answer.secrets, SERVER_KEY)[:HASH_BYTES]
        for answer in (single, again)
    )
    assert first != second
    repeated = prove_linear(single.relation, single.secrets, SERVER_KEY)[:HASH_BYTES]
    assert repeated == first, "the test would not notice an unpatched generator"


@pytest.mark.rejects("C-37")
def test_a_rolled_back_client_enrols_under_another_root(monkeypatch):
    """One root answered under two nonces would give the secret away: b - b' = (a' - a) s."""
    monkeypatch.setattr(os, "urandom", bytes)
    secret = honest()[0].astype(np.int8)
    other = np.roll(secret, 1)
    roots = [EnrolmentProver(REQUEST, chosen).root for chosen in (secret, secret, other)]
    assert len(set(roots)) == 3


@pytest.mark.accepts("C-37")
def test_two_proofs_of_one_statement_share_nothing(single):
    first, second = (prove_linear(single.relation, single.secrets, SERVER_KEY) for _ in range(2))
    words = [
        np.frombuffer(proof[HASH_BYTES : HASH_BYTES + 80_000], "<u8") for proof in (first, second)
    ]
    assert not np.intersect1d(*words).size


# ----------------------------------------------------------------------------------- completeness


def predicted_acceptance(families: tuple[Family, ...]) -> float:
    """Probability that every |U| <= M - B'; the masks are uniform in [-M, M]."""
    return math.prod(
        ((2 * family.interval + 1) / (2 * family.mask_bound + 1)) ** family.projections
        for family in families
    )


@pytest.mark.accepts("C-20")
@pytest.mark.parametrize("name", ["batch", "single"])
def test_acceptance_of_attempts_is_as_predicted(request, name):
    answer = request.getfixturevalue(name)
    relation = answer.relation
    rng = np.random.default_rng(8)
    trials, accepted = 200, 0
    for _ in range(trials):
        transcript = Transcript(rng.bytes(16).hex())
        projections = tuple(Projection.draw(transcript, f) for f in relation.families)
        values = MaskOnlyProver(relation, answer, rng.bytes(32)).project(relation, projections)
        accepted += all(
            max(map(abs, projected)) <= family.interval
            for family, projected in zip(relation.families, values, strict=True)
        )
    p = predicted_acceptance(relation.families)
    assert 0.7 < p < 1
    assert abs(accepted / trials - p) < 5 * math.sqrt(p * (1 - p) / trials)
    assert any(family.kind is FamilyKind.BINARY for family in relation.families)


@pytest.mark.accepts("C-03")
@pytest.mark.accepts("C-05")
@pytest.mark.accepts("C-06")
@pytest.mark.accepts("C-08")
@pytest.mark.accepts("C-09")
@pytest.mark.accepts("C-10")
@pytest.mark.accepts("C-11")
@pytest.mark.accepts("C-12")
@pytest.mark.accepts("C-13")
@pytest.mark.accepts("C-14")
@pytest.mark.accepts("C-21")
@pytest.mark.accepts("C-22")
@pytest.mark.accepts("C-28")
@pytest.mark.accepts("C-31")
@pytest.mark.accepts("C-32")
@pytest.mark.accepts("C-33")
@pytest.mark.accepts("C-34")
@pytest.mark.accepts("C-35")
@pytest.mark.accepts("C-20")
@pytest.mark.parametrize("make", [make_batch, make_single])
def test_honest_answers_are_always_accepted(make):
    for seed in range(20):
        answer = make(outputs=1 + seed % 2, seed=200 + seed)
        proof = prove_linear(answer.relation, answer.secrets, SERVER_KEY)
        report = verify_linear(answer.relation, proof)
        assert report.bits >= 100


@pytest.mark.accepts("C-16")
@pytest.mark.accepts("C-17")
@pytest.mark.accepts("C-18")
@pytest.mark.accepts("C-15")
def test_honest_registrations_are_always_accepted():
    for seed in range(20):
        integers, opening = random_model(300 + seed, 1 + seed % 3, 1 + seed, 32_767)
        card = make_card(integers, opening)
        proof = prove_registration(card, integers, opening, SERVER_KEY)
        assert verify_registration(card, proof).bits >= 100


@pytest.mark.accepts("C-24")
@pytest.mark.accepts("C-25")
@pytest.mark.accepts("C-23")
def test_honest_enrolments_are_always_accepted():
    for seed in range(20):
        secret = honest(400 + seed)[0].astype(np.int8)
        try:
            key, proof = EnrolmentProver(REQUEST, secret).answer(os.urandom(32))
        except ProjectionOutOfRange:  # once in ten thousand
            key, proof = EnrolmentProver(REQUEST, secret).answer(os.urandom(32))
        assert verify_enrolment(key, proof).bits >= 100
