"""How good an integer model is on the sample, and how far its layers reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from blindproof.compiled import RECORDS_AT_ONCE, Accuracy, LayerRange
from blindproof.prepared import Prepared
from fhe_layers.importing.imported import Step
from protocol import links
from protocol.errors import ModelError
from protocol.features import Thermometer

Floats: TypeAlias = npt.NDArray[np.float64]
Truth: TypeAlias = npt.NDArray[np.int64] | Floats
"""Indices of labels (records,), or values of a regression (records, J)."""

MAX_LOST_ACCURACY = 0.005
MAX_LOST_R2 = 0.01


@dataclass(frozen=True, eq=False)
class Run:
    """The integer model on the sample.

    Attributes:
        outputs: float64 (records, J), in the integer model's own units.
        largest: the largest magnitude of every tensor, input first.
    """

    outputs: Floats
    largest: tuple[float, ...]


def run(prepared: Prepared, complete: Floats) -> Run:
    """Run the integer model on raw values (records, C), complete and in range."""
    inputs = prepared.model.inputs_of(complete)
    outputs: list[Floats] = []
    largest = np.zeros(len(prepared.graph.layers) + 1)
    for start in range(0, len(inputs), RECORDS_AT_ONCE):
        tensors = prepared.tensors(inputs[start : start + RECORDS_AT_ONCE])
        outputs.append(tensors[-1].astype(np.float64))
        reached = [float(np.abs(tensor).max()) for tensor in tensors]
        largest = np.maximum(largest, reached)
    return Run(np.concatenate(outputs), tuple(largest.tolist()))


def measured_accuracy(
    link: str, given: Floats, values: Floats, error_bound: float, truth: Truth | None
) -> Accuracy:
    """Compare the two models with each other, and both with what is true.

    Args:
        link: of the model.
        given: outputs of the float model, (records, J).
        values: outputs of the integer model, (records, J).
        error_bound: of an encrypted output.
        truth: what is true of the records, if it is known.
    """
    chosen, own = links.decide(link, values), links.decide(link, given)
    if chosen is not None and own is not None:
        return Accuracy(
            records=len(values),
            measure="accuracy",
            of_float=None if truth is None else float((own == truth).mean()),
            of_integer=None if truth is None else float((chosen == truth).mean()),
            agreement=float((chosen == own).mean()),
            undecided=int((_margins(link, values) <= error_bound).sum()),
        )
    predicted, own_predicted = links.predictions(link, values), links.predictions(link, given)
    if predicted is None or own_predicted is None:
        raise ModelError(f"link '{link}' neither decides nor predicts")
    return Accuracy(
        records=len(values),
        measure="R2",
        of_float=None if truth is None else _r2(truth, own_predicted),
        of_integer=None if truth is None else _r2(truth, predicted),
        agreement=_r2(own_predicted, predicted),
        undecided=0,
    )


def require_accurate(
    accuracy: Accuracy, prepared: Prepared, steps: tuple[Step, ...], *, allow_loss: bool
) -> None:
    """Refuse an integer model that is noticeably worse on the sample.

    A single record with another label is no reason, however small the sample is.

    Raises:
        ModelError: it is; says by how much and what would help.
    """
    regression = accuracy.measure == "R2"
    limit = MAX_LOST_R2 if regression else MAX_LOST_ACCURACY
    loss = accuracy.loss
    if allow_loss or loss <= limit or (not regression and loss * accuracy.records < 1.5):
        return
    if accuracy.of_float is None or accuracy.of_integer is None:
        found = (
            f"as a prediction of the float model's outputs it has an R2 of {accuracy.agreement:.4f}"
            if regression
            else f"it gives {accuracy.differing} of them another label than the float model"
        )
    elif regression:
        found = (
            f"it has an R2 of {accuracy.of_integer:.4f}, the float model {accuracy.of_float:.4f}"
        )
    else:
        found = (
            f"it labels {accuracy.of_integer:.1%} of them correctly, the float model "
            f"{accuracy.of_float:.1%}"
        )
    if regression and accuracy.of_float is not None and accuracy.of_float < 0:
        raise ModelError(
            f"the model as it was given predicts the sample's target worse than a constant would: "
            f"an R2 of {accuracy.of_float:.4g}. Is it the right target, and are the columns those "
            "the model was fitted on, in their order? If so, accept it with allow_loss"
        )
    raise ModelError(
        f"on the {accuracy.records} records of the sample the integer model loses accuracy: "
        f"{found}. {_advice(prepared, steps)}, or accept it with allow_loss"
    )


def measured_layers(prepared: Prepared, largest: tuple[float, ...]) -> tuple[LayerRange, ...]:
    """Ranges of every tensor beside what the card proves of them."""
    plan = prepared.offers[0].plan
    tensors = prepared.graph.tensors(plan.parameters.input_scale_log2)
    worst = [
        value / 2.0**tensor.scale_log2
        for value, tensor in zip(plan.bounds.largest_values, tensors, strict=True)
    ]
    names = ["inputs", *(type(layer).__name__ for layer in prepared.graph.layers)]
    return tuple(
        LayerRange(name, tensor.units, measured, bound)
        for name, tensor, measured, bound in zip(names, tensors, largest, worst, strict=True)
    )


def _margins(link: str, values: Floats) -> Floats:
    """How far each record's outputs may move without changing its label."""
    if values.shape[1] == 1:
        threshold = 0.5 if link == links.PROBABILITY else 0.0
        distance: Floats = np.abs(values[:, 0] - threshold)
        return distance
    ordered = np.sort(values, axis=1)
    half: Floats = (ordered[:, -1] - ordered[:, -2]) / 2
    return half


def _r2(truth: Truth, predicted: Floats) -> float:
    """The mean over outputs of 1 - sum of squared errors / sum of squares about the mean."""
    errors = ((truth - predicted) ** 2).sum(axis=0)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    constant = spread == 0
    shares = np.where(constant, (errors > 0).astype(float), errors / np.where(constant, 1, spread))
    return float(1.0 - shares.mean())


def _advice(prepared: Prepared, steps: tuple[Step, ...]) -> str:
    """What would help, beginning a sentence."""
    if any(isinstance(column, Thermometer) for column in prepared.columns):
        return (
            "Give a sample that the trees were not fitted on, offer more edges for each column if "
            "they fit, fit the trees on columns binned before, by "
            "KBinsDiscretizer(encode='ordinal'), or make their thresholds public: show_thresholds"
        )
    if any("polynomial" in step.note for step in steps):
        return (
            "Raise the activation degree, or train the network with squares instead of the "
            "activations that were replaced"
        )
    return (
        "Scale the columns to similar widths before the model is fitted, narrow the ranges of "
        "columns with outliers, or regularise the model so that its weights are of similar sizes"
    )
