"""The whole log, computed again from the bytes of its entries.

Finds whatever was edited, removed, added or moved inside the database.  A history rewritten
consistently, down to the last node, is found by comparing with a checkpoint from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from audit.checkpoint import Checkpoint, verify_checkpoint
from audit.database import translated_errors
from audit.entry import require_filed
from audit.errors import (
    LogStateError,
    NoteError,
    ReceiptError,
    SignatureError,
)
from audit.head import Head, require_extends
from audit.log import READ_ROWS
from audit.merkle import compact_range, leaf_hash
from audit.schema import (
    SCHEMA_VERSION,
    checkpoints,
    countersignatures,
    entries,
    heads,
    nodes,
)
from audit.signed_note import NoteKey
from audit.signed_receipt import ReceiptSignature, SignedReceipt
from audit.sql_nodes import SqlNodes
from audit.sqlite_check import require_plain_tables
from audit.tree import Node, Tree


def check_log(
    engine: Engine,
    key: NoteKey,
    *,
    server_key: bytes | None = None,
    kept: Sequence[bytes] = (),
    progress: Callable[[int], None] | None = None,
) -> Head:
    """Read every row, recompute the tree, and compare it with checkpoints and countersignatures.

    Args:
        engine: from `audit.database.open_engine`.
        key: the log's key for checkpoints, whose name is the log's origin.
        server_key: if given, the key that must have signed every receipt.
        kept: checkpoints of the log that were kept elsewhere.
        progress: told how many entries are done.

    Returns:
        The head, which is now known to be that of the entries.

    Raises:
        NoteError, SignatureError: something kept elsewhere is no checkpoint of this log.
        LogStateError: with the first thing that is wrong.
        LogUnavailableError: the database cannot be read.
    """
    expected = [verify_checkpoint(data, key)[0] for data in kept]
    with translated_errors(), engine.begin() as connection:
        rows = connection.execute(select(heads)).all()
        row = rows[0] if len(rows) == 1 else None
        if row is None or row.origin != key.name:
            raise LogStateError(f"the database holds no log of '{key.name}'")
        if row.schema_version != SCHEMA_VERSION:
            raise LogStateError(
                f"schema {row.schema_version}, this checks {SCHEMA_VERSION}: open the log first"
            )
        require_plain_tables(connection)
        head = Head(row.size, row.root)
        tree = _rebuilt(connection, head.size, server_key, progress)
        if tree.root() != head.root:
            raise LogStateError(f"the entries do not lead to the log's head {head.root.hex()}")
        stored = Tree(SqlNodes(connection), head.size)
        for checkpoint in (*expected, *_stored_checkpoints(connection, key)):
            require_extends(stored, Head(checkpoint.size, checkpoint.root))
        _check_countersignatures(connection)
    return head


class _ComparedNodes:
    """Takes the nodes which the entries lead to, and compares them with those that are stored."""

    def __init__(self, connection: Connection) -> None:
        self._stored = SqlNodes(connection)
        self._edge: dict[Node, bytes] = {}

    def read(self, wanted: Sequence[Node]) -> Mapping[Node, bytes]:
        return {node: self._edge[node] for node in wanted}

    def write(self, added: Mapping[Node, bytes]) -> None:
        stored = self._stored.read(list(added))
        for node, found in added.items():
            if stored[node] != found:
                raise LogStateError(f"node {node[1]} of level {node[0]} is not that of the entries")
        self._edge.update(added)

    def forget_inside(self, size: int) -> None:
        """Keep what the next entries are joined to, and nothing else."""
        self._edge = {node: self._edge[node] for node in compact_range(0, size)}


def _rebuilt(
    connection: Connection,
    size: int,
    server_key: bytes | None,
    progress: Callable[[int], None] | None,
) -> Tree:
    """The tree of the entries, every row of which was compared."""
    for table, wanted in ((entries, size), (nodes, size - size.bit_count())):
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
        if count != wanted:
            raise LogStateError(f"{table.name} has {count} rows, a log of {size} has {wanted}")
    store = _ComparedNodes(connection)
    tree = Tree(store)
    while tree.size < size:
        start, end = tree.size, min(tree.size + READ_ROWS, size)
        chosen = select(entries).where(entries.c.position >= start, entries.c.position < end)
        rows = connection.execute(chosen.order_by(entries.c.position)).all()
        if [row.position for row in rows] != list(range(start, end)):
            raise LogStateError(f"entries between {start} and {end} are missing")
        leaves = []
        for row in rows:
            _require_same(row.position, row.data, server_key, row)
            leaves.append(leaf_hash(row.data))
        tree.append(leaves)
        store.forget_inside(tree.size)
        if progress is not None:
            progress(tree.size)
    return tree


def _require_same(
    index: int, data: bytes, server_key: bytes | None, row: Row[*tuple[Any, ...]]
) -> None:
    """An entry must parse, be signed, and be what the columns beside it say."""
    try:
        signed = SignedReceipt.from_entry(data)
        if server_key is not None:
            signed.verify_server(server_key)
    except (ReceiptError, SignatureError) as error:
        raise LogStateError(f"entry {index} is not a receipt of this server: {error}") from error
    require_filed(index, signed.receipt, row)


def _stored_checkpoints(connection: Connection, key: NoteKey) -> list[Checkpoint]:
    found = []
    for row in connection.execute(select(checkpoints).order_by(checkpoints.c.size)):
        try:
            checkpoint, _ = verify_checkpoint(row.note, key)
        except (NoteError, SignatureError) as error:
            raise LogStateError(f"the kept checkpoint of {row.size} entries: {error}") from error
        if checkpoint.size != row.size:
            raise LogStateError(f"the kept checkpoint of {row.size} is of {checkpoint.size}")
        found.append(checkpoint)
    return found


def _check_countersignatures(connection: Connection) -> None:
    """What clients have signed must be a receipt of the log each, and signed."""
    beside = countersignatures.c.receipt_id == entries.c.receipt_id
    chosen = select(countersignatures, entries.c.data).outerjoin(entries, beside)
    with connection.execute(chosen.execution_options(yield_per=READ_ROWS)) as rows:
        for row in rows:
            _require_countersigned(row)


def _require_countersigned(row: Row[*tuple[Any, ...]]) -> None:
    name = row.receipt_id.hex()
    if row.data is None:
        raise LogStateError(f"a countersignature is of receipt {name}, which is not there")
    try:
        signature = ReceiptSignature(row.public, row.signature)
        signed = replace(SignedReceipt.from_entry(row.data), client=signature)
        signed.verify_client(signature.public)
    except (ReceiptError, SignatureError) as error:
        raise LogStateError(f"the countersignature of receipt {name}: {error}") from error
