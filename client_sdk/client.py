"""The synchronous client: an `AsyncClient` in an event loop of its own, in a private thread."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from client_sdk.aio import DEFAULT_SECONDS, AsyncClient, Phase
from client_sdk.aio import list_models as list_models_async
from client_sdk.keystore import KeyStore
from client_sdk.memory import MAX_MEMORY_BYTES
from client_sdk.metering import Meter
from client_sdk.pinning import parse_digest
from client_sdk.records import Records
from client_sdk.result import Result
from protocol.model import ModelCard
from wire.models import ModelList

Returned = TypeVar("Returned")


class Client:
    """Verified predictions by one pinned model at one server.

        client = Client("host:50443", model="<digest>", keys=KeyStore("keys"), ca="ca.pem")
        result = client.predict(records)

    Use as a context manager, or call `close`; a forgotten client closes itself at the end of the
    process.  Not usable after a fork: make a client in each process.  Arguments are those of
    `AsyncClient`.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str | bytes,
        keys: KeyStore,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        certificate_key: str | Path | None = None,
        server_id: str | None = None,
        client_id: str | None = None,
        tolerance: float | None = None,
        min_disclosure_log2: int | None = None,
        seconds: float = DEFAULT_SECONDS,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        observer: Callable[[Phase], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._client = AsyncClient(
            target,
            model=model,
            keys=keys,
            ca=ca,
            certificate=certificate,
            certificate_key=certificate_key,
            server_id=server_id,
            client_id=client_id,
            tolerance=tolerance,
            min_disclosure_log2=min_disclosure_log2,
            seconds=seconds,
            max_memory_bytes=max_memory_bytes,
            observer=observer,
            meter=meter,
        )
        self._named = f"Client({target!r}, model={parse_digest(model).hex()[:16]}…)"
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="blindproof-client", daemon=True
        )
        self._thread.start()
        self._finalizer = weakref.finalize(
            self, _shut_down, self._client, self._loop, self._thread, self._process
        )

    def __repr__(self) -> str:
        return self._named

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and forget the secret key.  Twice does no harm."""
        self._finalizer()

    def card(self) -> ModelCard:
        """The pinned model's card, verified; see `AsyncClient.model`."""
        return self._run(self._client.model()).card

    def enrol(self) -> bytes:
        """Enrol fresh public keys; see `AsyncClient.enrol`."""
        return self._run(self._client.enrol())

    def predict(self, records: Records, packing: str = "auto") -> Result:
        """Encrypt, send, verify, decrypt; see `AsyncClient.predict`."""
        return self._run(self._client.predict(records, packing))

    def _run(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        if os.getpid() != self._process:
            work.close()
            raise RuntimeError("this client was made before a fork: make one in this process")
        if not self._finalizer.alive:
            work.close()
            raise RuntimeError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def list_models(
    target: str,
    *,
    ca: str | Path | None = None,
    certificate: str | Path | None = None,
    certificate_key: str | Path | None = None,
    seconds: float = DEFAULT_SECONDS,
) -> ModelList:
    """What a server offers; see `client_sdk.aio.list_models`."""
    return asyncio.run(
        list_models_async(
            target,
            ca=ca,
            certificate=certificate,
            certificate_key=certificate_key,
            seconds=seconds,
        )
    )


def _shut_down(
    client: AsyncClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int
) -> None:
    if os.getpid() != process:  # forked: the thread that runs the loop stayed behind
        return
    asyncio.run_coroutine_threadsafe(client.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
