"""Answers that are not the committed network's, made and proved as well as a cheat can.

Each lie is tried with everything a cheat may do about the projections: send the integers they are,
send others in their place, and move the linear polynomial to its target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fhe_layers.network import evaluate_network
from protocol.errors import VerificationError
from protocol.graph import Dense, Graph, square
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    OTHER_POSITIONS,
    Strategy,
    refused_by,
    second_opening,
)
from tests.adversarial.network_prover import NetworkCheat, in_range
from tests.adversarial.network_scenario import (
    Network,
    Tampering,
    make_network,
    merged,
    moved,
    network_proof,
    one_output,
    rescaled,
    two_outputs,
    two_squares,
    weights_moved,
    with_outputs,
)
from tests.adversarial.scenario import (
    MODULI,
    SERVER_KEY,
    Residues,
    in_every_limb,
    residues,
    uniform_words,
)
from zk_layers.checks import Check
from zk_layers.fields import field, ntt
from zk_layers.network import NetworkRelation
from zk_layers.prove import prove_network
from zk_layers.verify import verify_network

ALWAYS_SEEN = [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)]
"""What becomes of a value that is long mod Q, by what the cheat sends for it."""
SHORT_BUT_WRONG = [(GLUED, Check.LINEAR_SUM), (Strategy(move_sum=True), Check.LINEAR)]
"""What becomes of an equation between short values which does not hold."""
ANSWERS = [one_output, two_outputs, merged, rescaled]


def named(make: Callable[[], Network]) -> str:
    return make.__name__


def committed(answer: Network, weights: Residues) -> list[dict[str, np.ndarray]]:
    """The honest blocks with other weights."""
    return [
        {**block, "weights": words} for block, words in zip(answer.blocks, weights, strict=True)
    ]


def seen(answer: Network, turn: int | None = None, **how) -> None:
    """A lie that makes an integer long: refused whatever the cheat sends, or sends this turn."""
    for strategy, check in ALWAYS_SEEN if turn is None else [ALWAYS_SEEN[turn % 3]]:
        proof = NetworkCheat(answer, strategy=strategy, **how).answer(answer.relation)
        assert refused_by(answer.relation, proof) is check


def wrong(answer: Network, turn: int | None = None, **how) -> None:
    """A lie that breaks an equation between short integers."""
    for strategy, check in SHORT_BUT_WRONG if turn is None else [SHORT_BUT_WRONG[turn % 2]]:
        _, proof = in_range(
            lambda seed, at=strategy: NetworkCheat(answer, strategy=at, seed=seed, **how)
        )
        assert refused_by(answer.relation, proof) is check


@pytest.mark.parametrize("make", ANSWERS, ids=named)
def test_honest_answers_are_accepted(make):
    answer = make()
    verify_network(answer.relation, network_proof(make))
    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed))
    assert refused_by(answer.relation, proof) is None
    assert prover.broken() == [set()] * 3


# --------------------------------------------------------------------------------------- weights


@pytest.mark.rejects("C-62")
@pytest.mark.parametrize(
    ("index", "limb"),
    [(1, 0), (3, 2), (-3, 2), (-1, 0)],
    ids=["first", "first bias", "last", "last bias"],
)
def test_a_weight_changed_in_one_limb(index, limb):
    base = one_output()
    weights = weights_moved(base, index, 5, (limb,))
    answer = base.answered(weights=weights)
    seen(answer, index, blocks=committed(base, weights))
    seen(answer, index + 1)
    others = Strategy(limbs=tuple(at for at in range(3) if at != limb))
    _, proof = in_range(
        lambda seed: NetworkCheat(
            answer, blocks=committed(base, weights), strategy=others, seed=seed
        )
    )
    assert refused_by(answer.relation, proof) is Check.LINEAR_SUM


@pytest.mark.rejects("C-62")
@pytest.mark.parametrize(
    ("make", "index"), [(one_output, 1), (one_output, -3), (merged, -1), (rescaled, 2)]
)
def test_a_weight_changed_in_all_limbs(make, index):
    base = make()
    weights = weights_moved(base, index, -7, range(3))
    answer = base.answered(weights=weights)
    wrong(answer, blocks=committed(base, weights))
    seen(answer, index)


@pytest.mark.rejects("C-62")
@pytest.mark.parametrize("make", [one_output, rescaled], ids=named)
def test_another_network(make):
    base = make()
    other = make_network(base.graph, seed=77)
    weights = in_every_limb(other.integers, base.moduli)
    answer = base.answered(weights=weights)
    blocks = committed(base, weights)
    blocks[0]["opening"] = residues(other.opening, MODULI[0])
    wrong(answer, blocks=blocks)
    h = base.card.commitment_words()
    blocks[0]["opening"] = second_opening(MODULI[0], h, blocks[0]["weights"])
    seen(answer, blocks=blocks)


# --------------------------------------------------------------------- layers and intermediates


def in_limbs(limbs: tuple[int, ...], tensor: int, change: Callable[..., np.ndarray]) -> Tampering:
    """Changes one tensor in some limbs."""

    def tamper(limb: int, index: int, tensors: list[np.ndarray]) -> np.ndarray:
        if limb in limbs and index == tensor:
            return np.ascontiguousarray(change(tensors, MODULI[limb]))
        return tensors[-1]

    return tamper


def skipped(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    """The square is left out."""
    out = np.zeros_like(tensors[-1])
    out[:, :2] = tensors[1]
    return out


def repeated(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    """Its result goes through it again, word by word, as if it were fresh."""
    return field(modulus).mul(tensors[-1], tensors[-1])


def permuted(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    return np.roll(tensors[-1], 1, axis=0)


def rotated(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    return np.roll(tensors[-1], 1, axis=1)


def one_word(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    return moved(tensors[-1], (0, 1, 4000), modulus)


def scaled(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    return field(modulus).scale(tensors[-1], 3)


def shifted(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    """Another bias."""
    out = tensors[-1].copy()
    out[:, 0] = field(modulus).add(out[:, 0].copy(), np.full_like(out[:, 0], (1 << 100) % modulus))
    return out


def stale(tensors: list[np.ndarray], modulus: int) -> np.ndarray:
    """What another input would have given."""
    rng = np.random.default_rng(5)
    return rng.integers(0, modulus, tensors[-1].shape, dtype=np.uint64)


LIES = {
    "skipped square": (2, skipped),
    "repeated square": (2, repeated),
    "permuted units": (2, permuted),
    "rotated polynomials": (2, rotated),
    "one word of layer 1": (1, one_word),
    "one word of layer 2": (2, one_word),
    "one word of the output": (3, one_word),
    "scale of layer 1": (1, scaled),
    "scale of the output": (3, scaled),
    "bias of layer 1": (1, shifted),
    "bias of the output": (3, shifted),
    "stale layer 2": (2, stale),
    "stale output": (3, stale),
}


@pytest.mark.rejects("C-60")
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("limbs", [(1,), (0, 1, 2)], ids=["one limb", "all limbs"])
def test_a_wrong_layer_with_errors_as_the_relation_has_them(lie, limbs):
    """The difference goes into the sanitiser's errors, which are long then."""
    base, (tensor, change) = one_output(), LIES[lie]
    answer = base.answered(tamper=in_limbs(limbs, tensor, change))
    seen(answer, list(LIES).index(lie) + len(limbs))


@pytest.mark.rejects("C-53")
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("limbs", [(1,), (0, 1, 2)], ids=["one limb", "all limbs"])
def test_a_wrong_layer_consistent_with_its_output(lie, limbs):
    """Errors are short and every sum-check below the lie is about the tampered tensors."""
    base, (tensor, change) = one_output(), LIES[lie]
    tamper = in_limbs(limbs, tensor, change)
    wrong(base.answered(tamper=tamper), list(LIES).index(lie) + len(limbs), tamper=tamper)


def test_every_word_of_the_output_is_bound():
    base = rescaled()
    rng = np.random.default_rng(6)
    for index in [(j, t, limb) for j in range(2) for t in range(3) for limb in range(2)]:
        at = (*index, int(rng.integers(8192)))
        answer = with_outputs(base, moved(base.outputs, at, MODULI[index[2]]))
        proof = NetworkCheat(answer).answer(answer.relation)
        assert refused_by(answer.relation, proof) is Check.INTERVAL


def test_swapped_outputs_and_polynomials():
    base = two_outputs()
    for outputs in (base.outputs[::-1], base.outputs[:, [1, 0, 2]], base.outputs[:, ::-1]):
        answer = with_outputs(base, np.ascontiguousarray(outputs))
        seen(answer, 0)
        refused = refused_by(answer.relation, network_proof(two_outputs))
        assert refused in OTHER_POSITIONS


@pytest.mark.rejects("C-50")
@pytest.mark.parametrize(
    "graph",
    [
        Graph(3, (square(0), Dense(1, 4), Dense(2, 1))),
        Graph(3, (Dense(0, 4), Dense(1, 1), square(2))),
    ],
    ids=["square first", "square last"],
)
def test_a_proof_of_the_layers_in_another_order(graph):
    """The layers are in the card, the card's digest in the request."""
    base = one_output()
    card = replace(base.card, graph=graph)
    other = replace(base, request=replace(base.request, card=card)).answered()
    proof = prove_network(other.relation, other.secrets, SERVER_KEY)
    assert refused_by(other.relation, proof) is None
    assert other.outputs.shape == base.outputs.shape
    shown = with_outputs(base, other.outputs)
    assert refused_by(shown.relation, proof) in OTHER_POSITIONS
    seen(shown, 1)


@pytest.mark.rejects("C-50")
@pytest.mark.parametrize(
    "layers",
    [
        (Dense(0, 4), Dense(1, 1)),
        (Dense(0, 4), square(1), square(2), Dense(3, 1)),
        (Dense(0, 4), square(1), Dense(2, 4), Dense(3, 1)),
    ],
    ids=["no square", "two squares", "one more dense layer"],
)
def test_the_answer_of_a_network_of_another_depth(layers):
    """It has another size, or a proof of other integers."""
    base = one_output()
    other = make_network(Graph(3, layers), seed=8)
    if other.outputs.shape != base.outputs.shape:
        with pytest.raises(VerificationError) as refused:
            NetworkRelation(base.request, base.inputs, base.keys, other.outputs)
        assert refused.value.check == Check.STATEMENT
    else:
        shown = with_outputs(base, other.outputs)
        proof = prove_network(other.relation, other.secrets, SERVER_KEY)
        assert refused_by(shown.relation, proof) in {*OTHER_POSITIONS, Check.INTERVAL}


# ------------------------------------------------------------------------------------------ noise


@pytest.mark.rejects("C-60")
@pytest.mark.parametrize("make", [one_output, rescaled], ids=named)
@pytest.mark.parametrize(("power", "bits"), [(0, 90), (1, 40), (2, 40)])
def test_an_error_out_of_range(make, power, bits):
    base = make()
    if base.kept < 3 and power > 0:
        bits = 60  # in kept units: the rounding's own projections have a slack of 2^33
    errors = base.errors[power].copy()
    errors[0, 5] = 1 << bits
    answer = base.answered(errors={power: in_every_limb(errors, base.moduli)})
    seen(answer, power + base.kept)


@pytest.mark.rejects("C-61")
@pytest.mark.parametrize("make", [one_output, rescaled], ids=named)
def test_a_randomiser_out_of_range(make):
    base = make()
    u = base.u.astype(object)
    u[11] = 1 << 45
    chosen = in_every_limb(u, base.moduli)
    blocks = [
        {**block, "u": words} if "u" in block else block
        for block, words in zip(base.blocks, chosen, strict=True)
    ]
    seen(base.answered(u=chosen), blocks=blocks)


@pytest.mark.rejects("C-61")
def test_a_randomiser_that_differs_between_limbs():
    base = rescaled()
    other = -base.u
    chosen = (residues(base.u, MODULI[0]), residues(other, MODULI[1]), residues(base.u, MODULI[2]))
    blocks = [dict(block) for block in base.blocks]
    blocks[1]["u"] = chosen[1]
    seen(base.answered(u=chosen), blocks=blocks)


@pytest.mark.rejects("C-60")
@pytest.mark.parametrize("power", [0, 1, 2])
def test_an_error_that_differs_between_limbs(power):
    base = one_output()
    chosen = list(in_every_limb(base.errors[power], base.moduli))
    chosen[1] = moved(chosen[1], (0, 9), MODULI[1])
    seen(base.answered(errors={power: tuple(chosen)}), power)


# ----------------------------------------------------------------------------------- dropped limb


@pytest.mark.rejects("C-62")
@pytest.mark.parametrize("limbs", [(2,), (0, 1)], ids=["in the dropped limb", "in the kept ones"])
def test_weights_wrong_on_one_side_of_the_rescaling(limbs):
    base = rescaled()
    for turn, index in enumerate((1, -2)):
        weights = weights_moved(base, index, 5, limbs)
        answer = base.answered(weights=weights)
        seen(answer, turn, blocks=committed(base, weights))
        seen(answer, turn + 1)


@pytest.mark.parametrize("limb", [0, 2])
def test_an_intermediate_wrong_on_one_side_of_the_rescaling(limb):
    base = rescaled()
    tamper = in_limbs((limb,), 1, one_word)
    wrong(base.answered(tamper=tamper), limb // 2, tamper=tamper)


@pytest.mark.rejects("C-60")
@pytest.mark.parametrize("limbs", [(0,), (0, 1)], ids=["one limb", "all limbs"])
def test_an_output_shifted_by_the_inverse_of_the_dropped_modulus(limbs):
    """One more coefficient by 1 / P: P Y'' moves by a single unit in the kept limbs."""
    base = rescaled()
    outputs = base.outputs.copy()
    for limb in limbs:
        modulus = MODULI[limb]
        unit = np.zeros(outputs.shape[-1], dtype=np.uint64)
        unit[3] = pow(base.dropped_modulus, -1, modulus)
        shift = ntt(modulus, unit.size).forward(unit)
        outputs[1, 2, limb] = field(modulus).add(outputs[1, 2, limb].copy(), shift)
    seen(with_outputs(base, outputs), len(limbs))


def test_an_answer_that_was_not_rescaled():
    """The kept limbs of the bare level, sanitised: right mod the kept primes, P times too large."""
    base = rescaled()
    full = replace(base.card, profiles=(replace(base.card.profiles[0], dropped_limbs=0),))
    level = replace(base, request=replace(base.request, card=full)).answered()
    seen(with_outputs(base, np.ascontiguousarray(level.outputs[:, :, :2])))


def test_an_answer_rescaled_by_another_limb():
    """P = q_1 in place of q_2: the answer has another scale."""
    base = rescaled()
    outputs = base.outputs.copy()
    for limb in range(2):
        factor = MODULI[2] * pow(MODULI[2] - 2, -1, MODULI[limb])
        outputs[:, :, limb] = field(MODULI[limb]).scale(outputs[:, :, limb].copy(), factor)
    seen(with_outputs(base, outputs))


@pytest.mark.rejects("C-60")
def test_a_rounding_out_of_range():
    """r + 2^40 P in one coefficient: a multiple of P still, no rounding."""
    base = rescaled()
    errors = base.errors[1].copy()
    errors[1, 100] += 1 << 50
    seen(base.answered(errors={1: in_every_limb(errors, base.moduli)}))


# ------------------------------------------------------------------------------------ two squares


@pytest.mark.accepts("C-60")
@pytest.mark.accepts("C-62")
def test_two_squares_and_two_dropped_limbs():
    answer = two_squares()
    assert verify_network(answer.relation, network_proof(two_squares)).bits >= 100
    prover, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed))
    assert refused_by(answer.relation, proof) is None
    assert prover.broken() == [set()] * 6


@pytest.mark.rejects("C-62")
@pytest.mark.parametrize("limb", [0, 4])
@pytest.mark.parametrize("index", [0, 9, -1], ids=["first", "middle", "last bias"])
def test_two_squares_with_a_weight_changed_in_one_limb(limb, index):
    base = two_squares()
    weights = weights_moved(base, index, 3, (limb,))
    answer = base.answered(weights=weights)
    seen(answer, index + limb, blocks=committed(base, weights))


@pytest.mark.rejects("C-53")
@pytest.mark.parametrize("tensor", [1, 2, 3, 4])
def test_two_squares_with_a_wrong_intermediate(tensor):
    base = two_squares()

    def tamper(limb: int, index: int, tensors: list[np.ndarray]) -> np.ndarray:
        words = tensors[-1]
        return moved(words, (1, 1, 7), base.moduli[limb]) if index == tensor else words

    wrong(base.answered(tamper=tamper), tensor, tamper=tamper)


@pytest.mark.rejects("C-60")
@pytest.mark.parametrize("poly", [0, 4])
def test_two_squares_with_a_wrong_output_word(poly):
    base = two_squares()
    outputs = moved(base.outputs, (0, poly, 3, 16_000), base.moduli[3])
    seen(with_outputs(base, outputs), poly)


# ------------------------------------------------------------------------------------- statements


@pytest.mark.rejects("C-64")
def test_shapes_of_another_statement():
    base, request = rescaled(), rescaled().request
    rng = np.random.default_rng(9)
    for outputs in (
        base.outputs[:1],
        base.outputs[:, :2],
        base.outputs[:, :, :1],
        base.outputs[..., :4096],
        uniform_words(rng, (2, 4), MODULI[:2]),
        uniform_words(rng, (2, 3), MODULI),
        base.outputs.astype(np.int64),
    ):
        with pytest.raises(VerificationError) as refused:
            NetworkRelation(request, base.inputs, base.keys, np.ascontiguousarray(outputs))
        assert refused.value.check == Check.STATEMENT
    for keys in (base.keys[:-1], base.keys[:, :1], np.concatenate([base.keys, base.keys[:1]])):
        with pytest.raises(VerificationError) as refused:
            NetworkRelation(request, base.inputs, np.ascontiguousarray(keys), base.outputs)
        assert refused.value.check == Check.STATEMENT


@pytest.mark.parametrize("name", ["inputs", "keys", "outputs"])
@pytest.mark.parametrize("limb", [0, 1])
def test_words_that_are_not_canonical(name, limb):
    base = rescaled()
    words = getattr(base, name).copy()
    words[0, 1, limb, 8] = MODULI[limb] if limb else int(words[0, 1, limb, 8]) + MODULI[limb]
    with pytest.raises(VerificationError) as refused:
        replace(base, **{name: words}).relation  # noqa: B018
    assert refused.value.check == Check.CANONICAL


def test_the_scenario_evaluates_like_the_product():
    """The attacks' own arithmetic agrees with what servers run."""
    for make in (one_output, merged):
        base = make()
        scale = base.card.profiles[0].parameters.input_scale_log2
        found = evaluate_network(
            base.graph,
            base.integers,
            base.inputs,
            input_scale_log2=scale,
            moduli=base.moduli,
            keep=(1, 2),
        )
        tensors = base.tensors()
        assert (found.outputs == tensors[-1]).all()
        assert all((found.kept[index] == tensors[index]).all() for index in (1, 2))
