"""Have the log's checkpoints cosigned by the witnesses of a policy.

A round signs the log as it is, asks every witness that has not signed this checkpoint, and ends
once enough have; others, unless they were silent the last time, are waited for a moment more.
Rounds do not overlap: whoever asks while one is under way shares it, and the next one if that began
too early to hold its receipt.  Nothing a witness says is kept before it is verified.

BLS signatures are asked for and added up after the round, since that takes about a second: the
aggregate joins the kept checkpoint when it is ready, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import structlog

from audit.aggregate_cosignature import (
    aggregate_cosignatures,
    verify_bls_cosignature,
)
from audit.checkpoint import Checkpoint
from audit.cosignature import WitnessPolicy, verify_cosignature
from audit.errors import AuditError, SignatureError, WitnessError
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.signed_note import NoteKey, NoteSignature, SignedNote
from server.witness_client import WitnessClient

if TYPE_CHECKING:
    import httpx

_log = structlog.get_logger("blindproof.server")


@dataclass(frozen=True)
class RoundLimits:
    """How long is waited for witnesses.

    Attributes:
        witness_seconds: for one witness in a round, and so for a round.
        grace_seconds: for further witnesses once enough have signed.
        interval_seconds: from one background round to the next.
        aggregate_seconds: from one aggregate to the next: each takes a second of a processor.
    """

    witness_seconds: float = 10.0
    grace_seconds: float = 0.5
    interval_seconds: float = 60.0
    aggregate_seconds: float = 10.0


@dataclass
class _Collected:
    """What is known of one checkpoint's signatures.

    Attributes:
        note: with the log's signature.
        size: of the checkpoint.
        lines: verified cosignatures, by the witness's name.
        aggregate: the line of the aggregate.
    """

    note: SignedNote
    size: int
    lines: dict[str, NoteSignature] = field(default_factory=dict)
    aggregate: NoteSignature | None = None

    def cosigned(self) -> SignedNote:
        """The checkpoint with all of them."""
        aggregates = () if self.aggregate is None else (self.aggregate,)
        return self.note.with_signatures((*self.lines.values(), *aggregates))


class Witnesses:
    """The witnesses of a log.  Used from one event loop.

    Args:
        policy: whom to ask, and how many must sign.  Witnesses without a URL are not asked.
        log: whose checkpoints are cosigned and kept.
        key: the log's.
        limits: how long is waited.
        tls: which certificates of witnesses are trusted; those of the system's authorities if None.
        clock: POSIX time in seconds.

    Raises:
        WitnessError: the policy has too few URLs, or the HTTP client is not installed.
    """

    def __init__(
        self,
        policy: WitnessPolicy,
        log: AuditLog,
        key: SigningKey,
        *,
        limits: RoundLimits | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        asked = [witness for witness in policy.witnesses if witness.url is not None]
        if len(asked) < policy.threshold:
            raise WitnessError(
                f"{policy.threshold} witnesses must sign and the policy says of {len(asked)} where "
                "they are: add 'url' to the witnesses in its file"
            )
        self._policy = policy
        self._log = log
        self._key = key
        self._log_key = NoteKey(log.origin, key.public)
        self._limits = limits or RoundLimits()
        self._clock = clock
        self._http = _http_client(tls or ssl.create_default_context(), self._limits.witness_seconds)
        self._clients = {each.name: WitnessClient(each, log, clock) for each in asked}
        self._silent: set[str] = set()
        self._collected: _Collected | None = None
        self._newest: _Collected | None = None
        self._round: asyncio.Task[None] | None = None
        self._adding: asyncio.Task[None] | None = None

    async def cosigned(self, min_size: int) -> SignedNote:
        """A kept checkpoint of at least a size, with the cosignatures that the policy asks for.

        Args:
            min_size: entries it must have; 0 for the newest that is cosigned already.

        Returns:
            The checkpoint, its verified cosignatures, and the aggregate if there is one by now.

        Raises:
            WitnessError: too few witnesses have signed in time, or the log is not as large.
            LogStateError: the log is not what it was.
            LogUnavailableError: the database failed.
        """
        under_way = self._round
        if self._found(min_size) is None and under_way is not None and not under_way.done():
            # It may have begun too early: then its failure says nothing about the next one.
            with contextlib.suppress(AuditError):
                await asyncio.shield(under_way)
        if self._found(min_size) is None:
            await asyncio.shield(self._shared_round())
        found = self._found(min_size)
        if found is None:
            raise WitnessError(f"the log has no {min_size} entries to be cosigned")
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Have new entries cosigned at intervals, whether or not anyone asks, until told to stop.

        So the log's history leaves the machine even if it is later rewritten before a client looks.
        """
        while not stop.is_set():
            try:
                head = await asyncio.to_thread(self._log.head)
                if head.size and self._found(head.size) is None:
                    await self.cosigned(head.size)
            except AuditError as error:
                _log.warning("checkpoint not cosigned", reason=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._limits.interval_seconds)

    async def added(self) -> None:
        """Wait until the aggregate of what was collected is made and kept."""
        if self._adding is not None:
            await asyncio.shield(self._adding)

    async def aclose(self) -> None:
        """End what is under way and close connections."""
        tasks = [task for task in (self._round, self._adding) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    def _found(self, min_size: int) -> SignedNote | None:
        newest = self._newest
        return newest.cosigned() if newest is not None and newest.size >= min_size else None

    def _shared_round(self) -> asyncio.Task[None]:
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._one_round())
            # Whoever asked may have gone; the error is then nobody's.
            self._round.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._round

    async def _one_round(self) -> None:
        note = await asyncio.to_thread(self._log.checkpoint, self._key)
        collected = self._begun(note)
        before = len(collected.lines)
        refusals = await self._ask(collected)
        if refusals:
            _log.warning("witnesses did not sign", size=collected.size, reasons=refusals)
        if len(collected.lines) > before:
            await self._keep(collected)
        if len(collected.lines) < self._policy.threshold:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(refusals.items()))
            raise WitnessError(
                f"{len(collected.lines)} of {len(self._policy.witnesses)} witnesses have signed, "
                f"{self._policy.threshold} must ({reasons})"
            )
        self._newest = collected
        if self._adding is None or self._adding.done():
            self._adding = asyncio.create_task(self._add())

    def _begun(self, note: SignedNote) -> _Collected:
        """What was collected for a checkpoint before, in this process or another."""
        if self._collected is None or self._collected.note.text != note.text:
            size = Checkpoint.from_text(note.text).size
            mine = SignedNote(note.text, note.by_key(self._log_key))
            self._collected = _Collected(mine, size)
            now = int(self._clock())
            for witness in self._policy.witnesses:
                for line in note.by_key(witness.key):
                    with contextlib.suppress(SignatureError):
                        verify_cosignature(note.text, witness.key, line, now)
                        self._collected.lines[witness.name] = line
        return self._collected

    async def _ask(self, collected: _Collected) -> dict[str, str]:
        """Ask all that have not signed; why those who were to sign did not, by name."""
        refusals: dict[str, str] = {}
        tasks = {
            asyncio.create_task(self._ask_one(client, collected, name, refusals)): name
            for name, client in self._clients.items()
            if name not in collected.lines
        }
        pending = set(tasks)
        try:
            while pending and len(collected.lines) < self._policy.threshold:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            awaited = {task for task in pending if tasks[task] not in self._silent}
            if awaited:
                await asyncio.wait(awaited, timeout=self._limits.grace_seconds)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._silent = {name for name in tasks.values() if name not in collected.lines}
        return refusals

    async def _ask_one(
        self, client: WitnessClient, collected: _Collected, name: str, refusals: dict[str, str]
    ) -> None:
        try:
            async with asyncio.timeout(self._limits.witness_seconds):
                cosigned = await client.cosign(self._http, collected.note, collected.size)
        except TimeoutError:
            refusals[name] = f"no answer in {self._limits.witness_seconds:g} seconds"
        except WitnessError as error:
            refusals[name] = str(error)
        else:
            collected.lines[name] = cosigned.line

    async def _keep(self, collected: _Collected) -> None:
        note = collected.cosigned().encoded()
        await asyncio.to_thread(self._log.keep_checkpoint, note, self._log_key)

    async def _add(self) -> None:
        """Aggregate for the newest checkpoint, and again for the one that is newest afterwards."""
        collected = self._newest
        while collected is not None:
            try:
                await self._add_to(collected)
            except AuditError as error:
                _log.warning("cosignatures not aggregated", reason=str(error))
            if collected is self._newest:
                return
            await asyncio.sleep(self._limits.aggregate_seconds)
            collected = self._newest

    async def _add_to(self, collected: _Collected) -> None:
        text = collected.note.text
        signatures = await self._bls_signatures(collected)
        if len(signatures) < self._policy.threshold:
            return
        try:
            line = await self._aggregated(text, signatures)
        except SignatureError:
            for name in await asyncio.to_thread(self._false, text, signatures):
                _log.warning("BLS signature does not verify", witness=name, size=collected.size)
                del signatures[name]
            if len(signatures) < self._policy.threshold:
                return
            line = await self._aggregated(text, signatures)
        collected.aggregate = line
        await self._keep(collected)

    async def _bls_signatures(self, collected: _Collected) -> dict[str, bytes]:
        """Of those who have cosigned a checkpoint and have BLS keys, not verified."""
        asked = [
            witness.name
            for witness in self._policy.witnesses
            if witness.bls is not None and witness.name in self._clients
        ]
        answers = await asyncio.gather(*(self._bls_signature(name, collected) for name in asked))
        return {
            name: answer for name, answer in zip(asked, answers, strict=True) if answer is not None
        }

    async def _bls_signature(self, name: str, collected: _Collected) -> bytes | None:
        if name not in collected.lines:
            return None
        try:
            async with asyncio.timeout(self._limits.witness_seconds):
                cosigned = await self._clients[name].cosign(
                    self._http, collected.note, collected.size
                )
        except (TimeoutError, WitnessError):
            return None  # has moved on, or will be complained of in the next round
        return cosigned.bls

    async def _aggregated(self, text: str, signatures: dict[str, bytes]) -> NoteSignature:
        return await asyncio.to_thread(
            aggregate_cosignatures, text, self._log.origin, self._policy, signatures
        )

    def _false(self, text: str, signatures: dict[str, bytes]) -> list[str]:
        """Whose BLS signatures do not verify."""
        false = []
        for witness in self._policy.witnesses:
            if witness.bls is not None and witness.name in signatures:
                try:
                    verify_bls_cosignature(text, witness.bls, signatures[witness.name])
                except SignatureError:
                    false.append(witness.name)
        return false


def _http_client(tls: ssl.SSLContext, seconds: float) -> httpx.AsyncClient:
    try:
        import httpx
    except ImportError as error:
        raise WitnessError(
            "asking witnesses needs an HTTP client: pip install 'blindproof[witness]'"
        ) from error
    # Nothing from the environment: a proxy is no part of what was configured.
    # And nothing from a witness but its answer: cookies would be kept for ever, and be sent to
    # other witnesses of the same domain.
    cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(verify=tls, timeout=seconds, trust_env=False, cookies=cookies)
