"""The examples run as a user runs them, and their documents quote what they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/run.py"))
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
NOT_PROSE = re.compile(r"```[^`]*```|`[^`]*`|^    .*$|^\d+\. ", re.MULTILINE)
MAX_PLOT_BYTES = 60_000
PNG = b"\x89PNG\r\n\x1a\n"

PROMISED = {
    "breast_cancer": [
        "same diagnosis as the model in the clear: 171 of 171",
        "log-odds within the proved bound: True",
    ],
    "credit": ["same as the integer model: 2400 of 2400"],
    "diabetes": [
        "sex: plaintext",
        "age band: plaintext",
        "glucose: encrypted",
        "stays with the clinic: patient",
    ],
    "digits": ["same label as the integer model in the clear: 64 of 64"],
    "licensed_model": [
        "registration proof holds; the weights are not here",
        "audited offline: 45 records",
        "refused, other weights: VerificationError: proof refused by the check",
        "refused, altered evidence: VerificationError: proof refused by the check",
        "refused, another model: ModelError: the server declined (model-unknown)",
    ],
}


@dataclass(frozen=True)
class Ran:
    """One example's output, and the plot it drew."""

    printed: str
    plot: bytes


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[str, Ran]:
    """Examples that ran already, so that each runs once."""
    return {}


def run(name: str, ran: dict[str, Ran], directory: Path) -> Ran:
    """Run a copy: the plot in the repository is not touched."""
    if name not in ran:
        copy = shutil.copytree(EXAMPLES / name, directory / name)
        plot = copy / "result.png"
        plot.unlink()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        finished = subprocess.run(
            [sys.executable, "run.py"],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        ran[name] = Ran(finished.stdout, plot.read_bytes())
    return ran[name]


def document(name: str) -> str:
    return (EXAMPLES / name / "README.md").read_text()


def quoted_lines(name: str) -> list[str]:
    (block,) = re.findall(r"```text\n(.*?)```", document(name), re.DOTALL)
    return block.splitlines()


def test_every_example_is_here_and_in_the_readme():
    assert sorted(PROMISED) == NAMES
    readme = (ROOT / "README.md").read_text()
    for name in NAMES:
        assert f"(examples/{name}/README.md)" in readme
        assert "![" in document(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_shows_what_it_promises(name, ran, tmp_path):
    shown = run(name, ran, tmp_path)
    for line in PROMISED[name]:
        assert line in shown.printed
    assert shown.plot.startswith(PNG)
    assert len(shown.plot) < MAX_PLOT_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_its_document_quotes_what_it_prints(name, ran, tmp_path):
    printed = run(name, ran, tmp_path).printed
    for line in quoted_lines(name):
        assert line in printed
    prose = NOT_PROSE.sub("", document(name))
    assert set(NUMBER.findall(prose)) <= set(NUMBER.findall(printed))


@pytest.mark.parametrize("name", NAMES)
def test_its_plot_is_in_the_repository(name):
    plot = (EXAMPLES / name / "result.png").read_bytes()
    assert plot.startswith(PNG)
    width, height = (int.from_bytes(plot[at : at + 4], "big") for at in (16, 20))
    assert 300 <= width <= 1200
    assert 200 <= height <= 800
    assert len(plot) < MAX_PLOT_BYTES
