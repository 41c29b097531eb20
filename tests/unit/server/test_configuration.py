from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from blindproof.cli import app
from server.configuration import RELOADED, Configuration, reloaded, restarting
from server.settings import ServerSettings, SettingsError

REQUIRED = {"tls_certificate": "c", "tls_key": "k", "models": "m", "state": "s"}
EXAMPLE = Path(__file__).parents[3] / "deploy" / "blindproof.toml"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "blindproof.toml"
    write(path)
    return path


def write(path: Path, *lines: str) -> None:
    required = (f'{name} = "{value}"' for name, value in REQUIRED.items())
    path.write_text("\n".join((*required, *lines)))


def test_arguments_stand_above_the_environment_and_that_above_the_file(file, monkeypatch):
    write(file, "max_requests = 1", "compute_threads = 1", "idle_seconds = 1")
    monkeypatch.setenv("BLINDPROOF_MAX_REQUESTS", "2")
    monkeypatch.setenv("BLINDPROOF_COMPUTE_THREADS", "2")
    settings = Configuration(file, {"max_requests": 3}).settings()
    assert (settings.max_requests, settings.compute_threads, settings.idle_seconds) == (3, 2, 1.0)
    assert settings.header_seconds == 5.0


def test_without_a_file_there_are_arguments_and_environment(monkeypatch):
    monkeypatch.setenv("BLINDPROOF_MAX_REQUESTS", "2")
    assert Configuration(None, REQUIRED).settings().max_requests == 2


def test_settings_that_are_there_are_not_read_again_from_the_environment(monkeypatch):
    settings = ServerSettings(**REQUIRED)
    monkeypatch.setenv("BLINDPROOF_MAX_REQUESTS", "2")
    assert Configuration.of(settings).settings() == settings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_requsts = 1", r"there is no setting 'max_requsts'"),
        ("MAX_REQUESTS = 1", r"there is no setting 'MAX_REQUESTS'"),
        ("[server]", r"there is no setting 'server'"),
        ("max_requests = 0", r"setting 'max_requests' .*greater than 0.*blindproof\.toml"),
        ("max_requests = ", r"blindproof\.toml: Invalid value"),
    ],
)
def test_what_is_wrong_with_the_file_is_one_line_that_names_it(file, line, message):
    write(file, line)
    with pytest.raises(SettingsError, match=message) as caught:
        Configuration(file).settings()
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path):
    with pytest.raises(SettingsError, match="missing: No such file"):
        Configuration(tmp_path / "missing", REQUIRED).settings()
    (tmp_path / "latin").write_bytes(b"# \xff")
    with pytest.raises(SettingsError, match="latin: "):
        Configuration(tmp_path / "latin", REQUIRED).settings()
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(SettingsError, match="more than"):
        Configuration(tmp_path / "large", REQUIRED).settings()


def test_what_takes_effect_while_a_server_runs_is_said():
    present = ServerSettings(**REQUIRED)
    wanted = present.model_copy(update={"idle_seconds": 1.0, "listen": "127.0.0.1:1"})
    assert restarting(present, wanted) == ["listen"]
    assert reloaded(present, wanted) == present.model_copy(update={"idle_seconds": 1.0})
    assert ServerSettings.model_fields.keys() >= RELOADED


# The command.


@pytest.fixture
def started(monkeypatch) -> list[Configuration]:
    """What the server was started with."""
    configurations: list[Configuration] = []
    monkeypatch.setattr("server.main.main", configurations.append)
    return configurations


def test_serve_takes_a_file_below_its_options(file, started):
    write(file, "server_id = 'of the file'", "idle_seconds = 1")
    arguments = ["serve", "--config", str(file), "--server-id", "given"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    settings = started[0].settings()
    assert (settings.server_id, settings.idle_seconds) == ("given", 1.0)
    variables = {"BLINDPROOF_CONFIG": str(file)}
    assert CliRunner().invoke(app, ["serve"], env=variables).exit_code == 0
    assert started[1].settings().server_id == "of the file"


# The annotated example: every setting with its default, so that it can be read instead of the code.


def test_the_example_is_a_file_of_settings():
    text = EXAMPLE.read_text()
    assert Configuration(EXAMPLE).settings() == ServerSettings(**tomllib.loads(text))


def test_the_example_has_every_setting_once_with_its_default():
    shown = re.findall(r"^(# )?([a-z0-9_]+) = (.+)$", EXAMPLE.read_text(), re.MULTILINE)
    assert sorted(name for _, name, _ in shown) == sorted(ServerSettings.model_fields)
    for commented, name, value in shown:
        default = ServerSettings.model_fields[name].default
        assert bool(commented) is (default is not PydanticUndefined), name
        if default is not None and default is not PydanticUndefined:
            assert tomllib.loads(f"value = {value}")["value"] == default, name


def test_the_example_says_what_needs_a_restart():
    marked = re.findall(
        r"^(?:# )?([a-z0-9_]+) = .+?(  # reloaded)?$", EXAMPLE.read_text(), re.MULTILINE
    )
    assert {name for name, mark in marked if mark} == RELOADED
