"""Bearer tokens: JSON Web Tokens (RFC 7519) of one OpenID Connect issuer, judged as RFC 8725 says.

The key is found by its name in the issuer's own set, never in the token; which algorithm a key
verifies is the key's business, never the token's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jwt
import structlog

from protocol.errors import BlindproofError
from protocol.parameters import MAX_IDENTITY
from server.jwks import MAX_KEY_NAME, KeySet, fetch_key_set
from server.refusals import Refusal
from server.tenants import ClaimPath, Claims, Issuer
from wire.rpc import Reason

MAX_TOKEN_BYTES = 8192
LEEWAY_SECONDS = 30.0
LONGEST_LIFE_SECONDS = 24 * 3600.0
"""A token cannot be taken back: one that is valid for longer is no token but a password."""
_REQUIRED = ["exp", "iat", "iss", "aud", "sub"]
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})

_log = structlog.get_logger("blindproof.server")


class _UnfitError(BlindproofError):
    """What is wrong with a token by our own judgement, in our own words."""


class TokenVerifier:
    """Verifies the tokens of one issuer.  For one event loop."""

    def __init__(self, issuer: Issuer, keys: KeySet | None = None) -> None:
        """Configure; nothing is fetched before the first token.

        Args:
            issuer: whose tokens.
            keys: its keys, if not those at `issuer.jwks`.
        """
        self.issuer = issuer
        self._keys = keys or KeySet(partial(fetch_key_set, issuer.jwks, issuer.ca))

    async def verify(self, token: str) -> Claims:
        """The claims of a token.

        Raises:
            Refusal: it is not one of this issuer for this audience at this time (unauthenticated).
                Only that it has expired is said; the rest is in the log.
        """
        try:
            return self._claims(await self._verified(token))
        except jwt.ExpiredSignatureError:
            raise Refusal(Reason.UNAUTHENTICATED, "the token has expired") from None
        except _UnfitError as error:
            _log.info("token refused", error=str(error))
            raise Refusal(Reason.UNAUTHENTICATED, "the token is refused") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            # Besides its own errors some of its releases raise those of numbers and of nesting.
            _log.info("token refused", error=type(error).__name__)
            raise Refusal(Reason.UNAUTHENTICATED, "the token is refused") from None

    async def _verified(self, token: str) -> dict[str, Any]:
        """Raises what the library raises, or _UnfitError."""
        if len(token) > MAX_TOKEN_BYTES:
            raise _UnfitError("oversized")
        header = jwt.get_unverified_header(token)
        name = header.get("kid")
        if not (name is None or (isinstance(name, str) and 0 < len(name) <= MAX_KEY_NAME)):
            raise _UnfitError("malformed key name")
        if str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise _UnfitError("another kind of token")
        key = await self._keys.find(name)
        if key is None:
            raise _UnfitError("unknown key")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=list(key.algorithms),
            issuer=self.issuer.issuer,
            audience=self.issuer.audience,
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
        # "Not a number" is below no bound and above none.
        if not float(claims["exp"]) - float(claims["iat"]) <= LONGEST_LIFE_SECONDS:
            raise _UnfitError("valid for too long")
        return claims

    def _claims(self, claims: dict[str, Any]) -> Claims:
        """Raises _UnfitError."""
        subject = claims["sub"]
        if not 0 < len(subject) <= MAX_IDENTITY or not subject.isprintable():
            raise _UnfitError("malformed subject")
        if self.issuer.tenant_claim is None or self.issuer.roles_claim is None:
            return Claims(subject)
        tenant = _claim(claims, self.issuer.tenant_claim)
        roles = _claim(claims, self.issuer.roles_claim)
        names = roles.split() if isinstance(roles, str) else roles
        if (
            not isinstance(tenant, str)
            or not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
        ):
            raise _UnfitError("no tenant, or no roles")
        return Claims(subject, tenant, frozenset(names))


def _claim(claims: object, path: ClaimPath) -> object:
    """What is at a path; None if nothing is."""
    for name in path:
        if not isinstance(claims, dict):
            return None
        claims = claims.get(name)
    return claims
