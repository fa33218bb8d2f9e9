"""The catalog in one SQLite file, in WAL: readers never wait for the writer, and processes share it.

Three threads, each with one connection that stays open: one looks up, one writes, one surveys. A query is one hop to
its thread, which is what a point lookup costs (`bench/lookup.py`); opening a connection each time cost 500 times the
query.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from sayonce.catalog import changes, schema
from sayonce.catalog.database import Condition, Database, Lookup
from sayonce.catalog.tables import SCHEMA_VERSION
from sayonce.errors import CatalogUnavailable, InvalidSettings
from sayonce.resting import Resting
from sayonce.telemetry.logs import get_logger

T = TypeVar("T")
P = ParamSpec("P")

_log = get_logger("sayonce.catalog")

_DIALECT = sqlite.dialect(paramstyle="named")

# How long a writer waits for another process's transaction. Ours take milliseconds; past this, law 5 is better.
_PATIENCE = 2.0

# How many transactions share a commit.
_TOGETHER = 32

# How much of the file a connection holds in memory, in KB: what surveys read is not read again soon.
_CACHE, _SURVEYS_CACHE = 16_000, 2_000


class SqliteDatabase(Database):
    """The database in the file `path`, made with its folder where it is missing."""

    backend = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = _Thread(path, "catalog-reader")
        self._writer = _Writer(path, "catalog-writer")
        self._surveyor = _Thread(path, "catalog-surveyor", _SURVEYS_CACHE)

    @classmethod
    def at(cls, url: str) -> SqliteDatabase:
        # sqlite:///relative, sqlite:////absolute
        _, slashes, path = unquote(urlsplit(url).path).partition("/")
        if urlsplit(url).netloc or not slashes or not path:
            raise InvalidSettings(
                "DATABASE_URL names no file.", remedy="Write sqlite:///relative.db or sqlite:////folder/catalog.db"
            )
        return cls(Path(path))

    async def look_up(self, lookup: Lookup, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        return await self._reader.run(partial(_look_up, lookup, parameters))

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._reader.run(lambda link: link.transact("BEGIN", query, *args, **kwargs))

    async def survey(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._surveyor.run(lambda link: link.transact("BEGIN", query, *args, **kwargs))

    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._durably(True, query, *args, **kwargs)

    async def note(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._durably(False, query, *args, **kwargs)

    async def _durably(
        self, durable: bool, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        transaction = _Transaction(durable, lambda connection: query(connection, *args, **kwargs))
        await self._writer.commit(transaction)
        if transaction.grew:
            self.grew()
        return transaction.result

    async def examine(self) -> Condition:
        return await asyncio.to_thread(_examined, self._path)

    async def version(self) -> str | None:
        return (await self.examine()).version

    async def migrate(self) -> None:
        await self._reader.run(lambda _: None)  # whoever opens it has it migrated

    async def aclose(self) -> None:
        await asyncio.gather(*(thread.aclose() for thread in (self._reader, self._writer, self._surveyor)))


def _look_up(lookup: Lookup, parameters: Mapping[str, object], link: _Link) -> Sequence[tuple[Any, ...]]:
    compiled = lookup.compiled(_DIALECT)
    return link.driver.execute(compiled.text, {**compiled.brought, **parameters}).fetchall()


class _Thread:
    """A thread with one link to the database, opened at first use and again after a failure."""

    def __init__(self, path: Path, name: str, cache: int = _CACHE) -> None:
        self._path = path
        self._cache = cache
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._link: _Link | None = None
        self._resting = Resting()

    async def run(self, job: Callable[[_Link], T]) -> T:
        with self._resting.heeded():
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, job)

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._unlink)
        self._pool.shutdown(wait=False)

    def _work(self, job: Callable[[_Link], T]) -> T:
        try:
            if self._link is not None and self._link.is_orphaned():
                _log.warning("catalog.replaced", path=str(self._path))
                self._unlink()
            if self._link is None:
                self._link = _Link(self._path, self._cache)
            result = job(self._link)
        except (DBAPIError, sqlite3.Error, OSError) as error:
            self._unlink()
            raise _unavailable(error, self._path) from error
        return result

    def _unlink(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


class _Transaction(Generic[T]):
    """What is to be done as a whole, and what came of it. What is `durable` no power cut undoes."""

    result: T

    def __init__(self, durable: bool, query: Callable[[Connection], T]) -> None:
        self.durable = durable
        self.query = query
        self.grew = False
        self.error: Exception | None = None

    def run(self, connection: Connection) -> None:
        """By itself."""
        self.result, self.grew = self.query(connection), changes.grew(connection)

    def run_beside(self, connection: Connection) -> None:
        """Beside others in one commit: what it refuses to do leaves no trace, and is nothing to them."""
        connection.exec_driver_sql("SAVEPOINT beside")
        try:
            self.run(connection)
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            connection.exec_driver_sql("ROLLBACK TO beside")
            self.error = error
        connection.exec_driver_sql("RELEASE beside")


class _Writer(_Thread):
    """What waits to be written while something is shares one commit: each has to wait for the disk."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        self._waiting: deque[_Transaction[Any]] = deque()

    async def commit(self, transaction: _Transaction[Any]) -> None:
        """Returns when it is committed; raises what kept it from being."""
        self._waiting.append(transaction)
        try:
            await self.run(lambda link: self._commit(link, transaction))
        finally:
            with suppress(ValueError):  # nobody may commit what its caller was told that it failed
                self._waiting.remove(transaction)

    def _commit(self, link: _Link, transaction: _Transaction[Any]) -> None:
        together: list[_Transaction[Any]] = []
        with suppress(IndexError):  # no more; who gave up meanwhile has left
            while len(together) < _TOGETHER:
                together.append(self._waiting.popleft())
        if together:  # else an earlier turn has taken it along
            link.commit(together)
        if transaction.error is not None:
            raise transaction.error


class _Link:
    """One open connection, with SQLAlchemy's view of it, used by one thread."""

    # Only one link of a process brings the schema up to date; others of other processes wait in SQLite.
    _upgrading = threading.Lock()

    def __init__(self, path: Path, cache: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._make_private(path)
        self._path = path
        # Implicit transactions off: BEGIN says itself which kind it is.
        self.driver = sqlite3.connect(
            path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self.driver.execute(f"PRAGMA cache_size = -{cache}")
            self._set_up()
        except BaseException:
            self.driver.close()
            raise

    def _make_private(self, path: Path) -> None:
        """Makes the file, where there is none: it holds spoken texts and the secrets that sign URLs, so nobody else
        on the machine reads it. One that is there is not touched: to close it would let go of the locks that other
        links of this process have on it, and then any process that ends takes their log along."""
        with self._upgrading:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    def _set_up(self) -> None:
        self.driver.execute("PRAGMA foreign_keys = ON")
        self._begin = "BEGIN IMMEDIATE"
        self._engine = _engine(self)
        with self._upgrading:
            # A schema that is current needs no lock, so a writer elsewhere keeps no reader from opening.
            if self.transact("BEGIN", schema.version) != SCHEMA_VERSION:
                self._make_wal()
                self.transact("BEGIN IMMEDIATE", schema.upgrade, backend="sqlite")
        self._opened = _file(self._path)

    def transact(
        self, begin: str, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._begin = begin
        with self._engine.begin() as connection:
            return query(connection, *args, **kwargs)

    def commit(self, together: Sequence[_Transaction[Any]]) -> None:
        """Runs transactions in one commit; where the database cannot, each in its own. Each is told its error."""
        if len(together) > 1 and self._commit_beside(together):
            return
        for each in together:
            each.error = None
            try:
                self._durably(each.durable, each.run)
            except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
                each.error = error

    def _commit_beside(self, together: Sequence[_Transaction[Any]]) -> bool:
        """Whether that was all: what one of them cannot do is no trouble of the others, but what keeps all of them
        from beginning is."""
        began = False

        def run(connection: Connection) -> None:
            nonlocal began
            began = True
            for each in together:
                each.run_beside(connection)

        try:
            self._durably(any(each.durable for each in together), run)
        except (DBAPIError, sqlite3.Error) as error:
            for each in together:
                each.error = error
            return not began
        return True

    def _durably(self, durable: bool, query: Callable[[Connection], None]) -> None:
        # FULL syncs the WAL at each commit; NORMAL at a checkpoint, and so may forget, but never break.
        self.driver.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.transact("BEGIN IMMEDIATE", query)

    def is_orphaned(self) -> bool:
        """Whether the file was deleted or replaced: what is written here is then lost, and nobody else sees it."""
        try:
            return _file(self._path) != self._opened
        except FileNotFoundError:
            return True

    def begin(self) -> None:
        self.driver.execute(self._begin)

    def close(self) -> None:
        self._engine.dispose()
        self.driver.close()

    def _make_wal(self) -> None:
        # Changing the journal mode does not wait for other processes as all else does.
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.driver.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


def _examined(path: Path) -> Condition:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        room = shutil.disk_usage(folder).free
        if not path.exists():
            return Condition(None, _no_place(path, folder), room=room)
        driver = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_PATIENCE, isolation_level=None
        )
        with closing(driver):
            return Condition(_version(driver), _read_only(driver, path), room=room)
    except (sqlite3.Error, OSError) as error:
        raise _unavailable(error, path) from error


def _version(driver: sqlite3.Connection) -> str | None:
    if not driver.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall():
        return None
    return next((row[0] for row in driver.execute("SELECT version_num FROM alembic_version")), None)


def _read_only(driver: sqlite3.Connection, path: Path) -> CatalogUnavailable | None:
    try:
        driver.execute("BEGIN IMMEDIATE")
        driver.execute("CREATE TABLE written_to_try (n INTEGER)")
        driver.execute("ROLLBACK")
    except sqlite3.Error as error:
        return _unavailable(error, path)
    return None


def _no_place(path: Path, folder: Path) -> CatalogUnavailable | None:
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return _unavailable(OSError("unable to open database file"), path)


def _file(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _engine(link: _Link) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: link.driver, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        link.begin()

    return engine


def _unavailable(error: Exception, path: Path) -> CatalogUnavailable:
    reason = str(error.orig if isinstance(error, DBAPIError) else error)
    return CatalogUnavailable(
        f"The catalog {path} cannot be used: {reason}.", backend="sqlite", remedy=_remedy(reason)
    )


def _remedy(reason: str) -> str:
    remedies = {
        "locked": "Another process holds it; it is tried again by itself.",
        "malformed": "It is damaged: restore it from a copy, or move it away to begin a new one.",
        "not a database": "It is damaged: restore it from a copy, or move it away to begin a new one.",
        "full": "The disk is full: free some space.",
        "readonly": "Give the gateway the right to write to its data folder.",
        "unable to open": "See that its folder is there and can be written to.",
    }
    return next((remedy for sign, remedy in remedies.items() if sign in reason), "It is tried again by itself.")
