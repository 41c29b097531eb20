"""Private choices: unit vectors at registration, and the registered ones in every answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from protocol.encoding import decode, encode
from protocol.errors import EncodingError, ModelError
from protocol.graph import Dense, Gather, Graph, GroupedSelection, Matrix, Mul, Selection
from protocol.model import ModelCard
from tests.adversarial.malicious_prover import Strategy, forge, refusal, refused_by
from tests.adversarial.network_prover import NetworkCheat, in_range
from tests.adversarial.network_scenario import (
    SMALL_SCALE,
    Network,
    Tampering,
    make_network,
    make_public,
    network_proof,
)
from tests.adversarial.scenario import MODULI, SERVER_KEY, in_every_limb, residues
from tests.adversarial.test_network_registration import OPENING, card_of, contents
from zk_layers.checks import Check
from zk_layers.prove import prove_registration
from zk_layers.registration import RegistrationRelation
from zk_layers.verify import verify_network, verify_public_network, verify_registration

GRAPH = Graph(
    6,
    (
        Selection(0, 2, 2),  # 1: (2, 2), of three channels
        GroupedSelection(1, 2),  # 2
        Gather(2, (0, 1, 0)),  # 3
        Gather(2, (1, 0, 0)),  # 4
        Mul(3, 4),  # 5
        Dense(5, 1),  # 6
    ),
)
"""A comparison by choosing a feature, then a threshold; then products of such."""
FEATURES, THRESHOLDS, LAST = GRAPH.matrices
CHOICES = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 500, -700, 900, 40])
"""Channels 2 and 0, columns 1 and 0; three weights and a bias."""
SEED = 8
"""Of answers whose groups choose different channels, the second its column 1."""
LIES = [(Strategy(), Check.LINEAR_SUM), (Strategy(move_sum=True), Check.LINEAR)]
NO_UNIT_VECTORS = [
    (0, 0, 0),
    (1, 1, 0),
    (-1, 0, 0),
    (1, 1, -1),
    (2, -1, 0),
    (2, 0, 0),
    (1 << 14, 1 - (1 << 14), 0),
]


def with_row(matrix: Matrix, row: int, values: tuple[int, ...]) -> np.ndarray:
    integers = CHOICES.copy()
    start = matrix.offset + row * matrix.width
    integers[start : start + matrix.width] = values[: matrix.width]
    return integers


def registration_refused(
    integers: np.ndarray, strategy: Strategy, slack: Callable[[np.ndarray], None] | None = None
) -> Check | None:
    """What a verifier says of a cheat who commits to these integers and their bits."""
    card = card_of(integers, GRAPH)
    chosen = contents(integers, card)
    if slack is not None:
        slack(chosen["slack"])
    block = {name: residues(values, MODULI[0]) for name, values in chosen.items()}
    relation = RegistrationRelation(card)
    return refused_by(relation, forge(relation, [block], strategy))


@pytest.mark.accepts("C-90")
def test_choices_of_channels_and_of_columns_are_registered():
    assert [(m.rows, m.columns, m.bias) for m in (FEATURES, THRESHOLDS)] == [
        (2, 3, False),
        (2, 2, False),
    ]
    card = card_of(CHOICES, GRAPH)
    assert card.row_l1_bounds[:4] == (1, 1, 1, 1)
    proof = prove_registration(card, CHOICES, OPENING, SERVER_KEY)
    assert verify_registration(card, proof).bits >= 100
    assert registration_refused(CHOICES, Strategy()) is None


@pytest.mark.rejects("C-90")
@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("matrix", [FEATURES, THRESHOLDS], ids=["selection", "grouped"])
@pytest.mark.parametrize("values", NO_UNIT_VECTORS, ids=str)
def test_a_row_that_chooses_nothing_or_too_much(matrix, row, values):
    integers = with_row(matrix, row, values)
    for strategy, check in LIES:
        assert registration_refused(integers, strategy) is check
    shown = integers[matrix.offset :][row * matrix.width :][: matrix.width]
    norm = int(np.abs(shown).sum())
    if shown.sum() == 1:  # only its norm is wrong: slack that makes up for it is no bit
        place = row if matrix is FEATURES else 2 + row

        def negative(slack: np.ndarray) -> None:
            slack[place] = 1 - norm

        assert registration_refused(integers, Strategy(), negative) is Check.QUADRATIC


@pytest.mark.rejects("C-90")
@pytest.mark.parametrize("matrix", [FEATURES, THRESHOLDS], ids=["selection", "grouped"])
@pytest.mark.parametrize("values", NO_UNIT_VECTORS, ids=str)
def test_honest_provers_and_cards_refuse_it_too(matrix, values):
    integers = with_row(matrix, 0, values)
    card = card_of(integers, GRAPH)
    rows = tuple(
        tuple(integers[start : start + m.width].tolist())
        for m in GRAPH.matrices
        for start in range(m.offset, m.offset + m.size, m.width)
    )
    with pytest.raises(ModelError):
        replace(make_public(GRAPH, scale=SMALL_SCALE).request.card, public_weights=rows)
    bounds = list(card.row_l1_bounds)
    bounds[0 if matrix is FEATURES else 2] = 2
    with pytest.raises(ModelError):
        replace(card, row_l1_bounds=tuple(bounds))
    if np.abs(integers[matrix.offset :][: matrix.width]).sum() > 1:
        with pytest.raises(ModelError):
            prove_registration(card, integers, OPENING, SERVER_KEY)


@pytest.mark.accepts("C-91")
def test_a_graph_of_choices_is_itself_after_a_journey():
    assert Graph.from_value(decode(encode(GRAPH.value()))) == GRAPH
    card = card_of(CHOICES, GRAPH)
    assert ModelCard.decoded(card.encoded()).graph == GRAPH


@pytest.mark.rejects("C-91")
@pytest.mark.parametrize(
    "layer",
    [
        ("selection", 0, 2),
        ("selection", 0, 2, 0),
        ("selection", 0, 2, 4),
        ("selection", 0, 2, 12),
        ("selection", 0, 2, True),
        ("selection", 0, 2049, 2),
        ("grouped_selection", 0, 0),
        ("grouped_selection", 0, 4),
        ("grouped_selection", 0, 12),
        ("grouped_selection", 0, 2, 1),
        ("gather", 0, ()),
        ("gather", 0, (6,)),
        ("gather", 0, (-1,)),
        ("gather", 0, (0,) * 4097),
        ("gather", 0, 0),
        ("gather", 0, 0, 1),
    ],
    ids=str,
)
def test_choices_that_do_not_fit_are_refused_when_parsed(layer):
    with pytest.raises((ModelError, EncodingError)):
        Graph.from_value((6, (layer,)))


@cache
def chosen() -> Network:
    return make_network(GRAPH, seed=SEED, scale=SMALL_SCALE)


@pytest.mark.accepts("C-92")
def test_honest_choices_are_accepted():
    answer = chosen()
    verify_network(answer.relation, network_proof(chosen))
    _, proof = in_range(lambda seed: NetworkCheat(answer, seed=seed))
    assert refused_by(answer.relation, proof) is None
    public = make_public(GRAPH, scale=SMALL_SCALE)
    assert verify_public_network(public.statement, public.proof).bits >= 100


@pytest.mark.rejects("C-92")
@pytest.mark.parametrize("matrix", [FEATURES, THRESHOLDS], ids=["selection", "grouped"])
def test_another_choice_than_the_registered_one(matrix):
    base = chosen()
    integers = base.integers.copy()
    row = slice(matrix.offset, matrix.offset + matrix.width)
    integers[row] = np.roll(integers[row], 1)
    weights = in_every_limb(integers, base.moduli)
    answer = base.answered(weights=weights)
    blocks = [
        {**block, "weights": words} for block, words in zip(answer.blocks, weights, strict=True)
    ]
    refuse(answer, blocks=blocks)


def swapped(tensor: int, one: int, other: int) -> Tampering:
    """A tensor with the words of two units exchanged, in every limb."""

    def tamper(limb: int, index: int, tensors: list[np.ndarray]) -> np.ndarray:
        words = tensors[-1]
        if index == tensor:
            words = words.copy()
            words[[one, other]] = words[[other, one]]
        return words

    return tamper


@pytest.mark.rejects("C-92")
@pytest.mark.parametrize(
    ("tensor", "one", "other"),
    [(1, 0, 1), (1, 1, 3), (2, 0, 1), (3, 0, 1), (4, 0, 2)],
    ids=["positions", "choice at one position", "groups", "left wiring", "right wiring"],
)
def test_other_wiring_than_the_graphs(tensor, one, other):
    """Also a choice that is not the same at all positions."""
    tamper = swapped(tensor, one, other)
    refuse(chosen().answered(tamper=tamper), tamper=tamper)
    public = make_public(GRAPH, seed=SEED, scale=SMALL_SCALE, tamper=tamper)
    check = refusal(lambda: verify_public_network(public.statement, public.proof))
    assert check is Check.SUM_CHECK


def refuse(answer: Network, **how) -> None:
    assert not np.array_equal(answer.outputs, chosen().outputs)
    for strategy, check in LIES:
        _, proof = in_range(
            lambda seed, at=strategy: NetworkCheat(answer, strategy=at, seed=seed, **how)
        )
        assert refused_by(answer.relation, proof) is check
