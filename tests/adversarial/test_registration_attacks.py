"""Registering a model whose integers are not what its card declares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import ModelError, VerificationError
from protocol.families import WEIGHT_BITS, WEIGHT_BOUND
from protocol.model import ModelCard
from tests.adversarial.malicious_prover import (
    GLUED,
    OTHER_POSITIONS,
    Strategy,
    forge,
    refusal,
    refused_by,
    second_opening,
)
from tests.adversarial.scenario import MODULI, SERVER_KEY, make_card, random_model, residues
from zk_layers.checks import Check
from zk_layers.commitment import commit
from zk_layers.prove import prove_registration
from zk_layers.registration import RegistrationRelation
from zk_layers.verify import verify_registration

Q = MODULI[0]
FEATURES = 4
WRONG_EQUATION = [(GLUED, Check.LINEAR_SUM), (Strategy(move_sum=True), Check.LINEAR)]

Integers = np.ndarray
Contents = dict[str, list[int]]


@pytest.fixture(scope="module")
def model() -> tuple[Integers, Integers, ModelCard]:
    integers, opening = random_model(11, 1, FEATURES)
    return integers, opening, make_card(integers, opening)


@pytest.fixture(scope="module")
def honest_proof(model) -> bytes:
    integers, opening, card = model
    return prove_registration(card, integers, opening, SERVER_KEY)


def card_of(integers: list[int], opening: Integers, l1_bound: int) -> ModelCard:
    """A card which commits to integers of any size."""
    h = commit(Q, residues(np.array(integers, dtype=object), Q), residues(opening, Q))
    small = np.ones((1, len(integers)), dtype=np.int64)
    zero = np.zeros_like(opening)
    return make_card(small, zero, row_l1_bound=l1_bound, commitment=h.astype("<u8").tobytes())


def contents(integers: list[int], opening: Integers, card: ModelCard) -> Contents:
    """What an honest prover would commit to, for integers of any size; high bits fall off."""
    magnitudes = [abs(value) for value in integers]
    slack = card.row_l1_bounds[0] - sum(magnitudes)
    bits = card.row_l1_bounds[0].bit_length()
    return {
        "bits": [(m >> i) & 1 for i in range(WEIGHT_BITS) for m in magnitudes],
        "sign": [int(value < 0) for value in integers],
        "magnitude": magnitudes,
        "negative": [m if value < 0 else 0 for m, value in zip(magnitudes, integers, strict=True)],
        "slack": [(slack >> i) & 1 for i in range(bits)],
        "opening": [int(value) for value in opening],
        "square": [int(value) ** 2 for value in opening],
    }


def prove_contents(card: ModelCard, chosen: Contents, strategy: Strategy = GLUED) -> Check | None:
    relation = RegistrationRelation(card)
    block = {name: residues(np.array(v, dtype=object), Q) for name, v in chosen.items()}
    return refused_by(relation, forge(relation, [block], strategy))


@pytest.mark.rejects("C-15")
@pytest.mark.rejects("C-16")
@pytest.mark.rejects("C-17")
def test_an_honest_registration(model, honest_proof):
    integers, opening, card = model
    assert refusal(lambda: verify_registration(card, honest_proof)) is None
    chosen = contents(integers[0].tolist(), opening, card)
    assert prove_contents(card, chosen) is None


def too_large(model, value: int) -> tuple[list[int], ModelCard]:
    integers, opening, _ = model
    changed = [*integers[0].tolist()]
    changed[2] = value
    bound = min(sum(map(abs, changed)) + 5, (FEATURES + 1) * 2 * (WEIGHT_BOUND + 1))
    return changed, card_of(changed, opening, bound)


@pytest.mark.rejects("C-15")
@pytest.mark.parametrize("value", [WEIGHT_BOUND + 1, 40_000, -40_000, 1 << 40, -(1 << 40)])
@pytest.mark.parametrize(("strategy", "check"), WRONG_EQUATION)
def test_a_weight_too_large(model, value, strategy, check):
    changed, card = too_large(model, value)
    assert prove_contents(card, contents(changed, model[1], card), strategy) is check


@pytest.mark.rejects("C-15")
@pytest.mark.rejects("C-33")
@pytest.mark.parametrize("value", [WEIGHT_BOUND + 1, 40_000, -40_000])
def test_a_weight_too_large_with_a_top_bit_that_is_none(model, value):
    changed, card = too_large(model, value)
    chosen = contents(changed, model[1], card)
    top = (WEIGHT_BITS - 1) * (FEATURES + 1) + 2
    chosen["bits"][top] = abs(value) >> (WEIGHT_BITS - 1)
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-15")
def test_a_weight_too_large_with_its_largest_allowed_magnitude(model):
    changed, card = too_large(model, 40_000)
    chosen = contents(changed, model[1], card)
    chosen["magnitude"][2] = WEIGHT_BOUND
    for i in range(WEIGHT_BITS):
        chosen["bits"][i * (FEATURES + 1) + 2] = 1
    slack = card.row_l1_bounds[0] - sum(chosen["magnitude"])
    chosen["slack"] = [(slack >> i) & 1 for i in range(len(chosen["slack"]))]
    assert prove_contents(card, chosen) is Check.LINEAR_SUM
    chosen["negative"][2] = -(40_000 - WEIGHT_BOUND) * pow(2, -1, Q) % Q  # W = m - 2 z again
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-15")
def test_a_sign_that_is_none(model):
    """s = -1 makes W = 3 m: refused because s is no bit, or because z is not s m."""
    integers, opening, _ = model
    changed = integers[0].tolist()
    changed[2] = 3 * 15_000
    card = card_of(changed, opening, (FEATURES + 1) * WEIGHT_BOUND)
    committed = [*changed[:2], 15_000, *changed[3:]]
    chosen = contents(committed, opening, card)
    chosen["sign"][2], chosen["negative"][2] = -1, -15_000
    assert prove_contents(card, chosen) is Check.QUADRATIC
    chosen["sign"][2] = 0
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-16")
@pytest.mark.parametrize(("strategy", "check"), WRONG_EQUATION)
def test_a_row_one_above_its_declared_bound(model, strategy, check):
    integers, opening, _ = model
    norm = int(np.abs(integers).sum())
    card = make_card(integers, opening, row_l1_bound=norm - 1)
    chosen = contents(integers[0].tolist(), opening, card)
    chosen["slack"] = [0] * len(chosen["slack"])
    assert prove_contents(card, chosen, strategy) is check
    fits = make_card(integers, opening, row_l1_bound=norm)
    assert prove_contents(fits, contents(integers[0].tolist(), opening, fits)) is None


@pytest.mark.rejects("C-16")
def test_a_negative_slack(model):
    integers, opening, _ = model
    norm = int(np.abs(integers).sum())
    card = make_card(integers, opening, row_l1_bound=norm - 1)
    chosen = contents(integers[0].tolist(), opening, card)
    chosen["slack"] = [-1] + [0] * (len(chosen["slack"]) - 1)
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-16")
def test_negative_magnitudes_with_flipped_signs(model):
    """W = m - 2 z with m = -|W| lowers the l1 sum; the bits of a negative number are none."""
    integers, opening, _ = model
    card = make_card(integers, opening, row_l1_bound=1000)
    chosen = contents(integers[0].tolist(), opening, card)
    for k, value in enumerate(integers[0].tolist()):
        chosen["sign"][k] = int(value > 0)
        chosen["magnitude"][k] = -abs(value)
        chosen["negative"][k] = -abs(value) if value > 0 else 0
        for i in range(WEIGHT_BITS):
            chosen["bits"][i * (FEATURES + 1) + k] = -((abs(value) >> i) & 1)
    slack = 1000 + int(np.abs(integers).sum())
    bits = len(chosen["slack"])
    chosen["slack"] = [(slack >> i) & 1 for i in range(bits - 1)] + [slack >> (bits - 1)]
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-16")
def test_a_magnitude_lowered_and_its_z_bent(model):
    integers, opening, _ = model
    norm = int(np.abs(integers).sum())
    card = make_card(integers, opening, row_l1_bound=norm - 1)
    values = integers[0].tolist()
    largest = int(np.argmax(np.abs(values)))
    lowered = [*values]
    lowered[largest] -= 10 if values[largest] > 0 else -10
    chosen = contents(lowered, opening, card)
    difference = values[largest] - lowered[largest]
    chosen["negative"][largest] -= difference * pow(2, -1, Q)
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-17")
def test_an_opening_that_is_not_ternary(model):
    integers, opening, _ = model
    changed = opening.copy()
    changed[9] = 2
    card = make_card(integers, changed)
    chosen = contents(integers[0].tolist(), changed, card)
    assert prove_contents(card, chosen) is Check.QUADRATIC
    chosen["square"][9] = 1  # the other of its two equations
    assert prove_contents(card, chosen) is Check.QUADRATIC


@pytest.mark.rejects("C-17")
def test_another_model_under_a_second_opening(model):
    _, opening, card = model
    other, _ = random_model(12, 1, FEATURES, 5000)
    h = card.commitment_words()
    long = second_opening(Q, h, residues(other[0], Q))
    chosen = contents(other[0].tolist(), np.array(long.tolist(), dtype=object), card)
    assert prove_contents(card, chosen) is Check.QUADRATIC
    chosen["square"] = [1] * len(chosen["square"])
    assert prove_contents(card, chosen) is Check.QUADRATIC
    short = contents(other[0].tolist(), opening, card)
    assert prove_contents(card, short) is Check.LINEAR_SUM
    assert prove_contents(card, short, Strategy(move_sum=True)) is Check.LINEAR


@pytest.mark.rejects("C-19")
def test_a_registration_replayed_for_another_card(model, honest_proof):
    integers, opening, card = model
    tighter = replace(card, row_l1_bounds=(card.row_l1_bounds[0] // 2,))
    for other in (
        make_card(integers, -opening),
        replace(card, name="another model"),
        tighter,
    ):
        refused = refusal(lambda at=other: verify_registration(at, honest_proof))
        assert refused in OTHER_POSITIONS


@pytest.mark.rejects("C-16")
def test_an_honest_prover_refuses_what_its_card_does_not_declare(model):
    integers, opening, card = model
    tight = replace(card, row_l1_bounds=(int(np.abs(integers).sum()) - 1,))
    with pytest.raises(ModelError):
        prove_registration(tight, integers, opening, SERVER_KEY)
    large = integers.copy()
    large[0, 0] = WEIGHT_BOUND + 1
    with pytest.raises(ModelError):
        prove_registration(card, large, opening, SERVER_KEY)


@pytest.mark.rejects("C-16")
def test_sums_that_would_wrap_the_first_modulus(model):
    """No card that parses comes so far; the relation refuses it all the same."""
    huge = replace(model[2])
    object.__setattr__(huge, "row_l1_bounds", (Q,))
    with pytest.raises(VerificationError) as refused:
        RegistrationRelation(huge)
    assert refused.value.check == Check.NO_WRAP
