"""One reading of an ONNX graph: what every tensor is, and the network that grows along the way.

A tensor is a constant; a value, which is an affine function of a tensor of the network; texts of a
column; or what comes after the outputs: scores under a link function (`Response`), the class that
they point to (`Choice`), their sum (`Total`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.activations import fit_activation
from fhe_layers.importing.affine_values import (
    CannotServeError,
    Combined,
    Convolved,
    Floats,
    Picked,
    Value,
    transformed,
)
from fhe_layers.importing.imported import Step, Treatment, UnsupportedModelError
from fhe_layers.importing.network_builder import NetworkBuilder
from fhe_layers.importing.onnx_columns import InputColumns, Texts
from fhe_layers.importing.onnx_graph import (
    CONSTANT_OPERATORS,
    Array,
    Graph,
    Node,
    computed,
)
from fhe_layers.importing.options import ImportOptions
from fhe_layers.monomials import expand
from protocol.errors import BlindproofError
from protocol.features import Category, encode_columns

Rewrites: TypeAlias = Mapping[int, Any]
"""Nodes of the graph of scores, by index: what stands in their place; None: nothing."""


@dataclass(frozen=True, eq=False)
class Response:
    """A function of scores that clients compute.

    Attributes:
        scores: entry by entry under the function.
        function: sigmoid, softmax, exp, probability, or identity where scores only rank classes.
        tensor: of the graph with these rewrites, which holds the scores.
        node: where it was made.
        rewrites: nodes to be replaced so that the scores come through.
        normalised: divided by their sum.
        labels: of classes, where they are known.
        integer_labels: whether they are integers.
    """

    scores: Value
    function: str
    tensor: str
    node: Node
    rewrites: Rewrites = field(default_factory=dict)
    normalised: bool = False
    labels: tuple[str, ...] = ()
    integer_labels: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the scores."""
        return self.scores.shape


@dataclass(frozen=True, eq=False)
class Choice:
    """The class that scores point to: its index, or its label once one was looked up."""

    response: Response
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Total:
    """The sum of a response's entries."""

    response: Response


@dataclass(frozen=True, eq=False)
class Uncomputed:
    """A constant that is not computed while importing; whoever needs it refuses its node."""

    node: Node


Seen: TypeAlias = Picked | Combined | Convolved | Texts | Response | Choice | Total | Array


class Walk:
    """The state of one reading.

    Attributes:
        fed: tensors that the graph of scores is given: functions of others, which the model has.
    """

    def __init__(self, graph: Graph, columns: InputColumns, options: ImportOptions) -> None:
        self.graph = graph
        self.columns = columns
        self.options = options
        self.builder = NetworkBuilder(columns.shape)
        self.steps: list[Step] = []
        self.fed: dict[str, tuple[str, Callable[[Floats], Floats]]] = {}
        self._seen: dict[str, Seen | Uncomputed] = {**graph.constants, **columns.values()}
        self._notes: list[tuple[Treatment, str]] = []

    def run(
        self, operators: Mapping[str, Operator], refusals: Mapping[str, tuple[str, str]]
    ) -> None:
        """Visit every node, in order.

        Raises:
            UnsupportedModelError: naming the node.
            ReadAgainError: the columns must be something else.
        """
        for node in self.graph.nodes:
            given = [self._seen.get(name) for name in node.inputs if name]
            if all(isinstance(item, np.ndarray) for item in given):
                results: tuple[Seen | Uncomputed, ...] = self._computed(node)
            else:
                operator = operators.get(node.operator)
                if operator is None or node.proto.domain not in {"", "ai.onnx", "ai.onnx.ml"}:
                    self.refuse(node, *refusals.get(node.operator, UNKNOWN))
                results = self._visited(node, operator)
            for name, result in zip(node.outputs, results, strict=False):
                self._seen[name] = result

    def refuse(self, node: Node, reason: str, instead: str) -> NoReturn:
        """Raises UnsupportedModelError."""
        raise UnsupportedModelError(node.name, node.operator, reason, instead)

    def note(self, treatment: Treatment, note: str) -> None:
        """What became of the node that is being visited, if not what its table says."""
        self._notes.append((treatment, note))

    def feed(self, tensor: str, source: str, function: Callable[[Floats], Floats]) -> None:
        """Say that a tensor of the graph of scores is a function of one of the model."""
        self.fed[tensor] = source, function

    def seen(self, name: str) -> Seen | None:
        """What a tensor is.  Raises UnsupportedModelError: a constant that is not computed."""
        found = self._seen.get(name)
        if isinstance(found, Uncomputed):
            self.refuse(
                found.node,
                "it is not computed while importing",
                "a constant in its place, as the exporter's optimisation makes it",
            )
        return found

    def input(self, node: Node, position: int) -> Seen | None:
        """What an input of a node is; None if it is left out."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        return self.seen(name) if name else None

    def constant(self, node: Node, position: int) -> Array | None:
        """An input that must be a constant; None if it is left out."""
        item = self.input(node, position)
        if item is None or isinstance(item, np.ndarray):
            return item
        raise CannotServeError(
            f"input {position} of it depends on the data",
            "a constant there, as a trained layer has",
        )

    def numbers(self, node: Node, position: int) -> Floats | None:
        """A constant as doubles."""
        constant = self.constant(node, position)
        return None if constant is None else np.asarray(constant, dtype=np.float64)

    def value(self, node: Node, position: int) -> Value:
        """An input that must be numbers under encryption.  Raises CannotServeError."""
        return self.encrypted(self.input(node, position))

    def encrypted(self, item: Seen | None) -> Value:
        """The same of anything; a response becomes a polynomial, if that is allowed."""
        if isinstance(item, Picked | Combined | Convolved):
            return item
        if isinstance(item, Response) and item.function in RESPONSES:
            return self.activated(item.node, item.scores, RESPONSES[item.function])
        if isinstance(item, Response):
            self.refuse(
                item.node,
                f"{item.function} is computed by clients after decryption, but layers follow",
                "a square, torch.square or x ** 2, inside the network",
            )
        if isinstance(item, Texts):
            raise CannotServeError("it computes with texts", "an OneHotEncoder before it")
        raise CannotServeError(
            "it computes with what is known only after decryption, or with a constant alone",
            "ending the model there",
        )

    def activated(self, node: Node, value: Value, function: Callable[[Floats], Floats]) -> Value:
        """A polynomial in place of an activation that is none.  Raises UnsupportedModelError."""
        degree = self.options.activation_degree
        if degree is None:
            self.refuse(
                node,
                "only polynomials can be computed on ciphertexts, and this is an activation inside "
                "the network",
                "a square (torch.square, x ** 2), or activation_degree=2 to replace it by a "
                "polynomial fitted on the sample",
            )
        samples = self.builder.finished(value).forward(self.inputs())
        coefficients = fit_activation(function, samples, degree)
        note = "replaced by " + " + ".join(
            f"{c:.4g}" + (f" x^{i}" if i else "") for i, c in enumerate(coefficients)
        )
        self.steps.append(Step(node.name, node.operator, Treatment.ENCRYPTED, note))
        return self.builder.polynomial(value, coefficients)

    def inputs(self) -> Floats:
        """The sample as the network's inputs (records, K)."""
        raw = self.columns.table.values[:, self.columns.columns].copy()
        for number, feature in enumerate(self.columns.features):
            stands = feature.missing
            if isinstance(feature, Category):
                stands = None if stands is None else float(feature.categories.index(str(stands)))
            if stands is not None:
                raw[np.isnan(raw[:, number]), number] = float(stands)
        encoded = encode_columns(self.columns.features, raw)
        encoded = encoded[~np.isnan(encoded).any(axis=1)]
        expansion = self.columns.expansion
        return expand(encoded, expansion) if expansion else encoded

    def product(self, left: Value, right: Value) -> Value:
        """left * right; products of inputs are computed by clients."""
        by_clients = self._monomials(left, right)
        return by_clients if by_clients is not None else self.builder.product(left, right)

    def transformed(
        self, value: Value, operator: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    ) -> Value:
        """A linear operator on a value."""
        return transformed(value, operator, self.builder.units(value))

    def _monomials(self, left: Value, right: Value) -> Value | None:
        """The product of values that are numbers of columns, as a function of monomials."""
        if left.base or right.base or left.shape != right.shape:
            return None
        if not isinstance(left, Picked) or not isinstance(right, Picked):
            return None
        units = self.builder.units(left)
        matrix = np.zeros((units, left.index.size))
        for entry in range(left.index.size):
            i, j = int(left.index.flat[entry]), int(right.index.flat[entry])
            unit = self.columns.monomial(i, j)
            if unit is None:
                return None
            a, c = float(left.factor.flat[entry]), float(left.offset.flat[entry])
            b, d = float(right.factor.flat[entry]), float(right.offset.flat[entry])
            matrix[unit, entry] += a * b
            matrix[i, entry] += a * d
            matrix[j, entry] += b * c
        self.note(Treatment.CLIENT, "products of columns are inputs of their own")
        offset = left.offset * right.offset
        return Combined(0, matrix.reshape(units, *left.shape[1:]), offset)

    def _visited(self, node: Node, operator: Operator) -> tuple[Seen, ...]:
        self._notes.clear()
        place = len(self.steps)
        try:
            result = operator.visit(self, node)
        except CannotServeError as error:
            self.refuse(node, error.reason, error.instead)
        except UnsupportedModelError:
            raise
        except (BlindproofError, *UNEXPECTED) as error:
            if isinstance(error, BlindproofError):
                self.refuse(node, str(error), "see docs/models.md for what is supported")
            self.refuse(
                node,
                f"it is used in a way that is not understood ({type(error).__name__}: {error})",
                "the same layer as PyTorch or scikit-learn export it",
            )
        treatment, note = operator.treatment, operator.short
        if self._notes:
            treatment, note = self._notes[-1]
        if isinstance(result, Response | Choice | Total):
            treatment, note = Treatment.CLIENT, "after decryption"
        if not any(step.name == node.name for step in self.steps[place:]):
            self.steps.append(Step(node.name, node.operator, treatment, note))
        return result if isinstance(result, tuple) else (result,)

    def _computed(self, node: Node) -> tuple[Seen | Uncomputed, ...]:
        if node.operator == "ConstantOfShape":
            shape = [int(axis) for axis in np.ravel(self._seen[node.inputs[0]])]  # type: ignore[arg-type]
            value = np.ravel(node.attributes.get("value", np.zeros(1, dtype=np.float32)))
            if np.prod(shape, dtype=np.float64) <= MAX_FILLED:
                return (np.full(shape, value[0]),)
        if node.operator not in CONSTANT_OPERATORS:
            return tuple(Uncomputed(node) for _ in node.outputs)
        constants = [self._seen[name] if name else None for name in node.inputs]
        return computed(node, constants, self.graph.opsets)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Operator:
    """How a node is visited, and a row of docs/models.md.

    Attributes:
        visit: what its outputs are.
        treatment: what usually becomes of it.
        note: conditions, for the documentation.
        short: for a step of an import.
    """

    visit: Callable[[Walk, Node], Seen | tuple[Seen, ...]]
    treatment: Treatment
    note: str = ""
    short: str = ""


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    result: Floats = 0.5 * (1 + np.tanh(values / 2))
    return result


UNEXPECTED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What attributes raise that no checker of ONNX looks at: strides of zero, texts for numbers."""
RESPONSES: Mapping[str, Callable[[Floats], Floats]] = {"sigmoid": sigmoid}
MAX_FILLED = 1 << 16
UNKNOWN = (
    "it has no encrypted form here",
    "layers that docs/models.md lists; for a scikit-learn model, the estimator itself",
)


def replaced(
    response: Response,
    node: Node,
    proto: Any,  # noqa: ANN401
    *,
    at: str | None = None,
    **changes: Any,  # noqa: ANN401
) -> Response:
    """A response after a node, for which `proto` stands in the graph of scores.

    Its scores are then in the node's first output, or in `at`.
    """
    rewrites = {**response.rewrites, node.index: proto}
    return replace(response, tensor=at or node.outputs[0], rewrites=rewrites, **changes)


def passed(response: Response, node: Node, **changes: Any) -> Response:  # noqa: ANN401
    """A response after a node that does the same to scores."""
    return replace(response, tensor=node.outputs[0], **changes)


def required(constant: Any) -> Any:  # noqa: ANN401
    """A constant that must be there.  Raises CannotServeError."""
    if constant is None:
        raise CannotServeError("a constant of it is missing", "a valid node")
    return constant
