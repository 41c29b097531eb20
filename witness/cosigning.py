"""What a witness does with a request, whichever way it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus

import structlog

from audit.aggregate_cosignature import cosign_bls
from audit.checkpoint import verify_checkpoint
from audit.cosignature import cosign
from audit.errors import NoteError, SignatureError
from audit.signed_note import KeyType, NoteKey, NoteSignature
from witness.add_checkpoint import AddCheckpoint
from witness.errors import RefusedError, WitnessServiceError
from witness.keys import WitnessKeys
from witness.seen import SeenHeads

_log = structlog.get_logger("blindproof.witness")
_BLS_LINES = 1 << 8


class CosigningWitness:
    """Cosigns checkpoints of the logs it knows, if they extend what it has seen.

    May be used by several threads.

    Args:
        keys: its own.
        logs: verifier keys; the name of each is its log's origin, and a log may have several.
        seen: its memory.
        clock: POSIX time in seconds.

    Raises:
        WitnessServiceError: a key which no log signs with.
    """

    def __init__(
        self,
        keys: WitnessKeys,
        logs: Iterable[NoteKey],
        seen: SeenHeads,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._seen = seen
        self._clock = clock
        self._logs: dict[str, list[NoteKey]] = {}
        for key in logs:
            if key.kind is not KeyType.ED25519:
                raise WitnessServiceError(f"'{key.name}': not the key of a log's checkpoints")
            self._logs.setdefault(key.name, []).append(key)
        # Slow to make, and the same whenever it is made: a repeated request costs none.
        self._bls_line = lru_cache(_BLS_LINES)(self._new_bls_line)

    def add_checkpoint(self, body: bytes) -> bytes:
        """Answer an add-checkpoint request: signature lines over its checkpoint.

        The first is the cosignature.  A request which starts from the checkpoint's own size, about
        a tree that was cosigned before, is answered with a line of the BLS key as well: it takes
        0.3 s to make, and nobody who waits for a checkpoint waits for it.

        Raises:
            RefusedError: with the answer.
            WitnessServiceError: the memory failed; nothing was signed.
        """
        request = AddCheckpoint.decoded(body)
        origin = request.checkpoint.origin
        self._require_signed(request)
        try:
            self._seen.advance(request)
        except RefusedError as error:
            if error.evidence:
                # The log's signature is in it, so the line is worth keeping; a bad proof for a
                # good checkpoint looks the same.
                _log.warning(
                    "not the history seen before",
                    origin=origin,
                    status=error.status,
                    old_size=request.old_size,
                    checkpoint=request.note.encoded().decode(),
                )
            raise
        # From here on this tree and its successors are all that is ever signed for this log.
        note = request.note
        lines = [cosign(note, self._keys.name, self._keys.ed25519, int(self._clock()))]
        if self._keys.bls is not None and request.old_size == request.checkpoint.size:
            lines.append(self._bls_line(note.text))
        _log.info("cosigned", origin=origin, size=request.checkpoint.size)
        return "".join(f"{line.line()}\n" for line in lines).encode()

    def _require_signed(self, request: AddCheckpoint) -> None:
        known = self._logs.get(request.checkpoint.origin)
        if known is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "this witness does not know the log\n")
        data = request.note.encoded()
        for key in known:
            try:
                verify_checkpoint(data, key)
            except (NoteError, SignatureError):
                continue
            return
        raise RefusedError(HTTPStatus.FORBIDDEN, "not signed with a key of the log\n")

    def _new_bls_line(self, text: str) -> NoteSignature:
        if self._keys.bls is None:
            raise WitnessServiceError("this witness has no BLS key")
        return cosign_bls(text, self._keys.name, self._keys.bls)
