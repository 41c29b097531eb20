"""Settings of a server: arguments, or environment variables with the prefix BLINDPROOF_.

`server.configuration` adds a file, and says which settings take effect while a server runs.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from audit.receipt import TimeSource
from protocol.accountability import DEFAULT_TENANT, MAX_TOKEN, is_token
from protocol.errors import BlindproofError
from protocol.parameters import MAX_IDENTITY

ENVIRONMENT_PREFIX = "BLINDPROOF_"
LONGEST_REQUEST_SECONDS = 3600.0
"""A call's archived request has no receipt before its answer, and must not count as forgotten."""
LONGEST_PAUSE_SECONDS = 86400.0
TENANT_PLACEHOLDER = "{tenant}"
"""Stands for a tenant's name where several have something each of their own."""
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")
_LARGEST_PORT = 65535
_COLLECTOR = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class Executor(StrEnum):
    """What does the work on words."""

    PROCESSES = "processes"
    THREADS = "threads"
    RAY = "ray"


class SettingsError(BlindproofError):
    """A setting is missing or malformed."""


class ServerSettings(BaseSettings):
    """Where a server listens, what it keeps where, and how much of anything it accepts.

    Attributes:
        listen: host:port, an IPv6 address in brackets; port 0 takes a free one.
        server_id: the server's name in every proof transcript; clients bind their keys to it.
        tls_certificate, tls_key: PEM files.  There is no way to serve without TLS.
        tls_client_ca: PEM file; when given, clients must show a certificate it signed, whose
            common name is the client identity they use.
        models: directory of published models; must exist.
        state: directory of the server's secret and of the enrolled keys.
        address_file: written with the actual address once the server accepts calls.
        max_requests: calls that may hold ciphertexts in memory at once; more wait, holding nothing
            but their header.
        max_streams: calls that may be there at once, waiting or not; more are refused.
        max_memory_bytes: what the words of all calls may take together; a call that does not fit
            is refused before it sends any.  Working copies of a proof come on top, about a quarter.
        executor: what evaluates and proves: processes, of which one that dies takes one request
            with it, threads of this process, or workers in a Ray cluster.
        workers: processes; one for each processor if None.  With the executor ray, actors in the
            cluster, and needed: those for which no node has room wait for one that has.
        worker_threads: each computes with; more than one shortens what a lone request takes.
        max_worker_bytes: a process that has more memory after a request is replaced by a new one.
        ray_address: with the executor ray, host:port of the cluster's head, or auto; this machine
            must be one of its nodes.
        ray_node_address: this machine's address among the nodes, if it has several.
        ray_shared_bytes: models and keys that are kept in the cluster's memory, beside what is at
            work; together less than the nodes' object stores hold.
        compute_threads: evaluations and proofs that run at once in threads; more wait.
        max_parked_bytes: what is kept of uploads that broke, for clients who go on where these did.
        parked_seconds: how long it is kept.
        quota_requests, quota_transfer_bytes, quota_compute_seconds: what a tenant may use in a
            minute, predictions and enrolments together; as much as there is if None.
        quota_places: of `max_requests`, what one tenant may have; if None, half of them with a file
            of tenants, all of them without.
        header_seconds: longest wait for the first message of a stream, which holds no slot yet.
        idle_seconds: longest wait for a further message, or for a peer to read one.
        request_seconds: longest time a call may take, its transfer included; an hour at most, since
            what it archives counts as forgotten after a day.
        max_enrolment_sessions: enrolments that may be open at once; another displaces the oldest.
        enrolment_seconds: time a client has to answer an enrolment's nonce.
        max_enrolled_keys: enrolments kept.
        max_enrolled_bytes: what they may take on disk; one for a linear model has about 0.2 MB for
            each output, one for a deep network tens of megabytes.
        connection_seconds: about the time after which a client's connection is made anew, once its
            calls have ended: certificates are judged when it is made.
        reload_seconds: between two looks at whether certificates or the file of settings changed.
        shutdown_seconds: time running calls get to end when the server stops.
        tenant: the organisation whose calls are served; calls for another one are refused.
        tenants: file of several organisations and of who belongs to which (`server.tenants`): each
            has its models in a directory of its name in `models`, and everything else in one in
            `state`/tenants; nobody else is served then.  `audit_database`, `audit_archive` and
            `audit_checkpoint` name the tenant as `{tenant}` then, `audit_origin` is the first part
            of each log's name, and limits of keys and models are of each tenant.
        max_models: models of a tenant that may be published over the network.
        time_source: where this machine's time is from, for receipts: system, ntp or ptp.
        audit_database: URL of the database of the audit log; a file in `state` if None.
        audit_archive: path or URL of the archive; a directory in `state` if None.
        audit_origin: the log's name, bound to its key by who pins it; made from `server_id` if
            None.
        audit_checkpoint: file of a checkpoint that was kept elsewhere; the server only starts with
            a log that extends it.
        audit_requests_days, audit_responses_days: for how long requests and answers stay in the
            archive; for as long as the log if None.  Receipts always stay.
        audit_witnesses: file of the witnesses that cosign the log.
        audit_page: host:port of the page that shows the trail; there is none if None.
        audit_page_token: file of the page's token, made if it is missing; in `state` if None.
        gateway: host:port of the REST gateway; there is none if None.
        max_gateway_connections: open there at once; more are hung up on.
        metrics: host:port of /metrics, /healthz and /readyz, plain HTTP for operators; there are
            none if None.
        traces: URL of a collector of traces, OTLP over HTTP; there are none if None.
        traces_fraction: of all traces that are kept.
    """

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    listen: str = "127.0.0.1:50443"
    server_id: str = Field(default="blindproof", min_length=1, max_length=MAX_IDENTITY)
    tls_certificate: Path
    tls_key: Path
    tls_client_ca: Path | None = None
    models: Path
    state: Path
    address_file: Path | None = None
    max_requests: PositiveInt = 8
    max_streams: PositiveInt = 1000
    max_memory_bytes: PositiveInt = 4 << 30
    executor: Executor = Executor.PROCESSES
    workers: PositiveInt | None = None
    worker_threads: PositiveInt = 1
    max_worker_bytes: PositiveInt = 1 << 30
    ray_address: str | None = None
    ray_node_address: str | None = None
    ray_shared_bytes: PositiveInt = 256 << 20
    compute_threads: PositiveInt = 2
    max_parked_bytes: NonNegativeInt = 256 << 20
    parked_seconds: PositiveFloat = 60.0
    quota_requests: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    quota_transfer_bytes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    quota_compute_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    quota_places: PositiveInt | None = None
    header_seconds: PositiveFloat = 5.0
    idle_seconds: PositiveFloat = 10.0
    request_seconds: PositiveFloat = Field(default=300.0, le=LONGEST_REQUEST_SECONDS)
    max_enrolment_sessions: PositiveInt = 64
    enrolment_seconds: PositiveFloat = 60.0
    max_enrolled_keys: PositiveInt = 10_000
    max_enrolled_bytes: PositiveInt = 64 << 30
    connection_seconds: PositiveFloat = Field(default=3600.0, le=LONGEST_PAUSE_SECONDS)
    reload_seconds: PositiveFloat = Field(default=2.0, le=LONGEST_PAUSE_SECONDS)
    shutdown_seconds: PositiveFloat = 10.0
    tenant: str = DEFAULT_TENANT
    tenants: Path | None = None
    max_models: PositiveInt = 256
    time_source: TimeSource = TimeSource.SYSTEM
    audit_database: str | None = None
    audit_archive: str | None = None
    audit_origin: str | None = None
    audit_checkpoint: Path | None = None
    audit_requests_days: NonNegativeFloat | None = None
    audit_responses_days: NonNegativeFloat | None = None
    audit_witnesses: Path | None = None
    audit_page: str | None = None
    audit_page_token: Path | None = None
    gateway: str | None = None
    max_gateway_connections: PositiveInt = 256
    metrics: str | None = None
    traces: str | None = None
    traces_fraction: float = Field(default=1.0, ge=0.0, le=1.0)

    @field_validator("listen", "audit_page", "gateway", "metrics")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        match = None if value is None else _ADDRESS.fullmatch(value)
        if value is not None and (match is None or int(match["port"]) > _LARGEST_PORT):
            raise ValueError(f"expected host:port with a port up to {_LARGEST_PORT}")
        return value

    @field_validator("traces")
    @classmethod
    def _is_collector(cls, value: str | None) -> str | None:
        if value is not None and not _COLLECTOR.fullmatch(value):
            raise ValueError("expected http://host:port/path, or https")
        return value

    @field_validator("tenant")
    @classmethod
    def _is_token(cls, value: str) -> str:
        if not is_token(value):
            raise ValueError(f"expected at most {MAX_TOKEN} letters, digits or . _ : / + -")
        return value

    @field_validator("tenants")
    @classmethod
    def _is_the_only_one(cls, value: Path | None, known: ValidationInfo) -> Path | None:
        if value is not None and known.data.get("tenant", DEFAULT_TENANT) != DEFAULT_TENANT:
            raise ValueError("there are several tenants or one: leave 'tenant', or this one")
        return value

    @field_validator("audit_database", "audit_archive", "audit_checkpoint")
    @classmethod
    def _is_of_each_tenant(
        cls, value: str | Path | None, known: ValidationInfo
    ) -> str | Path | None:
        several = known.data.get("tenants") is not None
        if value is not None and several is not (TENANT_PLACEHOLDER in str(value)):
            raise ValueError(
                f"expected {TENANT_PLACEHOLDER} in it: each tenant has its own"
                if several
                else f"{TENANT_PLACEHOLDER} stands for nothing without a file of tenants"
            )
        return value

    @field_validator("audit_page")
    @classmethod
    def _is_of_one_trail(cls, value: str | None, known: ValidationInfo) -> str | None:
        if value is not None and known.data.get("tenants") is not None:
            raise ValueError("the page shows one trail, and each tenant has its own")
        return value

    @field_validator("audit_requests_days", "audit_responses_days")
    @classmethod
    def _is_finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("expected a number of days")
        return value


def read_settings(**given: Any) -> ServerSettings:  # noqa: ANN401 -- values are validated here
    """Settings from arguments, the environment, and the defaults, in this order.

    Raises:
        SettingsError: one is missing or malformed; the message names it.
    """
    try:
        return ServerSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]).lower()
        message = first["msg"].removeprefix("Value error, ").lower()
        variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
        if first["type"] == "missing":
            option = name.replace("_", "-")
            message = f"needed: give --{option}, or set {variable}"
        raise SettingsError(f"setting '{name}' ({variable}): {message}") from None
