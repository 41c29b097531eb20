"""What whoever verifies an export brings along, and what remains to be trusted with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audit.cosignature import WitnessPolicy
from audit.signed_note import NoteKey


@dataclass(frozen=True)
class Expectations:
    """From elsewhere than the export.

    Attributes:
        log_key: of the log.
        now_seconds: POSIX time here.
        witnesses: who must have cosigned the checkpoint; nobody if None.
        checkpoints: notes of the log which it must extend.
        models: digests of the only models that may have answered; any if empty.
        client_keys: the only keys clients may have signed with; any if empty.
        proofs: whether zero-knowledge proofs are verified.
    """

    log_key: NoteKey
    now_seconds: int
    witnesses: WitnessPolicy | None = None
    checkpoints: tuple[bytes, ...] = ()
    models: frozenset[bytes] = frozenset()
    client_keys: frozenset[bytes] = frozenset()
    proofs: bool = True

    def assumptions(self) -> Iterator[str]:
        """What holds only if somebody is trusted, in sentences."""
        yield (
            f"The log's key is {self.log_key.encoded()}. Whoever gave it to you vouches that it is "
            "the key of the server in question."
        )
        yield (
            "Times are those of the server's clock; actor, purpose and subject are what clients "
            "said."
        )
        if self.checkpoints:
            yield "That nothing older was rewritten holds from the checkpoints you brought on."
        else:
            yield (
                "No older checkpoint was given: whoever holds the log's key could have written all "
                "of it anew before this export."
            )
        if self.witnesses is None:
            yield (
                "No witnesses were asked for: whoever holds the log's key could have shown another "
                "log to somebody else."
            )
        else:
            yield (
                "That nobody was shown another log holds if enough of the witnesses keep their "
                "word."
            )
        if not self.models:
            yield "Models were compared with no list: whether they are the right ones you must say."
        if not self.client_keys:
            yield (
                "Clients' signatures were compared with no keys: they show that somebody signed, "
                "not who."
            )
        if not self.proofs:
            yield "Proofs were not verified: that answers are right is the server's word."
        yield "Why something was left out of this file is what its operator says."
        yield (
            "Receipts that are not in this file, and requests that were never recorded, are not "
            "judged. What ciphertexts hold only their owners know."
        )
