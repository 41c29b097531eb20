from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from client_sdk.result import Result, Timings, read_outputs
from client_sdk.tables import (
    Answer,
    NotOfferedError,
    accuracy,
    classes_of,
    determination,
    is_classifier,
    require_decision_values,
    require_probabilities,
)
from protocol.errors import InputError, ModelError, ShapeError
from protocol.model import ModelCard
from tests.integration import example_models
from wire.inference import ServerTimings

INDEX = ["first", "second", "third"]
FRAME = pd.DataFrame(np.zeros((3, 3)), index=INDEX)


def result_of(card: ModelCard, values: np.ndarray) -> Result:
    read = read_outputs(card, values)
    return Result(
        values=values,
        labels=read.labels,
        probabilities=read.probabilities,
        predictions=read.predictions,
        error_bound=1e-6,
        precision_bits=20.0,
        disclosure_log2=32,
        soundness_bits=101.0,
        model_digest=card.digest,
        evidence=(),
        receipts=(),
        countersigned=(),
        timings=Timings(0.0, 0.0, 0.0, 0.0, ServerTimings(0.0, 0.0, 0.0, 0.0)),
        sent_bytes=0,
        received_bytes=0,
        raw=values,
    )


def answered(card: ModelCard, values: object, records: object = FRAME) -> Answer:
    array = np.array(values, dtype=np.float64).reshape(3, -1)
    return Answer.to(records, card, result_of(card, array))


@pytest.fixture(scope="module")
def two() -> ModelCard:
    return example_models.bundle(example_models.linear_model(outputs=2, link="softmax")).card


def linked(card: ModelCard, link: str, *labels: str) -> ModelCard:
    return replace(card, link=link, labels=labels)


def test_labels_and_probabilities_of_a_frame_keep_its_index(card):
    answer = answered(card, [-1.0, 0.0, 2.0])
    labels = answer.predictions
    assert isinstance(labels, pd.Series)
    assert labels.to_dict() == {"first": "no", "second": "no", "third": "yes"}
    assert labels.name == "label"
    likely = answer.probabilities
    assert isinstance(likely, pd.DataFrame)
    assert list(likely.columns) == ["no", "yes"]
    assert list(likely.index) == INDEX
    assert likely.loc["third", "yes"] == pytest.approx(1 / (1 + np.exp(-2)))
    decided = answer.decision_values
    assert isinstance(decided, pd.Series)
    assert decided.name == "y0"
    assert decided.to_list() == [-1.0, 0.0, 2.0]


@pytest.mark.parametrize("records", [np.zeros((3, 3)), [[0.0] * 3] * 3, [{"x0": 1.0}] * 3])
def test_what_is_no_frame_gives_arrays(card, records):
    answer = answered(card, [-1.0, 0.0, 2.0], records)
    for part in (answer.predictions, answer.probabilities, answer.decision_values):
        assert type(part) is np.ndarray
    assert answer.predictions.shape == answer.decision_values.shape == (3,)
    assert answer.probabilities.shape == (3, 2)


def test_integer_labels_come_as_integers(card):
    integers = replace(linked(card, "logistic", "-1", "1"), integer_labels=True)
    assert classes_of(integers).dtype == np.int64
    found = answered(integers, [-1.0, 0.0, 2.0], np.zeros((3, 3))).predictions
    assert found.dtype == np.int64
    assert found.tolist() == [-1, -1, 1]
    texts = answered(linked(card, "logistic", "-1", "1"), [-1.0, 0.0, 2.0], np.zeros((3, 3)))
    assert texts.predictions.tolist() == ["-1", "-1", "1"]


def test_several_outputs(two):
    answer = answered(two, [[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]])
    assert answer.predictions.to_list() == ["class 1", "class 0", "class 0"]
    decided = answer.decision_values
    assert isinstance(decided, pd.DataFrame)
    assert list(decided.columns) == ["y0", "y1"]
    assert np.allclose(answer.probabilities.sum(axis=1), 1.0)


def test_regressions(card, two):
    one = answered(linked(card, "identity"), [1.0, 2.0, 3.0])
    assert one.predictions.to_list() == [1.0, 2.0, 3.0]
    assert one.predictions.name == "y0"
    several = answered(linked(two, "exp"), [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    assert np.allclose(several.predictions, np.exp(several.result.values))
    assert list(several.predictions.columns) == ["y0", "y1"]


@pytest.mark.parametrize(
    ("link", "labels", "probabilities", "decides"),
    [
        ("logistic", ("no", "yes"), True, True),
        ("sign", ("no", "yes"), False, True),
        ("probability", ("no", "yes"), True, False),
        ("identity", (), False, False),
        ("exp", (), False, False),
    ],
)
def test_what_a_link_does_not_offer_is_an_attribute_that_is_not_there(
    card, link, labels, probabilities, decides
):
    chosen = linked(card, link, *labels)
    answer = answered(chosen, [0.1, 0.2, 0.9])
    assert hasattr(answer, "probabilities") == probabilities
    assert hasattr(answer, "decision_values") == decides
    assert is_classifier(chosen) == bool(labels)
    for offered, require in (
        (probabilities, require_probabilities),
        (decides, require_decision_values),
    ):
        if offered:
            require(chosen)
        else:
            with pytest.raises(NotOfferedError, match=r"use (predict|decision_function)"):
                require(chosen)
    if not labels:
        with pytest.raises(NotOfferedError, match="regression"):
            classes_of(chosen)


def test_a_frame_of_everything(card):
    frame = answered(card, [-1.0, 0.0, 2.0]).frame()
    assert list(frame.columns) == [
        "y0",
        "label",
        "probability of no",
        "probability of yes",
        "error_bound",
    ]
    assert list(frame.index) == INDEX
    assert frame["error_bound"].to_list() == [1e-6] * 3
    assert list(answered(card, [0.0, 0.0, 0.0], np.zeros((3, 3))).frame().index) == [0, 1, 2]


def test_a_frame_of_a_regression_has_what_its_link_makes(card, two):
    plain = answered(linked(card, "identity"), [1.0, 2.0, 3.0]).frame()
    assert list(plain.columns) == ["y0", "error_bound"]
    raised = answered(linked(card, "exp"), [0.0, 1.0, 2.0]).frame()
    assert list(raised.columns) == ["y0", "prediction", "error_bound"]
    assert raised["prediction"].to_list() == pytest.approx(np.exp([0.0, 1.0, 2.0]))
    several = answered(linked(two, "exp"), [[0.0, 1.0]] * 3).frame()
    assert list(several.columns)[2:4] == ["prediction of y0", "prediction of y1"]


def test_no_column_of_a_frame_hides_another(card):
    confusing = replace(card, outputs=("error_bound",))
    with pytest.raises(ModelError, match="'error_bound' has the name of another column"):
        answered(confusing, [1.0, 2.0, 3.0]).frame()


def test_accuracy(card):
    predicted = np.array(["no", "no", "yes", "yes"])
    assert accuracy(card, predicted, ["no", "yes", "yes", "yes"]) == 0.75
    assert accuracy(card, predicted, pd.Series(["no", "no", "yes", "unheard of"])) == 0.75
    with pytest.raises(ShapeError, match="for 4 records"):
        accuracy(card, predicted, ["no"])


def test_true_labels_of_another_type_are_no_accuracy_of_zero(card):
    with pytest.raises(InputError, match="which are texts: no, yes"):
        accuracy(card, np.array(["no", "yes"]), [0, 1])
    integers = replace(linked(card, "logistic", "0", "1"), integer_labels=True)
    with pytest.raises(InputError, match="which are integers: 0, 1"):
        accuracy(integers, np.array([0, 1]), ["0", "1"])


def test_determination_is_scikit_learns():
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(1)
    true, found = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    assert determination(found, true) == pytest.approx(r2_score(true, found))
    assert determination(found[:, 0], true[:, 0]) == pytest.approx(
        r2_score(true[:, 0], found[:, 0])
    )
    assert determination(found[:, 0], true[:, :1]) == pytest.approx(
        r2_score(true[:, 0], found[:, 0])
    )
    assert determination([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert determination([1.0, 2.0], [1.0, 1.0]) == 0.0
    with pytest.raises(InputError, match="numbers"):
        determination([1.0], ["one"])
    with pytest.raises(ShapeError):
        determination(found, true[:3])


def test_pandas_is_not_loaded_for_arrays():
    program = (
        "import sys, numpy as np; from client_sdk.tables import Answer; "
        "assert Answer.to(np.zeros((1, 1)), None, None).index is None; "
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_pandas_a_frame_says_what_to_install(card, monkeypatch):
    answer = answered(card, [0.0, 0.0, 0.0], np.zeros((3, 3)))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'blindproof\[pandas\]'"):
        answer.frame()
