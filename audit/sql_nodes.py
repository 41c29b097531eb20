"""Nodes of the tree as rows: a `NodeStore` for the time of one transaction.

A perfect subtree is numbered by its place in an in-order walk: leaf i has number 2i, and a node the
number between its two subtrees.  Nodes that are used together are neighbours on the disk, and one
integer finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, insert, select

from audit.errors import LogStateError
from audit.schema import entries, nodes
from audit.tree import Node

_LEAVES = select(entries.c.position, entries.c.leaf).where(
    entries.c.position.in_(bindparam("wanted", expanding=True))
)
_INNER = select(nodes).where(nodes.c.number.in_(bindparam("wanted", expanding=True)))


class SqlNodes:
    """Reads leaves and inner nodes; writes inner ones only: leaves come with their entries.

    What was read once is not read again: the transaction sees the same, for nodes never change.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: dict[Node, bytes] = {}

    def read(self, wanted: Sequence[Node]) -> Mapping[Node, bytes]:
        """The hashes of nodes that were written.

        Raises:
            LogStateError: one is not there.
        """
        found, missing = self._found, [node for node in wanted if node not in self._found]
        leaves = [index for level, index in missing if level == 0]
        if leaves:
            rows = self._connection.execute(_LEAVES, {"wanted": leaves})
            found |= {(0, row[0]): row[1] for row in rows}
        inner = {in_order(node): node for node in missing if node[0] > 0}
        if inner:
            rows = self._connection.execute(_INNER, {"wanted": list(inner)})
            found |= {inner[row.number]: row.hash for row in rows}
        for node in wanted:
            if node not in found:
                raise LogStateError(f"the log has lost node {node[1]} of level {node[0]}")
        return found

    def write(self, added: Mapping[Node, bytes]) -> None:
        """Keep the hashes of inner nodes."""
        rows = [
            {"number": in_order(node), "hash": found} for node, found in added.items() if node[0]
        ]
        if rows:
            self._connection.execute(insert(nodes), rows)


def in_order(node: Node) -> int:
    """The number of a subtree in the in-order walk."""
    level, index = node
    return (index << (level + 1)) + (1 << level) - 1
