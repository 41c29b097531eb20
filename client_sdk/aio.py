"""The client: encrypt, send, verify, and only then decrypt.

`AsyncClient` is the whole of it; `client_sdk.client.Client` runs one in a private thread.  Work on
words runs in threads, so that the caller's event loop stays alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from audit.errors import UnknownEntryError
from audit.facts import AnsweredFacts, answered_facts
from audit.proven_receipt import ProvenReceipt
from audit.signed_note import NoteKey
from client_sdk.credentials import Bearer, TlsFiles
from client_sdk.disclosure import (
    DISCLOSURE_LIMIT,
    disclosure_units,
    in_units,
    release,
    require_distance,
    require_possible,
)
from client_sdk.encryption import CkksContext, CkksSecretContext, decrypt, encrypt
from client_sdk.enrolment import enrol
from client_sdk.evidence import Evidence, request_digests
from client_sdk.keystore import KeyStore, Ring, Snapshot, StaleSnapshotError
from client_sdk.log_view import LogView
from client_sdk.memory import MAX_MEMORY_BYTES, enrolment_bytes, prediction_bytes, require_memory
from client_sdk.metering import Meter, Traffic, unmetered
from client_sdk.pinning import parse_digest
from client_sdk.receipts import (
    VerifiedReceipt,
    Witnesses,
    log_key_of,
    read_receipt,
    read_witnesses,
    stated_account,
)
from client_sdk.records import Records, raw_values
from client_sdk.repeating import DEFAULT_RETRIES, repeated
from client_sdk.result import Result, Timings, read_outputs
from client_sdk.resuming import Exchange
from client_sdk.streaming import AsyncSource, Progress, stream_pieces
from client_sdk.transport import Transport, counting
from client_sdk.transport_errors import ConnectionLostError, KeyUnknownError
from client_sdk.verification import accept_model, verify_answer
from fhe_layers.inputs import request_inputs
from protocol.accountability import DEFAULT_PURPOSE, DEFAULT_TENANT, Account
from protocol.errors import (
    EncodingError,
    EnrolmentError,
    KeyStoreError,
    ModelError,
    ParameterError,
    RequestError,
    VerificationError,
)
from protocol.inputs import RequestInputs
from protocol.keys import KeyRequest
from protocol.model import ModelCard
from protocol.parameters import CkksParameters, Mode, Packing
from protocol.plaintext import SALT_BYTES, PlaintextColumns
from protocol.request import EMPTY_LOG_HEAD, NONCE_BYTES, REQUEST_ID_BYTES, Request
from wire import rpc
from wire.inference import Response, ResponseAssembler, encode_request, outputs_digest
from wire.models import (
    ModelList,
    decode_list,
    decode_model,
    encode_list_request,
    encode_model_request,
)
from wire.stored_key import Enrolment
from zk_layers.checks import Check

Floats = npt.NDArray[np.float64]

DEFAULT_SECONDS = 300.0
"""For one call: a deep network's request has tens of megabytes, and its proof takes seconds."""

INPUTS_PER_SINGLE = 16
"""A request for a single record takes as long as it takes to encrypt, send and evaluate so many
inputs of a batch, however few records the batch has."""

SNAPSHOT_ATTEMPTS = 5
"""Fresh starts before a prediction gives up on a store that others keep rotating."""


class Phase(StrEnum):
    """Where a prediction is; reported when the phase begins."""

    ENROL = "enrol"
    ENCRYPT = "encrypt"
    EXCHANGE = "exchange"
    VERIFY = "verify"
    DECRYPT = "decrypt"
    RELEASE = "release"


@dataclass(frozen=True)
class ServedCard:
    """The pinned model, verified, and who serves it."""

    card: ModelCard
    registration_proof: bytes
    server_id: str


@dataclass(frozen=True, eq=False)
class _Answer:
    """One verified and decrypted request."""

    evidence: Evidence
    receipt: ProvenReceipt
    countersigned: bool
    raw: Floats
    released: Floats
    soundness_bits: float
    timings: Timings


@dataclass(frozen=True, eq=False)
class _Messages:
    """One request as it travels: the same bytes however often it is sent."""

    request: Request
    inputs: RequestInputs
    account: Account
    log_size: int

    def encoded(self) -> Iterator[bytes]:
        """Header, plaintext columns, ciphertexts."""
        return encode_request(self.request, self.inputs, self.account, self.log_size)


class AsyncClient:
    """Verified predictions by one pinned model at one server, for asyncio.

    Use as an asynchronous context manager, or call `close`.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str | bytes,
        keys: KeyStore,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        certificate_key: str | Path | None = None,
        token: str | None = None,
        token_file: str | Path | None = None,
        server_id: str | None = None,
        client_id: str | None = None,
        tolerance: float | None = None,
        min_disclosure_log2: int | None = None,
        plaintext: Collection[str] | None = None,
        seconds: float = DEFAULT_SECONDS,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        tenant: str = DEFAULT_TENANT,
        actor: str | None = None,
        purpose: str = DEFAULT_PURPOSE,
        log_key: NoteKey | str | None = None,
        witnesses: Witnesses | None = None,
        retries: int = DEFAULT_RETRIES,
        observer: Callable[[Phase], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Configure; nothing is sent before the first call.

        Args:
            target: host and port.
            model: digest of the model, 32 bytes or hexadecimal: what is pinned.
            keys: the client's secrets.
            ca: PEM file of the authority of the server's certificate; the system's if None.
            certificate: the client's own PEM file, for servers with mutual TLS.
            certificate_key: its key; both or neither.  PEM files that are replaced are used from
                the next call on.
            token: bearer token, for servers that know their clients by one.
            token_file: file of it, read before each call, for tokens that are renewed.
            server_id: the server's name in the transcript; what the server says of itself, over
                TLS, if None.
            client_id: the client's; if None the subject of its token, the common name of its
                certificate, or the name drawn with the key store, whichever is there first.
            tolerance: largest error bound, in units of the output, that is acceptable.
            min_disclosure_log2: how far above what depends on the secret key the noise on released
                values must be at least, as a power of two; a model with less is refused before
                anything is encrypted.  If None, 32 for linear models, and whatever its card says
                for a network: `Result.disclosure_log2` reports it.
            plaintext: columns that may travel in clear; a model whose card sends another one so is
                refused before anything is sent.  If None, the pinned card decides.
            seconds: time limit of each call.
            max_memory_bytes: what enrolment or one request may take, by the model's card; a model
                that takes more is refused before anything is enrolled or encrypted.
            tenant: the organisation on whose behalf it is asked, as receipts have it.
            actor: the account or the device that asks, no person's name; what `client_id` becomes
                as a token if None.
            purpose: why, a code of HL7 v3 PurposeOfUse, such as TREAT; HOPERAT, operations, if
                nobody says.
            log_key: verifier key of the server's audit log, from its operator; if None, the one
                with which the log was first met from this key store.
            witnesses: a policy or the path of one: nothing is decrypted unless as many witnesses
                have signed a log that holds the receipt.
            retries: how often a request is sent again, the same, when the connection breaks.
            observer: called with each phase as it begins.
            meter: called with the part of a phase that is done, where that is known.

        Raises:
            ModelError: the digest is malformed.
            ParameterError: the tolerance or the memory limit is not a positive number, the retries
                are a negative one, `plaintext` is one text, or tenant or actor fit no receipt.
            ReceiptError: an unknown purpose.
            NoteError: a malformed log key.
            PolicyError: a file that is no policy.
            TransportError: a PEM file or a token cannot be used, or a certificate came without its
                key.
        """
        if tolerance is not None and not tolerance > 0:  # NaN as well
            raise ParameterError(f"the tolerance must be a positive number, not {tolerance}")
        if isinstance(plaintext, str):
            raise ParameterError(f"plaintext: expected names of columns, such as ['{plaintext}']")
        if not max_memory_bytes > 0:
            raise ParameterError("the memory limit must be a positive number of bytes")
        if retries < 0:
            raise ParameterError(f"a request is sent again 0 times or more, not {retries}")
        tls = TlsFiles.of(ca, certificate, certificate_key)
        bearer = Bearer.of(token, token_file)
        self._transport = Transport(target, tls, seconds, bearer)
        self._account = stated_account(tenant, actor, purpose)
        self._log = LogView(
            self._transport, target, keys, log_key_of(log_key), read_witnesses(witnesses)
        )
        self._retries = retries
        self._target = target
        self._pinned = parse_digest(model)
        self._keys = keys
        self._server_id = server_id
        # Whoever shows both is who the token says.
        shown = (None if bearer is None else bearer.subject) or tls.common_name
        self._client_id = client_id or shown or keys.client_id
        self._tolerance = tolerance
        self._min_disclosure_log2 = min_disclosure_log2
        self._plaintext = None if plaintext is None else frozenset(plaintext)
        self._max_memory_bytes = max_memory_bytes
        self._observe = observer or _unobserved
        self._meter = meter or unmetered
        self._served: ServedCard | None = None
        self._contexts: dict[CkksParameters, tuple[bytes, CkksSecretContext]] = {}  # with epoch
        self._enrolling = asyncio.Lock()

    def __repr__(self) -> str:
        return f"AsyncClient({self._target!r}, model={self._pinned.hex()[:16]}…)"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def client_id(self) -> str:
        """The client's name in keys and proof transcripts."""
        return self._client_id

    @property
    def log_key(self) -> str | None:
        """Verifier key of the server's log that is in use; None before the first prediction."""
        return None if self._log.key is None else self._log.key.encoded()

    async def close(self) -> None:
        """Close the connection and forget the secret key."""
        self._contexts.clear()
        await self._transport.close()

    async def model(self) -> ServedCard:
        """The pinned model's card, fetched and verified once.

        Raises:
            ModelError: unknown, or not the pinned one, or it has columns sent in clear that this
                client does not allow.
            VerificationError: its registration does not hold.
            TransportError: the server cannot be reached.
        """
        if self._served is None:
            answer = await self._transport.call(rpc.GET_MODEL, encode_model_request(self._pinned))
            served = decode_model(answer)
            if self._server_id is not None and served.server_id != self._server_id:
                raise RequestError(
                    f"the server calls itself {served.server_id!r}, expected {self._server_id!r}"
                )
            card = await asyncio.to_thread(
                accept_model, served.card, served.registration_proof, self._pinned
            )
            self._check_plaintext(card)
            self._served = ServedCard(card, served.registration_proof, served.server_id)
        return self._served

    async def enrol(self) -> bytes:
        """Enrol fresh public keys for the pinned model; returns their digest.

        `predict` does this by itself when the key store has none that fit.

        Raises:
            EnrolmentError: the server declined.
            ModelError: the model is public and needs no keys.
            MemoryLimitError: its keys take more memory than this client allows.
        """
        served = await self.model()
        if served.card.mode is Mode.PUBLIC:
            raise ModelError("a public model needs no enrolled keys")
        self._check_enrolment_memory(served)
        async with self._enrolling:
            for _ in range(SNAPSHOT_ATTEMPTS):
                snapshot = await asyncio.to_thread(self._snapshot, served)
                with contextlib.suppress(StaleSnapshotError):
                    return (await self._enrol(served, snapshot)).key.digest
        raise KeyStoreError("the key store was rotated again and again: try later")

    async def predict(
        self, records: Records, packing: str = "auto", *, subject: str | None = None
    ) -> Result:
        """Encrypt records, have them evaluated, verify proof and receipt, decrypt, release.

        Columns that the card calls plaintext are sent in clear; all others are encrypted.

        Args:
            records: array (records, C), data frame, or dicts by column name.
            packing: 'batch', 'single', or 'auto': where both are offered, single for one record,
                and for more while one by one is faster than a batch (`INPUTS_PER_SINGLE`).
            subject: what you call the one subject whom all these records are about, such as a
                patient's number; None if they are about several.  Receipts get a pseudonym, made
                with a key in the key store; the identifier stays in this process.

        Raises:
            InputError: the records do not fit the model; nothing was sent.
            ModelError: its error bound is above the tolerance, or its disclosure distance below the
                client's minimum; nothing was encrypted.
            MemoryLimitError: the model takes more memory than this client allows; as above.
            EnrolmentError: the server no longer knows the enrolled key, which is forgotten: the
                next call enrols afresh.
            VerificationError: an answer or its proof was refused; nothing was decrypted.
            AuditError: a receipt, or the log it is in, was refused (`client_sdk.receipts`); the
                same.
            ConnectionLostError: the connection broke, and again in each repetition.
            DecryptionError: an impossible value was decrypted; nothing was released.
            BlindproofError: see `protocol.errors`.
        """
        account = await self._account_of(subject)
        served = await self.model()
        raw = raw_values(served.card, records)
        chosen = chosen_packing(served.card, packing, len(raw))
        self._check_tolerance(served.card, chosen)
        require_distance(served.card, chosen, self._min_disclosure_log2)
        self._check_memory(served, chosen)
        size = 1 if chosen is Packing.SINGLE else served.card.profile(chosen).parameters.slots
        with counting() as carried:
            answers = [
                await self._answer(served, chosen, raw[start : start + size], account)
                for start in range(0, len(raw), size)
            ]
        released = np.concatenate([answer.released for answer in answers]) * served.card.unit
        reading = read_outputs(served.card, released)
        # The bound is exact arithmetic's; what is released becomes a double and is multiplied.
        doubles = 2 * float(np.spacing(np.abs(released).max()))
        error_bound = served.card.bounds(chosen).released_error * served.card.unit + doubles
        return Result(
            values=released,
            labels=reading.labels,
            probabilities=reading.probabilities,
            predictions=reading.predictions,
            error_bound=error_bound,
            precision_bits=-math.log2(error_bound / served.card.unit),
            disclosure_log2=served.card.profile(chosen).disclosure_log2,
            soundness_bits=min(answer.soundness_bits for answer in answers),
            model_digest=served.card.digest,
            evidence=tuple(answer.evidence for answer in answers),
            receipts=tuple(answer.receipt for answer in answers),
            countersigned=tuple(answer.countersigned for answer in answers),
            timings=Timings.total([answer.timings for answer in answers]),
            sent_bytes=carried.sent,
            received_bytes=carried.received,
            raw=np.concatenate([answer.raw for answer in answers]) * served.card.unit,
        )

    async def stream(
        self,
        records: AsyncSource,
        *,
        batch: int | None = None,
        packing: str = "auto",
        evidence: str | Path | None = None,
        progress: Progress | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Predictions request by request, for tables of any length; see `Client.stream`.

        The source may be asynchronous too; one that is not is read in the event loop.
        """
        answers = stream_pieces(
            self, records, packing=packing, batch=batch, evidence=evidence, progress=progress
        )
        async with contextlib.aclosing(answers):
            async for _, result in answers:
                yield result

    async def verify_receipt(self, path: str | Path) -> VerifiedReceipt:
        """Verify a receipt file, and that the server's log still holds it.

        Beyond `client_sdk.receipts.verify_receipt`, with this client's log key and witnesses: the
        log of today has the same entry at the same place, and extends both the log of the receipt
        and all that this client has seen.

        Raises:
            EncodingError, ReceiptError, NoteError: not a receipt file.
            AuditError: the receipt or the log is refused.
            TransportError: the server cannot be reached.
        """
        return await self._log.check(await asyncio.to_thread(read_receipt, path))

    async def _account_of(self, subject: str | None) -> Account:
        """Who asks, about whom: the identifier ends here."""
        if subject is None:
            return self._account
        named = await asyncio.to_thread(self._keys.pseudonym, self._account.tenant, subject)
        return replace(self._account, subject=named)

    def _check_plaintext(self, card: ModelCard) -> None:
        sent = (card.features[index].name for index in card.plaintext_features)
        unwanted = [] if self._plaintext is None else [n for n in sent if n not in self._plaintext]
        if unwanted:
            raise ModelError(
                f"this model has the column '{unwanted[0]}' sent in clear, which is not among the "
                "plaintext columns you allow: allow it, or ask for a model that encrypts it"
            )

    def _check_tolerance(self, card: ModelCard, packing: Packing) -> None:
        bound = card.bounds(packing).released_error * card.unit
        if self._tolerance is not None and bound > self._tolerance:
            raise ModelError(
                f"packing '{packing}' of this model has an error bound of {bound:.3g}, above the "
                f"tolerance {self._tolerance:.3g}"
            )

    def _check_memory(self, served: ServedCard, packing: Packing) -> None:
        needed = prediction_bytes(served.card, packing)
        require_memory(needed, self._max_memory_bytes, f"a request in packing '{packing}'")
        if served.card.mode is Mode.PRIVATE:
            self._check_enrolment_memory(served)

    def _check_enrolment_memory(self, served: ServedCard) -> None:
        request = self._key_request(served)
        needed = enrolment_bytes(request)
        require_memory(needed, self._max_memory_bytes, f"enrolling {request.keys} public keys")

    async def _answer(
        self, served: ServedCard, packing: Packing, raw: Floats, account: Account
    ) -> _Answer:
        """One request, to the end: raw values (records, C)."""
        card = served.card
        disclosing = disclosure_units(card, packing, len(raw))
        if disclosing > DISCLOSURE_LIMIT:
            raise RequestError(
                f"the answers to {len(raw)} records weigh {disclosing} units of disclosure, and "
                f"a key may release {DISCLOSURE_LIMIT}: send fewer records at a time"
            )
        snapshot = await self._reserved(served, disclosing)
        enrolment = snapshot.enrolment
        context = await asyncio.to_thread(self._context, card.profile(packing).parameters, snapshot)

        self._observe(Phase.ENCRYPT)
        clock = [time.perf_counter()]
        inputs = await asyncio.to_thread(_inputs, context, card, packing, raw)
        registration, key_digest = request_digests(card, served.registration_proof, enrolment)
        log = await self._log.known()
        request = Request(
            request_id=secrets.token_bytes(REQUEST_ID_BYTES),
            nonce=secrets.token_bytes(NONCE_BYTES),
            client_id=self._client_id,
            server_id=served.server_id,
            card=card,
            packing=packing,
            records=len(raw),
            key_digest=key_digest,
            registration_digest=registration,
            input_digest=inputs.digest,
            plaintext_digest=inputs.plaintext_digest,
            log_head=EMPTY_LOG_HEAD if log.head is None else log.head.digest,
        )
        messages = _Messages(request, inputs, account, 0 if log.head is None else log.head.size)
        clock.append(time.perf_counter())

        self._observe(Phase.EXCHANGE)
        # The verifier needs the expanded words: made while the server works.
        expanding = asyncio.create_task(asyncio.to_thread(lambda: inputs.words))
        try:
            response = await self._exchange(messages)
        except KeyUnknownError as error:
            await asyncio.to_thread(self._keys.forget_enrolled_key, key_digest)
            raise EnrolmentError(
                f"{error}.  The key is forgotten: the next prediction enrols afresh, or do it now "
                "with client.enrol() or `blindproof enrol`"
            ) from error
        except UnknownEntryError as error:
            raise await self._log.explained(log, error) from error
        finally:
            await expanding
        clock.append(time.perf_counter())

        self._observe(Phase.VERIFY)
        evidence = Evidence(
            request,
            served.registration_proof,
            enrolment,
            inputs,
            response.outputs,
            response.proof,
        )
        facts, soundness_bits = await asyncio.to_thread(_verified_facts, evidence, account)
        # The disclosure is counted and the answer is here: a line that breaks now is no reason to
        # begin again.
        receipt = await repeated(
            lambda: self._log.accept(response.receipt, facts, log), self._retries
        )
        clock.append(time.perf_counter())

        # From here on, and nowhere before, the secret key meets what the server sent.
        self._observe(Phase.DECRYPT)
        receipt = await asyncio.to_thread(self._signed, receipt)
        delivery = asyncio.create_task(self._log.countersign(receipt))
        try:
            # Every slot is decrypted, the unused ones too: the more a value could be impossible,
            # the surer `require_possible` is.
            every = await asyncio.to_thread(decrypt, context, card, response.outputs)
            clock.append(time.perf_counter())

            self._observe(Phase.RELEASE)
            require_possible(every, card, packing)
            exact = every[: len(raw)]
            bounds = card.bounds(packing)
            output_digest = outputs_digest(response.outputs)
            released = release(exact, bounds, snapshot.release_key, output_digest)
        finally:
            countersigned = await delivery
        encrypting, exchanging, verifying, decrypting = np.diff(clock).tolist()
        timings = Timings(encrypting, exchanging, verifying, decrypting, response.timings)
        # The expanded words weigh much more than the seeds they are made from again when needed.
        kept = replace(evidence, inputs=inputs.compact())
        return _Answer(
            kept, receipt, countersigned, in_units(exact, bounds), released, soundness_bits, timings
        )

    async def _exchange(self, messages: _Messages) -> Response:
        """Send, and receive within the bounds the card sets; again if the connection breaks."""
        request, sent = messages.request, messages.inputs.sent_bytes

        def assembler() -> ResponseAssembler:
            return ResponseAssembler(request.card, request.packing, request.request_id)

        def traffic() -> Traffic:
            return Traffic(assembler().output_bytes + sent, self._meter)

        exchange = Exchange(messages.encoded, assembler, traffic)

        async def connect() -> None:
            try:
                await self._transport.exchange(rpc.INFER, exchange)
            except ConnectionLostError:
                if not exchange.is_whole:
                    raise

        try:
            await repeated(connect, self._retries)
            return exchange.finish()
        except EncodingError as error:
            raise VerificationError(str(Check.CANONICAL), str(error)) from error

    def _signed(self, receipt: ProvenReceipt) -> ProvenReceipt:
        """With the client's signature, which says that the answer was verified."""
        return replace(receipt, signed=receipt.signed.countersigned(self._keys.receipt_key()))

    async def _reserved(self, served: ServedCard, units: int) -> Snapshot:
        """Secrets of one epoch, with the disclosure of so many units reserved.

        A private model's come with an enrolled key, enrolled now if there is none.  What follows
        uses this snapshot alone, so that a rotation from here on leaves the prediction whole: it
        ends under the secrets it began with, counted against them.
        """
        async with self._enrolling:
            for _ in range(SNAPSHOT_ATTEMPTS):
                snapshot = await asyncio.to_thread(self._snapshot, served, units)
                with contextlib.suppress(StaleSnapshotError):
                    if served.card.mode is Mode.PRIVATE and snapshot.enrolment is None:
                        enrolment = await self._enrol(served, snapshot)
                        snapshot = replace(snapshot, enrolment=enrolment)
                    await asyncio.to_thread(
                        self._keys.count_disclosure, units, snapshot.epoch, DISCLOSURE_LIMIT
                    )
                    return snapshot
        raise KeyStoreError("the key store was rotated again and again: try later")

    async def _enrol(self, served: ServedCard, snapshot: Snapshot) -> Enrolment:
        """Enrol keys of a snapshot's secret.  Raises StaleSnapshotError if it was rotated away."""
        self._observe(Phase.ENROL)
        enrolment = await enrol(
            self._transport, self._key_request(served), snapshot.secret, self._meter
        )
        await asyncio.to_thread(self._keys.add_enrolled_key, enrolment, snapshot.epoch)
        return enrolment

    def _key_request(self, served: ServedCard) -> KeyRequest:
        card = served.card
        return KeyRequest(
            self._client_id, served.server_id, card.ring_degree, card.key_moduli, card.keys_needed
        )

    def _snapshot(self, served: ServedCard, units: int = 0) -> Snapshot:
        """The store's secrets for a model, with room to disclose so many units."""
        card = served.card
        parameters = card.profiles[0].parameters
        return self._keys.snapshot(
            Ring(card.ring_degree, card.key_moduli),
            lambda: CkksContext(parameters).generate_secret(),
            wanted=self._key_request(served) if card.mode is Mode.PRIVATE else None,
            room=units,
            limit=DISCLOSURE_LIMIT,
        )

    def _context(self, parameters: CkksParameters, snapshot: Snapshot) -> CkksSecretContext:
        """Encryption and decryption under a snapshot's secret."""
        cached = self._contexts.get(parameters)
        if cached is None or cached[0] != snapshot.epoch:
            secret_context = CkksContext(parameters).with_secret(snapshot.secret)
            cached = (snapshot.epoch, secret_context)
            self._contexts[parameters] = cached
        return cached[1]


async def list_models(
    target: str,
    *,
    ca: str | Path | None = None,
    certificate: str | Path | None = None,
    certificate_key: str | Path | None = None,
    token: str | None = None,
    token_file: str | Path | None = None,
    seconds: float = DEFAULT_SECONDS,
) -> ModelList:
    """What a server offers.  Unproved: pin a digest you have from its publisher.

    Raises:
        TransportError: the server cannot be reached, or a PEM file or a token cannot be used.
    """
    tls = TlsFiles.of(ca, certificate, certificate_key)
    transport = Transport(target, tls, seconds, Bearer.of(token, token_file))
    try:
        return decode_list(await transport.call(rpc.LIST_MODELS, encode_list_request()))
    finally:
        await transport.close()


def _inputs(
    context: CkksSecretContext, card: ModelCard, packing: Packing, raw: Floats
) -> RequestInputs:
    """What is sent of raw values (records, C): ciphertexts, and the plaintext columns."""
    plaintext = None
    if card.plaintext_features:
        values = raw[:, list(card.plaintext_features)].T
        plaintext = PlaintextColumns(values, secrets.token_bytes(SALT_BYTES))
    ciphertexts = encrypt(context, card, packing, raw)
    return request_inputs(card, packing, len(raw), ciphertexts, plaintext)


def _verified_facts(evidence: Evidence, account: Account) -> tuple[AnsweredFacts, float]:
    """What the receipt of an answer must say, once its proof is verified; and its soundness."""
    bits = verify_answer(evidence).bits
    output_digest = outputs_digest(evidence.outputs)
    facts = answered_facts(evidence.request, output_digest, evidence.proof, bits, account)
    return facts, bits


def _unobserved(phase: Phase) -> None:
    """The observer of those who gave none."""
    del phase


def chosen_packing(card: ModelCard, wanted: str, records: int) -> Packing:
    """The packing of a prediction."""
    offered = [profile.packing for profile in card.profiles]
    if wanted == "auto":
        few = max(1, len(card.encrypted_inputs) // INPUTS_PER_SINGLE)
        preferred = Packing.SINGLE if records <= few else Packing.BATCH
        return preferred if preferred in offered else offered[0]
    try:
        packing = Packing(wanted)
    except ValueError as error:
        raise RequestError(f"packing {wanted!r}: expected 'auto', 'batch' or 'single'") from error
    return card.profile(packing).packing
