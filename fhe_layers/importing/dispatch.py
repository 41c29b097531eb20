"""Which importer reads a model, told by what the model is, without importing its library.

Files are read by what their name says and then by what is in them. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from fhe_layers.importing.imported import ImportedModel, UnsupportedModelError
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol.errors import ModelError

MAX_FILE_BYTES = 1 << 30

ACCEPTED = (
    "a fitted scikit-learn estimator, pipeline or search; an XGBoost model or its JSON file; an "
    "ONNX model, its bytes or its .onnx file; a torch.nn.Module; a model file (docs/model-file.md)"
)

_PICKLES = frozenset({".joblib", ".pickle", ".pkl", ".skops"})
_TORCH_FILES = frozenset({".bin", ".ckpt", ".pt", ".pt2", ".pth", ".safetensors"})
_PICKLE_START = b"\x80"  # of every pickle since protocol 2


class Kind(StrEnum):
    """Who can read a model."""

    ESTIMATOR = "scikit-learn"
    BOOSTER = "XGBoost"
    ONNX = "ONNX"
    MODULE = "PyTorch"
    MODEL_FILE = "model file"


def kind_of(model: object) -> Kind:
    """What a model is.

    Raises:
        ModelError: nothing that is accepted, a file that cannot be read, or a pickle, which would
            run whatever code it holds; the message says what to pass instead.
    """
    if isinstance(model, str | Path):
        return _kind_of_file(Path(model))
    if isinstance(model, bytes | bytearray | memoryview):
        return _kind_of_bytes(bytes(model[:1]))
    homes = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "xgboost" in homes:  # before scikit-learn, whose classes its estimators extend
        return Kind.BOOSTER
    if "torch" in homes:
        return Kind.MODULE
    if "onnx" in homes or type(model).__name__ == "ModelProto":
        return Kind.ONNX
    if "sklearn" in homes or (hasattr(model, "get_params") and hasattr(model, "fit")):
        return Kind.ESTIMATOR
    if isinstance(model, dict) and "learner" in model:
        return Kind.BOOSTER
    raise ModelError(f"cannot read a model of the type '{type(model).__name__}': pass {ACCEPTED}")


def import_model(
    model: object,
    table: Table,
    options: ImportOptions,
    shape: tuple[int, ...] | None = None,
) -> ImportedModel:
    """Read a model that comes from another library.

    Args:
        model: an estimator, a booster, an ONNX model or a module; or a file, or bytes, of one.
        table: the sample.
        options: the user's choices.
        shape: of one record, (channels, height, width), where it is an image and the sample's rows
            are flat.

    Raises:
        UnsupportedModelError: a part of it cannot be served; names it and says what to use instead.
        ModelError: it is nothing that can be read, or the sample does not fit it.
        InputError: the sample cannot be used.
    """
    try:
        return _read(kind_of(model), model, table, options, shape)
    except UnsupportedModelError:
        raise
    except ModelError as error:
        if not isinstance(model, str | Path) or str(model) in str(error):
            raise
        raise ModelError(f"{model}: {error}") from error


def _read(
    kind: Kind,
    model: object,
    table: Table,
    options: ImportOptions,
    shape: tuple[int, ...] | None,
) -> ImportedModel:
    """By the importer of this kind.  Raises ModelError, InputError."""
    if kind is Kind.MODEL_FILE:
        raise ModelError("a model file is read by blindproof.compile or `blindproof compile`")
    if kind is Kind.MODULE:
        from fhe_layers.importing.pytorch import import_module

        return import_module(model, table, options, shape)
    if kind is Kind.ONNX:
        from fhe_layers.importing.onnx_model import import_onnx

        return import_onnx(_from_user(model), table, options)
    if kind is Kind.BOOSTER:
        from fhe_layers.importing.xgboost_model import import_booster

        return import_booster(_from_user(model), table, options)
    from fhe_layers.importing.scikit_learn import import_estimator

    return import_estimator(model, table, options)


def _from_user(model: object) -> Any:  # noqa: ANN401 -- `kind_of` has seen what it is
    """Any of the forms that the importer of its kind takes."""
    return bytes(model) if isinstance(model, bytearray | memoryview) else model


def _kind_of_file(path: Path) -> Kind:
    """Raises ModelError."""
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise ModelError(
            f"{path}: a pickled file runs whatever code it holds when it is read, so it is not: "
            "load it yourself, if you trust it, and pass the estimator to blindproof.compile"
        )
    if suffix in _TORCH_FILES:
        raise ModelError(
            f"{path}: weights without their layers: load the module yourself and pass it to "
            "blindproof.compile, or save it with torch.onnx.export and pass the .onnx file"
        )
    if suffix == ".ubj":
        raise UnsupportedModelError(
            str(path), "UBJSON", "only XGBoost's JSON form is read", "save_model('model.json')"
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(1)
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    if size > MAX_FILE_BYTES:
        raise ModelError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
    if suffix == ".onnx":
        return Kind.ONNX
    if suffix == ".json":
        return _kind_of_json(path)
    try:
        return _kind_of_bytes(start)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _kind_of_json(path: Path) -> Kind:
    """Raises ModelError."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # whose words may show numbers of the model
        raise ModelError(f"{path}: not a JSON document") from None
    if not isinstance(document, dict):
        raise ModelError(f"{path}: neither an XGBoost model nor a model file: no JSON object")
    if "learner" in document:
        return Kind.BOOSTER
    if "features" not in document:
        raise ModelError(
            f"{path}: neither XGBoost's JSON, which has a 'learner', nor a model file, which has "
            "'features' (docs/model-file.md)"
        )
    return Kind.MODEL_FILE


def _kind_of_bytes(start: bytes) -> Kind:
    """Raises ModelError."""
    if not start:
        raise ModelError("an empty model")
    if start == _PICKLE_START:
        raise ModelError(
            "these bytes are a pickle, which runs whatever code it holds when it is read: load it "
            "yourself, if you trust it, and pass the estimator"
        )
    return Kind.BOOSTER if start in b"{ \n\r\t" else Kind.ONNX
