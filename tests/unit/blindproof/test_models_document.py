"""docs/models.md is what the importers say."""

from __future__ import annotations

from pathlib import Path

from blindproof.models_document import LIBRARIES, document
from fhe_layers.importing.imported import Treatment
from protocol import links


def test_the_document_is_up_to_date(repository_root: Path):
    written = (repository_root / "docs" / "models.md").read_text()
    assert written == document(), "run: python -m blindproof.models_document > docs/models.md"


def test_every_row_is_in_it_once_and_says_what_to_use_instead():
    text = document()
    for heading, _, support in LIBRARIES:
        section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        named = [operator.operator for operator in support]
        assert len(set(named)) == len(named)
        for row in support:
            assert section.count(f"`{row.operator}`") >= 1
            if row.treatment is Treatment.REFUSED:
                assert row.note


def test_every_link_is_explained():
    text = document()
    for link in links.LINKS:
        assert f"| `{link}` |" in text
