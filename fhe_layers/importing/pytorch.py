"""PyTorch modules, through the ONNX exporter: nothing of a module is ever read in two ways.

A module in evaluation mode is exported in memory with a batch of any size; nodes keep the names of
the modules that made them, which is what errors show.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fhe_layers.importing.imported import (
    ImportedModel,
    Support,
    Treatment,
    UnsupportedModelError,
)
from fhe_layers.importing.onnx_model import import_onnx
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from protocol.errors import ModelError, ShapeError

_E, _F, _C, _R = Treatment.ENCRYPTED, Treatment.FOLDED, Treatment.CLIENT, Treatment.REFUSED
_FITTED = "only with activation_degree: a polynomial fitted on the sample"
_POLYNOMIAL = "instead: x ** 2 or torch.square"
SUPPORT: tuple[Support, ...] = (
    Support("nn.Linear", _E),
    Support("nn.Conv2d", _E, "groups and dilations are written out with zeros"),
    Support("nn.AvgPool2d", _E, "without padding"),
    Support("nn.AdaptiveAvgPool2d(1)", _E),
    Support("x ** 2, x ** 3, x ** 4", _E),
    Support("torch.square, x * x, x * y", _E),
    Support("x + y", _E, "of one shape: residual connections"),
    Support("nn.BatchNorm1d", _F),
    Support("nn.BatchNorm2d", _F),
    Support("nn.Flatten", _F),
    Support("nn.Dropout", _F),
    Support("nn.Identity", _F),
    Support("(x - mean) / std", _F, "constants: buffers or numbers"),
    Support("nn.ReLU", _E, _FITTED),
    Support("nn.Tanh", _E, _FITTED),
    Support("nn.Sigmoid", _C, "at the end; inside " + _FITTED),
    Support("nn.Softmax", _C, "at the end, over classes"),
    Support("nn.LogSoftmax", _C, "at the end, over classes"),
    Support("nn.MaxPool2d", _R, "instead: nn.AvgPool2d"),
    Support("nn.LayerNorm", _R, "instead: nn.BatchNorm1d or nn.BatchNorm2d, which fold"),
    Support("nn.GELU", _R, _POLYNOMIAL),
    Support("nn.LeakyReLU", _R, _POLYNOMIAL),
    Support("nn.LSTM", _R, "instead: dense layers or convolutions over a fixed window"),
)


def import_module(
    module: Any,  # noqa: ANN401
    table: Table,
    options: ImportOptions,
    shape: Sequence[int] | None = None,
) -> ImportedModel:
    """Read a torch.nn.Module.

    Args:
        module: takes one tensor, (records, columns) or (records, *shape). It is exported in
            evaluation mode and left as it was.
        table: the sample; pixels of images are its columns, channel by channel, row by row.
        options: as for every import.
        shape: of one record: (channels, height, width) for images.

    Raises:
        UnsupportedModelError: a module that has no encrypted form; it says what to use instead.
        ModelError: torch is not installed, or the module cannot be exported.
        ShapeError: the sample does not have this shape.
    """
    try:
        import onnxscript  # noqa: F401
        import torch
    except ImportError:
        raise ModelError(
            "PyTorch modules are read with torch and its ONNX exporter: "
            "pip install 'blindproof[torch]'"
        ) from None
    columns = [i for i, name in enumerate(table.names) if name not in options.local]
    texts = [table.names[i] for i in columns if table.categories[i] is not None]
    if texts:
        raise ModelError(
            f"column '{texts[0]}' of the sample has texts, which modules do not take: encode it as "
            "numbers, or name it as local"
        )
    tail = tuple(shape) if shape is not None else (len(columns),)
    if math.prod(tail) != len(columns):
        raise ShapeError(
            f"records of shape {tail} have {math.prod(tail)} numbers, the sample {len(columns)} "
            "columns"
        )
    values = np.nan_to_num(table.values[:2, columns])
    values = values if len(values) == 2 else np.repeat(values, 2, axis=0)
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    kind = {} if parameter is None else {"dtype": parameter.dtype, "device": parameter.device}
    example = torch.as_tensor(values.reshape(2, *tail)).to(**kind)
    if parameter is None:
        example = example.float()
    trained = module.training
    module.eval()
    try:
        proto = _exported(torch, module, example)
    finally:
        module.train(trained)
    return import_onnx(proto, table, options)


def _exported(torch: Any, module: Any, example: Any) -> Any:  # noqa: ANN401
    """The module as a ModelProto.  Raises ModelError, UnsupportedModelError."""
    batch = ({0: torch.export.Dim("batch")},)
    try:
        with _quiet():
            program = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=batch, verbose=False
            )
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        if "shape" in first.lower() and "mat" in first.lower():
            raise ShapeError(f"the module does not take records of this shape: {first}") from None
        raise UnsupportedModelError(
            type(module).__name__,
            "torch.nn.Module",
            f"PyTorch cannot export it ({type(error).__name__}: {first[:160]})",
            "a module without branches that depend on data, taking one tensor whose first axis is "
            "the records",
        ) from None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress, deprecations and remarks on optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
