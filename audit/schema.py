"""The tables of a log and of what is kept beside it.

Rows are inserted and never changed, but for the one of the head; for checkpoints, which gain
signatures; and for objects, which a retention rule may remove.  Columns say position where the rest
says index, which SQL has for itself.

What the columns of an entry say beside its bytes is there to be searched by, and is not evidence:
who reads a row compares (`audit.entry`).  Older schemas are brought to this one by
`audit.migrations`; a change here needs a revision there.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
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

SCHEMA_VERSION = 2
MAX_CODE = 32
"""Characters of the codes of receipts: purposes, actions, outcomes, kinds of objects."""

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
    Column("time_ns", _POSITION, nullable=False),
    Column("actor", String(MAX_TOKEN), nullable=False),
    Column("purpose", String(MAX_CODE), nullable=False),
    Column("subject", LargeBinary(32), nullable=True),
    Column("action", String(MAX_CODE), nullable=False),
    Column("outcome", String(MAX_CODE), nullable=False),
    Column("reason", String(MAX_TOKEN), nullable=True),
    Column("model", LargeBinary(32), nullable=True),
    # One receipt for one request, however often it is repeated; NULLs are all different.
    UniqueConstraint("idempotency_digest", "tenant"),
    Index("audit_entries_by_time", "time_ns", "position"),
    Index("audit_entries_by_actor", "actor", "position"),
    Index("audit_entries_by_subject", "subject", "position"),
    Index("audit_entries_by_outcome", "outcome", "position"),
    Index("audit_entries_by_model", "model", "position"),
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

countersignatures = Table(
    "audit_countersignatures",
    metadata,
    Column("receipt_id", LargeBinary(16), primary_key=True, autoincrement=False),
    Column("public", LargeBinary(32), nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
)
"""What clients have signed once they had verified an answer."""

objects = Table(
    "audit_objects",
    metadata,
    Column("kind", String(MAX_CODE), primary_key=True, autoincrement=False),
    Column("name", LargeBinary(32), primary_key=True, autoincrement=False),
    Column("tenant", String(MAX_TOKEN), nullable=False),
    Column("address", LargeBinary(32), nullable=False),
    Column("size", _POSITION, nullable=False),
    Column("stored_ns", _POSITION, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("removed_ns", _POSITION, nullable=True),
    Index("audit_objects_by_address", "address"),
    Index("audit_objects_by_time", "kind", "stored_ns"),
)
"""What the archive holds; a row that a retention rule has emptied says when."""
