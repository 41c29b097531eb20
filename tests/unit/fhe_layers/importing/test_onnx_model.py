"""Imports of models as skl2onnx, hummingbird and PyTorch export them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.onnx_graph import MAX_MODEL_BYTES
from fhe_layers.importing.onnx_model import import_onnx
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.network_planner import DeclaredNetwork, plan_network
from fhe_layers.quantise_network import quantise_network, simulate
from protocol import links
from protocol.errors import InputError, ModelError
from protocol.features import Category, Privacy, Thermometer
from protocol.parameters import Mode
from tests.unit.fhe_layers.importing.onnx_cases import (
    CASES,
    ROWS,
    Drawing,
    dense,
    imported,
    network_inputs,
    real,
)

VECTORS = Path(__file__).parents[3] / "vectors" / "onnx"
CANCER, MALIGNANT = load_breast_cancer(return_X_y=True)
CANCER = CANCER.astype(np.float32).astype(np.float64)
WINE, CULTIVAR = load_wine(return_X_y=True)
DIABETES, PROGRESSION = load_diabetes(return_X_y=True)
PIXELS, DIGIT = load_digits(return_X_y=True)


def single(sample):
    return np.asarray(sample, dtype=np.float32)


CLASSIFIERS = [
    (make_pipeline(StandardScaler(), LogisticRegression()), CANCER, MALIGNANT, "logistic"),
    (make_pipeline(StandardScaler(), LogisticRegression()), WINE, CULTIVAR, "softmax"),
    (make_pipeline(StandardScaler(), PCA(4), LogisticRegression()), WINE, CULTIVAR, "softmax"),
    (LinearSVC(random_state=0), WINE[:, :4], CULTIVAR, "argmax"),
    (LinearSVC(random_state=0), CANCER[:, :4], MALIGNANT, "sign"),
    (make_pipeline(StandardScaler(), SGDClassifier(random_state=0)), CANCER, MALIGNANT, "sign"),
    (OneVsRestClassifier(LogisticRegression()), WINE[:, :4], CULTIVAR, "argmax"),
    (
        make_pipeline(StandardScaler(), MLPClassifier((4,), activation="identity", random_state=0)),
        CANCER,
        MALIGNANT,
        "logistic",
    ),
    (MLPClassifier((4,), activation="identity", random_state=0), WINE[:, :4], CULTIVAR, "softmax"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "sample", "target", "link"), CLASSIFIERS)
def test_a_classifier_of_skl2onnx_decides_like_the_estimator(estimator, sample, target, link):
    names = np.array(["first", "second", "third"])[target]
    for labels in (target, names):
        estimator.fit(single(sample), labels)
        read, outputs, decision = imported(to_onnx(estimator, single(sample[:1])), sample)
        assert read.link == link
        assert read.labels == tuple(map(str, sorted(set(labels.tolist()))))
        assert read.integer_labels == (labels is target)
        assert [layer.name for layer in read.network.layers] == ["dense"]
        np.testing.assert_allclose(outputs, decision, atol=1e-5 * np.abs(decision).max())
        chosen = np.array(read.labels)[links.decide(link, outputs)]
        wanted = estimator.predict(single(sample)).astype(str)
        assert (chosen == wanted).mean() > 0.995
        if link in {"logistic", "softmax"}:
            chances = estimator.predict_proba(single(sample))
            np.testing.assert_allclose(links.probabilities(link, outputs), chances, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [17, 22], ids=["LpNormalization", "Div"])
@pytest.mark.parametrize("zipmap", [False, True], ids=["array", "ZipMap"])
@pytest.mark.parametrize(
    ("sample", "target", "link"),
    [(WINE[:, :4], CULTIVAR, "argmax"), (CANCER[:, :4], MALIGNANT, "logistic")],
    ids=["three", "two"],
)
def test_one_against_the_rest_in_every_form_that_skl2onnx_gives_it(
    sample, target, link, zipmap, opset
):
    names = np.array(["first", "second", "third"])[target]
    estimator = OneVsRestClassifier(LogisticRegression()).fit(single(sample), names)
    model = to_onnx(
        estimator,
        single(sample[:1]),
        options={id(estimator): {"zipmap": zipmap}},
        target_opset={"": opset, "ai.onnx.ml": 3},
    )
    operator = "LpNormalization" if opset == 17 else "ReduceSum"
    assert operator in {node.op_type for node in model.graph.node}
    read, outputs, decision = imported(model, sample)
    assert (read.link, read.labels) == (link, tuple(sorted(set(names.tolist()))))
    np.testing.assert_allclose(outputs, decision, atol=1e-5 * np.abs(decision).max())
    chosen = np.array(read.labels)[links.decide(link, outputs)]
    assert (chosen == estimator.predict(single(sample))).mean() > 0.995


@pytest.mark.parametrize("zipmap", [False, True])
def test_boosting_from_zero_of_several_classes(zipmap):
    estimator = GradientBoostingClassifier(init="zero", n_estimators=3, max_depth=1)
    estimator.fit(single(WINE[:, :4]), CULTIVAR)
    options = {id(estimator): {"zipmap": zipmap}}
    read, _, decision = imported(
        to_onnx(estimator, single(WINE[:1, :4]), options=options), WINE[:, :4], edges=32
    )
    assert (read.link, read.labels) == ("softmax", ("0", "1", "2"))
    wanted = estimator.predict_proba(single(WINE[:, :4]))
    np.testing.assert_allclose(links.probabilities("softmax", decision), wanted, atol=1e-5)


REGRESSIONS = [
    make_pipeline(MinMaxScaler(), Ridge()),
    make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge()),
    PoissonRegressor(),
]


@pytest.mark.parametrize("estimator", REGRESSIONS)
def test_a_regression_of_skl2onnx_predicts_like_the_estimator(estimator):
    estimator.fit(single(DIABETES), PROGRESSION)
    read, outputs, _ = imported(to_onnx(estimator, single(DIABETES[:1])), DIABETES)
    assert read.outputs == ("prediction",)
    assert read.labels == ()
    predicted = links.predictions(read.link, outputs)[:, 0]
    wanted = estimator.predict(single(DIABETES)).reshape(-1)
    np.testing.assert_allclose(predicted, wanted, rtol=1e-4)


def patients():
    rng = np.random.default_rng(5)
    count = 120
    frame = pd.DataFrame(
        {
            "age": rng.uniform(20, 80, count),
            "bmi": rng.uniform(15, 40, count),
            "sex": rng.choice(list("fm"), count),
            "grade": rng.integers(1, 4, count),
            "note": [f"patient {i}" for i in range(count)],
        }
    )
    score = frame.age / 80 + frame.bmi / 40 + 0.3 * (frame.sex == "m") + 0.1 * frame.grade
    return frame, (score > score.median()).astype(int)


MODEL_COLUMNS = ["age", "bmi", "sex", "grade"]


def test_a_column_transformer_becomes_columns_of_the_card():
    frame, target = patients()
    encoder = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "bmi"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["sex", "grade"]),
        ]
    )
    estimator = make_pipeline(encoder, LogisticRegression()).fit(frame[MODEL_COLUMNS], target)
    model = to_onnx(estimator, frame[MODEL_COLUMNS][:1])
    frame.loc[:, "sex"] = frame.sex.replace({"m": "f"}).where(frame.index > 2, "m")
    read, outputs, decision = imported(
        model, frame, local=("note",), plaintext=frozenset({"age"}), measured_in={"bmi": "kg/m2"}
    )
    assert [feature.name for feature in read.features] == MODEL_COLUMNS
    assert read.features[0].privacy is Privacy.PLAINTEXT
    assert read.features[1].measured_in == "kg/m2"
    assert read.features[2].categories == ("f", "m")
    assert isinstance(read.features[3], Thermometer)
    assert read.features[3].edges == (1.5, 2.5)
    np.testing.assert_allclose(outputs, decision, atol=1e-9)
    wanted = estimator.decision_function(frame[MODEL_COLUMNS])
    np.testing.assert_allclose(decision[:, 0], wanted, atol=1e-9)
    assert ("OneHotEncoder", Treatment.CLIENT) in {
        (step.operator, step.treatment) for step in read.steps
    }


def test_categories_that_only_the_model_knows_come_after_those_of_the_sample():
    frame, target = patients()
    estimator = make_pipeline(OrdinalEncoder(), LogisticRegression())
    estimator.fit(frame[["sex"]], target)
    model = to_onnx(estimator, frame[["sex"]][:1])
    read, outputs, decision = imported(model, frame[["sex"]][frame.sex == "m"])
    assert isinstance(read.features[0], Category)
    assert read.features[0].categories == ("m", "f")
    np.testing.assert_allclose(outputs, decision, atol=1e-6)
    with pytest.raises(ModelError, match=r"does not know, 1 of them"):
        imported(model, {"sex": ["m", "x"]})


def test_an_imputer_fills_what_is_missing_on_the_client():
    sample = DIABETES.copy()
    sample[3, 2] = np.nan
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), Ridge())
    estimator.fit(single(DIABETES), PROGRESSION)
    read, outputs, decision = imported(to_onnx(estimator, single(DIABETES[:1])), sample)
    assert read.features[2].missing == pytest.approx(DIABETES[:, 2].mean(), abs=1e-6)
    np.testing.assert_allclose(outputs, decision, rtol=1e-4)
    np.testing.assert_allclose(outputs[:, 0], estimator.predict(single(sample)), rtol=1e-4)


def test_trees_of_skl2onnx_are_lowered():
    for estimator, sample, target, link in (
        (DecisionTreeClassifier(max_depth=3), WINE[:, :6], CULTIVAR, "probability"),
        (RandomForestClassifier(4, max_depth=2), CANCER[:, :6], MALIGNANT, "probability"),
        (GradientBoostingClassifier(n_estimators=10, max_depth=1), CANCER, MALIGNANT, "logistic"),
    ):
        estimator.random_state = 0
        estimator.fit(single(sample), target)
        model = to_onnx(estimator, single(sample[:1]))
        read, outputs, decision = imported(model, sample)
        assert read.link == link
        wanted = estimator.predict(single(sample)).astype(str)
        exact = np.array(read.labels)[links.decide(link, decision)]
        assert (exact == wanted).mean() > 0.99
        snapped = np.array(read.labels)[links.decide(link, outputs)]
        assert (snapped == wanted).mean() > 0.97


def test_an_imputer_before_trees_stays_with_the_client():
    sample = WINE[:, :4].copy()
    sample[3, 2] = np.nan
    estimator = make_pipeline(SimpleImputer(), DecisionTreeClassifier(max_depth=2, random_state=0))
    estimator.fit(single(WINE[:, :4]), CULTIVAR)
    read, outputs, decision = imported(to_onnx(estimator, single(WINE[:1, :4])), sample)
    assert read.features[2].missing == pytest.approx(WINE[:, 2].mean(), abs=1e-5)
    assert (decision.argmax(axis=1) == estimator.predict(single(sample))).all()
    assert (outputs.argmax(axis=1) == decision.argmax(axis=1)).mean() > 0.97


@pytest.mark.filterwarnings("ignore")
def test_an_activation_inside_names_its_node_and_can_be_fitted():
    estimator = MLPRegressor(hidden_layer_sizes=(4,), activation="logistic", random_state=0)
    estimator.fit(single(DIABETES), PROGRESSION)
    model = to_onnx(estimator, single(DIABETES[:1]))
    with pytest.raises(UnsupportedModelError, match=r"\(Sigmoid\).*activation_degree"):
        imported(model, DIABETES)
    read, outputs, decision = imported(model, DIABETES, activation_degree=3)
    assert [layer.name for layer in read.network.layers] == ["dense", "polynomial", "dense"]
    np.testing.assert_allclose(outputs, decision, rtol=0.02)


VECTOR_CASES = [
    ("digits_cnn", PIXELS / 16, DIGIT, ["conv2d", "square", "dense", "square", "dense"]),
    (
        "digits_norms",
        PIXELS / 16,
        DIGIT,
        ["conv2d", "square", "average_pool", "conv2d", "square", "average_pool", "dense"],
    ),
    ("wine_mlp", WINE, CULTIVAR, ["dense", "square", "dense"]),
    ("wine_residual", WINE, CULTIVAR, ["dense", "square", "dense", "add", "dense"]),
    ("breast_cancer_hummingbird", CANCER, MALIGNANT, ["dense"]),
]


@pytest.mark.parametrize(("name", "sample", "target", "layers"), VECTOR_CASES)
def test_an_exported_network_keeps_its_accuracy_in_integers(name, sample, target, layers):
    sample, target = sample[:400], target[:400]
    read, outputs, decision = imported(VECTORS / f"{name}.onnx", sample)
    assert [layer.name for layer in read.network.layers] == layers
    np.testing.assert_allclose(outputs, decision, atol=1e-5 * np.abs(decision).max())
    quantised = quantise_network(read.network)
    inputs = network_inputs(read, np.asarray(sample, dtype=np.float64))
    integer = quantised.unit * simulate(quantised.graph, quantised.integers, inputs)
    chosen, wanted = (
        values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0).astype(int)
        for values in (integer, decision)
    )
    assert (chosen == wanted).all()
    assert (chosen == target).mean() > 0.95


def test_a_module_inside_is_named_in_errors():
    with pytest.raises(UnsupportedModelError) as caught:
        imported(VECTORS / "wine_relu.onnx", WINE)
    assert (caught.value.node, caught.value.operator) == ("module.1 (ReLU)", "Relu")


def test_importing_and_planning_the_digits_network_takes_seconds():
    started = time.perf_counter()
    read = import_onnx(VECTORS / "digits_cnn.onnx", Table.of(PIXELS / 16), ImportOptions())
    quantised = quantise_network(read.network)
    declared = DeclaredNetwork(
        quantised.graph, quantised.row_l1_bounds, input_bound=1.0, mode=Mode.PRIVATE
    )
    plan_network(declared)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("sample", "options", "words"),
    [
        (ROWS[:, :3], {}, "reads 4 columns, the sample has 3"),
        (ROWS, {"local": ("x9",)}, "local columns that the sample does not have: x9"),
        ({"a": [1.0], "b": [1.0], "c": [1.0], "d": ["text"]}, {}, "has texts"),
    ],
)
def test_columns_that_do_not_fit_are_named(sample, options, words):
    drawing = Drawing()
    with pytest.raises(ModelError, match=words):
        imported(drawing.model(dense(drawing)), sample, **options)


def test_columns_that_the_model_does_not_read_are_named():
    frame, target = patients()
    estimator = make_pipeline(OrdinalEncoder(), LogisticRegression())
    estimator.fit(frame[["sex", "grade"]].astype(str), target)
    model = to_onnx(estimator, frame[["sex", "grade"]].astype(str)[:1])
    columns = frame[["sex", "grade", "age"]].astype({"grade": str})
    with pytest.raises(ModelError, match=r"does not read .* 'age'.*local"):
        imported(model, columns)
    with pytest.raises(ModelError, match=r"no columns of the sample: 'grade'"):
        imported(model, columns[["sex", "age"]])


def test_a_column_cannot_be_a_number_and_a_category():
    frame, target = patients()
    both = ColumnTransformer(
        [("number", StandardScaler(), ["grade"]), ("text", OneHotEncoder(), ["grade"])]
    )
    estimator = make_pipeline(both, LogisticRegression()).fit(frame[["grade"]], target)
    with pytest.raises(ModelError, match="as a number and as a category"):
        imported(to_onnx(estimator, frame[["grade"]][:1]), frame[["grade"]])


def test_a_given_range_is_kept_and_checked():
    drawing = Drawing()
    model = drawing.model(dense(drawing))
    read, _, _ = imported(model, ROWS, ranges={"x1": (-50, 60)})
    assert (read.features[1].low, read.features[1].high) == (-50, 60)
    with pytest.raises(InputError, match="x1"):
        imported(model, ROWS, ranges={"x1": (0, 0.1)})


def test_a_model_for_one_size_of_batch_is_evaluated_in_such_batches():
    drawing = Drawing((3, 4))
    flat = drawing.put("Reshape", dense(drawing), np.array([3, 3]))
    _, outputs, decision = imported(drawing.model(flat), ROWS)
    np.testing.assert_allclose(outputs, decision, atol=1e-5)


def test_files_are_not_trusted(tmp_path):
    options = ImportOptions()
    table = Table.of(ROWS)
    with pytest.raises(ModelError, match="not an ONNX model"):
        import_onnx(b"\xffnonsense", table, options)
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        import_onnx(b"", table, options)
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(ModelError, match="larger than"):
        import_onnx(large, table, options)
    drawing = Drawing()
    model = drawing.model(dense(drawing))
    (tmp_path / "weights").write_bytes(b"\0" * 48)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(tmp_path / "weights"))
    with pytest.raises(UnsupportedModelError, match="another file"):
        import_onnx(model.SerializeToString(), table, options)


def test_constants_are_not_computed_without_limit():
    drawing = Drawing()
    rows = drawing.put("Add", real(np.zeros((4096, 1))), real(np.zeros((1, 4096))))
    model = drawing.model(drawing.put("Add", dense(drawing), rows))
    with pytest.raises(UnsupportedModelError, match="too large"):
        imported(model, ROWS)


def test_operators_of_other_domains_are_refused():
    drawing = Drawing()
    value = drawing.put("Relu", dense(drawing), domain="com.example")
    model = drawing.model(value)
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(UnsupportedModelError, match="node 1"):
        imported(model, ROWS)


def test_steps_say_what_became_of_every_part():
    read, _, _ = imported(*CASES["Scaler"][0]())
    assert [(step.operator, step.treatment) for step in read.steps] == [
        ("input", Treatment.CLIENT),
        ("Scaler", Treatment.FOLDED),
        ("Gemm", Treatment.ENCRYPTED),
    ]
