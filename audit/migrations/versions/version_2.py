"""Version 2: entries can be searched, objects and countersignatures are kept.

The columns of an entry are filled from its bytes.  An entry whose bytes are not those of its leaf
stops the migration: the log is damaged, and remains as it is.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

from audit.errors import LogStateError
from protocol.encoding import Value, decode
from protocol.errors import EncodingError

revision = "2"
down_revision = "1"

_ROWS = 1 << 10
_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("time_ns", _INTEGER),
        sa.Column("actor", sa.String(128)),
        sa.Column("purpose", sa.String(32)),
        sa.Column("subject", sa.LargeBinary(32)),
        sa.Column("action", sa.String(32)),
        sa.Column("outcome", sa.String(32)),
        sa.Column("reason", sa.String(128)),
        sa.Column("model", sa.LargeBinary(32)),
    )


_REQUIRED = ("time_ns", "actor", "purpose", "action", "outcome")
_entries = sa.Table(
    "audit_entries",
    sa.MetaData(),
    sa.Column("position", _INTEGER, primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.LargeBinary(32), nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("receipt_id", sa.LargeBinary(16), nullable=False, unique=True),
    sa.Column("tenant", sa.String(128), nullable=False),
    sa.Column("idempotency_digest", sa.LargeBinary(32), nullable=True),
    *_columns(),
    sa.UniqueConstraint("idempotency_digest", "tenant"),
)


def upgrade() -> None:
    """From version 1."""
    for column in _columns():
        op.add_column("audit_entries", column)
    _fill(op.get_bind())
    # SQLite changes no column in place: alembic copies the table.
    with op.batch_alter_table("audit_entries", copy_from=_entries) as batch:
        for name in _REQUIRED:
            batch.alter_column(name, nullable=False)
    op.create_index("audit_entries_by_time", "audit_entries", ["time_ns", "position"])
    for name in ("actor", "subject", "outcome", "model"):
        op.create_index(f"audit_entries_by_{name}", "audit_entries", [name, "position"])
    op.create_table(
        "audit_countersignatures",
        sa.Column("receipt_id", sa.LargeBinary(16), primary_key=True, autoincrement=False),
        sa.Column("public", sa.LargeBinary(32), nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
    )
    op.create_table(
        "audit_objects",
        sa.Column("kind", sa.String(32), primary_key=True, autoincrement=False),
        sa.Column("name", sa.LargeBinary(32), primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("address", sa.LargeBinary(32), nullable=False),
        sa.Column("size", _INTEGER, nullable=False),
        sa.Column("stored_ns", _INTEGER, nullable=False),
        sa.Column("sealed", sa.Boolean, nullable=False),
        sa.Column("removed_ns", _INTEGER, nullable=True),
    )
    op.create_index("audit_objects_by_address", "audit_objects", ["address"])
    op.create_index("audit_objects_by_time", "audit_objects", ["kind", "stored_ns"])
    op.execute(sa.text("UPDATE audit_head SET schema_version = 2"))


def _fill(connection: sa.Connection) -> None:
    position = _entries.c.position
    values: dict[str, Any] = {column.name: sa.bindparam(column.name) for column in _columns()}
    filled = sa.update(_entries).where(position == sa.bindparam("at")).values(values)
    last = -1
    while True:
        chosen = sa.select(position, _entries.c.leaf, _entries.c.data).where(position > last)
        rows = connection.execute(chosen.order_by(position).limit(_ROWS)).all()
        if not rows:
            return
        connection.execute(filled, [{"at": row.position, **_searchable(row)} for row in rows])
        last = rows[-1].position


def _searchable(row: sa.Row[*tuple[Any, ...]]) -> dict[str, Value]:
    """What the bytes of an entry say in the new columns."""
    if hashlib.sha256(b"\0" + row.data).digest() != row.leaf:
        raise LogStateError(f"entry {row.position} is not what was recorded")
    try:
        _, receipt, _, _ = _parts(decode(row.data))
        if not isinstance(receipt, bytes):
            raise EncodingError("the receipt is not bytes")
        # After the outcome: its reason, the digests, the model's first, and five more values.
        _, _, time_ns, _, _, actor, purpose, subject, action, outcome, reason, digests, *_ = _parts(
            decode(receipt)
        )
        model, *_ = _parts(digests)
    except (EncodingError, ValueError) as error:
        raise LogStateError(f"entry {row.position} holds no receipt") from error
    return {
        "time_ns": time_ns,
        "actor": actor,
        "purpose": purpose,
        "subject": subject,
        "action": action,
        "outcome": outcome,
        "reason": reason,
        "model": model,
    }


def _parts(value: Value) -> tuple[Value, ...]:
    if not isinstance(value, tuple):
        raise EncodingError("not a tuple")
    return value
