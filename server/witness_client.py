"""One witness, as a log speaks to it: add-checkpoint of c2sp.org/tlog-witness."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.aggregate_cosignature import bls_key_id
from audit.bls import SIGNATURE_BYTES
from audit.cosignature import CLOCK_SKEW_SECONDS, Witness, verify_cosignature
from audit.errors import NoteError, SignatureError, UnknownEntryError, WitnessError
from audit.log import AuditLog
from audit.signed_note import NoteSignature, SignedNote

if TYPE_CHECKING:
    import httpx

MAX_ANSWER_BYTES = 1 << 14
MAX_LINES = 16
SIZE_TYPE = "text/x.tlog.size"
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
# What a witness has can change between its answer and the next question, if several processes
# serve one log; more often than this it does not.
_ATTEMPTS = 3
# How far ahead a witness's clock may be.  Less than those allow it who verify a cosignature: one
# that they refuse makes them refuse the whole note, so that one witness could stop all answers.
_AHEAD_SECONDS = 60


@dataclass(frozen=True)
class Cosigned:
    """What a witness signed.

    Attributes:
        line: its cosignature, verified.
        bls: its BLS signature, 96 bytes, not verified; None if it gave none.
    """

    line: NoteSignature
    bls: bytes | None


class WitnessClient:
    """Sends checkpoints to one witness, each with the proof from the size it has.

    Args:
        witness: with a URL.
        log: where proofs come from.
        clock: POSIX time in seconds.
    """

    def __init__(self, witness: Witness, log: AuditLog, clock: Callable[[], float]) -> None:
        self._witness = witness
        self._log = log
        self._clock = clock
        self._address = f"{(witness.url or '').rstrip('/')}/add-checkpoint"
        # Not kept: a witness that has more says so.
        self._known = 0

    async def cosign(self, http: httpx.AsyncClient, note: SignedNote, size: int) -> Cosigned:
        """Have a checkpoint cosigned; one that it has cosigned is signed with its BLS key too.

        Args:
            http: which trusts the witness's certificate, and has time limits.
            note: signed by the log.
            size: of the checkpoint.

        Raises:
            WitnessError: the witness cannot be reached, refuses, or answers what is no cosignature
                of its key.
            LogStateError, LogUnavailableError: the log cannot prove its own growth.
        """
        for _ in range(_ATTEMPTS):
            known = min(self._known, size)
            status, kind, answer = await self._post(http, await self._request(note, known, size))
            if status == 200:
                cosigned = self._accepted(note.text, answer)
                self._known = size
                return cosigned
            found = _SIZE.fullmatch(answer)
            if status != 409 or kind != SIZE_TYPE or found is None:
                raise WitnessError(f"refused with status {status}: {_shown(answer)}")
            has = int(found[1])
            if has > size:
                raise WitnessError(
                    f"has signed {has} entries and this checkpoint has {size}: the log was "
                    "restored from an old copy, or another process is ahead"
                )
            if has == known:
                raise WitnessError(f"has signed another history of {has} entries: a split view")
            self._known = has
        raise WitnessError("its size changed with every attempt")

    async def _request(self, note: SignedNote, known: int, size: int) -> bytes:
        hashes: tuple[bytes, ...] = ()
        if 0 < known < size:
            try:
                hashes = await asyncio.to_thread(self._log.consistency_proof, known, size)
            except UnknownEntryError as error:
                raise WitnessError(f"has signed {known} entries, which the log had not") from error
        proof = "".join(f"{base64.b64encode(item).decode()}\n" for item in hashes)
        return f"old {known}\n{proof}\n".encode() + note.encoded()

    async def _post(self, http: httpx.AsyncClient, body: bytes) -> tuple[int, str, bytes]:
        import httpx

        headers = {"content-type": "text/plain; charset=utf-8", "accept-encoding": "identity"}
        answer = b""
        try:
            async with http.stream(
                "POST", self._address, content=body, headers=headers
            ) as response:
                async for part in response.aiter_raw():
                    answer += part
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise WitnessError(f"answers more than {MAX_ANSWER_BYTES} bytes")
        except httpx.HTTPError as error:
            raise WitnessError(
                f"cannot be reached: {str(error) or type(error).__name__}"
            ) from error
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        return response.status_code, kind, answer

    def _accepted(self, text: str, answer: bytes) -> Cosigned:
        """The witness's own lines of an answer; lines of other keys are ignored."""
        witness = self._witness
        try:
            lines = _lines(answer)
        except NoteError as error:
            raise WitnessError(f"answers no signature lines: {error}") from error
        mine = [line for line in lines if line.name == witness.name]
        signed = [line for line in mine if line.key_id == witness.key.key_id]
        if not signed:
            raise WitnessError("answers no signature of the key in the policy")
        try:
            latest = int(self._clock()) + _AHEAD_SECONDS
            verify_cosignature(text, witness.key, signed[0], latest - CLOCK_SKEW_SECONDS)
        except SignatureError as error:
            raise WitnessError(f"answers what does not verify: {error}") from error
        bls = None
        if witness.bls is not None:
            wanted = bls_key_id(witness.name, witness.bls.public)
            found = [line.body for line in mine if line.key_id == wanted]
            bls = next((body for body in found if len(body) == SIGNATURE_BYTES), None)
        return Cosigned(signed[0], bls)


def _lines(answer: bytes) -> list[NoteSignature]:
    try:
        text = answer.decode()
    except UnicodeDecodeError as error:
        raise NoteError("not UTF-8") from error
    if not text.endswith("\n") or text.count("\n") > MAX_LINES:
        raise NoteError(f"expected 1 to {MAX_LINES} lines")
    return [NoteSignature.from_line(line) for line in text[:-1].split("\n")]


def _shown(answer: bytes) -> str:
    """The beginning of an answer for a log: printable, whatever a witness sends."""
    return ascii(answer[:100].decode("ascii", "replace").strip())
