"""Malformed requests at every route of the gateway."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from urllib.parse import quote

from tests.fuzz import malformed
from tests.fuzz.outcomes import Tally
from tests.fuzz.target import ACCOUNT, ATTACKED, SPARE, Target
from wire import rpc
from wire.delimited import delimited
from wire.rpc import MAX_MESSAGE_BYTES

CONCURRENT = 24
SECONDS = 60.0
STREAM = "application/octet-stream"
JSON = "application/json"
PROBLEM = "application/problem+json"
STATUSES = frozenset({*range(200, 206), *range(400, 432), 503, 507})
"""A status of 503 and 507 has a reason, which is looked at too."""


@dataclass(frozen=True)
class Route:
    """One route as an honest client uses it.

    Attributes:
        method, path: of the route; with `{}` for the parameter.
        parameter: an honest one.
        query: name and value of each.
        document: that an honest client sends, or None.
        stream: whose messages the body has, or None.
    """

    method: str
    path: str
    parameter: str = ""
    query: tuple[tuple[str, str], ...] = ()
    document: dict[str, object] | None = None
    stream: rpc.Method | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Sent:
    """A request as it travels, and whether its peer may hang up without an answer."""

    method: str
    address: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    framed: bool = True

    def encoded(self) -> bytes:
        lines = [f"{self.method} {self.address} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + self.body


def routes_of(target: Target) -> list[Route]:
    """All of them, as a test compares with what the gateway says it has."""
    digest = target.models["private"].digest.hex()
    receipt = target.receipt_id.hex()
    enrolment = {
        "client_id": "attacker",
        "server_id": target.settings.server_id,
        "ring_degree": target.models["private"].card.ring_degree,
        "moduli": [str(prime) for prime in target.models["private"].card.key_moduli],
        "keys": 1,
        "root": "00" * 32,
    }
    signed = {"client_key": "00" * 32, "client_signature": "00" * 64}
    return [
        Route("GET", "/v1/models"),
        Route("GET", "/v1/models/{}", digest),
        Route("POST", "/v1/models", stream=rpc.PUBLISH_MODEL),
        Route("DELETE", "/v1/models/{}", target.models[SPARE].digest.hex()),
        Route("POST", "/v1/enrolments", document=enrolment),
        Route("POST", "/v1/keys", stream=rpc.COMPLETE_ENROLMENT),
        Route("POST", "/v1/predictions", stream=rpc.INFER),
        Route("GET", "/v1/log"),
        Route("GET", "/v1/log/checkpoint", query=(("min_size", "1"), ("old_size", "1"))),
        Route("GET", "/v1/log/entries", query=(("start", "0"), ("limit", "2"))),
        Route("GET", "/v1/log/inclusion", query=(("index", "0"), ("size", "2"))),
        Route("GET", "/v1/log/consistency", query=(("old_size", "1"), ("new_size", "2"))),
        Route("GET", "/v1/receipts/{}", receipt, query=(("old_size", "1"),)),
        Route("PUT", "/v1/receipts/{}/countersignature", receipt, document=signed),
    ]


class RouteFuzz:
    """Requests to one route."""

    def __init__(self, target: Target, route: Route, seed: int) -> None:
        self._target = target
        self._route = route
        self._random = Random(f"{seed} {route.name}")
        self.tally = Tally(route.name)

    async def run(self, count: int) -> Tally:
        """So many malformed requests, over several connections at once."""
        left = iter(range(count))
        await asyncio.gather(*(self._requests(left) for _ in range(CONCURRENT)))
        return self.tally

    async def _requests(self, left: Iterator[int]) -> None:
        connection = Connection(self._target)
        for _ in left:
            sent = self._malformed(self._valid())
            answer = await connection.exchange(sent)
            self._judge(sent, answer)
        connection.close()

    def _judge(self, sent: Sent, answer: Answer | None) -> None:
        if answer is None:
            self.tally.add("hung up", None, allowed=not sent.framed, sent=sent.encoded())
            return
        reason = None
        allowed = answer.status in STATUSES
        if answer.status >= 400:
            if answer.kind == PROBLEM and sent.method != "HEAD":
                problem = json.loads(answer.body)
                reason = problem.get("reason")
                allowed &= problem["status"] == answer.status
            elif answer.kind == PROBLEM:
                allowed &= not answer.body
            else:  # the connection's own answer to what is no HTTP
                allowed &= answer.status == 400 and not sent.framed
        self.tally.add(str(answer.status), reason, allowed=allowed, sent=sent.encoded())

    def _valid(self) -> Sent:
        route = self._route
        address = route.path.format(route.parameter)
        if route.query:
            address += "?" + "&".join(f"{name}={value}" for name, value in route.query)
        body, kind = b"", None
        if route.document is not None:
            body, kind = json.dumps(route.document).encode(), JSON
        if route.stream is not None:
            body, kind = b"".join(map(delimited, self._messages())), STREAM
        headers = [("host", "localhost")]
        if kind is not None:
            headers += [("content-type", kind), ("content-length", str(len(body)))]
        return Sent(route.method, address, tuple(headers), body)

    def _messages(self) -> list[bytes]:
        if self._route.stream is rpc.INFER:
            prepared = self._target.prepared[self._random.choice(ATTACKED)]
            question = prepared.question(self._random, ACCOUNT)
            return [question.header, *question.body]
        return self._target.valid[self._route.stream]

    def _malformed(self, sent: Sent) -> Sent:
        actions = [
            self._other_address,
            self._other_headers,
            self._other_headers,
            self._other_method,
            self._unframed,
        ]
        if self._route.parameter or self._route.query:
            actions += [self._other_address] * 4
        if self._route.document is not None:
            actions += [self._other_document] * 6
        if self._route.stream is not None:
            actions += [self._other_messages] * 6
        return self._random.choice(actions)(sent)

    def _other_address(self, sent: Sent) -> Sent:
        random, route = self._random, self._route
        values = [
            lambda: quote(random.randbytes(random.randrange(40))),
            lambda: str(random.randrange(-(1 << 70), 1 << 70)),
            lambda: random.choice(("..", ".", "%00", "%2e%2e%2f", "null", "1e3", "0x1", "", "٣")),
            lambda: "9" * random.choice((20, 300, 3000)),
            lambda: random.randbytes(random.choice((16, 32))).hex(),
            lambda: random.randbytes(32).hex().upper(),
        ]

        def value() -> str:
            return quote(random.choice(values)(), safe="%/.")

        address = route.path.format(value() if random.random() < 0.7 else route.parameter)
        names = [name for name, _ in route.query] or ["x"]
        query = [f"{random.choice(names)}={value()}" for _ in range(random.randrange(4))]
        return replace(sent, address=address + ("?" + "&".join(query) if query else ""))

    def _other_headers(self, sent: Sent) -> Sent:
        random = self._random
        text = "".join(chr(random.randrange(33, 127)) for _ in range(random.randrange(60)))
        found = random.choice(
            (
                ("authorization", f"Bearer {text}"),
                ("authorization", text),
                ("content-type", text or "x"),
                ("content-encoding", random.choice(("gzip", "br", text or "x"))),
                ("accept", text),
                ("prefer", random.choice(("wait=0", "wait=9999999999", "wait=-1", text))),
                ("traceparent", text),
                ("tracestate", text),
                ("cookie", text),
                ("host", text or "x"),
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("x-forwarded-for", text),
                ("x-" + text.encode().hex()[:40], text),
            )
        )
        kept = [one for one in sent.headers if one[0] != found[0]]
        return replace(sent, headers=(*kept, found))

    def _other_method(self, sent: Sent) -> Sent:
        # Not DELETE, which would be understood: an honest client asks for the model afterwards.
        methods = ("GET", "POST", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW")
        return replace(sent, method=self._random.choice(methods))

    def _other_document(self, sent: Sent) -> Sent:
        random, document = self._random, dict(self._route.document or {})
        values: tuple[object, ...] = (
            None,
            True,
            -1,
            1 << 40,
            1e300,
            "",
            "x" * 5000,
            "\ud800",
            [],
            {},
            ["1"] * 1000,
            random.randbytes(32).hex(),
            "9" * 400,
        )
        name = random.choice(sorted(document))
        actions: list[Callable[[], bytes]] = [
            lambda: json.dumps({**document, name: random.choice(values)}).encode(),
            lambda: json.dumps({**document, "more": random.choice(values)}).encode(),
            lambda: json.dumps({k: v for k, v in document.items() if k != name}).encode(),
            lambda: malformed.altered(sent.body, random),
            lambda: malformed.junk(random),
            lambda: b"[" * random.choice((10, 1000, 60_000)),
            lambda: b'{"a":' * random.choice((10, 1000, 12_000)),
            lambda: b" " * random.choice((0, 60_000, 70_000)),
            lambda: b"1" * 10_000,
        ]
        return with_body(sent, random.choice(actions)())

    def _other_messages(self, sent: Sent) -> Sent:
        random = self._random
        messages = malformed.stream(self._messages(), random)
        body = b"".join(framed(message) for message in messages)
        actions: list[Callable[[], bytes]] = [
            lambda: body,
            lambda: body,
            lambda: body,
            lambda: malformed.altered(body, random),
            lambda: body[: random.randrange(len(body) + 1)],
            lambda: random.randbytes(random.randrange(2000)),
            lambda: b"\xff" * random.randrange(20),
            lambda: bytes(random.randrange(1000)),
        ]
        return with_body(sent, random.choice(actions)())

    def _unframed(self, sent: Sent) -> Sent:
        """What is no request of HTTP/1.1, or not a whole one."""
        random = self._random
        length = ("content-length", str(len(sent.body) + random.randrange(1, 100)))
        chunked = ("transfer-encoding", random.choice(("chunked", "gzip, chunked", "x")))
        changed = random.choice(
            (
                replace(
                    sent, headers=(*sent.headers, ("x", "y" * random.choice((20_000, 90_000))))
                ),
                replace(sent, headers=()),
                replace(sent, headers=(*sent.headers, length)),
                replace(sent, headers=(("host", "localhost"), chunked), body=random.randbytes(50)),
                replace(sent, headers=(("host", "localhost"), chunked), body=b"ffffffffff\r\n"),
                replace(sent, headers=(*sent.headers, ("bad name", "x"))),
                replace(sent, headers=(*sent.headers, ("content-length", "-1"))),
                replace(sent, address=random.randbytes(20).decode("latin-1")),
                replace(sent, address="x" * random.choice((2100, 70_000))),
                replace(sent, method=random.randbytes(8).decode("latin-1")),
                replace(sent, headers=(("host", "localhost"), length), body=b""),
            )
        )
        return replace(changed, framed=False)


def with_body(sent: Sent, body: bytes) -> Sent:
    headers = [one for one in sent.headers if one[0] != "content-length"]
    return replace(sent, headers=(*headers, ("content-length", str(len(body)))), body=body)


def framed(message: bytes) -> bytes:
    """Behind its length, which no honest client sends of a message that is too long."""
    if len(message) > MAX_MESSAGE_BYTES:
        return b"\x91\x80\x80\x02" + message
    return delimited(message)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    kind: str
    body: bytes


class Connection:
    """Requests one after the other over a connection, which is made again when it has ended."""

    def __init__(self, target: Target) -> None:
        self._host, _, port = target.gateway.rpartition(":")
        self._port = int(port)
        self._context = ssl.create_default_context(cafile=target.ca)
        self._context.load_cert_chain(*target.certificate)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None

    async def exchange(self, sent: Sent) -> Answer | None:
        """The answer, None if the peer hung up; over a new connection if the old one had ended."""
        for _ in range(2):
            fresh = self._streams is None
            answer = await self._attempt(sent)
            if answer is not None or fresh:
                return answer
        return None

    async def _attempt(self, sent: Sent) -> Answer | None:
        try:
            async with asyncio.timeout(SECONDS):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(
                        self._host, self._port, ssl=self._context
                    )
                reader, writer = self._streams
                writer.write(sent.encoded())
                answer, reusable = await read_answer(reader, sent.method)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return None
        # Behind what is no whole request nothing else is understood.
        if not reusable or not sent.framed:
            self.close()
        return answer


async def read_answer(reader: asyncio.StreamReader, method: str) -> tuple[Answer, bool]:
    """One answer, and whether another request may follow.

    Raises:
        asyncio.IncompleteReadError: it ended before.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    status = int(first.split(" ", 2)[1])
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in headers and method != "HEAD":
        body = await reader.readexactly(int(headers["content-length"]))
    elif status not in {204, 304} and method != "HEAD":
        body = await reader.read()  # to the end of the connection
    kind = headers.get("content-type", "")
    return Answer(status, kind, body), headers.get("connection") != "close"
