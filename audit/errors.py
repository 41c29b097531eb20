"""What can be wrong with a receipt, a proof, a checkpoint or a log."""

from __future__ import annotations

from protocol.errors import BlindproofError


class AuditError(BlindproofError):
    """Base of every error of the audit trail."""


class ReceiptError(AuditError, ValueError):
    """A receipt is malformed, or a field is outside its bounds."""


class ReceiptMismatchError(AuditError):
    """A receipt is about something else than what was asked and answered."""


class SignatureError(AuditError):
    """A signature does not verify, or nobody who is known has signed."""


class InclusionError(AuditError):
    """A proof does not show that the leaf is in the tree."""


class ConsistencyError(AuditError):
    """A proof does not show that the newer tree extends the older one."""


class NoteError(AuditError, ValueError):
    """A signed note, a key of one, or a checkpoint is malformed."""


class WitnessError(AuditError):
    """Fewer witnesses than the policy demands have signed a checkpoint."""


class PolicyError(AuditError, ValueError):
    """A file of a witness policy is malformed, or asks for something impossible."""


class LogStateError(AuditError):
    """The stored log is not what it was: edited, truncated, restored, or forked."""


class LogUnavailableError(AuditError):
    """The log cannot be read or written now; nothing was recorded."""


class DuplicateReceiptError(AuditError):
    """A receipt, or the request it records, is in the log already.

    Attributes:
        index: where, or None if the batch itself holds it twice.
    """

    def __init__(self, detail: str, index: int | None) -> None:
        super().__init__(detail)
        self.index = index


class UnknownEntryError(AuditError, LookupError):
    """The log has no such entry, or no tree of such a size."""


class ObjectMissingError(AuditError, LookupError):
    """The archive does not hold an object: never kept, or removed by a retention rule."""


class ObjectDamagedError(AuditError):
    """An archived object is not what its address says."""


class ArchiveUnavailableError(AuditError):
    """The archive cannot be read or written now; nothing was recorded."""


class ObjectErasedError(AuditError):
    """An archived object is sealed under a key that was erased: nobody reads it any more."""
