"""A network as a linear model over monomials of its inputs.

Every layer is a polynomial, so every output is one: with few multiplications it has few enough
monomials for a client to compute them itself. The network is then the linear model over them, and
one record takes one ciphertext and the proof of a linear layer.

Which monomials occur is read off the graph, every matrix entry taken as nonzero: an expansion is
public and says nothing of the weights. A convolution and a square have the products of neighbours
only.

Arithmetic is that of the numbers given: doubles for publication, Python integers or fractions for
exact results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fhe_layers.monomials import Expansion, Monomial, canonical, count_monomials
from fhe_layers.unit_products import UnitProducts
from protocol.errors import PlanningError, ShapeError
from protocol.families import MAX_INTEGERS
from protocol.graph import Affine, AffineTerm, Graph, Node, Power
from protocol.parameters import MAX_MODULUS_BITS

Numbers: TypeAlias = NDArray[Any]
"""float64, or objects with exact arithmetic."""

CONSTANT: Monomial = ()


@dataclass(frozen=True, eq=False)
class Collapsed:
    """Polynomials out_j = sum_m coefficients[j, m] * monomial_m + constants[j].

    Attributes:
        expansion: M monomials, the constant not among them.
        coefficients: (J, M).
        constants: (J,).
        scale_log2: all of them stand for themselves times 2^-scale_log2.
    """

    expansion: Expansion
    coefficients: Numbers = field(repr=False)
    constants: Numbers = field(repr=False)
    scale_log2: int

    def real(self, unit: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights (J, M) and intercept (J,) in double precision, for outputs in this unit."""
        factor = math.ldexp(unit, -self.scale_log2)
        weights, intercept = (
            numbers.astype(np.float64) * factor for numbers in (self.coefficients, self.constants)
        )
        return weights, intercept


@dataclass(frozen=True, eq=False, repr=False)
class _Polynomials:
    """One polynomial per unit: coefficients and support (unit, monomial)."""

    monomials: tuple[Monomial, ...]
    coefficients: Numbers
    support: NDArray[np.bool_]


def most_monomials(outputs: int) -> int:
    """How many monomials a single-record model of J outputs can have."""
    return min(MAX_INTEGERS // outputs - 1, max(MAX_MODULUS_BITS) // outputs)


def collapse(
    graph: Graph,
    numbers: Numbers,
    rules: UnitProducts | None = None,
    inputs: Expansion = (),
) -> Collapsed:
    """Multiply a network out.

    Args:
        graph: the network.
        numbers: what stands where the model's flat integers do, (graph.integers_count,): weights
            times 2^15, selections as they are.
        rules: how units multiply; None: as numbers do.
        inputs: monomials of units that the network's inputs are; empty: its inputs are the units.

    Raises:
        ShapeError: another number of them.
        PlanningError: more monomials than a single-record model can have, which says how many; or
            none but the constant.
    """
    if numbers.shape != (graph.integers_count,):
        raise ShapeError(f"numbers: expected ({graph.integers_count},), found {numbers.shape}")
    limit = most_monomials(graph.outputs_count)
    multiply = rules.product if rules else _plain_product
    tensors = [_features(inputs or tuple((k,) for k in range(graph.inputs)), multiply, numbers)]
    for node in graph.nodes(0):
        tensors.append(_step(node, tensors, numbers, _Products(multiply, limit)))
    return _ordered(tensors[-1], graph.tensors(0)[-1].scale_log2)


@dataclass(frozen=True)
class _Products:
    """How monomials multiply, None for zero, and how many there may be."""

    multiply: Callable[[Monomial, Monomial], Monomial | None]
    limit: int


def _plain_product(left: Monomial, right: Monomial) -> Monomial:
    return tuple(sorted(left + right))


def _features(
    inputs: Expansion,
    multiply: Callable[[Monomial, Monomial], Monomial | None],
    numbers: Numbers,
) -> _Polynomials:
    """The inputs as they are after simplification, in which two may be the same or one zero."""
    simple = [multiply(monomial, CONSTANT) for monomial in inputs]
    found = canonical({monomial for monomial in simple if monomial is not None})
    place = {monomial: index for index, monomial in enumerate(found)}
    support = np.zeros((len(inputs), len(found)), dtype=np.bool_)
    for unit, monomial in enumerate(simple):
        if monomial is not None:
            support[unit, place[monomial]] = True
    return _Polynomials(found, support.astype(numbers.dtype), support)


def _step(
    node: Node, tensors: list[_Polynomials], numbers: Numbers, products: _Products
) -> _Polynomials:
    if isinstance(node, Affine):
        return _affine(node, tensors, numbers)
    if isinstance(node, Power):
        return _power(node, tensors[node.source], products)
    return _product(tensors[node.left], tensors[node.right], products)


def _affine(node: Affine, tensors: list[_Polynomials], numbers: Numbers) -> _Polynomials:
    parts = [_weighted(term, tensors[term.source], numbers) for term in node.terms]
    if node.bias is not None:
        bias = numbers[node.bias] * node.bias_factor
        parts.append(_constant(bias))
    return _sum(parts)


def _constant(values: Numbers) -> _Polynomials:
    """Constant polynomials from values (units,)."""
    return _Polynomials((CONSTANT,), values[:, None], np.ones((len(values), 1), dtype=np.bool_))


def _weighted(term: AffineTerm, source: _Polynomials, numbers: Numbers) -> _Polynomials:
    """A sparse matrix times polynomials."""
    shape = (term.units, len(source.monomials))
    coefficients = np.zeros(shape, dtype=numbers.dtype)
    support = np.zeros(shape, dtype=np.bool_)
    bounds = np.searchsorted(term.outputs, np.arange(term.units + 1))
    for unit in range(term.units):
        entries = slice(bounds[unit], bounds[unit + 1])
        inputs = term.inputs[entries]
        rows = source.coefficients[inputs]
        if term.weights is None:
            coefficients[unit] = rows.sum(axis=0)
        else:
            coefficients[unit] = numbers[term.weights[entries]] @ rows
        support[unit] = source.support[inputs].any(axis=0)
    return _Polynomials(source.monomials, coefficients * term.factor, support)


def _sum(parts: list[_Polynomials]) -> _Polynomials:
    """The sum, unit by unit, over the union of their monomials."""
    union = canonical(frozenset().union(*(part.monomials for part in parts)))
    place = {monomial: index for index, monomial in enumerate(union)}
    shape = (len(parts[0].coefficients), len(union))
    coefficients = np.zeros(shape, dtype=parts[0].coefficients.dtype)
    support = np.zeros(shape, dtype=np.bool_)
    for part in parts:
        columns = [place[monomial] for monomial in part.monomials]
        coefficients[:, columns] += part.coefficients
        support[:, columns] |= part.support
    return _Polynomials(union, coefficients, support)


def _power(node: Power, source: _Polynomials, products: _Products) -> _Polynomials:
    """sum_i c_i x^i; public coefficients of zero leave no monomials."""
    constant, *others = node.coefficients
    parts = []
    if constant:
        values = np.full(len(source.coefficients), constant, dtype=source.coefficients.dtype)
        parts.append(_constant(values))
    power = source
    for exponent, coefficient in enumerate(others, 1):
        if exponent > 1:
            power = _product(power, source, products)
        if coefficient:
            parts.append(
                _Polynomials(power.monomials, power.coefficients * coefficient, power.support)
            )
    return _sum(parts)


def _product(left: _Polynomials, right: _Polynomials, products: _Products) -> _Polynomials:
    """The product, unit by unit.  Raises PlanningError for too many monomials."""
    together = left.support.T.astype(np.float32) @ right.support.astype(np.float32)
    first, second = np.nonzero(together)  # pairs of monomials that meet in some unit
    found: dict[Monomial, int] = {}
    targets = np.full(len(first), -1, dtype=np.int64)
    for pair, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        monomial = products.multiply(left.monomials[a], right.monomials[b])
        if monomial is None:
            continue
        targets[pair] = found.setdefault(monomial, len(found))
        if len(found) > products.limit + 1:  # the constant is no input
            raise PlanningError(_refusal(left, right, products.limit))
    order = np.argsort(targets, kind="stable")
    order = order[np.searchsorted(targets[order], 0) :]  # without the products that are zero
    first, second = first[order], second[order]
    starts = np.searchsorted(targets[order], np.arange(len(found)))
    units = len(left.coefficients)
    coefficients = np.zeros((units, len(found)), dtype=left.coefficients.dtype)
    support = np.zeros((units, len(found)), dtype=np.bool_)
    if not found:
        return _Polynomials((), coefficients, support)
    for unit in range(units):
        terms = left.coefficients[unit, first] * right.coefficients[unit, second]
        coefficients[unit] = np.add.reduceat(terms, starts)
        meets = left.support[unit, first] & right.support[unit, second]
        support[unit] = np.logical_or.reduceat(meets, starts)
    return _Polynomials(tuple(found), coefficients, support)


def _refusal(left: _Polynomials, right: _Polynomials, limit: int) -> str:
    degree = sum(max(map(len, side.monomials), default=0) for side in (left, right))
    features = len(set(chain.from_iterable(left.monomials + right.monomials)))
    return (
        f"multiplied out, {features} inputs have up to {count_monomials(features, degree):,} "
        f"monomials of degree {degree}, and a single-record model of these outputs has room for "
        f"{limit:,}: use batch packing, or fewer inputs, outputs or squarings"
    )


def _ordered(made: _Polynomials, scale_log2: int) -> Collapsed:
    """The result in the order of a card, its constant apart.  Raises PlanningError if alone."""
    place = {monomial: index for index, monomial in enumerate(made.monomials)}
    expansion = canonical(monomial for monomial in made.monomials if monomial)
    if not expansion:
        raise PlanningError("multiplied out, nothing but a constant is left of this network")
    columns = [place[monomial] for monomial in expansion]
    if CONSTANT in place:
        constants = made.coefficients[:, place[CONSTANT]]
    else:
        constants = np.zeros(len(made.coefficients), dtype=made.coefficients.dtype)
    return Collapsed(expansion, made.coefficients[:, columns], constants, scale_log2)
