"""Estimators, pipelines and searches of scikit-learn.

A pipeline is walked from the table's columns to its last step. Transformers become one affine map
of what clients send (`affine`, `preprocessing`), the estimator weights and layers over it (`heads`
and the modules of its kind) or an ensemble of trees over the columns (`trees`). The result is
compared with the estimator itself on the sample before anybody gets it.

Classes are told by name, so that scikit-learn is imported only if a model of its is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine import Above, AffineMap, Indicator, Number, Text, Unit, identity
from fhe_layers.importing.calibration import number_column
from fhe_layers.importing.card_columns import (
    card_inputs,
    sample_inputs,
    sample_values,
)
from fhe_layers.importing.estimator_data import EstimatorData, dense
from fhe_layers.importing.heads import (
    Head,
    Reader,
    class_outputs,
    labels_of,
    regression_outputs,
    side_by_side,
)
from fhe_layers.importing.imported import (
    ImportedModel,
    Support,
    Treatment,
    UnsupportedModelError,
)
from fhe_layers.importing.linear_estimators import LINEAR_ESTIMATORS
from fhe_layers.importing.mlp import PERCEPTRONS
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.preprocessing import (
    TRANSFORMERS,
    read_transformer,
    scaling_of,
    texts_error,
)
from fhe_layers.importing.sklearn_classes import (
    Entry,
    Fitted,
    Refusal,
    Walk,
    class_names,
    entry_of,
    refuse,
    refused_support,
    require_fitted,
    support_of,
)
from fhe_layers.importing.table import Table
from fhe_layers.importing.tree_ensembles import TreeEnsemble
from fhe_layers.importing.tree_estimators import SUPPORT as TREES
from fhe_layers.importing.tree_estimators import EstimatorTrees, ensemble_of
from fhe_layers.importing.trees import (
    IndicatorInput,
    RawInput,
    TreeInput,
    lower_ensemble,
    tree_inputs,
)
from fhe_layers.importing.xgboost_model import estimator_trees
from fhe_layers.spec import DenseSpec, NetworkSpec
from protocol import links
from protocol.errors import ModelError

Floats: TypeAlias = npt.NDArray[np.float64]

CHECKED_RECORDS = 256
"""Of the sample, on which the result is compared with the estimator."""

TOLERANCE = 1e-6
"""Of the largest decision: estimators fitted in single precision are no closer."""

TREES_TOLERANCE = 1e-4
"""The same of trees: XGBoost adds up leaves in single precision."""

MISPLACED = 0.02
"""Share of records whose scaled values may round to the other side of a threshold."""

NOT_READ = Refusal(
    "this model is not read",
    "LogisticRegression, LinearSVC, Ridge, MLPClassifier with activation='identity', or trees with "
    "max_depth=3; docs/models.md lists what is",
)


def import_estimator(estimator: Fitted, table: Table, options: ImportOptions) -> ImportedModel:
    """Read a fitted estimator, pipeline or search.

    Args:
        estimator: with `fit` called.
        table: the sample, with the columns that it was fitted on.
        options: the user's choices.

    Raises:
        UnsupportedModelError: a part that cannot be served; says what to use instead.
        ModelError: it has not been fitted, or the sample does not fit it.
        InputError: the sample leaves a range that was given.
    """
    walk = Walk(table, options)
    data = EstimatorData.of(_innermost(estimator), table, options)
    units: list[Unit] = [
        Number(column, number_column(table, column, options))
        if table.categories[column] is None
        else Text(column)
        for column in data.columns
    ]
    head = read_estimator(estimator, identity(units), type(estimator).__name__, walk)
    if isinstance(head.body, TreeEnsemble):
        return _imported_trees(head, head.body, data, walk)
    inputs = card_inputs(head.given, table, options)
    first = DenseSpec(inputs.weights, head.given.offset)
    network = NetworkSpec((inputs.weights.shape[1],), (first, *head.body))
    features = inputs.features
    imported = ImportedModel(
        features=features,
        expansion=inputs.expansion,
        network=network,
        outputs=head.outputs,
        labels=head.labels,
        integer_labels=head.integer_labels,
        link=head.link,
        steps=tuple(walk.steps),
        decision=lambda raw: head.decision(data.assembled(table, features, raw)),
    )
    if head.exact:
        _require_same(imported, table)
    return imported


def read_estimator(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """What a fitted estimator makes of the features it is given.

    Raises:
        UnsupportedModelError, ModelError: as `import_estimator`.
    """
    entry = entry_of(part, ESTIMATORS)
    if entry is None and "XGBModel" in class_names(part, "xgboost"):
        entry = _BOOSTER
    if entry is None:
        raise refuse(where, part, NOT_READ)
    require_fitted(where, part)
    if given.texts and not entry.takes_texts:
        raise texts_error(where, part, given, walk)
    expected = getattr(part, "n_features_in_", given.features)
    if expected != given.features:
        raise ModelError(f"'{where}' was fitted on {expected} columns and gets {given.features}")
    return entry.read(part, given, where, walk)


def _innermost(estimator: Fitted) -> Fitted:
    """The first part that knows the columns.

    A search has them from the estimator that it found; pipelines and unions ask their first part,
    which is nobody where that is 'passthrough' or 'drop'.
    """
    best = getattr(estimator, "best_estimator_", None)
    if best is not None:
        return _innermost(best)
    if hasattr(estimator, "feature_names_in_"):
        return estimator
    if hasattr(estimator, "transformer_list"):
        parts = [_innermost(part) for _, part in estimator.transformer_list]
        return next((part for part in parts if _knows_columns(part)), estimator)
    for _, part in getattr(estimator, "steps", ()):
        if part is not None and not (isinstance(part, str) and part == "passthrough"):
            inner = _innermost(part)
            return inner if _knows_columns(inner) else estimator
    return estimator


def _knows_columns(part: Fitted) -> bool:
    return hasattr(part, "feature_names_in_") or hasattr(part, "n_features_in_")


def _require_same(imported: ImportedModel, table: Table) -> None:
    """Raises ModelError: the network does not compute what the estimator does."""
    raw = sample_values(imported.features, table)[:CHECKED_RECORDS]
    made = imported.network.forward(sample_inputs(imported.features, imported.expansion, raw))
    wanted = imported.decision(raw)
    error = np.abs(made - wanted).max() if made.shape == wanted.shape else np.inf
    if not error <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise ModelError(
            "the estimator answers differently from the model that was read of it: a class "
            "derived from one of scikit-learn's, or a release that is not known here"
        )


def _imported_trees(
    head: Head, ensemble: TreeEnsemble, data: EstimatorData, walk: Walk
) -> ImportedModel:
    """Trees compare columns themselves, which clients do for them."""
    table = walk.table
    inputs = _tree_inputs(head.given, walk)
    lowered = lower_ensemble(
        ensemble,
        inputs,
        table,
        walk.options,
        link=head.link,
        name=walk.steps[-1].name,
    )
    features = lowered.features
    imported = ImportedModel(
        features=features,
        expansion=lowered.expansion,
        network=lowered.network,
        outputs=head.outputs,
        labels=head.labels,
        integer_labels=head.integer_labels,
        link=head.link,
        steps=(*walk.steps, *lowered.steps),
        decision=lambda raw: head.decision(data.assembled(table, features, raw)),
    )
    _require_same_trees(imported, ensemble, inputs, table)
    return imported


def _require_same_trees(
    imported: ImportedModel, ensemble: TreeEnsemble, inputs: Sequence[TreeInput], table: Table
) -> None:
    """Raises ModelError: the trees that were read, their thresholds as they are, say otherwise."""
    wanted = imported.decision(sample_values(imported.features, table)[:CHECKED_RECORDS])
    made = ensemble.values(tree_inputs(inputs, table.values[:CHECKED_RECORDS]))
    different = np.ones(1, dtype=np.bool_)
    if made.shape == wanted.shape:
        error = np.abs(made - wanted).max(axis=1)
        different = ~(error <= TREES_TOLERANCE * max(1.0, float(np.abs(wanted).max())))
    if different.mean() > MISPLACED:
        raise ModelError(
            "the estimator answers differently from the trees that were read of it. XGBoost does "
            "where it takes the zeros of a sparse matrix for missing numbers, for which "
            "OneHotEncoder(sparse_output=False) or ColumnTransformer(sparse_threshold=0) helps"
        )


def _tree_inputs(given: AffineMap, walk: Walk) -> list[TreeInput]:
    """The columns that trees compare.  Raises UnsupportedModelError, ModelError."""
    read = given.without_unread_terms().columns
    idle = iter(
        unit.column
        for term in given.terms
        for unit in term
        if isinstance(unit, Above) and unit.column not in read
    )
    return [_tree_input(given, feature, walk, idle) for feature in range(given.features)]


def _tree_input(given: AffineMap, feature: int, walk: Walk, idle: Iterator[int]) -> TreeInput:
    """What one feature is; one that is always 0, of the next column that has a single interval.

    Raises:
        UnsupportedModelError, ModelError: nothing that trees compare.
    """
    if not given.matrix[feature].any() and not given.offset[feature]:
        column = next(idle, None)
        if column is not None:
            return RawInput(column, edges=())
    number = given.as_number(feature)
    if number is not None:
        unit = number.unit
        return RawInput(unit.column, number.factor, number.offset, missing=unit.missing)
    parts = given.feature_terms(feature)
    units = [term[0] for term, weight in parts if len(term) == 1 and weight == 1.0]
    if units and len(units) == len(parts) and not given.offset[feature]:
        first = units[0]
        if isinstance(first, Indicator) and len(units) == 1:
            return _indicator_input(first, walk.table)
        steps = [unit for unit in units if isinstance(unit, Above)]
        if isinstance(first, Above) and len(steps) == len(units):
            edges = sorted(unit.edge for unit in steps)
            return RawInput(first.column, edges=tuple(edges), missing=first.missing)
    raise UnsupportedModelError(
        f"feature {feature}",
        "trees",
        "trees compare columns, and this is a mixture of columns or of categories",
        "trees on the columns themselves, scaled or not, with OneHotEncoder for texts and "
        "KBinsDiscretizer(encode='ordinal')",
    )


def _indicator_input(unit: Indicator, table: Table) -> IndicatorInput:
    """Raises ModelError: the sample lacks the category."""
    texts = table.categories[unit.column] or ()
    for category in (unit.category, unit.missing):
        if category is not None and category not in texts:
            raise ModelError(
                f"column '{table.names[unit.column]}' of the sample never has '{category}', which "
                "the model was fitted on: give a sample that has all of its categories"
            )
    missing = None if unit.missing is None else texts.index(unit.missing)
    return IndicatorInput(unit.column, texts.index(unit.category), missing)


def _read_trees(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    return _trees_head(ensemble_of(part, where), part, given, where, walk)


def _read_booster(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    return _trees_head(estimator_trees(part), part, given, where, walk)


def _trees_head(
    trees: EstimatorTrees, part: Fitted, given: AffineMap, where: str, walk: Walk
) -> Head:
    walk.add(where, part, Treatment.ENCRYPTED, f"{len(trees.ensemble.trees)} trees")
    return Head(
        given=given,
        body=trees.ensemble,
        outputs=trees.outputs,
        labels=trees.labels,
        integer_labels=trees.integer_labels,
        link=trees.link,
        decision=trees.decision,
        exact=False,  # thresholds move to public edges
    )


def _read_pipeline(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    del where
    *before, (name, last) = part.steps
    for step, transformer in before:
        given = read_transformer(transformer, given, step, walk)
    if last is None or isinstance(last, str):
        raise ModelError("the pipeline ends without an estimator")
    head = read_estimator(last, given, name, walk)
    if not before:
        return head
    prefix, decision = part[:-1], head.decision
    return replace(head, decision=lambda records: decision(prefix.transform(records)))


def _read_search(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    best = getattr(part, "best_estimator_", None)
    if best is None:
        raise ModelError(f"'{where}' has no best estimator: search with refit=True")
    walk.add(where, part, Treatment.FOLDED, "the best estimator")
    return read_estimator(best, given, type(best).__name__, walk)


def _read_against_the_rest(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """A score for each class; of two classes one."""
    labels, integers = labels_of(part, where)
    if part.multilabel_:
        raise UnsupportedModelError(
            where, type(part).__name__, "it gives several labels", "a model for each label"
        )
    heads = [read_estimator(one, given, where, walk) for one in part.estimators_]
    together = side_by_side(heads)
    if not all(head.labels for head in heads):
        raise UnsupportedModelError(
            where,
            type(part).__name__,
            "the models inside of it are regressions",
            "RidgeClassifier, LogisticRegression or LinearSVC inside of it",
        )
    if together is None:
        raise UnsupportedModelError(
            where,
            type(part).__name__,
            "models side by side must be linear",
            "LogisticRegression or LinearSVC inside of it, or one model of several classes",
        )
    link = links.ARGMAX if len(labels) > 2 else heads[0].link
    walk.add(where, part, Treatment.FOLDED, "one matrix for all classes")
    return replace(
        heads[0],
        given=together,
        outputs=class_outputs(labels, link),
        labels=labels,
        integer_labels=integers,
        link=link,
        decision=lambda records: dense(part.decision_function(records)),
    )


def _read_several_targets(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    heads = [read_estimator(one, given, where, walk) for one in part.estimators_]
    together = side_by_side(heads)
    link = heads[0].link
    if together is None or link != links.IDENTITY:
        raise UnsupportedModelError(
            where, type(part).__name__, "models side by side must be linear", "Ridge inside of it"
        )
    walk.add(where, part, Treatment.FOLDED, "one matrix for all targets")
    return replace(
        heads[0],
        given=together,
        outputs=regression_outputs(together.features),
        decision=lambda records: dense(part.predict(records)),
    )


def _read_transformed_target(part: Fitted, given: AffineMap, where: str, walk: Walk) -> Head:
    """Scaled targets are scaled back by the last weights, logarithms by the client."""
    head = read_estimator(part.regressor_, given, where, walk)
    scaler, inverse = part.transformer_, part.inverse_func
    if "FunctionTransformer" in class_names(scaler) and inverse is None and scaler.func is None:
        walk.add(where, part, Treatment.FOLDED, "the target as it is")
        return head
    if inverse is np.exp and head.link == links.IDENTITY:
        walk.add(where, part, Treatment.CLIENT, "clients take the exponential")
        return replace(
            head, link=links.EXP, decision=lambda records: np.log(dense(part.predict(records)))
        )
    scales = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"}
    if scales.intersection(class_names(scaler)) and head.link == links.IDENTITY:
        factor, constant = scaling_of(scaler, where)
        count = len(head.outputs)
        scales_back = 1.0 / np.broadcast_to(factor, count)
        scaled = head.scaled(scales_back, -np.broadcast_to(constant, count) * scales_back)
        if scaled is not None:
            walk.add(where, part, Treatment.FOLDED, "the target's scale into the last weights")
            return replace(scaled, decision=lambda records: dense(part.predict(records)))
    raise UnsupportedModelError(
        where,
        type(part).__name__,
        "its target is transformed in a way that is not read for this regressor",
        "StandardScaler or MinMaxScaler for the target of a linear model, or func=np.log with "
        "inverse_func=np.exp",
    )


_BOOSTER = Entry[Reader](Treatment.ENCRYPTED, "as the last step", _read_booster)
_SEARCH = Entry[Reader](
    Treatment.FOLDED,
    "refit=True: the best estimator",
    _read_search,
    takes_texts=True,
)

ESTIMATORS: Mapping[str, Entry[Reader]] = {
    **LINEAR_ESTIMATORS,
    **PERCEPTRONS,
    **{row.operator: Entry(row.treatment, row.note, _read_trees) for row in TREES},
    "OneVsRestClassifier": Entry(
        Treatment.FOLDED, "of linear models: one matrix; labels only", _read_against_the_rest
    ),
    "MultiOutputRegressor": Entry(
        Treatment.FOLDED, "of linear models: one matrix", _read_several_targets
    ),
    "TransformedTargetRegressor": Entry(
        Treatment.FOLDED,
        "a scaler of the target goes into the last weights; func=np.log with inverse_func=np.exp "
        "to the client",
        _read_transformed_target,
        takes_texts=True,
    ),
    "Pipeline": Entry(Treatment.FOLDED, "its steps, one by one", _read_pipeline, takes_texts=True),
    "GridSearchCV": _SEARCH,
    "RandomizedSearchCV": _SEARCH,
}
"""By the name of a class, its own or one it is derived from."""

SUPPORT: tuple[Support, ...] = (
    *support_of(ESTIMATORS),
    *(row for row in support_of(TRANSFORMERS) if row.operator not in ESTIMATORS),
    *refused_support(),
)
"""Rows of docs/models.md."""
