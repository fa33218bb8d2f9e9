"""A table of a database that SQLAlchemy reaches, with the audio in it, or at an address or a path that it tells."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Select,
    Table,
    create_engine,
    func,
    literal,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError, NoSuchTableError, SQLAlchemyError

from sayonce.batch.pieces import SAID, WHERE
from sayonce.batch.sources.contract import Piece, Source, too_large
from sayonce.errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # which the extra has that has its drivers

T = TypeVar("T")
Fetch = Callable[[str], Awaitable[bytes]]

# Rows that are asked for at a time, and the bytes of their audio that are.
_PAGE, _PAGE_BYTES = 200, 16_000_000


class SqlTable(Source):
    """The rows of `table` at `url`, in the order of its primary key. `columns` says which column is what; `fetchers`
    get what lies elsewhere, by what tells where. Nothing is larger than `most` bytes."""

    def __init__(
        self, url: str, table: str, columns: Mapping[str, str], fetchers: Mapping[str, Fetch], most: int
    ) -> None:
        self._link = _Link(url)
        self._name = table
        self._columns = columns
        self._fetchers = fetchers
        self._most = most
        self._refuse_unknown()

    async def count(self) -> int | None:
        table = await self._table()
        return int(
            await self._link.run(lambda link: link.execute(select(func.count()).select_from(table)).scalar_one())
        )

    async def pieces(self) -> AsyncIterator[Piece]:
        table = await self._table()
        after: Sequence[Any] | None = None
        while rows := await self._rows(self._page(table, after)):
            for group in _groups(rows):
                data = await self._data(table, group)
                for row in group:
                    yield self._piece(table, row, data)
            after = tuple(rows[-1][: len(table.primary_key.columns)])

    async def aclose(self) -> None:
        await self._link.aclose()

    def _refuse_unknown(self) -> None:
        unknown = self._columns.keys() - SAID - WHERE
        where = self._columns.keys() & WHERE
        if unknown or len(where) != 1 or not where <= {"data", *self._fetchers}:
            raise InvalidRequest(
                f"There is nothing called '{min(unknown)}'." if unknown else "It is not said where the audio is.",
                param="column",
                remedy="Write --column data=COLUMN for bytes in it, url=COLUMN or path=COLUMN for what is elsewhere.",
            )

    async def _table(self) -> Table:
        schema, _, name = self._name.rpartition(".")
        try:
            table = await self._link.run(
                lambda link: Table(name, MetaData(), schema=schema or None, autoload_with=link, resolve_fks=False)
            )
        except NoSuchTableError as error:
            raise InvalidRequest(f"There is no table '{self._name}'.", param="table") from error
        missing = [column for column in self._columns.values() if column not in table.columns]
        if missing:
            raise InvalidRequest(
                f"The table '{self._name}' has no column '{missing[0]}'.",
                param="column",
                remedy=f"It has: {', '.join(table.columns.keys())}.",
            )
        if not table.primary_key.columns:
            raise InvalidRequest(
                f"The table '{self._name}' has no primary key to read it by.",
                param="table",
                remedy="Add one, or import from a view's copy that has one.",
            )
        return table

    def _page(self, table: Table, after: Sequence[Any] | None) -> Select[Any]:
        key = list(table.primary_key.columns)
        said = [table.columns[theirs] for ours, theirs in self._columns.items() if ours != "data"]
        size = func.length(table.columns[self._columns["data"]]) if "data" in self._columns else func.length("")
        page = select(*(column.label(f"key{n}") for n, column in enumerate(key)), size.label("size"))
        page = page.add_columns(*(column.label(f"said{n}") for n, column in enumerate(said)))
        if after is not None:
            page = page.where(_behind(key, after))
        return page.order_by(*key).limit(_PAGE)

    async def _data(self, table: Table, group: Sequence[Any]) -> Mapping[tuple[Any, ...], object]:
        """The bytes of these rows, of which none is too large, by their keys."""
        if "data" not in self._columns:
            return {}
        key = list(table.primary_key.columns)
        wanted = [tuple(row[: len(key)]) for row in group if (row.size or 0) <= self._most]
        these = key[0].in_([each[0] for each in wanted]) if len(key) == 1 else tuple_(*key).in_(wanted)
        asked = select(*key, table.columns[self._columns["data"]]).where(these)
        return {tuple(row[:-1]): row[-1] for row in await self._rows(asked)}

    async def _rows(self, asked: Select[Any]) -> Sequence[Any]:
        return await self._link.run(lambda link: link.execute(asked).all())

    def _piece(self, table: Table, row: Any, data: Mapping[tuple[Any, ...], object]) -> Piece:
        names = [column.name for column in table.primary_key.columns]
        key = tuple(row[: len(names)])
        ours = [name for name in self._columns if name != "data"]
        fields = dict(zip(ours, row[len(names) + 1 :], strict=True))
        place = ", ".join(f"{name} {value}" for name, value in zip(names, key, strict=True))
        size = row.size or 0

        async def read() -> bytes:
            if "data" not in self._columns:
                [where] = self._columns.keys() & WHERE
                return await self._elsewhere(where, fields.get(where))
            if size > self._most:
                raise too_large(size, self._most)
            return _bytes(data.get(key))

        return Piece(place, fields, read)

    async def _elsewhere(self, where: str, name: object) -> bytes:
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"its {where} is empty", param=where)
        return await self._fetchers[where](name)


class _Link:
    """One way to a database, in a thread where its driver blocks."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="import-table")
        self._engine = _engine(url)

    async def run(self, question: Callable[[Connection], T]) -> T:
        try:
            if isinstance(self._engine, Engine):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)
            async with self._engine.connect() as connection:
                return await connection.run_sync(question)
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, NoSuchTableError):
                raise
            # Not its own words: they quote the statement, and some drivers the address with its password.
            told = type(getattr(error, "orig", None) or error).__name__
            raise InvalidRequest(
                f"The database cannot be read ({told}).", param="source", remedy="See to its address and rights."
            ) from None

    def _ask(self, question: Callable[[Connection], T]) -> T:
        assert isinstance(self._engine, Engine)
        with self._engine.connect() as connection:
            return question(connection)

    async def aclose(self) -> None:
        if isinstance(self._engine, Engine):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        else:
            await self._engine.dispose()
        self._thread.shutdown(wait=False)


def _engine(told: str) -> Engine | AsyncEngine:
    try:
        url: URL = make_url(told)
        if url.drivername in ("postgres", "postgresql", "postgresql+asyncpg"):
            from sqlalchemy.ext.asyncio import create_async_engine

            return create_async_engine(url.set(drivername="postgresql+asyncpg"))
        if url.get_backend_name() == "sqlite":
            url = url.set(drivername="sqlite") if url.drivername == "sqlite+aiosqlite" else url
            _refuse_no_file(url)
        return create_engine(url)
    except ArgumentError:
        raise InvalidRequest("The address of the database cannot be read.", param="source") from None
    except ImportError as error:
        if make_url(told).get_backend_name() == "postgresql":
            raise MissingExtra("A table of PostgreSQL's", extra="postgres") from error
        raise InvalidRequest(
            f"There is no driver for {make_url(told).get_backend_name()} here.",
            param="source",
            remedy="Install the one that SQLAlchemy asks for.",
        ) from None


def _refuse_no_file(url: URL) -> None:
    """SQLite makes the file that it does not find."""
    name = url.database or ":memory:"
    if name.startswith("file:") and "uri" in url.query:
        name = ":memory:" if url.query.get("mode") == "memory" else unquote(urlsplit(name).path)
    if name != ":memory:" and not os.path.isfile(name):
        raise InvalidRequest(
            f"{name} is no file." if os.path.exists(name) else f"There is no file {name}.",
            param="source",
            remedy="Write sqlite:///old.db for one in this folder, sqlite:////data/old.db for any other.",
        )


def _behind(key: Sequence[Column[Any]], after: Sequence[Any]) -> Any:
    if len(key) == 1:
        return key[0] > after[0]
    return tuple_(*key) > tuple_(*(literal(value, column.type) for column, value in zip(key, after, strict=True)))


def _groups(rows: Sequence[Any]) -> list[list[Any]]:
    """The rows in groups, none of which has many bytes of audio, but for one alone."""
    groups: list[list[Any]] = [[]]
    taken = 0
    for row in rows:
        taken += row.size or 0
        if taken > _PAGE_BYTES and groups[-1]:
            groups.append([])
            taken = row.size or 0
        groups[-1].append(row)
    return groups


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise InvalidRequest("it has no audio" if value is None else "its audio is no bytes", param="data")
