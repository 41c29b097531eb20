"""Trees of scikit-learn: single ones, forests, gradient boosting with and without histograms.

scikit-learn compares in single precision, with thresholds in double precision; its histogram
boosting compares doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.imported import Support, Treatment, UnsupportedModelError
from fhe_layers.importing.tree_ensembles import Node, TreeEnsemble, tree_of_arrays
from protocol.links import EXP, IDENTITY, LOGISTIC, PROBABILITY, SOFTMAX

Floats = npt.NDArray[np.float64]

_SHALLOW = "every tree reading one column, or max_depth up to 3"


@dataclass(frozen=True, eq=False)
class EstimatorTrees:
    """An estimator, read.

    Attributes:
        ensemble: over the estimator's own inputs.
        link: what makes predictions of its outputs.
        outputs: their names.
        labels: classes as texts, in the order of the link; empty for a regression.
        integer_labels: whether they are integers.
        decision: inputs (records, features) to outputs (records, J), by the estimator itself.
    """

    ensemble: TreeEnsemble
    link: str
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    integer_labels: bool
    decision: Callable[[Floats], Floats] = field(repr=False)


def ensemble_of(estimator: Any, name: str = "estimator") -> EstimatorTrees:  # noqa: ANN401
    """Read a fitted estimator of SUPPORT.

    Args:
        estimator: fitted.
        name: of the step, for errors.

    Raises:
        UnsupportedModelError: a kind or an option that has no encrypted form.
        ModelError: no trees that can be read.
    """
    for kind in type(estimator).__mro__:
        if kind.__module__.split(".")[0] == "xgboost" and kind.__name__ == "XGBModel":
            from fhe_layers.importing.xgboost_model import estimator_trees

            return estimator_trees(estimator)
        if kind.__module__.split(".")[0] == "sklearn" and kind.__name__ in _READERS:
            return _READERS[kind.__name__](estimator, name)
    raise UnsupportedModelError(
        name,
        type(estimator).__name__,
        "it is no tree ensemble of scikit-learn or XGBoost",
        f"one of {', '.join(_READERS)}",
    )


# -------------------------------------------------------------------------- trees and forests


def _classifier(estimator: Any, name: str) -> EstimatorTrees:  # noqa: ANN401
    """One tree, or the average of a forest's probabilities."""
    if isinstance(estimator.classes_, list):
        _refuse(estimator, name, "it has several targets", "one estimator for each target")
    labels, integers = _labels(estimator, name)
    binary = len(labels) == 2

    def shares(values: Floats) -> Floats:
        """Weights of classes (nodes, classes) as the outputs' leaf values."""
        probabilities = values / values.sum(axis=1, keepdims=True)
        chosen: Floats = probabilities[:, 1:] if binary else probabilities
        return chosen

    def decision(inputs: Floats) -> Floats:
        probabilities = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
        return probabilities[:, 1:] if binary else probabilities

    outputs = len(labels) - binary
    trees = [
        _tree(member.tree_, shares(member.tree_.value[:, 0])) for member in _members(estimator)
    ]
    names = [f"probability of {label}" for label in (labels[1:] if binary else labels)]
    ensemble = TreeEnsemble(
        tuple(trees),
        int(estimator.n_features_in_),
        np.zeros(outputs),
        average=True,
        single_precision=True,
    )
    return EstimatorTrees(ensemble, PROBABILITY, tuple(names), labels, integers, decision)


def _regressor(estimator: Any, name: str) -> EstimatorTrees:  # noqa: ANN401
    """One tree, or the average of a forest; of any number of targets."""
    del name
    targets = int(estimator.n_outputs_)
    trees = [_tree(member.tree_, member.tree_.value[:, :, 0]) for member in _members(estimator)]
    ensemble = TreeEnsemble(
        tuple(trees),
        int(estimator.n_features_in_),
        np.zeros(targets),
        average=True,
        single_precision=True,
    )

    def decision(inputs: Floats) -> Floats:
        return _columns(estimator.predict(inputs))

    names = ("prediction",) if targets == 1 else tuple(f"target {i}" for i in range(targets))
    return EstimatorTrees(ensemble, IDENTITY, names, (), False, decision)


def _members(estimator: Any) -> Sequence[Any]:  # noqa: ANN401
    """The trees of a forest, or the estimator itself."""
    members: Sequence[Any] = getattr(estimator, "estimators_", [estimator])
    return members


def _tree(arrays: Any, leaves: Floats) -> Node:  # noqa: ANN401
    """One of scikit-learn's trees, its leaves' values given (nodes, J)."""
    return tree_of_arrays(
        arrays.children_left.tolist(),
        arrays.children_right.tolist(),
        arrays.feature.tolist(),
        arrays.threshold.tolist(),
        leaves,
    )


# ---------------------------------------------------------------------------------- boosting


def _boosting(estimator: Any, name: str) -> EstimatorTrees:  # noqa: ANN401
    """Gradient boosting: the initial prediction, and trees times the learning rate."""
    if not (estimator.init_ == "zero" or type(estimator.init_).__name__.startswith("Dummy")):
        _refuse(estimator, name, "it starts from an estimator of its own", "init=None or 'zero'")
    classes = getattr(estimator, "classes_", None)
    # The exponential loss has probabilities 1 / (1 + exp(-2 score)).
    factor = 2.0 if classes is not None and estimator.loss == "exponential" else 1.0
    rate = factor * float(estimator.learning_rate)
    outputs = int(estimator.estimators_.shape[1])
    trees = []
    for stage in estimator.estimators_:
        for output, member in enumerate(stage):
            leaves = np.zeros((member.tree_.node_count, outputs))
            leaves[:, output] = rate * member.tree_.value[:, 0, 0]
            trees.append(_tree(member.tree_, leaves))
    features = int(estimator.n_features_in_)
    # Whatever the loss starts from, it is the same for every record.
    start = estimator._raw_predict_init(np.zeros((1, features)))[0]  # noqa: SLF001
    base = factor * np.asarray(start, dtype=np.float64)
    ensemble = TreeEnsemble(tuple(trees), features, base, single_precision=True)

    def decision(inputs: Floats) -> Floats:
        method = estimator.predict if classes is None else estimator.decision_function
        return factor * _columns(method(inputs))

    return _boosted(estimator, name, ensemble, decision)


def _histogram_boosting(estimator: Any, name: str) -> EstimatorTrees:  # noqa: ANN401
    """Histogram boosting: its predictors hold doubles, the learning rate in their leaves."""
    if getattr(estimator, "is_categorical_", None) is not None:
        _refuse(
            estimator,
            name,
            "it splits on sets of categories",
            "OneHotEncoder before it, and categorical_features=None",
        )
    outputs = int(estimator.n_trees_per_iteration_)
    trees = []
    for stage in estimator._predictors:  # noqa: SLF001  (scikit-learn tells nobody else)
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            leaves = np.zeros((len(nodes), outputs))
            leaves[:, output] = nodes["value"]
            trees.append(
                tree_of_arrays(
                    np.where(leaf, -1, nodes["left"].astype(np.int64)).tolist(),
                    np.where(leaf, -1, nodes["right"].astype(np.int64)).tolist(),
                    nodes["feature_idx"].tolist(),
                    nodes["num_threshold"].tolist(),
                    leaves,
                )
            )
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    grids = tuple(
        tuple(edge for edge in edges.tolist() if np.isfinite(edge))
        for edges in estimator._bin_mapper.bin_thresholds_  # noqa: SLF001
    )
    ensemble = TreeEnsemble(tuple(trees), int(estimator.n_features_in_), base, grids=grids)
    log_link = getattr(estimator, "loss", "") in {"poisson", "gamma"}
    classes = getattr(estimator, "classes_", None)

    def decision(inputs: Floats) -> Floats:
        method = estimator.predict if classes is None else estimator.decision_function
        found = _columns(method(inputs))
        return np.log(found) if log_link else found

    return _boosted(estimator, name, ensemble, decision, EXP if log_link else IDENTITY)


def _boosted(
    estimator: Any,  # noqa: ANN401
    name: str,
    ensemble: TreeEnsemble,
    decision: Callable[[Floats], Floats],
    regression: str = IDENTITY,
) -> EstimatorTrees:
    """Boosted scores with their link."""
    if getattr(estimator, "classes_", None) is None:
        return EstimatorTrees(ensemble, regression, ("prediction",), (), False, decision)
    labels, integers = _labels(estimator, name)
    if len(labels) == 2:
        names: tuple[str, ...] = (f"log-odds of {labels[1]}",)
        return EstimatorTrees(ensemble, LOGISTIC, names, labels, integers, decision)
    names = tuple(f"log-odds of {label}" for label in labels)
    return EstimatorTrees(ensemble, SOFTMAX, names, labels, integers, decision)


# --------------------------------------------------------------------------------------------


def _labels(estimator: Any, name: str) -> tuple[tuple[str, ...], bool]:  # noqa: ANN401
    """Classes as texts, and whether they are integers."""
    classes = np.asarray(estimator.classes_)
    if len(classes) < 2:
        _refuse(estimator, name, "it knows one class only", "training data with two classes")
    integers = bool(np.issubdtype(classes.dtype, np.integer))
    return tuple(str(label) for label in classes.tolist()), integers


def _columns(outputs: Any) -> Floats:  # noqa: ANN401
    """(records,) or (records, J) as (records, J)."""
    values = np.asarray(outputs, dtype=np.float64)
    return values.reshape(len(values), -1)


def _refuse(estimator: Any, name: str, reason: str, instead: str) -> None:  # noqa: ANN401
    raise UnsupportedModelError(name, type(estimator).__name__, reason, instead)


_READERS: dict[str, Callable[[Any, str], EstimatorTrees]] = {
    "DecisionTreeClassifier": _classifier,
    "DecisionTreeRegressor": _regressor,
    "RandomForestClassifier": _classifier,
    "RandomForestRegressor": _regressor,
    "ExtraTreesClassifier": _classifier,
    "ExtraTreesRegressor": _regressor,
    "GradientBoostingClassifier": _boosting,
    "GradientBoostingRegressor": _boosting,
    "HistGradientBoostingClassifier": _histogram_boosting,
    "HistGradientBoostingRegressor": _histogram_boosting,
}

SUPPORT = tuple(Support(operator, Treatment.ENCRYPTED, _SHALLOW) for operator in _READERS)
