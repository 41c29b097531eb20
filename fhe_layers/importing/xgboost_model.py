"""XGBoost models, from the library's JSON or from its objects.

The JSON of `save_model("model.json")` is read as what it is, without the library: trees whose
splits send x < t left in single precision, an objective, and a base score, one number or, since
version 3, a list. Tested against versions 3.2 and the form of base scores before 3.0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.imported import (
    ImportedModel,
    Step,
    Support,
    Treatment,
    UnsupportedModelError,
)
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table, is_missing
from fhe_layers.importing.tree_ensembles import (
    Node,
    TreeEnsemble,
    below_in_single_precision,
    require_leaf_values,
    tree_of_arrays,
)
from fhe_layers.importing.tree_estimators import EstimatorTrees
from fhe_layers.importing.trees import RawInput, lower_ensemble
from protocol.errors import ModelError
from protocol.links import ARGMAX, EXP, IDENTITY, LOGISTIC, SOFTMAX

Floats = npt.NDArray[np.float64]

MAX_MODEL_BYTES = 64 << 20

_IDENTITY = (
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
)
_EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie")
_LINKS = {
    "binary:logistic": LOGISTIC,
    "multi:softprob": SOFTMAX,
    "multi:softmax": ARGMAX,
    **dict.fromkeys(_IDENTITY, IDENTITY),
    **dict.fromkeys(_EXPONENTIAL, EXP),
}

SUPPORT = (
    *(
        Support(objective, Treatment.ENCRYPTED, "gbtree; one column a tree, or max_depth up to 3")
        for objective in _LINKS
    ),
    Support("booster=dart", Treatment.REFUSED, "use booster=gbtree"),
    Support("booster=gblinear", Treatment.REFUSED, "use a linear model of scikit-learn"),
    Support("enable_categorical", Treatment.REFUSED, "encode categories by OneHotEncoder"),
    Support("missing=0", Treatment.REFUSED, "use missing=NaN"),
    Support("XGBClassifier(objective='reg:...')", Treatment.REFUSED, "use binary:logistic"),
    Support("multi_strategy=multi_output_tree", Treatment.REFUSED, "use one_output_per_tree"),
    Support(".ubj and .deprecated files", Treatment.REFUSED, 'use save_model("model.json")'),
)


@dataclass(frozen=True, eq=False)
class XgboostTrees:
    """A booster, read.

    Attributes:
        ensemble: over its features; outputs are margins.
        objective: its name.
        link: what makes predictions of margins.
        feature_names: empty if it has none.
        rounds: boosting rounds that predictions use.
        found: boosting rounds that there are.
        best: rounds up to the best one, if training stopped early.
        classifier: whether the document says that it was saved by an XGBClassifier.
    """

    ensemble: TreeEnsemble = field(repr=False)
    objective: str
    link: str
    feature_names: tuple[str, ...]
    rounds: int
    found: int
    best: int | None
    classifier: bool

    @property
    def early_stopping(self) -> str:
        """What was done about it; empty if training did not stop early."""
        if self.rounds < self.found:
            return (
                f"the first {self.rounds} of {self.found} rounds are used, as the predictions of "
                "XGBClassifier and XGBRegressor do"
            )
        if self.best is not None and self.best < self.found:
            return (
                f"all {self.found} rounds are used, as the predictions of a Booster do; for the "
                f"best {self.best} import booster[:{self.best}]"
            )
        return ""


def import_booster(
    document: Any,  # noqa: ANN401
    table: Table,
    options: ImportOptions,
) -> ImportedModel:
    """An XGBoost model over the columns of a table.

    Args:
        document: the JSON as a path, bytes, text or decoded; or a Booster or XGBModel.
        table: the sample; columns by the model's feature names, or in order if it has none.
        options: see `ImportOptions`.

    Raises:
        UnsupportedModelError: something that has no encrypted form.
        ModelError: no such document, or too large; the message says what to change.
    """
    read = _read_given(document)
    inputs = _inputs(read, table, options)
    lowered = lower_ensemble(
        read.ensemble, inputs, table, options, link=read.link, name=read.objective
    )
    outputs, labels = _names(read, document)
    steps = [*lowered.steps, Step(read.objective, "objective", Treatment.CLIENT, _note(read.link))]
    if read.early_stopping:
        steps.append(
            Step("early stopping", "best_iteration", Treatment.FOLDED, read.early_stopping)
        )
    margins = _margins(document, read)
    kept = [index for index, name in enumerate(table.names) if name not in options.local]
    places = [kept.index(item.column) for item in inputs]

    def decision(raw: Floats) -> Floats:
        return margins(raw[:, places])

    return ImportedModel(
        features=lowered.features,
        expansion=lowered.expansion,
        network=lowered.network,
        outputs=outputs,
        labels=labels,
        integer_labels=bool(labels),
        link=read.link,
        steps=tuple(steps),
        decision=decision,
    )


def estimator_trees(estimator: Any) -> EstimatorTrees:  # noqa: ANN401
    """An XGBModel as a step of a pipeline.  Raises UnsupportedModelError, ModelError."""
    read = _read_given(estimator)
    outputs, labels = _names(read, estimator)
    margins = _margins(estimator, read)
    return EstimatorTrees(read.ensemble, read.link, outputs, labels, bool(labels), margins)


def read_booster(document: Mapping[str, Any], *, to_best: bool | None = None) -> XgboostTrees:
    """The trees of a decoded JSON document.

    Args:
        document: decoded.
        to_best: whether to stop at the best round, if training stopped early, or to use every one;
            None: as the class does that saved the document. XGBModel stops, and leaves the
            attribute scikit_learn; Booster does not.

    Raises:
        UnsupportedModelError: something that has no encrypted form.
        ModelError: it is no such document.
    """
    try:
        return _read(document["learner"], to_best)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise ModelError(  # its own words may show numbers of the model
            f"no XGBoost model in JSON ({type(error).__name__}): write one by "
            'save_model("model.json")'
        ) from None


def _read_given(given: Any) -> XgboostTrees:  # noqa: ANN401
    """Whatever was given, with the rounds that its own predictions use.

    Raises:
        UnsupportedModelError, ModelError: as `import_booster`.
    """
    estimator = hasattr(given, "get_booster")
    if estimator:
        _require_plain(given)
    read = read_booster(
        _document(given), to_best=estimator if estimator or hasattr(given, "save_raw") else None
    )
    if (read.classifier or hasattr(given, "classes_")) and read.link in {IDENTITY, EXP}:
        _refuse(
            "objective",
            read.objective,
            "a classifier rounds what a regression predicts",
            "binary:logistic or multi:softprob",
        )
    return read


def _read(learner: Mapping[str, Any], to_best: bool | None) -> XgboostTrees:
    booster, objective = learner["gradient_booster"], str(learner["objective"]["name"])
    kind = str(booster.get("name", "gbtree"))
    if kind != "gbtree":
        _refuse("booster", kind, "its trees are weighted, or none", "booster='gbtree'")
    if objective not in _LINKS:
        _refuse("objective", objective, "its link is unknown here", f"one of {', '.join(_LINKS)}")
    if any(str(feature) == "c" for feature in learner.get("feature_types") or ()):
        _refuse("feature_types", "c", "it splits on sets of categories", "OneHotEncoder before it")
    parameters, model = learner["learner_model_param"], booster["model"]
    if int(parameters.get("num_target", 1)) > 1:
        _refuse("num_target", "gbtree", "it has several targets", "one model for each target")
    outputs = max(int(parameters.get("num_class", 0)), 1)
    if (outputs > 1) != objective.startswith("multi:"):
        raise ModelError(f"objective {objective} with {outputs} outputs")
    features = int(parameters["num_feature"])
    trees, groups = model["trees"], [int(group) for group in model["tree_info"]]
    if len(trees) != len(groups):
        raise ModelError("trees and tree_info differ in length")
    if not all(0 <= group < outputs for group in groups):
        raise ModelError("tree_info names an output that there is not")
    require_leaf_values(sum(len(tree["left_children"]) for tree in trees), outputs)
    per_round = outputs * int(model["gbtree_model_param"].get("num_parallel_tree", 1))
    if per_round < 1:
        raise ModelError("num_parallel_tree is less than one")
    found = len(trees) // per_round
    attributes = learner.get("attributes") or {}
    by_estimator = "scikit_learn" in attributes
    best = int(attributes["best_iteration"]) + 1 if "best_iteration" in attributes else None
    if best is not None and best < 1:
        raise ModelError("best_iteration is negative")
    to_best = by_estimator if to_best is None else to_best
    used = min(best, found) if to_best and best is not None else found
    ensemble = TreeEnsemble(
        tuple(
            _tree(tree, group, outputs, index)
            for index, (tree, group) in enumerate(
                zip(trees[: used * per_round], groups[: used * per_round], strict=True)
            )
        ),
        features,
        _base(parameters["base_score"], objective, outputs),
        single_precision=True,
    )
    names = tuple(str(name) for name in learner.get("feature_names") or ())
    if names and len(names) != features:
        raise ModelError(f"{len(names)} feature names for {features} features")
    return XgboostTrees(
        ensemble,
        objective,
        _LINKS[objective],
        names,
        rounds=used,
        found=found,
        best=best,
        classifier=by_estimator
        and json.loads(attributes["scikit_learn"]).get("_estimator_type") == "classifier",
    )


def _tree(tree: Mapping[str, Any], group: int, outputs: int, index: int) -> Node:
    """One tree; its leaves' values stand among the split conditions."""
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        _refuse(
            f"tree {index}",
            "multi_output_tree",
            "its leaves are vectors",
            "multi_strategy='one_output_per_tree'",
        )
    if any(tree.get("split_type") or ()) or tree.get("categories_nodes"):
        _refuse(
            f"tree {index}",
            "categorical split",
            "it splits on sets of categories",
            "OneHotEncoder before it, and enable_categorical=False",
        )
    left = [int(child) for child in tree["left_children"]]
    conditions = [float(condition) for condition in tree["split_conditions"]]
    leaves = np.zeros((len(left), outputs))
    for node, child in enumerate(left):
        if child < 0:
            leaves[node, group] = float(np.float32(conditions[node]))
    return tree_of_arrays(
        left,
        [int(child) for child in tree["right_children"]],
        [int(feature) for feature in tree["split_indices"]],
        [below_in_single_precision(condition) for condition in conditions],
        leaves,
    )


def _base(score: Any, objective: str, outputs: int) -> Floats:  # noqa: ANN401
    """Base scores as margins; stated as predictions, but for several classes."""
    stated = [float(part) for part in str(score).strip("[]").split(",")]
    if len(stated) not in {1, outputs}:
        raise ModelError(f"{len(stated)} base scores for {outputs} outputs")
    values = np.array(stated if len(stated) == outputs else stated * outputs)
    if objective == "binary:logistic":
        values = np.array([math.log(value) - math.log1p(-value) for value in values])
    elif _LINKS[objective] == EXP:
        values = np.array([math.log(value) for value in values])
    return values


def _refuse(node: str, operator: str, reason: str, instead: str) -> NoReturn:
    raise UnsupportedModelError(node, operator, reason, instead)


# ------------------------------------------------------------------------------------- documents


def _require_plain(model: Any) -> None:  # noqa: ANN401
    """Raises UnsupportedModelError: an option that the JSON does not tell of."""
    if not is_missing(model.missing):
        _refuse("missing", type(model).__name__, "it takes a number for a missing one", "NaN")


def _document(given: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """The decoded JSON.  Raises ModelError."""
    if isinstance(given, Mapping):
        return given
    if hasattr(given, "get_booster"):
        given = given.get_booster()
    if hasattr(given, "save_raw"):
        given = bytes(given.save_raw(raw_format="json"))
    if isinstance(given, Path) or (isinstance(given, str) and not given.lstrip().startswith("{")):
        given = _bytes_of(Path(given))
    if isinstance(given, bytes | bytearray | str):
        if len(given) > MAX_MODEL_BYTES:
            raise ModelError(f"the model has {len(given)} bytes, at most {MAX_MODEL_BYTES}")
        try:
            decoded = json.loads(given)
        except (ValueError, RecursionError):
            raise ModelError(
                "the model is no JSON: XGBoost's binary files are not read, write it by "
                'save_model("model.json")'
            ) from None
        if isinstance(decoded, Mapping):
            return decoded
    raise ModelError("an XGBoost model is a Booster, an XGBModel, or the JSON of one")


def _bytes_of(path: Path) -> bytes:
    """The content of a file.  Raises ModelError."""
    if path.suffix in {".ubj", ".bin", ".deprecated", ".model"}:
        raise ModelError(
            f"'{path.name}' is a binary file of XGBoost, which is not read: load it there and "
            'write it by save_model("model.json")'
        )
    try:
        with path.open("rb") as file:
            return file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise ModelError(f"'{path.name}' cannot be read: {error.strerror}") from None


def _inputs(read: XgboostTrees, table: Table, options: ImportOptions) -> list[RawInput]:
    """The table's column of each feature.  Raises ModelError."""
    features = read.ensemble.features
    columns = [index for index, name in enumerate(table.names) if name not in options.local]
    if read.feature_names:
        by_name = {table.names[column]: column for column in columns}
        lost = [name for name in read.feature_names if name not in by_name]
        if lost and len(lost) < features:
            raise ModelError(f"the model reads '{lost[0]}', which is no column of the sample")
        if not lost:
            return [RawInput(by_name[name]) for name in read.feature_names]
        raise ModelError(
            f"none of the model's {features} feature names is a column of the sample: give the "
            "sample as a data frame with these names"
        )
    if len(columns) != features:
        raise ModelError(
            f"the model reads {features} features, the sample has {len(columns)} columns that are "
            "not local"
        )
    return [RawInput(column) for column in columns]


def _names(read: XgboostTrees, given: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ANN401
    """Names of outputs, and labels: 0, 1, ... unless a classifier says otherwise."""
    if read.link in {IDENTITY, EXP}:
        return ("prediction",), ()
    count = max(read.ensemble.outputs, 2)
    classes: Sequence[Any] = list(getattr(given, "classes_", range(count)))
    labels = tuple(str(label) for label in classes)
    kind = "log-odds of" if read.link in {LOGISTIC, SOFTMAX} else "score of"
    return tuple(f"{kind} {label}" for label in labels[count - read.ensemble.outputs :]), labels


def _note(link: str) -> str:
    return {
        IDENTITY: "the output is the prediction",
        EXP: "clients take exp of the output",
        LOGISTIC: "clients take the sigmoid of the output",
        SOFTMAX: "clients take the softmax of the outputs",
        ARGMAX: "clients take the largest output",
    }[link]


def _margins(given: Any, read: XgboostTrees) -> Callable[[Floats], Floats]:  # noqa: ANN401
    """The model's own margins: the library's where an object of it was given."""
    booster = given.get_booster() if hasattr(given, "get_booster") else given
    if not hasattr(booster, "inplace_predict"):
        return read.ensemble.values

    def margins(features: Floats) -> Floats:
        found = booster.inplace_predict(
            features,
            iteration_range=(0, read.rounds),
            predict_type="margin",
            missing=getattr(given, "missing", np.nan),
            validate_features=False,
        )
        return np.asarray(found, dtype=np.float64).reshape(features.shape[0], -1)

    return margins
