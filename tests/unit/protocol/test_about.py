from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.about import MAX_METRICS, MAX_STATEMENT, About
from protocol.encoding import decode, encode
from protocol.errors import BlindproofError, ModelError
from protocol.features import MAX_NAME

ABOUT = About("triage", "a cohort of 1997", "CC-BY-4.0", (("accuracy", 0.97), ("auc", 1)))


@pytest.mark.parametrize("about", [ABOUT, About()])
def test_statements_come_back(about):
    assert About.from_value(decode(encode(about.value()))) == about


@pytest.mark.parametrize(
    "change",
    [
        {"intended_use": "x" * (MAX_STATEMENT + 1)},
        {"training_data": "x" * (MAX_STATEMENT + 1)},
        {"licence": "x" * (MAX_STATEMENT + 1)},
        {"metrics": (("auc", 1.0), ("auc", 0.9))},
        {"metrics": (("", 1.0),)},
        {"metrics": (("x" * (MAX_NAME + 1), 1.0),)},
        {"metrics": (("auc", float("nan")),)},
        {"metrics": tuple((f"m{k}", 1.0) for k in range(MAX_METRICS + 1))},
    ],
)
def test_too_much_or_nothing_definite_is_refused(change):
    with pytest.raises(ModelError):
        replace(ABOUT, **change)


@pytest.mark.parametrize(
    "value",
    [
        None,
        (),
        ABOUT.value()[:3],
        (*ABOUT.value(), ()),
        (1, "", "", ()),
        ("", "", "", (("auc", 1),)),
        ("", "", "", (("auc",),)),
        ("", "", "", ((1.0, "auc"),)),
    ],
)
def test_values_of_another_form_are_refused(value):
    with pytest.raises(BlindproofError):
        About.from_value(value)
