"""Receipts as JSON, for people and other tools: one text for one receipt, and back.

Bytes are hexadecimal, the time is a string, because JSON's numbers are doubles for many readers.
Reading accepts only what writing would have written, byte for byte: the text proves nothing by
itself, and no two texts stand for one receipt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

from audit.errors import ReceiptError
from audit.receipt import Action, Digests, Outcome, Purpose, Receipt, TimeSource
from audit.signed_receipt import FORMAT, ReceiptSignature, SignedReceipt

Json: TypeAlias = "dict[str, Json] | str | float | None"

MAX_JSON_BYTES = 1 << 14

_T = TypeVar("_T")


def receipt_to_json(signed: SignedReceipt) -> str:
    """The receipt and its signatures as JSON text that ends in a newline."""
    receipt = signed.receipt
    content: dict[str, Json] = {
        "format": FORMAT,
        "receipt_id": receipt.receipt_id.hex(),
        "time_ns": str(receipt.time_ns),
        "time_source": str(receipt.time_source),
        "tenant": receipt.tenant,
        "actor": receipt.actor,
        "purpose": str(receipt.purpose),
        "subject": _hex_or_none(receipt.subject),
        "action": str(receipt.action),
        "outcome": str(receipt.outcome),
        "reason": receipt.reason,
        "digests": {name: _hex_or_none(digest) for name, digest in receipt.digests.named()},
        "software_version": receipt.software_version,
        "soundness_bits": receipt.soundness_bits,
        "error_bound": receipt.error_bound,
        "request_id": receipt.request_id.hex(),
        "idempotency_digest": _hex_or_none(receipt.idempotency_digest),
        "server": _signature(signed.server),
        "client": None if signed.client is None else _signature(signed.client),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def receipt_from_json(text: str) -> SignedReceipt:
    """Parse what `receipt_to_json` wrote; signatures are not verified.

    Raises:
        ReceiptError: malformed, too large, or not the text that would be written.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ReceiptError(f"receipt of {len(text)} characters, at most {MAX_JSON_BYTES}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReceiptError("not JSON") from error
    signed = _from_content(content)
    # What the lines above overlook, such as an unknown or repeated member, shows here.
    if receipt_to_json(signed) != text:
        raise ReceiptError("JSON is not in the form that receipts are written in")
    return signed


def _from_content(content: object) -> SignedReceipt:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ReceiptError(f"not a '{FORMAT}'")
    digests = _member(content, "digests", dict)
    client = content.get("client")
    try:
        receipt = Receipt(
            receipt_id=_bytes(content, "receipt_id"),
            time_ns=int(_member(content, "time_ns", str)),
            time_source=TimeSource(_member(content, "time_source", str)),
            tenant=_member(content, "tenant", str),
            actor=_member(content, "actor", str),
            purpose=Purpose(_member(content, "purpose", str)),
            subject=_bytes_or_none(content, "subject"),
            action=Action(_member(content, "action", str)),
            outcome=Outcome(_member(content, "outcome", str)),
            reason=_optional(content, "reason", str),
            digests=Digests(**{name: _bytes_or_none(digests, name) for name, _ in _DIGESTS}),
            software_version=_member(content, "software_version", str),
            soundness_bits=_optional(content, "soundness_bits", float),
            error_bound=_optional(content, "error_bound", float),
            request_id=_bytes(content, "request_id"),
            idempotency_digest=_bytes_or_none(content, "idempotency_digest"),
        )
    except ReceiptError:
        raise
    except ValueError as error:  # an unknown code, hexadecimal or decimal digits
        raise ReceiptError("a member of the receipt has no such value") from error
    server = _read_signature(_member(content, "server", dict))
    return SignedReceipt(
        receipt,
        server,
        None if client is None else _read_signature(_member(content, "client", dict)),
    )


_DIGESTS = tuple(Digests().named())


def _signature(signature: ReceiptSignature) -> dict[str, Json]:
    return {"public_key": signature.public.hex(), "signature": signature.signature.hex()}


def _read_signature(content: Mapping[str, Any]) -> ReceiptSignature:
    return ReceiptSignature(_bytes(content, "public_key"), _bytes(content, "signature"))


def _member(content: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = content.get(name)
    if type(value) is not kind:
        raise ReceiptError(f"{name}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def _optional(content: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    return None if content.get(name) is None else _member(content, name, kind)


def _bytes(content: Mapping[str, Any], name: str) -> bytes:
    text = _member(content, name, str)
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ReceiptError(f"{name}: not hexadecimal") from error


def _bytes_or_none(content: Mapping[str, Any], name: str) -> bytes | None:
    return None if content.get(name) is None else _bytes(content, name)


def _hex_or_none(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
