"""What publishers and auditors of a tenant do at its server: publish, withdraw, read the log.

The server says by their certificate or token who they are, and whether they have the role.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from audit.checkpoint import verify_checkpoint
from audit.errors import ConsistencyError, ReceiptMismatchError
from audit.merkle import EMPTY_ROOT
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Action, Outcome
from audit.signed_note import NoteKey
from audit.signed_receipt import SignedReceipt
from audit.tree import MemoryNodes, Tree
from client_sdk.credentials import Bearer, TlsFiles
from client_sdk.pinning import parse_digest
from client_sdk.receipts import log_key_of, proven_receipt
from client_sdk.transport import Transport
from protocol.request import REQUEST_ID_BYTES
from wire import rpc
from wire.audit import (
    CheckpointRequest,
    ReceiptMessage,
    decode_checkpoint,
    decode_entries,
    decode_log,
    encode_checkpoint_request,
    encode_entries_request,
    encode_log_request,
)
from wire.bundle_file import decode_bundle, encode_bundle, read_bundle
from wire.publication import (
    decode_published,
    decode_withdrawn,
    encode_publication,
    encode_withdrawal,
)

DEFAULT_SECONDS = 60.0


class ConnectionOptions(TypedDict, total=False):
    """How to reach a server, and who one is there; see `AsyncClient`."""

    ca: str | Path | None
    certificate: str | Path | None
    certificate_key: str | Path | None
    token: str | None
    token_file: str | Path | None
    seconds: float


class AsyncAdministration:
    """A connection for those who look after a tenant's models and its log, for asyncio.

    Use as an asynchronous context manager, or call `close`.
    """

    def __init__(
        self,
        target: str,
        log_key: NoteKey | str | None = None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        """Configure; nothing is sent.

        Args:
            target: host and port.
            log_key: verifier key of the tenant's log, from its operator; what the server says, over
                TLS, if None.
            **options: of the connection.

        Raises:
            NoteError: a malformed log key.
            TransportError: a PEM file or a token cannot be used.
        """
        tls = TlsFiles.of(
            options.get("ca"), options.get("certificate"), options.get("certificate_key")
        )
        bearer = Bearer.of(options.get("token"), options.get("token_file"))
        seconds = options.get("seconds", DEFAULT_SECONDS)
        self._transport = Transport(target, tls, seconds, bearer)
        self._log_key = log_key_of(log_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    async def publish(self, bundle: str | Path | bytes) -> ProvenReceipt:
        """Publish a model of a bundle file; its receipt, verified.

        Publishing a model that is there changes nothing but the log.

        Args:
            bundle: path or bytes of the file, with its private part.

        Raises:
            EncodingError: it is none.
            ModelError, VerificationError: the server refuses the model, or has too many.
            RequestError: whoever this is has not the role "publish".
            AuditError: the receipt is refused.
            TransportError: the server cannot be reached.
        """
        if isinstance(bundle, bytes):
            parts = decode_bundle(bundle)
        else:
            parts = await asyncio.to_thread(read_bundle, Path(bundle))
        request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        messages = encode_publication(request_id, parts.digest, encode_bundle(parts))
        answer = decode_published(await self._transport.send(rpc.PUBLISH_MODEL, messages))
        return await self._accepted(answer, Action.PUBLISH_MODEL, request_id, parts.digest)

    async def withdraw(self, model: str | bytes) -> ProvenReceipt:
        """Withdraw a model by its digest; the receipt, verified.

        Raises:
            ModelError: a malformed digest, or no such model.
            RequestError, AuditError, TransportError: as `publish`.
        """
        digest = parse_digest(model)
        request_id = secrets.token_bytes(REQUEST_ID_BYTES)
        request = encode_withdrawal(request_id, digest)
        answer = decode_withdrawn(await self._transport.call(rpc.WITHDRAW_MODEL, request))
        return await self._accepted(answer, Action.WITHDRAW_MODEL, request_id, digest)

    async def entries(self, start: int = 0) -> AsyncGenerator[SignedReceipt, None]:
        """Every receipt of the log from an index on, as the log is now, each with its signature.

        Read from 0 to the end, they are all there are: their root is compared with a checkpoint's.
        From elsewhere on only the signatures are verified.

        Raises:
            ReceiptError, SignatureError, NoteError: an entry, or the checkpoint, is refused.
            ConsistencyError: they are not the entries of the checkpoint.
            RequestError, TransportError: as `publish`.
        """
        key = await self._key()
        asked = encode_checkpoint_request(CheckpointRequest())
        note = decode_checkpoint(await self._transport.call(rpc.GET_CHECKPOINT, asked)).checkpoint
        checkpoint, _ = verify_checkpoint(note, key)
        tree, root, at = Tree(MemoryNodes()), EMPTY_ROOT, start
        while at < checkpoint.size:
            request = encode_entries_request(at)
            page = decode_entries(await self._transport.call(rpc.READ_ENTRIES, request))
            receipts = [SignedReceipt.from_entry(data) for data in page[: checkpoint.size - at]]
            if not receipts:
                raise ConsistencyError(f"the server shows no entry {at} of {checkpoint.size}")
            for receipt in receipts:
                receipt.verify_server(key.public)
            if start == 0:
                root = tree.append([receipt.leaf for receipt in receipts])
            at += len(receipts)
            for receipt in receipts:
                yield receipt
        if start == 0 and root != checkpoint.root:
            raise ConsistencyError("the entries are not those of the log's checkpoint")

    async def _key(self) -> NoteKey:
        if self._log_key is None:
            answer = await self._transport.call(rpc.GET_LOG, encode_log_request())
            self._log_key = NoteKey.decoded(decode_log(answer).log_key)
        return self._log_key

    async def _accepted(
        self, message: ReceiptMessage, action: Action, request_id: bytes, model: bytes
    ) -> ProvenReceipt:
        """Verify a receipt and that it is of what was asked."""
        key = await self._key()
        proven = proven_receipt(message, key)
        proven.verify(key)
        receipt = proven.signed.receipt
        said = (receipt.action, receipt.outcome, receipt.request_id, receipt.digests.model)
        if said != (action, Outcome.ANSWERED, request_id, model):
            raise ReceiptMismatchError("the receipt is of something else than what was asked")
        return proven


def publish_model(
    target: str,
    bundle: str | Path | bytes,
    *,
    log_key: NoteKey | str | None = None,
    **options: Unpack[ConnectionOptions],
) -> ProvenReceipt:
    """Publish a model at a server; see `AsyncAdministration.publish`."""

    async def publish() -> ProvenReceipt:
        async with AsyncAdministration(target, log_key, **options) as connection:
            return await connection.publish(bundle)

    return asyncio.run(publish())


def withdraw_model(
    target: str,
    model: str | bytes,
    *,
    log_key: NoteKey | str | None = None,
    **options: Unpack[ConnectionOptions],
) -> ProvenReceipt:
    """Withdraw a model from a server; see `AsyncAdministration.withdraw`."""

    async def withdraw() -> ProvenReceipt:
        async with AsyncAdministration(target, log_key, **options) as connection:
            return await connection.withdraw(model)

    return asyncio.run(withdraw())


def read_entries(
    target: str,
    start: int = 0,
    *,
    log_key: NoteKey | str | None = None,
    **options: Unpack[ConnectionOptions],
) -> Iterator[SignedReceipt]:
    """Receipts of a server's log, page by page; see `AsyncAdministration.entries`."""
    with asyncio.Runner() as runner:
        connection = AsyncAdministration(target, log_key, **options)
        receipts = connection.entries(start)
        try:
            while (receipt := runner.run(anext(receipts, None))) is not None:
                yield receipt
        finally:
            runner.run(_closed(receipts, connection))


async def _closed(receipts: AsyncGenerator[Any, None], connection: AsyncAdministration) -> None:
    await receipts.aclose()
    await connection.close()
