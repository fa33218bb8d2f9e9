"""Brings a database's schema to this version, and says so clearly when it cannot."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, inspect, text

from sayonce.catalog import locks
from sayonce.catalog.tables import SCHEMA_VERSION
from sayonce.errors import SchemaMismatch


def version(connection: Connection) -> str | None:
    """The schema's version; None in an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(connection: Connection, *, backend: str) -> None:
    """Runs the migrations that are missing, within the connection's transaction. SchemaMismatch where the
    database is newer than this version of sayonce."""
    locks.alone_with_schema(connection)
    found = version(connection)
    if found == SCHEMA_VERSION:
        return
    if found is not None and found > SCHEMA_VERSION:
        raise mismatch(found, backend)
    _migrate(connection)


def found(connection: Connection, *, backend: str) -> None:
    """As `upgrade`, for a database that others may be using: an empty one is made ready, an older one is not touched.
    SchemaMismatch where it is not this version's."""
    there = version(connection)
    if there is not None and there < SCHEMA_VERSION:
        raise mismatch(there, backend)
    if there != SCHEMA_VERSION:
        upgrade(connection, backend=backend)


def write_to_try(connection: Connection) -> None:
    """What whoever uses the catalog must be able to do: to make tables where there are none, else to write into them.
    The caller undoes it."""
    if version(connection) is None:
        connection.execute(text("CREATE TABLE written_to_try (n INTEGER)"))
    else:
        connection.execute(text("INSERT INTO facts (name, value) VALUES ('written to try', '')"))


def mismatch(there: str, backend: str) -> SchemaMismatch:
    """What is said of a schema of another version."""
    newer = there > SCHEMA_VERSION
    return SchemaMismatch(
        f"The catalog's schema is version {there}; this sayonce knows {SCHEMA_VERSION}.",
        backend=backend,
        remedy="Run the newer version of sayonce, or use another catalog."
        if newer
        else "Upgrade it, with no older gateway running: sayonce db upgrade",
    )


def _migrate(connection: Connection) -> None:
    # Alembic takes a moment to load, and a database that is up to date never needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("sayonce.catalog") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
