"""Models that would be read without complaint and answer differently: served right, or refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from fhe_layers.importing.card_columns import sample_inputs, sample_values
from fhe_layers.importing.imported import UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.scikit_learn import import_estimator
from fhe_layers.importing.table import Table
from protocol import links
from protocol.errors import ModelError
from tests.unit.fhe_layers.importing.onnx_cases import (
    BIAS,
    COLUMN,
    ML,
    ROWS,
    WEIGHTS,
    Drawing,
    dense,
    imported,
    real,
    whole,
)

RNG = np.random.default_rng(11)
FRAME = pd.DataFrame(
    {
        "age": np.round(RNG.normal(5, 2, 400), 1),
        "dose": RNG.integers(0, 4, 400).astype(float),
        "rooms": RNG.integers(0, 5, 400),
        "city": RNG.choice([f"city {i}" for i in range(9)], 400),
    }
)
NUMBERS = FRAME[["age", "dose"]]
TARGET = ((FRAME["age"] > 5) ^ (FRAME["dose"] > 1)).to_numpy().astype(int)
BINARY = RNG.normal(size=(4, 2)).astype(np.float32)


# ------------------------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline("passthrough", LogisticRegression()),
        make_pipeline(None, "passthrough", StandardScaler(), LogisticRegression()),
        make_pipeline("passthrough", DecisionTreeClassifier(max_depth=3)),
        make_pipeline(
            FeatureUnion([("gone", "drop"), ("scaled", StandardScaler())]), LogisticRegression()
        ),
    ],
)
def test_columns_are_found_by_name_behind_parts_that_know_none(model):
    model.fit(NUMBERS, TARGET)
    turned = Table.of(NUMBERS[["dose", "age"]])
    read = import_estimator(model, turned, ImportOptions())
    raw = sample_values(read.features, turned)
    made = read.network.forward(sample_inputs(read.features, read.expansion, raw))
    chosen = links.decide(read.link, made)
    assert [read.labels[index] for index in chosen] == list(map(str, model.predict(NUMBERS)))


@pytest.mark.parametrize("target", [TARGET, FRAME["rooms"]])
def test_regressions_against_the_rest_are_refused(target):
    model = OneVsRestClassifier(LinearRegression()).fit(NUMBERS, target)
    with pytest.raises(UnsupportedModelError, match="regressions"):
        import_estimator(model, Table.of(NUMBERS), ImportOptions())


def encoded(encoder: object, column: str, fitted_on: np.ndarray) -> object:
    columns = make_column_transformer((encoder, [column]), ("passthrough", ["age"]))
    model = make_pipeline(columns, LogisticRegression())
    return model.fit(FRAME[["age", column]][fitted_on], TARGET[fitted_on])


def test_a_number_that_is_no_category_is_not_taken_for_the_nearest_one():
    """The rows that have it come after all that are compared with the estimator."""
    known = (FRAME["rooms"] != 2).to_numpy()
    model = encoded(OneHotEncoder(handle_unknown="ignore"), "rooms", known)
    late = pd.concat([FRAME[known], FRAME[~known]])[["age", "rooms"]]
    with pytest.raises(UnsupportedModelError, match="'rooms' of the sample has numbers"):
        import_estimator(model, Table.of(late), ImportOptions())


def test_a_code_that_is_no_number_is_refused():
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    model = encoded(encoder, "city", (FRAME["city"] != "city 3").to_numpy())
    with pytest.raises(UnsupportedModelError, match="unknown category is no number"):
        import_estimator(model, Table.of(FRAME[["age", "city"]]), ImportOptions())


def test_a_refused_category_is_not_shown():
    model = encoded(OneHotEncoder(), "city", (FRAME["city"] != "city 3").to_numpy())
    with pytest.raises(UnsupportedModelError, match="refuses unknown categories") as caught:
        import_estimator(model, Table.of(FRAME[["age", "city"]]), ImportOptions())
    assert "city 3" not in str(caught.value)


def boosted(**options: object) -> object:
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=5, max_depth=2, **options)


def test_xgboost_takes_the_zeros_of_a_sparse_matrix_for_missing():
    cities = FRAME[["city"]]
    sparse = make_pipeline(OneHotEncoder(), boosted()).fit(cities, TARGET)
    with pytest.raises(ModelError, match="sparse_output=False"):
        import_estimator(sparse, Table.of(cities), ImportOptions())
    full = make_pipeline(OneHotEncoder(sparse_output=False), boosted()).fit(cities, TARGET)
    assert import_estimator(full, Table.of(cities), ImportOptions()).labels == ("0", "1")


def test_numbers_that_xgboost_takes_for_missing_are_refused_in_a_pipeline():
    model = make_pipeline("passthrough", boosted(missing=0)).fit(NUMBERS, TARGET)
    with pytest.raises(UnsupportedModelError, match="a number for a missing one"):
        import_estimator(model, Table.of(NUMBERS), ImportOptions())


# --------------------------------------------------------------------------------------- ONNX


def split_unevenly(d: Drawing) -> str:
    """7 in 3 parts: 3, 3 and 1."""
    weights = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    parts = d.put("Split", d.put("MatMul", "x", weights), outputs=3, axis=1, num_outputs=3)
    return d.put("Concat", parts[2], parts[0], parts[1], axis=1)


def test_parts_of_a_split_are_as_large_as_onnx_says():
    drawing = Drawing()
    _, outputs, decision = imported(drawing.model(split_unevenly(drawing)), ROWS)
    np.testing.assert_allclose(outputs, decision, atol=1e-5)


def test_exponentials_divided_by_their_sum_are_a_softmax():
    drawing = Drawing()
    raised = drawing.put("Exp", dense(drawing))
    total = drawing.put("ReduceSum", raised, whole([1]), keepdims=1)
    read, outputs, _ = imported(drawing.model(drawing.put("Div", raised, total)), ROWS)
    assert (read.link, len(read.labels)) == ("softmax", 3)
    wanted = np.exp(ROWS @ WEIGHTS + BIAS)
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(links.probabilities(read.link, outputs), wanted, atol=1e-6)


def test_labels_follow_probabilities_that_change_places():
    drawing = Drawing()
    stated = drawing.put(
        "LinearClassifier",
        "x",
        outputs=2,
        domain=ML,
        coefficients=WEIGHTS.T.ravel().tolist(),
        intercepts=BIAS.tolist(),
        classlabels_strings=["a", "b", "c"],
        post_transform="SOFTMAX",
    )[1]
    turned = drawing.put("Gather", stated, whole([2, 0, 1]), axis=1)
    read, outputs, _ = imported(drawing.model(turned), ROWS)
    assert read.labels == ("c", "a", "b")
    wanted = (ROWS @ WEIGHTS + BIAS).argmax(axis=1)
    chosen = [read.labels[index] for index in links.decide(read.link, outputs)]
    assert chosen == ["abc"[index] for index in wanted]


def against_the_rest(d: Drawing, names: list[str]) -> str:
    """The second probability of a classifier of two classes, with names of its own."""
    chances = d.put(
        "LinearClassifier",
        "x",
        outputs=2,
        domain=ML,
        coefficients=[*(-COLUMN).ravel().tolist(), *COLUMN.ravel().tolist()],
        intercepts=[-0.5, 0.5],
        classlabels_strings=names,
        post_transform="LOGISTIC",
    )[1]
    return d.put("Slice", chances, whole([1]), whole([2]), whole([1]))


def test_parts_side_by_side_have_labels_of_their_own_classes():
    drawing = Drawing()
    parts = [against_the_rest(drawing, ["other", "this"]) for _ in range(3)]
    scores = drawing.put("Concat", *parts, axis=1)
    shares = drawing.put("LpNormalization", scores, axis=1, p=1)
    read, outputs, _ = imported(drawing.model(shares), ROWS)
    assert (read.link, read.labels) == ("argmax", ("0", "1", "2"))
    assert outputs.shape[1] == 3


def test_one_minus_a_probability_is_that_of_the_other_label():
    drawing = Drawing()
    second = against_the_rest(drawing, ["no", "yes"])
    first = drawing.put("Sub", real(1), second)
    turned = drawing.put("Concat", second, first, axis=1)
    positive = (ROWS @ COLUMN + 0.5).ravel() > 0
    for end, labels in ((first, ("yes", "no")), (turned, ("yes", "no"))):
        read, outputs, decision = imported(drawing.model(end), ROWS)
        assert (read.link, read.labels) == ("logistic", labels)
        chosen = np.array(read.labels)[links.decide(read.link, outputs)]
        assert (chosen == np.where(positive, "yes", "no")).all()
        np.testing.assert_allclose(outputs, decision, atol=1e-5)


def head(d: Drawing, operator: str, weights: np.ndarray = WEIGHTS, **attributes: object) -> str:
    return d.put(operator, d.put("Gemm", "x", weights), **attributes)


def two_heads(d: Drawing) -> list[str]:
    return [head(d, "Softmax", axis=1), head(d, "Softmax", -2 * WEIGHTS, axis=1)]


def class_and_number(d: Drawing) -> list[str]:
    return [head(d, "ArgMax", axis=1), d.put("MatMul", "x", COLUMN)]


def probabilities_and_number(d: Drawing) -> list[str]:
    return [head(d, "Softmax", axis=1), d.put("MatMul", "x", COLUMN)]


def sum_of_others(d: Drawing) -> str:
    total = d.put("ReduceSum", head(d, "Exp", -WEIGHTS), whole([1]), keepdims=1)
    return d.put("Div", head(d, "Exp"), total)


def sum_of_records(d: Drawing) -> str:
    raised = head(d, "Exp")
    return d.put("Div", raised, d.put("ReduceSum", raised, whole([0]), keepdims=1))


def rounded(kind: int) -> Callable[[Drawing], str]:
    return lambda d: d.put("MatMul", d.put("Cast", d.put("Cast", "x", to=kind), to=1), WEIGHTS)


def one_of_softmax(d: Drawing) -> str:
    return d.put("Slice", head(d, "Softmax", BINARY), whole([1]), whole([2]), whole([1]))


def softmax_of_one(d: Drawing) -> list[str]:
    return d.put(
        "LinearClassifier",
        "x",
        outputs=2,
        domain=ML,
        coefficients=COLUMN.ravel().tolist(),
        intercepts=[0.5],
        classlabels_ints=[0, 1],
        post_transform="SOFTMAX",
    )


def other_numbers(d: Drawing) -> str:
    return d.put("OneHotEncoder", "x", domain=ML, cats_int64s=[0, 1])


OTHERWISE: dict[str, Callable[[Drawing], str | list[str]]] = {
    "several outputs": two_heads,
    "not all of them follow": class_and_number,
    "follow from the same scores": probabilities_and_number,
    "a probability of its own": lambda d: head(d, "Sigmoid", BINARY),
    "sum of something else": sum_of_others,
    "over the records": sum_of_records,
    "whole ones": rounded(7),
    "truth values": rounded(9),
    "some of a softmax's": one_of_softmax,
    "softmax of one score": softmax_of_one,
    "training mode": lambda d: d.put("Dropout", "x", real(0.5), np.array(True)),
    "more axes than its values": lambda d: d.put("Add", "x", real(np.ones((1, 1, 4)))),
    "exponent has more axes": lambda d: d.put("Pow", "x", real([[[2]]])),
    "none of its categories": other_numbers,
    "it pads by": lambda d: d.put(
        "Conv", "x", real(np.ones((1, 1, 1, 1))), pads=[0, 0, 0, 1 << 40]
    ),
    "depends on the data": lambda d: d.put("LpNormalization", dense(d), axis=1, p=1),
    "no sum over classes": lambda d: d.put("LpNormalization", head(d, "Sigmoid"), axis=1, p=2),
    "no sum over": lambda d: d.put("LpNormalization", head(d, "Sigmoid"), axis=0, p=1),
    "ZeroDivisionError": lambda d: d.put("Conv", "x", real(np.ones((1, 1, 1, 1))), strides=[0, 0]),
}


@pytest.mark.parametrize("reason", OTHERWISE)
def test_a_graph_that_would_be_read_as_another_is_refused(reason):
    pixels = reason in {"it pads by", "ZeroDivisionError"}
    drawing = Drawing(("N", 1, 2, 2) if pixels else ("N", 4))
    ends = OTHERWISE[reason](drawing)
    model = drawing.model(*([ends] if isinstance(ends, str) else ends))
    with pytest.raises(UnsupportedModelError, match=reason):
        imported(model, ROWS)


def test_a_class_and_its_scores_are_one_answer():
    drawing = Drawing()
    scores = dense(drawing)
    ends = [drawing.put("ArgMax", scores, axis=1), drawing.put("Softmax", scores), scores]
    read, outputs, _ = imported(drawing.model(*ends), ROWS)
    assert read.link == "softmax"
    np.testing.assert_allclose(outputs, ROWS @ WEIGHTS + BIAS, atol=1e-5)


def test_a_tensor_of_another_size_than_its_shape_is_an_error():
    drawing = Drawing()
    model = drawing.model(dense(drawing))
    model.graph.initializer[0].dims[0] = 5
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        imported(model, ROWS)


def test_an_input_of_unknown_type_is_an_error():
    drawing = Drawing()
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        imported(drawing.model(dense(drawing), kind=71), ROWS)
