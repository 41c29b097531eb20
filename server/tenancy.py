"""Several tenants in one server: whose call it is, in which room, and what a new file changes.

Certificates and tokens are two ways to say who one is.  Whoever shows both must be of one tenant by
both, and is then who the token says: nobody ever has the roles of two identities at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from audit.recorder import Observer
from server.admission import quota_of
from server.calls import Calls
from server.extras import needing
from server.identity import Principal, Shown
from server.quotas import Quota, Quotas
from server.refusals import Refusal
from server.rooms import Place, Room, kept, open_room
from server.settings import ServerSettings
from server.starting import ServerError, starting
from server.telemetry import Telemetry
from server.tenants import Directory, Issuer, TenantsError, read_tenants
from wire.files import make_private_directory
from wire.rpc import Reason

if TYPE_CHECKING:
    from server.reloading import Step
    from server.tokens import TokenVerifier

_log = structlog.get_logger("blindproof.server")


class Tenancy:
    """The tenants of a server and their rooms.  For one event loop, but for `prepare`.

    It is an `Identification`, it is `Rooms`, and it is `Reloadable`.
    """

    def __init__(
        self,
        path: Path,
        settings: ServerSettings,
        observer: Observer | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Read the file and open the rooms; `serving` keeps them.

        Args:
            path: the tenants file.
            settings: of the server.
            observer: called at each step of the commit of a receipt, from any thread; for tests.
            telemetry: told what is recorded.

        Raises:
            TenantsError: the file cannot be used.
            ServerError: a room cannot be opened.
        """
        self._path = path
        self._settings = settings
        self._observer = observer
        self._telemetry = telemetry
        self._calls: Calls | None = None
        self._quotas: Quotas | None = None
        self._prepared: dict[str, Room] = {}
        self._keepers: dict[str, _Keeper] = {}
        self._settling: set[asyncio.Task[None]] = set()
        if not settings.models.is_dir():
            raise ServerError(f"{settings.models}: no model directory; make it first")
        self._directory = self._read()
        self._verifier = _verifier(self._directory.oidc)
        self._rooms = self._open(self._directory.names)

    @property
    def files(self) -> Iterable[Path]:
        """See `Reloadable`."""
        return (self._path,)

    @property
    def directory(self) -> Directory:
        """The tenants as they are now."""
        return self._directory

    def all(self) -> list[Room]:
        """See `Rooms`: by name."""
        return [room for _, room in sorted(self._rooms.items())]

    def of(self, tenant: str) -> Room:
        """See `Rooms`."""
        room = self._rooms.get(tenant)
        if room is None:
            raise _nobody()
        return room

    async def identify(self, shown: Shown) -> Principal:
        """See `Identification`."""
        if shown.bearer is None:
            return self._by_certificate(shown)
        verifier = self._verifier
        if verifier is None:
            raise Refusal(Reason.UNAUTHENTICATED, "no tokens are taken here")
        claims = await verifier.verify(shown.bearer)
        # From here on nothing waits: what is judged is the directory as it is now.
        if verifier is not self._verifier:
            raise Refusal(Reason.UNAUTHENTICATED, "the token's issuer has changed: try again")
        principal = self._directory.by_token(claims)
        if principal is None:
            raise _nobody()
        if shown.common_names and self._by_certificate(shown).tenant != principal.tenant:
            raise _nobody()
        return principal

    def _by_certificate(self, shown: Shown) -> Principal:
        if len(shown.common_names) != 1:
            raise Refusal(
                Reason.UNAUTHENTICATED,
                "the certificate has several common names"
                if shown.common_names
                else "show a certificate or a token",
            )
        principal = self._directory.by_certificate(shown.common_names[0])
        if principal is None:
            raise _nobody()
        return principal

    def prepare(self, settings: ServerSettings) -> Step:
        """See `Reloadable`: rooms of new tenants are opened, those of others are left alone."""
        # Of the settings only the default quota may have changed: those of rooms need a restart.
        directory = self._read()
        verifier = self._verifier
        if directory.oidc != self._directory.oidc:
            verifier = _verifier(directory.oidc)
        new = directory.names - self._rooms.keys() - self._prepared.keys()
        # What is opened here and not put into force, because of another part, waits for next time.
        self._prepared.update(self._open(new))
        return lambda: self._replace(directory, verifier, quota_of(settings))

    def _replace(
        self, directory: Directory, verifier: TokenVerifier | None, default: Quota
    ) -> None:
        """Put a directory into force; in the event loop."""
        changed = directory != self._directory
        reissued = directory.oidc != self._directory.oidc
        self._directory, self._verifier = directory, verifier
        for name in directory.names - self._rooms.keys():
            self._keep(self._prepared.pop(name))
        removed = self._rooms.keys() - directory.names
        leaving = [self._keepers.pop(name) for name in removed]
        for name in removed:
            del self._rooms[name]
        if self._quotas is not None:
            self._quotas.replace(default, directory.quotas)
        if changed:
            _log.info("tenants changed", tenants=len(directory.tenants), removed=len(removed))
            task = asyncio.get_running_loop().create_task(self._settle(leaving, reissued=reissued))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, leaving: Iterable[_Keeper], *, reissued: bool) -> None:
        """End the calls of who may not call any more, then close the rooms of who has gone.

        What one issuer has said is worth nothing under another one's keys.
        """
        directory = self._directory
        if self._calls is not None:
            await self._calls.revoke(
                lambda principal: (
                    directory.stands(principal) and not (reissued and principal.by_token)
                )
            )
        for keeper in leaving:
            await keeper.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Keep the rooms while the context lasts, those that are opened meanwhile too."""
        try:
            for room in self.all():
                self._keep(room)
            for keeper in list(self._keepers.values()):
                await keeper.ready()
            yield
        finally:
            await asyncio.gather(*self._settling, return_exceptions=True)
            for keeper in self._keepers.values():
                await keeper.close()
            for room in self._prepared.values():
                await room.close()

    def follow(self, calls: Calls, quotas: Quotas) -> None:
        """Say whose calls end, and which quotas change, with another file."""
        self._calls, self._quotas = calls, quotas

    def _keep(self, room: Room) -> None:
        self._rooms[room.tenant] = room
        self._keepers[room.tenant] = _Keeper(room, self._settings)

    def _read(self) -> Directory:
        """Raises TenantsError."""
        directory = read_tenants(self._path)
        demanded = self._settings.tls_client_ca is not None
        if demanded is not directory.lists_certificates:
            raise TenantsError(
                f"{self._path}: "
                + (
                    "TLS demands certificates (tls_client_ca), and none is listed"
                    if demanded
                    else "certificates are listed, and tls_client_ca is not set: nobody shows one"
                )
            )
        return directory

    def _open(self, names: Iterable[str]) -> dict[str, Room]:
        """Open rooms; all of them or none.  Raises ServerError."""
        rooms: dict[str, Room] = {}
        try:
            for name in sorted(names):
                place = Place.of_tenant(self._settings, name)
                with starting(place.models):
                    make_private_directory(place.models)
                rooms[name] = open_room(place, self._settings, self._observer, self._telemetry)
        except BaseException:
            for room in rooms.values():
                room.discard()
            raise
        return rooms


class _Keeper:
    """Keeps one room until it is closed."""

    def __init__(self, room: Room, settings: ServerSettings) -> None:
        self._room = room
        self._settings = settings
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def ready(self) -> None:
        """Wait until all that goes on in the room has begun.  Raises ServerError."""
        waiting = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait((self._task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            await self._task

    async def close(self) -> None:
        """End it, and close the room."""
        self._stop.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with kept(self._room, self._settings):
            self._ready.set()
            await self._stop.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("room closed", tenant=self._room.tenant, exc_info=task.exception())


def _nobody() -> Refusal:
    """The same for who is unknown, who shows two tenants, and who is of one that was removed."""
    return Refusal(Reason.IDENTITY_REFUSED, "whoever this is, it is not served here")


def _verifier(issuer: Issuer | None) -> TokenVerifier | None:
    if issuer is None:
        return None
    with needing("oidc"):
        from server.tokens import TokenVerifier
    return TokenVerifier(issuer)
