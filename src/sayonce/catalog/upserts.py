"""Insert or update, and insert or nothing, in each database's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

_insert: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def upsert(
    connection: Connection, table: Table, row: Mapping[str, object], *, key: Sequence[str], replace: Sequence[str]
) -> Executable:
    """Inserts `row`, or gives the row of that key the new values of the columns in `replace`."""
    statement = _insert[connection.dialect.name](table).values(**row)
    changed = {name: statement.excluded[name] for name in replace if name not in key}
    upserted: Executable = statement.on_conflict_do_update(index_elements=list(key), set_=changed)
    return upserted


def put(connection: Connection, table: Table, *, key: Sequence[str], replace: Sequence[str]) -> Executable:
    """As `upsert`, of the rows that it is executed with."""
    statement = _insert[connection.dialect.name](table)
    changed = {name: statement.excluded[name] for name in replace}
    upserted: Executable = statement.on_conflict_do_update(index_elements=list(key), set_=changed)
    return upserted


def insert_or_alter(
    connection: Connection,
    table: Table,
    row: Mapping[str, object],
    *,
    key: Sequence[str],
    alter: Mapping[str, object],
    where: ColumnElement[bool],
) -> Any:
    """Inserts `row`, or alters the row of that key, whose columns `alter` and `where` may speak of; it returns no row
    where that one is not as `where` demands. `returning` is to be asked."""
    statement = _insert[connection.dialect.name](table).values(**row)
    return statement.on_conflict_do_update(index_elements=list(key), set_=dict(alter), where=where)


def accumulate(connection: Connection, table: Table, *, key: Sequence[str], add: Sequence[str]) -> Executable:
    """Inserts the rows that it is executed with, or adds their columns in `add` to those of the row of that key."""
    statement = _insert[connection.dialect.name](table)
    sums = {name: table.c[name] + statement.excluded[name] for name in add}
    accumulated: Executable = statement.on_conflict_do_update(index_elements=list(key), set_=sums)
    return accumulated


def insert_or_nothing(connection: Connection, table: Table, row: Mapping[str, object]) -> Executable:
    """Inserts `row` unless a row of its unique keys is there already."""
    statement: Executable = _insert[connection.dialect.name](table).values(**row).on_conflict_do_nothing()
    return statement
