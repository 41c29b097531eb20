"""What the audit service needs of whoever gets checkpoints cosigned."""

from __future__ import annotations

from typing import Protocol

from audit.signed_note import SignedNote


class Cosigning(Protocol):
    """Whoever gets checkpoints cosigned: `server.witnesses`, which is loaded only if configured."""

    async def cosigned(self, min_size: int) -> SignedNote:
        """A checkpoint of at least that size with enough cosignatures.

        Raises:
            WitnessError: they did not come.
        """
