"""From fitted weights to a published model: quantise, plan, commit, prove the ranges, store.

Symbols: J outputs, K features.  Weights act on normalised inputs (raw - centre) / scale.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fhe_layers.planner import DEFAULT_PRECISION_BITS, LinearModelSpec, plan_packings
from fhe_layers.quantise import QuantisedModel, Rounding, quantise, rounding
from protocol.digests import digest
from protocol.errors import ModelError
from protocol.families import COMMITMENT_DEGREE, OPENING_SIZE
from protocol.model import Feature, ModelCard
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle, ModelRegistry
from server.storage import reading
from wire.files import make_private_directory, read_or_create_secret
from zk_layers.commitment import commit_model, sample_opening
from zk_layers.prove import prove_registration

Floats = npt.NDArray[np.float64]

ROUNDING_SHARE_LOG2 = -8
"""Rounding the weights may move an output by at most this part of its range."""

RESERVED_OUTPUTS = frozenset({"label", "line", "score"})
"""Columns that stand beside the outputs where predictions are written."""

PUBLISHER_KEY_BYTES = 32
_PUBLISHER_KEY = ".publisher.key"


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A fitted linear model, before publication.

    Attributes:
        name, version, purpose: for people.
        features: the K input columns.
        weights: float64 (J, K), on normalised inputs.
        intercept: float64 (J,).
        outputs: names of the J outputs.
        labels: class labels; empty for the identity link.
        link: 'identity', 'logistic' or 'argmax'.
    """

    name: str
    version: str
    purpose: str
    features: tuple[Feature, ...]
    weights: Floats = field(repr=False)
    intercept: Floats = field(repr=False)
    outputs: tuple[str, ...]
    labels: tuple[str, ...]
    link: str


def publish_linear(
    models: Path,
    model: LinearModel,
    *,
    mode: Mode = Mode.PRIVATE,
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
    with reading(models):
        key = read_or_create_secret(
            make_private_directory(models) / _PUBLISHER_KEY, PUBLISHER_KEY_BYTES
        )
    bundle = bundle_linear(
        model,
        key,
        mode=mode,
        packings=packings,
        precision_bits=precision_bits,
        allow_rounding=allow_rounding,
    )
    ModelRegistry(models).publish(bundle)
    return bundle.card


def rounding_of(model: LinearModel) -> Rounding:
    """How far the model that would be published is from this one.  Raises BlindproofError."""
    return _rounding(model, quantise(model.weights, model.intercept))


def bundle_linear(
    model: LinearModel,
    publisher_key: bytes,
    *,
    mode: Mode,
    packings: Sequence[Packing],
    precision_bits: float,
    allow_rounding: bool = False,
) -> ModelBundle:
    """Everything a server needs to serve a model.  Raises BlindproofError."""
    reserved = RESERVED_OUTPUTS.intersection(model.outputs)
    if reserved:
        raise ModelError(f"'{min(reserved)}' is reserved beside the outputs: rename that output")
    quantised = quantise(model.weights, model.intercept)
    if not allow_rounding:
        _require_faithful(model, _rounding(model, quantised))
    integers = np.column_stack([quantised.weights, quantised.bias])
    plans = plan_packings(
        LinearModelSpec(
            features=len(model.features),
            outputs=len(model.outputs),
            input_bound=max(feature.bound for feature in model.features),
            row_l1_bound=max(quantised.row_l1_bounds),
            mode=mode,
        ),
        tuple(packings),
        precision_bits=precision_bits,
    )
    private = mode is Mode.PRIVATE
    draft = ModelCard(
        name=model.name,
        version=model.version,
        purpose=model.purpose,
        mode=mode,
        features=model.features,
        outputs=model.outputs,
        labels=model.labels,
        link=model.link,
        unit=quantised.unit,
        row_l1_bounds=quantised.row_l1_bounds,
        profiles=tuple(plan.profile for plan in plans),
        commitment=bytes(2 * COMMITMENT_DEGREE * 8) if private else b"",
        public_weights=() if private else tuple(tuple(row) for row in integers.tolist()),
    )
    if not private:
        return ModelBundle(draft, b"", integers, np.zeros(OPENING_SIZE, dtype=np.int64))
    # The opening is a secret function of the whole model: publishing again changes nothing, and
    # two models never share one.
    identity = digest("blindproof publication", (draft.value(), integers.astype("<i8").tobytes()))
    opening = sample_opening(_subkey(publisher_key, b"opening", identity))
    h = commit_model(draft.key_moduli[0], integers.reshape(-1), opening)
    card = replace(draft, commitment=h.astype("<u8").tobytes())
    proving_key = _subkey(publisher_key, b"registration", identity)
    return ModelBundle(
        card, prove_registration(card, integers, opening, proving_key), integers, opening
    )


def _rounding(model: LinearModel, quantised: QuantisedModel) -> Rounding:
    """Raises ModelError when the weights are not of the features."""
    if model.weights.shape[1] != len(model.features):
        raise ModelError(
            f"weights of {model.weights.shape[1]} columns for {len(model.features)} features"
        )
    bounds = np.array([feature.bound for feature in model.features])
    return rounding(quantised, model.weights, model.intercept, bounds)


def _require_faithful(model: LinearModel, rounded: Rounding) -> None:
    """All weights share one unit with the bias, so that small ones can lose their bits.

    Raises:
        ModelError: one became zero, or an output moves by too much of its range.
    """
    advice = "rescale or centre the features, split the model, or allow the rounding"
    lost = np.argwhere(rounded.lost)
    if len(lost):
        output, column = lost[0].tolist()
        raise ModelError(
            f"{len(lost)} weights become zero when rounded to 16 bits, such as that of feature "
            f"'{model.features[column].name}' in output '{model.outputs[output]}': {advice}"
        )
    widths = np.array([(feature.high - feature.low) / feature.scale for feature in model.features])
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


def _subkey(publisher_key: bytes, label: bytes, identity: bytes) -> bytes:
    return hmac.digest(publisher_key, label + identity, hashlib.sha256)
