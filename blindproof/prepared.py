"""The integer model that will be published, with its parameters, before anything is committed to.

Symbols: K inputs, J outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from blindproof.collapsed_publishing import collapsed_model
from blindproof.network_publishing import (
    NetworkModel,
    as_linear,
    matrix_rows,
    plan_of,
    publish_network,
    quantised_model,
)
from blindproof.predicted import Prediction, predict_linear, predict_network
from blindproof.publishing import (
    LinearModel,
    linear_spec,
    publish_linear,
    quantised_linear,
    rounding_of,
)
from blindproof.sealing import BLANK_COMMITMENT
from fhe_layers.network_planner import DEFAULT_NETWORK_PRECISION_BITS, NetworkPlan
from fhe_layers.network_rounding import network_rounding
from fhe_layers.packing_choice import choose_packing
from fhe_layers.plaintext import Array
from fhe_layers.planner import DEFAULT_PRECISION_BITS, Plan, plan_packings
from fhe_layers.quantise_network import integer_tensors
from protocol.errors import PlanningError
from protocol.features import Column, Privacy
from protocol.graph import Graph, linear_graph
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing

Floats: TypeAlias = npt.NDArray[np.float64]
Model: TypeAlias = LinearModel | NetworkModel
PackingWish: TypeAlias = Packing | Literal["auto"] | None
_Planned = TypeVar("_Planned")

LEAST_PRECISION_BITS = 8
"""Nobody who leaves the precision open is given less."""
LARGEST_DEFAULT_REQUEST = 512 << 20
"""Nobody who leaves the packing open gets batches whose request takes more, if there is another."""


@dataclass(frozen=True, eq=False)
class Offer:
    """One packing of a prepared model.

    Attributes:
        plan: parameters, and what they are worth.
        predicted: sizes, memory and seconds of a request.
    """

    plan: Plan | NetworkPlan
    predicted: Prediction

    @property
    def packing(self) -> Packing:
        """Batch or single record."""
        return self.plan.profile.packing


@dataclass(frozen=True, eq=False, repr=False)
class Prepared:
    """What `publish` commits to.

    Attributes:
        model: as it will be described on the card.
        mode: hidden or published weights.
        precision_bits: what was asked of the planner.
        graph: the integer network; a dense layer for a linear model.
        integers: int64, the matrices of the graph one after the other, bias last in a row.
        row_l1_bounds: what the card declares of each row's sum of magnitudes.
        unit: outputs are unit times those of the integer network.
        offers: one for each packing.
        rounding_errors: float64 (J,); rounding moves no output of any input in range by more.
        output_bounds: float64 (J,); no output of the float model is larger in magnitude.
        lost: weights that are not zero and became zero.
        notes: what was decided on the way, for people.
    """

    model: Model
    mode: Mode
    precision_bits: float
    graph: Graph
    integers: npt.NDArray[np.int64] = field(repr=False)
    row_l1_bounds: tuple[int, ...]
    unit: float
    offers: tuple[Offer, ...]
    rounding_errors: Floats
    output_bounds: Floats
    lost: int
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model's columns."""
        return self.model.features

    @property
    def packings(self) -> tuple[Packing, ...]:
        """Of the offers."""
        return tuple(offer.packing for offer in self.offers)

    @cached_property
    def error_bound(self) -> float:
        """Of a released value of the coarsest packing, in the outputs' own units."""
        return max(offer.plan.error_bound for offer in self.offers) * self.unit

    @cached_property
    def draft(self) -> ModelCard:
        """The card, but for its commitment.  Raises ModelError: no card can describe the model."""
        private = self.mode is Mode.PRIVATE
        return ModelCard(
            **self.model.described(),
            mode=self.mode,
            graph=self.graph,
            unit=self.unit,
            row_l1_bounds=self.row_l1_bounds,
            profiles=tuple(offer.plan.profile for offer in self.offers),
            commitment=BLANK_COMMITMENT if private else b"",
            public_weights=() if private else matrix_rows(self.graph, self.integers),
        )

    def tensors(self, inputs: Floats) -> list[Array]:
        """Every tensor of the integer network, in its own units, the input first."""
        return integer_tensors(self.graph, self.integers, inputs)

    def publish(self, models: Path, packings: Sequence[Packing]) -> ModelCard:
        """Commit and store, in some of the packings.  Raises BlindproofError."""
        if isinstance(self.model, LinearModel):
            return publish_linear(
                models,
                self.model,
                mode=self.mode,
                packings=packings,
                precision_bits=self.precision_bits,
                allow_rounding=True,  # the sample has decided
            )
        return publish_network(
            models,
            self.model,
            mode=self.mode,
            precision_bits=self.precision_bits,
            allow_rounding=True,
        )


def prepare(
    model: Model,
    *,
    mode: Mode,
    packing: PackingWish,
    precision_bits: float | None,
    records: int,
) -> Prepared:
    """Quantise and plan.

    Args:
        model: what to publish.
        mode: hidden or published weights.
        packing: None: both packings of a linear model as far as possible, batches of a network;
            "auto": of a network what is faster for so many records.
        precision_bits: wanted; None: 16 of a linear model, 14 of a network, or as many of them as
            there are parameters for.
        records: in a request, for "auto".

    Raises:
        PlanningError: no secure parameters; the message says what would help.
        BlindproofError: the model cannot be quantised.
    """
    if isinstance(model, NetworkModel):
        linear = as_linear(model)
        if linear is None:
            return _prepare_network(model, mode, packing, precision_bits, records)
        model = linear
    packings = None if packing in {None, "auto"} else (Packing(packing),)
    return _prepare_linear(model, mode, packings, precision_bits, DEFAULT_PRECISION_BITS)


def plans_at(prepared: Prepared, precision_bits: float) -> tuple[Offer, ...]:
    """The offers for another precision, as many of them as there are parameters for."""
    found = []
    if isinstance(prepared.model, LinearModel):
        quantised = quantised_linear(prepared.model)
        spec = linear_spec(prepared.model, quantised, prepared.mode)
        for packing in prepared.packings:
            try:
                plans = plan_packings(spec, (packing,), precision_bits=precision_bits)
            except PlanningError:
                continue
            found.append(_linear_offer(prepared.model, prepared.graph, plans[0]))
        return tuple(found)
    try:
        plan = plan_of(
            prepared.model,
            quantised_model(prepared.model),
            mode=prepared.mode,
            precision_bits=precision_bits,
        )
    except PlanningError:
        return ()
    return (_network_offer(prepared.model, plan),)


def _prepare_network(
    model: NetworkModel,
    mode: Mode,
    packing: PackingWish,
    precision_bits: float | None,
    records: int,
) -> Prepared:
    """In batches, or multiplied out."""
    if packing is Packing.SINGLE:
        return prepare_collapsed(model, mode, precision_bits)
    if packing != "auto":
        return _prepare_batches(model, mode, precision_bits)
    batch = _attempt(lambda: _prepare_batches(model, mode, precision_bits))
    single = _attempt(lambda: prepare_collapsed(model, mode, precision_bits))
    choice = choose_packing(records, _only_plan(batch, NetworkPlan), _only_plan(single, Plan))
    chosen = single if choice.packing is Packing.SINGLE else batch
    if isinstance(chosen, PlanningError):  # choose_packing chooses what there is
        raise chosen
    return _noted(chosen, choice.reason)


def _prepare_batches(model: NetworkModel, mode: Mode, precision_bits: float | None) -> Prepared:
    quantised = quantised_model(model)
    plan, wanted, notes = _finest(
        lambda bits: plan_of(model, quantised, mode=mode, precision_bits=bits),
        precision_bits,
        DEFAULT_NETWORK_PRECISION_BITS,
    )
    rounded = network_rounding(quantised, model.input_bounds)
    return Prepared(
        model=model,
        mode=mode,
        precision_bits=wanted,
        graph=quantised.graph,
        integers=quantised.integers,
        row_l1_bounds=quantised.row_l1_bounds,
        unit=quantised.unit,
        offers=(_network_offer(model, plan),),
        rounding_errors=rounded.errors,
        output_bounds=rounded.ranges,
        lost=rounded.lost,
        notes=notes,
    )


def prepare_collapsed(model: NetworkModel, mode: Mode, precision_bits: float | None) -> Prepared:
    """The network as a linear model over monomials, for single records.

    Raises:
        PlanningError: too many monomials, or no secure parameters.
        BlindproofError: the network cannot be quantised.
    """
    linear = collapsed_model(model)
    single = (Packing.SINGLE,)
    prepared = _prepare_linear(linear, mode, single, precision_bits, DEFAULT_NETWORK_PRECISION_BITS)
    # Weights were rounded when the network became integers, and again when it was multiplied out.
    rounded = network_rounding(quantised_model(model), model.input_bounds)
    return replace(
        prepared,
        rounding_errors=prepared.rounding_errors + rounded.errors,
        output_bounds=rounded.ranges,
    )


def _prepare_linear(
    model: LinearModel,
    mode: Mode,
    packings: tuple[Packing, ...] | None,
    precision_bits: float | None,
    default_bits: float,
) -> Prepared:
    """In these packings, or in those that suit it."""
    quantised = quantised_linear(model)
    spec = linear_spec(model, quantised, mode)

    def plans(chosen: tuple[Packing, ...], bits: float) -> tuple[Plan, ...]:
        return plan_packings(spec, chosen, precision_bits=bits)

    notes: tuple[str, ...] = ()
    if packings is None:
        bits = default_bits if precision_bits is None else precision_bits
        packings, notes = _suitable(lambda chosen: plans(chosen, bits), _encrypted_share(model))
    chosen = packings
    planned, wanted, lowered = _finest(
        lambda bits: plans(chosen, bits), precision_bits, default_bits
    )
    rounded = rounding_of(model)
    graph = linear_graph(model.inputs, len(model.outputs))
    return Prepared(
        model=model,
        mode=mode,
        precision_bits=wanted,
        graph=graph,
        integers=np.column_stack([quantised.weights, quantised.bias]).reshape(-1),
        row_l1_bounds=quantised.row_l1_bounds,
        unit=quantised.unit,
        offers=tuple(_linear_offer(model, graph, plan) for plan in planned),
        rounding_errors=rounded.errors,
        output_bounds=np.abs(model.weights) @ model.input_bounds + np.abs(model.intercept),
        lost=int(rounded.lost.sum()),
        notes=notes + lowered,
    )


def _suitable(
    plans: Callable[[tuple[Packing, ...]], tuple[Plan, ...]], encrypted: float
) -> tuple[tuple[Packing, ...], tuple[str, ...]]:
    """The packings a linear model gets by default, and why not both."""
    notes: tuple[str, ...] = ()
    for chosen, without in (
        ((Packing.BATCH, Packing.SINGLE), Packing.SINGLE),
        ((Packing.BATCH,), Packing.BATCH),
    ):
        try:
            batch, *others = plans(chosen)
        except PlanningError as error:
            notes = (f"no {without} packing: {error}",)
            continue
        request = encrypted * batch.request_bytes
        if others and request > LARGEST_DEFAULT_REQUEST:
            note = f"no batch packing: a request would take {request / 2**20:,.0f} MiB"
            return (Packing.SINGLE,), (f"{note}; packing='batch' compiles for it",)
        return chosen, notes
    return (Packing.SINGLE,), notes


def _finest(
    plan: Callable[[float], _Planned], wanted: float | None, default: float
) -> tuple[_Planned, float, tuple[str, ...]]:
    """A plan of the precision wanted; of the default, or the finest below it, if none was.

    Raises:
        PlanningError: that of the precision wanted, or of the default.
    """
    if wanted is not None:
        return plan(wanted), wanted, ()
    try:
        return plan(default), default, ()
    except PlanningError:
        for bits in range(int(default) - 1, LEAST_PRECISION_BITS - 1, -1):
            try:
                found = plan(bits)
            except PlanningError:
                continue
            note = f"planned for {bits} bits of precision: no parameters reach {default:g}"
            return found, float(bits), (note,)
        raise


def _attempt(prepared: Callable[[], Prepared]) -> Prepared | PlanningError:
    try:
        return prepared()
    except PlanningError as error:
        return error


def _only_plan(
    prepared: Prepared | PlanningError, kind: type[_Planned]
) -> _Planned | PlanningError:
    """The plan of a model that is offered in one packing, or why there is none."""
    if isinstance(prepared, PlanningError):
        return prepared
    (offer,) = prepared.offers
    if not isinstance(offer.plan, kind):
        raise TypeError(f"expected a {kind.__name__}, found a {type(offer.plan).__name__}")
    return offer.plan


def _noted(prepared: Prepared, note: str) -> Prepared:
    return replace(prepared, notes=(*prepared.notes, note))


def _linear_offer(model: LinearModel, graph: Graph, plan: Plan) -> Offer:
    return Offer(plan, predict_linear(graph, plan, _encrypted_share(model)))


def _network_offer(model: NetworkModel, plan: NetworkPlan) -> Offer:
    return Offer(plan, predict_network(plan, _encrypted_share(model)))


def _encrypted_share(model: Model) -> float:
    """The share of inputs that are encrypted: a monomial is, if one of its columns is."""
    private = [
        column.privacy is Privacy.ENCRYPTED
        for column in model.features
        for _ in range(column.inputs)
    ]
    if model.expansion:
        private = [any(private[unit] for unit in monomial) for monomial in model.expansion]
    return sum(private) / len(private)
