"""scikit-learn's transformers, fitted, as affine maps of what clients send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine import AffineMap, Number, Text, Unit, identity, joined, products
from fhe_layers.importing.calibration import number_column
from fhe_layers.importing.encoders import (
    read_binariser,
    read_category_encoder,
    read_discretiser,
)
from fhe_layers.importing.estimator_data import dense, names_of
from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.sklearn_classes import (
    Entry,
    Fitted,
    Refusal,
    Walk,
    entry_of,
    refuse,
    require_fitted,
)
from fhe_layers.importing.table import is_missing
from protocol.errors import ModelError

Floats: TypeAlias = npt.NDArray[np.float64]
Reader: TypeAlias = Callable[[Fitted, AffineMap, str, Walk], AffineMap]
"""(fitted transformer, what it is given, its name, walk) -> what it returns."""

NOT_READ = Refusal(
    "this transformer is not read",
    "StandardScaler, MinMaxScaler, PCA, OneHotEncoder, KBinsDiscretizer, SimpleImputer or "
    "PolynomialFeatures; or do this step on the table, before the model",
)


def read_transformer(part: Fitted, given: AffineMap, where: str, walk: Walk) -> AffineMap:
    """What a fitted transformer returns.

    Args:
        part: the transformer, or 'passthrough'.
        given: the features it takes.
        where: its name in the pipeline.
        walk: the sample, and the steps so far, to which this one is added.

    Raises:
        UnsupportedModelError: it has no form here; says what to use instead.
        ModelError: it has not been fitted, or the sample does not fit it.
    """
    if part is None or (isinstance(part, str) and part == "passthrough"):
        return given
    entry = entry_of(part, TRANSFORMERS)
    if entry is None:
        raise refuse(where, part, NOT_READ)
    require_fitted(where, part)
    expected = getattr(part, "n_features_in_", given.features)
    if expected != given.features:
        raise ModelError(f"'{where}' was fitted on {expected} columns and gets {given.features}")
    if given.texts and not entry.takes_texts:
        raise texts_error(where, part, given, walk)
    return entry.read(part, given, where, walk)


def texts_error(where: str, part: object, given: AffineMap, walk: Walk) -> UnsupportedModelError:
    """The error for a part that gets categories which nothing has encoded."""
    name = walk.table.names[given.texts[0].column]
    return UnsupportedModelError(
        where,
        type(part).__name__,
        f"column '{name}' has texts",
        f"OneHotEncoder on '{name}' before it",
    )


def scaling_of(scaler: Fitted, where: str) -> tuple[Floats | float, Floats | float]:
    """(factor, constant) of a fitted scaler: factor * value + constant, column by column.

    Raises:
        UnsupportedModelError: it clips values.
    """
    name = type(scaler).__name__
    if getattr(scaler, "clip", False):
        raise UnsupportedModelError(
            where,
            name,
            "it clips values, which needs a comparison on encrypted numbers",
            "clip=False: clients refuse values outside of the calibrated range",
        )
    if hasattr(scaler, "min_"):  # MinMaxScaler
        return scaler.scale_, scaler.min_
    factor = 1.0 if scaler.scale_ is None else 1.0 / scaler.scale_
    centre = getattr(scaler, "center_", None)  # of RobustScaler
    if getattr(scaler, "with_mean", False):
        centre = scaler.mean_
    return factor, 0.0 if centre is None else -centre * factor


def _read_scaler(scaler: Fitted, given: AffineMap, where: str, walk: Walk) -> AffineMap:
    factor, constant = scaling_of(scaler, where)
    walk.add(where, scaler, Treatment.FOLDED, "into the first weights")
    return given.scaled(factor, constant)


def _read_projection(
    projection: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    components = dense(projection.components_)
    if getattr(projection, "whiten", False) and hasattr(projection, "explained_variance_"):
        # Of PCA; FastICA has it in its components.
        deviations = np.sqrt(projection.explained_variance_)
        components = components / np.maximum(deviations, np.finfo(np.float64).eps)[:, None]
    mean = getattr(projection, "mean_", None)
    constant = 0.0 if mean is None else -components @ mean
    walk.add(where, projection, Treatment.FOLDED, "into the first weights")
    return given.projected(components, constant)


def _read_selector(selector: Fitted, given: AffineMap, where: str, walk: Walk) -> AffineMap:
    chosen = np.flatnonzero(selector.get_support())
    walk.add(
        where,
        selector,
        Treatment.FOLDED,
        f"{len(chosen)} of {given.features} chosen; the others get weights of zero, so that the "
        "choice stays private",
    )
    return given.chosen(chosen.tolist())


def _read_polynomial(
    features: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    powers = np.asarray(features.powers_)
    name = type(features).__name__
    if powers.sum(axis=1).max() > 2:
        raise UnsupportedModelError(
            where, name, "products of more than two features are not read", "degree=2"
        )
    if any(len(term) > 1 for term in given.terms):
        raise UnsupportedModelError(
            where, name, "its features are products already", "one PolynomialFeatures step"
        )
    pairs = [
        tuple(int(feature) for feature in np.repeat(np.arange(row.size), row)) for row in powers
    ]
    try:
        made = products(given, pairs)
    except ModelError as error:
        raise UnsupportedModelError(
            where, name, str(error), "fewer columns before it, or interaction_only=True"
        ) from None
    walk.add(where, features, Treatment.CLIENT, "clients multiply before they encrypt")
    return made


def _read_imputer(imputer: Fitted, given: AffineMap, where: str, walk: Walk) -> AffineMap:
    name = type(imputer).__name__
    if imputer.missing_values is None or not is_missing(imputer.missing_values):
        raise UnsupportedModelError(
            where,
            name,
            f"it takes {imputer.missing_values!r} for a missing value",
            "missing_values=np.nan, with empty cells in the table",
        )
    if imputer.add_indicator:
        raise UnsupportedModelError(
            where, name, "clients send no sign of a missing value", "add_indicator=False"
        )
    kept = []
    for feature, learned in enumerate(imputer.statistics_):
        statistic = learned
        if is_missing(statistic):
            if not imputer.keep_empty_features:
                continue  # nothing to go by: the imputer drops the column
            statistic = imputer.fill_value if imputer.strategy == "constant" else 0.0
        part = given.chosen([feature]).without_unread_terms()
        kept.append(_imputed(part, statistic, imputer, where, walk))
    walk.add(where, imputer, Treatment.CLIENT, "clients fill in what the card says")
    return joined(kept)


def _imputed(
    part: AffineMap,
    statistic: object,
    imputer: object,
    where: str,
    walk: Walk,
) -> AffineMap:
    """One feature whose missing values have this replacement.  Raises UnsupportedModelError."""
    text, number = part.as_text(0), part.as_number(0)
    unit: Unit
    if text is not None and isinstance(statistic, str):
        if text.missing is not None:
            return part
        return identity([Text(text.column, statistic)])
    if number is not None and isinstance(statistic, int | float | np.number):
        if number.unit.missing is not None:
            return part
        missing = number.raw(float(statistic))
        column = number.unit.column
        unit = Number(column, number_column(walk.table, column, walk.options, missing))
        return identity([unit]).scaled(number.factor, number.offset)
    raise UnsupportedModelError(
        where,
        type(imputer).__name__,
        "clients can only fill in a column's own value",
        "SimpleImputer as the first step on the column, with a text for texts and a number for "
        "numbers",
    )


def _read_function(function: Fitted, given: AffineMap, where: str, walk: Walk) -> AffineMap:
    if function.func is not None:
        raise UnsupportedModelError(
            where,
            type(function).__name__,
            "a Python function has no form on encrypted numbers",
            "a column with its result, computed before the model",
        )
    walk.add(where, function, Treatment.FOLDED, "the identity")
    return given


def _read_pipeline(
    pipeline: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    del where
    for name, part in pipeline.steps:
        given = read_transformer(part, given, name, walk)
    return given


def _read_union(union: Fitted, given: AffineMap, where: str, walk: Walk) -> AffineMap:
    del where
    weights = union.transformer_weights or {}
    parts = [
        read_transformer(part, given, name, walk).scaled(weights.get(name, 1.0), 0.0)
        for name, part in union.transformer_list
        if not (isinstance(part, str) and part == "drop")
    ]
    return joined(parts)


def _read_column_transformer(
    transformer: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    del where
    names = names_of(transformer)
    weights = transformer.transformer_weights or {}
    parts = []
    for name, part, columns in transformer.transformers_:
        positions = _positions(columns, names, given.features)
        if not positions or (isinstance(part, str) and part == "drop"):
            continue
        taken = given.chosen(positions).without_unread_terms()
        made = read_transformer(part, taken, name, walk)
        parts.append(made.scaled(weights.get(name, 1.0), 0.0))
    return joined(parts)


def _positions(
    columns: Fitted,
    names: Sequence[str] | None,
    count: int,
) -> list[int]:
    """Columns as a ColumnTransformer takes them: names, positions, a mask, a slice of either."""
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        if names is not None and (isinstance(start, str) or isinstance(stop, str)):
            first = 0 if start is None else names.index(start)
            last = count - 1 if stop is None else names.index(stop)
            return list(range(first, last + 1, columns.step or 1))
        return list(range(count))[columns]
    if isinstance(columns, str) or np.isscalar(columns):
        columns = [columns]
    listed = list(columns)
    if listed and all(isinstance(entry, bool | np.bool_) for entry in listed):
        return [position for position, taken in enumerate(listed) if taken]
    if names is not None:
        listed = [names.index(entry) if isinstance(entry, str) else entry for entry in listed]
    return [int(entry) % count for entry in listed]


_SCALER = Entry[Reader](Treatment.FOLDED, "", _read_scaler)
_NO_CLIP = Entry[Reader](Treatment.FOLDED, "clip=False", _read_scaler)
_PROJECTION = Entry[Reader](Treatment.FOLDED, "", _read_projection)
_ENCODER = Entry[Reader](
    Treatment.CLIENT,
    "unknown categories as in the encoder for those of the sample, others are "
    "refused by clients; a number as a category counts as the nearest",
    read_category_encoder,
    takes_texts=True,
)

TRANSFORMERS: Mapping[str, Entry[Reader]] = {
    "StandardScaler": _SCALER,
    "MinMaxScaler": _NO_CLIP,
    "MaxAbsScaler": _NO_CLIP,
    "RobustScaler": _SCALER,
    "PCA": _PROJECTION,
    "IncrementalPCA": _PROJECTION,
    "TruncatedSVD": _PROJECTION,
    "FastICA": _PROJECTION,
    "GaussianRandomProjection": _PROJECTION,
    "SparseRandomProjection": _PROJECTION,
    "SelectorMixin": Entry(
        Treatment.FOLDED,
        "SelectKBest, VarianceThreshold, SelectFromModel, RFE and whatever else "
        "chooses columns: columns not chosen get weights of zero",
        _read_selector,
        takes_texts=True,
    ),
    "PolynomialFeatures": Entry(
        Treatment.CLIENT, "degree 2; products of a bit with itself are folded", _read_polynomial
    ),
    "OneHotEncoder": _ENCODER,
    "OrdinalEncoder": _ENCODER,
    "TargetEncoder": _ENCODER,
    "KBinsDiscretizer": Entry(Treatment.CLIENT, "onehot, onehot-dense, ordinal", read_discretiser),
    "Binarizer": Entry(Treatment.CLIENT, "on columns themselves, scaled or not", read_binariser),
    "SimpleImputer": Entry(
        Treatment.CLIENT,
        "on columns themselves, scaled or not; no add_indicator",
        _read_imputer,
        takes_texts=True,
    ),
    "FunctionTransformer": Entry(
        Treatment.FOLDED, "func=None only", _read_function, takes_texts=True
    ),
    "Pipeline": Entry(Treatment.FOLDED, "its steps, one by one", _read_pipeline, takes_texts=True),
    "FeatureUnion": Entry(Treatment.FOLDED, "its parts", _read_union, takes_texts=True),
    "ColumnTransformer": Entry(
        Treatment.FOLDED,
        "its parts; columns by name, position, mask or slice",
        _read_column_transformer,
        takes_texts=True,
    ),
}
"""By the name of a class, its own or one it is derived from."""
