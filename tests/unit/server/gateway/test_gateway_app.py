"""What HTTP makes of procedures, and of what never reaches one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from unittest.mock import Mock

import grpc
import pytest
from structlog.testing import capture_logs

from protocol.errors import EncodingError
from server.calls import _metadata
from server.gateway import gateway_app, serving
from server.gateway.app import HEADERS, OPENAPI_PATH
from server.gateway.invoking import MAX_HEADER_BYTES, MAX_JSON_BYTES
from server.listener import Limits
from server.outermost import MAX_ADDRESS_BYTES
from server.refusals import Refusal
from server.settings import ServerSettings
from tests.unit.server.https_server import CLIENT, HttpsServer, https_server
from wire import rpc
from wire.audit import decode_countersignature, decode_receipt_request, encode_countersigned
from wire.delimited import DelimitedReader, delimited
from wire.enrolment import EnrolmentChallenge, decode_begin, encode_challenge
from wire.models import ModelList, encode_list
from wire.rpc import Reason

STREAM = {"content-type": "application/octet-stream"}
RECEIPT = bytes(range(16))
SOON = 5.0
MODELS = encode_list(ModelList("a server", ()))


class Procedures:
    """Of a server that does what a test says."""

    def __init__(self) -> None:
        self.calls: list[tuple[rpc.Method, object]] = []
        self.contexts: list = []
        self.refusal: Refusal | None = None
        self.error: BaseException | None = None
        self.answers: list[bytes] = []
        self.after_answers = False
        self.wait = False
        self.running = threading.Event()
        self.cancelled = threading.Event()

    def mapping(self):
        unary = {
            rpc.LIST_MODELS: MODELS,
            rpc.BEGIN_ENROLMENT: encode_challenge(EnrolmentChallenge(bytes(16), bytes(32))),
            rpc.GET_RECEIPT: b"",
            rpc.COUNTERSIGN: encode_countersigned(),
        }
        return {
            **{
                method: grpc.unary_unary_rpc_method_handler(self.unary(method, answer))
                for method, answer in unary.items()
            },
            rpc.INFER: grpc.stream_stream_rpc_method_handler(self.infer),
        }

    def unary(self, method, answer):
        async def procedure(data, context):
            self.calls.append((method, data))
            await self.act(context)
            return answer

        return procedure

    async def infer(self, messages, context):
        if self.after_answers:
            for answer in self.answers:
                await context.write(answer)
            await self.act(context)
            return
        self.calls.append((rpc.INFER, [message async for message in messages]))
        await self.act(context)
        for answer in self.answers:
            await context.write(answer)

    async def act(self, context):
        self.contexts.append(context)
        if self.wait:
            self.running.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error
        if self.refusal is not None:
            metadata = _metadata(self.refusal, RECEIPT)
            await context.abort(self.refusal.status, str(self.refusal), metadata)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Procedures, HttpsServer]]:
    procedures = Procedures()
    app = gateway_app(procedures.mapping(), lambda: 1.0)
    with https_server(app, tmp_path_factory.mktemp("gateway")) as running:
        yield procedures, running


@pytest.fixture
def procedures(served) -> Procedures:
    """As new: no test sees what another has asked for."""
    served[0].__init__()
    return served[0]


@pytest.fixture
def server(procedures, served) -> HttpsServer:
    return served[1]


def raw(path: str, body: bytes, *headers: str, method: str = "POST", chunked=False) -> bytes:
    """A request whose body may be less than it announces."""
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body) + 1}"
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", length, *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def problem(response) -> dict:
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == response.status_code
    return found


def test_a_refusal_is_a_problem_with_its_reason_receipt_and_advice(procedures, server):
    procedures.refusal = Refusal(Reason.BUSY, "busy now", 1.2)
    with server.client() as client:
        response = client.get("/v1/models")
    assert problem(response) == {
        "title": "Service Unavailable",
        "status": 503,
        "detail": "busy now",
        "reason": "busy",
        "receipt": RECEIPT.hex(),
    }
    assert response.headers["retry-after"] == "2"


def test_who_must_show_a_token_is_told_how(procedures, server):
    procedures.refusal = Refusal(Reason.UNAUTHENTICATED, "no token")
    with server.client() as client:
        response = client.get("/v1/models")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert "retry-after" not in response.headers


def test_a_stream_of_messages_is_handed_over_and_answered(procedures, server):
    sent = [b"head", b"x" * 300, b""]
    procedures.answers = [b"first", b"y" * 70_000]
    with server.client() as client:
        body = b"".join(map(delimited, sent))
        response = client.post("/v1/predictions", content=body, headers=STREAM)
    assert procedures.calls == [(rpc.INFER, sent)]
    assert response.headers["content-type"] == "application/octet-stream"
    reader = DelimitedReader()
    reader.feed(response.content)
    assert [reader.next(), reader.next(), reader.next()] == [*procedures.answers, None]
    reader.finish()


def test_a_refusal_before_the_first_byte_is_a_problem(procedures, server):
    procedures.refusal = Refusal(Reason.MODEL_UNKNOWN, "no such model")
    with server.client() as client:
        response = client.post("/v1/predictions", content=delimited(b"head"), headers=STREAM)
    assert (response.status_code, problem(response)["reason"]) == (404, "model-unknown")


def test_a_refusal_after_it_cuts_the_answer_off(procedures, server):
    """The last chunk, which says that all is there, never comes."""
    procedures.refusal = Refusal(Reason.TOO_SLOW, "too slow")
    procedures.answers, procedures.after_answers = [b"canary"], True
    request = raw("/v1/predictions", b"", "content-type: application/octet-stream", chunked=True)
    with capture_logs() as lines:
        answered = server.exchange(request)
    assert not lines  # a refusal is no failure of the gateway's
    assert answered.startswith(b"HTTP/1.1 200")
    assert b"canary" in answered
    assert not answered.endswith(b"0\r\n\r\n")
    procedures.refusal = None
    whole = server.exchange(request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n0\r\n\r\n"))
    assert whole.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("streamed", [True, False])
def test_what_fails_unforeseen_says_nothing_of_it(procedures, server, streamed):
    procedures.error = RuntimeError("canary of a failure")
    with server.client() as client:
        if streamed:
            response = client.post("/v1/predictions", content=delimited(b"h"), headers=STREAM)
        else:
            response = client.get("/v1/models")
        assert (response.status_code, problem(response)["reason"]) == (500, "internal")
        assert "canary" not in response.text
        procedures.error = None
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("method", [rpc.LIST_MODELS, rpc.INFER])
def test_a_call_ends_when_its_peer_goes(procedures, server, method):
    procedures.wait = True
    with server.connected() as connection:
        if method is rpc.INFER:
            body = b"5\r\n" + delimited(b"head") + b"\r\n0\r\n\r\n"
            kind = "content-type: application/octet-stream"
            connection.sendall(raw("/v1/predictions", body, kind, chunked=True))
        else:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert procedures.running.wait(SOON)
        assert not procedures.cancelled.is_set()
    assert procedures.cancelled.wait(SOON)


def test_a_peer_that_goes_in_the_middle_of_its_body_ends_the_call(procedures, tmp_path):
    gone = threading.Event()

    async def infer(messages, context):
        try:
            async for _ in messages:
                pass
        except asyncio.CancelledError:
            gone.set()
            raise

    mapping = {rpc.INFER: grpc.stream_stream_rpc_method_handler(infer)}
    with (
        https_server(gateway_app(mapping, lambda: 1.0), tmp_path) as server,
        server.connected() as connection,
    ):
        kind = "content-type: application/octet-stream"
        connection.sendall(raw("/v1/predictions", delimited(b"head"), kind))
        connection.close()
        assert gone.wait(SOON)


def test_a_client_may_say_how_long_it_waits(procedures, server):
    procedures.wait = True
    with server.client() as client:
        begun = time.monotonic()
        response = client.get("/v1/models", headers={"prefer": "respond-async, wait=1"})
        assert time.monotonic() - begun < SOON
        assert problem(response)["reason"] == "too-slow"
        assert procedures.cancelled.wait(SOON)
        procedures.wait = False
        client.get("/v1/models", headers={"prefer": 'wait="100"'})
        client.get("/v1/models", headers={"prefer": "await=1, wait=soon"})
    *_, stated, unstated = procedures.contexts
    assert 50 < stated.time_remaining() <= 100
    assert unstated.time_remaining() is None


def test_a_server_that_stops_says_so(procedures, tmp_path):
    procedures.wait = True
    with https_server(gateway_app(procedures.mapping(), lambda: 1.0), tmp_path) as server:
        connection = server.connected()
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert procedures.running.wait(SOON)
    with connection:
        assert procedures.cancelled.is_set()


def test_procedures_see_token_certificate_and_trace_and_no_other_header(procedures, tmp_path):
    app = gateway_app(procedures.mapping(), lambda: 1.0)
    with https_server(app, tmp_path, mutual=True) as server, server.client(CLIENT) as client:
        shown = {"authorization": "Bearer abc", "traceparent": "00-1-2-01"}
        client.get("/v1/models", headers={**shown, "x-other": "1", "blindproof-received": "9"})
    (context,) = procedures.contexts
    assert context.auth_context() == {"x509_common_name": (CLIENT.encode(),)}
    assert dict(context.invocation_metadata()) == shown


def test_documents_become_messages(procedures, server):
    root = bytes(range(32))
    document = {
        "client_id": "a client",
        "server_id": "a server",
        "ring_degree": 8192,
        "moduli": ["1152921504606584833"],
        "keys": 2,
        "root": root.hex(),
    }
    signed = {"client_key": root.hex(), "client_signature": (root + root).hex()}
    with server.client() as client:
        challenge = client.post("/v1/enrolments", json=document)
        path = f"/v1/receipts/{RECEIPT.hex()}/countersignature"
        done = client.put(path, json=signed)
    assert challenge.json() == {"session_id": bytes(16).hex(), "nonce": bytes(32).hex()}
    assert (done.status_code, done.content) == (204, b"")
    (_, begun), (_, countersigned) = procedures.calls
    request, committed = decode_begin(begun)
    assert (request.client_id, request.moduli, request.keys) == (
        "a client",
        (1152921504606584833,),
        2,
    )
    assert committed == root
    message = decode_countersignature(countersigned)
    assert (message.receipt_id, message.client_key) == (RECEIPT, root)
    assert message.client_signature == root + root


def test_parameters_become_messages(procedures, server):
    with server.client() as client:
        client.get(f"/v1/receipts/{RECEIPT.hex()}?old_size=7")
    assert decode_receipt_request(procedures.calls[0][1]) == (RECEIPT, 7)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/models/" + "G" * 64, "digest"),
        ("/v1/models/" + "a" * 63, "digest"),
        ("/v1/receipts/" + "A" * 32, "receipt_id"),
        ("/v1/log/inclusion?index=1", "size"),
        ("/v1/log/inclusion?index=-1&size=2", "index"),
        ("/v1/log/inclusion?index=1.0&size=2", "index"),
        ("/v1/log/inclusion?index=%D9%A1&size=2", "index"),
        (f"/v1/log/inclusion?index=1&size={1 << 63}", "size"),
        ("/v1/log/inclusion?index=1&size=" + "9" * 1000, "size"),
        ("/v1/log/checkpoint?cosigned=maybe", "cosigned"),
    ],
)
def test_malformed_parameters_are_named(procedures, server, path, where):
    with server.client() as client:
        response = client.get(path)
    found = problem(response)
    assert (response.status_code, found["reason"]) == (400, "malformed")
    assert found["detail"].startswith(f"{where}: ")
    assert procedures.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"client_key": "' + b"0" * 64 + b'"}',
        json.dumps({"client_key": "0" * 64, "client_signature": "0" * 128, "more": 1}).encode(),
        json.dumps({"client_key": "0" * 63, "client_signature": "0" * 128}).encode(),
        json.dumps({"client_key": 0, "client_signature": "0" * 128}).encode(),
        b"[" * 60_000,
    ],
)
def test_malformed_documents_are_refused(procedures, server, body):
    with server.client() as client:
        response = client.put(
            f"/v1/receipts/{RECEIPT.hex()}/countersignature",
            content=body,
            headers={"content-type": "application/json; charset=utf-8"},
        )
    assert (response.status_code, problem(response)["reason"]) == (400, "malformed")
    assert procedures.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/octet-stream", "content-encoding": "gzip"},
        {"content-type": "application/json"},
    ],
)
def test_only_what_no_form_can_send_is_a_request(procedures, server, headers):
    with server.client() as client:
        response = client.post("/v1/predictions", content=delimited(b"h"), headers=headers)
        assert response.status_code == 415
        problem(response)
    assert procedures.calls == []


def test_bodies_are_bounded(procedures, server):
    path = f"/v1/receipts/{RECEIPT.hex()}/countersignature"
    with server.client() as client:
        long = client.put(
            path, content=b" " * (MAX_JSON_BYTES + 1), headers={"content-type": "application/json"}
        )
        assert (long.status_code, problem(long)["reason"]) == (413, "malformed")
        assert client.get(f"/v1/models/{'x' * MAX_ADDRESS_BYTES}").status_code == 414
        assert client.get(f"/v1/models?{'x' * MAX_ADDRESS_BYTES}").status_code == 414
    assert procedures.calls == []


def test_the_first_message_is_bounded_more_than_the_others(procedures, tmp_path):
    """It is held before anybody has decided whether the call is admitted."""
    failed = threading.Event()
    infer = procedures.infer

    async def observed(messages, context):
        try:
            await infer(messages, context)
        except ValueError:
            failed.set()
            raise

    mapping = {rpc.INFER: grpc.stream_stream_rpc_method_handler(observed)}
    with (
        https_server(gateway_app(mapping, lambda: 1.0), tmp_path) as other,
        other.client() as client,
    ):
        body = delimited(bytes(MAX_HEADER_BYTES)) + delimited(bytes(2 * MAX_HEADER_BYTES))
        assert client.post("/v1/predictions", content=body, headers=STREAM).status_code == 200
        assert not failed.is_set()
        body = delimited(bytes(MAX_HEADER_BYTES + 1))
        client.post("/v1/predictions", content=body, headers=STREAM)
        assert failed.wait(SOON)


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/keys", rpc.COMPLETE_ENROLMENT), ("/v1/models", rpc.PUBLISH_MODEL)]
)
def test_so_is_that_of_an_upload(tmp_path, path, method):
    lengths = []

    async def upload(messages, context):
        try:
            lengths.extend([len(message) async for message in messages])
        except EncodingError:
            lengths.append(None)
        await context.abort(*aborting)

    refusal = Refusal(Reason.BUSY, "not today")
    aborting = (refusal.status, str(refusal), _metadata(refusal, None))
    mapping = {method: grpc.stream_unary_rpc_method_handler(upload)}
    with (
        https_server(gateway_app(mapping, lambda: 1.0), tmp_path) as other,
        other.client() as client,
    ):
        for size in (MAX_HEADER_BYTES, MAX_HEADER_BYTES + 1):
            body = delimited(bytes(size)) + delimited(bytes(2 * MAX_HEADER_BYTES))
            assert client.post(path, content=body, headers=STREAM).status_code == 503
    assert lengths == [MAX_HEADER_BYTES, 2 * MAX_HEADER_BYTES, None]


def test_a_document_that_does_not_come_is_not_waited_for(server):
    path = f"/v1/receipts/{RECEIPT.hex()}/countersignature"
    begun = time.monotonic()
    with server.connected() as connection:
        connection.sendall(raw(path, b"{", "content-type: application/json", method="PUT"))
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begun < SOON


def test_nothing_is_uploaded_in_vain_with_100_continue(procedures, server):
    head = raw("/v1/predictions", b"", "content-type: text/plain", "expect: 100-continue")
    with server.connected() as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 415 ")
    with server.connected() as connection:
        connection.sendall(head.replace(b"text/plain", b"application/octet-stream"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")


def test_a_refused_client_that_goes_on_sending_reads_the_refusal(procedures, server):
    """A connection that is closed while bytes arrive would be reset, and its answer lost."""
    procedures.refusal = Refusal(Reason.MODEL_UNKNOWN, "no such model")
    procedures.after_answers = True  # it reads nothing
    with server.client() as client:
        response = client.post(
            "/v1/predictions", content=(bytes(1 << 16) for _ in range(100)), headers=STREAM
        )
        assert problem(response)["reason"] == "model-unknown"
        assert client.get("/v1/models").status_code == 404, "over the same connection"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/predictions", 405),
        ("DELETE", "/v1/log", 405),
        ("TRACE", "/v1/models", 405),
        ("HEAD", "/v1/models", 405),
        ("OPTIONS", "/v1/models", 405),
    ],
)
def test_other_addresses_and_methods_are_problems(server, method, path, status):
    with server.client() as client:
        response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert ("allow" in response.headers) == (status == 405)


def test_a_wrong_method_is_told_all_the_right_ones(server):
    with server.client() as client:
        assert client.put("/v1/models").headers["allow"] == "GET, POST"
        assert client.put(f"/v1/models/{'0' * 64}").headers["allow"] == "DELETE, GET"
        assert client.put(OPENAPI_PATH).headers["allow"] == "GET"


def test_every_answer_has_the_headers(procedures, server):
    with server.client() as client:
        responses = [
            client.get("/v1/models"),
            client.get(OPENAPI_PATH),
            client.get("/nowhere"),
            client.post("/v1/predictions", content=delimited(b"h"), headers=STREAM),
        ]
    for response in responses:
        assert all(response.headers[name] == value for name, value in HEADERS.items())
        assert "server" not in response.headers
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_no_version_is_spoken_in_which_half_an_answer_looks_whole(procedures, server, version):
    procedures.answers = [b"canary"]
    request = raw(
        "/v1/predictions", delimited(b"head"), "content-type: application/octet-stream"
    ).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    answered = server.exchange(request + b"\0")
    assert answered.split(b" ")[1] == b"505"
    assert b"canary" not in answered
    assert not procedures.calls


def test_a_failure_is_logged_without_what_the_peer_said(procedures, server):
    procedures.error = RuntimeError("canary of a failure")
    with capture_logs() as lines, server.client() as client:
        client.get(f"/v1/receipts/{RECEIPT.hex()}", params={"old_size": 7})
    assert lines == [
        {
            "event": "gateway failed",
            "route": "/v1/receipts/{receipt_id}",
            "error": "RuntimeError",
            "log_level": "error",
        }
    ]


@pytest.mark.asyncio
async def test_the_gateway_has_the_limits_of_the_moment(monkeypatch):
    given = []

    @asynccontextmanager
    async def serving_https(_app, _address, _tls, limits):
        given.append(limits)
        yield "https://localhost:1/"

    module = import_module("server.gateway.serving")  # its package has a function of this name
    monkeypatch.setattr(module, "serving_https", serving_https)
    present = ServerSettings(
        tls_certificate="c", tls_key="k", models="m", state="s", request_seconds=7, idle_seconds=2
    )
    address = "localhost:1"
    async with serving(address, lambda: present, Mock(), {}) as url:
        assert url == "https://localhost:1/"
        assert given[0]().request_seconds == 9
        present = present.model_copy(
            update={"request_seconds": 70, "header_seconds": 3.0, "shutdown_seconds": 4.0}
        )
        assert given[0]() == Limits(256, 3.0, 72, 4.0)


def test_lines_that_are_no_http_end_the_connection(server):
    for junk in (b"\x00" * 100, b"GET\r\n\r\n"):
        assert server.exchange(junk).split(b" ")[1:2] in ([b"400"], [])
