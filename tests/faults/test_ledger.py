"""The reckoning that other tests rest on refuses whatever a faulty server could have left."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from audit.archive import ObjectKind
from audit.errors import ObjectDamagedError, ObjectMissingError
from audit.receipt import Outcome
from server.main import running
from tests.faults.asking import Exchange, ask, channel
from tests.faults.disk_faults import copied_database, database
from tests.faults.ledger import Ledger, opened
from tests.faults.stage import PRIVATE, PUBLIC, Stage


@dataclass
class Aftermath:
    """What is left of a server: its state, its database of before, and what it answered."""

    state: Path
    earlier: Path
    exchanges: list[Exchange]

    def put_back_the_earlier_database(self) -> None:
        for path in database(self.state):
            path.unlink(missing_ok=True)
        shutil.copy(self.earlier, self.state / "audit.db")

    def object_of_last(self, kind: ObjectKind) -> Path:
        """The file of an object of the last answer."""
        with opened(self.state) as trail:
            receipt = [entry.receipt().receipt for entry in trail.log.entries()][-1]
            assert receipt.outcome is Outcome.ANSWERED
            kept = trail.archive.find(kind, receipt.receipt_id)
        assert kept is not None
        name = kept.address.hex()
        return self.state / "archive" / name[:2] / name


@pytest.fixture
def aftermath(stage: Stage, tmp_path: Path) -> Aftermath:
    settings = stage.copy(tmp_path / "state")
    earlier = copied_database(settings.state, tmp_path / "earlier.db")
    random = Random(20260110)

    async def scenario() -> list[Exchange]:
        async with running(settings) as address:
            connection = channel(address, stage.ca.read_bytes())
            questions = [stage.prepared[name].question(random) for name in (PUBLIC, PRIVATE)]
            exchanges = [await ask(connection, question) for question in questions]
            await connection.close()
            return exchanges

    return Aftermath(settings.state, earlier, asyncio.run(scenario()))


def test_an_honest_server_is_believed(aftermath: Aftermath):
    ledger = Ledger(aftermath.state)
    assert ledger.settle(aftermath.exchanges) == []
    assert ledger.counted["acknowledged"] == ledger.counted["released"] == 2


def test_a_log_that_became_shorter_is_noticed(aftermath: Aftermath):
    ledger = Ledger(aftermath.state)
    ledger.settle(aftermath.exchanges)
    aftermath.put_back_the_earlier_database()
    with pytest.raises(AssertionError, match="are gone"):
        ledger.settle([])


def test_an_answer_without_a_receipt_in_the_log_is_noticed(aftermath: Aftermath):
    aftermath.put_back_the_earlier_database()
    with pytest.raises(AssertionError, match="released without its receipt"):
        Ledger(aftermath.state).settle(aftermath.exchanges)


def test_the_first_message_of_an_answer_is_enough_to_notice(aftermath: Aftermath):
    aftermath.put_back_the_earlier_database()
    whole = aftermath.exchanges[0]
    begun = Exchange(whole.question, messages=whole.messages[:1])
    assert begun.receipt is None
    with pytest.raises(AssertionError, match="released without its receipt"):
        Ledger(aftermath.state).settle([begun])


def test_a_receipt_of_another_request_is_noticed(aftermath: Aftermath):
    first, _ = aftermath.exchanges
    other = replace(
        first.question,
        request=replace(first.question.request, client_id="somebody-else"),
    )
    with pytest.raises(AssertionError):
        Ledger(aftermath.state).settle([replace(first, question=other)])


@pytest.mark.parametrize("kind", [ObjectKind.REQUEST, ObjectKind.RESPONSE])
def test_a_missing_or_damaged_object_is_noticed(aftermath: Aftermath, kind: ObjectKind):
    path = aftermath.object_of_last(kind)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ObjectDamagedError):
        Ledger(aftermath.state).settle(aftermath.exchanges)
    path.unlink()
    with pytest.raises(ObjectMissingError):
        Ledger(aftermath.state).settle(aftermath.exchanges)


def test_an_answer_that_is_not_the_archived_one_is_noticed(aftermath: Aftermath):
    first, second = aftermath.exchanges
    swapped = [first.messages[0], *second.messages[1:2], *first.messages[2:]]
    with pytest.raises(AssertionError):
        Ledger(aftermath.state).settle([replace(first, messages=swapped)])
