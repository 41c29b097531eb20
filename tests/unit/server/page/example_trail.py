"""A trail on the disk, and the page that shows it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import httpx

from audit.archive import Archive
from audit.cosignature import WitnessPolicy
from audit.database import open_engine
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.object_store import open_store
from audit.receipt import Digests, Outcome, Purpose
from audit.sealing import SealingKeys
from audit.signed_receipt import SignedReceipt, sign_receipt
from blindproof.authority import Authority
from server.page import TrailReader, serving
from server.tls import ServerTls, TlsFiles
from tests.unit.audit.example_receipts import ORIGIN, RECEIPT

KEY = SigningKey.from_secret(b"p" * 32)
MODELS = tuple(sha256(name).digest() for name in (b"sepsis", b"diabetes"))
TENANTS = ("clinic-north", "clinic-south")
SECOND = 1_000_000_000
START_NS = 1_767_225_600 * SECOND
"""2026-01-01, midnight UTC; one receipt a minute from then."""


@dataclass
class Trail:
    """A trail whose receipts the tests know."""

    home: Path
    log: AuditLog
    archive: Archive

    def reader(self, policy: WitnessPolicy | None = None) -> TrailReader:
        return TrailReader(self.log, self.archive, KEY, policy)

    def receipts(self) -> list[SignedReceipt]:
        return [entry.receipt() for entry in self.log.entries()]


def make_trail(home: Path) -> Trail:
    """An empty trail in a new directory."""
    home.mkdir(parents=True, exist_ok=True)
    engine = open_engine(f"sqlite:///{home.absolute() / 'audit.db'}")
    log = AuditLog.open(engine, ORIGIN)
    store = open_store(str(home / "archive"))
    return Trail(home, log, Archive(engine, store, SealingKeys(home / "sealing")))


def receipt(number: int) -> SignedReceipt:
    """A receipt that is like no other number's; every fifth request was refused."""
    name = sha256(f"receipt {number}".encode()).digest()
    made = replace(
        RECEIPT,
        receipt_id=name[:16],
        request_id=name[16:],
        idempotency_digest=name,
        time_ns=START_NS + number * 60 * SECOND + 123_456_789,
        tenant=TENANTS[number % 2],
        actor=f"ward-{number % 7}/station-2",
        purpose=Purpose.TREATMENT,
        digests=Digests(
            MODELS[number % 2],
            *(sha256(name + bytes([index])).digest() for index in range(5)),
        ),
    )
    if number % 5 == 4:
        made = replace(
            made,
            outcome=Outcome.DENIED,
            reason="request-refused",
            digests=Digests(),
            soundness_bits=None,
            error_bound=None,
            subject=None,
        )
    return sign_receipt(made, KEY)


@dataclass
class ServedPage:
    """The page, served in a thread."""

    url: str
    token: str
    ca: Path

    def client(self, **given: object) -> httpx.Client:
        """A client without token."""
        context = ssl.create_default_context(cafile=self.ca)
        return httpx.Client(base_url=self.url, verify=context, **given)  # type: ignore[arg-type]

    def authorised(self) -> httpx.Client:
        """A client that sends the token each time."""
        return self.client(headers={"Authorization": f"Bearer {self.token}"})


@contextmanager
def served(reader: TrailReader, home: Path) -> Iterator[ServedPage]:
    """Serve the page over TLS with a fresh certificate."""
    home.mkdir(parents=True, exist_ok=True)
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    token = home / "page.token"
    started: list[str] = []
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        tls = ServerTls(TlsFiles(certificate, key))
        async with serving("localhost:0", tls.context(), token, reader) as url:
            started.append(url)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run, name="page")
    thread.start()
    try:
        assert ready.wait(30)
        yield ServedPage(started[0], token.read_text().strip(), ca)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
