from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.about import About
from protocol.bounds import network_bounds
from protocol.encoding import encode
from protocol.errors import BlindproofError, EncodingError, ModelError, ParameterError
from protocol.families import WEIGHT_BOUND
from protocol.features import Category, Feature, Privacy, Thermometer, column_from_value
from protocol.graph import Conv2d, Dense, Graph, Polynomial, Selection, linear_graph, square
from protocol.model import MAX_CARD_BYTES, MAX_COLUMNS, MAX_NAME, ModelCard, Profile
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
        "local": ("id",),
        "about": About(licence="CC-BY-4.0"),
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

ARGMAX = {"link": "argmax", "labels": ("a", "b")}

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
    "unknown link": {"link": "tanh"},
    "softmax without labels": {"link": "softmax"},
    "sign with two outputs": {"link": "sign", "labels": ("a", "b")},
    "a label twice": {"link": "argmax", "labels": ("a", "a")},
    "integer labels without labels": {"integer_labels": True},
    "integer labels that are texts": {**ARGMAX, "integer_labels": True},
    "integer labels not in their usual form": {
        "link": "argmax",
        "labels": ("1", "02"),
        "integer_labels": True,
    },
    "integer labels beyond 64 bits": {
        "link": "argmax",
        "labels": ("1", str(1 << 63)),
        "integer_labels": True,
    },
    "a local column that is a feature": {"local": ("x1",)},
    "a local column twice": {"local": ("id", "id")},
    "a local column without a name": {"local": ("",)},
    "too many local columns": {"local": tuple(f"id{k}" for k in range(MAX_COLUMNS))},
    "too many units": {
        "features": (
            Feature("x", 0.0, 1.0, 0.0, 1.0),
            *(Category(f"c{k}", tuple(map(str, range(256)))) for k in range(64)),
        )
    },
    "nothing encrypted": {
        "features": tuple(
            Feature(f"x{k}", -8.0, 8.0, 0.0, 1.0, privacy=Privacy.PLAINTEXT) for k in range(3)
        )
    },
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
    with pytest.raises(ModelError, match="outputs x inputs"):
        make_card(integers, np.zeros(5120, dtype=np.int64))


WRONG_TYPES = (None, True, -1, 1.5, "x", b"x", ((),))
TEXTS = {1, 2, 3}
"""Fields that may hold any text: name, version, purpose."""
INTEGER_LABELS = 19


@pytest.mark.parametrize(
    ("index", "wrong"),
    [
        pytest.param(index, wrong, id=f"{index} {type(wrong).__name__}")
        for index in range(20)
        for wrong in WRONG_TYPES
        if not (index in TEXTS and isinstance(wrong, str))
        and not (index == INTEGER_LABELS and isinstance(wrong, bool))
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
def test_profiles_are_counted_before_their_primes_are_tested(private, monkeypatch):
    """Else a card of two megabytes would take a minute to refuse."""
    fields = list(private.value())
    fields[12] *= 1000
    monkeypatch.setattr("protocol.model.Profile", None)
    with pytest.raises(ModelError, match="one profile per packing"):
        ModelCard.decoded(encode(tuple(fields)))


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


NETWORK = Graph(
    3,
    (Dense(0, 4), square(1), Selection(2, 3), Dense(3, 2)),
)
NETWORK_PROFILE = Profile(Packing.BATCH, replace(BATCH_PARAMETERS, input_scale_log2=50), 80, 1, 20)


@pytest.fixture(scope="module")
def network(private: ModelCard) -> ModelCard:
    return replace(
        private,
        graph=NETWORK,
        row_l1_bounds=(1 << 17,) * 4 + (1,) * 3 + (1 << 17,) * 2,
        profiles=(NETWORK_PROFILE,),
    )


@pytest.fixture(scope="module")
def public_network(network: ModelCard) -> ModelCard:
    selection = ((0, 1, 0, 0), (0, 0, 0, 1), (1, 0, 0, 0))
    return replace(
        network,
        mode=Mode.PUBLIC,
        commitment=b"",
        profiles=(replace(NETWORK_PROFILE, flooding_log2=None, dropped_limbs=0),),
        public_weights=(((1, -2, 3, 4),) * 4) + selection + (((5, 6, 7, 8),) * 2),
    )


@pytest.mark.accepts("C-49")
@pytest.mark.accepts("C-45")
@pytest.mark.parametrize("kind", ["network", "public_network"])
def test_cards_of_networks_come_back(request, kind):
    card = request.getfixturevalue(kind)
    again = ModelCard.decoded(card.encoded())
    assert again == card
    assert again.digest == card.digest
    assert again.graph == NETWORK
    assert again.profile(Packing.BATCH) == card.profiles[0]


def test_what_a_network_implies(network):
    assert not network.linear
    assert network.inputs_count == 3
    assert network.keys_needed == 2 * 2, "two outputs of three polynomials"
    assert network.output_shape(Packing.BATCH) == (2, 3, 2, DEGREE)
    profile = network.profile(Packing.BATCH)
    assert profile.kept_moduli == MODULI[:2]
    assert profile.dropped_modulus == MODULI[2]
    bounds = network.bounds(Packing.BATCH)
    assert bounds == network_bounds(
        NETWORK,
        profile.parameters,
        row_l1_bounds=network.row_l1_bounds,
        input_bound=8.0,
        flooding_log2=80,
        dropped_limbs=1,
        disclosure_log2=20,
    )


@pytest.mark.rejects("C-19")
def test_network_and_profile_are_part_of_the_identity(network):
    other = Graph(3, (*NETWORK.layers[:1], Polynomial(1, (1, 0, 1), 0), *NETWORK.layers[2:]))
    profiles = [
        replace(NETWORK_PROFILE, dropped_limbs=0),
        replace(NETWORK_PROFILE, disclosure_log2=21),
        replace(NETWORK_PROFILE, flooding_log2=79),
    ]
    cards = [network, replace(network, graph=other)]
    cards += [replace(network, profiles=(profile,)) for profile in profiles]
    assert len({card.digest for card in cards}) == len(cards)


INVALID_NETWORKS = {
    "fewer inputs": {"graph": replace(NETWORK, inputs=2)},
    "other outputs": {"graph": Graph(3, (Dense(0, 4), square(1), Dense(2, 3)))},
    "a bound missing": {"row_l1_bounds": (1 << 17,) * 4 + (1,) * 3 + (1 << 17,)},
    "a bound of a selection": {"row_l1_bounds": (1 << 17,) * 4 + (2, 1, 1) + (1 << 17,) * 2},
    "single-record packing": {"profiles": (replace(SINGLE, flooding_log2=78),)},
    "too many keys": {
        "graph": Graph(3, (Dense(0, 4), square(1), square(2), Dense(3, 17))),
        "row_l1_bounds": (1 << 17,) * 21,
        "outputs": tuple(f"y{j}" for j in range(17)),
    },
    "a tensor beyond memory": {
        "graph": Graph(3, (Conv2d(0, (1, 1, 3), 1365, (1, 1)), square(1), square(2), Dense(3, 1))),
        "row_l1_bounds": (1 << 17,) * 1366,
        "outputs": ("y",),
    },
    "flooding beyond its limbs": {"profiles": (replace(NETWORK_PROFILE, flooding_log2=150),)},
    "flooding too small": {"profiles": (replace(NETWORK_PROFILE, flooding_log2=39),)},
    "flooding too large": {"profiles": (replace(NETWORK_PROFILE, flooding_log2=221),)},
    "a monomial more": {"expansion": ((0,), (1,), (2,), (2, 2))},
}


@pytest.mark.rejects("C-49")
@pytest.mark.rejects("C-45")
@pytest.mark.parametrize("name", INVALID_NETWORKS)
def test_invalid_networks_are_refused(network, name):
    with pytest.raises((ModelError, ParameterError)):
        replace(network, **INVALID_NETWORKS[name])


@pytest.mark.rejects("C-45")
@pytest.mark.parametrize(
    "row", [(0, 0, 0, 0), (1, 1, 0, 0), (2, 0, 0, 0), (-1, 0, 0, 0), (1, 0, 0), (1, 1, -1, 0)]
)
def test_rows_of_a_public_selection_are_unit_vectors(public_network, row):
    weights = public_network.public_weights
    with pytest.raises(ModelError):
        replace(public_network, public_weights=(*weights[:4], row, *weights[5:]))


@pytest.mark.rejects("C-45")
@pytest.mark.parametrize(
    "changes",
    [
        {"dropped_limbs": 3},
        {"dropped_limbs": -1},
        {"dropped_limbs": 1, "flooding_log2": None},
        {"dropped_limbs": 1, "packing": Packing.SINGLE},
        {"disclosure_log2": 7},
        {"disclosure_log2": 65},
        {"flooding_log2": 1 << 40_000},
        {"flooding_log2": -1},
    ],
)
def test_invalid_profiles_are_refused(changes):
    with pytest.raises((ModelError, ParameterError)):
        replace(NETWORK_PROFILE, **changes)


def test_linear_models_are_not_rescaled(private):
    with pytest.raises(ModelError, match="not rescaled"):
        replace(private, profiles=(replace(BATCH, dropped_limbs=1),))


EXPANSION = ((0,), (2,), (0, 0), (0, 2), (1, 1, 2))


@pytest.fixture(scope="module")
def polynomial(private: ModelCard) -> ModelCard:
    return replace(private, graph=linear_graph(5, 2), expansion=EXPANSION)


def test_a_polynomial_of_its_features(polynomial):
    assert ModelCard.decoded(polynomial.encoded()) == polynomial
    assert polynomial.inputs_count == 5
    assert len(polynomial.features) == 3
    assert polynomial.input_bound == 8.0**3
    assert polynomial.keys_needed == 2
    moved = (*EXPANSION[:4], (1, 2, 2))
    assert replace(polynomial, expansion=moved).digest != polynomial.digest
    assert polynomial.bounds(Packing.SINGLE).largest_output > 60 * 8


@pytest.mark.rejects("C-45")
@pytest.mark.parametrize(
    "expansion",
    [
        (),
        EXPANSION[:4],
        (*EXPANSION[:4], ()),
        (*EXPANSION[:4], (3,)),
        (*EXPANSION[:4], (-1, 0, 0)),
        (*EXPANSION[:4], (2, 1, 1)),
        (*EXPANSION[:4], (0, 2)),
        (EXPANSION[1], EXPANSION[0], *EXPANSION[2:]),
        (*EXPANSION[:2], EXPANSION[4], *EXPANSION[2:4]),
        (*EXPANSION[:4], (0,) * 9),
        (*EXPANSION[:4], (0, 1 << 4000)),
    ],
)
def test_invalid_expansions_are_refused(polynomial, expansion):
    with pytest.raises(ModelError):
        replace(polynomial, expansion=expansion)


def test_products_of_wide_ranges_are_refused(polynomial):
    features = tuple(Feature(f"x{k}", -(2.0**40), 2.0**40, 0.0, 1.0) for k in range(3))
    with pytest.raises(ModelError, match="2\\^64"):
        replace(polynomial, features=features)


def test_ranges_may_be_written_as_integers():
    feature = Feature("age", 18, 100, 59, 41)
    assert column_from_value(feature.value()) == feature
    assert feature.value() == Feature("age", 18.0, 100.0, 59.0, 41.0).value()
    assert all(isinstance(number, float) for number in feature.value()[2:6])


SHOWN = Privacy.PLAINTEXT
COLUMNS = (
    Feature("age", 0.0, 100.0, 50.0, 25.0, privacy=SHOWN, missing=40.0, measured_in="years"),
    Thermometer("steps", 0.0, 10.0, (2.0, 5.0), missing=1.0),
    Category("level", ("a", "b", "c"), SHOWN, "b"),
)


@pytest.fixture(scope="module")
def mixed(private: ModelCard) -> ModelCard:
    return replace(
        private,
        features=COLUMNS,
        graph=linear_graph(6, 2),
        labels=("-1", "10"),
        link="argmax",
        local=("id", "name"),
        about=About("triage", "1997 cohort", "CC-BY-4.0", (("accuracy", 0.97),)),
        integer_labels=True,
    )


@pytest.mark.accepts("C-45")
def test_a_card_of_all_kinds_of_columns_comes_back(mixed):
    again = ModelCard.decoded(mixed.encoded())
    assert again == mixed
    assert again.digest == mixed.digest
    assert again.features == COLUMNS
    assert replace(mixed, integer_labels=False).digest != mixed.digest


def test_what_the_columns_of_a_card_imply(mixed):
    assert mixed.inputs_count == 6
    assert mixed.unit_columns == (0, 1, 1, 2, 2, 2)
    assert mixed.unit_bounds == (2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert mixed.input_bound == 2.0
    assert mixed.plaintext_features == (0, 2)
    assert mixed.plaintext_inputs == (0, 3, 4, 5)
    assert mixed.encrypted_inputs == (1, 2)


def test_a_monomial_is_plaintext_if_all_its_columns_are(mixed):
    expansion = ((0,), (1,), (0, 0), (0, 1), (0, 3), (1, 2))
    card = replace(mixed, expansion=expansion)
    assert card.plaintext_inputs == (0, 2, 4)
    assert card.encrypted_inputs == (1, 3, 5)
    assert card.input_bound == 4.0
    with pytest.raises(ModelError, match="unit that does not exist"):
        replace(mixed, expansion=(*expansion[:5], (1, 6)))
    with pytest.raises(ModelError, match="encrypted"):
        replace(mixed, expansion=((0,), (3,), (4,), (5,), (0, 3), (3, 4)))


def test_a_network_may_act_on_monomials(network):
    card = replace(network, expansion=((0,), (1, 1), (0, 1, 2)))
    assert ModelCard.decoded(card.encoded()) == card
    assert card.input_bound == 8.0**3
    assert card.bounds(Packing.BATCH).error > network.bounds(Packing.BATCH).error


def test_the_widest_linear_model_fits_a_card(private):
    """All columns a linear model can have, names of their position."""
    count = 16_383
    card = replace(
        private,
        features=tuple(Feature(f"x{k}", -1.0, 1.0, 0.0, 1.0) for k in range(count)),
        graph=linear_graph(count, 1),
        outputs=("y",),
        row_l1_bounds=(1 << 17,),
        profiles=private.profiles[:1],
    )
    assert ModelCard.decoded(card.encoded()) == card
