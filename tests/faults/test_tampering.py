"""The database of a real server, changed behind its back, against a checkpoint that a client has.

Who changes it owns the machine: receipts are signed again with the server's own key where that
helps, and histories are rewritten down to the last node.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from audit.database import open_engine
from audit.errors import AuditError, LogStateError
from audit.log import AuditLog
from audit.log_check import check_log
from audit.signed_receipt import SignedReceipt, sign_receipt
from client_sdk import KeyStore, Phase
from server.settings import ServerSettings
from tests.faults.asking import asked
from tests.faults.disk_faults import copied_database, database, replaced
from tests.faults.forked import Forks, ServerRefusedError
from tests.faults.ledger import checked, opened
from tests.faults.stage import PASSPHRASE, PUBLIC, Stage
from tests.integration.example_models import records
from wire.rpc import Reason

EARLIER, LATER = 7, 9
"""Questions before and after the copy of the database that is put back."""
EDITED = 4


@dataclass(frozen=True)
class History:
    """A server's state at rest, and what was kept elsewhere.

    Attributes:
        database: a copy of its whole database, and of an earlier one.
        checkpoint: of its last receipt.
        keys: of a client that saw the last receipt.
    """

    state: Path
    database: Path
    earlier: Path
    checkpoint: Path
    keys: Path


@pytest.fixture(scope="module")
def history(stage: Stage, servers: Forks, tmp_path_factory: pytest.TempPathFactory) -> History:
    home = tmp_path_factory.mktemp("history")
    random = Random(20260108)
    settings = stage.copy(home / "state")
    keys = Path(shutil.copytree(stage.keys_directory, home / "keys"))

    def ask(count: int) -> bytes:
        server = servers.start(settings)
        questions = [stage.prepared[PUBLIC].question(random) for _ in range(count)]
        exchanges = asked(server.address, stage.ca.read_bytes(), questions)
        with stage.client(server.address, keys=KeyStore(keys, passphrase=PASSPHRASE)) as client:
            client.predict(records(1))
        server.signal(signal.SIGTERM)
        assert server.gone() == 0
        last = exchanges[-1].receipt
        assert last is not None
        return last.checkpoint

    ask(EARLIER)
    earlier = copied_database(settings.state, home / "earlier.db")
    (home / "checkpoint").write_bytes(ask(LATER))
    whole = copied_database(settings.state, home / "whole.db")
    return History(settings.state, whole, earlier, home / "checkpoint", keys)


@pytest.fixture
def settings(stage: Stage, history: History, tmp_path: Path) -> ServerSettings:
    """A server with a copy of the history."""
    shutil.copytree(history.state, tmp_path / "state")
    return stage.settings.model_copy(update={"state": tmp_path / "state"})


Signed = list[SignedReceipt]


def edited(signed: Signed, sign: Callable[[SignedReceipt], SignedReceipt]) -> Signed:
    one = signed[EDITED]
    other = replace(one, receipt=replace(one.receipt, actor="somebody-else"))
    return [*signed[:EDITED], sign(other), *signed[EDITED + 1 :]]


def removed(signed: Signed, _sign: object) -> Signed:
    return signed[:EDITED] + signed[EDITED + 1 :]


def reordered(signed: Signed, _sign: object) -> Signed:
    return [*signed[:EDITED], signed[EDITED + 1], signed[EDITED], *signed[EDITED + 2 :]]


def truncated(signed: Signed, _sign: object) -> Signed:
    return signed[:-2]


def forked(signed: Signed, sign: Callable[[SignedReceipt], SignedReceipt]) -> Signed:
    """As long as the log was, and longer, with another end."""
    other = [
        sign(
            replace(
                one,
                receipt=replace(
                    one.receipt,
                    receipt_id=secrets.token_bytes(16),
                    idempotency_digest=secrets.token_bytes(32),
                ),
            )
        )
        for one in signed[-4:] * 2
    ]
    return signed[:-4] + other


def emptied(_signed: Signed, _sign: object) -> Signed:
    return []


REWRITES = [edited, removed, reordered, truncated, forked, emptied]


def rewritten(history: History, rewrite: Callable[..., Signed], target: Path) -> Path:
    """A database that is whole from inside, of other receipts."""
    with opened(history.state) as trail:
        signed = [entry.receipt() for entry in trail.log.entries()]
        engine = open_engine(f"sqlite:///{target}")
        fake = AuditLog.open(engine, trail.log.origin)
        fake.append(rewrite(signed, lambda one: sign_receipt(one.receipt, trail.key)))
        assert (
            check_log(engine, trail.log_key, server_key=trail.key.public).size == fake.head().size
        )
        engine.dispose()
    with sqlite3.connect(target) as connection:
        # What the receipts name is still there: nothing but the history is other than it was.
        connection.execute("ATTACH DATABASE ? AS whole", (str(history.database),))
        connection.execute("INSERT INTO audit_objects SELECT * FROM whole.audit_objects")
    connection.close()
    return target


@pytest.fixture(params=[*REWRITES, "restored"], ids=lambda p: getattr(p, "__name__", p))
def other(request: pytest.FixtureRequest, history: History, tmp_path: Path) -> Path:
    """Another database for the same server."""
    if request.param == "restored":
        return history.earlier
    return rewritten(history, request.param, tmp_path / "other.db")


def put(other: Path, state: Path) -> None:
    for path in database(state):
        path.unlink(missing_ok=True)
    shutil.copy(other, state / "audit.db")


@pytest.fixture
def pinned(settings: ServerSettings, history: History) -> ServerSettings:
    return settings.model_copy(update={"audit_checkpoint": history.checkpoint})


@pytest.fixture
def seen(history: History, tmp_path: Path) -> KeyStore:
    """Of a client that saw the end of the history."""
    keys = shutil.copytree(history.keys, tmp_path / "keys")
    return KeyStore(Path(keys), passphrase=PASSPHRASE)


@pytest.mark.accepts("C-94")
@pytest.mark.accepts("C-98")
def test_the_log_as_it_was_is_accepted_everywhere(
    stage: Stage, servers: Forks, history: History, pinned: ServerSettings, seen: KeyStore
):
    with opened(pinned.state) as trail:
        kept = (history.checkpoint.read_bytes(),)
        assert check_log(trail.engine, trail.log_key, kept=kept) == trail.log.head()
    with (
        servers.running(pinned) as server,
        stage.client(server.address, keys=seen) as client,
    ):
        assert client.predict(records(1)).receipt.index > EARLIER + LATER


@pytest.mark.rejects("C-98")
def test_a_server_with_a_checkpoint_does_not_start_on_another_history(
    servers: Forks, pinned: ServerSettings, other: Path
):
    put(other, pinned.state)
    with pytest.raises(ServerRefusedError, match=r"ServerError: .*(had|another history)"):
        servers.start(pinned)


@pytest.mark.rejects("C-98")
def test_a_running_server_refuses_another_history(
    stage: Stage, servers: Forks, settings: ServerSettings, other: Path
):
    random = Random(1)
    with servers.running(settings) as server:
        question = stage.prepared[PUBLIC].question(random)
        authority = stage.ca.read_bytes()
        with replaced(settings.state, other):
            (refused,) = asked(server.address, authority, [question])
        assert (refused.messages, refused.reason) == ([], Reason.AUDIT_UNAVAILABLE)
        (answered,) = asked(server.address, authority, [question])
        assert answered.receipt is not None


@pytest.mark.rejects("C-98")
def test_the_check_of_the_log_refuses_another_history(
    settings: ServerSettings, history: History, other: Path
):
    put(other, settings.state)
    with opened(settings.state) as trail:
        checked(trail)  # from inside, nothing is wrong
        with pytest.raises(LogStateError, match=r"had|another history"):
            check_log(trail.engine, trail.log_key, kept=(history.checkpoint.read_bytes(),))


@pytest.mark.rejects("C-94")
def test_a_client_that_saw_more_refuses_another_history(
    stage: Stage, servers: Forks, settings: ServerSettings, seen: KeyStore, other: Path
):
    put(other, settings.state)
    phases: list[Phase] = []
    with (
        servers.running(settings) as server,  # without a checkpoint
        stage.client(server.address, keys=seen, observer=phases.append) as client,
        pytest.raises(AuditError),
    ):
        client.predict(records(1))
    assert Phase.DECRYPT not in phases


INSIDE = {
    "edited": ("UPDATE audit_entries SET data = zeroblob(200) WHERE position = ?", EDITED),
    "filed under another actor": (
        "UPDATE audit_entries SET actor = 'somebody-else' WHERE position = ?",
        EDITED,
    ),
    "leaf": ("UPDATE audit_entries SET leaf = zeroblob(32) WHERE position = ?", EDITED),
    "node": ("UPDATE audit_nodes SET hash = zeroblob(32) WHERE number = ?", 1),
    "removed": ("DELETE FROM audit_entries WHERE position = ?", EDITED),
    "node removed": ("DELETE FROM audit_nodes WHERE number = ?", 1),
}


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize("change", INSIDE.values(), ids=INSIDE)
def test_what_is_changed_inside_is_found_by_the_check_without_a_checkpoint(
    settings: ServerSettings, change: tuple[str, int]
):
    statement, value = change
    with sqlite3.connect(settings.state / "audit.db") as connection:
        assert connection.execute(statement, (value,)).rowcount == 1
    connection.close()
    with opened(settings.state) as trail, pytest.raises(LogStateError):
        checked(trail)
