"""ONNX models: what skl2onnx, hummingbird and PyTorch export, as networks over a table's columns.

Nodes are visited in order (`onnx_walk`); arithmetic with constants is noted and folded
(`affine_values`), layers are written when something else must be computed (`network_builder`).
Inputs are one tensor (records, columns) in the order of the table, one (records, 1) for each
column, by name, or images (records, channels, height, width), whose pixels are the table's columns
channel by channel, row by row. The model's last functions become the card's link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine_values import (
    CannotServeError,
    Combined,
    Convolved,
    Floats,
    Picked,
    Value,
    combined,
    rearranged,
    transformed,
)
from fhe_layers.importing.imported import (
    ImportedModel,
    Step,
    Support,
    Treatment,
    UnsupportedModelError,
)
from fhe_layers.importing.onnx_columns import InputColumns, ReadAgainError, Texts, Wishes
from fhe_layers.importing.onnx_graph import CONSTANT_OPERATORS, Graph, read_graph
from fhe_layers.importing.onnx_ml import ML_OPERATORS, TREES
from fhe_layers.importing.onnx_operators import OPERATORS
from fhe_layers.importing.onnx_refusals import REFUSALS
from fhe_layers.importing.onnx_walk import Choice, Response, Seen, Walk
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.spec import NetworkSpec
from protocol.errors import ModelError

_VISITED = OPERATORS | ML_OPERATORS

SUPPORT: tuple[Support, ...] = (
    *(
        Support(name, operator.treatment, operator.note)
        for name, operator in sorted(_VISITED.items())
    ),
    *(
        Support(name, Treatment.FOLDED, "of constants only, while importing")
        for name in sorted({*CONSTANT_OPERATORS, "ConstantOfShape"} - {*_VISITED, *REFUSALS})
    ),
    *(
        Support(name, Treatment.REFUSED, f"instead: {instead}")
        for name, (_, instead) in sorted(REFUSALS.items())
    ),
)

SAME_ROWS = 1e-6
"""Two rows of scores are each other's negative up to this, relative to the larger."""


@dataclass(frozen=True, eq=False)
class _Ending:
    """What a model gives.

    Attributes:
        value: the network's output.
        tensor, rewrites: where the graph of scores has it.
        pick: the scores (records, ...) of that tensor as outputs (records, J).
    """

    value: Value
    tensor: str
    rewrites: dict[int, Any]
    pick: str
    link: str
    labels: tuple[str, ...]
    integer_labels: bool


def import_onnx(
    model: str | Path | bytes | Any,  # noqa: ANN401
    table: Table,
    options: ImportOptions,
) -> ImportedModel:
    """Read an ONNX model: a path, the bytes of a file, or an onnx.ModelProto.

    Raises:
        UnsupportedModelError: a node that has no encrypted form; it says what to use instead.
        ModelError: no valid model, or columns that do not fit it.
        InputError: the sample leaves a range that was given.
    """
    graph = read_graph(model)
    raw = any(node.operator in TREES for node in graph.nodes)
    wishes = Wishes()
    while True:  # each reading wishes for more, of finitely many columns
        try:
            columns = InputColumns(graph, table, options, wishes, raw=raw)
            walk = Walk(graph, columns, options)
            walk.run(_VISITED, REFUSALS)
        except ReadAgainError:
            continue
        if not columns.stale:
            break
    ending, network = _finished(walk)
    outputs = _output_names(ending, network.outputs)
    return ImportedModel(
        features=columns.features,
        expansion=columns.expansion,
        network=network,
        outputs=outputs,
        labels=ending.labels,
        integer_labels=ending.integer_labels,
        link=ending.link,
        steps=(*_read_by_position(graph), *_once(walk.steps)),
        decision=_Decision(graph, walk, ending),
    )


def _finished(walk: Walk) -> tuple[_Ending, NetworkSpec]:
    """What the model gives, and the network up to it.  Raises ModelError, UnsupportedModelError."""
    last = walk.graph.nodes[-1] if walk.graph.nodes else None
    try:
        ending = _ending(walk)
        return ending, walk.builder.finished(ending.value)
    except CannotServeError as error:
        name, kind = (last.name, last.operator) if last else ("graph", "graph")
        raise UnsupportedModelError(name, kind, error.reason, error.instead) from None


def _ending(walk: Walk) -> _Ending:
    """The scores, the link and the labels.  Raises UnsupportedModelError."""
    graph = walk.graph
    found = [walk.seen(name) for name in graph.outputs]
    choices = [item for item in found if isinstance(item, Choice)]
    responses = [item for item in found if isinstance(item, Response)]
    values = [
        (name, item)
        for name, item in zip(graph.outputs, found, strict=True)
        if isinstance(item, Picked | Combined | Convolved)
    ]
    if any(isinstance(item, np.ndarray | Texts) for item in found):
        raise ModelError("an output of the ONNX model does not depend on numbers of its input")
    where = graph.nodes[-1].name if graph.nodes else "graph"
    if responses:
        response, chosen = responses[0], _of(choices)
        # Labels that the graph looks up for these very scores come before those of their parts.
        looked_up = [item for item in chosen if item.scores is response.scores]
        labelled = next(
            (item for item in (*looked_up, *responses, *chosen) if item.labels),
            None,
        )
        _require_one_head(walk, response, found)
        if labelled is not None:
            response = replace(
                response, labels=labelled.labels, integer_labels=labelled.integer_labels
            )
        return _classified(walk, response, chosen=bool(choices) or bool(response.labels))
    if choices:
        _require_one_head(walk, choices[0].response, found)
        return _classified(walk, choices[0].response, chosen=True)
    if len(values) != 1:
        raise UnsupportedModelError(
            where,
            "graph",
            f"it has {len(values)} outputs of numbers: {', '.join(name for name, _ in values)}",
            "a model with one output, its parts concatenated",
        )
    name, value = values[0]
    return _Ending(value, name, {}, "all", "identity", (), False)


def _of(choices: Sequence[Choice]) -> list[Response]:
    return [choice.response for choice in choices]


def _classified(walk: Walk, response: Response, *, chosen: bool) -> _Ending:
    """The link that does what a response does, with one score where two are the same."""
    scores, count = response.scores, int(np.prod(response.scores.shape))
    labels, integers = response.labels, response.integer_labels
    if not labels:
        labels, integers = tuple(str(i) for i in range(max(count, 2))), True
    if response.function == "exp":
        return _ended(response, scores, "all", "exp", (), integers=False)
    if len(labels) != max(count, 2):
        walk.refuse(
            response.node,
            f"it gives {count} scores for {len(labels)} labels",
            "one score for each class, or one for two classes",
        )
    if count == 1:
        link = {"sigmoid": "logistic", "identity": "sign"}.get(response.function, "probability")
        return _ended(response, scores, "all", link, labels, integers=integers)
    units = walk.builder.units(scores)
    if count == 2:
        second = rearranged(scores, lambda rows: rows.reshape(len(rows), -1)[:, 1:], units)
        if response.function == "probability":
            return _ended(response, second, "second", "probability", labels, integers=integers)
        opposite = _opposite(scores, units)
        if not opposite:
            _require_one_answer(walk, response, chosen=chosen)
        if response.function == "sigmoid":
            link = "logistic" if opposite else "sign"
        else:
            link = "logistic" if response.function == "softmax" else "sign"
        if opposite and response.function != "softmax":
            return _ended(response, second, "second", link, labels, integers=integers)
        weights = np.array([[-1.0], [1.0]])
        margin = transformed(scores, lambda rows: rows.reshape(len(rows), -1) @ weights, units)
        return _ended(response, margin, "margin", link, labels, integers=integers)
    _require_one_answer(walk, response, chosen=chosen)
    link = {"softmax": "softmax", "probability": "probability"}.get(response.function, "argmax")
    return _ended(response, scores, "all", link, labels, integers=integers)


def _require_one_answer(walk: Walk, response: Response, *, chosen: bool) -> None:
    """Raises UnsupportedModelError: several labels may hold at once."""
    if response.function == "sigmoid" and not (chosen or response.normalised):
        walk.refuse(
            response.node,
            "every output has a probability of its own, and clients have no such link",
            "a model without the sigmoid, whose outputs are log-odds",
        )


def _require_one_head(walk: Walk, response: Response, found: Sequence[Seen | None]) -> None:
    """Raises UnsupportedModelError: an output says something that these scores do not."""
    for item in found:
        other = item.response if isinstance(item, Choice) else item
        value = other.scores if isinstance(other, Response) else other
        if value is response.scores:
            continue
        if not isinstance(value, Picked | Combined | Convolved) or not _determined(
            walk, value, response.scores, alike=isinstance(item, Choice | Response)
        ):
            walk.refuse(
                response.node,
                "the model has several outputs, and not all of them follow from the same scores",
                "a model for each output",
            )


def _determined(walk: Walk, value: Value, scores: Value, *, alike: bool) -> bool:
    """Whether a value is an affine function of scores; if alike, and of as many entries, them."""
    if value.base != scores.base:
        return False
    units = walk.builder.units(scores)
    given = combined(scores, units).matrix.reshape(units, -1)
    made = combined(value, units).matrix.reshape(units, -1)
    size = max(float(np.abs(given).max(initial=0.0)), float(np.abs(made).max(initial=0.0)))
    if alike and made.shape == given.shape:
        return bool(np.abs(made - given).max(initial=0.0) <= SAME_ROWS * size)
    missed = made - given @ np.linalg.lstsq(given, made, rcond=None)[0]
    return bool(np.abs(missed).max(initial=0.0) <= SAME_ROWS * size)


def _ended(
    response: Response,
    value: Value,
    pick: str,
    link: str,
    labels: tuple[str, ...],
    *,
    integers: bool,
) -> _Ending:
    return _Ending(value, response.tensor, dict(response.rewrites), pick, link, labels, integers)


def _opposite(scores: Value, units: int) -> bool:
    """Whether two scores are each other's negative."""
    given = combined(scores, units)
    rows = np.vstack([given.matrix.reshape(units, -1), given.offset.reshape(1, -1)])
    size = float(np.abs(rows).max())
    return bool(np.abs(rows.sum(axis=1)).max() <= SAME_ROWS * size)


def _output_names(ending: _Ending, count: int) -> tuple[str, ...]:
    kind = {"logistic": "log-odds of", "softmax": "log-odds of", "probability": "probability of"}
    if ending.labels:
        named = ending.labels if count == len(ending.labels) else ending.labels[-1:]
        return tuple(f"{kind.get(ending.link, 'score of')} {label}" for label in named)
    return ("prediction",) if count == 1 else tuple(f"prediction {i}" for i in range(count))


def _read_by_position(graph: Graph) -> tuple[Step, ...]:
    """What to say of a model that has one input for all columns, and so no names of theirs."""
    if len(graph.inputs) != 1:
        return ()
    (item,) = graph.inputs
    return (Step(item.name, "input", Treatment.CLIENT, "columns in the order of the sample"),)


def _once(steps: Sequence[Step]) -> list[Step]:
    """Steps without those that cost and change nothing."""
    return [step for step in steps if step.note != "no cost"]


class _Decision:
    """The float model's scores, by the reference implementation of ONNX."""

    def __init__(self, graph: Graph, walk: Walk, ending: _Ending) -> None:
        self._graph = graph
        self._columns = walk.columns
        self._fed = dict(walk.fed)
        self._ending = ending

    def __call__(self, raw: Floats) -> Floats:
        """Raw values (records, columns) to outputs (records, J), before the link."""
        raw = np.asarray(raw, dtype=np.float64)
        batch = self._graph.batch
        if batch is None:
            return self._scores(raw)
        missing = -len(raw) % batch  # a model for batches of one size
        padded = np.vstack([raw, np.repeat(raw[-1:], missing, axis=0)])
        parts = [self._scores(part) for part in np.split(padded, len(padded) // batch)]
        return np.vstack(parts)[: len(raw)]

    def _scores(self, raw: Floats) -> Floats:
        feeds: dict[str, Any] = dict(self._columns.feeds(raw))
        rewrites = self._ending.rewrites
        for tensor, (source, function) in self._fed.items():
            given = feeds.get(source)
            if given is None:
                given = self._evaluated(source, feeds, {})
            feeds[tensor] = function(np.asarray(given, dtype=np.float64))
        found = feeds.get(self._ending.tensor)
        if found is None:
            found = self._evaluated(self._ending.tensor, feeds, rewrites)
        scores: Floats = np.asarray(found, dtype=np.float64).reshape(len(raw), -1)
        if self._ending.pick == "second":
            return scores[:, 1:]
        return scores[:, 1:] - scores[:, :1] if self._ending.pick == "margin" else scores

    def _evaluated(
        self, tensor: str, feeds: dict[str, Any], rewrites: dict[int, Any]
    ) -> npt.NDArray[Any]:
        """One tensor of the graph with its rewrites."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        source = self._graph.model
        nodes = [
            rewrites.get(index, node)
            for index, node in enumerate(source.graph.node)
            if rewrites.get(index, node) is not None
        ]
        wanted, kept = {tensor}, []
        for node in reversed(nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                kept.append(node)
        inputs = [item for item in source.graph.input if item.name in wanted]
        known = {item.name for item in inputs}
        inputs += [
            helper.make_tensor_value_info(name, 1, None)
            for name in feeds
            if name in wanted and name not in known
        ]
        initializers = [item for item in source.graph.initializer if item.name in wanted]
        output = helper.make_tensor_value_info(tensor, 1, None)
        graph = helper.make_graph(kept[::-1], "scores", inputs, [output], initializers)
        model = helper.make_model(graph, opset_imports=_opsets(source))
        used = {item.name for item in inputs}
        given = {name: value for name, value in feeds.items() if name in used}
        return np.asarray(ReferenceEvaluator(model).run(None, given)[0])


def _opsets(model: Any) -> list[Any]:  # noqa: ANN401
    """The model's operator sets, with that of skl2onnx's operators."""
    from onnx import helper

    versions = {item.domain: item.version for item in model.opset_import}
    versions.setdefault("ai.onnx.ml", 1)
    return [helper.make_opsetid(domain, version) for domain, version in versions.items()]
