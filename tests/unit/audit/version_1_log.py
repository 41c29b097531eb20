"""Databases of schema 1, from the dump of one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

DUMP = Path(__file__).parents[2] / "vectors" / "audit" / "schema_1.sql"
TABLES = ("audit_head", "audit_entries", "audit_nodes", "audit_checkpoints")
POSTGRESQL = (
    """CREATE TABLE audit_head (
        id SMALLINT NOT NULL, schema_version SMALLINT NOT NULL, origin VARCHAR(255) NOT NULL,
        size BIGINT NOT NULL, root BYTEA NOT NULL, PRIMARY KEY (id))""",
    """CREATE TABLE audit_entries (
        position BIGINT NOT NULL, leaf BYTEA NOT NULL, data BYTEA NOT NULL,
        receipt_id BYTEA NOT NULL, tenant VARCHAR(128) NOT NULL, idempotency_digest BYTEA,
        PRIMARY KEY (position), UNIQUE (idempotency_digest, tenant), UNIQUE (receipt_id))""",
    "CREATE TABLE audit_nodes (number BIGINT NOT NULL, hash BYTEA NOT NULL, PRIMARY KEY (number))",
    """CREATE TABLE audit_checkpoints (
        size BIGINT NOT NULL, note BYTEA NOT NULL, PRIMARY KEY (size))""",
)


def make_version_1(url):
    """Write the dumped log to a new database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        connection = sqlite3.connect(parsed.database)
        connection.executescript(DUMP.read_text())
        connection.close()
        return
    source = sqlite3.connect(":memory:")
    source.executescript(DUMP.read_text())
    engine = create_engine(parsed.set(drivername="postgresql+psycopg"))
    with engine.begin() as target:
        for statement in POSTGRESQL:
            target.execute(text(statement))
        for table in TABLES:
            found = source.execute(f"SELECT * FROM {table}")  # noqa: S608 - names from above
            names = [column[0] for column in found.description]
            values = ", ".join(f":{name}" for name in names)
            insert = text(f"INSERT INTO {table} VALUES ({values})")  # noqa: S608
            target.execute(insert, [dict(zip(names, row, strict=True)) for row in found])
    engine.dispose()
    source.close()
