from __future__ import annotations

import pytest
from pydantic import ValidationError

from audit.receipt import TimeSource
from audit.retention import RetentionRules
from server.settings import ServerSettings, SettingsError, read_settings
from server.trail_tasks import retention_rules

REQUIRED = {"tls_certificate": "c", "tls_key": "k", "models": "m", "state": "s"}


def test_settings_come_from_the_environment(monkeypatch):
    for name, value in {**REQUIRED, "max_requests": "3", "server_id": "mine"}.items():
        monkeypatch.setenv(f"BLINDPROOF_{name.upper()}", value)
    settings = ServerSettings()
    assert settings.max_requests == 3
    assert settings.server_id == "mine"
    assert settings.tls_client_ca is None


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_there_is_no_serving_without_tls_models_and_state(missing: str):
    given = {name: value for name, value in REQUIRED.items() if name != missing}
    with pytest.raises(ValidationError, match=missing):
        ServerSettings(**given)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_requests": 0},
        {"request_seconds": 0},
        {"request_seconds": 3601},
        {"server_id": ""},
        {"server_id": "x" * 201},
        {"unknown": 1},
        {"header_seconds": 0},
        {"idle_seconds": -1},
        {"listen": "localhost"},
        {"listen": ":50443"},
        {"listen": "localhost:"},
        {"listen": "localhost:65536"},
        {"listen": "localhost:-1"},
        {"listen": "localhost:port"},
        {"listen": "::1:50443"},
        {"listen": "local host:1"},
        {"listen": "unix:/tmp/1"},
        {"audit_page": "localhost"},
        {"audit_page": "localhost:65536"},
        {"tenant": ""},
        {"tenant": "a clinic"},
        {"tenant": "x" * 129},
        {"time_source": "sundial"},
        {"audit_requests_days": -1},
        {"audit_responses_days": float("inf")},
        {"audit_responses_days": float("nan")},
    ],
)
def test_nonsense_is_refused(changes):
    with pytest.raises(ValidationError):
        ServerSettings(**{**REQUIRED, **changes})


@pytest.mark.parametrize("listen", ["localhost:0", "0.0.0.0:65535", "[::1]:50443"])
def test_addresses_have_a_host_and_a_port(listen: str):
    assert ServerSettings(**REQUIRED, listen=listen).listen == listen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": None}, r"^setting 'models' \(BLINDPROOF_MODELS\): .*path"),
        (
            {"max_requests": "many"},
            r"^setting 'max_requests' \(BLINDPROOF_MAX_REQUESTS\): .*integer",
        ),
        ({"listen": "here"}, r"\(BLINDPROOF_LISTEN\): expected host:port"),
    ],
)
def test_what_is_wrong_with_a_setting_is_one_line(changes, message: str):
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(**{**REQUIRED, **changes})
    assert "\n" not in str(caught.value)


def test_settings_that_are_right_are_read():
    assert read_settings(**REQUIRED) == ServerSettings(**REQUIRED)


def test_the_audit_trail_is_in_the_state_directory_unless_said_otherwise(monkeypatch):
    settings = ServerSettings(**REQUIRED)
    assert (settings.tenant, settings.time_source) == ("default", TimeSource.SYSTEM)
    given = {name for name in ServerSettings.model_fields if name.startswith("audit_")}
    assert all(getattr(settings, name) is None for name in given)
    variables = {
        "TENANT": "clinic",
        "TIME_SOURCE": "ntp",
        "AUDIT_DATABASE": "postgresql://host/log",
        "AUDIT_ARCHIVE": "s3://bucket/prefix",
        "AUDIT_REQUESTS_DAYS": "0.5",
        "AUDIT_PAGE": "[::1]:8443",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"BLINDPROOF_{name}", value)
    settings = ServerSettings(**REQUIRED)
    assert (settings.tenant, settings.time_source) == ("clinic", TimeSource.NTP)
    assert settings.audit_database == "postgresql://host/log"
    assert settings.audit_archive == "s3://bucket/prefix"
    assert retention_rules(settings) == RetentionRules(requests_seconds=43200.0)
    assert settings.audit_page == "[::1]:8443"
