"""What the README shows is accepted by the code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import blindproof
from blindproof.cli import app
from blindproof.model_file import ModelFile
from blindproof.network_publishing import NetworkModel, publish_network
from blindproof.publishing import LinearModel


def _blocks(root: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)


def test_ten_lines_lead_from_a_fitted_model_to_verified_predictions(
    repository_root: Path, capsys: pytest.CaptureFixture[str]
):
    ten, *_ = _blocks(repository_root, "python")
    assert len([line for line in ten.splitlines() if line]) <= 10
    names: dict[str, Any] = {}
    exec(ten, names)  # noqa: S102
    expected = names["fitted"].predict(names["X"].head())
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(index, label) for index, label in shown[:5]] == [
        (str(index), str(label)) for index, label in enumerate(expected)
    ]
    result = names["model"].last_result
    assert result.labels == tuple(map(str, expected))
    assert result.soundness_bits > 80
    assert len(result.proof) > 0


def test_the_model_files_are_models(repository_root: Path, tmp_path: Path):
    linear, network = (
        ModelFile.model_validate(json.loads(text)).model()
        for text in _blocks(repository_root, "json")
    )
    assert isinstance(linear, LinearModel)
    assert linear.weights.shape == (1, len(linear.features))
    assert isinstance(network, NetworkModel)
    assert publish_network(tmp_path, network).outputs == network.outputs


def test_the_python_that_publishes_gives_the_model_of_the_file(
    repository_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, publishing, _ = _blocks(repository_root, "python")
    _, text = _blocks(repository_root, "json")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(publishing, names)  # noqa: S102
    file = ModelFile.model_validate(json.loads(text)).model()
    assert isinstance(file, NetworkModel)
    assert publish_network(tmp_path / "models", file).digest == names["card"].digest
    assert names["single"].name == f"{file.name}-single"
    assert names["single"].expansion


def test_the_python_that_asks_uses_names_that_exist(repository_root: Path):
    *_, asking = _blocks(repository_root, "python")
    imported = [
        alias.name
        for node in ast.walk(ast.parse(asking))
        if isinstance(node, ast.ImportFrom) and node.module == "blindproof"
        for alias in node.names
    ]
    assert imported
    for name in imported:
        assert hasattr(blindproof, name)


def test_the_commands_exist(repository_root: Path):
    text = (repository_root / "README.md").read_text()
    named = set(re.findall(r"^    blindproof (\w+)", text, re.MULTILINE))
    registered = {command.name or command.callback.__name__ for command in app.registered_commands}
    registered |= {group.name for group in app.registered_groups}
    assert named
    assert named <= registered


@pytest.mark.parametrize(
    "document",
    ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/model-file.md"],
)
def test_links_lead_somewhere(repository_root: Path, document: str):
    path = repository_root / document
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []
