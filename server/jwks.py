"""The public keys of a token issuer: a JWK set (RFC 7517) from a file or over HTTPS, cached.

A set is read again when it has become old, and at once when a token names a key that is not in it;
the latter at most once a minute, so that whoever sends made-up names costs the issuer nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import BlindproofError, EncodingError
from wire.files import read_bounded

MAX_SET_BYTES = 1 << 18
MAX_KEYS = 64
MAX_KEY_NAME = 256
MIN_RSA_BITS = 2048
FETCH_SECONDS = 5.0
FRESH_SECONDS = 600.0
"""A key that its issuer has withdrawn is refused after this, if the issuer can be reached."""
RETRY_SECONDS = 60.0
LONGEST_SECONDS = 24 * 3600.0
"""For how long keys are used of an issuer that cannot be reached any more."""

_ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""By type and curve: signatures only, so that no public key ever serves as the secret of a MAC."""
_log = structlog.get_logger("blindproof.server")


class KeySetError(BlindproofError):
    """An issuer's keys cannot be fetched, or are none."""


@dataclass(frozen=True)
class IssuerKey:
    """A public key, and the algorithms whose signatures it verifies."""

    public: Any
    algorithms: tuple[str, ...]


def parse_key_set(data: bytes) -> dict[str | None, IssuerKey]:
    """The signature keys of a JWK set, by name; keys for other uses and of other types are left.

    Raises:
        KeySetError: not a set, too many keys, two of one name, a private one or an unfit one.
    """
    try:
        listed = json.loads(data)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeySetError("not a JWK set") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise KeySetError(f"not a JWK set of at most {MAX_KEYS} keys")
    keys: dict[str | None, IssuerKey] = {}
    for item in listed:
        if not isinstance(item, dict):
            raise KeySetError("not a JWK set")
        algorithms = _algorithms_of(item)
        if not algorithms:
            continue
        name = item.get("kid")
        if not (name is None or (isinstance(name, str) and 0 < len(name) <= MAX_KEY_NAME)):
            raise KeySetError("a key whose name is no text of moderate length")
        if name in keys:
            raise KeySetError("two keys of one name")
        keys[name] = IssuerKey(_public_key(item, algorithms[0]), algorithms)
    if not keys:
        raise KeySetError("no key for signatures")
    return keys


def _algorithms_of(item: dict[str, Any]) -> tuple[str, ...]:
    """What a key may verify: what its type allows, and of that what it says; empty for nothing."""
    if item.get("use", "sig") != "sig":
        return ()
    operations = item.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return ()
    kind, curve = item.get("kty"), item.get("crv")
    if not isinstance(kind, str) or not (curve is None or isinstance(curve, str)):
        return ()
    fitting = _ALGORITHMS.get((kind, curve), ())
    stated = item.get("alg")
    return fitting if stated is None else tuple(name for name in fitting if name == stated)


def _public_key(item: dict[str, Any], algorithm: str) -> object:
    if "d" in item:
        raise KeySetError("a private key is published: its issuer has to replace it")
    try:
        public: object = jwt.PyJWK(item, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise KeySetError("a malformed key") from None
    if isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        raise KeySetError(f"an RSA key of {public.key_size} bits, at least {MIN_RSA_BITS}")
    return public


def fetch_key_set(source: str, ca: Path | None = None) -> bytes:
    """The bytes of a set.

    No redirection is followed and no proxy used: either could lead to where no certificate counts.

    Args:
        source: an https URL, else a path.
        ca: PEM file of the authority of the URL's certificate; the system's authorities if None.

    Raises:
        KeySetError: it cannot be read, is too long or takes too long.
    """
    try:
        if not is_url(source):
            return read_bounded(Path(source), MAX_SET_BYTES)
        return _fetch(source, ca)
    except (OSError, EncodingError, http.client.HTTPException) as error:
        raise KeySetError(f"{source}: {getattr(error, 'strerror', None) or error}") from error


def is_url(source: str) -> bool:
    """Whether keys are fetched over HTTPS."""
    return source.startswith("https://")


def _fetch(source: str, ca: Path | None) -> bytes:
    url = urlsplit(source)
    context = ssl.create_default_context(cafile=ca)
    end = time.monotonic() + FETCH_SECONDS
    connection = http.client.HTTPSConnection(
        url.hostname or "", url.port, timeout=FETCH_SECONDS, context=context
    )
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise KeySetError(f"{source}: answered with status {response.status}")
        data = b""
        while piece := response.read1(MAX_SET_BYTES + 1 - len(data)):
            data += piece
            if len(data) > MAX_SET_BYTES:
                raise KeySetError(f"{source}: more than {MAX_SET_BYTES} bytes")
            if time.monotonic() > end:
                raise KeySetError(f"{source}: not answered within {FETCH_SECONDS:g} seconds")
        return data
    finally:
        connection.close()


@dataclass(eq=False)
class KeySet:
    """The keys of one issuer, as they were last fetched.  For one event loop.

    Args:
        fetch: the bytes of the set; may block.
        clock: seconds, monotonic.
    """

    fetch: Callable[[], bytes]
    clock: Callable[[], float] = time.monotonic
    _keys: dict[str | None, IssuerKey] = field(default_factory=dict, init=False)
    _fetched: float | None = field(default=None, init=False)
    _tried: float | None = field(default=None, init=False)
    _fetching: asyncio.Task[None] | None = field(default=None, init=False)

    async def find(self, name: str | None) -> IssuerKey | None:
        """The key of a name, None if there is none; of no name, the only key of a set of one."""
        if self._age() > FRESH_SECONDS or self._lookup(name) is None:
            await self._refresh()
        return self._lookup(name) if self._age() <= LONGEST_SECONDS else None

    def _age(self) -> float:
        return float("inf") if self._fetched is None else self.clock() - self._fetched

    def _lookup(self, name: str | None) -> IssuerKey | None:
        if name is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(name)

    async def _refresh(self) -> None:
        """Fetch the set unless that was tried a moment ago; what is there stays if it fails.

        Nobody waits for longer than a fetch should take: an issuer that dribbles is one that cannot
        be reached.
        """
        now = self.clock()
        if self._fetching is None:
            if self._tried is not None and now - self._tried < RETRY_SECONDS:
                return
            self._tried = now
            self._fetching = asyncio.create_task(self._fetch())
        begun = now if self._tried is None else self._tried
        # Not awaited: who leaves meanwhile must not take it from all others, or whoever shows
        # made-up names and hangs up would keep the keys as they are.
        await asyncio.wait((self._fetching,), timeout=max(0.0, begun + FETCH_SECONDS - now))

    async def _fetch(self) -> None:
        try:
            self._keys = parse_key_set(await asyncio.to_thread(self.fetch))
            self._fetched = self.clock()
        except (KeySetError, ValueError) as error:  # such as a port that is none
            _log.error("keys of the token issuer not fetched", error=str(error))
        finally:
            self._fetching = None
