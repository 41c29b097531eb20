from __future__ import annotations

import json
import traceback

import numpy as np
import pytest

from blindproof.model_file import read_model_file
from protocol.about import About
from protocol.errors import ModelError
from protocol.features import Category, Feature, Privacy, Thermometer
from protocol.parameters import Mode, Packing

GOOD = {
    "name": "example",
    "features": [{"name": "a", "low": 0, "high": 1}, {"name": "b", "low": -1, "high": 1}],
    "weights": [[0.5, -0.25]],
}


def feature(**entries: object) -> dict[str, object]:
    """A file whose first feature has other entries."""
    return {**GOOD, "features": [{"name": "a", "low": 0, "high": 1} | entries]}


def read(tmp_path, content):
    path = tmp_path / "model.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_model_file(path)


def test_the_least_a_file_needs(tmp_path):
    file = read(tmp_path, GOOD)
    model = file.model()
    assert np.array_equal(model.weights, [[0.5, -0.25]])
    assert np.array_equal(model.intercept, [0.0])
    assert model.link == "identity"
    assert file.mode is Mode.PRIVATE
    assert file.packings == [Packing.BATCH, Packing.SINGLE]


def test_one_row_may_be_written_flat(tmp_path):
    model = read(tmp_path, {**GOOD, "weights": [0.5, -0.25], "intercept": 3}).model()
    assert np.array_equal(model.weights, [[0.5, -0.25]])
    assert np.array_equal(model.intercept, [3.0])


def test_everything_can_be_said(tmp_path):
    content = {
        **GOOD,
        "weights": [[1, 2], [3, 4]],
        "intercept": [0, 1],
        "outputs": ["u", "v"],
        "labels": ["u", "v"],
        "link": "argmax",
        "mode": "public",
        "packings": ["batch"],
        "purpose": "p",
        "version": "7",
    }
    file = read(tmp_path, content)
    assert file.mode is Mode.PUBLIC
    assert file.model().labels == ("u", "v")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [[1.0]]}, "1 rows of 2"),
        ({"weights": [[1.0, 2.0], [3.0, 4.0]]}, "1 rows of 2"),
        ({"weights": []}, "1 rows of 2"),
        ({"intercept": [1.0, 2.0]}, "intercept: expected 1"),
        ({"shape": [1, 1, 2]}, "a linear model has no 'shape'"),
    ],
)
def test_numbers_must_fit_together(tmp_path, change, message: str):
    with pytest.raises(ModelError, match=message):
        read(tmp_path, {**GOOD, **change}).model()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "file: Invalid JSON"),
        ({"name": "x"}, "features"),
        ({**GOOD, "link": "tanh"}, "link"),
        ({**GOOD, "surprise": 1}, "surprise"),
        ({**GOOD, "surprise": 1}, "surprise: a model file has no such entry"),
        ({**GOOD, "link": "tanh"}, "link: expected 'identity', 'logistic', .* or 'exp'"),
        (feature(kind="date"), r"features\.0: no kind of column 'date'; there are number, thermo"),
        (feature(kind="category", low=0), r"features\.0 \(category\)\.categories: missing"),
        (feature(edges=[1]), r"features\.0\.edges: a column of this kind has no such entry"),
        (feature(privacy="local"), r"features\.0\.privacy: expected 'encrypted' or 'plaintext'"),
        ({**GOOD, "about": {"author": "x"}}, r"about\.author: `about` has no such entry"),
        ({**GOOD, "weights": [["a", "b"]]}, r"weights\.0\.0: expected a number"),
        ({**GOOD, "weights": [0.5, "b"]}, r"weights\.1: expected a number"),
        ({**GOOD, "weights": "many"}, "weights: expected a list"),
        ({**GOOD, "weights": [0.5, 1e200]}, r"weights\.1: too large in magnitude"),
        ({**GOOD, "intercept": "b"}, "intercept: expected a number"),
        (
            {**GOOD, "features": [{"name": "a", "low": -1e308, "high": 1e308}]},
            r"features\.0\.low: too large in magnitude",
        ),
        (json.dumps({**GOOD, "intercept": 0}).replace(": 0}", ": NaN}"), "intercept"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path, content, message: str):
    with pytest.raises(ModelError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        read_model_file(tmp_path / "nothing.json")


def test_neither_a_repr_nor_an_error_shows_the_weights(tmp_path):
    file = read(tmp_path, {**GOOD, "weights": [[0.8125, 1]], "intercept": 0.6875})
    assert "0.8125" not in repr(file)
    assert "0.6875" not in repr(file)
    with pytest.raises(ModelError) as caught:
        read(tmp_path, {**GOOD, "weights": [[str(13 / 16), "x"]]})
    assert "0.8125" not in "".join(traceback.format_exception(caught.value))


def test_columns_of_every_kind(tmp_path):
    content = {
        "name": "example",
        "features": [
            {"name": "a", "low": 0, "high": 4, "centre": 2, "scale": 2, "missing": 3},
            {"kind": "thermometer", "name": "b", "low": 0, "high": 9, "edges": [2, 5]},
            {"kind": "category", "name": "c", "categories": ["x", "y"], "privacy": "plaintext"},
        ],
        "weights": [1, 2, 3, 4, 5],
        "link": "logistic",
        "labels": ["0", "1"],
        "integer_labels": True,
        "local": ["id"],
        "about": {"licence": "MIT", "metrics": {"auc": 0.9}},
    }
    model = read(tmp_path, content).model()
    assert model.features == (
        Feature("a", 0.0, 4.0, 2.0, 2.0, missing=3.0),
        Thermometer("b", 0.0, 9.0, (2.0, 5.0)),
        Category("c", ("x", "y"), Privacy.PLAINTEXT),
    )
    assert model.local == ("id",)
    assert model.integer_labels
    assert model.about == About(licence="MIT", metrics=(("auc", 0.9),))
    assert model.inputs_of(np.array([[4.0, 3.0, 1.0]])).tolist() == [[1.0, 1.0, 0.0, 0.0, 1.0]]


def test_weights_are_of_the_monomials_of_an_expansion(tmp_path):
    content = {**GOOD, "expansion": [[0], [1], [0, 1]], "weights": [1, 2, 3]}
    model = read(tmp_path, content).model()
    assert model.expansion == ((0,), (1,), (0, 1))
    with pytest.raises(ModelError, match="1 rows of 3"):
        read(tmp_path, {**content, "weights": [1, 2]}).model()
    layers = [{"kind": "dense", "weights": [[1, 2, 3]]}, {"kind": "square"}]
    del content["weights"]
    network = read(tmp_path, {**content, "layers": layers}).model()
    assert network.network.inputs == 3
