"""The catalog in PostgreSQL, shared by any number of replicas.

Lookups run on asyncpg alone, on connections of their own, so that no transaction keeps a hit waiting. The queries'
transactions run over SQLAlchemy at READ COMMITTED; what must not happen at once, they say themselves (`locks`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qs, urlsplit

import stamina
from sqlalchemy import Connection, Dialect, event, func, select
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError

from sayonce.catalog import changes, schema
from sayonce.catalog.database import Condition, Database, Lookup
from sayonce.errors import CatalogUnavailable, InvalidSettings, MissingExtra
from sayonce.resting import Resting

try:
    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
except ImportError as error:
    raise MissingExtra("A catalog in PostgreSQL", extra="postgres") from error

T = TypeVar("T")
P = ParamSpec("P")

_DIALECT: Dialect = asyncpg_dialect()  # type: ignore[no-untyped-call]

# Connections that one process opens at most: for lookups, and for each of two kinds of transactions.
_LOOKUPS, _TRANSACTIONS = 8, 6
# Of the transactions, those that may be surveys at a time.
_SURVEYS = 2
# Seconds to connect in, for what a request waits for, for any other statement, and for a connection to be free.
_CONNECT, _WAITED_FOR, _STATEMENT, _TURN = 3.0, 3.0, 10.0, 10.0
_CLOCK = select(func.extract("epoch", func.clock_timestamp()))
_TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, SQLAlchemyError, OSError)
# Tries of a transaction that another kept from ending.
_ATTEMPTS = 10
# The transaction was one of two that waited for each other; or both made a row that may be there once.
_COLLISIONS = {"40001", "40P01", "23505"}


class PostgresDatabase(Database):
    """The database at a `postgresql://` URL, as libpq reads it: `?host=/run/postgresql` is a Unix socket. An empty
    one gets its tables; one of an older version is left to `sayonce db upgrade`: other replicas may be at it."""

    backend = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self._place = _place(url)
        self._resting = Resting()
        self._opening = asyncio.Lock()
        self._surveying = asyncio.Semaphore(_SURVEYS)
        self._lookups: _Links | None = None
        self._engine, self._noting = _engine(url, _STATEMENT), _engine(url, _WAITED_FOR)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # One that takes too long says nothing of the rest.
        self._surveys = self._reading.execution_options()
        self._surveys_rest = Resting()

    @classmethod
    def at(cls, url: str) -> PostgresDatabase:
        try:
            _place(url)
        except ValueError as error:
            raise InvalidSettings(
                "DATABASE_URL cannot be read.",
                remedy="Write postgresql://user:password@host:5432/name, and in a password %23 for '#', %2F for '/'.",
            ) from error
        return cls(url)

    async def look_up(self, lookup: Lookup, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        compiled = lookup.compiled(_DIALECT)
        given = {**compiled.brought, **parameters}
        with self._resting.heeded():
            try:
                links = self._lookups or await self._open()
                return await links.fetch(compiled.text, [given[name] for name in compiled.order])
            except _TROUBLE as error:
                raise self._unavailable(error) from error

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transact(self._reading, query, *args, **kwargs)

    async def survey(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._surveying:
            return await self._transact(self._surveys, query, *args, **kwargs)

    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transact(self._engine, query, *args, **kwargs)

    async def note(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        # As durable as the rest: its server may lose power while those who hold a lease do not.
        return await self._transact(self._noting, query, *args, **kwargs)

    async def migrate(self) -> None:
        with self._translated():
            async with self._engine.begin() as connection:
                await connection.run_sync(schema.upgrade, backend=self.backend)

    async def version(self) -> str | None:
        with self._translated():
            async with self._engine.begin() as connection:
                return await connection.run_sync(schema.version)

    async def examine(self) -> Condition:
        with self._translated():
            async with self._noting.connect() as connection:
                asked = time.time()
                told = float((await connection.execute(_CLOCK)).scalar_one())
                ahead = told - (asked + time.time()) / 2
                version = await connection.run_sync(schema.version)
                try:
                    await connection.run_sync(schema.write_to_try)
                except DBAPIError as error:
                    return Condition(version, self._unavailable(error), ahead)
                return Condition(version, None, ahead)  # nothing is committed

    async def aclose(self) -> None:
        if self._lookups is not None:
            await self._lookups.aclose()
        await self._engine.dispose()
        await self._noting.dispose()

    async def _transact(
        self,
        engine: AsyncEngine,
        query: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        resting = self._surveys_rest if engine is self._surveys else self._resting
        with resting.heeded(), self._translated():
            if self._lookups is None:
                await self._open()
            async for attempt in stamina.retry_context(
                on=_collided, attempts=_ATTEMPTS, wait_initial=0.005, wait_max=0.2, wait_jitter=0.02
            ):
                with attempt:
                    async with engine.begin() as connection:
                        result = await connection.run_sync(query, *args, **kwargs)
                        grew = await connection.run_sync(changes.grew)
                    if grew:
                        self.grew()
                    return result
        raise AssertionError("the last attempt raises")

    async def _open(self) -> _Links:
        async with self._opening:
            if self._lookups is None:
                async with self._engine.begin() as connection:
                    await connection.run_sync(schema.found, backend=self.backend)
                self._lookups = _Links(self._url)
            return self._lookups

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> CatalogUnavailable:
        reason, remedy = _meaning(error)
        return CatalogUnavailable(
            f"The catalog {self._place} cannot be used: {reason}.", backend=self.backend, remedy=remedy
        )


def _engine(url: str, patience: float) -> AsyncEngine:
    async def connect() -> Any:
        return await asyncpg.connect(url, timeout=_CONNECT, command_timeout=patience)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=_TRANSACTIONS,
        max_overflow=0,
        pool_timeout=_TURN,
        pool_use_lifo=True,
    )
    event.listen(engine.sync_engine, "checkout", _must_be_open)
    return engine


def _must_be_open(connection: Any, *_: object) -> None:
    """The server closes connections when it restarts; the pool then makes another."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


class _Links:
    """Connections for lookups, each one caller's at a time. asyncpg's own pool takes as long as the lookup itself: it
    resets a connection, in a task of its own, after each use; a lookup leaves nothing to reset."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Any] = []
        self._turn = asyncio.Semaphore(_LOOKUPS)

    async def fetch(self, statement: str, values: Sequence[object]) -> Sequence[tuple[Any, ...]]:
        async with self._turn:
            link = await self._take()
            try:
                rows: Sequence[tuple[Any, ...]] = await link.fetch(statement, *values, timeout=_WAITED_FOR)
            except BaseException:
                link.terminate()  # it may be in the middle of something
                raise
            self._idle.append(link)
            return rows

    async def aclose(self) -> None:
        for link in self._idle:
            link.terminate()

    async def _take(self) -> Any:
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed():
                return link
        return await asyncpg.connect(self._url, timeout=_CONNECT)


def _collided(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and _state(error) in _COLLISIONS


def _state(error: Exception) -> str:
    told = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(told, "sqlstate", None) or "")


def _meaning(error: Exception) -> tuple[str, str]:
    """What it was, in no words of the server's, which might quote values; and what to do."""
    again = "It is tried again by itself."
    state = _state(error)
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "it does not answer in time", again
    if isinstance(error, OSError) and "SSL" in str(error):
        return "it does not speak TLS as DATABASE_URL asks it to", "Mend sslmode there, or the server's settings."
    if isinstance(error, OSError):
        return "it does not answer", f"See that it runs, and that DATABASE_URL is right. {again}"
    told = _STATES.get(state) or _STATES.get(state[:2])
    return told or (f"{type(error).__name__} {state}".strip(), again)


_STATES = {
    "08": ("the connection broke", "It is tried again by itself."),
    "28": ("it does not accept the user or the password", "Mend DATABASE_URL."),
    "3D": ("there is no such database", "Create it, or mend DATABASE_URL."),
    "42501": ("the user may not do that", "Grant it the right to create and to use tables there."),
    "53100": ("its disk is full", "Free some space there."),
    "53": ("it has too few connections or too little memory", "Raise max_connections, or run fewer workers."),
    "57P": ("it is starting or stopping", "It is tried again by itself."),
    "57": ("it is starting or stopping, or took too long", "It is tried again by itself."),
    "25006": ("it is read-only", "Name the primary in DATABASE_URL."),
}


def _place(url: str) -> str:
    """The database for people: no user, no password."""
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError("a '#' of a password is to be written as %23")
    host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
    port = f":{parts.port}" if parts.port else ""
    return f"postgresql://{host}{port}{parts.path}"
