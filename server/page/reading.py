"""What the page shows of the trail, read from log and archive.

Nothing here changes the trail.  One thing is added to it: a checkpoint, when somebody asks for the
log's current one and the log has grown since its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from audit.archive import Archive, KeptObject, ObjectKind
from audit.checkpoint import Checkpoint
from audit.cosignature import WitnessPolicy
from audit.countersignatures import countersignature
from audit.entry import Entry
from audit.errors import LogStateError, SignatureError, UnknownEntryError
from audit.head import InclusionProof
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Action, Outcome, Receipt
from audit.search import Query, search
from audit.signed_note import NoteKey, SignedNote
from audit.signed_receipt import SignedReceipt
from server.page.chain import ChainReader
from server.page.filters import Filter, nanoseconds
from server.page.findings import Finding, State
from server.page.rendering import instant, readable_size

ROWS = 50
"""Receipts on one page of the list."""


@dataclass(frozen=True)
class Row:
    """One receipt in the list.

    Attributes:
        index: of its entry.
        receipt: what it says.
    """

    index: int
    receipt: Receipt


@dataclass(frozen=True)
class Listing:
    """A part of the receipts that pass a filter, the newest first.

    Attributes:
        rows: at most `ROWS`.
        older: where the next part begins, None if there is none.
        size: entries of the whole log.
    """

    rows: tuple[Row, ...]
    older: int | None
    size: int


@dataclass(frozen=True)
class ReceiptView:
    """One receipt and what stands behind it.

    Attributes:
        index: of its entry.
        receipt: what it says.
        log_key: of the log, as one word.
        findings: label and finding, in the order in which they are shown.
    """

    index: int
    receipt: Receipt
    log_key: str
    findings: Sequence[tuple[str, Finding]]


class TrailReader:
    """Reads a trail.  May be used by several threads.

    Attributes:
        log_key: of the log.
        chain: its checkpoints.

    Args:
        log: the receipts.
        archive: what they name.
        key: of the log, for its current checkpoint.
        policy: the witnesses of the log, if any are known.
    """

    def __init__(
        self,
        log: AuditLog,
        archive: Archive,
        key: SigningKey,
        policy: WitnessPolicy | None = None,
    ) -> None:
        self._log = log
        self._archive = archive
        self._key = key
        self.log_key = NoteKey(log.origin, key.public)
        self.chain = ChainReader(log, self.log_key, policy)

    def listing(self, wanted: Filter) -> Listing:
        """The newest receipts that pass a filter.

        Raises:
            LogStateError: an entry is not what was recorded.
            LogUnavailableError: the database failed.
        """
        size = self._log.head().size
        start, stop = self._range(wanted)
        query = Query(
            tenant=wanted.tenant,
            actor=wanted.actor,
            action=wanted.action,
            outcome=wanted.outcome,
            model=None if wanted.model is None else bytes.fromhex(wanted.model),
            since_ns=nanoseconds(wanted.since),
            until_ns=nanoseconds(wanted.until),
            start=start,
            stop=stop,
            newest_first=True,
            limit=ROWS + 1,
        )
        found = list(search(self._log, query))
        rows = tuple(Row(entry.index, entry.receipt().receipt) for entry in found[:ROWS])
        return Listing(rows, rows[-1].index if len(found) > ROWS else None, size)

    def view(self, receipt_id: bytes) -> ReceiptView:
        """One receipt.

        Raises:
            UnknownEntryError: there is none.
            LogStateError, LogUnavailableError: as `listing`.
        """
        entry = self._log.find_receipt(receipt_id)
        signed = entry.receipt()
        receipt = signed.receipt
        findings = [
            ("Server's signature", self._server_signature(signed)),
            ("Client's countersignature", self._client_signature(receipt.receipt_id)),
            *((label, self._archived(kind, receipt)) for label, kind in _archived_kinds(receipt)),
            ("Proof", _proof(receipt)),
        ]
        return ReceiptView(entry.index, receipt, self.log_key.encoded(), findings)

    def entry(self, receipt_id: bytes) -> Entry:
        """The entry of a receipt.

        Raises:
            UnknownEntryError, LogStateError, LogUnavailableError: as `view`.
        """
        return self._log.find_receipt(receipt_id)

    def signed(self, receipt_id: bytes) -> SignedReceipt:
        """A receipt with all signatures over it.

        Raises:
            UnknownEntryError, LogStateError, LogUnavailableError: as `view`.
        """
        return self._signed(self._log.find_receipt(receipt_id))

    def inclusion(self, receipt_id: bytes, size: int | None) -> InclusionProof:
        """What shows that a receipt is in the log, as it is or as it was at a size.

        Raises:
            UnknownEntryError: no such receipt at that size.
            LogStateError, LogUnavailableError: as `view`.
        """
        return self._log.inclusion_proof(self._log.find_receipt(receipt_id).index, size)

    def proven(self, receipt_id: bytes) -> ProvenReceipt:
        """A receipt with all that proves it, for verification offline.

        Raises:
            UnknownEntryError, LogStateError, LogUnavailableError: as `view`.
        """
        entry = self._log.find_receipt(receipt_id)
        # Of one size: the log may grow between the two.
        note = self.checkpoint()
        size = int(note.text.split("\n")[1])
        proof = self._log.inclusion_proof(entry.index, size)
        return ProvenReceipt(self._signed(entry), entry.index, proof.hashes, note, self.log_key)

    def checkpoint(self) -> SignedNote:
        """The log as it is, signed.

        Raises:
            LogStateError, LogUnavailableError: as `AuditLog.checkpoint`.
        """
        latest = self._log.latest_checkpoint()
        if latest is not None and latest.text == self._current_text():
            return latest
        return self._log.checkpoint(self._key)

    def _range(self, wanted: Filter) -> tuple[int, int | None]:
        """The indices among which a filter looks: of one receipt, there is only one."""
        if wanted.receipt is None:
            return 0, wanted.before
        try:
            index = self._log.find_receipt(bytes.fromhex(wanted.receipt)).index
        except UnknownEntryError:
            return 0, 0
        stop = index + 1
        return index, stop if wanted.before is None else min(stop, wanted.before)

    def _current_text(self) -> str:
        head = self._log.head()
        return Checkpoint(self._log.origin, head.size, head.root).text()

    def _signed(self, entry: Entry) -> SignedReceipt:
        signed = entry.receipt()
        client = countersignature(self._log, signed.receipt.receipt_id)
        return replace(signed, client=client)

    def _server_signature(self, signed: SignedReceipt) -> Finding:
        try:
            signed.verify_server(self._key.public)
        except SignatureError as error:
            return Finding(State.FAILED, "does not verify", f"{error}.")
        return Finding(State.PASSED, "verifies", "By the key of the log; checked by this server.")

    def _client_signature(self, receipt_id: bytes) -> Finding:
        try:
            client = countersignature(self._log, receipt_id)
        except LogStateError as error:
            return Finding(State.FAILED, "does not verify", f"{error}.")
        if client is None:
            return Finding(
                State.ABSENT, "none", "The client has not said that it verified an answer."
            )
        return Finding(
            State.PASSED,
            "verifies",
            f"By key {client.public.hex()}; whose that is, the log does not know.",
        )

    def _archived(self, kind: ObjectKind, receipt: Receipt) -> Finding:
        name = {
            ObjectKind.MODEL: receipt.digests.model,
            ObjectKind.ENROLMENT: receipt.digests.key,
        }.get(kind, receipt.receipt_id)
        kept = None if name is None else self._archive.find(kind, name)
        if kept is None:
            if receipt.outcome is Outcome.ANSWERED:
                return Finding(State.ABSENT, "not archived", "The archive has no row for it.")
            return Finding(State.ABSENT, "none", "The request was not answered.")
        return _kept(kept)


def _archived_kinds(receipt: Receipt) -> Iterator[tuple[str, ObjectKind]]:
    """What the archive may hold of a request, and what that is called."""
    if receipt.action is Action.ENROL_KEY:
        yield "Enrolled key and proof", ObjectKind.ENROLMENT
        return
    yield "Request", ObjectKind.REQUEST
    yield "Response and proof", ObjectKind.RESPONSE
    if receipt.digests.model is not None:
        yield "Model card and registration", ObjectKind.MODEL


def _kept(kept: KeptObject) -> Finding:
    size = readable_size(kept.size)
    if kept.removed_ns is not None:
        at = instant(kept.removed_ns, whole=False)
        return Finding(State.ABSENT, "removed", f"{size}, by a rule of retention, at {at} UTC.")
    at = instant(kept.stored_ns, whole=False)
    if kept.sealed:
        return Finding(
            State.NEUTRAL,
            "archived, sealed",
            f"{size} since {at} UTC, encrypted under a key of the tenant's; not read here.",
        )
    return Finding(State.NEUTRAL, "archived", f"{size} since {at} UTC; not read here.")


def _proof(receipt: Receipt) -> Finding:
    if receipt.digests.proof is None:
        return Finding(State.ABSENT, "none", "The receipt names no proof.")
    bits = receipt.soundness_bits
    stated = "" if bits is None else f"The receipt states a soundness of {bits:.1f} bits. "
    return Finding(
        State.NEUTRAL, "not verified here", f"{stated}The digest above says which proof it is."
    )
