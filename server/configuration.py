"""Where settings come from: arguments, then the environment, then a file, then the defaults.

The file is TOML, one line for each setting, named as in `ServerSettings`; deploy/blindproof.toml
has them all.  Paths in it are relative to the working directory, as everywhere else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource

from protocol.errors import EncodingError
from server.settings import ENVIRONMENT_PREFIX, ServerSettings, SettingsError, read_settings
from wire.files import read_regular

MAX_FILE_BYTES = 1 << 20
FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"

RELOADED = frozenset(
    {
        "header_seconds",
        "idle_seconds",
        "max_requests",
        "max_streams",
        "quota_compute_seconds",
        "quota_places",
        "quota_requests",
        "quota_transfer_bytes",
        "reload_seconds",
        "request_seconds",
        "shutdown_seconds",
        "tls_certificate",
        "tls_client_ca",
        "tls_key",
    }
)
"""Settings that take effect while a server runs.  All others need a restart."""


@dataclass(frozen=True)
class Configuration:
    """What a server was started with; read again when it is told to, or when the file changes.

    Attributes:
        file: TOML file of settings, if there is one.
        arguments: settings given on the command line.
    """

    file: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: ServerSettings) -> Configuration:
        """Of settings that are there: only the files they name can change."""
        return cls(arguments=settings.model_dump())

    def settings(self) -> ServerSettings:
        """The settings as they are now.

        Raises:
            SettingsError: the file cannot be read, or a setting is missing or malformed.
        """
        if self.file is None:
            return read_settings(**self.arguments)
        stated = _read(self.file)
        unknown = stated.keys() - ServerSettings.model_fields.keys()
        if unknown:
            raise SettingsError(f"{self.file}: there is no setting '{min(unknown)}'")
        # What is handed over stands above the environment: what it has is taken from it first.
        environment = EnvSettingsSource(ServerSettings)()
        try:
            return read_settings(**{**stated, **environment, **self.arguments})
        except SettingsError as error:
            raise SettingsError(f"{error} (with {self.file})") from None


def restarting(present: ServerSettings, wanted: ServerSettings) -> list[str]:
    """Names of settings that have changed and need a restart."""
    return [
        name
        for name in ServerSettings.model_fields
        if name not in RELOADED and getattr(present, name) != getattr(wanted, name)
    ]


def reloaded(present: ServerSettings, wanted: ServerSettings) -> ServerSettings:
    """What runs, with those of the wanted settings that take effect while it does."""
    return present.model_copy(update={name: getattr(wanted, name) for name in RELOADED})


def _read(path: Path) -> dict[str, Any]:
    """Raises SettingsError."""
    try:
        return tomllib.loads(read_regular(path, MAX_FILE_BYTES).decode())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (EncodingError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}") from None
