"""What can be wrong with an export."""

from __future__ import annotations

from protocol.errors import BlindproofError


class ExportError(BlindproofError, ValueError):
    """A file is no export, is damaged, or a member of it is not what it has to be."""


class NotExportedError(ExportError):
    """An export does not hold an object, and says so itself.

    Attributes:
        reason: why, in the words of the export.
    """

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason
