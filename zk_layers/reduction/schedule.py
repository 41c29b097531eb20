"""Which reductions a network takes, in which order, with which pads: fixed by the graph alone.

From the last tensor to the first: the claims on a tensor are merged when there are several or when
a hidden omega meets a matrix that is hidden too; the layer which made the tensor then turns the
claim into claims on its sources.  Claims on the inputs need no message: the verifier has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from protocol.graph import Graph
from protocol.nodes import Affine, Node, Power
from zk_layers.layers.affine import AffineStep
from zk_layers.layers.power import PowerStep
from zk_layers.layers.product import ProductStep
from zk_layers.reduction.merge import MergeStep
from zk_layers.reduction.outputs import OutputsStep
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.run import Claim, Run

LayerStep: TypeAlias = AffineStep | PowerStep | ProductStep
Step: TypeAlias = MergeStep | LayerStep


@dataclass(frozen=True, eq=False)
class Schedule:
    """All reductions of one network.

    Attributes:
        units: per tensor.
        degree: N.
        pads: what the prover commits to.
        outputs: the rounds over the outputs; none in public, where one point is drawn.
        steps: per tensor from the last to 1, its reductions in order.
    """

    units: tuple[int, ...]
    degree: int
    pads: Pads
    outputs: OutputsStep
    steps: tuple[tuple[int, tuple[Step, ...]], ...]

    @property
    def elements(self) -> int:
        """Elements of E sent per limb."""
        return self.outputs.elements + sum(
            step.elements for _, steps in self.steps for step in steps
        )

    @property
    def rounds_degree(self) -> int:
        """Sum of the degrees of all rounds, and one per merge for its weights."""
        rounds = [
            step.rounds
            for _, steps in self.steps
            for step in steps
            if not isinstance(step, AffineStep)
        ]
        degrees = [len(pads) for of_step in (*rounds, self.outputs.rounds) for pads in of_step]
        return sum(degrees) + len(self.merged)

    @property
    def multiplications(self) -> int:
        """Products of padded values."""
        return sum(
            len(step.multiplications)
            for _, steps in self.steps
            for step in steps
            if not isinstance(step, AffineStep)
        )

    @property
    def merged(self) -> tuple[int, ...]:
        """Tensors whose claims are merged."""
        return tuple(
            tensor
            for tensor, steps in self.steps
            if any(isinstance(step, MergeStep) for step in steps)
        )

    def run(self, run: Run, claim: Claim) -> list[Claim]:
        """Reduce a claim on the output tensor to claims on the inputs."""
        claims: dict[int, list[Claim]] = {len(self.units) - 1: [claim]}
        for tensor, steps in self.steps:
            current = claims.pop(tensor)
            for step in steps:
                if isinstance(step, MergeStep):
                    current = [step.reduce(run, current)]
                    continue
                for source, reduced in step.reduce(run, current[0]):
                    claims.setdefault(source, []).append(reduced)
        return claims[0]


@lru_cache(maxsize=64)
def schedule_of(graph: Graph, input_scale_log2: int, degree: int, *, hidden: bool) -> Schedule:
    """The schedule of a network in a ring of degree N."""
    pads = Pads(hidden=hidden)
    units = tuple(tensor.units for tensor in graph.tensors(input_scale_log2))
    outputs = OutputsStep.plan(pads, units[-1] if hidden else 1)
    nodes = graph.nodes(input_scale_log2)
    claims: dict[int, list[bool]] = {len(nodes): [False]}  # per claim whether omega is hidden
    planned = []
    for tensor in range(len(nodes), 0, -1):
        node, steps = nodes[tensor - 1], []
        flags = claims.pop(tensor)
        if len(flags) > 1 or (flags[0] and _meets_hidden(node)):
            steps.append(MergeStep.plan(pads, tensor, units[tensor], degree, flags))
            flags = [False]
        step = _plan(pads, tensor, node, units[tensor], degree, hidden_omega=flags[0])
        for source, flag in _reduced_flags(node, hidden=hidden, omega=flags[0]):
            claims.setdefault(source, []).append(flag)
        planned.append((tensor, (*steps, step)))
    return Schedule(units, degree, pads, outputs, tuple(planned))


def _meets_hidden(node: Node) -> bool:
    """Whether a layer has integers of the model in it."""
    return isinstance(node, Affine) and (
        node.bias is not None or any(term.weights is not None for term in node.terms)
    )


def _plan(
    pads: Pads, tensor: int, node: Node, units: int, degree: int, *, hidden_omega: bool
) -> LayerStep:
    if isinstance(node, Affine):
        return AffineStep.plan(pads, tensor, node)
    if isinstance(node, Power):
        return PowerStep.plan(pads, tensor, node, units, degree, hidden_omega=hidden_omega)
    return ProductStep.plan(pads, tensor, node, units, degree, hidden_omega=hidden_omega)


def _reduced_flags(node: Node, *, hidden: bool, omega: bool) -> Sequence[tuple[int, bool]]:
    """Per source of a layer, whether the claim left on it has a hidden omega."""
    if isinstance(node, Affine):
        return [
            (term.source, omega or (hidden and term.weights is not None)) for term in node.terms
        ]
    return [(source, False) for source in node.sources]
