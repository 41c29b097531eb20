"""Settings of a witness: variables with the prefix BLINDPROOF_WITNESS_, or arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from audit.errors import NoteError
from audit.signed_note import NoteKey
from audit.witness_policy import is_loopback
from witness.errors import WitnessServiceError

ENVIRONMENT_PREFIX = "BLINDPROOF_WITNESS_"
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")
_LARGEST_PORT = 65535


class WitnessSettings(BaseSettings):
    """Where a witness listens, what it keeps where, and which logs it watches.

    Attributes:
        state: directory that `blindproof witness keys` made.
        logs: verifier keys of the logs, one or more; as a variable, a JSON list.
        listen: host:port, an IPv6 address in brackets; port 0 takes a free one.
        tls_certificate, tls_key: PEM files.  Without them it listens on loopback only, behind what
            ends TLS for it.
        address_file: written with the actual address once requests are answered.
        max_requests: requests at once; more are refused.
        body_seconds: longest wait for a request's body.
    """

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    state: Path
    logs: tuple[str, ...] = Field(min_length=1)
    listen: str = "127.0.0.1:50480"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    address_file: Path | None = None
    max_requests: PositiveInt = 64
    body_seconds: PositiveFloat = 10.0

    @property
    def host(self) -> str:
        """Where to listen, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Where to listen."""
        return int(self.listen.rpartition(":")[2])

    def log_keys(self) -> tuple[NoteKey, ...]:
        """The keys of the logs."""
        return tuple(map(NoteKey.decoded, self.logs))

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        match = _ADDRESS.fullmatch(value)
        if match is None or int(match["port"]) > _LARGEST_PORT:
            raise ValueError(f"expected host:port with a port up to {_LARGEST_PORT}")
        return value

    @field_validator("logs")
    @classmethod
    def _are_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                NoteKey.decoded(text)
            except NoteError as error:
                raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _is_private_or_local(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("give both tls_certificate and tls_key, or neither")
        if self.tls_certificate is None and not is_loopback(self.host):
            raise ValueError(f"{self.listen}: without TLS a witness listens on loopback only")
        return self


def read_settings(**given: Any) -> WitnessSettings:  # noqa: ANN401 -- values are validated here
    """Settings from arguments, the environment, and the defaults, in this order.

    Raises:
        WitnessServiceError: one is missing or malformed; the message names it.
    """
    try:
        return WitnessSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        name = str(first["loc"][0]).lower() if first["loc"] else ""
        if not name:
            raise WitnessServiceError(message) from None
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        raise WitnessServiceError(f"setting '{name}' ({variable}): {message.lower()}") from None
