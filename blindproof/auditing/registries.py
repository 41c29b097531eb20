"""Models and keys of an export: each verified once, however many receipts name it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from blindproof.auditing.errors import ExportError
from blindproof.auditing.manifest import Kind
from blindproof.auditing.object_source import ObjectSource
from blindproof.auditing.rebuilding import Model
from client_sdk.pinning import require_pinned
from client_sdk.verification import accept_model
from protocol.errors import BlindproofError
from protocol.model import ModelCard
from wire.archived import decode_archived_enrolment, decode_archived_model
from wire.stored_key import Enrolment
from zk_layers.verify import verify_enrolment

KEPT = 4
"""Of each in memory: keys of deep networks have tens of megabytes."""

_Item = TypeVar("_Item")


class _Verified(Generic[_Item]):
    """The last few of what was verified, and the verdict on everything that was."""

    def __init__(self, read: Callable[[bytes], _Item], verify: Callable[[_Item], None]) -> None:
        self._read, self._verify = read, verify
        self._items: OrderedDict[bytes, _Item] = OrderedDict()
        self._verdicts: dict[bytes, BlindproofError | None] = {}

    def get(self, name: bytes) -> _Item:
        """The item of a name; the same error each time if it was refused.

        Raises:
            BlindproofError: it is not in the export, or was refused.
        """
        refused = self._verdicts.get(name)
        if refused is not None:
            raise refused.with_traceback(None)  # or each receipt's frames would stay with it
        if name in self._items:
            self._items.move_to_end(name)
            return self._items[name]
        try:
            item = self._read(name)
            if name not in self._verdicts:
                self._verify(item)
        except BlindproofError as error:
            self._verdicts[name] = error
            raise
        self._verdicts[name] = None
        self._items[name] = item
        if len(self._items) > KEPT:
            self._items.popitem(last=False)
        return item


def models_of(source: ObjectSource, *, proofs: bool) -> Callable[[bytes], Model]:
    """Looks up models by digest; with `proofs`, their registrations are verified.

    The function raises NotExportedError, or the BlindproofError that refused the model.
    """

    def read(digest: bytes) -> Model:
        archived = decode_archived_model(source.object(Kind.MODEL, digest))
        require_pinned(archived.card, digest, "found")
        return Model(ModelCard.decoded(archived.card), archived.registration_proof)

    def verify(model: Model) -> None:
        if proofs:
            card = model.card
            accept_model(card.encoded(), model.registration_proof, card.digest)

    return _Verified(read, verify).get


def enrolments_of(source: ObjectSource, *, proofs: bool) -> Callable[[bytes], Enrolment]:
    """Looks up enrolled keys by digest; with `proofs`, those of their enrolment are verified.

    The function raises NotExportedError, or the BlindproofError that refused the key.
    """

    def read(digest: bytes) -> Enrolment:
        enrolment = decode_archived_enrolment(source.object(Kind.ENROLMENT, digest))
        if enrolment.key.digest != digest:
            raise ExportError(f"the key {enrolment.key.digest.hex()} is in its place")
        return enrolment

    def verify(enrolment: Enrolment) -> None:
        if proofs:
            verify_enrolment(enrolment.key, enrolment.proof)

    return _Verified(read, verify).get
