"""The tables of a log.

Rows are inserted and never changed, but for the one of the head, and for checkpoints, which gain
signatures.  Columns say position where the rest says index, which SQL has for itself.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)

from audit.signed_note import MAX_NAME
from protocol.accountability import MAX_TOKEN

SCHEMA_VERSION = 1

# SQLite keeps a table in the order of an INTEGER key, and of no other integer type.
_POSITION = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

heads = Table(
    "audit_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("schema_version", SmallInteger, nullable=False),
    Column("origin", String(MAX_NAME), nullable=False),
    Column("size", _POSITION, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
)

entries = Table(
    "audit_entries",
    metadata,
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary(32), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("receipt_id", LargeBinary(16), nullable=False, unique=True),
    Column("tenant", String(MAX_TOKEN), nullable=False),
    Column("idempotency_digest", LargeBinary(32), nullable=True),
    # One receipt for one request, however often it is repeated; NULLs are all different.
    UniqueConstraint("idempotency_digest", "tenant"),
)

nodes = Table(
    "audit_nodes",
    metadata,
    Column("number", _POSITION, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)
"""Perfect subtrees from level 1, see `audit.sql_nodes`; level 0 are the leaves of `entries`."""

checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", _POSITION, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
)
