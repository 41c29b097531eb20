"""What can be wrong with a witness, or with what it is asked."""

from __future__ import annotations

from http import HTTPStatus

from protocol.errors import BlindproofError

SIZE_TYPE = "text/x.tlog.size"


class WitnessServiceError(BlindproofError):
    """The witness cannot start, or its keys or its memory cannot be used."""


class RefusedError(BlindproofError):
    """A checkpoint is not cosigned.

    Attributes:
        status: of the answer.
        body: of the answer.
        kind: its content type.
        evidence: whether the log signed what does not extend what it signed before.
    """

    def __init__(
        self, status: HTTPStatus, body: str, kind: str = "text/plain", *, evidence: bool = False
    ) -> None:
        super().__init__(f"{status.value}: {body.strip()}")
        self.status = status
        self.body = body
        self.kind = kind
        self.evidence = evidence


def conflict(size: int, *, evidence: bool = False) -> RefusedError:
    """The refusal that says how many entries the witness has seen."""
    return RefusedError(HTTPStatus.CONFLICT, f"{size}\n", SIZE_TYPE, evidence=evidence)
