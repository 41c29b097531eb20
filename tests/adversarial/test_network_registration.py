"""Registration of several matrices: ranges, norms, selections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import ModelError
from protocol.families import WEIGHT_BITS, WEIGHT_BOUND
from protocol.graph import Conv2d, Dense, Graph, Selection, square
from protocol.model import ModelCard
from tests.adversarial.malicious_prover import (
    GLUED,
    OTHER_POSITIONS,
    Strategy,
    forge,
    refusal,
    refused_by,
)
from tests.adversarial.network_scenario import network_card, random_integers
from tests.adversarial.scenario import MODULI, SERVER_KEY, residues
from zk_layers.checks import Check
from zk_layers.commitment import commit, sample_opening
from zk_layers.prove import prove_registration
from zk_layers.registration import RegistrationRelation
from zk_layers.verify import verify_registration

Q = MODULI[0]
GRAPH = Graph(4, (Selection(0, 3), Dense(1, 2), square(2), Dense(3, 2)))
"""Selection (3, 4), then (2, 4) and (2, 3) with biases."""
FIRST, SECOND = range(12, 20), range(20, 26)
OPENING = sample_opening(bytes(32))
INTEGERS = random_integers(GRAPH, 5)


def card_of(integers: np.ndarray, graph: Graph = GRAPH, norm: int | None = None) -> ModelCard:
    """A card that commits to any integers, in any range."""
    card = network_card(graph, np.zeros(graph.integers_count, dtype=np.int64), OPENING)
    words = residues(integers.astype(object), Q)
    h = commit(Q, words, residues(OPENING, Q)).astype("<u8").tobytes()
    if norm is not None:
        bounds = [bound if bound == 1 else norm for bound in card.row_l1_bounds]
        card = replace(card, row_l1_bounds=tuple(bounds))
    return replace(card, commitment=h)


def contents(integers: np.ndarray, card: ModelCard) -> dict[str, np.ndarray]:
    """What an honest prover would commit to, without its own range checks."""
    relation = RegistrationRelation(card)
    magnitude = np.abs(integers).astype(object)
    sums = [0] * relation.rows
    for row, value in zip(relation.row_of, magnitude, strict=True):
        sums[row] += int(value)
    slack = [
        ((bound - total) >> i) & 1
        for bound, total, bits in zip(card.row_l1_bounds, sums, relation.slack_bits, strict=True)
        for i in range(bits)
    ]
    return {
        "bits": np.concatenate([(magnitude >> i) & 1 for i in range(WEIGHT_BITS)]),
        "sign": (integers < 0).astype(object),
        "magnitude": magnitude,
        "negative": np.where(integers < 0, magnitude, 0),
        "slack": np.array(slack, dtype=object),
        "opening": OPENING.astype(object),
        "square": (OPENING * OPENING).astype(object),
    }


def refused(
    integers: np.ndarray,
    change: Callable[[dict[str, np.ndarray]], None] | None = None,
    strategy: Strategy = GLUED,
    norm: int | None = None,
) -> Check | None:
    card = card_of(integers, norm=norm)
    chosen = contents(integers, card)
    if change is not None:
        change(chosen)
    relation = RegistrationRelation(card)
    block = {name: residues(values, Q) for name, values in chosen.items()}
    return refused_by(relation, forge(relation, [block], strategy))


def changed(at: range, place: int, value: int) -> np.ndarray:
    integers = INTEGERS.copy()
    integers[at[place]] = value
    return integers


def selected(*rows: tuple[int, ...]) -> np.ndarray:
    integers = INTEGERS.copy()
    integers[: 4 * len(rows)] = np.array(rows).reshape(-1)
    return integers


@pytest.mark.accepts("C-73")
@pytest.mark.accepts("C-74")
def test_honest_registrations_are_accepted():
    graphs = (
        GRAPH,
        Graph(3, (Dense(0, 4), square(1), Dense(2, 1))),
        Graph(9, (Conv2d(0, (1, 3, 3), 2, (2, 2), (1, 1), (0, 0)), square(1), Dense(2, 3))),
        Graph(40, (Dense(0, 40), square(1), Selection(2, 5))),
    )
    for seed, graph in enumerate(graphs):
        integers = random_integers(graph, seed) // (1 if graph is GRAPH else 8)
        for matrix in graph.matrices:
            if isinstance(graph.layers[matrix.layer], Selection):
                span = slice(matrix.offset, matrix.offset + matrix.size)
                integers[span] = random_integers(graph, seed)[span]
        card = network_card(graph, integers, OPENING)
        proof = prove_registration(card, integers, OPENING, SERVER_KEY)
        assert verify_registration(card, proof).bits >= 100
    assert refused(INTEGERS) is None


@pytest.mark.rejects("C-74")
@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 0, 0),
        (1, 1, 0, 0),
        (-1, 0, 0, 0),
        (1, 1, -1, 0),
        (2, -1, 0, 0),
        (2, 0, 0, 0),
        (1, 0, 0, 1),
        (1 << 14, 1 - (1 << 14), 0, 0),
    ],
    ids=str,
)
def test_rows_that_select_nothing_or_too_much(row):
    """Magnitudes that sum to at most 1 and entries that sum to 1 are a unit vector."""
    integers = selected((0, 1, 0, 0), row, (1, 0, 0, 0))
    assert refused(integers) is Check.LINEAR_SUM
    assert refused(integers, strategy=Strategy(move_sum=True)) is Check.LINEAR

    def any_slack(chosen: dict[str, np.ndarray]) -> None:
        chosen["slack"][1] = 1 - sum(map(abs, row))

    norm_holds = sum(map(abs, row)) <= 1
    if sum(row) == 1 or not norm_holds:
        expected = Check.QUADRATIC if sum(row) == 1 else Check.LINEAR_SUM
        assert refused(integers, any_slack) is expected


@pytest.mark.rejects("C-74")
def test_fractions_that_sum_to_one():
    """Halves in the field: the magnitudes have no bits."""
    half = pow(2, -1, Q)
    integers = selected((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0)).astype(object)
    integers[4:6] = half
    card = card_of(INTEGERS)
    h = commit(Q, residues(integers, Q), residues(OPENING, Q)).astype("<u8").tobytes()
    card = replace(card, commitment=h)
    chosen = contents(selected((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0)), card)
    chosen["magnitude"][4:6] = half
    relation = RegistrationRelation(card)
    block = {name: residues(values, Q) for name, values in chosen.items()}
    assert refused_by(relation, forge(relation, [block])) is Check.LINEAR_SUM
    chosen["bits"][4:6] = half
    block = {name: residues(values, Q) for name, values in chosen.items()}
    assert refused_by(relation, forge(relation, [block])) is Check.QUADRATIC


@pytest.mark.rejects("C-73")
@pytest.mark.parametrize("matrix", [FIRST, SECOND], ids=["first matrix", "last matrix"])
@pytest.mark.parametrize("place", [0, 5], ids=["weight", "last integer"])
@pytest.mark.parametrize("value", [WEIGHT_BOUND + 1, -40_000, 1 << 30])
def test_an_integer_out_of_range_in_any_matrix(matrix, place, value):
    integers = changed(matrix, place, value)
    reach = 4 * (WEIGHT_BOUND + 1)
    norm = reach if abs(value) < reach else None
    assert refused(integers, norm=norm) is Check.LINEAR_SUM
    assert refused(integers, strategy=Strategy(move_sum=True), norm=norm) is Check.LINEAR

    def top_bit(chosen: dict[str, np.ndarray]) -> None:
        top = (WEIGHT_BITS - 1) * len(integers) + matrix[place]
        chosen["bits"][top] = abs(value) >> (WEIGHT_BITS - 1)

    if norm is not None:
        assert refused(integers, top_bit, norm=norm) is Check.QUADRATIC


@pytest.mark.rejects("C-73")
def test_the_bias_is_an_integer_of_its_row():
    """A bias counts in its row's norm and is committed with it."""
    rows = INTEGERS[12:20].reshape(2, 4)
    norm = int(np.abs(rows).sum(axis=1).max())
    last = int(np.abs(INTEGERS[20:].reshape(2, 3)).sum(axis=1).max())
    tight = max(norm, last)
    assert refused(INTEGERS, norm=tight) is None
    integers = INTEGERS.copy()
    at = 15 if norm >= last else 22
    row = np.abs(rows).sum(axis=1).argmax() if norm >= last else 0
    at += int(row) * (4 if norm >= last else 3)
    integers[at] += 1 if integers[at] >= 0 else -1

    def no_slack(chosen: dict[str, np.ndarray]) -> None:
        bits = tight.bit_length()
        start = 3 + (int(row) if norm >= last else 2 + int(row)) * bits
        chosen["slack"][start : start + bits] = 0

    assert refused(integers, no_slack, norm=tight) is Check.LINEAR_SUM


@pytest.mark.rejects("C-73")
def test_slack_borrowed_from_another_row():
    """One row above its norm, another below by as much: every row has its own equation."""
    tight = int(np.abs(INTEGERS[12:20].reshape(2, 4)).sum(axis=1).max())
    tight = max(tight, int(np.abs(INTEGERS[20:].reshape(2, 3)).sum(axis=1).max()))
    rows = np.abs(INTEGERS[12:20].reshape(2, 4)).sum(axis=1)
    low = int(rows.argmin())
    integers = INTEGERS.copy()
    start = 12 + 4 * low
    integers[start] += (tight - int(rows[low]) + 5) * (1 if integers[start] >= 0 else -1)

    def borrow(chosen: dict[str, np.ndarray]) -> None:
        bits = tight.bit_length()
        at = 3 + low * bits
        chosen["slack"][at : at + bits] = 0

    assert refused(integers, borrow, norm=tight) is Check.LINEAR_SUM


@pytest.mark.rejects("C-73")
def test_integers_shifted_into_the_next_matrix():
    """The flat order is committed: moving all by one place is another model."""
    card = card_of(INTEGERS)
    chosen = contents(INTEGERS, card)
    relation = RegistrationRelation(card)
    for name in ("magnitude", "negative", "sign"):
        chosen[name] = np.roll(chosen[name], 1)
    chosen["bits"] = np.roll(chosen["bits"].reshape(WEIGHT_BITS, -1), 1, axis=1).reshape(-1)
    block = {name: residues(values, Q) for name, values in chosen.items()}
    assert refused_by(relation, forge(relation, [block])) is Check.LINEAR_SUM


@pytest.mark.rejects("C-73")
@pytest.mark.parametrize(
    "graph",
    [
        Graph(4, (Dense(0, 3), square(1), Dense(2, 2))),
        Graph(4, (Selection(0, 3), Dense(1, 2), Dense(2, 2))),
        Graph(4, (Selection(0, 3), square(1), Dense(2, 2), Dense(3, 2))),
    ],
    ids=["other matrices", "no square", "square earlier"],
)
def test_a_registration_of_another_graph(graph):
    card = card_of(INTEGERS)
    proof = prove_registration(card, INTEGERS, OPENING, SERVER_KEY)
    other = card_of(np.zeros(graph.integers_count, dtype=np.int64), graph)
    other = replace(other, commitment=card.commitment)
    assert refusal(lambda: verify_registration(other, proof)) in OTHER_POSITIONS
    assert refusal(lambda: verify_registration(card, proof)) is None


@pytest.mark.rejects("C-73")
@pytest.mark.rejects("C-74")
def test_honest_provers_and_cards_refuse_what_they_do_not_declare():
    card = card_of(INTEGERS)
    for integers in (changed(SECOND, 0, WEIGHT_BOUND + 1), selected((1, 1, 0, 0))):
        with pytest.raises(ModelError):
            prove_registration(card, integers, OPENING, SERVER_KEY)
    bounds = list(card.row_l1_bounds)
    for place, bound in ((0, 2), (0, 0), (4, 0), (4, 1 << 30)):
        wrong = [*bounds[:place], bound, *bounds[place + 1 :]]
        with pytest.raises(ModelError):
            replace(card, row_l1_bounds=tuple(wrong))
    with pytest.raises(ModelError):
        replace(card, row_l1_bounds=tuple(bounds[:-1]))
