"""The prover's side of the reductions: tensors folded at sigma and the sum-checks over them.

Nothing that verifies imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

import kernels
from protocol.graph import Graph
from protocol.nodes import Affine, AffineTerm, Node, Power, Product
from zk_layers.fields import field
from zk_layers.reduction.limb import limb_of
from zk_layers.reduction.run import SumcheckState
from zk_layers.reduction.schedule import schedule_of

Words = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

_GRAM_COST, _DENSE_COST = 1.2, 58.0
"""Nanoseconds per column n: one product of two inputs in a Gram matrix; one unit kept in full."""


def low_rank_layer(nodes: Sequence[Node], tensor: int) -> Affine | None:
    """The layer that made a tensor, when the tensor need not be stored to be squared.

    A tensor that is a matrix times the inputs has the rank of the inputs: sums of its squares are
    quadratic forms in the inputs' Gram matrix, which is cheaper when there are few inputs.
    """
    if tensor == 0:
        return None
    node = nodes[tensor - 1]
    if not isinstance(node, Affine) or len(node.terms) != 1:
        return None
    (term,) = node.terms
    if term.source != 0 or term.weights is None or term.factor != 1 or node.bias is None:
        return None
    rank = int(term.inputs.max()) + 2
    return node if _GRAM_COST * rank * rank < _DENSE_COST * node.units else None


def gathered(nodes: Sequence[Node], tensor: int) -> AffineTerm | None:
    """The term that made a tensor out of units of another, when there was nothing else to it.

    Such a tensor need not be stored: its words are those of the units it takes.
    """
    node = nodes[tensor - 1] if tensor else None
    if not isinstance(node, Affine) or len(node.terms) != 1 or node.bias is not None:
        return None
    (term,) = node.terms
    copies = term.weights is None and len(term.inputs) == term.units
    return term if term.factor == 1 and (term.selects or copies) else None


def origin(nodes: Sequence[Node], tensor: int) -> int:
    """The tensor that a tensor's units are those of: itself, unless it only gathers."""
    while (term := gathered(nodes, tensor)) is not None:
        tensor = term.source
    return tensor


def _squares(node: Power) -> bool:
    return node.degree == 2 and node.coefficients[:2] == (0, 0)


def kept_tensors(graph: Graph, input_scale_log2: int, *, hidden: bool) -> tuple[int, ...]:
    """Tensors that evaluation must keep for the prover, in ascending order."""
    nodes = graph.nodes(input_scale_log2)
    kept: set[int] = set()
    schedule = schedule_of(graph, input_scale_log2, 2, hidden=hidden)
    kept.update(schedule.merged)
    if hidden and graph.outputs_count > 1:
        kept.add(len(nodes))
    for node in nodes:
        if isinstance(node, Product):
            kept.update(node.sources)
        elif isinstance(node, Power):
            if not (_squares(node) and low_rank_layer(nodes, node.source)):
                kept.add(node.source)
        elif len(node.terms) > 1:
            kept.update(term.source for term in node.terms[:-1])
    return tuple(sorted({origin(nodes, tensor) for tensor in kept} - {0}))


def copied_polynomials(graph: Graph, input_scale_log2: int) -> int:
    """Polynomials that the prover copies from their origins, at most at a time.

    A sum-check over the words of a gathered tensor lays them out once more, and frees them.
    """
    nodes, tensors = graph.nodes(input_scale_log2), graph.tensors(input_scale_log2)
    return max(
        sum(
            tensors[source].units * tensors[source].polys
            for source in node.sources
            if not isinstance(node, Affine) and gathered(nodes, source) is not None
        )
        for node in nodes
    )


class NetworkSpeaker:
    """Holds the tensors of one proof."""

    def __init__(
        self,
        nodes: Sequence[Node],
        moduli: Sequence[int],
        integers: Int64s,
        *,
        tensors: Mapping[int, Words],
        sigmas: Words,
        pads: Sequence[Words],
    ) -> None:
        """Speak about one evaluation.

        Args:
            nodes: the network.
            moduli: one prime per limb.
            integers: the model's flat integers.
            tensors: words (units, polys, limbs, N) of the inputs, tensor 0, and of every kept one.
            sigmas: words (limbs, 2).
            pads: per limb words (pads, 2), committed.
        """
        self._nodes = nodes
        self._moduli = list(moduli)
        self._integers = integers
        self._residues = [field(modulus).reduce_i64(integers) for modulus in moduli]
        self._tensors = tensors
        self._sigmas = sigmas
        self._pads = pads
        self._folded: dict[int, Words] = {}
        self._chosen: dict[int, tuple[int, Int64s]] = {}

    def pads(self, limb: int) -> Words:
        """The committed pads, words (pads, 2)."""
        return self._pads[limb]

    @property
    def residues(self) -> Sequence[Words]:
        """Per limb the model's integers mod q."""
        return self._residues

    def folded(self, tensor: int) -> Words:
        """T_sigma, words (limbs, 2, units, N); kept until the proof is done."""
        source, units = self._units_of(tensor)
        if source not in self._folded:
            words = self._tensors[source]
            self._folded[source] = kernels.sigma_fold(words, self._sigmas, self._moduli)
        folded = self._folded[source]
        return folded if source == tensor else np.ascontiguousarray(folded[:, :, units])

    def _words(self, tensor: int) -> Words:
        """Words (units, polys, limbs, N)."""
        source, units = self._units_of(tensor)
        words = self._tensors[source]
        return words if source == tensor else np.ascontiguousarray(words[units])

    def _units_of(self, tensor: int) -> tuple[int, Int64s]:
        """A tensor's origin, and which of the origin's units its own are: (units,)."""
        if tensor not in self._chosen:
            term = gathered(self._nodes, tensor)
            if term is None:
                units = np.arange(len(self._tensors[tensor]), dtype=np.int64)
                self._chosen[tensor] = tensor, units
            else:
                source, units = self._units_of(term.source)
                self._chosen[tensor] = source, units[term.inputs[term.entries(self._integers) == 1]]
        return self._chosen[tensor]

    def power(self, node: Power, omegas: Words, lam: Words) -> SumcheckState:
        """The sum-check of a power layer: omegas (limbs, 2, units), lam (limbs, 2, N)."""
        made_by = low_rank_layer(self._nodes, node.source) if _squares(node) else None
        if made_by is not None:
            # The factor goes to lam: the end of the sum-check sends omega as it is.
            factor = node.coefficients[2]
            scaled = [
                field(modulus).scale(words, factor)
                for modulus, words in zip(self._moduli, lam, strict=True)
            ]
            lam = lam if factor == 1 else np.stack(scaled)
            return self._gram(made_by, omegas, lam)
        coefficients = np.array(
            [[c % modulus for c in node.coefficients] for modulus in self._moduli], dtype=np.uint64
        )
        words = self._words(node.source)
        return kernels.PowerSumcheck.of_words(
            self._moduli, omegas, lam, words, self._sigmas, coefficients
        )

    def product(self, node: Product, omegas: Words, lam: Words) -> SumcheckState:
        """The sum-check of a product layer."""
        left, right = self._words(node.left), self._words(node.right)
        return kernels.ProductSumcheck(self._moduli, omegas, lam, left, right, self._sigmas)

    def contract(self, tensor: int, lam: Words) -> Words:
        """sum_n lam(n) T_sigma(k, n): words (limbs, 2, units)."""
        source, units = self._units_of(tensor)
        gram = kernels.cross_gram(
            np.ascontiguousarray(lam[:, :, None]), self.folded(source), self._moduli
        )
        return np.ascontiguousarray(gram[:, :, 0][:, :, units])

    def row(self, tensor: int, units: Words) -> Words:
        """sum_k units(k) T_sigma(k, n): words (limbs, 2, N)."""
        source, chosen = self._units_of(tensor)
        folded = self.folded(source)
        if source != tensor:
            size = folded.shape[2]
            units = np.stack(
                [
                    limb_of(modulus).gather_add(words, chosen, size)
                    for modulus, words in zip(self._moduli, units, strict=True)
                ]
            )
        return kernels.combine_rows_extension(units, folded, self._moduli)

    def line(self, lam: Words, row: Words) -> SumcheckState:
        """The sum-check of sum_n lam(n) row(n), both words (limbs, 2, size)."""
        limbs = len(self._moduli)
        one = np.zeros((limbs, 2, 1), dtype=np.uint64)
        one[:, 0] = 1
        identity = np.tile(np.array([0, 1], dtype=np.uint64), (limbs, 1))
        rows = np.ascontiguousarray(row[:, :, None])
        return kernels.PowerSumcheck(self._moduli, one, lam, rows, identity)

    def _gram(self, layer: Affine, omegas: Words, lam: Words) -> SumcheckState:
        """Squares of W x + C b, with the constant C as one more input."""
        (term,) = layer.terms
        words = self._tensors[0]
        units = words.shape[0]
        constants = np.array([layer.bias_factor % q for q in self._moduli], dtype=np.uint64)
        pointers, columns, values = term.matrix_csr(self._integers)
        if layer.bias is None:
            raise ValueError("a low-rank layer has a bias")
        ends = pointers[1:]
        columns = np.insert(columns, ends, np.int32(units))
        values = np.insert(values, ends, self._integers[layer.bias].astype(np.int32))
        pointers = pointers + np.arange(pointers.size, dtype=np.int64)
        return kernels.GramSumcheck(
            self._moduli,
            omegas,
            lam,
            words,
            self._sigmas,
            constants,
            pointers,
            columns,
            values,
        )
