"""The demonstration shows what it says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from blindproof.auditing.export_file import ExportFile
from blindproof.cli import app
from blindproof.demo import audit_trail
from blindproof.demo.altered_exports import Alteration, altered
from blindproof.demo.answers import DemonstrationError
from blindproof.demo.cheats import Cheat
from blindproof.demo.story import NETWORK_CHEATS
from tests.unit.blindproof.auditing.example_trail import LOG_KEY, ExampleTrail, answer

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
    # Four enrolments and six answers, one of which warmed both sides up.
    assert "The trail of 10 receipts, verified offline from a file of" in result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    for subject, count in (("place in the log", 10), ("older checkpoint", 1), ("proof", 6)):
        assert f"{subject} {count} verified" in lines
    assert "signed by the server, the client" in lines
    for alteration in Alteration:
        (line,) = (line for line in lines if line.startswith(f"altered: {alteration}"))
        assert "refused: " in line


@pytest.mark.timeout(120)
def test_a_trail_that_should_not_pass_would_stop_the_demonstration(tmp_path, monkeypatch):
    trail = ExampleTrail(tmp_path)
    for number in (1, 4):
        trail.answered(answer(number))
    early, late = tmp_path / "early.zip", tmp_path / "late.zip"
    trail.export(early)
    trail.export(late)
    with early.open("rb") as stream:
        receipt = ExportFile(stream).receipt(0)
    found = audit_trail.audited(early, late, LOG_KEY, receipt)
    assert (found.receipts, len(found.refused)) == (2, len(Alteration))
    late.write_bytes(altered(late.read_bytes(), Alteration.OUTPUT))
    with pytest.raises(DemonstrationError, match="the audit trail was refused"):
        audit_trail.audited(early, late, LOG_KEY, receipt)
    trail.export(late)
    monkeypatch.setattr(audit_trail, "altered", lambda export, alteration: export)
    with pytest.raises(DemonstrationError, match="an auditor accepted another trail"):
        audit_trail.audited(early, late, LOG_KEY, receipt)


@pytest.mark.timeout(600)
def test_a_cheat_that_passed_would_stop_the_demonstration(monkeypatch):
    from blindproof.demo import story

    monkeypatch.setattr(story, "_refusal", lambda *arguments: None)
    monkeypatch.setattr(story, "NETWORKS", story.NETWORKS[:1])
    with pytest.raises(story.DemonstrationError, match="accepted a different model"):
        story.play(lambda step: None)
