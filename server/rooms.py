"""What is one tenant's: its models, its enrolled keys, its audit trail.  Rooms share nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from audit.recorder import Observer
from server.keys import EnrolledKeyStore, EnrolmentSessions
from server.refusals import Refusal
from server.registry import ModelRegistry
from server.settings import ServerSettings
from server.starting import ServerError, starting
from server.trail import Trail
from server.trail_files import default_origin, open_trail_files
from server.trail_tasks import sweeping
from wire.files import make_private_directory
from wire.rpc import Reason

_log = structlog.get_logger("blindproof.server")


@dataclass(frozen=True)
class Place:
    """Where a room keeps what it has.

    Attributes:
        tenant: whose.
        models: directory of its published models.
        state: directory of everything else, as far as it is not named below.
        database, archive: URLs of the audit trail's parts; in `state` if None.
        origin: the name of its log.
        checkpoint: file of a checkpoint which its log must extend.
    """

    tenant: str
    models: Path
    state: Path
    database: str | None
    archive: str | None
    origin: str
    checkpoint: Path | None

    @classmethod
    def only(cls, settings: ServerSettings) -> Place:
        """Of the one tenant of a server that has no others."""
        return cls(
            settings.tenant,
            settings.models,
            settings.state,
            settings.audit_database,
            settings.audit_archive,
            settings.audit_origin or default_origin(settings.server_id),
            settings.audit_checkpoint,
        )


@dataclass(frozen=True, eq=False)
class Room:
    """One tenant's part of a server.

    Attributes:
        tenant: whose.
        registry: its published models.
        keys: its clients' enrolled keys.
        sessions: its clients' open enrolments.
        trail: its receipts.
    """

    tenant: str
    registry: ModelRegistry
    keys: EnrolledKeyStore
    sessions: EnrolmentSessions
    trail: Trail


class Rooms(Protocol):
    """The rooms of a server."""

    def of(self, tenant: str) -> Room:
        """The room of a tenant.  Raises Refusal (identity-refused) when there is none."""


class OneRoom:
    """The room of a server with one tenant."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def of(self, tenant: str) -> Room:
        """See `Rooms`."""
        if tenant != self._room.tenant:
            raise Refusal(Reason.IDENTITY_REFUSED, f"tenant '{tenant}' is not served here")
        return self._room


@asynccontextmanager
async def opened(
    place: Place, settings: ServerSettings, observer: Observer | None = None
) -> AsyncIterator[Room]:
    """A room, for as long as the context lasts; its archive is swept meanwhile.

    Args:
        place: where it is.
        settings: its limits.
        observer: called at each step of the commit of a receipt, from any thread; for tests.

    Raises:
        ServerError: directories or audit trail cannot be used.
    """
    if not place.models.is_dir():
        raise ServerError(f"{place.models}: no model directory; publish a model there first")
    with starting(place.models):
        registry = ModelRegistry(place.models)
        if not registry.load_all():
            _log.warning("no model to serve yet", path=str(place.models))
    with starting(place.state):
        keys = EnrolledKeyStore(
            make_private_directory(place.state) / "keys",
            settings.max_enrolled_keys,
            settings.max_enrolled_bytes,
        )
        files = open_trail_files(
            place.state,
            place.database,
            place.archive,
            origin=place.origin,
            checkpoint=place.checkpoint,
        )
    sessions = EnrolmentSessions(settings.max_enrolment_sessions, settings.enrolment_seconds)
    # Taken down in the reverse order: what records calls goes on as long as any is served.
    try:
        trail = Trail(files, place.tenant, settings.time_source, observer)
        try:
            async with sweeping(settings, files):
                yield Room(place.tenant, registry, keys, sessions, trail)
        finally:
            await trail.close()
    finally:
        files.close()
