"""What clients saw, compared with what a server's state says afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from audit.archive import ObjectKind
from audit.errors import UnknownEntryError
from audit.head import Head
from audit.log_check import check_log
from audit.merkle import EMPTY_ROOT, verify_consistency
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Action, Outcome, Receipt
from audit.signed_note import NoteKey, SignedNote
from audit.signed_receipt import SignedReceipt
from protocol.accountability import proof_digest
from server.trail_files import TrailFiles, open_trail_files
from tests.faults.asking import Exchange, Question
from wire.archived import decode_archived_request, decode_archived_response
from wire.audit import ReceiptMessage
from wire.inference import ResponseAssembler, outputs_digest


@contextmanager
def opened(state: Path) -> Iterator[TrailFiles]:
    """The trail of a server that does not run."""
    with closing(open_trail_files(state)) as trail:
        yield trail


def checked(trail: TrailFiles) -> Head:
    """Every entry, from its bytes to the head."""
    return check_log(trail.engine, trail.log_key, server_key=trail.key.public)


@dataclass
class Ledger:
    """Collects exchanges round by round, and compares each round with the state it left.

    Attributes:
        head: the log after the last round.
        counted: how many of what, over all rounds.
    """

    state: Path
    head: Head = field(default_factory=lambda: Head(0, EMPTY_ROOT))
    counted: Counter[str] = field(default_factory=Counter)

    def settle(self, exchanges: Iterable[Exchange]) -> list[Question]:
        """Compare a round's exchanges with the log; whoever has no answer may ask again.

        Returns:
            What was asked and not answered whole.
        """
        unanswered = []
        asked = {}
        with opened(self.state) as trail:
            for exchange in exchanges:
                self.counted["requests"] += 1
                asked[exchange.question.idempotency_digest] = exchange.question
                if exchange.messages:
                    self.counted["released"] += 1
                    _require_recorded(trail, exchange)
                if exchange.receipt is not None:
                    self.counted["acknowledged"] += 1
                    _require_kept(trail, exchange, exchange.receipt)
                else:
                    unanswered.append(exchange.question)
            self._follow(trail, asked)
        return unanswered

    def tell(self, what: str) -> None:
        """Print what was counted, for whoever reads with `pytest -s`; the tests have judged it."""
        counts = ", ".join(f"{count} {name}" for name, count in self.counted.items())
        print(f"\n{what}: {counts}, 0 lost; {self.head.size} entries")  # noqa: T201

    def _follow(self, trail: TrailFiles, asked: dict[bytes, Question]) -> None:
        """The log only grew, and every answer it has gained can be read from the archive."""
        old, self.head = self.head, trail.log.head()
        assert self.head.size >= old.size, "acknowledged receipts are gone"
        if old.size:
            joined = trail.log.consistency_proof(old.size)
            verify_consistency(old.size, old.root, self.head.size, self.head.root, joined)
        for entry in trail.log.entries(old.size):
            receipt = entry.receipt().receipt
            self.counted[f"recorded {receipt.outcome}"] += 1
            if (receipt.action, receipt.outcome) == (Action.PREDICT, Outcome.ANSWERED):
                question = asked.get(receipt.idempotency_digest or b"")
                _require_archived(trail, receipt, question)


def proven(message: ReceiptMessage, key: NoteKey) -> ProvenReceipt:
    """A receipt as it arrived, as what verifies itself."""
    return ProvenReceipt(
        SignedReceipt.from_entry(message.entry),
        message.index,
        message.inclusion,
        SignedNote.decoded(message.checkpoint),
        key,
    )


def _require_recorded(trail: TrailFiles, exchange: Exchange) -> None:
    """Whatever was released, even its first message alone, is in the log."""
    question = exchange.question
    try:
        entry = trail.log.find_request(question.account.tenant, question.idempotency_digest)
    except UnknownEntryError:
        raise AssertionError("an answer was released without its receipt") from None
    assert entry.receipt().receipt.outcome is Outcome.ANSWERED


def _require_kept(trail: TrailFiles, exchange: Exchange, message: ReceiptMessage) -> None:
    """An acknowledged receipt verifies, is this request's, and is where it was said to be."""
    signed = proven(message, trail.log_key)
    signed.verify(trail.log_key)
    receipt = signed.signed.receipt
    assert receipt.idempotency_digest == exchange.question.idempotency_digest
    assert receipt.outcome is Outcome.ANSWERED
    try:
        entry = trail.log.entry(message.index)
    except UnknownEntryError:
        raise AssertionError("an acknowledged receipt was lost") from None
    assert entry.data == message.entry
    kept = decode_archived_response(trail.archive.read(ObjectKind.RESPONSE, receipt.receipt_id))
    assert list(kept) == exchange.messages[:-1]


def _require_archived(trail: TrailFiles, receipt: Receipt, question: Question | None) -> None:
    """The archive holds what was asked, and an answer with the digests of the receipt."""
    request = decode_archived_request(trail.archive.read(ObjectKind.REQUEST, receipt.receipt_id))
    response = decode_archived_response(trail.archive.read(ObjectKind.RESPONSE, receipt.receipt_id))
    if question is None:
        return  # of an earlier round, or not asked by these clients
    assert list(request) == [question.header, *question.body]
    asked = question.request
    assembler = ResponseAssembler(asked.card, asked.packing, asked.request_id)
    for message in response:
        assembler.add(message)
    answer = assembler.finish()
    assert outputs_digest(answer.outputs) == receipt.digests.output
    proof = proof_digest(answer.proof) if answer.proof else None
    assert proof == receipt.digests.proof
    assert asked.input_digest == receipt.digests.input
