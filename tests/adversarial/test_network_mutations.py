"""Proofs of networks flipped, cut, lengthened, reordered, replayed: all are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import VerificationError
from protocol.parameters import CodeParameters
from protocol.request import Request
from tests.adversarial.malicious_prover import (
    CLAMPED,
    MOVED,
    OTHER_POSITIONS,
    refusal,
    refused_by,
    without,
)
from tests.adversarial.network_prover import NetworkCheat, in_range
from tests.adversarial.network_scenario import (
    FLOODING,
    INPUT_SCALE,
    SMALL_SCALE,
    Network,
    make_network,
    merged,
    moved,
    network_proof,
    one_output,
    rescaled,
    two_outputs,
    with_outputs,
)
from tests.adversarial.scenario import DEGREE, MODULI, SERVER_KEY, in_every_limb, make_key
from zk_layers.checks import Check
from zk_layers.ligero.messages import projection_bytes
from zk_layers.ligero.shape import limb_shapes
from zk_layers.merkle import HASH_BYTES, SALT_BYTES
from zk_layers.network import NetworkRelation, network_relation
from zk_layers.prove import prove_network
from zk_layers.verify import verify_network

ANSWERS = [one_output, merged, rescaled]


def regions(relation: NetworkRelation, proof: bytes) -> dict[str, range]:
    """Byte ranges of the fields of a proof."""
    code, shapes = relation.code, limb_shapes(relation)
    sizes = {
        "root": HASH_BYTES,
        "integers": projection_bytes(relation.families),
        "messages": 16 * relation.message_elements * len(shapes),
        "proximity": 16 * len(shapes) * code.row_degree,
        "linear": 16 * len(shapes) * code.linear_length,
        "columns": 8 * code.opened_columns * sum(shape.rows for shape in shapes),
        "salts": SALT_BYTES * code.opened_columns,
    }
    found, at = {}, 0
    for name, size in sizes.items():
        found[name] = range(at, at + size)
        at += size
    return {**found, "paths": range(at, len(proof))}


@pytest.mark.rejects("C-51")
@pytest.mark.rejects("C-52")
@pytest.mark.parametrize("make", ANSWERS, ids=lambda make: make.__name__)
def test_mutated_proofs(make):
    """Every field: a bit, a stretch of zeros, two stretches exchanged, boundary words."""
    answer, proof = make(), network_proof(make)
    rng = np.random.default_rng(7)
    boundaries = [0, (1 << 64) - 1, *(q + d for q in MODULI for d in (-1, 0, 1))]
    for span in regions(answer.relation, proof).values():
        for kind in range(4):
            changed = bytearray(proof)
            at = int(rng.integers(span.start, span.stop - 16))
            if kind == 0:
                changed[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                changed[at : at + 16] = bytes(16)
            elif kind == 2:
                other = span.start if at - span.start >= 8 else span.start + 16
                changed[at : at + 8], changed[other : other + 8] = (
                    proof[other : other + 8],
                    proof[at : at + 8],
                )
            else:
                word = span.start + (at - span.start) // 8 * 8
                chosen = boundaries[int(rng.integers(len(boundaries)))]
                changed[word : word + 8] = chosen.to_bytes(8, "little")
            if bytes(changed) == proof:
                continue
            with pytest.raises(VerificationError):
                verify_network(answer.relation, bytes(changed))


@pytest.mark.rejects("C-51")
@pytest.mark.parametrize("make", [one_output, rescaled], ids=lambda make: make.__name__)
def test_proofs_cut_and_lengthened_at_every_field(make):
    answer, proof = make(), network_proof(make)
    ends = [span.stop for span in regions(answer.relation, proof).values()]
    for end in {0, 1, 31, *ends[:-1], *(end - 1 for end in ends), *(end - 16 for end in ends)}:
        assert refused_by(answer.relation, proof[:end]) is Check.SIZE
    for tail in (b"\0", bytes(16), proof):
        assert refused_by(answer.relation, proof + tail) is Check.SIZE
    for end in ends[:-1]:  # one value more in a field moves all that follow
        longer = proof[:end] + bytes(16) + proof[end:]
        assert refused_by(answer.relation, longer) in {
            Check.SIZE,
            Check.CANONICAL,
            Check.MERKLE,
            Check.INTERVAL,
        }
    messages = regions(answer.relation, proof)["messages"]
    shorter = proof[: messages.stop - 48] + proof[messages.stop :]
    assert refused_by(answer.relation, shorter) is not None


@pytest.mark.rejects("C-51")
@pytest.mark.parametrize("limb", [0, 1, 2])
def test_a_message_word_spelt_in_another_way(limb):
    """w + q is w mod q: refused for its spelling, whatever it stands for."""
    answer, modulus = one_output(), MODULI[limb]

    class Speller(NetworkCheat):
        def _converse(self, relation, transcript, challenges):
            absorb = transcript.absorb

            def respell(label: str, data: bytes) -> None:
                if label == "power 2 end":
                    words = np.frombuffer(data, dtype="<u8").astype(np.uint64).copy()
                    words[limb * (words.size // 3)] += np.uint64(modulus)
                    data = words.astype("<u8").tobytes()
                    self.respelt = data
                absorb(label, data)

            transcript.absorb = respell
            exchange, folded = super()._converse(relation, transcript, challenges)
            exchange.sent[-1] = self.respelt
            return exchange, folded

    for _ in range(20):
        prover = Speller(answer)
        proof = prover.answer(answer.relation)
        if prover.in_range:
            break
    assert refused_by(answer.relation, proof) is Check.CANONICAL
    with without(Check.CANONICAL):
        assert refused_by(answer.relation, proof) is None, "accepted once the check is gone"


# ----------------------------------------------------------------- claims exchanged, rounds bent


@pytest.mark.rejects("C-52")
@pytest.mark.parametrize("make", [one_output, merged], ids=lambda make: make.__name__)
def test_messages_exchanged_between_limbs_and_rounds(make):
    """By a prover who says it so, under the right pads."""
    answer = make()
    labels = ["power 2 round 3", "power 2 end"] + (["merge 3 end"] if make is merged else [])
    for label in labels:

        def exchanged(words: np.ndarray) -> np.ndarray:
            """Limbs 0 and 1; reduced, so that a word too large is no reason."""
            words[[0, 1]] = words[[1, 0]]
            return words % np.uint64(min(MODULI))

        prover, proof = in_range(
            lambda seed, at=label: NetworkCheat(answer, seed=seed, edits={at: exchanged})
        )
        assert refused_by(answer.relation, proof) is Check.LINEAR_SUM
        assert prover.broken()[0]
        assert prover.broken()[1]
    kept: dict[str, np.ndarray] = {}

    def keep(words: np.ndarray) -> np.ndarray:
        kept["earlier"] = words.copy()
        return words

    edits = {"power 2 round 4": keep, "power 2 round 5": lambda words: kept["earlier"]}
    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed, edits=edits))
    assert refused_by(answer.relation, proof) is Check.LINEAR_SUM
    assert all(prover.broken())


@pytest.mark.rejects("C-51")
def test_a_round_polynomial_of_too_high_a_degree():
    """g + c X^2 (X - 2) (X - 3): g's values are sent for another sum, which no cubic has."""
    base = one_output()
    answer = with_outputs(base, moved(base.outputs, (0, 0, 2, 3), MODULI[2]))
    honest = NetworkCheat(answer, strategy=CLAMPED)
    assert refused_by(answer.relation, honest.answer(answer.relation)) is Check.LINEAR_SUM
    assert honest.broken()[2] == {2}
    proof = network_proof(one_output)
    at = regions(base.relation, proof)["messages"].start + 16 * 3
    assert refused_by(base.relation, proof[:at] + bytes(48) + proof[at:]) is not None


# ----------------------------------------------------------------------------------------- replay


def other_statements(answer: Network) -> dict[str, Network]:
    request = answer.request
    card = request.card
    other = make_network(answer.graph, seed=40)
    profile = replace(card.profiles[0], flooding_log2=FLOODING - 1)
    requests: dict[str, Request] = {
        "nonce": replace(request, nonce=bytes(32)),
        "request id": replace(request, request_id=bytes(16)),
        "client": replace(request, client_id="another client"),
        "server": replace(request, server_id="another server"),
        "records": replace(request, records=7),
        "registration": replace(request, registration_digest=bytes(32)),
        "model name": replace(request, card=replace(card, name="another network")),
        "commitment": replace(request, card=replace(card, commitment=other.card.commitment)),
        "flooding": replace(request, card=replace(card, profiles=(profile,))),
    }
    changed = {name: replace(answer, request=at) for name, at in requests.items()}
    changed["inputs"] = replace(answer, request=other.request, inputs=other.inputs)
    changed["keys"] = replace(answer, keys=np.ascontiguousarray(answer.keys[::-1]))
    changed["outputs"] = with_outputs(answer, other.outputs)
    return changed


@pytest.mark.rejects("C-50")
@pytest.mark.parametrize("make", [one_output, rescaled], ids=lambda make: make.__name__)
def test_a_proof_shown_for_another_statement(make):
    answer, proof = make(), network_proof(make)
    for name, other in other_statements(answer).items():
        if make is rescaled and name in {"inputs", "outputs"}:
            continue
        refused = refused_by(replace(other).relation, proof)
        assert refused in {*OTHER_POSITIONS, Check.INTERVAL}, name


@pytest.mark.accepts("C-64")
@pytest.mark.rejects("C-64")
def test_a_relation_is_stated_about_what_the_request_names():
    answer = two_outputs()
    rng = np.random.default_rng(3)
    good = network_relation(answer.request, answer.sent, answer.enrolled, answer.outputs)
    assert refused_by(good, network_proof(two_outputs)) is None

    def stated(**changes) -> Check | None:
        parts = {
            "request": answer.request,
            "inputs": answer.sent,
            "key": answer.enrolled,
            "outputs": answer.outputs,
        }
        return refusal(lambda: network_relation(**{**parts, **changes}))

    needed = answer.card.keys_needed
    assert needed == 4, "one key for each output and power below the last"
    few = make_key(rng, needed - 1)
    of_few = replace(answer.request, key_digest=few.digest)
    assert stated(key=few, request=of_few) is Check.STATEMENT
    many = make_key(rng, needed + 1)
    assert stated(key=many, request=replace(answer.request, key_digest=many.digest)) is None
    assert stated(key=many) is Check.STATEMENT
    assert stated(inputs=one_output().sent) is Check.STATEMENT
    assert stated(outputs=answer.outputs[:, :2]) is Check.STATEMENT
    for field in ("client_id", "server_id"):
        other = replace(answer.request, **{field: "another"})
        assert stated(request=other) is Check.STATEMENT


# --------------------------------------------------------------------------------- removed checks


def another_key(answer: Network):
    """STATEMENT: an answer under a key which the request does not name."""
    enrolled = make_key(np.random.default_rng(11), answer.card.keys_needed)
    keys = enrolled.pairs(answer.card.keys_needed, len(MODULI))
    forged = replace(answer, keys=keys).answered()
    proof = prove_network(forged.relation, forged.secrets, SERVER_KEY)
    return lambda: verify_network(
        network_relation(answer.request, answer.sent, enrolled, forged.outputs), proof
    )


def unread_byte(answer: Network):
    """SIZE."""
    proof = network_proof(one_output)
    return lambda: verify_network(answer.relation, proof + b"\0")


def long_flooding(answer: Network):
    """INTERVAL: the integers are sent as they are."""
    family = answer.relation.families[0]
    errors = answer.errors[0].copy()
    errors[0, 0] = family.interval + (family.interval >> 3)
    forged = answer.answered(errors={0: in_every_limb(errors, MODULI)})
    for _ in range(20):
        prover = NetworkCheat(forged)
        proof = prover.answer(forged.relation)
        others = zip(prover.families[1:], prover.sent[1:], strict=True)
        if all(max(map(abs, sent)) <= at.interval for at, sent in others):
            break
    assert not prover.in_range
    return lambda: verify_network(forged.relation, proof)


def wrong_sum(answer: Network):
    """LINEAR_SUM: a changed output word, honest polynomials."""
    forged = with_outputs(answer, moved(answer.outputs, (0, 1, 1, 9), MODULI[1]))
    proof = NetworkCheat(forged, strategy=CLAMPED).answer(forged.relation)
    return lambda: verify_network(forged.relation, proof)


def moved_polynomial(answer: Network):
    """LINEAR: the same, with polynomials that sum to the target."""
    forged = with_outputs(answer, moved(answer.outputs, (0, 1, 1, 9), MODULI[1]))
    proof = NetworkCheat(forged, strategy=MOVED).answer(forged.relation)
    return lambda: verify_network(forged.relation, proof)


def of_scale(answer: Network, scale: int, limit: float = 1.0):
    parameters = replace(answer.card.profiles[0].parameters, input_scale_log2=scale)
    profile = replace(answer.card.profiles[0], parameters=parameters)
    features = tuple(replace(f, low=-limit, high=limit) for f in answer.card.features)
    card = replace(answer.card, profiles=(profile,), features=features)
    changed = replace(answer, request=replace(answer.request, card=card)).answered()
    proof = prove_network(changed.relation, changed.secrets, SERVER_KEY)
    return lambda: verify_network(changed.relation, proof)


def wrapping(answer: Network):
    """NO_WRAP: values so large that the square wraps mod Q, though each word is right."""
    return of_scale(answer, INPUT_SCALE, 2.0**10)


def drowned(answer: Network):
    """PRECISION: a scale at which the error bound swallows the value."""
    return of_scale(rescaled(), SMALL_SCALE)


def few_columns(answer: Network):
    """SOUNDNESS: an honest proof of fewer opened columns."""

    class FewColumns(NetworkRelation):
        code = CodeParameters(message_length=512, opened_columns=100, codeword_length=DEGREE)

    relation = FewColumns(answer.request, answer.inputs, answer.keys, answer.outputs)
    proof = prove_network(relation, answer.secrets, SERVER_KEY)
    return lambda: verify_network(relation, proof)


REMOVED = {
    Check.STATEMENT: another_key,
    Check.SIZE: unread_byte,
    Check.INTERVAL: long_flooding,
    Check.LINEAR_SUM: wrong_sum,
    Check.LINEAR: moved_polynomial,
    Check.NO_WRAP: wrapping,
    Check.PRECISION: drowned,
    Check.SOUNDNESS: few_columns,
}


@pytest.mark.rejects("C-66")
@pytest.mark.parametrize("check", REMOVED, ids=lambda check: check.name)
def test_a_forgery_which_this_check_alone_stops(check):
    """For a private network; equations of the reductions: test_network_equations.py."""
    verification = REMOVED[check](one_output())
    assert refusal(verification) is check
    with without(check):
        assert refusal(verification) is None, "accepted once the check is gone"
