"""What an honest prover never sends, and squares that stand under a factor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.graph import Conv2d, Dense, Graph, Polynomial
from tests.adversarial.network_scenario import SERVER_KEY, Network, make_network, one_output
from tests.adversarial.scenario import make_batch
from zk_layers.ligero.prover import UnsatisfiedError
from zk_layers.prove import prove_linear, prove_network
from zk_layers.reduction.speaker import kept_tensors, low_rank_layer
from zk_layers.verify import verify_network

FACTORS = (3, -5)


def factored(factor: int, *, convolution: bool) -> Network:
    first = Conv2d(0, (1, 3, 3), 8, (2, 2)) if convolution else Dense(0, 12)
    inputs = 9 if convolution else 3
    graph = Graph(inputs, (first, Polynomial(1, (0, 0, factor), 0), Dense(2, 1)))
    return make_network(graph, seed=factor % 1000)


@pytest.mark.accepts("C-53")
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("convolution", [False, True], ids=["dense", "convolution"])
def test_squares_under_a_factor_are_proved(factor, convolution):
    """The first layer has the rank of the inputs: its tensor is never stored."""
    answer = factored(factor, convolution=convolution)
    assert low_rank_layer(answer.nodes, 1) is not None
    assert kept_tensors(answer.graph, 60, hidden=True) == ()
    verify_network(answer.relation, prove_network(answer.relation, answer.secrets, SERVER_KEY))


def test_a_network_that_does_not_satisfy_its_relation_is_not_proved():
    """The sum of the linear test's polynomial would show a function of the weights."""
    answer = one_output()
    integers = answer.secrets.integers.copy()
    integers[0] += 1
    wrong = replace(answer.secrets, integers=integers)
    with pytest.raises(UnsatisfiedError, match="no proof is sent"):
        prove_network(answer.relation, wrong, SERVER_KEY)


def test_a_linear_answer_that_does_not_satisfy_its_relation_is_not_proved():
    answer = make_batch()
    integers = answer.secrets.integers.copy()
    integers[0, 0] += 1
    with pytest.raises(UnsatisfiedError, match="no proof is sent"):
        prove_linear(answer.relation, replace(answer.secrets, integers=integers), SERVER_KEY)
