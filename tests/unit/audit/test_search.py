"""Searching, and what it refuses to show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import event, update

import audit.search
from audit.database import writing
from audit.errors import LogStateError
from audit.log_check import check_log
from audit.merkle import leaf_hash
from audit.receipt import Action, Digests, Outcome, Purpose
from audit.schema import entries
from audit.search import Query, search
from audit.signed_receipt import sign_receipt
from tests.unit.audit.example_receipts import LOG_KEY, SERVER, numbered

MODEL = bytes([7]) * 32
SUBJECT = bytes([9]) * 32
CHANGES = [
    {},
    {"tenant": "other"},
    {"actor": "ward-8"},
    {"purpose": Purpose.RESEARCH},
    {"subject": SUBJECT},
    {"action": Action.ENROL_KEY},
    {"outcome": Outcome.DENIED, "reason": "too-large"},
    {"outcome": Outcome.FAILED, "reason": "internal"},
    {"digests": Digests(model=MODEL)},
    {"subject": None, "digests": Digests()},
]


@pytest.fixture
def found(log):
    """The indices which a query finds in a log of ten entries, one each second."""
    signed = [
        sign_receipt(replace(numbered(at).receipt, time_ns=at * 10**9, **change), SERVER)
        for at, change in enumerate(CHANGES)
    ]
    log.append(signed)

    def find(**query):
        entries = list(search(log, Query(**query)))
        assert [entry.receipt() for entry in entries] == [signed[one.index] for one in entries]
        return [entry.index for entry in entries]

    return find


EVERYTHING = list(range(10))


@pytest.mark.parametrize(
    ("query", "indices"),
    [
        ({}, EVERYTHING),
        ({"tenant": "other"}, [1]),
        ({"tenant": "clinic"}, [0, *range(2, 10)]),
        ({"actor": "ward-8"}, [2]),
        ({"purpose": Purpose.RESEARCH}, [3]),
        ({"subject": SUBJECT}, [4]),
        ({"action": Action.ENROL_KEY}, [5]),
        ({"outcome": Outcome.DENIED}, [6]),
        ({"reason": "internal"}, [7]),
        ({"model": MODEL}, [8]),
        ({"since_ns": 3 * 10**9, "until_ns": 6 * 10**9}, [3, 4, 5]),
        ({"start": 2, "stop": 4}, [2, 3]),
        ({"limit": 3}, [0, 1, 2]),
        ({"limit": 0}, []),
        ({"newest_first": True}, EVERYTHING[::-1]),
        ({"newest_first": True, "limit": 2, "stop": 8}, [7, 6]),
        ({"outcome": Outcome.DENIED, "reason": "internal"}, []),
        ({"tenant": "nobody"}, []),
    ],
)
def test_what_is_asked_for_is_found(found, query, indices):
    assert found(**query) == indices


@pytest.mark.parametrize("rows", [1, 3, 5, 10])
def test_a_search_goes_on_where_a_page_ended(found, monkeypatch, rows):
    monkeypatch.setattr(audit.search, "READ_ROWS", rows)
    assert found() == EVERYTHING
    assert found(newest_first=True) == EVERYTHING[::-1]
    assert found(limit=7) == EVERYTHING[:7]
    assert found(newest_first=True, start=2, limit=6) == [9, 8, 7, 6, 5, 4]


COLUMNS = {
    "tenant": "clinic-2",
    "actor": "ward-9",
    "purpose": "TREAT-2",
    "subject": bytes(32),
    "action": "read-model",
    "outcome": "failed",
    "reason": "none",
    "model": bytes([5]) * 32,
    "time_ns": 1,
    "receipt_id": bytes(16),
    "idempotency_digest": bytes(32),
}


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_is_filed_wrongly_is_not_shown(found, engine, column):
    with writing(engine).begin() as connection:
        at = entries.c.position == 4
        connection.execute(update(entries).where(at).values({column: COLUMNS[column]}))
    with pytest.raises(LogStateError, match=f"entry 4 is filed under another {column}"):
        found()
    with pytest.raises(LogStateError, match=f"filed under another {column}"):
        check_log(engine, LOG_KEY)


@pytest.mark.rejects("C-98")
def test_an_altered_entry_is_not_shown(found, engine):
    with writing(engine).begin() as connection:
        at = entries.c.position == 4
        connection.execute(update(entries).where(at).values(data=numbered(90).entry()))
    with pytest.raises(LogStateError, match="not what was recorded"):
        found(subject=SUBJECT)
    with writing(engine).begin() as connection:
        connection.execute(update(entries).where(at).values(data=b"", leaf=leaf_hash(b"")))
    with pytest.raises(LogStateError, match="holds no receipt"):
        found(subject=SUBJECT)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # the other one reads few rows
@pytest.mark.parametrize(
    "query",
    [
        {"actor": "ward-8"},
        {"subject": SUBJECT},
        {"outcome": Outcome.DENIED},
        {"model": MODEL},
        {"since_ns": 9 * 10**9},
    ],
    ids=lambda query: next(iter(query)),
)
def test_what_is_searched_by_has_an_index(log, engine, query):
    log.append([numbered(number) for number in range(20)])
    seen = []
    event.listen(engine, "before_cursor_execute", lambda *call: seen.append(call[2:4]))
    list(search(log, Query(**query)))
    statement, parameters = next(call for call in seen if call[0].startswith("SELECT"))
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "audit_entries_by_" in plan[0].detail
