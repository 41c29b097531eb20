"""The program behind `make load`, for a few seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

STREAMS = 200


def test_a_short_load_is_answered_rightly(repository_root: Path, tmp_path: Path):
    output = tmp_path / "load.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.load", "--seconds", "8"),
            *("--streams", str(STREAMS), "--output", output),
        ],
        cwd=repository_root,
        check=True,
        timeout=120,
        capture_output=True,
    )
    found = json.loads(output.read_text())
    assert found["load.verified"] >= 10
    assert found["load.wrong"] == 0
    assert found["load.failed"] == 0
    assert found["load.streams_held"] == STREAMS
    assert found["load.streams_other_ends"] == 0
    assert found["load.server_peak_mib"] < 1024
