"""Tree ensembles as encrypted networks: columns with public edges, private thresholds and leaves.

What is public of an ensemble: its columns and their edges, which are quantiles of the sample; the
depth and the number of trees, unless it is additive, when not even these are. What is private:
columns and thresholds of its splits, the shape of its trees, its leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.card_columns import sample_values
from fhe_layers.importing.imported import Step, Treatment
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.importing.thresholds import (
    IndicatorInput,
    RawInput,
    TreeInput,
    comparison_columns,
    snapped_ensemble,
    tree_inputs,
)
from fhe_layers.importing.tree_ensembles import (
    Leaf,
    Node,
    Split,
    TreeEnsemble,
    features_of,
    thresholds_of,
)
from fhe_layers.importing.tree_network import Formulation, TreeNetwork, tree_network
from fhe_layers.monomials import Expansion
from fhe_layers.spec import NetworkSpec
from protocol.errors import ModelError
from protocol.families import MAX_INTEGERS
from protocol.features import MAX_EDGES, Column, encode_columns, with_stand_ins
from protocol.links import IDENTITY, decide

__all__ = [
    "IndicatorInput",
    "Leaf",
    "LoweredTrees",
    "Node",
    "RawInput",
    "Split",
    "TreeEnsemble",
    "TreeInput",
    "lower_ensemble",
    "tree_inputs",
]

Floats = npt.NDArray[np.float64]

EDGES = (4, 6, 8, 12, 16, 24, 32)
"""Edges tried, in this order: each is one more input for each column ..."""
MORE_EDGES = (48, 64, 96, 128, 192, 256)
"""... and for additive ensembles, where one record's inputs share a ciphertext, these as well."""
LABELS_LOSS = 0.0025
"""Share of the sample's labels that snapped thresholds may change."""
FIT_LOSS = 0.002
"""1 - R2 of snapped outputs against the ensemble's own. The sample is often what the trees were
fitted on: against the truth the loss is then a few times this, and still a part of a point."""


@dataclass(frozen=True, eq=False)
class LoweredTrees:
    """What encrypted evaluation takes of an ensemble.

    Attributes:
        features: one column of the card per column of the table that is not local.
        expansion: none: bits are the inputs.
        network: layers over the encoded units; one dense layer for an additive ensemble.
        steps: what became of comparisons and trees.
        ensemble: the same trees over encoded units, which the network computes.
        loss: share of the sample's labels that snapping changed, or 1 - R2 of its outputs.
    """

    features: tuple[Column, ...]
    expansion: Expansion
    network: NetworkSpec = field(repr=False)
    steps: tuple[Step, ...]
    ensemble: TreeEnsemble = field(repr=False)
    loss: float


@dataclass(frozen=True, eq=False)
class _Attempt:
    """An ensemble snapped to so many edges."""

    edges: int
    columns: tuple[Column, ...]
    snapped: TreeEnsemble
    lowered: TreeNetwork
    loss: float


def lower_ensemble(
    ensemble: TreeEnsemble,
    inputs: Sequence[TreeInput],
    table: Table,
    options: ImportOptions,
    *,
    link: str = IDENTITY,
    name: str = "trees",
) -> LoweredTrees:
    """Encode columns, snap thresholds, choose a circuit.

    Args:
        ensemble: over `inputs`.
        inputs: how it reads the table.
        table: the sample, which edges and the loss come from.
        options: edges, ranges, privacy and local columns.
        link: by which outputs become labels: see `protocol.links`.
        name: of the ensemble, for its steps.

    Raises:
        ModelError: too deep or too large; the message says what to change.
        InputError: the sample leaves a range given.
    """
    if len(inputs) != ensemble.features:
        raise ModelError(f"{len(inputs)} inputs for trees that read {ensemble.features}")
    read = tree_inputs(inputs, table.values)
    if np.isnan(read).any():
        raise ModelError(
            "the sample has missing values, and trees have no branch for them here: put an imputer "
            "before the trees"
        )
    wanted = ensemble.values(read)
    attempts: list[_Attempt] = []
    for edges in _edges(ensemble, inputs, options):
        if options.show_thresholds:
            columns = _own_thresholds(ensemble, inputs, table, options)
        else:
            columns = comparison_columns(inputs, table, options, edges, ensemble.grids)
        if sum(column.inputs for column in columns) * ensemble.outputs > MAX_INTEGERS and attempts:
            break
        snapped = snapped_ensemble(ensemble, inputs, columns, table)
        try:
            lowered = tree_network(snapped, columns)
        except ModelError:
            if attempts:  # so many edges are more than one model holds, fewer are not
                break
            raise
        units = encode_columns(columns, with_stand_ins(columns, sample_values(columns, table)))
        loss = _loss(link, wanted, snapped.values(units))
        attempts.append(_Attempt(edges, columns, snapped, lowered, loss))
        if loss <= _allowed(link, ensemble.outputs):
            break
    best = min(attempts, key=lambda attempt: (attempt.loss, attempt.edges))
    return LoweredTrees(
        features=best.columns,
        expansion=(),
        network=best.lowered.network,
        steps=_steps(name, best, link),
        ensemble=best.snapped,
        loss=best.loss,
    )


def _own_thresholds(
    ensemble: TreeEnsemble, inputs: Sequence[TreeInput], table: Table, options: ImportOptions
) -> tuple[Column, ...]:
    """Columns whose edges are the trees' thresholds; one that no tree compares has one edge."""
    thresholds = thresholds_of(ensemble)
    compared = comparison_columns(inputs, table, options, MAX_EDGES, thresholds)
    others = comparison_columns(inputs, table, options, 1)
    read = {inputs[index].column for index, found in enumerate(thresholds) if found}
    return tuple(
        column if table.names.index(column.name) in read else other
        for column, other in zip(compared, others, strict=True)
    )


def _edges(
    ensemble: TreeEnsemble, inputs: Sequence[TreeInput], options: ImportOptions
) -> tuple[int, ...]:
    """Numbers of edges to try."""
    if options.show_thresholds:
        return (MAX_EDGES,)
    if options.edges is not None:
        return (options.edges,)
    read = ({inputs[feature].column for feature in features_of(tree)} for tree in ensemble.trees)
    return EDGES + MORE_EDGES if all(len(columns) <= 1 for columns in read) else EDGES


def _loss(link: str, wanted: Floats, found: Floats) -> float:
    """Share of labels that differ, or 1 - R2 of the worst output."""
    labels = decide(link, wanted)
    if labels is not None:
        return float((labels != decide(link, found)).mean())
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
    missed = ((wanted - found) ** 2).sum(axis=0)
    return float(np.max(np.where(missed > 0, missed / np.maximum(spread, 1e-300), 0.0)))


def _allowed(link: str, outputs: int) -> float:
    return FIT_LOSS if decide(link, np.zeros((1, outputs))) is None else LABELS_LOSS


def _steps(name: str, best: _Attempt, link: str) -> tuple[Step, ...]:
    """What to tell of it."""
    outputs, lowered = best.snapped.outputs, best.lowered
    if decide(link, np.zeros((1, outputs))) is None:
        effect = f"R2 {1 - best.loss:.4f} against its own outputs on the sample"
    else:
        effect = f"{100 * best.loss:.2f}% of the sample's labels change"
    if best.loss > _allowed(link, outputs):
        effect += (
            "; more edges, training on binned columns (KBinsDiscretizer), or show_thresholds would "
            "lose less"
        )
    units = best.snapped.features
    widest = max(column.inputs for column in best.columns)
    trees, depth = len(best.snapped.trees), lowered.depth
    circuit = {
        Formulation.ADDITIVE: "every tree reads one column: a linear model over comparisons",
        Formulation.OBLIVIOUS: f"{trees} oblivious trees of depth {depth}: products of bits chosen "
        "in private",
        Formulation.PATHS: f"{trees} trees completed to depth {depth}: products along paths, of "
        "bits chosen in private" + (", column first, then edge" if lowered.factored else ""),
    }[lowered.formulation]
    return (
        Step(
            f"{name}: comparisons",
            "Thermometer",
            Treatment.CLIENT,
            f"{units} comparisons with public edges, at most {widest} a column; {effect}",
        ),
        Step(name, "TreeEnsemble", Treatment.ENCRYPTED, circuit),
    )
