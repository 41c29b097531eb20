"""XGBoost's JSON, with vectors of the library and, where it is installed, with the library."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.importing.tree_estimators import ensemble_of
from fhe_layers.importing.xgboost_model import SUPPORT, import_booster, read_booster
from protocol.errors import ModelError
from protocol.features import encode_columns
from protocol.links import decide, predictions

NAMES = ("width", "height", "depth", "weight")
MODELS = ("binary", "three_classes", "regression", "counts", "forest")


@pytest.fixture(scope="module")
def vectors(repository_root: Path) -> dict[str, Any]:
    folder = repository_root / "tests/vectors/xgboost"
    return {path.stem: json.loads(path.read_bytes()) for path in folder.glob("*.json")}


@pytest.fixture
def binary(vectors: dict[str, Any]) -> dict[str, Any]:
    """A model to change."""
    changed: dict[str, Any] = copy.deepcopy(vectors["binary"])
    return changed


def table_of(vectors: dict[str, Any]) -> Table:
    return Table.of(vectors["expected"]["inputs"], NAMES)


@pytest.mark.parametrize("name", MODELS)
def test_margins_are_the_librarys(vectors: dict[str, Any], name: str):
    read = read_booster(vectors[name])
    inputs = np.array(vectors["expected"]["inputs"])
    assert read.feature_names == NAMES
    assert np.abs(read.ensemble.values(inputs) - vectors["expected"][name]).max() < 2e-6


def test_less_than_is_strict(binary: dict[str, Any]):
    read = read_booster(binary)
    tree = binary["learner"]["gradient_booster"]["model"]["trees"][0]
    threshold, feature = np.float32(tree["split_conditions"][0]), tree["split_indices"][0]
    inputs = np.zeros((2, 4))
    inputs[0, feature], inputs[1, feature] = threshold, np.nextafter(threshold, np.float32(-9))
    first = read.ensemble.trees[0]
    assert first.feature == feature
    assert (inputs[:, feature] <= first.threshold).tolist() == [False, True]


def test_base_scores_of_older_versions_are_one_number(binary: dict[str, Any]):
    parameters = binary["learner"]["learner_model_param"]
    stated = float(parameters["base_score"].strip("[]"))
    parameters["base_score"] = f"{stated:E}"
    assert read_booster(binary).ensemble.base == pytest.approx(np.log(stated / (1 - stated)))


def test_features_are_found_by_name(vectors: dict[str, Any]):
    order = [2, 0, 3, 1]
    inputs = np.array(vectors["expected"]["inputs"])
    table = Table.of(inputs[:, order], [NAMES[place] for place in order])
    imported = import_booster(vectors["regression"], table, ImportOptions(edges=11))
    assert np.allclose(
        imported.decision(table.values), vectors["expected"]["regression"], atol=1e-5
    )
    assert tuple(column.name for column in imported.features) == table.names


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_bits_are_the_model_where_no_threshold_moves(
    vectors: dict[str, Any], name: str
):
    # Eleven edges separate twelve records in every way there is.
    table = table_of(vectors)
    imported = import_booster(vectors[name], table, ImportOptions(edges=11))
    made = imported.network.forward(encode_columns(imported.features, table.values))
    wanted = np.array(vectors["expected"][name])
    assert np.allclose(made, wanted, atol=1e-5)
    assert (len(imported.outputs), imported.labels) == (
        wanted.shape[1],
        {"binary": ("0", "1"), "three_classes": ("0", "1", "2")}.get(name, ()),
    )
    assert imported.link == {
        "binary": "logistic",
        "three_classes": "softmax",
        "counts": "exp",
    }.get(name, "identity")


def test_files_bytes_and_texts_are_the_same_model(vectors: dict[str, Any], repository_root: Path):
    path = repository_root / "tests/vectors/xgboost/binary.json"
    table, options = table_of(vectors), ImportOptions(edges=4)
    forms = [path, str(path), path.read_bytes(), path.read_text(encoding="utf-8")]
    made = [import_booster(form, table, options).decision(table.values) for form in forms]
    assert all((values == made[0]).all() for values in made)


@pytest.mark.parametrize(
    ("saved_by", "rounds", "note"),
    [({"scikit_learn": "{}"}, 2, "the first 2 of 3 rounds"), ({}, 3, "all 3 rounds")],
    ids=["XGBModel", "Booster"],
)
def test_models_stopped_early_use_the_rounds_of_who_saved_them(
    binary: dict[str, Any],
    vectors: dict[str, Any],
    saved_by: dict[str, str],
    rounds: int,
    note: str,
):
    binary["learner"]["attributes"] = {"best_iteration": "1", **saved_by}
    read = read_booster(binary)
    assert (len(read.ensemble.trees), read.rounds, read.found, read.best) == (rounds, rounds, 3, 2)
    imported = import_booster(binary, table_of(vectors), ImportOptions(edges=4))
    (step,) = [step for step in imported.steps if step.name == "early stopping"]
    assert step.treatment is Treatment.FOLDED
    assert step.note.startswith(note)


def test_regressions_that_a_classifier_saved_are_refused(vectors: dict[str, Any]):
    document = copy.deepcopy(vectors["regression"])
    document["learner"]["attributes"] = {"scikit_learn": '{"_estimator_type": "classifier"}'}
    with pytest.raises(UnsupportedModelError, match="a classifier rounds"):
        import_booster(document, table_of(vectors), ImportOptions(edges=4))


def test_binary_files_are_refused_with_advice(tmp_path: Path, vectors: dict[str, Any]):
    table = table_of(vectors)
    path = tmp_path / "model.ubj"
    path.write_bytes(b"{L\0\0")
    for form in (path, path.read_bytes(), str(path)):
        with pytest.raises(ModelError, match=r"save_model\(\"model\.json\"\)"):
            import_booster(form, table, ImportOptions())
    with pytest.raises(ModelError, match="cannot be read"):
        import_booster(tmp_path / "none.json", table, ImportOptions())
    with pytest.raises(ModelError, match="is a Booster, an XGBModel, or the JSON"):
        import_booster(7, table, ImportOptions())


def _set(document: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split("/")
    for key in parents:
        document = document[int(key)] if isinstance(document, list) else document[key]
    document[last] = value


TREE = "learner/gradient_booster/model/trees/0"


@pytest.mark.parametrize(
    ("path", "value", "advice"),
    [
        ("learner/gradient_booster/name", "dart", "gbtree"),
        ("learner/gradient_booster/name", "gblinear", "gbtree"),
        ("learner/objective/name", "rank:ndcg", "binary:logistic"),
        ("learner/objective/name", "binary:logitraw", "binary:logistic"),
        ("learner/feature_types", ["c", "float", "float", "float"], "OneHotEncoder"),
        ("learner/learner_model_param/num_target", "2", "one model for each target"),
        (f"{TREE}/split_type", [1, 0, 0, 0, 0, 0, 0], "enable_categorical=False"),
        (f"{TREE}/tree_param/size_leaf_vector", "2", "one_output_per_tree"),
    ],
)
def test_what_has_no_encrypted_form_is_refused(
    binary: dict[str, Any], path: str, value: object, advice: str
):
    _set(binary, path, value)
    with pytest.raises(UnsupportedModelError, match=advice):
        read_booster(binary)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("learner", {}),
        ("learner/learner_model_param/base_score", "[0.5,0.5]"),
        ("learner/learner_model_param/base_score", "[1.0]"),
        ("learner/learner_model_param/num_class", "3"),
        ("learner/learner_model_param/num_feature", "1"),
        ("learner/attributes", {"best_iteration": "-5"}),
        ("learner/attributes", {"best_iteration": "0", "scikit_learn": "[]"}),
        ("learner/gradient_booster/model/tree_info", [0, -1, 0]),
        ("learner/gradient_booster/model/gbtree_model_param/num_parallel_tree", "0"),
        ("learner/feature_names", ["one"]),
        ("learner/gradient_booster/model/tree_info", [0]),
        ("learner/gradient_booster/model/trees", [None, None, None]),
        (f"{TREE}/left_children", [1, 1, -1, -1, -1, -1, -1]),
        (f"{TREE}/split_conditions", ["nan"] * 7),
        (f"{TREE}/split_indices", []),
    ],
)
def test_documents_that_are_no_model_are_refused(binary: dict[str, Any], path: str, value: object):
    _set(binary, path, value)
    with pytest.raises(ModelError):
        read_booster(binary)


def test_very_many_outputs_are_refused_before_they_are_allocated(vectors: dict[str, Any]):
    document = copy.deepcopy(vectors["three_classes"])
    document["learner"]["learner_model_param"]["num_class"] = str(1 << 40)
    with pytest.raises(ModelError, match="values of leaves"):
        read_booster(document)


def test_columns_that_are_not_the_models_are_named(vectors: dict[str, Any]):
    inputs = np.array(vectors["expected"]["inputs"])
    options = ImportOptions(edges=4)
    with pytest.raises(ModelError, match="reads 'weight', which is no column"):
        import_booster(vectors["binary"], Table.of(inputs[:, :3], NAMES[:3]), options)
    with pytest.raises(ModelError, match="none of the model's 4 feature names"):
        import_booster(vectors["binary"], Table.of(inputs), options)
    nameless = copy.deepcopy(vectors["binary"])
    nameless["learner"]["feature_names"] = []
    with pytest.raises(ModelError, match="reads 4 features, the sample has 3"):
        import_booster(nameless, Table.of(inputs[:, :3]), options)
    wider = Table.of(np.column_stack([inputs, inputs[:, 0]]), (*NAMES, "extra"))
    with pytest.raises(ModelError, match="does not read column 'extra'"):
        import_booster(vectors["binary"], wider, options)
    local = import_booster(vectors["binary"], wider, ImportOptions(edges=4, local=("extra",)))
    assert len(local.features) == 4


# -------------------------------------------------------------------------------- the library


def fitted(objective: str, **settings: Any) -> tuple[Any, np.ndarray]:
    """An estimator of the library, and inputs in single precision."""
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(150, 3)).astype(np.float32).astype(np.float64)
    score = inputs[:, 0] * inputs[:, 1] + inputs[:, 2]
    if objective.startswith("multi"):
        kind, targets = xgboost.XGBClassifier, np.digitize(score, [-0.5, 0.5])
    elif objective.startswith("binary"):
        kind, targets = xgboost.XGBClassifier, (score > 0).astype(int)
    else:
        kind, targets = xgboost.XGBRegressor, np.exp(score / 3)
    if objective == "reg:quantileerror":
        settings["quantile_alpha"] = 0.4
    model = kind(objective=objective, n_estimators=5, max_depth=2, n_jobs=1, **settings)
    return model.fit(inputs, targets), inputs


OBJECTIVES = tuple(row.operator for row in SUPPORT if row.treatment is Treatment.ENCRYPTED)


@pytest.mark.parametrize("settings", [{}, {"base_score": 0.3}], ids=["estimated", "given"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_the_librarys(objective: str, settings: dict[str, Any]):
    model, inputs = fitted(objective, **settings)
    imported = import_booster(model, Table.of(inputs), ImportOptions(edges=16))
    read = ensemble_of(model)
    made = read.ensemble.values(inputs)
    wanted = imported.decision(inputs)
    assert np.abs(made - wanted).max() < 1e-5
    assert (read.link, read.outputs, read.labels) == (
        imported.link,
        imported.outputs,
        imported.labels,
    )
    found = decide(read.link, wanted)
    if found is None:
        assert np.allclose(predictions(read.link, wanted)[:, 0], model.predict(inputs), rtol=1e-5)
    else:
        assert (found == model.predict(inputs)).all()


@pytest.fixture(scope="module")
def stopped() -> tuple[Any, np.ndarray]:
    """An estimator with more rounds than its best one, and inputs."""
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(200, 3)).astype(np.float32).astype(np.float64)
    targets = (inputs[:, 0] + rng.normal(size=200) > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=60, max_depth=2, early_stopping_rounds=3, n_jobs=1)
    model.fit(inputs[:100], targets[:100], eval_set=[(inputs[100:], targets[100:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model, inputs


def margins(model: Any, inputs: np.ndarray) -> np.ndarray:
    """By the library's own predict, of an XGBModel or a Booster."""
    if hasattr(model, "get_booster"):
        return np.asarray(model.predict(inputs, output_margin=True))
    import xgboost

    return np.asarray(model.predict(xgboost.DMatrix(inputs), output_margin=True))


@pytest.mark.parametrize("saved", [False, True], ids=["object", "document"])
@pytest.mark.parametrize("native", [False, True], ids=["XGBModel", "Booster"])
def test_early_stopping_is_the_librarys(
    stopped: tuple[Any, np.ndarray], tmp_path: Path, native: bool, saved: bool
):
    estimator, inputs = stopped
    model = given = estimator.get_booster() if native else estimator
    if saved:
        given = tmp_path / "model.json"
        model.save_model(given)
    imported = import_booster(given, Table.of(inputs), ImportOptions(edges=8))
    assert np.abs(imported.decision(inputs)[:, 0] - margins(model, inputs)).max() < 1e-5
    (step,) = [step for step in imported.steps if step.name == "early stopping"]
    rounds = model.get_booster().best_iteration + 1 if not native else model.num_boosted_rounds()
    assert step.note.startswith(f"all {rounds} rounds" if native else f"the first {rounds} of ")
    if not saved and not native:
        read = ensemble_of(model).ensemble
        assert np.abs(read.values(inputs)[:, 0] - margins(model, inputs)).max() < 1e-5


def test_a_booster_uses_every_round_whoever_saved_it(
    stopped: tuple[Any, np.ndarray], tmp_path: Path
):
    xgboost = pytest.importorskip("xgboost")
    estimator, inputs = stopped
    estimator.save_model(tmp_path / "model.json")
    booster = xgboost.Booster(model_file=tmp_path / "model.json")
    imported = import_booster(booster, Table.of(inputs), ImportOptions(edges=8))
    assert np.abs(imported.decision(inputs)[:, 0] - margins(booster, inputs)).max() < 1e-5
    sliced = import_booster(
        booster[: estimator.best_iteration + 1], Table.of(inputs), ImportOptions(edges=8)
    )  # as the step advises
    assert np.abs(sliced.decision(inputs)[:, 0] - margins(estimator, inputs)).max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"missing": 0}, "a number for a missing one"),
        ({"objective": "reg:squarederror"}, "a classifier rounds"),
        ({"objective": "count:poisson"}, "a classifier rounds"),
    ],
)
def test_estimators_that_do_more_than_their_trees_are_refused(
    settings: dict[str, Any], reason: str
):
    xgboost = pytest.importorskip("xgboost")
    inputs = np.random.default_rng(5).normal(size=(50, 2))
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1, **settings)
    model.fit(inputs, (inputs[:, 0] > 0).astype(int))
    with pytest.raises(UnsupportedModelError, match=reason):
        import_booster(model, Table.of(inputs), ImportOptions())
    with pytest.raises(UnsupportedModelError, match=reason):
        ensemble_of(model)
