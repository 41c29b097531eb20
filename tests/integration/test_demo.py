"""The demonstration shows what it says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.demo.cheats import Cheat

CHEATS = [cheat for cheat in Cheat if cheat is not Cheat.NONE]


@pytest.mark.rejects("C-39")
def test_the_demonstration_accepts_honest_answers_and_refuses_every_cheat(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.output
    for label in ("accuracy, encrypted", "proved error bound", "soundness", "verify", "decrypt"):
        assert label in result.output
    (shown,) = (line for line in result.output.splitlines() if "scikit-learn's own" in line)
    differences = [float(cell) for cell in shown.split("model")[1].split()]
    assert len(differences) == 2
    assert all(0 < difference < 1e-2 for difference in differences)
    assert "with a true proof, but of an earlier request" in result.output
    for cheat in CHEATS:
        rows = [line.split() for line in result.output.splitlines() if str(cheat) in line]
        assert len(rows) == 2
        assert all(row[-1] == "0" for row in rows)


def test_a_cheat_that_passed_would_stop_the_demonstration(monkeypatch):
    from blindproof.demo import story

    monkeypatch.setattr(story, "_refusal", lambda *arguments: None)
    with pytest.raises(story.DemonstrationError, match="accepted a different model"):
        story.play(lambda step: None)
