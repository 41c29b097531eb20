"""From a model of another library and a sample of its records to a model ready to publish.

Import, calibrate, quantise, plan, and run the integer model on the sample: how good it is, is known
before anything is encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from blindproof.compiled import Accuracy, Compiled
from blindproof.described_models import imported_from, read_described
from blindproof.measuring import Truth, measured_accuracy, measured_layers, require_accurate, run
from blindproof.network_publishing import NetworkModel
from blindproof.prepared import PackingWish, Prepared, prepare
from blindproof.publishing import LinearModel, parse_mode
from blindproof.sample import (
    no_column,
    raw_sample,
    require_length,
    sample_table,
    split_target,
    true_labels,
    true_values,
)
from fhe_layers.importing.dispatch import Kind, import_model, kind_of
from fhe_layers.importing.imported import ImportedModel
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol import links
from protocol.about import About
from protocol.errors import InputError, ModelError, ParameterError
from protocol.parameters import Mode, Packing

Floats: TypeAlias = npt.NDArray[np.float64]
Progress: TypeAlias = Callable[[str], None]


def compile(  # noqa: A001 -- the word users look for, as in re.compile
    model: object,
    sample: object,
    *,
    target: object = None,
    name: str | None = None,
    version: str | None = None,
    purpose: str | None = None,
    about: About | None = None,
    mode: Mode | str | None = None,
    precision_bits: float | None = None,
    packing: Packing | str | None = None,
    records: int = 1,
    margin: float = ImportOptions.margin,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    plaintext: Iterable[str] = (),
    local: Iterable[str] = (),
    measured_in: Mapping[str, str] | None = None,
    edges: int | None = None,
    show_thresholds: bool = False,
    activation_degree: int | None = None,
    names: Sequence[str] | None = None,
    shape: tuple[int, ...] | None = None,
    labels: Sequence[object] | None = None,
    link: str | None = None,
    allow_loss: bool = False,
    progress: Progress | None = None,
) -> Compiled:
    """Prepare a trained model for encrypted, verified predictions.

    Args:
        model: a fitted scikit-learn estimator, pipeline or search; an XGBoost model or its JSON
            file; an ONNX model, its bytes or its file; a torch module; a model file; or a
            `LinearModel` or `NetworkModel`. What a model file or a described model says is the
            default of what is not given here.
        sample: records like those that will be asked about, by which columns and layers are
            calibrated: a data frame, columns by name, or an array, images included. A few hundred
            do. Their values stay here; the ranges of columns are published with the model.
        target: what is true of the sample's records, for measuring accuracy; or the name of the
            sample's column that says so.
        name: of the model, for people; by default the name of what it is.
        version: for people; "1" by default.
        purpose: for people.
        about: what else to say of it; accuracy measured by the target is added if it has none.
        mode: "private", the default, hides the weights; "public" puts them on the model card.
        precision_bits: wanted, below one unit of output; by default 16 of a linear model and 14 of
            a network, or as many of them as there are parameters for.
        packing: "batch", "single", or "auto" for what is faster; by default both for a linear
            model, and batches for a network.
        records: how many come together, for "auto".
        margin: how far beyond the sample the range of a number reaches, as a share of its width.
        ranges: of columns, where they are known: (low, high).
        plaintext: columns which the server may see.
        local: columns of tables which clients keep: no inputs of the model.
        measured_in: what columns are measured in, for people.
        edges: comparisons for each column of a model of trees; by default as few as will do.
        show_thresholds: compare with the trees' own thresholds, which are then public: smaller
            requests, and no loss. Which tree compares where, and all leaves, stay private.
        activation_degree: of the polynomials that replace ReLU, sigmoid and tanh; by default they
            are refused.
        names: of the columns, if the sample is an array.
        shape: of one record, (channels, height, width), if its images are flat.
        labels: of the classes, in their order, if the model does not know them or has others.
        link: see `protocol.links`; only for a model that does not say what its outputs are.
        allow_loss: go on even if the integer model is noticeably less accurate on the sample.
        progress: told what is being done.

    Raises:
        UnsupportedModelError: a part of the model cannot be served; names it and says what to use
            instead.
        PlanningError: no secure parameters; the message says what would help.
        ModelError: the model is nothing that can be read, does not fit the sample, or loses
            accuracy.
        InputError, ParameterError: sample or options cannot be used.
    """
    tell = progress or (lambda _: None)
    options = ImportOptions(
        margin=margin,
        ranges=dict(ranges or {}),
        plaintext=frozenset(_names(plaintext, "plaintext")),
        local=_names(local, "local"),
        measured_in=dict(measured_in or {}),
        edges=edges,
        show_thresholds=show_thresholds,
        activation_degree=activation_degree,
    )
    wish = _packing(packing)
    tell("reading the model")
    read, own_mode, own_packing = _opened(model)
    checked_mode = own_mode if mode is None else parse_mode(mode)
    table = sample_table(sample, names, read)
    if isinstance(target, str):
        table, target = split_target(table, target)
    elif target is not None:
        require_length(target, table.records)
    _require_columns(table, options)
    if isinstance(read, LinearModel | NetworkModel):
        imported = imported_from(read)
        described = read
    else:
        imported = import_model(read, table, options, shape or _image_shape(sample))
        described = None
    own_labels, imported = imported.labels, _relabelled(imported, labels, link)
    own_local = () if described is None else described.local
    local = tuple(dict.fromkeys((*own_local, *options.local)))
    said = {"name": name, "version": version, "purpose": purpose, "about": about}
    defaults = (
        {"name": _name_of(model), "version": "1", "purpose": "", "about": About()}
        if described is None
        else {entry: getattr(described, entry) for entry in said}
    )
    whole = NetworkModel(
        **(defaults | {entry: value for entry, value in said.items() if value is not None}),
        features=imported.features,
        outputs=imported.outputs,
        labels=imported.labels,
        link=imported.link,
        expansion=imported.expansion,
        local=local,
        integer_labels=imported.integer_labels,
        network=imported.network,
    )
    tell("choosing parameters")
    prepared = prepare(
        whole,
        mode=checked_mode,
        packing=own_packing if wish is None else wish,
        precision_bits=precision_bits,
        records=records,
    )
    _ = prepared.draft  # what no card can say is an error now, not when it is published
    tell(f"running the integer model on {table.records} records")
    raw, complete = raw_sample(table, imported.features)
    given = _float_outputs(imported, raw)
    ran = run(prepared, complete)
    values = ran.outputs * prepared.unit
    truth: Truth | None = None
    if target is not None and imported.labels:
        truth = true_labels(target, imported, own_labels)
    elif target is not None:
        truth = true_values(target, len(imported.outputs))
    accuracy = measured_accuracy(imported.link, given, values, prepared.error_bound, truth)
    require_accurate(accuracy, prepared, imported.steps, allow_loss=allow_loss)
    return Compiled(
        prepared=_with_metrics(prepared, accuracy),
        source=_source_of(model),
        steps=imported.steps,
        accuracy=accuracy,
        layers=measured_layers(prepared, ran.largest),
        differences=np.abs(given - values).max(axis=0),
    )


def _opened(model: object) -> tuple[object, Mode, Packing | None]:
    """A model file's model, mode and only packing; anything else as it is.  Raises ModelError."""
    if isinstance(model, type):
        raise ModelError(f"'{model.__name__}' is a class: pass a fitted model of it")
    if isinstance(model, LinearModel | NetworkModel):
        return model, Mode.PRIVATE, None
    if kind_of(model) is Kind.MODEL_FILE and isinstance(model, str | Path):
        file, described = read_described(Path(model))
        only = file.packings[0] if len(file.packings) == 1 else None
        return described, file.mode, only if isinstance(described, LinearModel) else None
    return model, Mode.PRIVATE, None


def _names(given: Iterable[str], option: str) -> tuple[str, ...]:
    """Raises ParameterError: one text, which would be taken letter by letter."""
    if isinstance(given, str):
        raise ParameterError(f"{option}: expected a list of column names, such as ['{given}']")
    return tuple(given)


def _packing(wish: Packing | str | None) -> PackingWish:
    """Raises ParameterError."""
    if wish is None or wish == "auto":
        return None if wish is None else "auto"
    try:
        return Packing(wish)
    except ValueError:
        raise ParameterError(
            f"packing {wish!r}: expected 'batch', 'single', 'auto' or none"
        ) from None


def _require_columns(table: Table, options: ImportOptions) -> None:
    """Raises InputError: an option names a column that the sample does not have."""
    for option, columns in (
        ("ranges", options.ranges),
        ("plaintext", options.plaintext),
        ("measured_in", options.measured_in),
    ):
        for column in sorted(columns):
            if column not in table.names:
                raise InputError(f"{option}: {no_column(table, column)}")
            if column in options.local:
                raise InputError(f"{option}: column '{column}' is local, which no server sees")


def _image_shape(sample: object) -> tuple[int, ...] | None:
    """Of one record of an array of images."""
    shape = getattr(sample, "shape", ())
    return tuple(int(extent) for extent in shape[1:]) if len(shape) > 2 else None


def _relabelled(
    imported: ImportedModel, labels: Sequence[object] | None, link: str | None
) -> ImportedModel:
    """The model with the labels and the link that the user gave.

    Raises:
        ModelError: the model knows its link, or has another number of classes.
    """
    if link is not None and link != imported.link:
        if imported.link != links.IDENTITY:
            raise ModelError(f"the model itself says that its link is '{imported.link}'")
        imported = replace(imported, link=link)
    elif labels is not None and imported.link == links.IDENTITY:
        several = len(imported.outputs) > 1
        imported = replace(imported, link=links.ARGMAX if several else links.LOGISTIC)
    expected = links.labels_count(imported.link, len(imported.outputs))
    given = imported.labels if labels is None else tuple(str(label) for label in labels)
    if len(given) != expected:
        raise ModelError(
            f"a model of {len(imported.outputs)} outputs and the link '{imported.link}' has "
            f"{expected} labels, found {len(given)}: give them as labels=[...]"
        )
    if labels is None:
        return imported
    integers = all(
        isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels
    )
    return replace(imported, labels=given, integer_labels=integers)


def _float_outputs(imported: ImportedModel, raw: Floats) -> Floats:
    """Outputs of the model as it was given, (records, J).  Raises ModelError."""
    outputs = np.asarray(imported.decision(raw), dtype=np.float64).reshape(len(raw), -1)
    if outputs.shape[1] != len(imported.outputs):
        raise ModelError(
            f"the model gives {outputs.shape[1]} outputs for a record of the sample, expected "
            f"{len(imported.outputs)}"
        )
    if not np.isfinite(outputs).all():
        raise ModelError("the model gives infinite outputs, or none, for records of the sample")
    return outputs


def _with_metrics(prepared: Prepared, accuracy: Accuracy) -> Prepared:
    """The accuracy said on the card, if it was measured and nothing else is said."""
    about = prepared.model.about
    if accuracy.of_integer is None or about.metrics:
        return prepared
    metric = (f"{accuracy.measure} on the sample", round(accuracy.of_integer, 4))
    said = replace(about, metrics=(metric,))
    return replace(prepared, model=replace(prepared.model, about=said))


def _name_of(model: object) -> str:
    """A file's stem, or the class in words."""
    if isinstance(model, str | Path):
        return Path(model).stem
    if isinstance(model, bytes | bytearray | memoryview | dict):
        return "model"
    inner = model
    while (nested := _innermost(inner)) is not inner:
        inner = nested
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", type(inner).__name__)
    return words.lower()


def _innermost(model: object) -> object:
    """The last step of a pipeline, the best estimator of a search, anything else itself."""
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and steps:
        return steps[-1][1]
    return getattr(model, "best_estimator_", model)


def _source_of(model: object) -> str:
    """What was compiled, for people."""
    return Path(model).name if isinstance(model, str | Path) else type(model).__name__
