"""Every claim of the specification has a test that accepts and one that rejects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def _numbers(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text))


def _marked(root: Path, marker: str) -> set[str]:
    pattern = re.compile(rf'mark\.{marker}\("(C-\d+)"\)')
    sources = (path.read_text() for path in (root / "tests").rglob("*.py"))
    return {number for source in sources for number in pattern.findall(source)}


@pytest.mark.parametrize("marker", ["accepts", "rejects"])
def test_every_claim_is_carried_by_a_test(repository_root: Path, marker: str):
    claims = _numbers(r"\*\*(C-\d+)\*\*", (repository_root / "docs" / "protocol.md").read_text())
    assert len(claims) > 40
    marked = _marked(repository_root, marker)
    assert claims - marked == set(), f"claims that no test {marker}"
    assert marked - claims == set(), "marks of claims that the specification does not have"
