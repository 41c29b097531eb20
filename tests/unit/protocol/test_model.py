from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import encode
from protocol.errors import BlindproofError, EncodingError, ModelError, ParameterError
from protocol.families import WEIGHT_BOUND
from protocol.model import MAX_CARD_BYTES, MAX_NAME, Feature, ModelCard, Profile
from protocol.parameters import CkksParameters, Mode, Packing
from tests.adversarial.scenario import (
    BATCH_PARAMETERS,
    DEGREE,
    MODULI,
    SINGLE_PARAMETERS,
    SPECIAL,
    largest_primes,
    make_card,
    random_model,
)


@pytest.fixture(scope="module")
def private() -> ModelCard:
    return make_card(*random_model(1, 2, 3))


@pytest.fixture(scope="module")
def public(private: ModelCard) -> ModelCard:
    profiles = tuple(replace(profile, flooding_log2=None) for profile in private.profiles)
    return replace(
        private,
        mode=Mode.PUBLIC,
        commitment=b"",
        public_weights=((1, -2, 3, 4), (0, WEIGHT_BOUND, -WEIGHT_BOUND, 0)),
        profiles=profiles,
    )


@pytest.mark.accepts("C-19")
@pytest.mark.accepts("C-45")
@pytest.mark.parametrize("kind", ["private", "public"])
def test_cards_come_back(request, kind):
    card = request.getfixturevalue(kind)
    assert ModelCard.decoded(card.encoded()) == card
    assert ModelCard.decoded(card.encoded()).digest == card.digest


@pytest.mark.rejects("C-19")
def test_every_field_is_part_of_the_identity(private):
    flipped = bytearray(private.commitment)
    flipped[0] ^= 1
    changes = {
        "name": "other",
        "version": "2",
        "purpose": "other",
        "features": (*private.features[:2], replace(private.features[2], low=-7.0)),
        "outputs": ("a", "b"),
        "labels": ("a", "b"),
        "unit": 2.0,
        "row_l1_bounds": (5, 6),
        "profiles": private.profiles[:1],
        "commitment": bytes(flipped),
    }
    cards = [private]
    for name, value in changes.items():
        extra = {"link": "argmax"} if name == "labels" else {}
        cards.append(replace(private, **{name: value}, **extra))
    assert len({card.digest for card in cards}) == len(cards)


BATCH, SINGLE = (
    Profile(Packing.BATCH, BATCH_PARAMETERS, 92),
    Profile(Packing.SINGLE, SINGLE_PARAMETERS, 78),
)
OTHER_CHAIN = CkksParameters(DEGREE, MODULI[1:], SPECIAL, 90)
SMALLER_RING = CkksParameters(
    4096, (next(p for p in largest_primes(60, 1)),), largest_primes(34, 1)[0], 40
)

INVALID_PRIVATE = {
    "empty name": {"name": ""},
    "long name": {"name": "x" * (MAX_NAME + 1)},
    "empty version": {"version": ""},
    "long purpose": {"purpose": "x" * 2001},
    "empty output name": {"outputs": ("", "b")},
    "no features": {"features": ()},
    "no outputs": {"outputs": ()},
    "one output more": {"outputs": ("a", "b", "c")},
    "a feature twice": {"features": (Feature("x", 0.0, 1.0, 0.0, 1.0),) * 3},
    "unknown link": {"link": "softmax"},
    "labels without a link": {"labels": ("a", "b")},
    "logistic with two outputs": {"link": "logistic", "labels": ("a", "b")},
    "argmax with three labels": {"link": "argmax", "labels": ("a", "b", "c")},
    "unit no power of two": {"unit": 3.0},
    "negative unit": {"unit": -1.0},
    "unit beyond 2^1000": {"unit": 2.0**1001},
    "subnormal unit": {"unit": 2.0**-1040},
    "an output twice": {"outputs": ("a", "a")},
    "empty label": {"link": "argmax", "labels": ("a", "")},
    "a range beyond 2^64 scales": {
        "features": tuple(Feature(f"x{k}", -1e305, 1e305, 0.0, 1e-3) for k in range(3))
    },
    "more than 16,384 integers": {
        "features": tuple(Feature(f"x{k}", 0.0, 1.0, 0.0, 1.0) for k in range(9000))
    },
    "flooding of 40,000 bits": {"profiles": (replace(BATCH, flooding_log2=1 << 40_000),)},
    "zero unit": {"unit": 0.0},
    "infinite unit": {"unit": float("inf")},
    "unit not a number": {"unit": float("nan")},
    "one bound": {"row_l1_bounds": (1,)},
    "zero bound": {"row_l1_bounds": (0, 1)},
    "negative bound": {"row_l1_bounds": (-1, 1)},
    "bound beyond all rows": {"row_l1_bounds": (1, 4 * 2 * (WEIGHT_BOUND + 1) + 1)},
    "no profiles": {"profiles": ()},
    "a packing twice": {"profiles": (BATCH, BATCH)},
    "unflooded private model": {"profiles": (replace(BATCH, flooding_log2=None),)},
    "flooding too small": {"profiles": (replace(BATCH, flooding_log2=39),)},
    "flooding too large": {"profiles": (replace(BATCH, flooding_log2=111),)},
    "two chains": {"profiles": (BATCH, replace(SINGLE, parameters=OTHER_CHAIN))},
    "two rings": {"profiles": (BATCH, replace(SINGLE, parameters=SMALLER_RING))},
    "no commitment": {"commitment": b""},
    "short commitment": {"commitment": bytes(2 * 1024 * 8 - 8)},
    "commitment outside its field": {"commitment": b"\xff" * (2 * 1024 * 8)},
    "weights of a private model": {"public_weights": ((1, 2, 3, 4), (1, 2, 3, 4))},
}


@pytest.mark.rejects("C-45")
@pytest.mark.parametrize("name", INVALID_PRIVATE)
def test_invalid_private_cards_are_refused(private, name):
    with pytest.raises((ModelError, ParameterError)):
        replace(private, **INVALID_PRIVATE[name])


INVALID_PUBLIC = {
    "a commitment": {"commitment": bytes(2 * 1024 * 8)},
    "no weights": {"public_weights": ()},
    "one row": {"public_weights": ((1, 2, 3, 4),)},
    "a short row": {"public_weights": ((1, 2, 3, 4), (1, 2, 3))},
    "an empty row": {"public_weights": ((1, 2, 3, 4), ())},
    "a weight too large": {"public_weights": ((WEIGHT_BOUND + 1, 0, 0, 0), (1, 2, 3, 4))},
    "a weight too small": {"public_weights": ((-WEIGHT_BOUND - 1, 0, 0, 0), (1, 2, 3, 4))},
    "a row above its bound": {"row_l1_bounds": (9, 1 << 17)},
    "flooded": {"profiles": (BATCH,)},
}


@pytest.mark.parametrize("name", INVALID_PUBLIC)
def test_invalid_public_cards_are_refused(public, name):
    with pytest.raises(ModelError):
        replace(public, **INVALID_PUBLIC[name])


@pytest.mark.parametrize(
    "fields",
    [
        (1.0, 1.0, 0.0, 1.0),
        (2.0, 1.0, 0.0, 1.0),
        (0.0, 1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, -1.0),
        (float("-inf"), 1.0, 0.0, 1.0),
        (0.0, float("nan"), 0.0, 1.0),
        (0.0, 1.0, float("nan"), 1.0),
        (0.0, 1.0, 0.0, float("inf")),
    ],
)
def test_invalid_features_are_refused(fields):
    with pytest.raises(ModelError):
        Feature("x", *fields)


def test_a_single_record_must_fit_the_ring():
    integers = np.ones((3, 2732), dtype=np.int64)  # 3 * 2731 = 8193 > N
    with pytest.raises(ModelError, match="outputs x features"):
        make_card(integers, np.zeros(5120, dtype=np.int64))


WRONG_TYPES = (None, True, -1, 1.5, "x", b"x", ((),))
TEXTS = {1, 2, 3}
"""Fields that may hold any text: name, version, purpose."""


@pytest.mark.parametrize(
    ("index", "wrong"),
    [
        pytest.param(index, wrong, id=f"{index} {type(wrong).__name__}")
        for index in range(15)
        for wrong in WRONG_TYPES
        if not (index in TEXTS and isinstance(wrong, str))
    ],
)
def test_fields_of_a_wrong_type_are_refused_when_parsed(private, index, wrong):
    fields = list(private.value())
    assert type(fields[index]) is not type(wrong) or fields[index] != wrong
    fields[index] = wrong
    with pytest.raises(BlindproofError):
        ModelCard.decoded(encode(tuple(fields)))


@pytest.mark.rejects("C-04")
def test_cards_with_missing_or_more_fields_are_refused(private):
    for fields in (private.value()[:-1], (*private.value(), None), ()):
        with pytest.raises(EncodingError):
            ModelCard.decoded(encode(fields))


@pytest.mark.rejects("C-04")
def test_cards_too_large_are_refused_before_they_are_parsed():
    with pytest.raises(EncodingError, match="at most"):
        ModelCard.decoded(bytes(MAX_CARD_BYTES + 1))


@pytest.mark.rejects("C-05")
def test_cards_of_another_version_are_refused(private):
    fields = list(private.value())
    fields[0] = "blindproof/2"
    with pytest.raises(ModelError, match="version"):
        ModelCard.decoded(encode(tuple(fields)))


@given(st.data())
def test_flipped_bytes_of_a_card_are_refused_or_another_card(data):
    card = make_card(*random_model(1, 1, 2))
    encoded = bytearray(card.encoded())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = ModelCard.decoded(bytes(encoded))
    except BlindproofError:
        return
    assert other.digest != card.digest


def test_what_a_card_implies(private):
    assert private.key_moduli == MODULI
    assert private.ring_degree == DEGREE
    assert private.keys_needed == 2
    assert replace(private, profiles=private.profiles[1:]).keys_needed == 1
    assert private.input_bound == 8.0
    assert private.profile(Packing.BATCH).parameters is BATCH_PARAMETERS
    with pytest.raises(ModelError, match="does not offer"):
        replace(private, profiles=private.profiles[1:]).profile(Packing.BATCH)
    feature = Feature("x", -1.0, 5.0, 1.0, 2.0)
    assert feature.bound == 2.0
