"""Who speaks and where audio rests: what the settings say, and what a key, an address or a URL implies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sayonce.storage.registry import backend_of

Table = dict[str, dict[str, Any]]

#: The vendors that are implied by a key or an address, and the settings that hold these.
VENDORS = {
    "openai": ("openai_api_key", "openai_base_url"),
    "elevenlabs": ("elevenlabs_api_key", "elevenlabs_base_url"),
    "deepgram": ("deepgram_api_key", "deepgram_base_url"),
    "replicate": ("replicate_api_token", "replicate_base_url"),
}

#: What each storage's backend is told, and the setting that holds it, unless its own table says otherwise.
STORES = {
    "s3": {
        "endpoint_url": "aws_endpoint_url",
        "access_key_id": "aws_access_key_id",
        "secret_access_key": "aws_secret_access_key",
        "session_token": "aws_session_token",
        "region": "aws_region",
    },
    "gcs": {"credentials": "google_application_credentials"},
    "supabase": {"project_url": "supabase_url", "service_key": "supabase_service_key"},
    "databricks": {"host": "databricks_host", "token": "databricks_token", "volume": "databricks_volume"},
}


def upstreams_of(settings: Mapping[str, Any]) -> Table:
    """The configured upstreams, with those that are implied: a vendor by its key or address, and `espeak`."""
    tables: Table = {"espeak": {"provider": "espeak"}}
    for vendor, (key, address) in VENDORS.items():
        given = _given(api_key=settings[key], base_url=settings[address])
        if given:
            tables[vendor] = {"provider": vendor} | given
    for name, table in settings["upstreams"].items():
        tables[name] = tables.get(name, {}) | table
    return tables


def storages_of(settings: Mapping[str, Any]) -> Table:
    """The configured storages, each with its backend and what the settings know of that, and those that are implied:
    the local one, and the ones whose URLs stand in `storage` and `tier`."""
    tables: Table = {"local": {"backend": "local", "root": str(settings["data_dir"] / "audio")}}
    for address in (settings["storage"], settings["tier"]):
        if "://" in address:
            tables[address] = {}
    for name, table in settings["storages"].items():
        tables[name] = tables.get(name, {}) | table
    return {name: _stored(settings, name, table) for name, table in tables.items()}


def _stored(settings: Mapping[str, Any], name: str, table: dict[str, Any]) -> dict[str, Any]:
    if "://" in name:
        table = {"url": name} | table
    if "url" in table:
        table = {"backend": backend_of(str(table["url"]))} | table
    # Whoever brings a key of his own means no other's session, and no other's server.
    own = "access_key_id" in table
    known = {} if own else STORES.get(str(table.get("backend", name)), {})
    return _given(**{key: settings[setting] for key, setting in known.items()}) | table


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
