"""Servers on loopback: a real one in its own process, and one in a thread for other engines."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from audit.recorder import Observer
from protocol.errors import BlindproofError
from server.inference import InferenceEngine
from server.main import running
from server.settings import ENVIRONMENT_PREFIX, ServerSettings

START_SECONDS = 20.0


class LocalServerError(BlindproofError):
    """The server did not start."""


class ServerProcess(NamedTuple):
    """A running server.

    Attributes:
        address: host and port.
        process: its id.
    """

    address: str
    process: int


@contextmanager
def server_process(settings: ServerSettings) -> Iterator[ServerProcess]:
    """Run `python -m server` while the context lasts.

    Raises:
        LocalServerError: it stopped, or did not accept calls in time.
    """
    if settings.address_file is None:
        raise LocalServerError("a server process reports its address through address_file")
    settings.address_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "server"],
        env=_environment(settings),
        stdout=subprocess.DEVNULL,
    )
    try:
        yield ServerProcess(_await_address(process, settings.address_file), process.pid)
    finally:
        process.terminate()
        process.wait()


def _environment(settings: ServerSettings) -> dict[str, str]:
    """The settings as variables, the import path of this process, and no variable of its own.

    Settings of another server are not this one's, and the passphrase of a client's key store is no
    server's business.
    """
    given = settings.model_dump(exclude_none=True, exclude_defaults=True)
    variables = {f"{ENVIRONMENT_PREFIX}{name.upper()}": str(value) for name, value in given.items()}
    inherited = {
        name: text for name, text in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
    }
    return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}


def _await_address(process: subprocess.Popen[bytes], address_file: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if address_file.exists():
            return address_file.read_text()
        if process.poll() is not None:
            raise LocalServerError(f"the server stopped with status {process.returncode}")
        time.sleep(0.01)
    raise LocalServerError(f"the server did not start in {START_SECONDS:.0f} seconds")


@contextmanager
def server_thread(
    settings: ServerSettings,
    engine: InferenceEngine | None = None,
    observer: Observer | None = None,
) -> Iterator[str]:
    """Serve from a thread of this process, as `server.main.running`; yields the address."""
    started: Future[str] = Future()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        try:
            async with running(settings, engine, observer) as address:
                started.set_result(address)
                await stop.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(
        target=loop.run_until_complete, args=(serve(),), name="blindproof-server", daemon=True
    )
    thread.start()
    try:
        yield started.result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
