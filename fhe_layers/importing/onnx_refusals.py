"""Well-known operators that have no encrypted form: why, and what to use instead."""

from __future__ import annotations

_POLYNOMIALS = "only polynomials can be computed on ciphertexts"
_ACTIVATION = "a square (torch.square, x ** 2)"
_TREES = (
    "the estimator itself, or an export by skl2onnx, whose tree operators are served; ReLU-like "
    "choices become squares"
)
OPERATOR_REFUSALS: dict[str, tuple[str, str]] = {
    "MaxPool": ("a maximum has no encrypted form", "AveragePool (AvgPool2d)"),
    "GlobalMaxPool": ("a maximum has no encrypted form", "GlobalAveragePool (AdaptiveAvgPool2d)"),
    "ReduceMax": ("a maximum has no encrypted form", "ReduceMean"),
    "Max": ("a maximum has no encrypted form", _ACTIVATION),
    "Min": ("a minimum has no encrypted form", _ACTIVATION),
    "Clip": (
        "values cannot be compared with bounds under encryption",
        "no clipping: clients keep to the calibrated range of every column",
    ),
    "LeakyRelu": (_POLYNOMIALS, _ACTIVATION),
    "PRelu": (_POLYNOMIALS, _ACTIVATION),
    "Elu": (_POLYNOMIALS, _ACTIVATION),
    "Selu": (_POLYNOMIALS, _ACTIVATION),
    "Gelu": (_POLYNOMIALS, _ACTIVATION),
    "HardSigmoid": (_POLYNOMIALS, _ACTIVATION),
    "HardSwish": (_POLYNOMIALS, _ACTIVATION),
    "Softplus": (_POLYNOMIALS, _ACTIVATION),
    "Erf": (_POLYNOMIALS, _ACTIVATION),
    "Sqrt": (_POLYNOMIALS, "the square of it, or the root on the client"),
    "Log": (_POLYNOMIALS, "the logarithm as a column of the table"),
    "Reciprocal": (_POLYNOMIALS, "a constant divisor"),
    "LayerNormalization": (
        "it divides by a deviation that depends on the data",
        "BatchNormalization, which folds",
    ),
    "InstanceNormalization": (
        "it divides by a deviation that depends on the data",
        "BatchNormalization, which folds",
    ),
    "Less": ("comparisons have no encrypted form", _TREES),
    "LessOrEqual": ("comparisons have no encrypted form", _TREES),
    "Equal": ("comparisons have no encrypted form", _TREES),
    "Where": ("a choice by encrypted data has no encrypted form", _TREES),
    "TopK": ("sorting has no encrypted form", "the scores, which clients sort"),
    "LSTM": ("its gates are no polynomials", "dense layers or convolutions over a fixed window"),
    "GRU": ("its gates are no polynomials", "dense layers or convolutions over a fixed window"),
    "RNN": ("its gates are no polynomials", "dense layers or convolutions over a fixed window"),
    "ConvTranspose": ("it is not served", "Conv, or a dense layer"),
    "Pad": ("it pads by itself", "padding in the convolution that follows"),
    "If": ("branches by data have no encrypted form", "one of the branches"),
    "Loop": ("loops have no encrypted form", "the loop written out"),
    "QuantizeLinear": (
        "the model is quantised already",
        "the float model: weights are rounded here",
    ),
    "DequantizeLinear": (
        "the model is quantised already",
        "the float model: weights are rounded here",
    ),
    "QLinearConv": ("the model is quantised already", "the float model: weights are rounded here"),
}

ML_REFUSALS: dict[str, tuple[str, str]] = {
    "SVMClassifier": ("kernels have no encrypted form", "LinearSVC, or the estimator itself"),
    "SVMRegressor": ("kernels have no encrypted form", "LinearSVR, or the estimator itself"),
    "Binarizer": ("comparisons have no encrypted form", "the column as it is, or KBinsDiscretizer"),
    "DictVectorizer": ("it reads mappings", "columns of a table"),
    "CategoryMapper": ("it is not served", "OneHotEncoder"),
    "CastMap": ("it reads mappings", "columns of a table"),
}

REFUSALS = OPERATOR_REFUSALS | ML_REFUSALS
