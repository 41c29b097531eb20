"""From fitted weights to a published model: quantise, plan, commit, prove the ranges, store.

Symbols: J outputs, K features.  Weights act on normalised inputs (raw - centre) / scale.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fhe_layers.planner import DEFAULT_PRECISION_BITS, LinearModelSpec, plan_packings
from fhe_layers.quantise import quantise
from protocol.digests import digest
from protocol.families import COMMITMENT_DEGREE, OPENING_SIZE
from protocol.model import Feature, ModelCard
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle, ModelRegistry
from wire.files import make_private_directory, read_or_create_secret
from zk_layers.commitment import commit_model, sample_opening
from zk_layers.prove import prove_registration

Floats = npt.NDArray[np.float64]

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
    weights: Floats
    intercept: Floats
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
) -> ModelCard:
    """Publish a model in a server's model directory; the same model gives the same digest.

    Raises:
        PlanningError: no secure parameters reach the precision; the message says what would.
        BlindproofError: the model cannot be quantised, described or stored.
    """
    key = read_or_create_secret(
        make_private_directory(models) / _PUBLISHER_KEY, PUBLISHER_KEY_BYTES
    )
    bundle = bundle_linear(model, key, mode=mode, packings=packings, precision_bits=precision_bits)
    ModelRegistry(models).publish(bundle)
    return bundle.card


def bundle_linear(
    model: LinearModel,
    publisher_key: bytes,
    *,
    mode: Mode,
    packings: Sequence[Packing],
    precision_bits: float,
) -> ModelBundle:
    """Everything a server needs to serve a model.  Raises BlindproofError."""
    quantised = quantise(model.weights, model.intercept)
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


def _subkey(publisher_key: bytes, label: bytes, identity: bytes) -> bytes:
    return hmac.digest(publisher_key, label + identity, hashlib.sha256)
