"""Choices are copied: the words of the dense product, and work that says nothing of the choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kernels
from fhe_layers.layers import affine
from fhe_layers.moduli import ntt_primes
from fhe_layers.network import evaluate_network
from protocol.errors import ParameterError
from protocol.graph import Affine, Dense, Graph, GroupedSelection, Selection

MODULI = ntt_primes(8192, 60, 2)
DEGREE = 64
GRAPHS = {
    "selection": Graph(12, (Selection(0, 9),)),
    "more choices than units": Graph(2, (Selection(0, 9),)),
    "channels": Graph(12, (Selection(0, 9, 4),)),
    "one channel": Graph(4, (Selection(0, 3, 4),)),
    "groups": Graph(12, (GroupedSelection(0, 3),)),
    "groups of one": Graph(3, (GroupedSelection(0, 3),)),
}


class Recorder:
    """Keeps what a tile program would be given."""

    def affine(self, units: int, terms: list[Any], bias: Any) -> int:
        self.units, self.terms, self.bias = units, terms, bias
        return 1


def node_of(graph: Graph) -> Affine:
    (node,) = graph.nodes(20)
    assert isinstance(node, Affine)
    return node


def choices(graph: Graph, rng: np.random.Generator) -> np.ndarray:
    (matrix,) = graph.matrices
    rows = np.eye(matrix.columns, dtype=np.int64)
    return rows[rng.integers(0, matrix.columns, matrix.rows)].reshape(-1)


def recorded(graph: Graph, integers: np.ndarray) -> list[Any]:
    recorder = Recorder()
    affine.append(recorder, node_of(graph), integers, MODULI)  # type: ignore[arg-type]
    ((_, *sparse, factors),) = recorder.terms
    assert factors == [1, 1]
    assert recorder.bias is None
    return sparse


@pytest.mark.parametrize("name", GRAPHS)
def test_copies_have_the_words_of_the_dense_product(name: str, rng: np.random.Generator):
    graph = GRAPHS[name]
    integers = choices(graph, rng)
    limbs = [rng.integers(0, q, (graph.inputs, 2, DEGREE), dtype=np.uint64) for q in MODULI]
    inputs = np.stack(limbs, axis=2)
    found = evaluate_network(graph, integers, inputs, input_scale_log2=20, moduli=MODULI).outputs
    program = kernels.TileProgram(MODULI, graph.inputs, 2)
    (term,) = node_of(graph).terms
    program.affine(term.units, [(0, *term.matrix_csr(integers), [1, 1])], None)
    (dense,) = program.run(inputs, [1])
    assert np.array_equal(found, dense)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_work_is_the_same_whatever_is_chosen(name: str, rng: np.random.Generator):
    """Row pointers, weights and all columns but the chosen ones; no two rows have equal columns."""
    graph = GRAPHS[name]
    (matrix,) = graph.matrices
    equal = np.tile(np.eye(1, matrix.columns, dtype=np.int64), (matrix.rows, 1)).reshape(-1)
    expected: tuple[Any, ...] | None = None
    for integers in (equal, np.roll(equal, matrix.columns - 1), choices(graph, rng)):
        pointers, columns, weights = recorded(graph, integers)
        rows = columns.reshape(len(pointers) - 1, -1)
        shape = (pointers.tolist(), weights.tolist(), rows[:, 1:].tolist())
        assert expected in {None, (str(shape),)}
        expected = (str(shape),)
        if matrix.columns > 1:
            assert len({tuple(row) for row in rows.tolist()}) == len(rows)


def test_a_row_that_is_no_unit_vector_is_not_evaluated():
    for graph in (GRAPHS["channels"], GRAPHS["groups"]):
        integers = choices(graph, np.random.default_rng(1))
        for place, value in ((0, 2), (0, -1), (1, 1), (2, 1)):
            wrong = integers.copy()
            wrong[:3] = 1, 0, 0
            wrong[place] = value
            with pytest.raises(ParameterError, match="unit vectors"):
                recorded(graph, wrong)
        wrong[:] = 0
        with pytest.raises(ParameterError, match="unit vectors"):
            recorded(graph, wrong)


def test_other_matrices_are_multiplied_in_full(rng: np.random.Generator):
    graph = Graph(5, (Dense(0, 3), Dense(1, 1)))
    recorder = Recorder()
    node = graph.nodes(20)[0]
    assert isinstance(node, Affine)
    integers = np.zeros(graph.integers_count, dtype=np.int64)
    affine.append(recorder, node, integers, MODULI)  # type: ignore[arg-type]
    assert len(recorder.terms[0][2]) == 15
