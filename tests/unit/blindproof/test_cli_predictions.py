"""What `blindproof predict` writes beside the outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from blindproof.cli.predict import _columns
from blindproof.cli.record_file import RecordFile
from client_sdk.result import read_outputs
from protocol.graph import linear_graph
from protocol.model import ModelCard
from tests.integration import example_models

READ = RecordFile(
    Path("records.csv"), ("id", "x0", "x1", "x2"), (("a", "b"), *[("1", "2")] * 3), (2, 4)
)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    """Of a regression of two outputs."""
    one = example_models.bundle(example_models.linear_model()).card
    return replace(
        one,
        graph=linear_graph(3, 2),
        row_l1_bounds=one.row_l1_bounds * 2,
        outputs=("u", "v"),
        labels=(),
        link="identity",
        local=("id",),
    )


def written(card: ModelCard, values: list[list[float]]) -> dict[str, Any]:
    released = np.array(values)
    reading = read_outputs(card, released)
    result: Any = SimpleNamespace(
        values=released,
        labels=reading.labels,
        probabilities=reading.probabilities,
        predictions=reading.predictions,
    )
    return dict(_columns(card, result, READ))


def test_a_regression_has_its_outputs(card):
    assert written(card, [[1.0, 2.0], [3.0, 4.0]]) == {
        "line": [2, 4],
        "id": ["a", "b"],
        "u": [1.0, 3.0],
        "v": [2.0, 4.0],
    }


def test_predictions_that_are_exponentials_are_written_as_such(card):
    columns = written(replace(card, link="exp"), [[0.0, 1.0], [1.0, 0.0]])
    assert list(columns) == ["line", "id", "u", "v", "exp(u)", "exp(v)"]
    assert columns["u"] == [0.0, 1.0]
    assert columns["exp(u)"] == pytest.approx([1.0, np.e])


def test_a_score_is_the_probability_of_the_second_of_two_labels(card):
    two = replace(card, link="softmax", labels=("3", "5"), integer_labels=True)
    columns = written(two, [[0.0, np.log(3.0)], [0.0, 0.0]])
    assert columns["label"] == [5, 3]
    assert columns["score"] == pytest.approx([0.75, 0.5])
    assert "score" not in written(replace(two, link="argmax"), [[0.0, 1.0], [0.0, 0.0]])
    assert written(replace(two, integer_labels=False), [[0.0, 1.0], [0.0, 0.0]])["label"] == [
        "5",
        "3",
    ]
