"""The demonstration shows what it says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.demo.cheats import Cheat
from blindproof.demo.story import NETWORK_CHEATS

CHEATS = [cheat for cheat in Cheat if cheat is not Cheat.NONE]


@pytest.mark.timeout(600)
@pytest.mark.rejects("C-39")
def test_the_demonstration_accepts_honest_answers_and_refuses_every_cheat(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.output
    for label in ("accuracy, encrypted", "proved error bound", "soundness", "verify", "decrypt"):
        assert label in result.output
    (shown,) = (line for line in result.output.splitlines() if "to the trained model" in line)
    differences = [float(cell) for cell in shown.split("model")[1].split()]
    assert len(differences) == 5
    assert all(0 < difference < 1e-2 for difference in differences)
    (equal,) = (line for line in result.output.splitlines() if "labels equal" in line)
    assert equal.split()[-5:] == ["yes"] * 5
    for title in ("MLP single", "CNN", "TenSEAL, one record, unverified"):
        assert title in result.output
    assert "with a true proof, but of an earlier request" in result.output
    for cheat in CHEATS:
        rows = [line.split() for line in result.output.splitlines() if str(cheat) in line]
        assert len(rows) == 2 + (cheat in NETWORK_CHEATS)
        assert all(row[-1] == "0" for row in rows)


@pytest.mark.timeout(600)
def test_a_cheat_that_passed_would_stop_the_demonstration(monkeypatch):
    from blindproof.demo import story

    monkeypatch.setattr(story, "_refusal", lambda *arguments: None)
    monkeypatch.setattr(story, "NETWORKS", story.NETWORKS[:1])
    with pytest.raises(story.DemonstrationError, match="accepted a different model"):
        story.play(lambda step: None)
