"""Codec of the inference service.

Symbols: K inputs, K' <= K of them encrypted, P plaintext columns, J outputs, L limbs of the inputs,
L' <= L limbs kept in the outputs, t polynomials of an output (2 for a linear model), N ring degree.
Words `(unit, poly, limb, n)` in the NTT domain; c_0 of ciphertexts as `(K', L, N)`, c_1 as seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from protocol.accountability import MAX_TOKEN, Account, is_token
from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import DIGEST_BYTES, Words, digest
from protocol.errors import EncodingError
from protocol.inputs import RequestInputs
from protocol.model import ModelCard
from protocol.parameters import MAX_IDENTITY, Packing
from protocol.plaintext import SALT_BYTES, PlaintextColumns
from protocol.request import (
    EMPTY_LOG_HEAD,
    NONCE_BYTES,
    REQUEST_ID_BYTES,
    SEED_BYTES,
    Request,
    output_digest,
)
from wire.framing import (
    WORD_BYTES,
    ProofBuffer,
    expect_size,
    parse,
    parse_exactly,
    proof_pieces,
    words_from_bytes,
    words_to_bytes,
)
from wire.plaintext import values_from_bytes, values_to_bytes
from wire.transfer import Position
from wire.v1 import inference_pb2 as pb

MAX_PROOF_BYTES = 16 << 20

_PACKINGS = {
    pb.PACKING_BATCH: Packing.BATCH,
    pb.PACKING_SINGLE: Packing.SINGLE,
}
_PACKING_CODES = {packing: code for code, packing in _PACKINGS.items()}


@dataclass(frozen=True)
class InferenceHeader:
    """Who asks what, and how much follows.  Well-formed, not yet judged."""

    request_id: bytes
    nonce: bytes
    client_id: str
    server_id: str
    model_digest: bytes
    registration_digest: bytes
    key_digest: bytes
    packing: Packing
    records: int
    ciphertexts: int
    plaintext_columns: int = 0
    plaintext_salt: bytes = b""
    account: Account = field(default_factory=Account)
    log_size: int = 0
    log_head: bytes = EMPTY_LOG_HEAD


@dataclass(frozen=True)
class ServerTimings:
    """The server's own account of its work, in seconds.  Information, not proved."""

    expand: float = 0.0
    evaluate: float = 0.0
    sanitise: float = 0.0
    prove: float = 0.0


@dataclass(frozen=True, eq=False)
class BatchOutputs:
    """One ciphertext per output: words (J, t, L', N)."""

    words: Words

    @property
    def arrays(self) -> Words:
        """As the relations of `zk_layers` take them."""
        return self.words


@dataclass(frozen=True, eq=False)
class SingleOutputs:
    """A single record's read-out: the mask polynomial (L, N) and the owed coefficients (J, L)."""

    mask: Words
    body: Words

    @property
    def arrays(self) -> tuple[Words, Words]:
        """As `zk_layers.layers.linear.linear_relation` takes them."""
        return self.mask, self.body


Outputs: TypeAlias = BatchOutputs | SingleOutputs


@dataclass(frozen=True, eq=False)
class Response:
    """A complete response: canonical words of the right shapes, and a proof nobody checked yet.

    Attributes:
        outputs: the words.
        proof: empty if the model is public and linear.
        timings: the server's own account.
        receipt: as it travelled, for `wire.audit.decode_receipt`; empty before one is made.
    """

    outputs: Outputs
    proof: bytes
    timings: ServerTimings
    receipt: bytes = b""


def input_ciphertexts(card: ModelCard, packing: Packing) -> int:
    """Number of ciphertexts a request has: K', or one for a single record."""
    return len(card.encrypted_inputs) if packing is Packing.BATCH else 1


def input_words(card: ModelCard, packing: Packing) -> int:
    """Words that the inputs of one request take in memory: for bounds known beforehand.

    Of ciphertexts c_0 as it travels and both polynomials expanded.  With plaintext columns also
    their values, as bytes and doubles, the encodings, and ciphertexts and encodings joined.  Units,
    of which an expansion may use a few only, as columns give them and side by side.
    """
    parameters = card.profile(packing).parameters
    polynomial = len(parameters.moduli) * parameters.ring_degree
    batch = packing is Packing.BATCH
    records = parameters.slots if batch else 1
    words = 3 * input_ciphertexts(card, packing) * polynomial
    if card.plaintext_features or card.expansion:
        words += 2 * records * len(card.unit_columns)
    if card.plaintext_features:
        words += 2 * len(card.plaintext_features) * records
        words += (len(card.plaintext_inputs) if batch else 1) * polynomial
        words += 2 * (card.inputs_count if batch else 1) * polynomial
    return words


def encode_request(
    request: Request, inputs: RequestInputs, account: Account | None = None, log_size: int = 0
) -> Iterator[bytes]:
    """The messages of one request: header, plaintext columns, seed and c_0 of each ciphertext.

    Args:
        request: who asks what.
        inputs: what is sent.
        account: for the receipt; the defaults if None.
        log_size: number of entries of the log whose head the request names.
    """
    account = account or Account()
    ciphertexts, plaintext = inputs.ciphertexts, inputs.plaintext
    columns = () if plaintext is None else plaintext.values
    yield pb.InferRequest(
        header=pb.InferHeader(
            request_id=request.request_id,
            nonce=request.nonce,
            client_id=request.client_id,
            server_id=request.server_id,
            model_digest=request.card.digest,
            registration_digest=request.registration_digest,
            key_digest=request.key_digest,
            packing=_PACKING_CODES[request.packing],
            records=request.records,
            ciphertexts=len(ciphertexts.seeds),
            plaintext_columns=len(columns),
            plaintext_salt=b"" if plaintext is None else plaintext.salt,
            account=pb.Account(
                tenant=account.tenant,
                actor=account.actor or "",
                purpose=account.purpose,
                subject=account.subject or b"",
            ),
            log_size=log_size,
            log_head=b"" if request.log_head == EMPTY_LOG_HEAD else request.log_head,
        )
    ).SerializeToString()
    for index, column in enumerate(columns):
        values = pb.PlaintextColumn(index=index, values=values_to_bytes(column))
        yield pb.InferRequest(plaintext=values).SerializeToString()
    pairs = zip(ciphertexts.seeds, ciphertexts.bodies, strict=True)
    for index, (seed, body) in enumerate(pairs):
        chunk = pb.CiphertextChunk(index=index, seed=seed, words=words_to_bytes(body))
        yield pb.InferRequest(ciphertext=chunk).SerializeToString()


def encode_continuation(position: Position) -> bytes:
    """The message which says that an upload goes on after those that the server has."""
    continuation = pb.Continuation(messages=position.messages, digest=position.digest)
    return pb.InferRequest(continuation=continuation).SerializeToString()


def decode_continuation(data: bytes) -> Position | None:
    """Where an upload goes on, by the message after its header; None if it begins there.

    Raises:
        EncodingError: no message of a request.
    """
    message = parse_exactly(pb.InferRequest, data)
    if message.WhichOneof("part") != "continuation":
        return None
    continuation = message.continuation
    held = expect_size(continuation.digest, DIGEST_BYTES, "digest of an upload")
    return Position(continuation.messages, held)


def decode_header(data: bytes) -> InferenceHeader:
    """Parse the message that must come first.  Raises EncodingError."""
    message = parse_exactly(pb.InferRequest, data)
    if message.WhichOneof("part") != "header":
        raise EncodingError("the first message of a request must be its header")
    header = message.header
    if header.packing not in _PACKINGS:
        raise EncodingError(f"unknown packing {header.packing}")
    salt_bytes = SALT_BYTES if header.plaintext_columns else 0
    if (header.log_size > 0) != bool(header.log_head):
        raise EncodingError("the size and the digest of a log's head come together")
    for text in (header.client_id, header.server_id):
        if not 0 < len(text) <= MAX_IDENTITY:
            raise EncodingError(f"identities must have 1 to {MAX_IDENTITY} characters")
    return InferenceHeader(
        request_id=expect_size(header.request_id, REQUEST_ID_BYTES, "request id"),
        nonce=expect_size(header.nonce, NONCE_BYTES, "nonce"),
        client_id=header.client_id,
        server_id=header.server_id,
        model_digest=expect_size(header.model_digest, DIGEST_BYTES, "model digest"),
        registration_digest=expect_size(
            header.registration_digest, DIGEST_BYTES, "registration digest"
        ),
        key_digest=expect_size(header.key_digest, DIGEST_BYTES, "key digest"),
        packing=_PACKINGS[header.packing],
        records=header.records,
        ciphertexts=header.ciphertexts,
        plaintext_columns=header.plaintext_columns,
        plaintext_salt=expect_size(header.plaintext_salt, salt_bytes, "plaintext salt"),
        account=_account(header.account),
        log_size=header.log_size,
        log_head=expect_size(header.log_head or EMPTY_LOG_HEAD, DIGEST_BYTES, "log head"),
    )


def _account(message: pb.Account) -> Account:
    """Who asks; fields left empty have their defaults.  Raises EncodingError."""
    default = Account()
    tenant, purpose = message.tenant or default.tenant, message.purpose or default.purpose
    for text in (tenant, purpose, *filter(None, (message.actor,))):
        if not is_token(text):
            raise EncodingError(
                f"tenant, actor and purpose have at most {MAX_TOKEN} letters, digits or . _ : / + -"
            )
    subject = expect_size(message.subject, DIGEST_BYTES, "subject") if message.subject else None
    return Account(tenant, message.actor or None, purpose, subject)


class RequestAssembler:
    """Collects what follows a header, in order: plaintext columns, then ciphertexts.

    The model decides how many and how large; the number of records is the header's, which must have
    been judged before (`protocol.request.require_records`).
    """

    def __init__(self, card: ModelCard, header: InferenceHeader) -> None:
        parameters = card.profile(header.packing).parameters
        self._moduli = parameters.moduli
        count = input_ciphertexts(card, header.packing)
        shape = (count, len(self._moduli), parameters.ring_degree)
        self._bodies = np.empty(shape, dtype=np.uint64)
        self._seeds: list[bytes] = []
        self._salt = header.plaintext_salt
        self._columns = np.empty((len(card.plaintext_features), header.records))
        self._columns_taken = 0

    def add(self, data: bytes) -> None:
        """Take the next message.

        Raises:
            EncodingError: out of order, of the wrong size, or with words or values that are not
                canonical.
        """
        message = parse_exactly(pb.InferRequest, data)
        part = message.WhichOneof("part")
        if part == "plaintext" and not self._columns_complete:
            self._add_column(message.plaintext)
        elif part == "ciphertext" and self._columns_complete:
            self._add_ciphertext(message.ciphertext)
        else:
            raise EncodingError(
                "after the header first the model's plaintext columns, then ciphertexts are "
                f"expected, not '{part}'"
            )

    @property
    def _columns_complete(self) -> bool:
        return self._columns_taken == len(self._columns)

    def _add_column(self, column: pb.PlaintextColumn) -> None:
        due = self._columns_taken
        if column.index != due:
            raise EncodingError(
                f"plaintext column {column.index} where {due} of {len(self._columns)} was due"
            )
        shape = self._columns[due].shape
        self._columns[due] = values_from_bytes(column.values, shape, f"plaintext column {due}")
        self._columns_taken += 1

    def _add_ciphertext(self, chunk: pb.CiphertextChunk) -> None:
        due = len(self._seeds)
        if chunk.index != due or due == len(self._bodies):
            raise EncodingError(
                f"ciphertext {chunk.index} where {due} of {len(self._bodies)} was due"
            )
        self._bodies[due] = words_from_bytes(
            chunk.words, self._bodies.shape[1:], self._moduli, f"ciphertext {due}"
        )
        self._seeds.append(expect_size(chunk.seed, SEED_BYTES, "ciphertext seed"))

    @property
    def is_complete(self) -> bool:
        """Whether everything is there."""
        return self._columns_complete and len(self._seeds) == len(self._bodies)

    def finish(self) -> tuple[SeededCiphertexts, PlaintextColumns | None]:
        """The ciphertexts, and the plaintext columns of a model that has some.

        Raises:
            EncodingError: something is missing.
        """
        if not self.is_complete:
            raise EncodingError(
                f"{self._columns_taken} plaintext columns of {len(self._columns)} and "
                f"{len(self._seeds)} ciphertexts of {len(self._bodies)}"
            )
        ciphertexts = SeededCiphertexts(tuple(self._seeds), self._bodies, self._moduli)
        if not len(self._columns):
            return ciphertexts, None
        return ciphertexts, PlaintextColumns(self._columns, self._salt)


def output_chunks(outputs: Outputs) -> list[Words]:
    """The arrays a response is sent as, one a message."""
    if isinstance(outputs, SingleOutputs):
        return [outputs.mask, outputs.body]
    return [polynomial for output in outputs.words for polynomial in output]


def output_shapes(card: ModelCard, packing: Packing) -> list[tuple[int, int]]:
    """The shapes of those arrays for a model."""
    outputs, polys, limbs, degree = card.output_shape(packing)
    if packing is Packing.SINGLE:
        return [(limbs, degree), (outputs, limbs)]
    return [(limbs, degree)] * (outputs * polys)


def output_chunk_from_bytes(card: ModelCard, packing: Packing, index: int, data: bytes) -> Words:
    """One of those arrays, checked.  Raises EncodingError."""
    return words_from_bytes(
        data,
        output_shapes(card, packing)[index],
        card.profile(packing).kept_moduli,
        f"output chunk {index}",
        limb_axis=-1 if packing is Packing.SINGLE and index == 1 else -2,
    )


def join_outputs(card: ModelCard, packing: Packing, chunks: list[Words]) -> Outputs:
    """The outputs from all of those arrays."""
    if packing is Packing.SINGLE:
        mask, body = chunks
        return SingleOutputs(mask, body)
    words = np.stack(chunks)
    return BatchOutputs(words.reshape(card.output_shape(packing)))


def encode_response(request_id: bytes, response: Response) -> Iterator[bytes]:
    """The messages of one response: header, output chunks, proof."""
    chunks = output_chunks(response.outputs)
    timings = response.timings
    yield pb.InferResponse(
        header=pb.InferResultHeader(
            request_id=request_id,
            output_chunks=len(chunks),
            proof_bytes=len(response.proof),
            timings=pb.ServerTimings(
                expand_seconds=timings.expand,
                evaluate_seconds=timings.evaluate,
                sanitise_seconds=timings.sanitise,
                prove_seconds=timings.prove,
            ),
        )
    ).SerializeToString()
    for index, chunk in enumerate(chunks):
        output = pb.OutputChunk(index=index, words=words_to_bytes(chunk))
        yield pb.InferResponse(output=output).SerializeToString()
    for piece in proof_pieces(response.proof):
        yield pb.InferResponse(proof=pb.InferenceProofChunk(data=piece)).SerializeToString()


def decode_timings(data: bytes) -> ServerTimings:
    """What the first message of an answer says of its making.  Raises EncodingError."""
    return _timings(parse(pb.InferResponse, data).header)


def encode_receipt_part(receipt: bytes) -> bytes:
    """The last message of a response, of a receipt as `wire.audit.encode_receipt` makes it."""
    return pb.InferResponse(receipt=receipt).SerializeToString()


def outputs_digest(outputs: Outputs) -> bytes:
    """One digest of all output words."""
    if isinstance(outputs, BatchOutputs):
        return output_digest(outputs.words)
    return digest(
        "blindproof single output", (output_digest(outputs.mask), output_digest(outputs.body))
    )


class ResponseAssembler:
    """Collects one response, in order; the pinned card decides its sizes."""

    def __init__(self, card: ModelCard, packing: Packing, request_id: bytes) -> None:
        self._card, self._packing = card, packing
        self._request_id = request_id
        self._expected = len(output_shapes(card, packing))
        self._chunks: list[Words] = []
        self._proof: ProofBuffer | None = None
        self._timings = ServerTimings()
        self._receipt = b""

    def add(self, data: bytes) -> None:
        """Take the next message.

        Raises:
            EncodingError: out of order, of the wrong size, or with words that are not canonical.
        """
        message = parse(pb.InferResponse, data)
        part = message.WhichOneof("part")
        if part == "header" and self._proof is None:
            self._open(message.header)
        elif part == "output" and self._proof is not None:
            self._add_output(message.output)
        elif part == "proof" and self._proof is not None and self._outputs_complete:
            self._proof.add(message.proof.data)
        elif part == "receipt" and self._complete and not self._receipt and message.receipt:
            self._receipt = message.receipt
        else:
            raise EncodingError(f"response message '{part}' out of order")

    @property
    def output_bytes(self) -> int:
        """Bytes of all output words that are to come."""
        shapes = output_shapes(self._card, self._packing)
        return WORD_BYTES * sum(map(math.prod, shapes))

    @property
    def is_whole(self) -> bool:
        """Whether the receipt is there, which comes last."""
        return bool(self._receipt)

    @property
    def _outputs_complete(self) -> bool:
        return len(self._chunks) == self._expected

    @property
    def _complete(self) -> bool:
        return self._outputs_complete and self._proof is not None and self._proof.complete

    def _open(self, header: pb.InferResultHeader) -> None:
        if header.request_id != self._request_id:
            raise EncodingError("the response answers another request")
        if header.output_chunks != self._expected:
            raise EncodingError(
                f"{header.output_chunks} output chunks announced, expected {self._expected}"
            )
        self._proof = ProofBuffer(header.proof_bytes, MAX_PROOF_BYTES)
        self._timings = _timings(header)

    def _add_output(self, chunk: pb.OutputChunk) -> None:
        due = len(self._chunks)
        if self._outputs_complete or chunk.index != due:
            raise EncodingError(f"output chunk {chunk.index} where {due} was due")
        self._chunks.append(output_chunk_from_bytes(self._card, self._packing, due, chunk.words))

    def finish(self) -> Response:
        """The whole response.

        Raises:
            EncodingError: something is missing.
        """
        if self._proof is None or not self._outputs_complete:
            raise EncodingError(
                f"response ended after {len(self._chunks)} output chunks of {self._expected}"
            )
        outputs = join_outputs(self._card, self._packing, self._chunks)
        return Response(outputs, self._proof.finish(), self._timings, self._receipt)


def _timings(header: pb.InferResultHeader) -> ServerTimings:
    """Raises EncodingError."""
    told = header.timings
    seconds = (
        told.expand_seconds,
        told.evaluate_seconds,
        told.sanitise_seconds,
        told.prove_seconds,
    )
    if not all(math.isfinite(value) and value >= 0 for value in seconds):
        raise EncodingError("server timings must be finite and not negative")
    return ServerTimings(*seconds)
