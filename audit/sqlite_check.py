"""What SQLite lets stand in a file, and would otherwise be taken for what a log wrote.

A column of SQLite takes values of any type, whatever its declaration says, and a file may hold
triggers, which change what is written, and views, which are read like tables.  Neither comes from a
log.  PostgreSQL keeps to its types by itself.
"""

from __future__ import annotations

from sqlalchemy import Connection, Table, column, func, or_, select, table

from audit.errors import LogStateError
from audit.schema import metadata

_TYPES = {bytes: "blob", str: "text", int: "integer", bool: "integer"}
_SCHEMA = table("sqlite_master", column("type"), column("name"), column("tbl_name"))


def require_plain_tables(connection: Connection) -> None:
    """Refuse a file whose tables are not what they are read as; any other database passes.

    Raises:
        LogStateError: naming the trigger or view, or the column with a value of another type.
    """
    if connection.dialect.name != "sqlite":
        return
    _refuse_planted(connection)
    for one in metadata.sorted_tables:
        _require_types(connection, one)


def _refuse_planted(connection: Connection) -> None:
    names = list(metadata.tables)
    planted = select(_SCHEMA.c.type, _SCHEMA.c.name).where(
        or_(
            (_SCHEMA.c.type == "trigger") & func.lower(_SCHEMA.c.tbl_name).in_(names),
            (_SCHEMA.c.type == "view") & func.lower(_SCHEMA.c.name).in_(names),
        )
    )
    found = connection.execute(planted).first()
    if found is not None:
        raise LogStateError(f"the database has a {found.type} that no log makes: {found.name}")


def _require_types(connection: Connection, checked: Table) -> None:
    others = [
        func.max(func.typeof(each).not_in(_allowed(each.type.python_type, each.nullable)))
        for each in checked.c
    ]
    for each, found in zip(checked.c, connection.execute(select(*others)).one(), strict=True):
        if found:
            raise LogStateError(f"{checked.name} has a {each.name} that is of another type")


def _allowed(kind: type, nullable: bool | None) -> list[str]:
    return [_TYPES[kind], "null"] if nullable else [_TYPES[kind]]
