"""What single parts of pipelines become, and what is said of those that do not fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from fhe_layers.importing.imported import ImportedModel, Treatment, UnsupportedModelError
from fhe_layers.importing.mlp import PERCEPTRONS
from protocol.errors import InputError, ModelError
from protocol.features import Category, Feature, Privacy, Thermometer
from tests.unit.fhe_layers.importing import sklearn_cases as cases
from tests.unit.fhe_layers.importing.test_scikit_learn import (
    imported,
    network_inputs,
    require_same,
)


def mixed(*columns: str) -> tuple[pd.DataFrame, np.ndarray]:
    frame, target = cases.mixed()
    return frame[list(columns)], target


def require_all(estimator: object, sample: object, target: np.ndarray) -> ImportedModel:
    cases.fit(estimator, (sample, target))
    model = imported(estimator, sample)
    require_same(estimator, sample, model)
    return model


def column_named(model: ImportedModel, name: str) -> Feature | Category | Thermometer:
    return next(feature for feature in model.features if feature.name == name)


# ------------------------------------------------------------------------------ what cards say


def test_numbers_are_calibrated_on_the_sample():
    estimator, sample = cases.READ["Ridge"]()
    model = imported(
        estimator, sample, ranges={"x0": (0, 130)}, plaintext={"x1"}, measured_in={"x0": "years"}
    )
    assert (model.features[0].low, model.features[0].high) == (0, 130)
    assert model.features[0].measured_in == "years"
    assert [f.privacy for f in model.features[:3]] == ["encrypted", "plaintext", "encrypted"]
    assert np.abs(network_inputs(model, sample)).max() <= 1
    with pytest.raises(InputError, match="column 'x0'"):
        imported(estimator, sample, ranges={"x0": (30, 40)})


@pytest.mark.parametrize(
    ("operator", "labels", "integers", "outputs", "link"),
    [
        ("SVC", ("0", "1"), True, ("score of 1",), "sign"),
        ("SGDClassifier", ("0", "1"), True, ("log-odds of 1",), "logistic"),
        (
            "LogisticRegression",
            ("barbera", "grignolino", "nebbiolo"),
            False,
            ("log-odds of barbera", "log-odds of grignolino", "log-odds of nebbiolo"),
            "softmax",
        ),
        ("Lasso", (), False, ("prediction",), "identity"),
        ("Ridge", (), False, ("prediction 0", "prediction 1"), "identity"),
        ("GammaRegressor", (), False, ("prediction",), "exp"),
    ],
)
def test_links_and_names(operator, labels, integers, outputs, link):
    model = imported(*cases.READ[operator]())
    assert (model.labels, model.integer_labels) == (labels, integers)
    assert (model.outputs, model.link) == (outputs, link)


def test_each_part_gives_a_step():
    model = imported(*cases.READ["SimpleImputer"]())
    assert [(step.operator, step.treatment) for step in model.steps] == [
        ("SimpleImputer", Treatment.CLIENT),
        ("StandardScaler", Treatment.FOLDED),
        ("SimpleImputer", Treatment.CLIENT),
        ("OneHotEncoder", Treatment.CLIENT),
        ("LogisticRegression", Treatment.ENCRYPTED),
    ]


def test_columns_of_a_frame_are_found_by_name():
    frame, target = mixed("age", "rooms")
    estimator, _ = cases.fit(make_pipeline(StandardScaler(), LogisticRegression()), (frame, target))
    shuffled = frame[["rooms", "age"]]
    model = imported(estimator, shuffled)
    assert [feature.name for feature in model.features] == ["rooms", "age"]
    require_same(estimator, frame, imported(estimator, frame))
    raw = shuffled.to_numpy(dtype=float)
    np.testing.assert_array_equal(model.decision(raw)[:, 0], estimator.decision_function(frame))
    with pytest.raises(ModelError, match="no column 'age'"):
        imported(estimator, frame[["rooms"]])


def test_columns_by_selector_and_position():
    frame, target = mixed("age", "city", "rooms")
    columns = make_column_transformer(
        (OneHotEncoder(), make_column_selector(pattern="city")), (StandardScaler(), [-1, 0])
    )
    require_all(make_pipeline(columns, LogisticRegression()), frame, target)


# ------------------------------------------------------------------- columns read, local, missing


def test_unread_columns_must_be_local():
    frame, target = mixed("account", "age", "rooms")
    columns = make_column_transformer((StandardScaler(), ["age", "rooms"]))
    estimator, _ = cases.fit(make_pipeline(columns, LogisticRegression()), (frame, target))
    with pytest.raises(ModelError, match="does not read 'account': name such columns as local"):
        imported(estimator, frame)
    model = imported(estimator, frame, local=("account",))
    assert [feature.name for feature in model.features] == ["age", "rooms"]
    wanted = estimator.decision_function(frame)
    raw = frame[["age", "rooms"]].to_numpy(dtype=float)
    np.testing.assert_array_equal(model.decision(raw)[:, 0], wanted)
    with pytest.raises(ModelError, match="'age' is named as local, but the model reads it"):
        imported(estimator, frame, local=("account", "age"))
    with pytest.raises(ModelError, match="no column 'person'"):
        imported(estimator, frame, local=("account", "person"))


def test_a_choice_of_columns_shows_in_weights_only():
    estimator, sample = cases.READ["SelectorMixin"]()
    model = imported(estimator, sample)
    weights = model.network.layers[0].weights
    assert weights.shape == (1, 30)
    assert np.count_nonzero(weights) == 8


def test_columns_that_a_selector_drops_may_be_local():
    values, target = cases.cancer()
    estimator, _ = cases.fit(
        make_pipeline(StandardScaler(), SelectKBest(k=8), LogisticRegression()), (values, target)
    )
    dropped = np.flatnonzero(~estimator[1].get_support())[:4]
    model = imported(estimator, values, local=tuple(f"x{i}" for i in dropped))
    assert len(model.features) == 26
    raw = np.delete(values, dropped, axis=1)
    np.testing.assert_array_equal(model.decision(raw)[:, 0], estimator.decision_function(values))
    require_same(estimator, values, imported(estimator, values))


def test_missing_values_need_an_imputer():
    frame, target = mixed("age", "income")
    columns = make_column_transformer((SimpleImputer(), ["income"]), remainder=StandardScaler())
    estimator, _ = cases.fit(make_pipeline(columns, LogisticRegression()), (frame, target))
    model = imported(estimator, frame)
    assert column_named(model, "age").missing is None
    assert column_named(model, "income").missing == pytest.approx(frame["income"].mean())
    holes = frame.assign(age=frame["age"].where(frame["age"] > 30))
    with pytest.raises(ModelError, match="'age' of the sample has missing values"):
        imported(estimator, holes)


def test_a_replacement_outside_of_the_sample_widens_the_range():
    frame, target = mixed("income")
    model = require_all(
        make_pipeline(SimpleImputer(strategy="constant", fill_value=-500.0), Ridge(), memory=None),
        frame,
        target,
    )
    assert model.features[0].low == -500
    assert np.abs(network_inputs(model, frame)).max() <= 1


def test_two_replacements_of_one_column_are_refused():
    frame, target = mixed("income")
    union = make_union(SimpleImputer(), SimpleImputer(strategy="median"))
    estimator, _ = cases.fit(make_pipeline(union, Ridge()), (frame, target))
    with pytest.raises(ModelError, match="put one SimpleImputer before both"):
        imported(estimator, frame)


def test_a_column_has_one_encoding():
    frame, target = mixed("age")
    union = make_union(StandardScaler(), KBinsDiscretizer(3, strategy="uniform"))
    estimator, _ = cases.fit(make_pipeline(union, Ridge()), (frame, target))
    with pytest.raises(ModelError, match="'age' both as a number and by intervals"):
        imported(estimator, frame)


# ------------------------------------------------------------------------ categories, intervals


def test_categories_are_those_of_the_sample_and_of_the_encoder():
    frame, target = mixed("city", "age")
    columns = make_column_transformer((OneHotEncoder(), ["city"]), remainder=StandardScaler())
    estimator, _ = cases.fit(make_pipeline(columns, LogisticRegression()), (frame, target))
    part = frame[frame["city"] != "Lyon"]
    model = imported(estimator, part)
    assert model.features[0].categories == ("Oslo", "Porto", "Riga", "Lyon")
    require_same(estimator, part, model)


@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_unknown_categories_are_treated_as_by_the_encoder():
    frame, target = mixed("city", "age")
    known = (frame["city"] != "Riga").to_numpy()
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder=StandardScaler()
    )
    estimator, _ = cases.fit(
        make_pipeline(columns, LogisticRegression()), (frame[known], target[known])
    )
    require_same(estimator, frame, imported(estimator, frame))
    strict = make_column_transformer((OneHotEncoder(), ["city"]), remainder=StandardScaler())
    estimator, _ = cases.fit(
        make_pipeline(strict, LogisticRegression()), (frame[known], target[known])
    )
    with pytest.raises(UnsupportedModelError, match=r"unknown categories.*handle_unknown='ignore'"):
        imported(estimator, frame)


def test_missing_texts_without_an_imputer_are_refused():
    frame, target = mixed("plan")
    estimator, _ = cases.fit(make_pipeline(OneHotEncoder(), LogisticRegression()), (frame, target))
    with pytest.raises(UnsupportedModelError, match=r"missing value of column 'plan'.*fill_value"):
        imported(estimator, frame)


@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
def test_missing_texts_with_an_imputer(strategy: str):
    frame, target = mixed("plan", "age")
    imputer = make_pipeline(
        SimpleImputer(strategy=strategy, fill_value="none"), OrdinalEncoder(dtype=float)
    )
    columns = make_column_transformer((imputer, ["plan"]), remainder=StandardScaler())
    model = require_all(make_pipeline(columns, LogisticRegression()), frame, target)
    known = frame["plan"].dropna()
    assert model.features[0].missing == ("none" if strategy == "constant" else known.mode()[0])


def test_texts_without_an_encoder_are_refused():
    frame, target = mixed("city", "age")
    columns = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    estimator, _ = cases.fit(make_pipeline(columns, Ridge()), (frame, target))
    texts = frame.assign(age=frame["age"].map(str))
    with pytest.raises(UnsupportedModelError, match="column 'age' has texts"):
        imported(estimator, texts)


def test_bins_start_at_their_lower_edge():
    values = np.repeat(np.arange(10.0), 5)[:, None]
    bins = KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform")
    model = require_all(make_pipeline(bins, Ridge()), values, np.sin(values[:, 0]))
    edges = np.array(model.features[0].edges)
    np.testing.assert_array_equal(np.nextafter(edges, np.inf), bins.bin_edges_[0][1:-1])
    on_edges = bins.bin_edges_[0][1:-1, None]
    made = model.network.forward(model.features[0].encode(on_edges[:, 0]))
    np.testing.assert_allclose(made, model.decision(on_edges), rtol=1e-12)


# ----------------------------------------------------------------------------------- products


def test_products_of_bits_are_folded():
    frame, target = mixed("city", "rooms")
    columns = make_column_transformer((OneHotEncoder(), ["city"]), remainder=StandardScaler())
    estimator = make_pipeline(columns, PolynomialFeatures(2), Ridge())
    model = require_all(estimator, frame, target)
    # 4 categories and a number; the number squared and times each category, nothing else.
    assert model.expansion == (
        *((i,) for i in range(5)),
        *((i, 4) for i in range(4)),
        (4, 4),
    )


def test_products_of_intervals_of_one_column_are_the_higher_one():
    frame, target = mixed("age", "rooms")
    bins = KBinsDiscretizer(3, encode="ordinal", strategy="uniform")
    estimator = make_pipeline(bins, PolynomialFeatures(2), Ridge())
    model = require_all(estimator, frame, target)
    assert len(model.expansion) == 4 + 2 * 2


@pytest.mark.parametrize("options", [{"interaction_only": True}, {"include_bias": False}])
def test_products_of_projected_columns(options: dict[str, bool]):
    from sklearn.decomposition import PCA

    values, target = cases.diabetes()
    estimator = make_pipeline(
        StandardScaler(), PCA(3), PolynomialFeatures(2, **options), LinearRegression()
    )
    model = require_all(estimator, values, target)
    assert len(model.expansion) == 10 + 55


def test_too_many_products_are_refused():
    values = np.random.default_rng(0).normal(size=(60, 95))
    estimator, sample = cases.fit(
        make_pipeline(PolynomialFeatures(2), Ridge()), (values, values[:, 0])
    )
    with pytest.raises(UnsupportedModelError, match="more than 4096 products"):
        imported(estimator, sample)


# ----------------------------------------------------------------------------- other estimators


def test_frames_between_steps():
    frame, target = mixed("age", "rooms", "city")
    first = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["city"]), (StandardScaler(), ["age", "rooms"])
    )
    second = make_column_transformer(
        (PolynomialFeatures(2), ["standardscaler__age", "onehotencoder__city_Oslo"]),
        remainder="passthrough",
    )
    model = make_pipeline(first, second, LogisticRegression()).set_output(transform="pandas")
    require_all(model, frame, target)


def test_targets_of_frames():
    frame, target = mixed("age", "rooms", "city")
    columns = make_column_transformer((OneHotEncoder(), ["city"]), remainder=StandardScaler())
    inner = make_pipeline(columns, Ridge())
    require_all(TransformedTargetRegressor(inner), frame, target)
    search = GridSearchCV(inner, {"ridge__alpha": [1, 2]}, cv=2)
    require_all(TransformedTargetRegressor(search, transformer=MinMaxScaler()), frame, target)


def test_truth_values_and_categories_of_pandas():
    frame, target = mixed("age", "city", "rooms")
    frame = frame.assign(city=frame["city"].astype("category"), rooms=frame["rooms"] > 2)
    columns = make_column_transformer(
        (OneHotEncoder(drop="if_binary"), ["city", "rooms"]), remainder=StandardScaler()
    )
    model = require_all(make_pipeline(columns, LogisticRegression()), frame, target == 1)
    assert (model.labels, model.integer_labels) == (("False", "True"), False)


def test_several_classes_against_the_rest_keep_their_own_pipelines():
    inner = make_pipeline(StandardScaler(), SGDClassifier(random_state=0))
    require_all(OneVsRestClassifier(inner), *cases.wine())


def test_targets_in_logarithms_are_raised_by_the_client():
    model = require_all(
        TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp), *cases.diabetes()
    )
    assert model.link == "exp"


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_activations_are_replaced_on_request_only(activation: str):
    classifier = MLPClassifier((40,), activation=activation, max_iter=200, random_state=1)
    estimator, sample = cases.fit(make_pipeline(StandardScaler(), classifier), cases.cancer())
    with pytest.raises(UnsupportedModelError, match="activation_degree=2, 3 or 4"):
        imported(estimator, sample)
    model = imported(estimator, sample, activation_degree=3)
    assert "replaced by polynomials of degree 3 fitted on the sample" in model.steps[-1].note
    made = model.network.forward(network_inputs(model, sample))
    assert ((made[:, 0] > 0) == estimator.predict(sample)).mean() > 0.965
    probabilities = 1 / (1 + np.exp(-model.decision(sample)[:, 0]))
    np.testing.assert_allclose(probabilities, estimator.predict_proba(sample)[:, 1], rtol=1e-9)


def test_perceptrons_of_one_target_and_of_means():
    values, target = cases.diabetes()
    for loss in ("squared_error", "poisson"):
        regressor = MLPRegressor(
            loss=loss, hidden_layer_sizes=(4,), activation="identity", random_state=0
        )
        model = require_all(make_pipeline(StandardScaler(), regressor), values, target)
        assert model.link == ("exp" if loss == "poisson" else "identity")
    assert set(PERCEPTRONS) == {"MLPClassifier", "MLPRegressor"}


def test_trees_on_binned_and_encoded_columns_are_exact():
    frame, target = mixed("age", "income", "city")
    bins = make_pipeline(
        SimpleImputer(),
        StandardScaler(),
        KBinsDiscretizer(6, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    )
    columns = make_column_transformer((bins, ["age", "income"]), (OneHotEncoder(), ["city"]))
    forest = RandomForestClassifier(5, max_depth=3, random_state=0)
    require_all(make_pipeline(columns, forest), frame, target)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("encode", ["ordinal", "onehot-dense"])
@pytest.mark.parametrize(
    "last", [DecisionTreeRegressor(max_depth=3), Ridge(), make_pipeline(StandardScaler(), Ridge())]
)
def test_a_column_that_is_one_interval_has_no_say(last, encode):
    age = np.random.default_rng(5).normal(40, 10, 120).round(1)
    frame = pd.DataFrame({"age": age, "rare": np.where(np.arange(120) < 3, 1.0, 0.0)})
    bins = KBinsDiscretizer(3, encode=encode, quantile_method="averaged_inverted_cdf")
    estimator = make_pipeline(bins, last).fit(frame, age)
    assert bins.n_bins_.tolist() == [3, 1]
    if encode == "onehot-dense" and isinstance(last, DecisionTreeRegressor):
        with pytest.raises(UnsupportedModelError, match="ordinal"):
            imported(estimator, frame)
        return
    model = imported(estimator, frame)
    assert [column.name for column in model.features] == ["age", "rare"]
    made = model.network.forward(network_inputs(model, frame))
    np.testing.assert_allclose(made[:, 0], estimator.predict(frame), rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_column_that_is_one_interval_here_may_be_a_number_there():
    age = np.random.default_rng(5).normal(40, 10, 120).round(1)
    frame = pd.DataFrame({"age": age, "flat": np.where(np.arange(120) < 3, 1.0, 0.0)})
    bins = KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf")
    columns = make_column_transformer((bins, ["flat"]), (StandardScaler(), ["age", "flat"]))
    estimator = make_pipeline(columns, Ridge()).fit(frame, age)
    model = imported(estimator, frame)
    made = model.network.forward(network_inputs(model, frame))
    np.testing.assert_allclose(made[:, 0], estimator.predict(frame), rtol=1e-6)


def test_trees_after_scalers():
    values, target = cases.cancer()
    forest = RandomForestClassifier(3, max_depth=2, random_state=0)
    estimator = make_pipeline(MinMaxScaler(), forest)
    cases.fit(estimator, (values[:, :8], target))
    model = imported(estimator, values[:, :8], edges=64)
    made = model.network.forward(network_inputs(model, values[:, :8]))
    assert ((made[:, 0] > 0.5) == estimator.predict(values[:, :8])).mean() > 0.99


def test_xgboost_may_end_a_pipeline():
    xgboost = pytest.importorskip("xgboost")
    values, target = cases.wine()
    bins = KBinsDiscretizer(6, encode="ordinal", quantile_method="averaged_inverted_cdf")
    booster = xgboost.XGBClassifier(n_estimators=4, max_depth=1, n_jobs=1)
    estimator = make_pipeline(StandardScaler(), bins, booster)
    cases.fit(estimator, (values, np.unique(target, return_inverse=True)[1]))
    model = imported(estimator, values)
    made = model.network.forward(network_inputs(model, values))
    np.testing.assert_array_equal(made.argmax(axis=1), estimator.predict(values))
    np.testing.assert_allclose(made, model.decision(values), rtol=1e-5, atol=1e-5)
    assert [step.operator for step in model.steps[:3]] == [
        "StandardScaler",
        "KBinsDiscretizer",
        "XGBClassifier",
    ]


def test_trees_of_mixtures_are_refused():
    from sklearn.decomposition import PCA

    estimator, sample = cases.fit(
        make_pipeline(PCA(2), DecisionTreeClassifier(max_depth=2)), cases.wine()
    )
    with pytest.raises(UnsupportedModelError, match="trees compare columns"):
        imported(estimator, sample)


# ------------------------------------------------------------------------------------ refusals


class Stubborn(Ridge):
    """Says something else than its coefficients do."""

    def predict(self, records: np.ndarray) -> np.ndarray:
        return super().predict(records) + 1


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (make_pipeline(MinMaxScaler(clip=True), Ridge()), "clips values.*clip=False"),
        (make_pipeline(PolynomialFeatures(3), Ridge()), "more than two features.*degree=2"),
        (
            make_pipeline(PolynomialFeatures(2), PolynomialFeatures(2), Ridge()),
            "products already",
        ),
        (make_pipeline(FunctionTransformer(np.log1p), Ridge()), "a Python function"),
        (make_pipeline(SimpleImputer(missing_values=-1), Ridge()), "-1 for a missing value"),
        (make_pipeline(SimpleImputer(add_indicator=True), Ridge()), "add_indicator=False"),
        (make_pipeline(PolynomialFeatures(2), SimpleImputer(), Ridge()), "a column's own value"),
        (make_pipeline(PolynomialFeatures(2), KBinsDiscretizer(2), Ridge()), "compare a column"),
        (make_pipeline(StandardScaler(), "passthrough"), "ends without an estimator"),
        (
            TransformedTargetRegressor(Ridge(), func=np.sqrt, inverse_func=np.square),
            "target is transformed",
        ),
        (
            MultiOutputRegressor(DecisionTreeRegressor(max_depth=1)),
            "side by side must be linear",
        ),
        (Stubborn(), "answers differently"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_does_not_fit_is_named(estimator: object, message: str):
    several = isinstance(estimator, MultiOutputRegressor)
    estimator, sample = cases.fit(estimator, cases.targets() if several else cases.diabetes())
    with pytest.raises(ModelError, match=message):
        imported(estimator, sample)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (SVC(), r"SVC\(kernel='rbf'\).*kernels compare.*LinearSVC"),
        (SVC(kernel="linear"), "vote in pairs.*LinearSVC"),
    ],
)
def test_kernels_other_than_linear_are_refused(estimator: object, message: str):
    estimator, sample = cases.fit(estimator, cases.wine())
    with pytest.raises(UnsupportedModelError, match=message):
        imported(estimator, sample)


@pytest.mark.parametrize(
    "classifier",
    [
        MLPClassifier((3,), activation="identity", max_iter=20),
        RidgeClassifier(),
        OneVsRestClassifier(RidgeClassifier()),
        DecisionTreeClassifier(max_depth=1),
    ],
)
def test_several_labels_are_refused(classifier: object):
    values, target = cases.cancer()
    estimator, sample = cases.fit(classifier, (values, np.column_stack([target, 1 - target])))
    with pytest.raises(UnsupportedModelError):
        imported(estimator, sample)


def test_models_must_be_fitted():
    values, _ = cases.diabetes()
    with pytest.raises(ModelError, match="has not been fitted"):
        imported(make_pipeline(StandardScaler(), Ridge()), values)
    search, _ = cases.fit(GridSearchCV(Ridge(), {"alpha": [1]}, refit=False), cases.diabetes())
    with pytest.raises(ModelError, match="refit=True"):
        imported(search, values)


def test_the_sample_must_have_the_columns():
    estimator, sample = cases.READ["Lasso"]()
    with pytest.raises(ModelError, match="fitted on 10 columns and the sample has 9"):
        imported(estimator, sample[:, :9])


def test_privacy_reaches_every_kind_of_column():
    estimator, sample = cases.READ["OneHotEncoder"]()
    model = imported(estimator, sample, plaintext={"city", "rooms", "age"})
    assert {feature.privacy for feature in model.features} == {Privacy.PLAINTEXT}
    assert {type(feature) for feature in model.features} == {Category, Thermometer, Feature}
