"""New settings, certificates and tenants while the server runs: all that changed, or nothing.

A reload is wanted when SIGHUP says so, or when a file that was read has changed.  Everything is
read and judged first; what was judged is put into force by steps that cannot fail and that no call
comes between.  If anything is wrong, all stays as it was, and one line says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import structlog

from protocol.errors import BlindproofError
from server.configuration import Configuration, reloaded, restarting
from server.settings import ServerSettings

Step: TypeAlias = Callable[[], None]
"""Puts into force what was judged; does not fail."""

Stamp: TypeAlias = "tuple[int, int, int, int] | None"
"""Device, inode, size and time of change of a file; None if there is none."""

_log = structlog.get_logger("blindproof.server")


class Reloadable(Protocol):
    """A part of the server that takes new settings while it runs."""

    @property
    def files(self) -> Iterable[Path]:
        """What to watch beside the file of settings."""

    def prepare(self, settings: ServerSettings) -> Step:
        """Read and judge, changing nothing.  May run in another thread than calls.

        Raises:
            BlindproofError: what was read cannot be used.
        """


class Configured:
    """A part that reads no files: it is handed the settings."""

    files: tuple[Path, ...] = ()

    def __init__(self, configure: Callable[[ServerSettings], None]) -> None:
        """Hand over to a function, which cannot fail."""
        self._configure = configure

    def prepare(self, settings: ServerSettings) -> Step:
        """See `Reloadable`."""
        return lambda: self._configure(settings)


class Reloading:
    """Watches, and reloads.  For one event loop."""

    def __init__(
        self,
        configuration: Configuration,
        settings: ServerSettings,
        parts: Iterable[Reloadable],
        wanted: asyncio.Event | None = None,
        seen: Mapping[Path, Stamp] | None = None,
    ) -> None:
        """Configure.

        Args:
            configuration: where settings come from.
            settings: those in force.
            parts: whom they concern; put into force in this order.
            wanted: set by whoever wants a reload though no file has changed.
            seen: what the files were before they were first read; as they are when the watch begins
                if None.  A server may take long to start, and they may change meanwhile.
        """
        self._configuration = configuration
        self._settings = settings
        self._parts = tuple(parts)
        self._wanted = wanted or asyncio.Event()
        self._seen = seen
        self._refused = False

    @property
    def settings(self) -> ServerSettings:
        """Those in force."""
        return self._settings

    @property
    def refused(self) -> bool:
        """Whether what was read last could not be put into force."""
        return self._refused

    async def reload(self) -> bool:
        """Read everything again and put it into force; false if something is wrong with it."""
        try:
            wanted, steps = await asyncio.to_thread(self._prepared)
        except BlindproofError as error:
            self._refused = True
            _log.error("not reloaded: all stays as it was", error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next reload is watched for
            self._refused = True
            _log.error("not reloaded: all stays as it was", exc_info=error)
            return False
        for step in steps:
            step()
        later = restarting(self._settings, wanted)
        changed = [
            name
            for name in ServerSettings.model_fields
            if name not in later and getattr(self._settings, name) != getattr(wanted, name)
        ]
        self._settings = reloaded(self._settings, wanted)
        self._refused = False
        _log.info("reloaded", changed=changed, need_restart=later)
        return True

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Reload while the context lasts whenever it is wanted, or a file has changed."""
        seen = await asyncio.to_thread(self._stamps) if self._seen is None else self._seen
        task = asyncio.create_task(self._watch(seen))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _prepared(self) -> tuple[ServerSettings, list[Step]]:
        """Raises BlindproofError."""
        wanted = self._configuration.settings()
        effective = reloaded(self._settings, wanted)
        return wanted, [part.prepare(effective) for part in self._parts]

    async def _watch(self, seen: Mapping[Path, Stamp]) -> None:
        """Reload what has changed once it changes no more: several files are written one by one."""
        before = seen
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._settings.reload_seconds)
            now = await asyncio.to_thread(self._stamps)
            settled, before = now == before, now
            if self._wanted.is_set() or (settled and now != seen):
                self._wanted.clear()
                seen = now  # whether or not it can be used: it is judged once
                await self.reload()

    def _stamps(self) -> dict[Path, Stamp]:
        return stamps((self._configuration.file, *(f for part in self._parts for f in part.files)))


def stamps(paths: Iterable[Path | None]) -> dict[Path, Stamp]:
    """What some files are now."""
    return {path: _stamp(path) for path in paths if path is not None}


def _stamp(path: Path) -> Stamp:
    """What tells a file from the one that will replace it; a link's is that of what it leads to."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
