"""How a call can fail before, or instead of, an answer."""

from __future__ import annotations

from protocol.errors import BlindproofError, EnrolmentError


class KeyUnknownError(EnrolmentError):
    """The server does not know the enrolled key a request names, or cannot use it."""


class TransportError(BlindproofError):
    """The server cannot be reached, is not who it should be, or did not finish the call."""


class ConnectionLostError(TransportError):
    """The connection broke, or there was none: whether the server did the work is unknown.

    Also what did the work at the server was lost: the same request may be asked again.
    """


class ServerBusyError(TransportError):
    """The server has no place for the call now, or the tenant has used up its quota.

    Attributes:
        retry_after_seconds: when the server would be asked again; None if it does not say.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
