"""Tokens and the keys that verify them: what an attacker might show."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import ssl
import threading
import time
from contextlib import contextmanager

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from blindproof.authority import Authority
from server import jwks
from server.jwks import KeySet, KeySetError, fetch_key_set, parse_key_set
from server.refusals import Refusal
from server.tenants import Claims, Issuer
from server.tokens import MAX_TOKEN_BYTES, TokenVerifier
from wire.rpc import Reason

ISSUER, AUDIENCE = "https://login.example", "blindproof"
KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def jwk_of(key, **members) -> dict:
    kinds = (
        (ec.EllipticCurvePrivateKey, jwt.algorithms.ECAlgorithm),
        (rsa.RSAPrivateKey, jwt.algorithms.RSAAlgorithm),
        (ed25519.Ed25519PrivateKey, jwt.algorithms.OKPAlgorithm),
    )
    (kind,) = (algorithm for base, algorithm in kinds if isinstance(key, base))
    return {**json.loads(kind.to_jwk(key.public_key())), **members}


def key_set(*keys: dict) -> bytes:
    return json.dumps({"keys": keys}).encode()


PUBLISHED = key_set(jwk_of(KEY, kid="one"), jwk_of(RSA_KEY, kid="two"))


def claims(**changes) -> dict:
    now = time.time()
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "someone", "iat": now, "exp": now + 60}
    return {name: value for name, value in {**given, **changes}.items() if value is not None}


def token(key=KEY, algorithm="ES256", headers=None, **changes) -> str:
    return jwt.encode(claims(**changes), key, algorithm, {"kid": "one", **(headers or {})})


def verify(text: str, published: bytes = PUBLISHED, **changes) -> Claims:
    issuer = Issuer(issuer=ISSUER, audience=AUDIENCE, jwks="keys.json", **changes)

    async def run() -> Claims:
        return await TokenVerifier(issuer, KeySet(lambda: published)).verify(text)

    return asyncio.run(run())


def refused(text: str, published: bytes = PUBLISHED, **changes) -> str:
    with pytest.raises(Refusal) as caught:
        verify(text, published, **changes)
    assert caught.value.reason is Reason.UNAUTHENTICATED
    return str(caught.value)


def encoded(part: object) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    ("key", "algorithm", "name"),
    [(KEY, "ES256", "one"), (RSA_KEY, "RS256", "two"), (RSA_KEY, "PS512", "two")],
)
def test_a_token_of_the_issuer_is_taken(key, algorithm, name):
    text = token(key, algorithm, {"kid": name})
    assert verify(text) == Claims("someone")


def test_a_key_of_every_supported_type_verifies():
    for key, algorithm in (
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ):
        published = key_set(jwk_of(key, kid="one"))
        assert verify(token(key, algorithm), published).subject == "someone"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"iat": None},
        {"iss": None},
        {"aud": None},
        {"sub": None},
        {"iss": "https://login.example/"},
        {"iss": "https://other.example"},
        {"aud": "another service"},
        {"aud": ["another service"]},
        {"exp": time.time() + 48 * 3600},
        {"iat": time.time() + 3600, "exp": time.time() + 3700},
        {"nbf": time.time() + 3600},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"iat": float("nan")},
        {"exp": True},
        {"sub": ""},
        {"sub": "x" * 1000},
        {"sub": "a\nb"},
        {"sub": 7},
    ],
)
def test_a_token_with_other_claims_is_refused(changes):
    assert refused(token(**changes)) in {"the token is refused", "the token has expired"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp": time.time() + 48 * 3600}, "valid for too long"),
        ({"sub": "x" * 1000}, "malformed subject"),
        ({"iss": "https://other.example"}, "InvalidIssuerError"),
    ],
    ids=["life", "subject", "issuer"],
)
def test_operators_are_told_what_is_wrong_and_nothing_of_the_token(changes, words):
    with capture_logs() as lines:
        assert refused(token(**changes)) == "the token is refused"
    assert [line["error"] for line in lines] == [words]


def test_an_expired_token_is_told_so_and_one_just_expired_is_taken():
    for seconds in (35, 120):
        assert refused(token(exp=time.time() - seconds)) == "the token has expired"
    assert verify(token(exp=time.time() - 5))


def test_an_audience_among_others_is_taken():
    assert verify(token(aud=["other", AUDIENCE]))


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def mac_token(secret: bytes, algorithm: str = "HS256", **headers) -> str:
    """Made by hand: the library itself refuses to sign with a public key."""
    import hashlib
    import hmac

    header = {"typ": "JWT", "alg": algorithm, "kid": "two", **headers}
    signed = f"{encoded(header)}.{encoded(claims())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(mac)}"


def test_no_public_key_is_the_secret_of_a_mac():
    for secret in (public_pem(RSA_KEY), public_pem(KEY), PUBLISHED, b""):
        refused(mac_token(secret))
        refused(mac_token(secret, "RS256"))


def test_a_symmetric_key_in_the_set_verifies_nothing():
    secret = bytes(32)
    symmetric = {"kty": "oct", "k": encoded(secret), "kid": "mac", "alg": "HS256"}
    published = key_set(jwk_of(KEY, kid="one"), symmetric)
    refused(mac_token(secret, kid="mac"), published)
    with pytest.raises(KeySetError, match="no key for signatures"):
        parse_key_set(key_set(symmetric))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_an_unsigned_token_is_refused(algorithm):
    header = {"typ": "JWT", "alg": algorithm, "kid": "one"}
    refused(f"{encoded(header)}.{encoded(claims())}.")
    signature = token().rpartition(".")[2]
    refused(f"{encoded(header)}.{encoded(claims())}.{signature}")


def test_a_token_does_not_bring_its_own_key():
    own = ec.generate_private_key(ec.SECP256R1())
    brought = jwk_of(own, kid="mine")
    for headers in (
        {"jwk": brought},
        {"jwk": brought, "kid": "mine"},
        {"jku": "https://evil.example/keys", "kid": "mine"},
        {"x5u": "https://evil.example/chain", "kid": "mine"},
        {"kid": "/dev/null"},
        {"kid": "../../keys.json"},
        {"kid": "one' OR '1'='1"},
        {"kid": "x" * 5000},
        {"kid": ""},
    ):
        refused(token(own, headers=headers))


def test_a_key_name_that_is_no_text_is_refused():
    for name in (1, None, ["one"], {"one": 1}):
        header = {"typ": "JWT", "alg": "ES256", "kid": name}
        parts = token().split(".")
        refused(".".join([encoded(header), *parts[1:]]))


def test_a_key_verifies_only_what_it_is_for():
    text = token(RSA_KEY, "PS256", {"kid": "two"})
    assert verify(text)
    refused(text, key_set(jwk_of(RSA_KEY, kid="two", alg="RS256")))
    for members in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "RSA-OAEP"}):
        published = key_set(jwk_of(KEY, kid="one"), jwk_of(RSA_KEY, kid="two", **members))
        refused(text, published)


def test_a_token_of_another_type_or_with_critical_extensions_is_refused():
    assert verify(token(headers={"typ": "at+jwt"}))
    for headers in (
        {"typ": "dpop+jwt"},
        {"typ": "logout+jwt"},
        {"crit": ["x"], "x": 1},
        {"crit": ["b64"], "b64": True},
    ):
        refused(token(headers=headers))


def test_an_oversized_token_is_refused_however_valid():
    assert verify(token(more="x" * 4000))
    refused(token(more="x" * MAX_TOKEN_BYTES))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "x" * (MAX_TOKEN_BYTES + 1),
        f"{encoded(b'[' * 5000)}.{encoded(b'{}')}.",
        f"{encoded(b'[1]')}.{encoded(b'{}')}.",
        f"{encoded({'alg': ['ES256']})}.e30.AA",
        "\N{SNOWMAN}.e30.AA",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_token_is_refused(text):
    refused(text)


def test_a_changed_payload_or_signature_is_refused():
    header, payload, signature = token().split(".")
    other = encoded(claims(sub="somebody else"))
    refused(f"{header}.{other}.{signature}")
    refused(f"{header}.{payload}.{encoded(bytes(64))}")
    refused(f"{header}.{payload}.")


def test_a_token_without_a_key_name_needs_a_set_of_one_key():
    text = jwt.encode(claims(), KEY, "ES256")
    assert verify(text, key_set(jwk_of(KEY, kid="one")))
    refused(text)


def test_claims_say_tenant_and_roles_where_the_file_says_so():
    where = {"tenant_claim": "org", "roles_claim": ("realm", "roles")}
    text = token(org="ward", realm={"roles": ["predict", "something else"]})
    expected = Claims("someone", "ward", frozenset({"predict", "something else"}))
    assert verify(text, **where) == expected
    spaced = token(org="ward", realm={"roles": "predict audit"})
    assert verify(spaced, **where).roles == {"predict", "audit"}
    for members in ({}, {"org": ["ward"]}, {"org": "ward"}, {"org": "ward", "realm": "roles"}):
        refused(token(**members), **where)
    refused(token(org="ward", realm={"roles": [1]}), **where)


# ------------------------------------------------------------------------------------- key sets


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256"}]}',
        b'{"keys": ' + b"[" * 100_000,
        key_set(jwk_of(KEY, kid="one"), jwk_of(RSA_KEY, kid="one")),
        key_set(jwk_of(KEY, kid=7)),
        key_set(jwk_of(KEY, kid="x" * 300)),
        key_set(*(jwk_of(KEY, kid=str(number)) for number in range(65))),
    ],
    ids=lambda data: str(data[:40]),
)
def test_what_is_no_key_set_is_refused(data):
    with pytest.raises(KeySetError):
        parse_key_set(data)


def test_a_short_key_and_a_published_private_one_are_refused():
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 -- what is refused
    with pytest.raises(KeySetError, match="1024 bits"):
        parse_key_set(key_set(jwk_of(short)))
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY))
    with pytest.raises(KeySetError, match="private"):
        parse_key_set(key_set(private))


class Source:
    """Where keys are fetched: counted, and changed or broken at will."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data
        self.fetched = 0
        self.now = 0.0

    def fetch(self) -> bytes:
        self.fetched += 1
        if self.data is None:
            raise KeySetError("gone")
        return self.data

    def keys(self) -> KeySet:
        return KeySet(self.fetch, lambda: self.now)


def test_made_up_key_names_cost_the_issuer_one_question_a_minute():
    source = Source(PUBLISHED)

    async def run() -> None:
        keys = source.keys()
        assert await keys.find("one")
        for number in range(100):
            assert await keys.find(f"made up {number}") is None
        assert source.fetched == 1
        source.now += jwks.RETRY_SECONDS
        await asyncio.gather(*(keys.find(f"again {number}") for number in range(100)))
        assert source.fetched == 2
        # And while the issuer cannot be reached.
        source.data = None
        source.now += jwks.FRESH_SECONDS + 1
        for _ in range(100):
            assert await keys.find("one")
        assert source.fetched == 3

    asyncio.run(run())


def test_who_hangs_up_while_keys_are_fetched_takes_them_from_nobody():
    """Else anybody who can connect ends all tokens, and keeps keys that were withdrawn."""
    source = Source(PUBLISHED)
    may_answer = threading.Event()

    def fetch() -> bytes:
        assert may_answer.wait(10)
        return source.fetch()

    async def run() -> None:
        keys = KeySet(fetch, lambda: source.now)
        stranger = asyncio.create_task(keys.find("made up"))
        await asyncio.sleep(0)
        others = [asyncio.create_task(keys.find("one")) for _ in range(3)]
        await asyncio.sleep(0)
        stranger.cancel()
        await asyncio.gather(stranger, return_exceptions=True)
        may_answer.set()
        assert all(await asyncio.gather(*others))
        assert source.fetched == 1
        # Nor does a failure under way stay: the next minute asks again.
        source.data = None
        source.now += jwks.FRESH_SECONDS + 1
        assert await keys.find("one")
        source.data = key_set(jwk_of(KEY, kid="new"))
        source.now += jwks.RETRY_SECONDS
        assert await keys.find("new")
        assert source.fetched == 3

    asyncio.run(run())


def test_nobody_waits_for_an_issuer_that_dribbles_and_it_is_asked_once():
    source = Source(PUBLISHED)
    may_answer = threading.Event()

    def fetch() -> bytes:
        data = source.fetch()
        assert source.fetched == 1 or may_answer.wait(20)
        return data

    async def run() -> None:
        keys = KeySet(fetch, lambda: source.now)
        assert await keys.find("one")
        source.now += jwks.FRESH_SECONDS + 1
        first = asyncio.create_task(keys.find("one"))
        await asyncio.sleep(0.05)
        assert not first.done()
        for minutes in (0.1, 1, 2):
            source.now += 60 * minutes
            async with asyncio.timeout(2):
                assert await keys.find("one")
                assert await keys.find("unknown") is None
        assert source.fetched == 2
        may_answer.set()
        assert await first

    asyncio.run(run())


def test_an_address_that_is_none_is_one_line_of_the_log():
    async def run() -> None:
        keys = KeySet(lambda: fetch_key_set("https://localhost:99999/"))
        assert await keys.find("one") is None

    with capture_logs() as logs:
        asyncio.run(run())
    assert [line["event"] for line in logs] == ["keys of the token issuer not fetched"]


def test_new_keys_come_and_withdrawn_ones_go():
    source = Source(key_set(jwk_of(KEY, kid="one")))

    async def run() -> None:
        keys = source.keys()
        assert await keys.find("one")
        source.data = key_set(jwk_of(KEY, kid="new"))
        assert await keys.find("one")
        source.now += jwks.RETRY_SECONDS
        assert await keys.find("new")
        assert await keys.find("one") is None

    asyncio.run(run())


def test_keys_of_an_issuer_that_is_gone_are_not_used_for_ever():
    source = Source(PUBLISHED)

    async def run() -> None:
        keys = source.keys()
        assert await keys.find("one")
        source.data = None
        source.now = jwks.LONGEST_SECONDS
        assert await keys.find("one")
        source.now += 1
        assert await keys.find("one") is None

    asyncio.run(run())


@contextmanager
def serving(home, answer):
    """An issuer's server over HTTPS; yields its port and the authority's file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            """Nothing."""

    authority = Authority.fresh()
    certificate, key = authority.issue(home, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port, authority.write(home / "ca.pem")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answered(status: int, body: bytes, **headers: str):
    def answer(handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_keys_are_fetched_over_https_from_whom_the_authority_vouches_for(tmp_path):
    with serving(tmp_path, answered(200, PUBLISHED)) as (port, ca):
        assert fetch_key_set(f"https://localhost:{port}/keys", ca) == PUBLISHED
        with pytest.raises(KeySetError, match=r"(?i)certificate"):
            fetch_key_set(f"https://localhost:{port}/keys")


def test_a_redirection_an_error_and_too_much_are_refused(tmp_path):
    (tmp_path / "keys.json").write_bytes(PUBLISHED)
    elsewhere = (tmp_path / "keys.json").as_uri()
    for answer in (
        answered(302, b"", location=elsewhere),
        answered(404, PUBLISHED),
        answered(200, bytes(jwks.MAX_SET_BYTES + 1)),
    ):
        with serving(tmp_path, answer) as (port, ca), pytest.raises(KeySetError):
            fetch_key_set(f"https://localhost:{port}/keys", ca)


def test_a_slow_issuer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.3)

    def slowly(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(40):
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            """It has been given up."""

    began = time.monotonic()
    with serving(tmp_path, slowly) as (port, ca), pytest.raises(KeySetError):
        fetch_key_set(f"https://localhost:{port}/keys", ca)
    assert time.monotonic() - began < 5


def test_keys_in_a_file(tmp_path):
    (tmp_path / "keys.json").write_bytes(PUBLISHED)
    assert fetch_key_set(str(tmp_path / "keys.json")) == PUBLISHED
    with pytest.raises(KeySetError, match="No such file"):
        fetch_key_set(str(tmp_path / "none.json"))
