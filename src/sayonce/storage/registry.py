"""The storages there are, by name; one is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from sayonce.errors import InvalidSettings
from sayonce.storage.contract import Storage

#: Those of this package, each with its module and class.
OURS = {
    "database": "sayonce.storage.database:DatabaseStorage",
    "databricks": "sayonce.storage.databricks:DatabricksStorage",
    "gcs": "sayonce.storage.gcs:GcsStorage",
    "local": "sayonce.storage.local:LocalStorage",
    "memory": "sayonce.storage.memory:MemoryStorage",
    "obstore": "sayonce.storage.obstore:ObstoreStorage",
    "s3": "sayonce.storage.s3:S3Storage",
    "supabase": "sayonce.storage.supabase:SupabaseStorage",
}
# Whose address a URL is, by its scheme. Any other is obstore's.
_SCHEMES = {"file": "local", "gs": "gcs"}


def known() -> Sequence[str]:
    """The names of all storages: ours, and those that other packages add under `sayonce.storages`."""
    return sorted({*OURS, *(point.name for point in entry_points(group="sayonce.storages"))})


def is_known(backend: str) -> bool:
    """Whether there is one of that name. Of ours it is told without a look at all that is installed."""
    return backend in OURS or bool(entry_points(group="sayonce.storages", name=backend))


def backend_of(url: str) -> str:
    """The backend that a storage's URL means."""
    scheme = url.partition("://")[0].lower()
    named = _SCHEMES.get(scheme, scheme)
    return named if is_known(named) else "obstore"


def make(name: str, backend: str, table: Mapping[str, object]) -> Storage:
    """The storage `name` of that backend with its settings; InvalidSettings where there is no such backend."""
    return _load(name, backend).from_settings(name, table)


def _load(name: str, backend: str) -> type[Storage]:
    if backend in OURS:
        module, _, attribute = OURS[backend].partition(":")
        return cast(type[Storage], getattr(import_module(module), attribute))
    for point in entry_points(group="sayonce.storages", name=backend):
        return cast(type[Storage], point.load())
    raise InvalidSettings(
        f"The storage '{name}' has the backend '{backend}', which there is not.",
        remedy=f"There are: {', '.join(known())}.",
    )
