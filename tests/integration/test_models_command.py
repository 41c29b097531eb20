"""`blindproof models` on a directory of real models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from blindproof.cli import app
from protocol.about import About
from protocol.parameters import Mode
from server.registry import ModelBundle, ModelRegistry
from tests.integration import example_models


@pytest.fixture(scope="module")
def bundles() -> list[ModelBundle]:
    about = About("triage, not diagnosis", "569 biopsies", "CC-BY-4.0", (("accuracy", 0.97),))
    model = replace(example_models.linear_model(), about=about)
    return [example_models.bundle(model), example_models.bundle(model, Mode.PUBLIC)]


@pytest.fixture
def models(tmp_path: Path, bundles: list[ModelBundle]) -> Path:
    registry = ModelRegistry(tmp_path / "models")
    for bundle in bundles:
        registry.publish(bundle)
    return tmp_path / "models"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def test_a_directory_is_listed(models, bundles):
    result = run("list", "--models", models)
    assert result.exit_code == 0, result.output
    for bundle in bundles:
        assert bundle.digest.hex() in result.output
    assert "licence CC-BY-4.0" in result.output


def test_a_card_is_shown_with_what_is_not_proved(models, bundles):
    result = run("show", bundles[0].digest.hex()[:12], "--models", models)
    assert result.exit_code == 0, result.output
    for text in ("triage, not diagnosis", "569 biopsies", "accuracy", "not proved", "encrypted"):
        assert text in result.output
    for column in bundles[0].card.features:
        assert column.name in result.output


def test_every_model_is_verified_and_a_damaged_one_fails(models, bundles):
    assert run("verify", "--models", models).exit_code == 0
    path = models / bundles[0].digest.hex() / "registration.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    result = run("verify", "--models", models)
    assert result.exit_code == 1
    assert result.output.count("REFUSED") == 1
    assert run("verify", bundles[1].digest.hex(), "--models", models).exit_code == 0
    assert run("verify", bundles[0].digest.hex(), "--models", models).exit_code == 2


def test_a_model_is_carried_in_one_file(models, bundles, tmp_path):
    file, elsewhere = tmp_path / "risk.blindproof", tmp_path / "elsewhere"
    chosen = bundles[0].digest.hex()
    assert run("export", chosen, "--models", models, "--output", file).exit_code == 0
    assert run("verify", file).exit_code == 0
    result = run("import", file, "--models", elsewhere)
    assert result.exit_code == 0, result.output
    assert result.output.strip() == chosen
    assert ModelRegistry(elsewhere).get(bundles[0].digest).card == bundles[0].card


def test_a_public_bundle_is_verified_offline_and_cannot_be_published(models, bundles, tmp_path):
    file = tmp_path / "risk.blindproof"
    arguments = ("--models", models, "--output", file, "--public")
    assert run("export", bundles[0].digest.hex(), *arguments).exit_code == 0
    result = run("verify", file)
    assert result.exit_code == 0
    assert "the weights are not here" in result.output
    result = run("import", file, "--models", tmp_path / "elsewhere")
    assert result.exit_code == 2
    assert "no weights" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "", "--models", "MODELS"), "have a digest"),
        (("show", "zz", "--models", "MODELS"), "no model of the 2"),
        (("show", "ab"), "say with --models"),
        (("import", __file__, "--models", "MODELS"), "not a bundle file, or a damaged one"),
        (("list", "--models", "nowhere"), "there is no such directory"),
        (("verify",), "name a model"),
        (("verify", "nothing.blindproof"), "No such file"),
        (("export", "ab", "--models", "MODELS", "--output", "risk.zip"), "name it"),
    ],
)
def test_mistakes_are_explained(models, arguments: tuple[str, ...], message: str):
    result = run(*(str(models) if argument == "MODELS" else argument for argument in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
