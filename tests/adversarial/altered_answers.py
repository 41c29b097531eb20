"""Answers and requests that differ from the honest ones in one thing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocol.model import Profile
from protocol.parameters import CkksParameters, Packing
from protocol.request import Request
from tests.adversarial.scenario import (
    BATCH_FLOODING,
    BATCH_PARAMETERS,
    BATCH_SCALE,
    DEGREE,
    MODULI,
    SINGLE_FLOODING,
    SINGLE_PARAMETERS,
    SPECIAL,
    Batch,
    Single,
    in_every_limb,
    residues,
)
from zk_layers.layers.linear import flooding_bits

OTHER_SCALE = CkksParameters(DEGREE, MODULI, SPECIAL, BATCH_SCALE + 1)
SINGLE_PROFILE = Profile(Packing.SINGLE, SINGLE_PARAMETERS, SINGLE_FLOODING)


def with_batch_profile(batch: Batch, profile: Profile) -> dict[str, object]:
    card = replace(batch.request.card, profiles=(profile, SINGLE_PROFILE))
    return {"card": card}


def other_requests(batch: Batch) -> dict[str, Request]:
    """The request with one field changed, by the field's name."""
    card = batch.request.card
    flipped = np.frombuffer(card.commitment, dtype="<u8").copy()
    flipped[5] ^= 1
    flooding = Profile(Packing.BATCH, BATCH_PARAMETERS, BATCH_FLOODING - 1)
    fields: dict[str, dict[str, object]] = {
        "request id": {"request_id": bytes(16)},
        "nonce": {"nonce": bytes(32)},
        "client": {"client_id": "another client"},
        "server": {"server_id": "another server"},
        "records": {"records": 99},
        "key digest": {"key_digest": bytes(32)},
        "registration": {"registration_digest": bytes(32)},
        "input digest": {"input_digest": bytes(32)},
        "plaintext digest": {"plaintext_digest": bytes(32)},
        "log head": {"log_head": b"\x01" + bytes(31)},
        "model name": {"card": replace(card, name="another model")},
        "model version": {"card": replace(card, version="2")},
        "model unit": {"card": replace(card, unit=0.5)},
        "declared l1 bound": {"card": replace(card, row_l1_bounds=(card.row_l1_bounds[0] - 1,))},
        "commitment": {"card": replace(card, commitment=flipped.tobytes())},
        "input scale": with_batch_profile(
            batch, Profile(Packing.BATCH, OTHER_SCALE, BATCH_FLOODING)
        ),
        "flooding": with_batch_profile(batch, flooding),
    }
    return {name: replace(batch.request, **changed) for name, changed in fields.items()}


def with_word(batch: Batch, index: tuple[int, ...]) -> Batch:
    """The batch with one output word moved by one."""
    outputs = batch.outputs.copy()
    outputs[index] = (int(outputs[index]) + 1) % batch.moduli[index[2]]
    return replace(batch, outputs=outputs)


def with_mask_word(single: Single, limb: int, n: int) -> Single:
    mask = single.mask.copy()
    mask[limb, n] = (int(mask[limb, n]) + 1) % single.moduli[limb]
    return replace(single, mask=mask)


def with_body_word(single: Single, limb: int) -> Single:
    body = single.body.copy()
    body[0, limb] = (int(body[0, limb]) + 1) % single.moduli[limb]
    return replace(single, body=body)


def single_bits(single: Single, values: list[int], *, top: bool) -> list[np.ndarray]:
    """Bits per limb; with `top` the highest takes whatever is left, a bit or not."""
    bits = flooding_bits(tuple(values), SINGLE_FLOODING).astype(object)
    if top:
        width = SINGLE_FLOODING + 1
        for j, value in enumerate(values):
            bits[(j + 1) * width - 1] = (value + (1 << SINGLE_FLOODING)) >> SINGLE_FLOODING
    return [residues(bits, modulus) for modulus in single.moduli]


def single_with_flooding(
    single: Single, value: int, *, top: bool
) -> tuple[Single, list[dict[str, np.ndarray]]]:
    """A record flooded with any value, and the blocks of a prover that did so."""
    forged = single.answered(e0=in_every_limb(np.array([value], dtype=object), single.moduli))
    bits = single_bits(single, [value], top=top)
    return forged, [{**block, "bits": b} for block, b in zip(single.blocks, bits, strict=True)]
