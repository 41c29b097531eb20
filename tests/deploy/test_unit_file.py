"""The unit of systemd: what it forbids, and that a server under it still does its work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY
from tests.faults.stage import build_stage
from tests.integration import example_models

UNIT = DEPLOY / "systemd" / "blindproof.service"
EXPOSURE_TENTHS = 15
"""Of what systemd-analyze gives: 0 is nothing, 100 everything."""

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def service() -> dict[str, list[str]]:
    """Options of the section [Service], each with all its values."""
    found: dict[str, list[str]] = defaultdict(list)
    section = UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


@with_systemd
def test_systemd_understands_it(tmp_path: Path):
    """As it is, but for a program that is there."""
    unit = tmp_path / UNIT.name
    program = service()["ExecStart"][0].split()[0]
    unit.write_text(UNIT.read_text().replace(program, sys.executable))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


@with_systemd
def test_systemd_finds_little_exposed():
    subprocess.run(
        [
            *("systemd-analyze", "security", "--no-pager", "--offline=true"),
            *(f"--threshold={EXPOSURE_TENTHS}", UNIT),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def test_it_forbids_what_the_guide_says():
    options = service()
    assert options["CapabilityBoundingSet"] == options["AmbientCapabilities"] == [""]
    expected = {
        "MemoryDenyWriteExecute": "true",
        "NoNewPrivileges": "true",
        "PrivateTmp": "true",
        "ProtectHome": "true",
        "ProtectSystem": "strict",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
        "UMask": "0077",
        "User": "blindproof",
    }
    assert {name: options[name] for name in expected} == {
        name: [value] for name, value in expected.items()
    }


def test_wrong_settings_are_not_tried_again_and_calls_may_end():
    options = service()
    assert options["RestartPreventExitStatus"] == ["2"]
    text = (DEPLOY / "blindproof.toml").read_text()
    shutdown = re.search(r"^#? ?shutdown_seconds = ([0-9.]+)", text, re.MULTILINE)
    assert float(options["TimeoutStopSec"][0]) > float(shutdown[1])


def test_directories_are_those_of_the_settings():
    options = service()
    made = {f"/var/lib/{name}" for name in options["StateDirectory"][0].split()}
    variables = dict(value.split("=", 1) for value in options["Environment"])
    assert variables["BLINDPROOF_MODELS"] in made
    assert str(Path(variables["BLINDPROOF_STATE"]).parent) in made
    assert options["ConfigurationDirectory"] == [
        Path(variables["BLINDPROOF_CONFIG"]).parent.name,
    ]


START_SECONDS = 30.0
UNSUPPORTED = 77
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
CONFINED = f"""
import ctypes, os, sys
if ctypes.CDLL(None).prctl({PR_SET_MDWE}, {PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0):
    sys.exit({UNSUPPORTED})
os.umask(0o077)
os.execv(sys.executable, [sys.executable, "-P", "-m", "server"])
"""


def test_a_server_that_may_not_make_code_answers(tmp_path: Path):
    """What MemoryDenyWriteExecute does, of workers as well: no page is written, then run."""
    stage = build_stage(tmp_path)
    address = tmp_path / "address"
    settings = stage.settings.model_copy(update={"address_file": address})
    variables = {
        f"BLINDPROOF_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude_none=True, exclude_defaults=True).items()
    }
    inherited = {name: text for name, text in os.environ.items() if "BLINDPROOF" not in name}
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", CONFINED],
        env={**inherited, **path, **variables},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not address.exists():
            if process.poll() == UNSUPPORTED:
                pytest.skip("this kernel cannot forbid it")
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with stage.client(address.read_text()) as client:
            rows = example_models.records(2)
            result = client.predict(rows)
        exact = example_models.exact_values(stage.models["private"], rows)
        assert abs(result.values - exact).max() <= result.error_bound
    finally:
        process.terminate()
        process.wait(timeout=30)
