"""Settings of a server: environment variables with the prefix BLINDPROOF_, or arguments."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from protocol.parameters import MAX_IDENTITY


class ServerSettings(BaseSettings):
    """Where a server listens, what it keeps where, and how much of anything it accepts.

    Attributes:
        listen: host and port; port 0 takes a free one.
        server_id: the server's name in every proof transcript; clients bind their keys to it.
        tls_certificate, tls_key: PEM files.  There is no way to serve without TLS.
        tls_client_ca: PEM file; when given, clients must show a certificate it signed, whose
            common name is the client identity they use.
        models: directory of published models.
        state: directory of the server's secret and of the enrolled keys.
        address_file: written with the actual address once the server accepts calls.
        max_requests: calls that may hold ciphertexts in memory at once; more are refused.
        compute_threads: evaluations and proofs that run at once; more wait.
        request_seconds: longest time a call may take, its transfer included.
        max_enrolment_sessions: enrolments that may be open at once.
        enrolment_seconds: time a client has to answer an enrolment's nonce.
        max_enrolled_keys: enrolled keys kept.
        shutdown_seconds: time running calls get to end when the server stops.
    """

    model_config = SettingsConfigDict(env_prefix="BLINDPROOF_", extra="forbid", frozen=True)

    listen: str = "127.0.0.1:50443"
    server_id: str = Field(default="blindproof", min_length=1, max_length=MAX_IDENTITY)
    tls_certificate: Path
    tls_key: Path
    tls_client_ca: Path | None = None
    models: Path
    state: Path
    address_file: Path | None = None
    max_requests: PositiveInt = 8
    compute_threads: PositiveInt = 2
    request_seconds: PositiveFloat = 120.0
    max_enrolment_sessions: PositiveInt = 64
    enrolment_seconds: PositiveFloat = 60.0
    max_enrolled_keys: PositiveInt = 10_000
    shutdown_seconds: PositiveFloat = 10.0
