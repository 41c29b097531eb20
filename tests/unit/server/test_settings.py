from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.settings import ServerSettings

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
        {"server_id": ""},
        {"server_id": "x" * 201},
        {"unknown": 1},
    ],
)
def test_nonsense_is_refused(changes):
    with pytest.raises(ValidationError):
        ServerSettings(**{**REQUIRED, **changes})
