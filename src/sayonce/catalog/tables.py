"""The catalog's tables. Hashes are 32 raw bytes, times are seconds since 1970 (UTC), money is in millionths of the
settings' currency."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    text,
)

#: The newest migration. A test holds it against the migrations' own head.
SCHEMA_VERSION = "0006"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers its rows by itself only in a column of type INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")
# In the order of its bytes, which is SQLite's own.
_Path = Text().with_variant(Text(collation="C"), "postgresql")

#: Fences, where the database has sequences: its holders need not wait for each other's transactions.
fences = Sequence("fences", metadata=metadata)

#: Single values of the whole catalog: its id, its secrets, and where there are no sequences the newest fence.
facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

#: One row a content hash: what is kept.
assets = Table(
    "assets",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("content_hash", LargeBinary, nullable=False, unique=True),
    Column("recipe_hash", LargeBinary, nullable=False),
    Column("format", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("owner", Text),  # the user's or the session's name, in their scopes
    Column("upstream", Text, nullable=False),
    Column("model", Text),
    Column("voice", Text),
    Column("language", Text),
    Column("text", Text),  # NULL with keep_text = false
    Column("characters", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("duration", Float, nullable=False),
    Column("sample_rate", Integer, nullable=False),
    Column("marks", Text),  # JSON: [[start, end, first, length, kind], …]
    Column("transcoded", Boolean, nullable=False),
    Column("flags", Text, nullable=False),  # comma-separated: implausible
    Column("made_at", Float, nullable=False),
    Column("until", Float, index=True),  # NULL is forever; the longest of its uses
    Column("used_at", Float, nullable=False, index=True),
    Column("hits", BigInteger, nullable=False),
    Column("cost_micros", BigInteger),  # NULL where no price is known
    UniqueConstraint("recipe_hash", "format"),
)

#: One copy of an asset's bytes, by the path as it was written.
blobs = Table(
    "blobs",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("asset", _RowId, ForeignKey("assets.id", ondelete="CASCADE"), nullable=False),
    Column("storage", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("until", Float, index=True),
    UniqueConstraint("storage", "path"),
    Index(None, "asset", "storage", "path", unique=True),
)

#: The bytes of blobs whose storage is this database.
stored = Table(
    "stored",
    metadata,
    Column("storage", Text, primary_key=True),
    Column("path", _Path, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("metadata", Text, nullable=False),  # JSON
    Column("size", BigInteger, nullable=False),
    Column("modified", Float, nullable=False),
)

_UNMADE = text("due IS NOT NULL")

#: Why an asset is kept. `request` holds what it takes to make it, for as long as it is yet to be made; a collection's
#: and a greeting's stay, unless texts are not kept. `due` is from when on it is to be made; NULL: it need not be.
uses = Table(
    "uses",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("speaker", Text),
    Column("at", Float, nullable=False),
    Column("keep_until", Float, index=True),
    Column("sliding", Float),  # each hit lets it be kept for so many seconds more; NULL: none does
    Column("pinned", Boolean, nullable=False),
    Column("request", Text),
    Column("due", Float),
    Column("failure", Text),  # why it could not be made: JSON: error, message, remedy
    Column("storage", Text),  # where a copy lies for this use; NULL: it has none of its own
    Column("path", Text),
    UniqueConstraint("content_hash", "kind", "name", "sequence"),
    Index(None, "kind", "name", "sequence"),
    Index("ix_uses_unmade", "id", sqlite_where=_UNMADE, postgresql_where=_UNMADE),
)

#: Named sets of texts that are spoken ahead of time. `name` is that of the texts' uses.
collections = Table(
    "collections",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),  # JSON: [tenant, collection]
    Column("tenant", Text, nullable=False),
    Column("collection", Text, nullable=False),
    Column("seeded_at", Float),  # when it was last begun to be spoken; NULL: never
    Column("found", Integer, nullable=False, server_default=text("0")),  # how many were kept already then
    Index(None, "tenant", "collection"),
)

#: Conversations whose turns are kept. `name` is that of the turns' uses.
sessions = Table(
    "sessions",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),  # JSON: [tenant, user, session]
    Column("tenant", Text, nullable=False),
    Column("owner", Text),  # the user, where it is one's own
    Column("session", Text, nullable=False),
    Column("newest", Integer, nullable=False),  # the highest sequence that was given out
    Column("last_at", Float),  # of its latest turn; NULL while it has none
    Column("until", Float, index=True),  # NULL is forever; the longest of its turns
    Column("ending", Float),  # until when nothing new gets into it, since it is being ended
    Index(None, "tenant", "owner", "last_at", "id"),
    sqlite_autoincrement=True,
)

#: The right to fly one recipe. A released lease is gone; a failed one stays a while, so that those who waited
#: for it on other machines learn of the failure instead of trying in turn.
leases = Table(
    "leases",
    metadata,
    Column("recipe_hash", LargeBinary, primary_key=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("refresh", Boolean, nullable=False),
    Column("expires", Float, nullable=False, index=True),
    Column("failure", Text),  # JSON: {"error", "message", …}; see cluster.failures
    Column("reserved_micros", BigInteger, nullable=False, server_default=text("0")),
)

#: Recipes whose first answer was implausibly long or short: a second such answer is believed.
doubts = Table(
    "doubts",
    metadata,
    Column("recipe_hash", LargeBinary, primary_key=True),
    Column("at", Float, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rate", Float),  # requests a second; NULL: the setting's
    Column("burst", Float),
    Column("budget", Float),  # in the currency, a month; NULL: none
    Column("public", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("chain", Text),  # comma-separated upstreams; NULL: the setting's
    Column("voice", Text),  # JSON: how its greeting is spoken; NULL: by the settings
    Column("greeting", Text),
)

#: API keys by their SHA-256: the key itself is shown once and kept nowhere.
keys = Table(
    "keys",
    metadata,
    Column("key_hash", LargeBinary, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("label", Text, nullable=False),
    Column("roles", Text, nullable=False),  # comma-separated: speak, share, admin
    Column("made_at", Float, nullable=False),
    Column("revoked_at", Float),
)

#: What each tenant has spent in each month ("2026-11"), for its budget.
spending = Table(
    "spending",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("spent_micros", BigInteger, nullable=False, server_default=text("0")),
)

#: Usage rollups. `hour` is the hour's first second; `saved` is what hits and joins would have cost.
usage = Table(
    "usage",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("upstream", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("voice", Text, primary_key=True),
    Column("hits", BigInteger, nullable=False),
    Column("joined", BigInteger, nullable=False),
    Column("misses", BigInteger, nullable=False),
    Column("bypassed", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("characters", BigInteger, nullable=False),
    Column("spent_micros", BigInteger, nullable=False, server_default=text("0")),
    Column("saved_micros", BigInteger, nullable=False, server_default=text("0")),
)

#: What changed, for everyone's memory: each process reads what came after the last it has seen.
changes = Table(
    "changes",
    metadata,
    Column("sequence", _RowId, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),  # asset, recipe, key, tenant, settings
    Column("subject", Text, nullable=False),
    Column("at", Float, nullable=False, index=True),
    sqlite_autoincrement=True,
)
