"""What is one tenant's: its models, its enrolled keys, its audit trail.  Rooms share nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from audit.recorder import Observer
from server.cosigning import Cosigning
from server.keys import EnrolledKeyStore, EnrolmentSessions
from server.refusals import Refusal
from server.registry import ModelRegistry
from server.settings import TENANT_PLACEHOLDER, ServerSettings
from server.starting import ServerError, starting
from server.telemetry import Telemetry
from server.trail import Trail
from server.trail_files import default_origin, open_trail_files
from server.trail_tasks import sweeping, witnesses
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

    @classmethod
    def of_tenant(cls, settings: ServerSettings, tenant: str) -> Place:
        """Of one tenant of several; its name is one that paths and logs take as it is."""

        def named(text: str | None) -> str | None:
            # Nothing else in it is a placeholder: URLs have braces of their own.
            return None if text is None else text.replace(TENANT_PLACEHOLDER, tenant)

        checkpoint = named(
            None if settings.audit_checkpoint is None else str(settings.audit_checkpoint)
        )
        origin = settings.audit_origin or default_origin(settings.server_id)
        return cls(
            tenant,
            settings.models / tenant,
            settings.state / "tenants" / tenant,
            named(settings.audit_database),
            named(settings.audit_archive),
            f"{origin}/{tenant}",
            None if checkpoint is None else Path(checkpoint),
        )


@dataclass(eq=False)
class Room:
    """One tenant's part of a server.

    Attributes:
        tenant: whose.
        registry: its published models.
        keys: its clients' enrolled keys.
        sessions: its clients' open enrolments.
        trail: its receipts.
        cosigning: who gets its log cosigned; None if nobody does.
    """

    tenant: str
    registry: ModelRegistry
    keys: EnrolledKeyStore
    sessions: EnrolmentSessions
    trail: Trail
    cosigning: Cosigning | None = None

    async def close(self) -> None:
        """Record whatever is left, then close its files."""
        try:
            await self.trail.close()
        finally:
            self.trail.files.close()

    def discard(self) -> None:
        """As `close`, of a room in which nobody was, outside the event loop."""
        self.trail.stop()
        self.trail.files.close()


class Rooms(Protocol):
    """The rooms of a server."""

    def of(self, tenant: str) -> Room:
        """The room of a tenant.  Raises Refusal (identity-refused) when there is none."""

    def all(self) -> list[Room]:
        """Every room there is."""


class OneRoom:
    """The room of a server with one tenant."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def of(self, tenant: str) -> Room:
        """See `Rooms`."""
        if tenant != self._room.tenant:
            raise Refusal(Reason.IDENTITY_REFUSED, f"tenant '{tenant}' is not served here")
        return self._room

    def all(self) -> list[Room]:
        """See `Rooms`."""
        return [self._room]


def open_room(
    place: Place,
    settings: ServerSettings,
    observer: Observer | None = None,
    telemetry: Telemetry | None = None,
) -> Room:
    """Open a room; whoever does closes it, or hands it to `kept`.

    Args:
        place: where it is.
        settings: its limits.
        observer: called at each step of the commit of a receipt, from any thread; for tests.
        telemetry: told what is recorded.

    Raises:
        ServerError: directories or audit trail cannot be used.
    """
    if not place.models.is_dir():
        raise ServerError(f"{place.models}: no model directory; publish a model there first")
    with starting(place.models):
        registry = ModelRegistry(place.models, settings.max_models)
        registry.remove_leftovers()
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
    try:
        trail = Trail(files, place.tenant, settings.time_source, observer, telemetry=telemetry)
    except BaseException:
        files.close()
        raise
    return Room(place.tenant, registry, keys, sessions, trail)


@asynccontextmanager
async def kept(room: Room, settings: ServerSettings) -> AsyncIterator[None]:
    """Sweep a room's archive and have its log cosigned while the context lasts; then close it.

    Raises:
        ServerError: its witnesses cannot be asked.
    """
    files = room.trail.files
    # Taken down in the reverse order: what records calls goes on as long as any is served.
    async with AsyncExitStack() as stack:
        stack.push_async_callback(room.close)
        await stack.enter_async_context(sweeping(settings, files))
        with starting(settings.state):
            room.cosigning = await stack.enter_async_context(witnesses(settings, files))
        yield


@asynccontextmanager
async def opened(
    place: Place,
    settings: ServerSettings,
    observer: Observer | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[Room]:
    """A room, for as long as the context lasts.  Arguments and errors: `open_room` and `kept`."""
    room = open_room(place, settings, observer, telemetry)
    async with kept(room, settings):
        yield room
