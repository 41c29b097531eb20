"""From fitted weights to a published model: quantise, plan, commit, prove the ranges, store.

Symbols: J outputs, K inputs.  Weights act on normalised inputs, such as (raw - centre) / scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blindproof.description import Description
from blindproof.sealing import BLANK_COMMITMENT, publisher_key, seal
from fhe_layers.planner import DEFAULT_PRECISION_BITS, LinearModelSpec, plan_packings
from fhe_layers.quantise import QuantisedModel, Rounding, quantise, rounding
from fhe_layers.spec import require_sized
from protocol.errors import BlindproofError, ModelError, ParameterError
from protocol.features import Feature
from protocol.graph import linear_graph
from protocol.model import ModelCard
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle, ModelRegistry

Floats = npt.NDArray[np.float64]

ROUNDING_SHARE_LOG2 = -8
"""Rounding the weights may move an output by at most this part of its range."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearModel(Description):
    """A fitted linear model, before publication.  Numbers may be given as lists.

    Attributes:
        weights: float64 (J, K), on normalised inputs or on the monomials of the expansion.
        intercept: float64 (J,).
    """

    weights: Floats = field(repr=False)
    intercept: Floats = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("weights", "intercept"):
            try:
                numbers = np.asarray(getattr(self, name), dtype=np.float64)
            except (TypeError, ValueError):  # whose words may show weights
                raise ModelError(f"{name}: expected numbers, in rows of one length") from None
            object.__setattr__(self, name, numbers)


def publish_linear(
    models: Path | str,
    model: LinearModel,
    *,
    mode: Mode | str = Mode.PRIVATE,
    packings: Sequence[Packing] = (Packing.BATCH, Packing.SINGLE),
    precision_bits: float = DEFAULT_PRECISION_BITS,
    allow_rounding: bool = False,
) -> ModelCard:
    """Publish a model in a server's model directory; the same model gives the same digest.

    What is published, committed and proved is the model with its weights rounded to 16 bits;
    `rounding_of` says what that changes.

    Args:
        models: the directory; made if missing.
        model: what to publish.
        mode: hidden or published weights.
        packings: the kinds of request it will answer.
        precision_bits: wanted precision of an answer.
        allow_rounding: publish even if rounding changes the model noticeably.

    Raises:
        PlanningError: no secure parameters reach the precision; the message says what would.
        ModelError: rounding changes too much, or the model cannot be described.
        BlindproofError: the model cannot be quantised or stored.
    """
    directory = Path(models)
    bundle = bundle_linear(
        model,
        publisher_key(directory),
        mode=parse_mode(mode),
        packings=packings,
        precision_bits=precision_bits,
        allow_rounding=allow_rounding,
    )
    ModelRegistry(directory).publish(bundle)
    return bundle.card


def parse_mode(mode: Mode | str) -> Mode:
    """A mode, or its name.  Raises ParameterError."""
    try:
        return Mode(mode)
    except ValueError:
        names = " or ".join(f"'{known}'" for known in Mode)
        raise ParameterError(f"mode {mode!r}: expected {names}") from None


def rounding_of(model: LinearModel) -> Rounding:
    """How far the model that would be published is from this one.  Raises BlindproofError."""
    return _rounding(model, quantised_linear(model))


def bundle_linear(
    model: LinearModel,
    key: bytes,
    *,
    mode: Mode,
    packings: Sequence[Packing],
    precision_bits: float,
    allow_rounding: bool = False,
) -> ModelBundle:
    """Everything a server needs to serve a model.  Raises BlindproofError."""
    model.require_publishable()
    quantised = quantised_linear(model)
    if not allow_rounding:
        _require_faithful(model, _rounding(model, quantised))
    integers = np.column_stack([quantised.weights, quantised.bias])
    plans = plan_packings(
        linear_spec(model, quantised, mode), tuple(packings), precision_bits=precision_bits
    )
    private = mode is Mode.PRIVATE
    draft = ModelCard(
        **model.described(),
        mode=mode,
        graph=linear_graph(model.inputs, len(model.outputs)),
        unit=quantised.unit,
        row_l1_bounds=quantised.row_l1_bounds,
        profiles=tuple(plan.profile for plan in plans),
        commitment=BLANK_COMMITMENT if private else b"",
        public_weights=() if private else tuple(tuple(row) for row in integers.tolist()),
    )
    return seal(draft, integers.reshape(-1), key)


def linear_spec(model: LinearModel, quantised: QuantisedModel, mode: Mode) -> LinearModelSpec:
    """What is declared of the model, for the planner."""
    return LinearModelSpec(
        features=model.inputs,
        outputs=len(model.outputs),
        input_bound=float(model.input_bounds.max()),
        row_l1_bound=max(quantised.row_l1_bounds),
        mode=mode,
    )


def quantised_linear(model: LinearModel) -> QuantisedModel:
    """The integer model that would be published.  Raises BlindproofError."""
    for name, numbers in (("weights", model.weights), ("intercept", model.intercept)):
        try:
            require_sized(numbers)
        except BlindproofError as error:
            raise type(error)(f"{name}: {error}") from None
    return quantise(model.weights, model.intercept)


def _rounding(model: LinearModel, quantised: QuantisedModel) -> Rounding:
    """Raises ModelError when the weights are not of the inputs."""
    if model.weights.shape[1] != model.inputs:
        kind = "monomials" if model.expansion else "inputs"
        raise ModelError(f"weights of {model.weights.shape[1]} columns for {model.inputs} {kind}")
    return rounding(quantised, model.weights, model.intercept, model.input_bounds)


def _require_faithful(model: LinearModel, rounded: Rounding) -> None:
    """All weights share one unit with the bias, so that small ones can lose their bits.

    Raises:
        ModelError: one became zero, or an output moves by too much of its range.
    """
    advice = "rescale or centre the features, split the model, or allow the rounding"
    names = model.input_names
    # Of hundreds of monomials, comparisons or categories some matter to no one; what losing them
    # does is in the errors.
    numbers = [isinstance(c, Feature) for c in model.features for _ in range(c.inputs)]
    lost = np.argwhere(rounded.lost & numbers if not model.expansion else [])
    if len(lost):
        output, place = lost[0].tolist()
        raise ModelError(
            f"{len(lost)} weights become zero when rounded to 16 bits, such as that of feature "
            f"'{names[place]}' in output '{model.outputs[output]}': {advice}"
        )
    if model.expansion:
        widths = 2 * model.input_bounds
    else:
        widths = np.array([c.width for c in model.features for _ in range(c.inputs)])
    ranges = np.abs(model.weights) @ widths
    # An output without weights is its bias.
    ranges = np.where(ranges > 0, ranges, np.abs(model.intercept))
    excess = rounded.errors > np.ldexp(ranges, ROUNDING_SHARE_LOG2)
    if excess.any():
        output = int(np.argmax(excess))
        raise ModelError(
            f"rounding the weights to 16 bits can change output '{model.outputs[output]}' by "
            f"{rounded.errors[output]:.2g}, more than 2^{ROUNDING_SHARE_LOG2} of its range of "
            f"{ranges[output]:.2g}: {advice}"
        )
