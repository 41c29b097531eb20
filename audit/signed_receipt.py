"""Receipts with the signatures of server and client.

Both sign the SHA-256 digest of the receipt under a label of their own, so that no signature stands
for the other's.  What the log holds is the receipt with the server's signature.  A client signs
later, once it has verified the proof; its signature is kept beside the log's entry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from audit.errors import ReceiptError, SignatureError
from audit.keys import KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify_signature
from audit.merkle import leaf_hash
from audit.receipt import MAX_RECEIPT_BYTES, Receipt
from protocol.digests import encoded_digest
from protocol.encoding import decode, encode, expect_bytes, expect_tuple
from protocol.errors import EncodingError

FORMAT = "blindproof signed receipt 1"
SERVER_LABEL = "blindproof receipt, server"
CLIENT_LABEL = "blindproof receipt, client"
MAX_ENTRY_BYTES = MAX_RECEIPT_BYTES + 256


@dataclass(frozen=True)
class ReceiptSignature:
    """One signature over a receipt, not verified.

    Attributes:
        public: the key that signed, 32 bytes.
        signature: 64 bytes.
    """

    public: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.public) != KEY_BYTES or len(self.signature) != SIGNATURE_BYTES:
            raise ReceiptError("a signature has 64 bytes and its key 32")


@dataclass(frozen=True)
class SignedReceipt:
    """A receipt and who stands by it.

    Attributes:
        receipt: what happened.
        server: the server's signature.
        client: the client's, which says that it verified the answer; None before that.
    """

    receipt: Receipt
    server: ReceiptSignature
    client: ReceiptSignature | None = None

    def entry(self) -> bytes:
        """The bytes in the log: receipt and server's signature."""
        return encode((FORMAT, self.receipt.encoded(), self.server.public, self.server.signature))

    @property
    def leaf(self) -> bytes:
        """The hash of the log's entry."""
        return leaf_hash(self.entry())

    @classmethod
    def from_entry(cls, data: bytes) -> SignedReceipt:
        """Parse what `entry` wrote; the signature is not verified.

        Raises:
            ReceiptError: malformed or too large.
        """
        if len(data) > MAX_ENTRY_BYTES:
            raise ReceiptError(f"entry of {len(data)} bytes, at most {MAX_ENTRY_BYTES}")
        try:
            form, receipt, public, signature = expect_tuple(decode(data), "entry", 4)
            if form != FORMAT:
                raise ReceiptError(f"not a '{FORMAT}'")
            return cls(
                Receipt.decoded(expect_bytes(receipt, "receipt")),
                ReceiptSignature(
                    expect_bytes(public, "public key"), expect_bytes(signature, "signature")
                ),
            )
        except EncodingError as error:
            raise ReceiptError(f"malformed entry: {error}") from error

    def countersigned(self, key: SigningKey) -> SignedReceipt:
        """The same with the client's signature; to be made only after verifying the answer."""
        return replace(self, client=_sign(self.receipt, CLIENT_LABEL, key))

    def verify_server(self, public: bytes) -> None:
        """Check the server's signature.

        Args:
            public: the server's key, from elsewhere than the receipt.

        Raises:
            SignatureError: it is another key's, or does not verify.
        """
        _verify(self.receipt, SERVER_LABEL, self.server, public)

    def verify_client(self, public: bytes) -> None:
        """Check the client's signature.

        Args:
            public: the client's key, from elsewhere than the receipt.

        Raises:
            SignatureError: there is none, it is another key's, or does not verify.
        """
        if self.client is None:
            raise SignatureError("the client has not signed this receipt")
        _verify(self.receipt, CLIENT_LABEL, self.client, public)


def sign_receipt(receipt: Receipt, key: SigningKey) -> SignedReceipt:
    """A receipt with the server's signature."""
    return SignedReceipt(receipt, _sign(receipt, SERVER_LABEL, key))


def _sign(receipt: Receipt, label: str, key: SigningKey) -> ReceiptSignature:
    return ReceiptSignature(key.public, key.sign(encoded_digest(label, receipt.encoded())))


def _verify(receipt: Receipt, label: str, signature: ReceiptSignature, public: bytes) -> None:
    if signature.public != public:
        raise SignatureError(f"signed by {signature.public.hex()}, expected {public.hex()}")
    verify_signature(public, signature.signature, encoded_digest(label, receipt.encoded()))
