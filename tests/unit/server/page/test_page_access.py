"""Who gets what from the page, over real TLS."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import URL

from server.listener import ListenError
from server.page import Access, page_app
from server.page.access import MAX_FAILURES, SESSION_SECONDS
from server.page.guard import HEADERS, PUBLIC_PATHS, SESSION_COOKIE
from server.page.listener import serving
from server.tls import ServerTls, TlsFiles
from tests.unit.server.page.example_trail import KEY, make_trail, receipt, served

RECEIPT = receipt(3)
RECEIPT_ID = RECEIPT.receipt.receipt_id.hex()
READABLE = {"GET", "HEAD"}


@pytest.fixture(scope="module")
def trail(tmp_path_factory):
    made = make_trail(tmp_path_factory.mktemp("trail"))
    made.log.append([receipt(number) for number in range(20)])
    made.log.checkpoint(KEY)
    return made


@pytest.fixture(scope="module")
def app(trail):
    with ThreadPoolExecutor(1) as executor:
        yield page_app(trail.reader(), Access("t" * 43), executor)


@pytest.fixture(scope="module")
def page(trail, tmp_path_factory):
    with served(trail.reader(), tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def guessed_page(trail, tmp_path):
    """One for a test that shows wrong tokens, and would otherwise shut others out."""
    with served(trail.reader(), tmp_path / "page") as running:
        yield running


def addresses(app):
    """An address of every route there is, and the methods it answers."""
    known = {"receipt_id": RECEIPT_ID, "size": "20"}
    for route in app.routes:
        assert isinstance(route, APIRoute)
        yield route.path.format(**known), route.methods


def test_every_route_is_known_here(app):
    assert {path for path, _ in addresses(app)} == {
        "/",
        "/login",
        "/logout",
        f"/receipts/{RECEIPT_ID}",
        f"/receipts/{RECEIPT_ID}/entry",
        f"/receipts/{RECEIPT_ID}/fhir",
        f"/receipts/{RECEIPT_ID}/inclusion",
        f"/receipts/{RECEIPT_ID}/json",
        f"/receipts/{RECEIPT_ID}/proven",
        "/checkpoint",
        "/checkpoints",
        "/checkpoints/20",
        "/static/bytes.js",
        "/static/checkpoint.js",
        "/static/encoding.js",
        "/static/icon.svg",
        "/static/merkle.js",
        "/static/page.css",
        "/static/receipt.js",
        "/static/verify.js",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dDp0"},
        {"Cookie": f"{SESSION_COOKIE}=guessed"},
        {"Cookie": f"{SESSION_COOKIE}="},
        {"Cookie": "; ; =\x7f"},
    ],
)
def test_without_token_every_route_is_refused(app, guessed_page, headers):
    with guessed_page.client(headers=headers) as client:
        for path, methods in addresses(app):
            for method in sorted(methods):
                if path == "/login" or path in PUBLIC_PATHS:
                    continue
                answer = client.request(method, path)
                if headers.get("Authorization") == "Bearer":
                    assert answer.status_code in {401, 429}
                else:
                    assert answer.status_code == 401, (method, path)
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert RECEIPT_ID not in answer.text


@pytest.mark.asyncio
async def test_the_path_of_the_route_decides_and_no_url_made_with_the_host(app, monkeypatch):
    """Put together from Host and path, "localhost/static/page.css?" has the style sheet's path."""
    put_together = URL("https://localhost/static/page.css?/checkpoint")
    monkeypatch.setattr(Request, "url", property(lambda _: put_together))
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/checkpoint",
        "query_string": b"",
        "headers": [(b"host", b"localhost/static/page.css?")],
        "client": ("192.0.2.1", 9),
    }
    await app(scope, None, send)
    assert sent[0]["status"] == 401


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/unknown", "/%00"])
def test_without_token_nobody_learns_what_there_is(page, path):
    with page.client() as client:
        assert client.get(path).status_code == 401
    with page.authorised() as client:
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("wrong", ["x", "t" * 43, "ü"])
def test_a_wrong_token_is_refused_everywhere(guessed_page, wrong):
    with guessed_page.client() as client:
        header = {"Authorization": f"Bearer {wrong}".encode()}
        assert client.get("/", headers=header).status_code == 401
        posted = client.post("/login", data={"token": wrong})
        assert posted.status_code == 401
        assert "That is not the token" in posted.text
        assert not client.cookies


def test_the_token_opens_every_route(app, page):
    with page.authorised() as client:
        for path, methods in addresses(app):
            if "GET" in methods:
                assert client.get(path).status_code == 200, path


def test_head_answers_like_get_without_a_body(app, page):
    with page.authorised() as client:
        for path, methods in addresses(app):
            if methods == READABLE:
                read, head = client.get(path), client.head(path)
                assert head.status_code == read.status_code == 200
                assert head.content == b""
                for name in ("Content-Type", "Content-Length"):
                    assert head.headers[name] == read.headers[name], path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_nothing_can_be_written(app, page, method):
    with page.authorised() as client:
        for path, methods in addresses(app):
            if method in methods:
                continue
            answer = client.request(method, path, content=b"x" * 100)
            assert answer.status_code == 405, (method, path)
            assert "Allow" in answer.headers


def test_a_browser_gets_a_session_and_gives_it_back(page):
    with page.client() as client:
        answer = client.post("/login", data={"token": page.token})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-")
        assert page.token not in cookie
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= attributes
        assert not any(part.startswith("domain") for part in attributes)
        assert client.get("/").status_code == 200
        kept = client.cookies[SESSION_COOKIE]
        assert client.post("/logout").status_code == 303
        # Neither what the browser forgets nor what it might have kept opens the page.
        assert client.get("/").status_code == 401
        again = client.get("/", headers={"Cookie": f"{SESSION_COOKIE}={kept}"})
        assert again.status_code == 401


def test_a_token_in_an_address_opens_nothing(guessed_page):
    with guessed_page.client() as client:
        for query in (f"/?token={guessed_page.token}", f"/login?token={guessed_page.token}"):
            assert client.get(query).status_code == 401
        assert client.post(f"/login?token={guessed_page.token}").status_code == 401


def test_whoever_guesses_is_slowed_down(guessed_page):
    with guessed_page.client() as client:
        for _ in range(MAX_FAILURES):
            assert client.post("/login", data={"token": "guess"}).status_code == 401
        for answer in (
            client.post("/login", data={"token": guessed_page.token}),
            client.get("/", headers={"Authorization": f"Bearer {guessed_page.token}"}),
        ):
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) > 0
            assert not client.cookies


@pytest.mark.asyncio
async def test_an_expired_session_opens_nothing(trail):
    now = [0.0]
    with ThreadPoolExecutor(1) as executor:
        app = page_app(trail.reader(), Access("t" * 43, lambda: now[0]), executor)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://page.test") as client:
            await client.post("/login", data={"token": "t" * 43})
            now[0] = SESSION_SECONDS - 1
            assert (await client.get("/")).status_code == 200
            now[0] = SESSION_SECONDS
            assert (await client.get("/")).status_code == 401


def test_every_answer_has_the_headers(app, guessed_page):
    with guessed_page.authorised() as client, guessed_page.client() as stranger:
        answers = [
            *(client.get(path) for path, _ in addresses(app)),
            *(stranger.get(path) for path, _ in addresses(app)),
            client.get("/unknown"),
            client.get("/?unknown=1"),
            client.get(f"/?tenant={'x' * 4000}"),
            client.delete("/"),
            stranger.post("/login", data={"token": "wrong"}),
            stranger.post("/login", data={"token": guessed_page.token}),
            stranger.post("/login", content=b"x" * 5000),
        ]
    statuses = {answer.status_code for answer in answers}
    assert {200, 303, 401, 404, 405, 413, 414, 422} <= statuses
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value], answer.url
        assert "Server" not in answer.headers
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_pages_hold_no_script_or_style_of_their_own(page):
    with page.authorised() as client:
        for path in ("/", f"/receipts/{RECEIPT_ID}", "/checkpoints"):
            text = client.get(path).text
            assert re.findall(r"<script(?![^>]*\bsrc=\"/static/)", text) == []
            assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", text) == []
            assert re.findall(r"(?:src|href)=\"(?!/|#)", text) == []


@pytest.mark.parametrize(
    "path",
    [
        "/static/../access.py",
        "/static/..%2faccess.py",
        "/static/%2e%2e/access.py",
        "/static/....//access.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/page.css%00.js",
        "/static/..\\access.py",
        "/static/",
        "/static/templates/base.html",
    ],
)
def test_no_path_leads_out_of_the_static_files(page, path):
    """Sent as written: HTTP clients tidy a path first."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = raw_exchange(page, f"{request}Authorization: Bearer {page.token}\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in {b"404", b"400"}
    assert b"import" not in answer
    assert b"root:" not in answer


def test_oversized_requests_are_refused(page):
    with page.authorised() as client:
        assert client.get(f"/?actor={'x' * 4000}").status_code == 414
        assert client.get(f"/{'x' * 4000}").status_code == 414
        assert client.get(f"/?actor={'x' * 200}").status_code == 422
        assert client.post("/login", content=b"token=" + b"x" * 2000).status_code == 413
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000
    assert raw_exchange(page, head).split(b" ", 2)[1] == b"400"


@pytest.mark.parametrize(
    "query",
    [
        "outcome=maybe",
        "action=erase",
        "since=yesterday",
        "model=abc",
        "model=" + "G" * 64,
        "receipt=..",
        "before=-1",
        "before=9999999999999999999",
        "before=x",
        "unknown=1",
        "tenant=a&unknown=",
    ],
)
def test_a_malformed_filter_is_refused(page, query):
    with page.authorised() as client:
        answer = client.get(f"/?{query}")
        # An empty field of a form asks for nothing, whatever its name.
        assert answer.status_code == (200 if query.endswith("unknown=") else 422)


@pytest.mark.parametrize("path", ["/receipts/XYZ", "/receipts/", f"/receipts/{RECEIPT_ID[:-1]}"])
def test_a_malformed_receipt_id_is_refused(page, path):
    with page.authorised() as client:
        assert client.get(path).status_code in {404, 422}


def test_what_fails_unforeseen_says_nothing_of_it(trail, tmp_path):
    class Failing:
        log_key = trail.reader().log_key
        chain = trail.reader().chain

        def listing(self, wanted):
            raise RuntimeError("canary of a failure")

    with served(Failing(), tmp_path) as page, page.authorised() as client:
        answer = client.get("/")
        assert answer.status_code == 500
        assert "canary" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert client.get("/checkpoints").status_code == 200


def test_no_answer_holds_a_secret(app, page):
    with page.authorised() as client:
        bodies = [client.get(path).content for path, _ in addresses(app)]
    for body in bodies:
        for secret in (page.token.encode(), KEY.secret(), KEY.secret().hex().encode()):
            assert secret not in body


@pytest.mark.asyncio
async def test_a_page_that_cannot_be_served_says_why(trail, tmp_path):
    with served(trail.reader(), tmp_path) as page:
        files = TlsFiles(tmp_path / "localhost.pem", tmp_path / "localhost.key.pem")
        tls = ServerTls(files).context()
        taken = urlsplit(page.url).netloc
        with pytest.raises(ListenError, match=taken):
            async with serving(taken, tls, tmp_path / "another.token", trail.reader()):
                pytest.fail("it was served")


def connected(page):
    """A TLS connection to the page."""
    place = urlsplit(page.url)
    context = ssl.create_default_context(cafile=page.ca)
    plain = socket.create_connection((place.hostname, place.port), timeout=10)
    return context.wrap_socket(plain, server_hostname=place.hostname)


def raw_exchange(page, request):
    """What the page answers to these bytes before it hangs up."""
    answer = b""
    with contextlib.suppress(OSError), connected(page) as connection:
        connection.sendall(request)
        while part := connection.recv(1 << 16):
            answer += part
    return answer
