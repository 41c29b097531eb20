from __future__ import annotations

import numpy as np
import pytest

from protocol import links
from protocol.errors import ModelError


@pytest.mark.parametrize(
    ("link", "outputs", "labels"),
    [
        ("identity", 1, 0),
        ("identity", 3, 0),
        ("exp", 2, 0),
        ("logistic", 1, 2),
        ("sign", 1, 2),
        ("argmax", 2, 2),
        ("softmax", 5, 5),
        ("probability", 1, 2),
        ("probability", 2, 2),
        ("probability", 3, 3),
    ],
)
def test_a_link_says_how_many_labels_there_are(link: str, outputs: int, labels: int):
    assert links.labels_count(link, outputs) == labels
    values = np.zeros((4, outputs))
    chosen, chances = links.decide(link, values), links.probabilities(link, values)
    assert (chosen is None) == (labels == 0)
    assert (links.predictions(link, values) is None) == (labels > 0)
    assert chances is None or chances.shape == (4, labels)


@pytest.mark.parametrize(
    ("link", "outputs"),
    [
        ("tanh", 1),
        ("", 1),
        ("identity", 0),
        ("logistic", 2),
        ("sign", 2),
        ("argmax", 1),
        ("softmax", 1),
        ("probability", 0),
    ],
)
def test_a_link_refuses_other_numbers_of_outputs(link: str, outputs: int):
    values = np.zeros((1, outputs))
    for use in (links.decide, links.probabilities, links.predictions):
        with pytest.raises(ModelError):
            use(link, values)
    with pytest.raises(ModelError):
        links.labels_count(link, outputs)


def test_ties_go_to_the_first_label():
    assert links.decide("logistic", np.array([[0.0], [5e-324], [-1.0]])).tolist() == [0, 1, 0]
    assert links.decide("sign", np.array([[0.0], [1.0]])).tolist() == [0, 1]
    assert links.decide("probability", np.array([[0.5], [0.5000001]])).tolist() == [0, 1]
    for link in ("argmax", "softmax", "probability"):
        assert links.decide(link, np.array([[0.2, 0.7, 0.7], [0.4, 0.4, 0.1]])).tolist() == [1, 0]


def test_the_logistic_function_does_not_overflow():
    chances = links.probabilities("logistic", np.array([[-1000.0], [-1.0], [0.0], [1.0], [1000.0]]))
    assert chances[:, 1] == pytest.approx([0.0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1.0])
    assert np.allclose(chances.sum(axis=1), 1.0)


def test_softmax_is_normalised_and_does_not_overflow():
    chances = links.probabilities("softmax", np.array([[1000.0, 1000.0, 0.0], [0.0, np.log(3), 0]]))
    assert chances == pytest.approx(np.array([[0.5, 0.5, 0.0], [0.2, 0.6, 0.2]]))


def test_probabilities_with_errors_stay_probabilities():
    """Released values may be a little outside of what the exact model gives."""
    one = links.probabilities("probability", np.array([[-1e-4], [0.25], [1.0001]]))
    assert one.tolist() == [[1.0, 0.0], [0.75, 0.25], [0.0, 1.0]]
    values = np.array([[-1e-4, 0.3, 0.7], [0.2, 0.2, 0.6001], [-0.1, -0.2, 0.0]])
    several = links.probabilities("probability", values)
    assert several.sum(axis=1) == pytest.approx(1.0)
    assert several[0] == pytest.approx([0.0, 0.3, 0.7])
    assert several[2] == pytest.approx(1 / 3)
    assert (several >= 0).all()


def test_a_regression_predicts_its_outputs_or_their_exponentials():
    values = np.array([[0.0, 1.0], [-2.0, 1e4]])
    assert links.predictions("identity", values).tolist() == values.tolist()
    raised = links.predictions("exp", values)
    assert raised == pytest.approx(np.array([[1.0, np.e], [np.exp(-2.0), np.inf]]))
