"""The databases there are, by the scheme of their address; one is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from sayonce.catalog.database import Database
from sayonce.errors import InvalidSettings

#: Each with its module and class.
OURS = {
    "sqlite": "sayonce.catalog.sqlite:SqliteDatabase",
    "postgresql": "sayonce.catalog.postgres:PostgresDatabase",
    "postgres": "sayonce.catalog.postgres:PostgresDatabase",
}


def connect(url: str) -> Database:
    """The database at an address, not opened yet. InvalidSettings where it is no such address, MissingExtra where
    what it needs is not installed."""
    scheme = url.partition("://")[0]
    if scheme not in OURS:
        # It may hold a password: only what is a scheme's word is told.
        said = f"begins with '{scheme}'" if scheme.isalpha() and "://" in url else "has no scheme"
        raise InvalidSettings(
            f"DATABASE_URL {said}, which is no database that sayonce knows.",
            remedy="Write postgresql://user:password@host/name or sqlite:////folder/catalog.db",
        )
    module, _, attribute = OURS[scheme].partition(":")
    return cast(type[Database], getattr(import_module(module), attribute)).at(url)
