from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.errors import NonFiniteError, RangeError, ShapeError
from protocol.plaintext import NO_PLAINTEXT_FIELDS, PlaintextColumns
from tests.adversarial.plaintext_scenario import (
    AGE,
    DOSE,
    STAY,
    WARD,
    mixed_bundle,
    mixed_records,
    plaintext_of,
)

SALT = bytes(range(32))


def columns(*values: list[float], salt: bytes = SALT) -> PlaintextColumns:
    return PlaintextColumns(np.array(values, dtype=np.float64), salt)


@pytest.mark.rejects("C-77")
def test_the_digest_binds_salt_shape_order_and_every_value():
    base = columns([1.0, 2.0], [3.0, 4.0])
    others = [
        columns([1.0, 2.0], [3.0, 4.0], salt=bytes(32)),
        columns([3.0, 4.0], [1.0, 2.0]),
        columns([2.0, 1.0], [3.0, 4.0]),
        columns([1.0, 2.0, 3.0, 4.0]),
        columns([1.0], [2.0], [3.0], [4.0]),
        columns([1.0, 2.0], [3.0, np.nextafter(4.0, 5.0)]),
    ]
    assert len({c.digest for c in (base, *others)} | {NO_PLAINTEXT_FIELDS}) == len(others) + 2
    assert columns([1.0, 2.0], [3.0, 4.0]).digest == base.digest


def test_there_is_one_form_of_zero():
    assert columns([-0.0]).digest == columns([0.0]).digest
    assert not np.signbit(columns([-0.0]).values).any()


def test_values_are_a_copy_that_nobody_writes():
    given = np.ones((1, 2))
    made = PlaintextColumns(given, SALT)
    given[0, 0] = 5.0
    assert made.values[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        made.values[0, 0] = 5.0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (1, 1, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError):
        PlaintextColumns(np.zeros(shape), SALT)


def test_other_salts_and_types_are_refused():
    for salt in (b"", bytes(31), bytes(33)):
        with pytest.raises(ShapeError, match="salt"):
            columns([1.0], salt=salt)
    with pytest.raises(ShapeError):
        PlaintextColumns(np.zeros((1, 1), dtype=np.int64), SALT)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(NonFiniteError):
        columns([1.0, value])


@pytest.mark.accepts("C-76")
def test_declared_values_are_accepted_up_to_the_ends_of_their_ranges():
    values = plaintext_of(mixed_records(4)).values.copy()
    values[AGE] = [18.0, 90.0, 18.0, 90.0]
    values[WARD] = [0, 1, 2, 2]
    values[DOSE] = [0.0, 10.0, 2.0, 7.0]
    PlaintextColumns(values, SALT).require_declared(mixed_bundle().card, 4)


@pytest.mark.rejects("C-76")
@pytest.mark.parametrize(
    ("column", "name", "value"),
    [
        (AGE, "age", np.nextafter(18.0, 0)),
        (AGE, "age", np.nextafter(90.0, 100)),
        (WARD, "ward", -1.0),
        (WARD, "ward", 3.0),
        (WARD, "ward", 0.5),
        (WARD, "ward", 1e300),
        (DOSE, "dose", -1e-9),
        (STAY, "stay", 1e9),
    ],
)
def test_undeclared_values_are_refused_by_the_columns_name(column, name, value):
    values = plaintext_of(mixed_records(4)).values.copy()
    values[column, 2] = value
    with pytest.raises(RangeError, match=f"'{name}'") as refused:
        PlaintextColumns(values, SALT).require_declared(mixed_bundle().card, 4)
    assert str(value) not in str(refused.value)


@pytest.mark.rejects("C-76")
def test_columns_and_records_must_be_as_many_as_the_models():
    card = mixed_bundle().card
    plaintext = plaintext_of(mixed_records(4))
    for records in (1, 3, 5):
        with pytest.raises(ShapeError):
            plaintext.require_declared(card, records)
    with pytest.raises(ShapeError):
        replace(plaintext, values=plaintext.values[:3]).require_declared(card, 4)
