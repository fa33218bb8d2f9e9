"""Insert or update, and insert or nothing, in each database's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

_insert: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def upsert(
    connection: Connection,
    table: Table,
    *,
    key: Sequence[str],
    replace: Sequence[str],
    returning: Column[Any] | None = None,
) -> Executable:
    """Inserts the rows that it is executed with, or gives the row of that key their values of the columns in
    `replace`. It may be `returning` a column of each."""
    return _upserting(connection.dialect.name, table, tuple(key), tuple(replace), returning)


@cache  # to write one anew takes as long as to run it
def _upserting(
    dialect: str, table: Table, key: tuple[str, ...], replace: tuple[str, ...], returning: Column[Any] | None
) -> Executable:
    statement = _insert[dialect](table)
    changed = {name: statement.excluded[name] for name in replace if name not in key}
    upserted = statement.on_conflict_do_update(index_elements=list(key), set_=changed)
    answering: Executable = upserted if returning is None else upserted.returning(returning)
    return answering


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
