"""What a prediction returns: released values, their error bound, and what proves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from audit.proven_receipt import ProvenReceipt
from client_sdk.evidence import Evidence, encode_evidence
from protocol import links
from protocol.model import ModelCard
from wire.files import write_private
from wire.inference import ServerTimings

Floats: TypeAlias = npt.NDArray[np.float64]
Classes: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.str_]


@dataclass(frozen=True)
class Timings:
    """Seconds spent, summed over the requests of one prediction.

    Attributes:
        encrypt, verify, decrypt: the client's work.
        exchange: from the first byte sent to the last one received, the server's work included.
        server: the server's own account of its work; not proved.
    """

    encrypt: float
    exchange: float
    verify: float
    decrypt: float
    server: ServerTimings

    @classmethod
    def total(cls, parts: Sequence[Timings]) -> Timings:
        """The sum over several requests."""
        servers = [part.server for part in parts]
        return cls(
            encrypt=sum(part.encrypt for part in parts),
            exchange=sum(part.exchange for part in parts),
            verify=sum(part.verify for part in parts),
            decrypt=sum(part.decrypt for part in parts),
            server=ServerTimings(
                expand=sum(server.expand for server in servers),
                evaluate=sum(server.evaluate for server in servers),
                sanitise=sum(server.sanitise for server in servers),
                prove=sum(server.prove for server in servers),
            ),
        )


class _WithRawValues:
    """A place for raw values that is no field and not in `__dict__`.

    What walks an object, to print, compare, convert or serialise it, does not come across them.
    """

    __slots__ = ("_raw",)
    _raw: Floats


@dataclass(frozen=True, eq=False, repr=False)
class Result(_WithRawValues):
    """A verified prediction.  Copied or pickled, it is the same without its raw values.

    Attributes:
        values: float64 (records, J), the model's outputs before its link, released: rounded to the
            proved precision and blurred by the client's own noise.
        labels: texts, one per record; None for a regression. `classes` has their own type.
        probabilities: float64 (records, labels), in the order of the card's labels; None where the
            card's link has none.
        predictions: float64 (records, J), what a regression predicts, its link applied; None for a
            classification.
        error_bound: each value is at most this far from the committed integer model's.  How far
            that is from the float model it was rounded from, only its publisher can say.
        precision_bits: the error bound in bits below one unit of output.
        disclosure_log2: each value carries noise of the client's own, uniform up to at least 2^this
            times the largest error that depends on the secret key and that a server can prove.
        soundness_bits: a false proof is accepted with probability at most 2^-this; infinite for a
            public single-record answer, which is recomputed.
        model_digest: the pinned model.
        evidence: requests, answers and proofs.
        receipts: of each request, in the same order, with the signatures of server and client.
        countersigned: whether the server took the client's signature under each of them; what is
            not taken is in the receipt all the same.
        timings: where the time went.
        sent_bytes, received_bytes: messages on the wire.
    """

    values: Floats
    labels: tuple[str, ...] | None
    probabilities: Floats | None
    predictions: Floats | None
    error_bound: float
    precision_bits: float
    disclosure_log2: int
    soundness_bits: float
    model_digest: bytes
    evidence: tuple[Evidence, ...]
    receipts: tuple[ProvenReceipt, ...]
    countersigned: tuple[bool, ...]
    timings: Timings
    sent_bytes: int
    received_bytes: int
    raw: InitVar[Floats]

    def __post_init__(self, raw: Floats) -> None:
        object.__setattr__(self, "_raw", raw)

    def __getstate__(self) -> dict[str, object]:
        """Everything but the raw values."""
        return dict(vars(self))

    def __repr__(self) -> str:
        records, outputs = self.values.shape
        kind = "outputs" if self.labels is None else "outputs, labels"
        kind += "" if self.probabilities is None else ", probabilities"
        return (
            f"Result({records} {'record' if records == 1 else 'records'}, {outputs} {kind}, "
            f"error_bound={self.error_bound:.2e}, "
            f"precision_bits={self.precision_bits:.1f}, disclosure_log2={self.disclosure_log2}, "
            f"soundness_bits={self.soundness_bits:.1f}, "
            f"model={self.model_digest.hex()[:16]}…)"
        )

    @property
    def proofs(self) -> tuple[bytes, ...]:
        """The proof of each request; empty ones for a public linear model."""
        return tuple(answer.proof for answer in self.evidence)

    @property
    def proof(self) -> bytes:
        """The proof of the first request, which for up to N/2 records is the only one."""
        return self.evidence[0].proof

    @property
    def receipt(self) -> ProvenReceipt:
        """The receipt of the first request, which for up to N/2 records is the only one."""
        return self.receipts[0]

    @property
    def key_digests(self) -> tuple[bytes, ...]:
        """The enrolled keys answers are under, usually one; 32 zero bytes for a public model."""
        return tuple(dict.fromkeys(answer.request.key_digest for answer in self.evidence))

    def save(self, path: str | Path) -> None:
        """Write an evidence file, which `verify_evidence` checks offline.

        It holds ciphertexts, outputs, key and proofs: nothing secret, but large.

        Raises:
            EncodingError: larger than an evidence file may be; nothing is written.
            OSError: the file cannot be written.
        """
        write_private(Path(path), encode_evidence(self.evidence))

    def save_receipt(self, path: str | Path) -> tuple[Path, ...]:
        """Write the receipts, each as a file that `verify_receipt` checks; returns their paths.

        One request's is written to the path.  Of several, the files are numbered from 1:
        `receipt.json` becomes `receipt-1.json`, `receipt-2.json` and so on.

        Raises:
            OSError: a file cannot be written.
        """
        paths = receipt_paths(Path(path), len(self.receipts))
        for each, receipt in zip(paths, self.receipts, strict=True):
            write_private(each, receipt.to_json().encode())
        return paths

    def raw_values(self, *, i_understand_raw_values_can_reveal_the_key: bool) -> Floats:
        """Decrypted values without rounding and noise: float64 (records, J).

        Their errors are linear equations in the secret key.  Whoever knows the ciphertexts, as the
        server does, and sees two raw results can solve for the key.  Keep them inside this process.

        Raises:
            PermissionError: the argument is not True.
            ValueError: a copy, or a result restored from a pickle, which has none.
        """
        if i_understand_raw_values_can_reveal_the_key is not True:
            raise PermissionError("raw values can reveal the secret key: say that you know")
        try:
            return self._raw.copy()
        except AttributeError:
            raise ValueError("a copied or restored result has no raw values") from None


def receipt_paths(path: Path, receipts: int) -> tuple[Path, ...]:
    """Where `Result.save_receipt` writes so many receipts."""
    if receipts == 1:
        return (path,)
    return tuple(path.with_stem(f"{path.stem}-{number}") for number in range(1, receipts + 1))


@dataclass(frozen=True, eq=False)
class Reading:
    """What a card's link makes of outputs; see `Result` for the attributes."""

    labels: tuple[str, ...] | None
    probabilities: Floats | None = field(repr=False)
    predictions: Floats | None = field(repr=False)


def read_outputs(card: ModelCard, values: Floats) -> Reading:
    """Apply a card's link to outputs (records, J)."""
    chosen = links.decide(card.link, values)
    return Reading(
        None if chosen is None else tuple(card.labels[index] for index in chosen.tolist()),
        links.probabilities(card.link, values),
        links.predictions(card.link, values),
    )


def classes(card: ModelCard) -> Classes:
    """A card's labels in their own type, (labels,): integers if it says so, else texts."""
    if card.integer_labels:
        return np.array([int(label) for label in card.labels], dtype=np.int64)
    return np.array(card.labels, dtype=np.str_)
