"""How fast the audit log is: ``python -m benchmarks.audit_log [--entries N] [--directory PATH]``.

Durable appends to SQLite for several sizes of a batch; the same through the recorder, which makes
batches of what many callers bring one by one, without and with the objects that receipts of answers
name; then a log of N generated entries and the times of proofs in it.  A generated entry is a whole
receipt with a signature; the signature of one receipt is put on all of them, because signing is not
what is measured there.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median

from rich.console import Console
from rich.table import Table

from audit.archive import Archive, KeptObject, ObjectKind
from audit.database import open_engine
from audit.keys import SigningKey
from audit.log import MAX_BATCH, AuditLog
from audit.log_check import check_log
from audit.merkle import verify_consistency, verify_inclusion
from audit.object_store import FileStore
from audit.receipt import Action, Digests, Outcome, Purpose, Receipt, TimeSource
from audit.recorder import Recorder
from audit.sealing import SealingKeys
from audit.signed_note import NoteKey
from audit.signed_receipt import SignedReceipt, sign_receipt

ORIGIN = "log.example/benchmark"
BATCHES = (1, 8, 32, 128, 512)
CALLERS = (1, 8, 32, 128)
OBJECT_BYTES = (131_072, 73_728)
"""Of a request and of its answer: a single record of a small public model."""
SECONDS = 3.0
KINDS = (ObjectKind.REQUEST, ObjectKind.RESPONSE)
PROOFS = 1000


def receipts(key: SigningKey) -> Iterator[SignedReceipt]:
    """Receipts of answered requests, without end."""
    first = Receipt(
        receipt_id=bytes(16),
        time_ns=time.time_ns(),
        time_source=TimeSource.SYSTEM,
        tenant="clinic",
        actor="ward-7",
        purpose=Purpose.TREATMENT,
        subject=secrets.token_bytes(32),
        action=Action.PREDICT,
        outcome=Outcome.ANSWERED,
        reason=None,
        digests=Digests(*(secrets.token_bytes(32) for _ in range(7))),
        software_version="0.1.0",
        soundness_bits=128.0,
        error_bound=0.001,
        request_id=bytes(16),
    )
    server = sign_receipt(first, key).server
    while True:
        receipt = replace(
            first,
            receipt_id=secrets.token_bytes(16),
            request_id=secrets.token_bytes(16),
            idempotency_digest=secrets.token_bytes(32),
        )
        yield SignedReceipt(receipt, server)


def append_rate(directory: Path, size: int, key: SigningKey) -> float:
    """Durable appends a second in batches of a size; making receipts is not counted."""
    log = AuditLog.open(open_engine(f"sqlite:///{directory}/batch-{size}.db"), ORIGIN)
    source = receipts(key)
    done, spent = 0, 0.0
    while spent < SECONDS:
        batch = [next(source) for _ in range(size)]
        start = time.perf_counter()
        log.append(batch)
        spent += time.perf_counter() - start
        done += size
    return done / spent


def recorded_rate(
    directory: Path,
    callers: int,
    key: SigningKey,
    *,
    object_bytes: tuple[int, ...] = (),
    seconds: float = SECONDS,
) -> float:
    """Receipts a second of callers that each wait until theirs is durable, as calls do.

    Args:
        directory: for the database and the archive.
        callers: threads.
        key: of the receipts.
        object_bytes: size of each object that is archived before its receipt is recorded.
        seconds: how long.
    """
    name = f"{callers}-callers-{len(object_bytes)}-objects"
    engine = open_engine(f"sqlite:///{directory}/{name}.db")
    log = AuditLog.open(engine, ORIGIN)
    archive = Archive(engine, FileStore(directory / name), SealingKeys(directory / "sealing"))
    recorder = Recorder(log, archive)
    stop = time.perf_counter() + seconds

    def kept(receipt_id: bytes) -> list[KeptObject]:
        return [
            archive.keep(kind, receipt_id, secrets.token_bytes(size), tenant="clinic")
            for kind, size in zip(KINDS, object_bytes, strict=False)
        ]

    def call(mine: Iterator[SignedReceipt]) -> int:
        done = 0
        while time.perf_counter() < stop:
            signed = next(mine)
            objects = kept(signed.receipt.receipt_id) if object_bytes else []
            recorder.record(signed, objects).result()
            done += 1
        return done

    sources = [receipts(key) for _ in range(callers)]
    start = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        done = sum(pool.map(call, sources))
    spent = time.perf_counter() - start
    recorder.close()
    if log.head().size != done:
        raise RuntimeError(f"{done} receipts were acknowledged, the log has {log.head().size}")
    engine.dispose()
    return done / spent


def filled_log(path: Path, size: int, key: SigningKey) -> AuditLog:
    """A log of so many generated entries."""
    log = AuditLog.open(open_engine(f"sqlite:///{path}"), ORIGIN)
    source = receipts(key)
    for at in range(0, size, MAX_BATCH):
        log.append([next(source) for _ in range(min(MAX_BATCH, size - at))])
    return log


def median_ms(work: Callable[[], object], calls: int = PROOFS) -> float:
    """Median of the time of one call, in milliseconds."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)


def proof_times(log: AuditLog, size: int) -> dict[str, float]:
    """Median milliseconds of making and verifying proofs at random places."""
    random = Random(1)
    head = log.head()

    def verify() -> None:
        index = random.randrange(size)
        proof = log.inclusion_proof(index)
        leaf = log.entry(index).receipt().leaf
        verify_inclusion(head.root, size, index, leaf, proof.hashes)

    old = log.inclusion_proof(0, size // 3).head
    joined = log.consistency_proof(old.size, size)
    return {
        "inclusion proof": median_ms(lambda: log.inclusion_proof(random.randrange(size))),
        "entry, inclusion proof, verified": median_ms(verify),
        "consistency proof": median_ms(
            lambda: log.consistency_proof(random.randrange(1, size), size)
        ),
        "consistency proof verified": median_ms(
            lambda: verify_consistency(old.size, old.root, size, head.root, joined)
        ),
    }


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--entries", type=int, default=1_000_000)
    arguments.add_argument("--directory", type=Path, default=None)
    chosen = arguments.parse_args()
    console = Console()
    key = SigningKey.generate()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as name:
        directory = Path(name)
        rates = Table("receipts in a batch", "durable appends a second", title="SQLite")
        for size in BATCHES:
            rates.add_row(str(size), f"{append_rate(directory, size, key):,.0f}")
        console.print(rates)
        recorded = Table(
            "callers at once",
            "receipts alone",
            f"with {len(OBJECT_BYTES)} objects, {sum(OBJECT_BYTES) / 1e3:.0f} kB",
            title="Recorder, durable receipts a second",
        )
        for callers in CALLERS:
            alone = recorded_rate(directory, callers, key)
            whole = recorded_rate(directory, callers, key, object_bytes=OBJECT_BYTES)
            recorded.add_row(str(callers), f"{alone:,.0f}", f"{whole:,.0f}")
        console.print(recorded)
        path = directory / "large.db"
        start = time.perf_counter()
        log = filled_log(path, chosen.entries, key)
        spent = time.perf_counter() - start
        megabytes = path.stat().st_size / 1e6
        console.print(f"{chosen.entries:,} entries in {spent:.0f} s, {megabytes:,.0f} MB")
        start = time.perf_counter()
        check_log(open_engine(f"sqlite:///{path}"), NoteKey(ORIGIN, key.public))
        console.print(
            f"checked from the first byte to the root in {time.perf_counter() - start:.0f} s"
        )
        times = Table("", "median ms", title=f"{chosen.entries:,} entries")
        for what, milliseconds in proof_times(log, chosen.entries).items():
            times.add_row(what, f"{milliseconds:.2f}")
        console.print(times)


if __name__ == "__main__":
    main()
