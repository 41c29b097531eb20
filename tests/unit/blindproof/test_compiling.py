"""From an estimator and a sample to a model that is ready to publish."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import blindproof
from blindproof.demo.networks import breast_cancer_mlp, digits_cnn
from blindproof.model_file import read_model_file
from blindproof.network_publishing import publish_network
from blindproof.prepared import Prepared
from blindproof.publishing import publish_linear
from protocol.errors import (
    InputError,
    ModelError,
    ParameterError,
    PlanningError,
    RangeError,
    ShapeError,
)
from protocol.parameters import Mode, Packing
from server.registry import ModelRegistry


@pytest.fixture(scope="module")
def cancer():
    records, target = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(records, target)
    return model, records, target


@pytest.fixture(scope="module")
def compiled(cancer):
    model, records, target = cancer
    return blindproof.compile(model, records, target=target)


@pytest.fixture(scope="module")
def mlp():
    return breast_cancer_mlp()


def small_network(**changes: object) -> blindproof.NetworkModel:
    described = {
        "name": "small",
        "version": "3",
        "purpose": "tests",
        "features": tuple(blindproof.Feature(name, -1, 1, 0, 1) for name in "ab"),
        "network": blindproof.NetworkSpec(
            (2,),
            (
                blindproof.DenseSpec([[0.5, -0.25], [0.1, 0.9]], [0.1, 0]),
                blindproof.PolynomialSpec((0, 0, 1)),
                blindproof.DenseSpec([[1, -1]], [0.5]),
            ),
        ),
        "outputs": ("y",),
        "labels": (),
        "link": "identity",
        **changes,
    }
    return blindproof.NetworkModel(**described)  # type: ignore[arg-type]


SQUARE_GRID = np.array([(a, b) for a in np.linspace(-1, 1, 9) for b in np.linspace(-1, 1, 9)])


# -------------------------------------------------------------------------------- what is compiled


def test_an_estimator_becomes_a_linear_model_in_both_packings(compiled, cancer):
    model, records, target = cancer
    assert compiled.name == "logistic-regression"
    assert compiled.prepared.packings == (Packing.BATCH, Packing.SINGLE)
    assert compiled.mode is Mode.PRIVATE
    assert compiled.accuracy.records == 569
    assert compiled.accuracy.of_float == pytest.approx(model.score(records, target))
    assert compiled.accuracy.of_integer >= compiled.accuracy.of_float - 0.005
    assert compiled.accuracy.undecided == 0
    assert compiled.precision_bits >= 16
    assert [step.operator for step in compiled.steps] == ["StandardScaler", "LogisticRegression"]
    assert compiled.over_monomials is None


def test_simulation_is_the_integer_model_on_plain_records(compiled, cancer):
    model, records, _ = cancer
    simulated = compiled.simulate(records)
    assert simulated.labels == tuple(map(str, model.predict(records)))
    own = model.decision_function(records)
    assert np.abs(simulated.values[:, 0] - own).max() == pytest.approx(compiled.differences[0])
    assert compiled.differences[0] <= compiled.prepared.rounding_errors[0]
    assert np.allclose(simulated.probabilities, model.predict_proba(records), atol=5e-3)
    assert simulated.predictions is None
    quantum = compiled.prepared.unit * 2.0**-15
    shuffled = records[reversed(records.columns)]
    assert np.array_equal(compiled.simulate(shuffled).values, simulated.values)
    assert not np.array_equal(own, simulated.values[:, 0])  # weights are multiples of a quantum
    weights = compiled.prepared.integers * quantum
    inputs = compiled.model.inputs_of(records.to_numpy())
    assert np.allclose(inputs @ weights[:-1] + weights[-1], simulated.values[:, 0], atol=1e-9)


def test_records_that_a_client_would_refuse_are_refused_in_a_simulation(compiled, cancer):
    _, records, _ = cancer
    beyond = records.head(3).copy()
    beyond.loc[beyond.index[1], "mean area"] = 1e9
    with pytest.raises(RangeError, match=r"column 'mean area', row 1: the value is outside"):
        compiled.simulate(beyond)


def test_regressions_are_measured_by_r2():
    records, target = load_diabetes(return_X_y=True, as_frame=True)
    model = Ridge().fit(records, target)
    compiled = blindproof.compile(model, records, target=target)
    accuracy = compiled.accuracy
    assert (accuracy.measure, accuracy.undecided, accuracy.differing) == ("R2", 0, 0)
    assert accuracy.of_float == pytest.approx(model.score(records, target))
    assert accuracy.of_integer == pytest.approx(accuracy.of_float, abs=0.01)
    assert accuracy.agreement > 0.999
    simulated = compiled.simulate(records)
    assert simulated.labels is None
    assert np.array_equal(simulated.predictions, simulated.values)


def test_a_regression_behind_an_exponential_is_measured_by_what_it_predicts():
    rng = np.random.default_rng(1)
    records = rng.uniform(-1, 1, (200, 2))
    target = rng.poisson(np.exp(1 + records[:, 0]))
    model = PoissonRegressor().fit(records, target)
    compiled = blindproof.compile(model, records, target=target)
    assert compiled.model.link == "exp"
    assert np.allclose(compiled.simulate(records).predictions[:, 0], model.predict(records), 1e-2)
    errors = ((target - model.predict(records)) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    assert compiled.accuracy.of_float == pytest.approx(1 - errors)


def test_without_a_target_the_two_models_are_compared(cancer):
    model, records, _ = cancer
    compiled = blindproof.compile(model, records)
    assert compiled.accuracy.of_float is None
    assert compiled.accuracy.agreement == 1.0
    assert compiled.accuracy.loss == 0.0
    assert compiled.model.about.metrics == ()


def test_the_target_may_be_a_column_of_the_sample(cancer):
    model, records, target = cancer
    compiled = blindproof.compile(model, records.assign(truth=target), target="truth")
    assert compiled.accuracy.of_float == pytest.approx(model.score(records, target))
    assert len(compiled.model.features) == 30


def test_measured_accuracy_is_said_on_the_card_unless_something_else_is(compiled, cancer):
    model, records, target = cancer
    ((name, value),) = compiled.model.about.metrics
    assert name == "accuracy on the sample"
    assert value == pytest.approx(compiled.accuracy.of_integer, abs=1e-4)
    about = blindproof.About(licence="MIT", metrics=(("AUC", 0.99),))
    said = blindproof.compile(model, records, target=target, about=about)
    assert said.model.about == about


def test_labels_may_be_given_other_names(cancer):
    model, records, target = cancer
    named = blindproof.compile(model, records, target=target, labels=["malignant", "benign"])
    assert named.model.labels == ("malignant", "benign")
    assert not named.model.integer_labels
    texts = np.where(target == 1, "benign", "malignant")
    again = blindproof.compile(model, records, target=texts, labels=["malignant", "benign"])
    assert again.accuracy == named.accuracy
    with pytest.raises(ModelError, match="has 2 labels, found 3"):
        blindproof.compile(model, records, labels=["a", "b", "c"])
    with pytest.raises(InputError, match="classes that the model does not know"):
        blindproof.compile(model, records, target=["other"] * 569)
    with pytest.raises(InputError, match="a target of 3 entries for a sample of 569"):
        blindproof.compile(model, records, target=[0, 1, 0])


def test_classes_may_be_true_and_false(cancer):
    _, records, target = cancer
    truth = target.astype(bool)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(records, truth)
    given = blindproof.compile(model, records, target=truth)
    named = blindproof.compile(model, records.assign(truth=truth), target="truth")
    assert given.model.labels == ("False", "True")
    assert given.accuracy == named.accuracy
    assert given.accuracy.of_float == pytest.approx(model.score(records, truth))


def test_a_table_of_texts_missing_values_and_columns_that_clients_keep():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "id": [f"no. {i}" for i in range(200)],
            "age": rng.integers(18, 90, 200).astype(float),
            "income": rng.normal(1000, 200, 200),
            "region": rng.choice(["north", "south", "east"], 200),
        }
    )
    table.loc[::17, "income"] = np.nan
    target = np.where(table["age"] > 50, "high", "low")
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    encoded = make_column_transformer((scaled, ["age", "income"]), (OneHotEncoder(), ["region"]))
    model = make_pipeline(encoded, make_pipeline(LogisticRegression()))
    model.fit(table.drop(columns="id"), target)
    compiled = blindproof.compile(model, table, target=target, local=["id"], plaintext=["region"])
    assert compiled.name == "logistic-regression"
    simulated = compiled.simulate(table)
    assert simulated.labels == tuple(model.predict(table))
    assert np.allclose(simulated.probabilities, model.predict_proba(table), atol=1e-2)
    text = compiled.explain()
    assert "east, north, south" in text
    assert "kept by clients: id" in text
    assert f"becomes {table['income'].median():.6g}" in text
    with pytest.raises(ModelError, match="does not read 'id': name such columns as local"):
        blindproof.compile(model, table, target=target)


def test_a_network_that_does_not_know_its_classes_gets_them(mlp):
    bare = blindproof.NetworkModel(
        **mlp.model.described(labels=(), link="identity"), network=mlp.model.network
    )
    regression = blindproof.compile(bare, mlp.held_out)
    assert regression.accuracy.measure == "R2"
    classes = blindproof.compile(bare, mlp.held_out, labels=["malignant", "benign"])
    assert classes.model.link == "logistic"
    signs = blindproof.compile(bare, mlp.held_out, labels=["-", "+"], link="sign")
    assert signs.model.link == "sign"
    assert signs.simulate(mlp.held_out).probabilities is None
    with pytest.raises(ModelError, match="says that its link is 'logistic'"):
        blindproof.compile(mlp.model, mlp.held_out, link="sign")


# ------------------------------------------------------------------------------ networks, packings


def test_a_network_is_compiled_in_batches_and_says_what_single_records_would_take(mlp):
    compiled = blindproof.compile(mlp.model, mlp.held_out, target=mlp.truth)
    assert compiled.prepared.packings == (Packing.BATCH,)
    assert [layer.name for layer in compiled.layers] == ["inputs", "Dense", "Polynomial", "Dense"]
    assert all(0 < layer.measured <= layer.worst for layer in compiled.layers)
    assert isinstance(compiled.over_monomials, Prepared)
    assert compiled.over_monomials.model.inputs == 495
    assert np.array_equal(compiled.simulate(mlp.held_out).values, mlp.exact_values)


def test_single_records_of_a_network_are_those_of_its_polynomial(mlp):
    compiled = blindproof.compile(mlp.model, mlp.held_out, target=mlp.truth, packing="single")
    assert compiled.name == f"{mlp.model.name}-single"
    assert compiled.prepared.packings == (Packing.SINGLE,)
    assert compiled.model.inputs == 495
    batch = blindproof.compile(mlp.model, mlp.held_out, packing="batch")
    difference = compiled.simulate(mlp.held_out).values - batch.simulate(mlp.held_out).values
    assert 0 < np.abs(difference).max() < 1e-3


def test_auto_chooses_by_the_number_of_records(mlp):
    one = blindproof.compile(mlp.model, mlp.held_out, packing="auto")
    many = blindproof.compile(mlp.model, mlp.held_out, packing="auto", records=1000)
    assert (one.prepared.packings, many.prepared.packings) == (
        (Packing.SINGLE,),
        (Packing.BATCH,),
    )
    assert "1 record in about" in one.notes[0]


def test_compiling_the_digits_network_takes_seconds():
    cnn = digits_cnn()
    started = time.perf_counter()
    compiled = blindproof.compile(cnn.model, cnn.held_out, target=cnn.truth)
    assert time.perf_counter() - started < 10
    assert compiled.accuracy.differing == 0
    assert isinstance(compiled.over_monomials, PlanningError)


def test_a_precision_that_nobody_asked_for_gives_way_to_what_fits(tmp_path):
    layers: list[blindproof.DenseSpec | blindproof.PolynomialSpec] = []
    for width, before in ((5, 2), (5, 5), (5, 5)):
        layers.append(blindproof.DenseSpec(np.full((width, before), 0.9), np.zeros(width)))
        layers.append(blindproof.PolynomialSpec((0, 0, 1)))
    layers.append(blindproof.DenseSpec(np.full((1, 5), 0.9), [0]))
    deep = small_network(network=blindproof.NetworkSpec((2,), tuple(layers)))
    compiled = blindproof.compile(deep, SQUARE_GRID)
    assert compiled.notes == ("planned for 12 bits of precision: no parameters reach 14",)
    assert 12 <= compiled.precision_bits < 14
    assert compiled.notes[0] in compiled.explain()
    with pytest.raises(PlanningError, match="14 bits of precision do not fit"):
        blindproof.compile(deep, SQUARE_GRID, precision_bits=14)
    by_hand = publish_network(tmp_path, deep, precision_bits=12, allow_rounding=True)
    assert compiled.publish(tmp_path).digest == by_hand.digest


def test_batches_that_would_be_enormous_are_not_compiled_by_default():
    rng = np.random.default_rng(0)
    records = rng.uniform(-1, 1, (40, 4000))
    model = Ridge().fit(records, records[:, 0])
    compiled = blindproof.compile(model, records)
    assert compiled.prepared.packings == (Packing.SINGLE,)
    assert "packing='batch' compiles for it" in compiled.notes[0]


# ------------------------------------------------------------------------------------ publication


def test_publishing_is_that_of_the_same_model_by_hand(compiled, tmp_path):
    card = compiled.publish(tmp_path / "models")
    # The key of the publisher decides the commitment: both go into one directory.
    again = publish_linear(tmp_path / "models", compiled.model, allow_rounding=True)
    assert again.digest == card.digest
    assert compiled.publish(str(tmp_path / "models")).digest == card.digest
    (entry,) = [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
    assert entry.name == card.digest.hex()
    assert ModelRegistry(tmp_path / "models").get(card.digest).card == card


def test_one_of_the_packings_is_published_alone(compiled, tmp_path):
    card = compiled.publish(tmp_path, packing="single")
    assert [profile.packing for profile in card.profiles] == [Packing.SINGLE]


def test_a_network_is_published_in_the_packing_it_was_compiled_for(tmp_path):
    model = small_network()
    compiled = blindproof.compile(model, SQUARE_GRID)
    card = compiled.publish(tmp_path)
    assert card.digest == publish_network(tmp_path, model).digest
    with pytest.raises(ModelError, match=r"compiled for batch requests.*packing='single'"):
        compiled.publish(tmp_path, packing="single")
    single = blindproof.compile(model, SQUARE_GRID, packing="single").publish(tmp_path)
    assert single.expansion


def test_public_weights_are_compiled_like_private_ones(cancer, tmp_path):
    model, records, target = cancer
    compiled = blindproof.compile(model, records, target=target, mode="public")
    assert compiled.publish(tmp_path).mode is Mode.PUBLIC
    assert compiled.prepared.draft.public_weights


def test_a_saved_model_is_the_same_model(compiled, cancer, tmp_path):
    _, records, target = cancer
    card = compiled.publish(tmp_path / "models")
    path = tmp_path / "model.json"
    compiled.save(path)
    assert path.stat().st_mode & 0o077 == 0
    file = read_model_file(path)
    again = publish_linear(
        tmp_path / "models", file.model(), packings=file.packings, allow_rounding=True
    )
    assert again.digest == card.digest
    compiled_again = blindproof.compile(path, records, target=target)
    assert compiled_again.publish(tmp_path / "models").digest == card.digest


def test_a_saved_network_is_the_same_network(tmp_path):
    image = blindproof.NetworkSpec(
        (1, 4, 4),
        (
            blindproof.Conv2dSpec(np.full((2, 1, 2, 2), 0.5), [0.1, -0.2], (1, 1), (1, 1)),
            blindproof.BatchNormSpec([1, 1.5], [0, 0.1], [0, 0], [1, 1]),
            blindproof.PolynomialSpec((0, 0, 1)),
            blindproof.PoolSpec((5, 5), (5, 5)),
            blindproof.FlattenSpec(),
            blindproof.DenseSpec([[1, 0.5], [0.5, 1]], [0, 0]),
            blindproof.PolynomialSpec((0.5, 0.25, 0.125)),
            blindproof.AddSpec(6, 7),
            blindproof.ScaleSpec(0.5),
            blindproof.SelectionSpec((1, 0)),
            blindproof.MulSpec(9, 10),
            blindproof.DenseSpec([[0.3, 0.4]], [0.0]),
        ),
    )
    features = tuple(blindproof.Feature(f"p{i}", 0, 1, 0, 1) for i in range(16))
    model = small_network(network=image, features=features)
    records = np.random.default_rng(0).uniform(0, 1, (30, 1, 4, 4))
    compiled = blindproof.compile(model, records, precision_bits=8, allow_loss=True)
    compiled.save(tmp_path / "network.json")
    again = blindproof.compile(
        tmp_path / "network.json", records, precision_bits=8, allow_loss=True
    )
    assert again.publish(tmp_path).digest == compiled.publish(tmp_path).digest
    assert again.model.version == "3"


def test_a_saved_model_keeps_every_kind_of_column(tmp_path):
    features = (
        blindproof.Feature("n", 0, 2, 1, 1, privacy="plaintext", missing=0.5, measured_in="kg"),
        blindproof.Thermometer("t", 0, 2, (0.5, 1.5), missing=1.0),
        blindproof.Category("c", ("x", "y"), missing="y"),
    )
    linear = blindproof.LinearModel(
        name="columns",
        version="1",
        purpose="tests",
        features=features,
        weights=[[0.5, 0.25, 0.125, 1.0]],
        intercept=[0.1],
        outputs=("y",),
        labels=("0", "1"),
        integer_labels=True,
        link="logistic",
        expansion=((0,), (3,), (0, 1), (2, 4)),
        local=("id",),
        about=blindproof.About("use", "data", "MIT", (("AUC", 0.5),)),
    )
    sample = pd.DataFrame({"n": [0.0, 2.0, None], "t": [0.1, 0.6, 1.9], "c": ["x", None, "y"]})
    compiled = blindproof.compile(linear, sample)
    compiled.save(tmp_path / "columns.json")
    again = blindproof.compile(tmp_path / "columns.json", sample)
    assert again.publish(tmp_path).digest == compiled.publish(tmp_path).digest
    assert again.simulate(sample).values.shape == (3, 1)
    assert json.loads((tmp_path / "columns.json").read_text())["local"] == ["id"]


# --------------------------------------------------------------------------------------- refusals


def test_a_model_that_loses_accuracy_is_refused_with_advice():
    # A weight of a millionth of the other one is zero in 16 bits, and the sample depends on it.
    linear = blindproof.LinearModel(
        name="uneven",
        version="1",
        purpose="tests",
        features=tuple(blindproof.Feature(name, -1, 1, 0, 1) for name in "ab"),
        weights=[[1.0, 1e6]],
        intercept=[0],
        outputs=("log-odds",),
        labels=("0", "1"),
        link="logistic",
    )
    sample = np.column_stack([np.linspace(-1, 1, 200), np.zeros(200)])
    with pytest.raises(ModelError) as refused:
        blindproof.compile(linear, sample)
    message = str(refused.value)
    assert "on the 200 records of the sample the integer model loses accuracy" in message
    assert "it gives 100 of them another label than the float model" in message
    assert "Scale the columns to similar widths" in message
    assert "allow_loss" in message
    with pytest.raises(ModelError, match=r"labels 50.0% of them correctly, the float model 100"):
        blindproof.compile(linear, sample, target=sample[:, 0] > 0, labels=[False, True])
    accepted = blindproof.compile(linear, sample, allow_loss=True)
    assert accepted.accuracy.loss == 0.5
    assert "another label than the model as it was given: 100 of 200" in accepted.explain()
    regression = blindproof.LinearModel(
        **linear.described(link="identity", labels=()), weights=[[1.0, 1e6]], intercept=[0]
    )
    with pytest.raises(ModelError, match=r"it has an R2 of 0\.0000"):
        blindproof.compile(regression, sample)
    # One record is no evidence, however small the sample is.
    assert blindproof.compile(linear, sample[99:101]).accuracy.differing == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"packing": "both"}, ParameterError, "expected 'batch', 'single', 'auto'"),
        ({"mode": "hidden"}, ParameterError, "expected 'private' or 'public'"),
        ({"plaintext": "mean area"}, ParameterError, r"such as \['mean area'\]"),
        (
            {"plaintext": ["means area"]},
            InputError,
            "plaintext: the sample has no column 'means area'; did you mean 'mean area'?",
        ),
        ({"ranges": {"age": (0, 1)}}, InputError, "ranges: the sample has no column 'age'"),
        (
            {"local": ["mean area"], "plaintext": ["mean area"]},
            InputError,
            "column 'mean area' is local",
        ),
        ({"ranges": {"mean area": (500, 600)}}, InputError, "leaves the range.*'mean area'"),
        ({"precision_bits": 80}, PlanningError, "80 bits .* the nearest is"),
        ({"target": "diagnosis"}, InputError, "no column 'diagnosis'"),
    ],
)
def test_options_that_mean_nothing_are_refused(cancer, options, error, message):
    model, records, _ = cancer
    with pytest.raises(error, match=message):
        blindproof.compile(model, records, **options)


def test_a_sample_that_is_not_the_models_is_refused(mlp):
    with pytest.raises(InputError, match=r"'mean radius' .* values outside \[0, 36"):
        blindproof.compile(mlp.model, mlp.held_out * 10)
    with pytest.raises(ModelError, match="reads a column 'mean radius'"):
        blindproof.compile(mlp.model, mlp.held_out[:, :29])
    sample = mlp.held_out.copy()
    sample[3, 2] = np.nan
    with pytest.raises(InputError, match=r"'mean perimeter' of the sample has missing values"):
        blindproof.compile(mlp.model, sample)


def test_a_sample_is_a_table_not_a_path_and_may_be_records_by_name(cancer):
    model, records, truth = cancer
    with pytest.raises(ShapeError, match="read it first, such as by pandas"):
        blindproof.compile(model, "records.csv")
    with pytest.raises(ModelError, match="'LogisticRegression' is a class: pass a fitted"):
        blindproof.compile(LogisticRegression, records)
    rows = pd.DataFrame(records).head(60).to_dict("records")
    by_name = blindproof.compile(model, rows)
    assert by_name.model.features == blindproof.compile(model, records[:60]).model.features
    with pytest.raises(ShapeError, match="records of the sample have different columns"):
        blindproof.compile(model, [*rows, {"age": 1.0}])
    with pytest.raises(InputError, match="2 classes that the model does not know; it knows 0, 1"):
        blindproof.compile(model, records, target=["b" if label else "m" for label in truth])


def test_a_target_that_no_column_predicts_is_doubted():
    table = {"a": np.linspace(-1, 1, 100), "b": np.linspace(3, 4, 100)}
    linear = blindproof.LinearModel(
        name="steep",
        version="1",
        purpose="",
        features=tuple(blindproof.Feature(name, -5.0, 5.0, 0.0, 1.0) for name in table),
        outputs=("prediction",),
        labels=(),
        link="identity",
        weights=[[-1.0, 1e6]],
        intercept=[0.0],
    )
    with pytest.raises(ModelError, match=r"worse than a constant .* Is it the right target"):
        blindproof.compile(linear, table, target=table["a"])


# ---------------------------------------------------------------------------------- explaining it


def test_a_small_sample_is_told(cancer):
    model, records, _ = cancer
    said = "ranges come from 20 records only"
    assert said in blindproof.compile(model, records[:20]).explain()
    assert "records only" not in blindproof.compile(model, records).explain()


def test_the_report_says_what_there_is_to_know(compiled):
    text = compiled.explain()
    for expected in (
        "logistic-regression 1, from Pipeline: 30 columns, 30 inputs, 1 output, hidden weights",
        "link logistic, labels 0, 1",
        "StandardScaler",
        "worst fractal dimension",
        "proved worst case",
        "of the model as it was given 98.77%",
        "records whose label is within the error bound of another: 0",
        "log-odds of 1",
        "ring degree N",
        "records until keys are replaced",
        "memory of the server",
        "all phases",
    ):
        assert expected in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_alike_columns_share_a_row_and_refusals_are_told():
    cnn = digits_cnn()
    text = blindproof.compile(cnn.model, cnn.held_out).explain(120)
    assert "pixel 0 to pixel 63, 64 columns" in text
    assert "single records over monomials: multiplied out, 64 inputs have up to" in text


def test_the_repr_is_one_line(compiled):
    assert repr(compiled).startswith("Compiled('logistic-regression' from Pipeline, 30 columns")
    assert "\n" not in repr(compiled)
    assert "accuracy=0.98" in repr(compiled)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_trade_off_is_drawn(compiled, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"trade-off.{suffix}"
    compiled.plot(path)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)


def test_a_drawing_is_the_same_each_time_and_shows_both_packings(mlp, tmp_path):
    pytest.importorskip("matplotlib")
    compiled = blindproof.compile(mlp.model, mlp.held_out)
    for name in ("first.svg", "second.svg"):
        compiled.plot(tmp_path / name)
    first = (tmp_path / "first.svg").read_bytes()
    assert first == (tmp_path / "second.svg").read_bytes()
    assert {offer.packing for offer in compiled.trade_off(14)} == set(Packing)
    assert compiled.trade_off(80) == ()


def test_a_drawing_has_one_of_three_forms(compiled, tmp_path):
    with pytest.raises(ParameterError, match=r"a plot is written as \.pdf, \.png, \.svg"):
        compiled.plot(tmp_path / "trade-off.txt")


def test_predicted_sizes_count_what_is_encrypted(cancer):
    model, records, _ = cancer
    whole = blindproof.compile(model, records, packing="batch")
    open_columns = list(records.columns[:10])
    partly = blindproof.compile(model, records, packing="batch", plaintext=open_columns)
    sizes = [made.offers[0].predicted.request_bytes for made in (whole, partly)]
    assert sizes[1] == pytest.approx(sizes[0] * 2 / 3)


def test_wine_has_probabilities_of_three_classes():
    records, target = load_wine(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(records, target)
    compiled = blindproof.compile(model, records.to_numpy(), target=target)
    simulated = compiled.simulate(records.to_numpy())
    assert compiled.model.link == "softmax"
    assert compiled.model.integer_labels
    assert np.allclose(simulated.probabilities.sum(axis=1), 1)
    assert np.allclose(simulated.probabilities, model.predict_proba(records), atol=1e-2)
