"""How the catalog reaches its database: the one contract of SQLite and of what may follow.

Queries are plain functions over a SQLAlchemy connection, written once; a database runs each as one transaction,
off the event loop. What the engine looks up on its way is a `Lookup`: compiled once, run on the driver alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, Select

T = TypeVar("T")
P = ParamSpec("P")


class Lookup:
    """A point lookup: a statement with named parameters, compiled once."""

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement
        self._compiled: dict[str, tuple[str, Mapping[str, object]]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, Mapping[str, object]]:
        """Its text in a dialect, and the values of the parameters that it brings itself."""
        known = self._compiled.get(dialect.name)
        if known is None:
            fresh = self.statement.compile(dialect=dialect)
            known = self._compiled[dialect.name] = (str(fresh), fresh.params)
        return known


class Database(ABC):
    """One database. What goes wrong in it is a CatalogError, CatalogUnavailable where asking later may help."""

    backend: ClassVar[str]

    @abstractmethod
    async def look_up(self, lookup: Lookup, parameters: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """The rows, as the driver gives them, without a transaction and without waiting for a writer."""

    @abstractmethod
    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `query` on one consistent state."""

    @abstractmethod
    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `query` as one transaction, alone among writers. When it returns, a power cut does not undo it."""

    @abstractmethod
    async def note(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, but a power cut may undo it: for what means nothing after one, such as a lease."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees the connections. Called once, last."""
