"""What a fitted estimator makes of the features it is given, before any link.

Symbols: F features, J outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine import AffineMap, joined
from fhe_layers.importing.imported import UnsupportedModelError
from fhe_layers.importing.sklearn_classes import Fitted, Walk
from fhe_layers.importing.tree_ensembles import TreeEnsemble
from fhe_layers.spec import DenseSpec, LayerSpec
from protocol import links

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """An estimator, read.

    Attributes:
        given: what the body takes; the J outputs themselves where the body is empty.
        body: layers after the first weights, which are in `given`; or trees.
        outputs: names of the J outputs.
        labels: class labels as texts; empty for a regression.
        integer_labels: whether they are integers.
        link: see `protocol.links`.
        decision: what the estimator itself says, (records, J), of records as it takes them.
        exact: whether layers compute the decision itself, or something close to it.
    """

    given: AffineMap
    body: tuple[LayerSpec, ...] | TreeEnsemble = field(repr=False)
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    integer_labels: bool
    link: str
    decision: Callable[[Fitted], Floats] = field(repr=False)
    exact: bool = True

    @property
    def linear(self) -> bool:
        """Whether there are no layers after the first weights."""
        return self.body == ()

    def scaled(self, factor: Floats, constant: Floats) -> Head | None:
        """factor * output + constant, output by output; None if trees make the outputs."""
        if isinstance(self.body, TreeEnsemble):
            return None
        if not self.body:
            return replace(self, given=self.given.scaled(factor, constant))
        last = self.body[-1]
        if not isinstance(last, DenseSpec):
            return None
        layer = DenseSpec(last.weights * factor[:, None], last.bias * factor + constant)
        return replace(self, body=(*self.body[:-1], layer))


Reader: TypeAlias = Callable[[Fitted, AffineMap, str, Walk], Head]
"""(fitted estimator, the features it takes, its name, walk) -> head."""


def side_by_side(heads: Sequence[Head]) -> AffineMap | None:
    """The outputs of several heads, one after the other; None if one of them is not linear."""
    if not all(head.linear for head in heads):
        return None
    return joined([head.given for head in heads])


def labels_of(part: Fitted, where: str) -> tuple[tuple[str, ...], bool]:
    """(labels as texts, whether they are integers).  Raises UnsupportedModelError."""
    classes = part.classes_
    if isinstance(classes, list) or np.ndim(classes) != 1 or len(classes) < 2:
        raise UnsupportedModelError(
            where,
            type(part).__name__,
            "it has several targets or one class only",
            "a model for each target, with two classes or more",
        )
    integers = all(isinstance(label, int | np.integer) for label in classes)
    integers = integers and not any(isinstance(label, bool | np.bool_) for label in classes)
    return tuple(str(label) for label in classes), integers


def class_outputs(labels: Sequence[str], link: str) -> tuple[str, ...]:
    """Names of a classifier's outputs: one, of the second label, where that decides."""
    kinds = {
        links.LOGISTIC: "log-odds",
        links.SOFTMAX: "log-odds",
        links.PROBABILITY: "probability",
    }
    kind = kinds.get(link, "score")
    one = link in {links.LOGISTIC, links.SIGN}
    return tuple(f"{kind} of {label}" for label in (labels[1:] if one else labels))


def regression_outputs(count: int) -> tuple[str, ...]:
    """Names of a regression's outputs."""
    return ("prediction",) if count == 1 else tuple(f"prediction {i}" for i in range(count))
