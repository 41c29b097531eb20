"""Codec of publishing and withdrawing models: a bundle in pieces up, a receipt down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from protocol.digests import DIGEST_BYTES
from protocol.errors import EncodingError
from wire.audit import ReceiptMessage, decode_receipt, encode_receipt
from wire.bundle_file import MAX_BUNDLE_BYTES, BundleParts, decode_bundle
from wire.framing import ProofBuffer, expect_size, parse, parse_exactly, proof_pieces
from wire.v1 import models_pb2 as pb

REQUEST_ID_BYTES = 16


@dataclass(frozen=True)
class Publication:
    """The header of a model that is published.

    Attributes:
        request_id: 16 bytes, the publisher's.
        digest: of the model.
        bundle_bytes: length of the bundle that follows.
    """

    request_id: bytes
    digest: bytes
    bundle_bytes: int


def encode_publication(request_id: bytes, digest: bytes, bundle: bytes) -> Iterator[bytes]:
    """The messages that publish a bundle, the header first."""
    header = pb.PublishModelHeader(request_id=request_id, digest=digest, bundle_bytes=len(bundle))
    yield pb.PublishModelRequest(header=header).SerializeToString()
    for piece in proof_pieces(bundle):
        yield pb.PublishModelRequest(bundle=pb.BundleChunk(data=piece)).SerializeToString()


def decode_publication(data: bytes) -> Publication:
    """Parse the header.

    Raises:
        EncodingError: something else, or it announces nothing or more than any bundle has.
    """
    message = parse_exactly(pb.PublishModelRequest, data)
    if message.WhichOneof("part") != "header":
        raise EncodingError("expected the header of a publication")
    header = message.header
    if not 0 < header.bundle_bytes <= MAX_BUNDLE_BYTES:
        raise EncodingError(
            f"bundle of {header.bundle_bytes} bytes announced, 1 to {MAX_BUNDLE_BYTES} are accepted"
        )
    return Publication(
        expect_size(header.request_id, REQUEST_ID_BYTES, "request id"),
        expect_size(header.digest, DIGEST_BYTES, "model digest"),
        header.bundle_bytes,
    )


class PublicationAssembler:
    """Collects the bundle that a header announced, never more."""

    def __init__(self, header: Publication) -> None:
        self._digest = header.digest
        self._bundle = ProofBuffer(header.bundle_bytes, MAX_BUNDLE_BYTES, "bundle")

    def add(self, data: bytes) -> None:
        """Take one message.  Raises EncodingError."""
        message = parse(pb.PublishModelRequest, data)
        if message.WhichOneof("part") != "bundle":
            raise EncodingError("expected a piece of the bundle")
        self._bundle.add(message.bundle.data)

    def finish(self) -> BundleParts:
        """The parts of the bundle, well-formed and of the digest in the header, not yet judged.

        Raises:
            EncodingError: bytes are missing, or they are no bundle, or another model's.
        """
        parts = decode_bundle(self._bundle.finish())
        if parts.digest != self._digest:
            raise EncodingError(f"the bundle is of model {parts.digest.hex()}")
        return parts


def encode_published(receipt: ReceiptMessage) -> bytes:
    """The answer to a publication."""
    return pb.PublishModelResponse(receipt=encode_receipt(receipt)).SerializeToString()


def decode_published(data: bytes) -> ReceiptMessage:
    """Parse it.  Raises EncodingError."""
    return decode_receipt(parse(pb.PublishModelResponse, data).receipt)


def encode_withdrawal(request_id: bytes, digest: bytes) -> bytes:
    """The request to withdraw a model."""
    return pb.WithdrawModelRequest(request_id=request_id, digest=digest).SerializeToString()


def decode_withdrawal(data: bytes) -> tuple[bytes, bytes]:
    """Request id and digest.  Raises EncodingError."""
    message = parse(pb.WithdrawModelRequest, data)
    return (
        expect_size(message.request_id, REQUEST_ID_BYTES, "request id"),
        expect_size(message.digest, DIGEST_BYTES, "model digest"),
    )


def encode_withdrawn(receipt: ReceiptMessage) -> bytes:
    """The answer to a withdrawal."""
    return pb.WithdrawModelResponse(receipt=encode_receipt(receipt)).SerializeToString()


def decode_withdrawn(data: bytes) -> ReceiptMessage:
    """Parse it.  Raises EncodingError."""
    return decode_receipt(parse(pb.WithdrawModelResponse, data).receipt)
