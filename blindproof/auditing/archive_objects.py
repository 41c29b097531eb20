"""The objects of an archive as exports hold them, and why one cannot be had."""

from __future__ import annotations

from audit.archive import Archive, ObjectKind
from audit.errors import ObjectDamagedError, ObjectErasedError, ObjectMissingError
from blindproof.auditing.errors import NotExportedError
from blindproof.auditing.manifest import Kind, Omission

_KINDS = {
    Kind.REQUEST: ObjectKind.REQUEST,
    Kind.RESPONSE: ObjectKind.RESPONSE,
    Kind.MODEL: ObjectKind.MODEL,
    Kind.ENROLMENT: ObjectKind.ENROLMENT,
}


class ArchiveObjects:
    """The objects of an archive, by the kinds of exports."""

    def __init__(self, archive: Archive, *, plaintext: bool) -> None:
        """Read from an archive; with `plaintext`, requests that hold columns in clear, too."""
        self._archive = archive
        self._plaintext = plaintext

    def object(self, kind: Kind, name: bytes) -> bytes:
        """An object as it was given to the archive.

        Raises:
            NotExportedError: it cannot be had, or is not to be.
            ArchiveUnavailableError, LogUnavailableError: archive or database cannot be read now.
        """
        found = self._found(kind, name)
        if isinstance(found, Omission):
            raise NotExportedError(f"{kind.member(name)}: {found}", str(found))
        return found

    def _found(self, kind: Kind, name: bytes) -> bytes | Omission:
        kept = self._archive.find(_KINDS[kind], name)
        if kept is None:
            return Omission.MISSING
        if kept.sealed and not self._plaintext:
            return Omission.PLAINTEXT
        try:
            return self._archive.read_kept(kept)
        except ObjectMissingError:
            return Omission.MISSING if kept.removed_ns is None else Omission.REMOVED
        except ObjectErasedError:
            return Omission.ERASED
        except ObjectDamagedError:
            return Omission.DAMAGED
