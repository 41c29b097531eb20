"""What deploy/ and its guide set is a setting, and has a value that it takes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from server.configuration import FILE_VARIABLE, Configuration
from server.settings import ENVIRONMENT_PREFIX, ServerSettings
from tests.deploy.manifests import DEPLOY, ROOT, settings_files
from witness.settings import ENVIRONMENT_PREFIX as WITNESS_PREFIX
from witness.settings import WitnessSettings

VARIABLE = re.compile(r"BLINDPROOF_[A-Z][A-Z_]*[A-Z]")
KNOWN = {
    FILE_VARIABLE,
    *(f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in ServerSettings.model_fields),
    *(f"{WITNESS_PREFIX}{name.upper()}" for name in WitnessSettings.model_fields),
}
TEXTS = [
    *(path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and path.suffix != ".pyc"),
    ROOT / "docs" / "operations.md",
]


def test_the_search_finds_what_is_no_setting():
    text = "BLINDPROOF_LISTEN=:1 BLINDPROOF_LISTENS=:1"
    assert set(VARIABLE.findall(text)) - KNOWN == {"BLINDPROOF_LISTENS"}


def test_every_variable_is_a_setting():
    unknown = {
        f"{path.relative_to(ROOT)}: {variable}"
        for path in TEXTS
        for variable in VARIABLE.findall(path.read_text(errors="replace"))
        if variable not in KNOWN
    }
    assert unknown == set()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("place", settings_files())
def test_files_of_settings_are_taken_as_they_are(place: str, tmp_path: Path, bare_environment):
    file = tmp_path / "blindproof.toml"
    file.write_text(settings_files()[place])
    settings = Configuration(file).settings()
    assert settings.models == Path("/var/lib/blindproof/models")
    assert settings.state == Path("/var/lib/blindproof/state")


@pytest.mark.parametrize("place", [place for place in settings_files() if place != "image.toml"])
def test_who_has_no_certificate_is_not_served(place: str, tmp_path: Path, bare_environment):
    file = tmp_path / "blindproof.toml"
    file.write_text(settings_files()[place])
    assert Configuration(file).settings().tls_client_ca is not None
