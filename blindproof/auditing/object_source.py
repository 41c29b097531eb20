"""What verification reads archived objects from."""

from __future__ import annotations

from typing import Protocol

from blindproof.auditing.manifest import Kind


class ObjectSource(Protocol):
    """Archived objects: of an export that was opened, or of the archive itself."""

    def object(self, kind: Kind, name: bytes) -> bytes:
        """An object as it was given to the archive.

        Raises:
            NotExportedError: it is known not to be there, and why.
            ExportError: it is missing or damaged.
        """
