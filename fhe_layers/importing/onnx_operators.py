"""Operators of ONNX itself that are served, with what becomes of their nodes."""

from __future__ import annotations

from fhe_layers.importing.imported import Treatment
from fhe_layers.importing.onnx_arithmetic import (
    divided,
    minus,
    negative,
    plus,
    power,
    times,
)
from fhe_layers.importing.onnx_layers import (
    average_pool,
    batch_normalisation,
    conv,
    gemm,
    global_average_pool,
    matmul,
    reduce_mean,
    reduce_product,
    reduce_sum,
)
from fhe_layers.importing.onnx_links import (
    absolute,
    arg_max,
    exponential,
    greater,
    lp_normalisation,
    rectified,
    sigmoids,
    softmax,
    tangent,
)
from fhe_layers.importing.onnx_shapes import (
    cast,
    concat,
    dropout,
    flatten,
    gather,
    reshape,
    same,
    shape_of,
    sliced,
    split,
    squeeze,
    transpose,
    unsqueeze,
)
from fhe_layers.importing.onnx_walk import Operator

_FOLDED, _ENCRYPTED, _CLIENT = Treatment.FOLDED, Treatment.ENCRYPTED, Treatment.CLIENT
_SHAPE = "constant shapes; records stay the first axis"
_FITTED = "only with activation_degree: a polynomial fitted on the sample"

OPERATORS: dict[str, Operator] = {
    "Gemm": Operator(gemm, _ENCRYPTED, "constant weights", "a dense layer"),
    "MatMul": Operator(matmul, _ENCRYPTED, "constant matrix on the right", "a dense layer"),
    "Conv": Operator(
        conv,
        _ENCRYPTED,
        "two dimensions; groups and dilations are written out with zeros",
        "a convolution",
    ),
    "Add": Operator(plus, _ENCRYPTED, "constants fold; two values of one shape are added"),
    "Sub": Operator(minus, _ENCRYPTED, "as Add"),
    "Mul": Operator(
        times,
        _ENCRYPTED,
        "constants fold; products of columns are computed by the client",
        "a product",
    ),
    "Div": Operator(divided, _FOLDED, "by constants"),
    "Neg": Operator(negative, _FOLDED, "", "into weights"),
    "Pow": Operator(power, _ENCRYPTED, "exponents 2, 3 and 4", "a power"),
    "BatchNormalization": Operator(batch_normalisation, _FOLDED, "in inference", "into weights"),
    "AveragePool": Operator(average_pool, _ENCRYPTED, "without padding", "sums of windows"),
    "GlobalAveragePool": Operator(global_average_pool, _ENCRYPTED, "", "sums of channels"),
    "ReduceMean": Operator(reduce_mean, _ENCRYPTED, "over axes of one record", "sums"),
    "ReduceSum": Operator(reduce_sum, _ENCRYPTED, "over axes of one record", "sums"),
    "ReduceProd": Operator(reduce_product, _ENCRYPTED, "of up to four numbers", "products"),
    "Flatten": Operator(flatten, _FOLDED, "axis 1", "no cost"),
    "Reshape": Operator(reshape, _FOLDED, _SHAPE, "no cost"),
    "Squeeze": Operator(squeeze, _FOLDED, _SHAPE, "no cost"),
    "Unsqueeze": Operator(unsqueeze, _FOLDED, _SHAPE, "no cost"),
    "Transpose": Operator(transpose, _FOLDED, "records stay the first axis", "no cost"),
    "Identity": Operator(same, _FOLDED, "", "no cost"),
    "Cast": Operator(cast, _FOLDED, "between floats, or before an encoder", "no cost"),
    "Dropout": Operator(dropout, _FOLDED, "in inference: nothing", "no cost"),
    "Concat": Operator(concat, _FOLDED, "of columns, or of values of one layer", "no cost"),
    "Slice": Operator(sliced, _FOLDED, "constant bounds", "no cost"),
    "Gather": Operator(gather, _FOLDED, "constant places, or class labels", "no cost"),
    "Split": Operator(split, _FOLDED, "", "no cost"),
    "Shape": Operator(shape_of, _FOLDED, "computed while importing", "computed while importing"),
    "Relu": Operator(rectified, _ENCRYPTED, _FITTED),
    "Tanh": Operator(tangent, _ENCRYPTED, _FITTED),
    "Sigmoid": Operator(sigmoids, _CLIENT, "at the end; inside " + _FITTED, "after decryption"),
    "Softmax": Operator(softmax, _CLIENT, "at the end, over classes", "after decryption"),
    "LogSoftmax": Operator(softmax, _CLIENT, "at the end, over classes", "after decryption"),
    "Exp": Operator(exponential, _CLIENT, "at the end of a regression", "after decryption"),
    "Abs": Operator(absolute, _CLIENT, "of probabilities", "after decryption"),
    "LpNormalization": Operator(
        lp_normalisation, _CLIENT, "p=1, of probabilities, at the end", "after decryption"
    ),
    "ArgMax": Operator(arg_max, _CLIENT, "at the end, over classes", "after decryption"),
    "Greater": Operator(greater, _CLIENT, "at the end: score > 0", "after decryption"),
    "GreaterOrEqual": Operator(greater, _CLIENT, "as Greater", "after decryption"),
}
