"""A server's log as one client sees it: never shorter, never another, from one answer to the next.

Every request names the largest head that this client has verified.  Whatever the server shows
afterwards must extend that head, and what other requests have verified meanwhile: heads are joined
by consistency proofs before the newest one is remembered.
"""

from __future__ import annotations

import asyncio
import time

from audit.checkpoint import verify_checkpoint
from audit.cosignature import WitnessPolicy
from audit.errors import AuditError, ConsistencyError, InclusionError, UnknownEntryError
from audit.facts import AnsweredFacts
from audit.head import Head
from audit.merkle import verify_consistency
from audit.proven_receipt import ProvenReceipt
from audit.signed_note import NoteKey
from client_sdk.keystore import KeyStore
from client_sdk.log_memory import KnownLog, LogKeyError, require_known
from client_sdk.receipts import (
    VerifiedReceipt,
    cosigned,
    head_of,
    proven_receipt,
    require_same_entry,
    verify_answered,
    verify_kept,
)
from client_sdk.transport import Transport
from protocol.errors import BlindproofError
from wire import rpc
from wire.audit import (
    CheckpointRequest,
    Countersignature,
    decode_checkpoint,
    decode_consistency,
    decode_countersigned,
    decode_inclusion,
    decode_log,
    decode_receipt_answer,
    encode_checkpoint_request,
    encode_consistency_request,
    encode_countersignature,
    encode_inclusion_request,
    encode_log_request,
    encode_receipt_request,
)

DELIVERY_SECONDS = 5.0
"""How long a prediction waits, at most, for the server to take the client's signature."""


class LogView:
    """The log of the server at one address."""

    def __init__(
        self,
        transport: Transport,
        address: str,
        keys: KeyStore,
        pinned: NoteKey | None,
        policy: WitnessPolicy | None,
    ) -> None:
        """Configure; nothing is asked.

        Args:
            transport: to the server.
            address: of the server, as the client was given it.
            keys: where logs are remembered, and whose key signs receipts.
            pinned: the log's key; if None, the one it was first met with.
            policy: which witnesses must have signed the log before an answer is decrypted.
        """
        self._transport = transport
        self._address = address
        self._keys = keys
        self._pinned = pinned
        self._policy = policy
        self._shown: NoteKey | None = None

    @property
    def key(self) -> NoteKey | None:
        """The key in use: pinned, remembered, or what the server said; None before it was asked."""
        return self._pinned or self._shown

    async def known(self) -> KnownLog:
        """The log's key, and the head that the next request names.

        A server that is met for the first time is asked for the key.  It is remembered with the
        first receipt that verifies under it.

        Raises:
            KeyStoreError: what is remembered cannot be read.
            EncodingError, NoteError: the server says no key.
            TransportError: it cannot be reached.
        """
        if self._pinned is not None:
            return await asyncio.to_thread(self._keys.log, self._pinned)
        known = await asyncio.to_thread(self._keys.known_log, self._address)
        if known is None:
            shown = decode_log(await self._transport.call(rpc.GET_LOG, encode_log_request()))
            known = await asyncio.to_thread(self._keys.log, NoteKey.decoded(shown.log_key))
        self._shown = known.key
        return known

    async def accept(self, data: bytes, facts: AnsweredFacts, log: KnownLog) -> ProvenReceipt:
        """Check the receipt of an answer that was verified, and remember the log it is in.

        Args:
            data: as it travelled.
            facts: of the request and the answer.
            log: as `known` returned it before the request was made.

        Returns:
            The receipt; with a policy, under the checkpoint that the witnesses signed.

        Raises:
            AuditError: the receipt, or the log, is refused: see `client_sdk.receipts`.
            TransportError: a proof that is needed could not be had.
        """
        proven, head = await asyncio.to_thread(verify_answered, data, facts, log, time.time_ns())
        if self._policy is not None:
            proven, signed = await self._witnessed(proven, head, self._policy)
            head = _larger(head, signed)
        await self._remember(log, head)
        return proven

    async def explained(self, log: KnownLog, refusal: UnknownEntryError) -> AuditError:
        """Why a server does not know the head that a request named: what to raise instead.

        Raises:
            EncodingError, NoteError: the server says no key.
            TransportError: it cannot be reached.
        """
        shown = await self._transport.call(rpc.GET_LOG, encode_log_request())
        try:
            require_known(log, NoteKey.decoded(decode_log(shown).log_key))
        except LogKeyError as error:
            return error
        return ConsistencyError(
            f"{refusal}.  It was cut, or rolled back to a copy.  If the operator explains why, "
            "KeyStore.forget_log (`blindproof keys --forget-log`) lets this client begin anew with "
            "it"
        )

    async def check(self, saved: ProvenReceipt) -> VerifiedReceipt:
        """Verify a receipt that was kept, and that the log still holds it.

        Raises:
            AuditError: see `client_sdk.receipts`; UnknownEntryError if the log does not know it.
            TransportError: the server cannot be reached.
        """
        log = await self.known()
        verified = verify_kept(saved, log.key, self._policy)
        then = head_of(verified.checkpoint)
        request = encode_receipt_request(saved.signed.receipt.receipt_id, then.size)
        message = decode_receipt_answer(
            await self._transport.call(rpc.GET_RECEIPT, request)
        ).receipt
        found = proven_receipt(message, log.key)
        now = head_of(found.verify(log.key))
        require_same_entry(saved, found)
        verify_consistency(then.size, then.root, now.size, now.root, message.consistency)
        if log.head is not None:
            await self._join(log.head, now)
        await self._remember(log, now if log.head is None else _larger(log.head, now))
        return verified

    async def countersign(self, proven: ProvenReceipt) -> bool:
        """Leave the client's signature with the server; whether it took it.

        Nothing here is an error: the signature is in the kept receipt, which is what counts.
        """
        signed = proven.signed
        if signed.client is None:
            return False
        message = encode_countersignature(
            Countersignature(
                signed.receipt.receipt_id, signed.client.public, signed.client.signature
            )
        )
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                decode_countersigned(await self._transport.call(rpc.COUNTERSIGN, message))
        except (BlindproofError, TimeoutError):
            return False
        return True

    async def _witnessed(
        self, proven: ProvenReceipt, head: Head, policy: WitnessPolicy
    ) -> tuple[ProvenReceipt, Head]:
        """The receipt under a checkpoint that enough witnesses signed.

        Raises:
            WitnessError, SignatureError, NoteError, InclusionError, ConsistencyError: it is not.
        """
        wanted = CheckpointRequest(min_size=proven.index + 1, cosigned=True)
        answer = decode_checkpoint(
            await self._transport.call(rpc.GET_CHECKPOINT, encode_checkpoint_request(wanted))
        )
        checkpoint, note = verify_checkpoint(answer.checkpoint, proven.log_key)
        cosigned(note, policy)
        signed = head_of(checkpoint)
        if signed.size <= proven.index:
            raise InclusionError(
                f"the witnesses signed the log at {signed.size} entries, without this receipt at "
                f"{proven.index}"
            )
        _, inclusion = await asyncio.gather(
            self._join(head, signed), self._inclusion(proven.index, signed.size)
        )
        under = proven.under(note, inclusion)
        under.verify(proven.log_key)
        return under, signed

    async def _inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        request = encode_inclusion_request(index, size)
        return decode_inclusion(await self._transport.call(rpc.GET_INCLUSION, request))

    async def _remember(self, log: KnownLog, head: Head) -> None:
        """Keep a verified head that was joined to `log.head`; join it to what others kept first."""
        while True:
            kept = await asyncio.to_thread(
                self._keys.advance_log,
                self._address,
                log,
                head,
                pinned=self._pinned is not None,
            )
            if kept == head:
                return
            await self._join(kept, head)
            log, head = KnownLog(log.key, kept), _larger(kept, head)

    async def _join(self, one: Head, other: Head) -> None:
        """Check that one of two verified heads extends the other.

        Raises:
            ConsistencyError: neither does: two histories.
        """
        older, newer = sorted((one, other), key=lambda head: head.size)
        hashes: tuple[bytes, ...] = ()
        if older.size < newer.size:
            request = encode_consistency_request(older.size, newer.size)
            hashes = decode_consistency(await self._transport.call(rpc.GET_CONSISTENCY, request))
        verify_consistency(older.size, older.root, newer.size, newer.root, hashes)


def _larger(one: Head, other: Head) -> Head:
    return one if one.size >= other.size else other
