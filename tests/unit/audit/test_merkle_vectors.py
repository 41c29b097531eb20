"""The published cases of transparency-dev/merkle, see tests/vectors/merkle/generate.py."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from audit.errors import ConsistencyError, InclusionError
from audit.merkle import verify_consistency, verify_inclusion
from tests.vectors.merkle import generate

FOLDER = Path(generate.__file__).parent
INCLUSION = json.loads((FOLDER / "inclusion.json").read_text())["cases"]
CONSISTENCY = json.loads((FOLDER / "consistency.json").read_text())["cases"]

# Whole files as they are published below testdata/, to judge the generator by.
_ROOT_5 = "Tju7H3tHjc/nH7YxYxUZo7yhLJrvyhYSv85ME6hiZNQ="
_ROOT_6 = "duZ9rbzfHhDht03cYIq9L5jfsW+851J3tSMqEn8gh+8="
_ROOT_8 = "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg="
_LEAF_0 = "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
_LEAF_1 = "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c="
_NODE_23 = "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4="
_LEAF_4 = "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms="
_NODE_45 = "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o="
_ROOT_4 = "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc="
PUBLISHED = [
    {
        "group": "2",
        "leafIdx": 5,
        "treeSize": 8,
        "root": _ROOT_8,
        "leafHash": "QnGia+DYqE8L1UyMMC58s6O10fpngKQLzOKHNHfatlg=",
        "proof": [
            _LEAF_4,
            "q6yroAAAAAAAAAAAAAAAAAAAAAAAAAAAAGAGHgASNFY=",
            "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
            _ROOT_4,
        ],
        "desc": "inserted component",
        "wantErr": True,
    },
    {
        "group": "0",
        "leafIdx": 18446744073709551615,
        "treeSize": 1,
        "root": _LEAF_0,
        "leafHash": _LEAF_0,
        "proof": [],
        "desc": "leafIdx sub @1",
        "wantErr": True,
    },
    {
        "group": "4",
        "leafIdx": 1,
        "treeSize": 5,
        "root": _ROOT_5,
        "leafHash": _LEAF_1,
        "proof": [_LEAF_0, _NODE_23, _LEAF_4],
        "desc": "happy path",
        "wantErr": False,
    },
    {
        "group": "1",
        "size1": 1,
        "size2": 8,
        "root1": _LEAF_0,
        "root2": _ROOT_8,
        "proof": [_LEAF_1, _NODE_23, "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ="],
        "desc": "happy path",
        "wantErr": False,
    },
    {
        "group": "2",
        "size1": 6,
        "size2": 8,
        "root1": _ROOT_6,
        "root2": _ROOT_8,
        "proof": [_NODE_45, "2oVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=", _ROOT_4],
        "desc": "modified proof@1 bit @4",
        "wantErr": True,
    },
    {
        "group": "3",
        "size1": 2,
        "size2": 5,
        "root1": "+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=",
        "root2": _ROOT_5,
        "proof": ["", _NODE_23, _LEAF_4],
        "desc": "preceding garbage",
        "wantErr": True,
    },
    {
        "group": "4",
        "size1": 6,
        "size2": 7,
        "root1": _ROOT_6,
        "root2": "3bib5AOAnjJXUNPSY814kpwpQreUKjS3fhIslZSnTIw=",
        "proof": [_NODE_45, "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8="],
        "desc": "truncated proof",
        "wantErr": True,
    },
]


def name(case):
    return f"{case['group']}-{case['desc'].replace(' ', '-')}"


def raw(text):
    return base64.b64decode(text)


def verify(case):
    proof = [raw(item) for item in case["proof"]]
    if "leafIdx" in case:
        leaf, root = raw(case["leafHash"]), raw(case["root"])
        verify_inclusion(root, case["treeSize"], case["leafIdx"], leaf, proof)
    else:
        old, new = raw(case["root1"]), raw(case["root2"])
        verify_consistency(case["size1"], old, case["size2"], new, proof)


def test_there_are_as_many_cases_as_are_published():
    assert len(INCLUSION) == len(CONSISTENCY) == 98
    assert (
        len({name(case) for case in INCLUSION}) == len({name(case) for case in CONSISTENCY}) == 98
    )


@pytest.mark.parametrize("published", PUBLISHED, ids=name)
def test_cases_are_those_of_the_published_files(published):
    assert published in INCLUSION + CONSISTENCY


def test_files_are_what_the_generator_writes():
    assert list(generate.inclusion()) == INCLUSION
    assert list(generate.consistency()) == CONSISTENCY


@pytest.mark.parametrize("case", [c for c in INCLUSION + CONSISTENCY if not c["wantErr"]], ids=name)
def test_valid_proof_is_accepted(case):
    verify(case)


@pytest.mark.parametrize("case", [c for c in INCLUSION if c["wantErr"]], ids=name)
def test_invalid_inclusion_is_refused(case):
    with pytest.raises(InclusionError):
        verify(case)


@pytest.mark.parametrize("case", [c for c in CONSISTENCY if c["wantErr"]], ids=name)
def test_invalid_consistency_is_refused(case):
    with pytest.raises(ConsistencyError):
        verify(case)
