"""How the catalog reaches its database: the one contract of SQLite and PostgreSQL.

Queries are plain functions over a SQLAlchemy connection, written once; a database runs each as one transaction,
off the event loop. What the engine looks up on its way is a `Lookup`: compiled once, run on the driver alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, Select

from sayonce.errors import CatalogError

T = TypeVar("T")
P = ParamSpec("P")


class Compiled(NamedTuple):
    """A lookup's text, the values of the parameters that it brings itself, and the order of all of them, where the
    dialect numbers them."""

    text: str
    brought: Mapping[str, object]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """How a database stands. `version` is its schema's, None where it is empty; `objection` is why it cannot be
    written to. `ahead` is by how many seconds its clock is before this machine's, `room` how many bytes its disk has
    left, where that can be told."""

    version: str | None
    objection: CatalogError | None = None
    ahead: float | None = None
    room: int | None = None


class Lookup:
    """A point lookup: a statement with named parameters, compiled once."""

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement
        self._compiled: dict[str, Compiled] = {}

    def compiled(self, dialect: Dialect) -> Compiled:
        """It in the words of a dialect."""
        known = self._compiled.get(dialect.name)
        if known is None:
            fresh = self.statement.compile(dialect=dialect)
            known = Compiled(str(fresh), fresh.params, tuple(fresh.positiontup or ()))
            self._compiled[dialect.name] = known
        return known


class Database(ABC):
    """One database. What goes wrong in it is a CatalogError, CatalogUnavailable where asking later may help. A query
    may be run more than once, if another transaction kept it from ending: it does nothing but ask and change rows."""

    backend: ClassVar[str]
    #: Called when a transaction of this process has added to the change log, and is done.
    grew: Callable[[], None] = staticmethod(lambda: None)

    @classmethod
    @abstractmethod
    def at(cls, url: str) -> Database:
        """The database at that address, not opened yet. InvalidSettings where it is none."""

    @abstractmethod
    async def look_up(self, lookup: Lookup, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows, as the driver gives them, without a transaction and without waiting for a writer."""

    @abstractmethod
    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `query` on one consistent state."""

    @abstractmethod
    async def survey(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, for what looks at much: it takes its time, and no lookup and no transaction waits for it."""

    @abstractmethod
    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `query` as one transaction. Other writers may be at it where the database has more than one at a time;
        `locks` keeps apart what must be. When it returns, a power cut does not undo it."""

    @abstractmethod
    async def note(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, for what a request waits for; and a power cut may undo it, since it means nothing after
        one, such as a lease."""

    @abstractmethod
    async def examine(self) -> Condition:
        """How it stands. Nothing is made or upgraded, and nothing that was written to try is left."""

    @abstractmethod
    async def version(self) -> str | None:
        """The version of its schema, as it is; None where it is empty."""

    @abstractmethod
    async def migrate(self) -> None:
        """Brings its schema to this version. SchemaMismatch where it is newer."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees the connections. Called once, last."""
