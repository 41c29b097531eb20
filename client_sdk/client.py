"""The synchronous client: an `AsyncClient` in an event loop of its own, in a private thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Collection, Coroutine, Generator, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from audit.signed_note import NoteKey
from client_sdk.aio import DEFAULT_SECONDS, AsyncClient, Phase
from client_sdk.aio import list_models as list_models_async
from client_sdk.keystore import KeyStore
from client_sdk.memory import MAX_MEMORY_BYTES
from client_sdk.metering import Meter
from client_sdk.pinning import parse_digest
from client_sdk.receipts import VerifiedReceipt, Witnesses
from client_sdk.records import Records
from client_sdk.repeating import DEFAULT_RETRIES
from client_sdk.result import Result
from client_sdk.streaming import Archive, Piece, Progress, RequestPlan, Source, ask, in_order
from client_sdk.streaming import pieces as cut
from protocol.accountability import DEFAULT_PURPOSE, DEFAULT_TENANT
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
        token: str | None = None,
        token_file: str | Path | None = None,
        server_id: str | None = None,
        client_id: str | None = None,
        tolerance: float | None = None,
        min_disclosure_log2: int | None = None,
        plaintext: Collection[str] | None = None,
        seconds: float = DEFAULT_SECONDS,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        tenant: str = DEFAULT_TENANT,
        actor: str | None = None,
        purpose: str = DEFAULT_PURPOSE,
        log_key: NoteKey | str | None = None,
        witnesses: Witnesses | None = None,
        retries: int = DEFAULT_RETRIES,
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
            token=token,
            token_file=token_file,
            server_id=server_id,
            client_id=client_id,
            tolerance=tolerance,
            min_disclosure_log2=min_disclosure_log2,
            plaintext=plaintext,
            seconds=seconds,
            max_memory_bytes=max_memory_bytes,
            tenant=tenant,
            actor=actor,
            purpose=purpose,
            log_key=log_key,
            witnesses=witnesses,
            retries=retries,
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

    @property
    def log_key(self) -> str | None:
        """Verifier key of the server's log that is in use; None before the first prediction."""
        return self._client.log_key

    def predict(
        self, records: Records, packing: str = "auto", *, subject: str | None = None
    ) -> Result:
        """Encrypt, send, verify, decrypt; see `AsyncClient.predict`."""
        return self._run(self._client.predict(records, packing, subject=subject))

    def verify_receipt(self, path: str | Path) -> VerifiedReceipt:
        """Verify a receipt file against the server's log; see `AsyncClient.verify_receipt`."""
        return self._run(self._client.verify_receipt(path))

    def stream(
        self,
        records: Source,
        *,
        batch: int | None = None,
        packing: str = "auto",
        evidence: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        """Verified predictions request by request, for tables of any length.

        Unlike `predict`, which checks everything before it sends anything and keeps every answer,
        this takes records as they come, and holds those of two requests: one is encrypted while
        the server answers the other.  The results are in the order of the records.

        Args:
            records: a table, or an iterable of records or of tables, each of which is cut by
                itself.  It is read in this thread, one request ahead.
            batch: records of a request, at most and by default what a ciphertext holds (N/2).
            packing: 'batch', 'single', or 'auto'; the same for every request.
            evidence: a directory, made if missing, that gets an evidence file and a receipt file
                for each request.
            progress: called after each request with the number of records answered.

        Raises:
            InputError: records do not fit the model; those of earlier requests were answered.
            OSError: the directory or an evidence file cannot be written.
            BlindproofError: see `AsyncClient.predict`.
        """
        pieces = self.stream_pieces(
            records, batch=batch, packing=packing, evidence=evidence, progress=progress
        )
        with contextlib.closing(pieces):
            for _, result in pieces:
                yield result

    def stream_pieces(
        self,
        records: Source,
        *,
        batch: int | None = None,
        packing: str = "auto",
        evidence: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Generator[tuple[Piece, Result], None, None]:
        """As `stream`, with the records of each request beside its result."""
        card = self.card()
        plan = RequestPlan.of(card, packing, batch)
        archive = Archive(evidence, progress)

        def start(piece: Piece) -> Future[Result]:
            return self._start(ask(self._client, card, piece, plan))

        with contextlib.closing(in_order(cut(records, plan.size), start)) as answers:
            try:
                for piece, result in answers:
                    archive.add(result)
                    yield piece, result
            except CancelledError:
                raise RuntimeError("this client was closed while it streamed") from None

    def _run(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        future = self._start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _start(self, work: Coroutine[Any, Any, Returned]) -> Future[Returned]:
        """Begin in the client's own thread."""
        if os.getpid() != self._process:
            work.close()
            raise RuntimeError("this client was made before a fork: make one in this process")
        if not self._finalizer.alive:
            work.close()
            raise RuntimeError("this client is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def list_models(
    target: str,
    *,
    ca: str | Path | None = None,
    certificate: str | Path | None = None,
    certificate_key: str | Path | None = None,
    token: str | None = None,
    token_file: str | Path | None = None,
    seconds: float = DEFAULT_SECONDS,
) -> ModelList:
    """What a server offers; see `client_sdk.aio.list_models`."""
    return asyncio.run(
        list_models_async(
            target,
            ca=ca,
            certificate=certificate,
            certificate_key=certificate_key,
            token=token,
            token_file=token_file,
            seconds=seconds,
        )
    )


def _shut_down(
    client: AsyncClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int
) -> None:
    if os.getpid() != process:  # forked: the thread that runs the loop stayed behind
        return
    asyncio.run_coroutine_threadsafe(_end(client), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _end(client: AsyncClient) -> None:
    """Cancel what a stream left at work, and close."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()
