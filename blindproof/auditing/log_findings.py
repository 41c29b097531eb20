"""Whether receipts are the log's, and whether the log is what others know of it."""

from __future__ import annotations

from collections.abc import Iterator

from audit.aggregate_cosignature import largest_aggregate, verify_aggregate_cosignature
from audit.bls import BlsUnavailableError
from audit.checkpoint import Checkpoint, verify_checkpoint
from audit.cosignature import verify_cosignatures
from audit.errors import AuditError, WitnessError
from audit.merkle import verify_consistency, verify_inclusion
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Receipt
from audit.signed_note import SignedNote
from audit.signed_receipt import ReceiptSignature, SignedReceipt
from audit.tree import MemoryNodes, Tree
from blindproof.auditing.errors import ExportError
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.export_file import ExportFile
from blindproof.auditing.findings import Finding, Subject, failed, not_checked, passed


class LogVerifier:
    """Verifies the receipts of one export as entries of its log, in their order.

    Attributes:
        checkpoint: of the export, None if it is not the expected log's.
    """

    def __init__(self, export: ExportFile, expected: Expectations) -> None:
        """Verify the checkpoint."""
        self._export, self._expected = export, expected
        self._beginning = Tree(MemoryNodes())  # of the log, as far as every entry is here
        self._receipt_ids: set[bytes] = set()
        self._requests: set[tuple[str, bytes]] = set()
        self.checkpoint: Checkpoint | None = None
        self._note: SignedNote | None = None
        try:
            data = export.checkpoint()
            self.checkpoint, self._note = verify_checkpoint(data, expected.log_key)
            detail = f"signed by the log at {self.checkpoint.size} entries"
            self._signed = passed(Subject.CHECKPOINT, detail)
        except (AuditError, ExportError) as error:
            self._signed = failed(Subject.CHECKPOINT, error)

    def receipt(self, proven: ProvenReceipt) -> Iterator[Finding]:
        """Signatures, place, and that no receipt or request occurs twice."""
        signed = proven.signed
        try:
            signed.verify_server(self._expected.log_key.public)
            yield passed(Subject.SIGNATURE, "signed by the log's server")
        except AuditError as error:
            yield failed(Subject.SIGNATURE, error)
        yield self._included(proven)
        if self._is_repeated(signed.receipt):
            yield failed(Subject.RECEIPT, "the log has an earlier receipt of the same request")
        if signed.client is not None:
            yield self._client_signature(signed, signed.client)

    def log(self) -> Iterator[Finding]:
        """The findings about the log, once all receipts were verified."""
        own, key = self._export.log_key, self._expected.log_key
        if own == key:
            yield passed(Subject.LOG_KEY, "the export is of the expected log")
        else:
            detail = f"an export of the log '{own.encoded()}', expected '{key.encoded()}'"
            yield failed(Subject.LOG_KEY, detail)
        yield self._signed
        if self.checkpoint is not None and self._note is not None:
            yield from self._witnessed(self._note)
            for older in self._expected.checkpoints:
                yield self._extends(older, self.checkpoint)

    def _included(self, proven: ProvenReceipt) -> Finding:
        checkpoint, place, leaf = self.checkpoint, proven.index, proven.signed.leaf
        if checkpoint is None:
            return failed(Subject.INCLUSION, "the export has no checkpoint of the expected log")
        if proven.checkpoint != self._note or proven.log_key != self._export.log_key:
            return failed(Subject.INCLUSION, "proved in another checkpoint than the export's")
        try:
            verify_inclusion(checkpoint.root, checkpoint.size, place, leaf, proven.inclusion)
        except AuditError as error:
            return failed(Subject.INCLUSION, error)
        if place == self._beginning.size:
            self._beginning.append([leaf])
        return passed(Subject.INCLUSION, f"entry {place} of {checkpoint.size}")

    def _is_repeated(self, receipt: Receipt) -> bool:
        request = receipt.idempotency_digest
        asked = None if request is None else (receipt.tenant, request)
        repeated = receipt.receipt_id in self._receipt_ids or asked in self._requests
        self._receipt_ids.add(receipt.receipt_id)
        if asked is not None:
            self._requests.add(asked)
        return repeated

    def _client_signature(self, signed: SignedReceipt, client: ReceiptSignature) -> Finding:
        try:
            signed.verify_client(client.public)
        except AuditError as error:
            return failed(Subject.CLIENT_SIGNATURE, error)
        signer, known = client.public.hex(), self._expected.client_keys
        if not known:
            return passed(Subject.CLIENT_SIGNATURE, f"by {signer}, which was compared with no key")
        if client.public not in known:
            return failed(Subject.CLIENT_SIGNATURE, f"by {signer}, which is none of the keys given")
        return passed(Subject.CLIENT_SIGNATURE, f"by {signer}, which was expected")

    def _witnessed(self, note: SignedNote) -> Iterator[Finding]:
        policy, origin = self._expected.witnesses, self._expected.log_key.name
        if policy is None:
            return
        try:
            found = verify_cosignatures(note, policy, self._expected.now_seconds)
            names = ", ".join(cosignature.witness for cosignature in found)
            asked = f"{policy.threshold} of {len(policy.witnesses)} were asked for"
            yield passed(Subject.WITNESSES, f"cosigned by {names}; {asked}")
            if largest_aggregate(note, origin, policy) is not None:
                signers = verify_aggregate_cosignature(note, origin, policy)
                yield passed(Subject.WITNESSES, f"one BLS signature of {', '.join(signers)}")
        except BlsUnavailableError as error:
            yield not_checked(Subject.WITNESSES, str(error))
        except WitnessError as error:
            alone = len(note.signatures) == 1
            hint = ": export with --cosigned what witnesses have signed" if alone else ""
            yield failed(Subject.WITNESSES, f"{error}{hint}")
        except AuditError as error:
            yield failed(Subject.WITNESSES, error)

    def _extends(self, older: bytes, newer: Checkpoint) -> Finding:
        """Whether the log only grew since a checkpoint that was kept elsewhere."""
        try:
            known, _ = verify_checkpoint(older, self._expected.log_key)
            self._require_extends(known, newer)
        except (AuditError, ExportError) as error:
            return failed(Subject.OLDER_CHECKPOINT, error)
        detail = f"the log only grew since it had {known.size} entries"
        return passed(Subject.OLDER_CHECKPOINT, detail)

    def _require_extends(self, known: Checkpoint, newer: Checkpoint) -> None:
        """Raises ExportError or ConsistencyError."""
        if known.size > newer.size:
            raise ExportError(
                f"it has {known.size} entries and the export's only {newer.size}: export again, "
                "from the log as it is now"
            )
        if known.size <= self._beginning.size:
            root = self._beginning.root(known.size)
            if root != known.root:
                raise ExportError(
                    f"at {known.size} entries the log's root was {known.root.hex()}, that of the "
                    f"export is {root.hex()}: another history"
                )
            return
        hashes = self._export.consistency.get(known.size, ())
        if not hashes and known.size != newer.size:
            raise ExportError(
                f"the export does not show how the log grew from {known.size} entries: export it "
                "with --since-checkpoint"
            )
        verify_consistency(known.size, known.root, newer.size, newer.root, hashes)
