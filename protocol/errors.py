"""The error types of the project.

One small tree.  Every message says what was expected, what was found and what to do about it.
Nothing in a message is secret: no key, no weight, no decrypted value.
"""

from __future__ import annotations


class BlindproofError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(BlindproofError, ValueError):
    """Records given by the user cannot be used; nothing was encrypted or sent."""


class ShapeError(InputError):
    """Records or arrays of the wrong shape, or columns that are missing or unknown."""


class NonFiniteError(InputError):
    """A value is NaN or infinite."""


class RangeError(InputError):
    """A value lies outside the range the model declares for its column."""


class ParameterError(BlindproofError, ValueError):
    """Parameters outside the supported or the 128-bit secure range."""


class PlanningError(ParameterError):
    """No parameter set fits the wish; the message names the nearest thing that would."""


class EncodingError(BlindproofError, ValueError):
    """Bytes are malformed, truncated, oversized or not canonical."""


class KeyStoreError(BlindproofError):
    """The key store cannot be opened, read or written."""


class EnrolmentError(BlindproofError):
    """A public key was refused, is unknown, or its enrolment session is gone."""


class ModelError(BlindproofError):
    """A model is unknown, does not match its pinned digest, or its card is not acceptable."""


class RequestError(BlindproofError):
    """A request does not fit the model, the key or the limits of the server."""


class VerificationError(BlindproofError):
    """A proof was refused.  The same type for every reason, raised before any secret-key use.

    Attributes:
        check: the name of the check that refused, from `zk_layers.checks.Check`.
        detail: expected against found, for people; never parsed by code.
    """

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(f"proof refused by the check '{check}': {detail}")
        self.check = check
        self.detail = detail
