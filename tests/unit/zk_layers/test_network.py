"""Networks of every kind of layer, proved and verified in both modes on uniform words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fhe_layers.network import evaluate_network
from fhe_layers.sanitise import sanitise_network
from protocol.errors import ModelError, RequestError
from protocol.parameters import Packing
from tests.adversarial.malicious_prover import violations, without
from tests.adversarial.network_prover import NetworkCheat
from tests.adversarial.network_scenario import (
    make_network,
    make_public,
    one_output,
    rescaled,
    two_squares,
    with_outputs,
)
from tests.adversarial.scenario import DEGREE, MODULI, SERVER_KEY, make_batch
from tests.unit.zk_layers.test_reduction_schedule import GRAPHS
from zk_layers.checks import Check
from zk_layers.ligero.verifier import verify
from zk_layers.network import NetworkRelation, NetworkWitness
from zk_layers.prove import prove_network
from zk_layers.reduction.exchange import ELEMENT_BYTES, Reading
from zk_layers.reduction.speaker import kept_tensors
from zk_layers.soundness import extension_terms, require_soundness, soundness
from zk_layers.verify import verify_network, verify_public_network


@pytest.mark.accepts("C-50")
@pytest.mark.accepts("C-51")
@pytest.mark.accepts("C-52")
@pytest.mark.accepts("C-53")
@pytest.mark.accepts("C-55")
@pytest.mark.accepts("C-58")
@pytest.mark.accepts("C-60")
@pytest.mark.accepts("C-61")
@pytest.mark.accepts("C-62")
@pytest.mark.accepts("C-65")
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("dropped", [0, 1])
def test_a_private_network_is_proved(name, dropped):
    """Tensors computed by plain arithmetic, so that evaluation is checked as well."""
    answer = make_network(GRAPHS[name], seed=len(name), dropped_limbs=dropped)
    proof = prove_network(answer.relation, answer.secrets, SERVER_KEY)
    verify(answer.relation, proof)
    assert soundness(answer.relation).bits >= 100


@pytest.mark.accepts("C-60")
@pytest.mark.accepts("C-61")
@pytest.mark.parametrize("make", [one_output, rescaled, two_squares], ids=lambda m: m.__name__)
def test_what_servers_compute_and_sanitise_is_proved(make):
    """The product's evaluation and noise in place of the scenario's."""
    answer = make()
    profile = answer.card.profiles[0]
    scale = profile.parameters.input_scale_log2
    evaluation = evaluate_network(
        answer.graph,
        answer.integers,
        answer.inputs,
        input_scale_log2=scale,
        moduli=answer.moduli,
        keep=kept_tensors(answer.graph, scale, hidden=True),
    )
    sanitised = sanitise_network(
        evaluation.outputs,
        answer.keys,
        bytes(range(32)),
        flooding_log2=profile.flooding_log2,
        dropped_limbs=profile.dropped_limbs,
        moduli=answer.moduli,
    )
    relation = with_outputs(answer, sanitised.outputs).relation
    noise = sanitised.noise
    secrets = NetworkWitness(
        answer.integers, answer.opening, noise.u, noise.errors, evaluation.kept
    )
    assert verify_network(relation, prove_network(relation, secrets, SERVER_KEY)).bits >= 100


@pytest.mark.accepts("C-68")
@pytest.mark.accepts("C-69")
@pytest.mark.accepts("C-70")
@pytest.mark.parametrize("name", GRAPHS)
def test_a_public_network_is_proved(name):
    answer = make_public(GRAPHS[name], seed=len(name))
    proof, statement = answer.proof, answer.statement
    assert len(proof) == statement.proof_bytes
    assert len(proof) == ELEMENT_BYTES * 3 * statement.schedule.elements
    with without(Check.NO_WRAP):  # some of these wrap around Q: that is not what is proved here
        assert verify_public_network(statement, proof).bits >= 100


@pytest.mark.parametrize("name", GRAPHS)
def test_the_equations_hold_on_an_honest_witness(name):
    """Directly on the committed residues, without any code or tree; two ways of proving."""
    answer = make_network(GRAPHS[name], seed=3)
    prover = NetworkCheat(answer)
    prover.talk()
    assert prover.broken() == [set()] * 3
    assert violations(answer.relation, prover) == [(0, 0)] * 3


def test_the_witness_is_the_one_the_attacks_start_from():
    for answer in (one_output(), rescaled()):
        witness = answer.relation.witness(answer.secrets)
        for limb, block in enumerate(answer.blocks):
            assert set(witness.blocks[limb]) == set(block)
            for name, words in block.items():
                assert (witness.blocks[limb][name] == words).all()


@pytest.mark.accepts("C-66")
def test_soundness_term_by_term():
    """3-4-1 in three limbs: 15 rounds of degree 3, two multiplications, three polynomials."""
    report = require_soundness(one_output().relation)
    field_bits = [2 * math.log2(q) for q in MODULI]

    def bits(numerator: int) -> float:
        return -math.log2(sum(numerator * 2.0**-size for size in field_bits))

    assert report.terms["sum-checks"] == pytest.approx(bits(45))
    assert report.terms["multiplications"] == pytest.approx(bits(4))
    assert report.terms["sigma"] == pytest.approx(bits(3))
    assert report.terms["constraints"] == pytest.approx(bits(1))
    for family in ("flooding", "error 1", "error 2", "u", "weights", "opening"):
        assert report.terms[family] == 128
    assert report.bits == pytest.approx(
        -math.log2(sum(2.0**-value for value in report.terms.values()))
    )
    assert 101 < report.bits < min(report.terms.values())


@pytest.mark.rejects("C-66")
def test_soundness_falls_with_the_field():
    terms = extension_terms({"sum-checks": 45, "none": 0}, MODULI)
    small = extension_terms({"sum-checks": 45}, (MODULI[0] >> 10,) * 3)
    assert set(terms) == {"sum-checks"}
    assert terms["sum-checks"] - small["sum-checks"] == pytest.approx(20, abs=0.01)


def test_the_projection_vectors_are_shared_by_the_errors_only():
    relation = rescaled().relation
    shared = [f.name for f in relation.families if relation.shares_projections(f)]
    assert shared == ["error 1", "error 2"]
    assert [f.name for f in relation.families] == [
        "flooding",
        "error 1",
        "error 2",
        "u",
        "weights",
        "opening",
    ]
    projections = relation.draw_projections(relation.begin())
    vectors = [projection.vectors for projection in projections]
    assert vectors[1] is vectors[0]
    assert vectors[2] is vectors[0]
    assert vectors[3].shape != vectors[0].shape or (vectors[3] != vectors[0]).any()


def test_the_randomiser_lives_in_kept_limbs_only():
    relation = rescaled().relation
    for limb, expected in ((0, True), (1, True), (2, False)):
        names = {block.name for block in relation.blocks(limb)}
        assert ("u" in names) is expected
        assert ("mask u" in names) is expected
        assert "pads" in names
        assert ("opening" in names) is (limb == 0)
    families = {family.name: family for family in relation.families}
    assert families["u"].limbs == (0, 1)
    assert families["flooding"].limbs == families["error 2"].limbs == (0, 1, 2)


def test_linear_models_and_records_have_other_relations():
    batch = make_batch()
    with pytest.raises(RequestError):
        NetworkRelation(batch.request, batch.inputs, batch.keys, batch.outputs)
    with pytest.raises(ModelError, match="does not offer packing 'single'"):
        replace(one_output().request, packing=Packing.SINGLE, records=1)


def test_linear_forms_need_the_reductions():
    relation = one_output().relation
    with pytest.raises(TypeError, match="reductions"):
        relation.linear_forms(object())  # type: ignore[arg-type]


def test_verification_needs_no_prover():
    """A reader of a stream that ends says nothing of secrets: it just cannot go on."""
    transcript = one_output().relation.begin()
    reading = Reading(transcript, MODULI, bytes)
    said = reading.say("x", (None, None), None)
    assert said.shape == (3, 2, 2)
    assert not said.any()


def test_margins_are_checked_before_the_proof():
    answer = one_output()
    features = tuple(replace(f, low=-(2.0**20), high=2.0**20) for f in answer.card.features)
    card = replace(answer.card, features=features)
    changed = replace(answer, request=replace(answer.request, card=card))
    with pytest.raises(Exception, match="no wrap"):
        verify_network(changed.relation, b"no proof at all")


def test_answers_of_real_size_are_what_their_sum_says():
    """With every error zero the output is the network's, word by word."""
    answer = one_output()
    nothing = {i: tuple(np.zeros((1, DEGREE), dtype=np.uint64) for _ in MODULI) for i in range(3)}
    u = tuple(np.zeros(DEGREE, dtype=np.uint64) for _ in MODULI)
    bare = answer.answered(u=u, errors=nothing)
    assert (bare.outputs == answer.tensors()[-1]).all()
