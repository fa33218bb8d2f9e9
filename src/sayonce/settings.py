"""All settings, in one typed table: from it come the environment's names, `sayonce settings`, the docs' page and what
is struck out of both.

Defaults < `sayonce.toml` < environment (`SAYONCE_…`, and vendors' own names for their keys).
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from platformdirs import user_config_dir, user_data_dir
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from sayonce.errors import InvalidSettings
from sayonce.redaction import shown
from sayonce.settings_parts import VENDORS as VENDORS
from sayonce.settings_parts import Table, storages_of, upstreams_of
from sayonce.settings_reading import (
    audio_format,
    decoded,
    plain_name,
    rate_limit,
    redis_address,
    refused,
    storage_name,
    unknown_names,
    wrong_values,
)
from sayonce.storage.paths import DEFAULT as DEFAULT_PATH
from sayonce.storage.registry import known as known_backends
from sayonce.units import listed, size, span

_PREFIX = "SAYONCE_"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
Size = Annotated[int, BeforeValidator(size), Field(ge=0)]
Span = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(span)]


def _theirs(variable: str, description: str, *others: str) -> Any:
    """A setting that is known by its backend's own variable."""
    return Field(None, validation_alias=AliasChoices(variable, *others, variable.lower()), description=description)


class Settings(BaseSettings):
    """Times are in seconds, sizes in bytes (or `256 MB`)."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on.")
    port: int = Field(8700, ge=0, le=65_535, description="The port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="How many processes serve, each with memory of its own.")
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        Path(user_data_dir("sayonce", appauthor=False)), description="The folder of the catalog and of local audio."
    )
    public_url: Annotated[str, Field(pattern=r"^https?://[^/\s?#@]+[^\s?#]*$")] | None = Field(
        None, description="How the gateway is reached from outside, for URLs it gives out."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = Field(
        (), description="Web origins whose pages may call the gateway, with commas between."
    )
    require_keys: bool = Field(False, description="Ask for an API key even while none has been made.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="How it is logged.")

    openai_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_API_KEY", "openai_api_key"),
        description="The key of the upstream `openai`.",
    )
    openai_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_BASE_URL", "openai_base_url"),
        description="Where the upstream `openai` is, if not at OpenAI.",
    )
    elevenlabs_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ELEVENLABS_API_KEY", "elevenlabs_api_key"),
        description="The key of the upstream `elevenlabs`.",
    )
    elevenlabs_base_url: str | None = Field(
        None, description="Where the upstream `elevenlabs` is, if not at ElevenLabs."
    )
    deepgram_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("DEEPGRAM_API_KEY", "deepgram_api_key"),
        description="The key of the upstream `deepgram`.",
    )
    deepgram_base_url: str | None = Field(None, description="Where the upstream `deepgram` is, if not at Deepgram.")
    replicate_api_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("REPLICATE_API_TOKEN", "replicate_api_token"),
        description="The token of the upstream `replicate`.",
    )
    replicate_base_url: str | None = Field(
        None, description="Where the upstream `replicate` is, if not at Replicate."
    )
    default_upstream: str | None = Field(
        None,
        description="Who speaks where a request names nobody: the first of `chain`, else `openai` if it is "
        "configured, else `espeak`.",
    )
    chain: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)] = Field(
        (), description="Who speaks, and who in whose place when that fails, with commas between."
    )
    voices: dict[str, dict[str, str]] = Field(
        {}, description="Which voice stands for which: a table `upstream/voice`, with a voice for each substitute."
    )
    cleaner: dict[str, Any] = Field(
        {}, description="A language model that cleans texts: `base_url`, `api_key`, `model`, `timeout`, `prompt`."
    )
    message_path: str = Field(
        "tts_audio/{user}/{thread}/{message}.mp3", description="The path of a chat message's audio in the storage."
    )
    turn_path: str = Field(
        "audio-chunks/{yyyy}/{mm}/{dd}/{session}/{hash}.{ext}",
        description="The path of a session's turn in the storage.",
    )
    turn_keep: Span = Field(
        "365d", validate_default=True, description="How long sessions' turns are kept: `forever`, or `30d`, `12h`."
    )
    turn_format: Annotated[str, AfterValidator(audio_format)] = Field(
        "opus", description="The format of a turn where nothing is said of it."
    )
    message_cleaning: Literal["off", "rules", "chat"] = Field(
        "rules", description="How chat messages are cleaned before they are spoken."
    )
    user_header: str = Field(
        "X-Sayonce-User",
        description="The header in which a key's holder tells a chat message's user; empty: none.",
    )
    forwarded_token_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$")] = Field(
        "",
        description="The header with a caller's own token for storages that act for their callers: on Databricks Apps"
        " `X-Forwarded-Access-Token`; empty: none.",
    )
    estimate_timings: bool = Field(
        False, description="Whether words' times are estimated, and marked as such, where nobody tells them."
    )
    deadline: float = Field(60.0, gt=0, description="Within how many seconds the first byte must come, of anybody.")
    breaker_failures: int = Field(
        5, ge=1, description="After how many failures in a row an upstream is left alone for a while."
    )
    breaker_rest: float = Field(
        10.0, gt=0, description="For how long, before it is tried once; doubles while that fails."
    )
    upstreams: Table = Field(
        {}, description="Who speaks: a table a name, with `provider` and that provider's settings."
    )
    attempts: int = Field(3, ge=1, le=10, description="Tries of a generation before its first byte was passed on.")
    retry_after_limit: float = Field(5.0, ge=0, description="The longest Retry-After that is waited for.")
    generation_limit: float = Field(300.0, gt=0, description="The longest that a generation may take.")
    max_audio: Size = Field(64_000_000, description="The most bytes that a generation may bring.")
    max_text: int = Field(100_000, ge=1, description="The most characters of a text at our own doors.")

    database_url: str | None = Field(
        None,
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="The catalog: `postgresql://…` or `sqlite:///…`; none: `catalog.db` in `data_dir`.",
    )
    redis_url: Annotated[str, AfterValidator(redis_address)] | None = Field(
        None,
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        description="Redis, which lets replicas hear each other's flights: `redis://…`, `rediss://…` or `unix://…`.",
    )
    redis_patience: float = Field(0.5, gt=0, le=60, description="How long an answer of Redis is waited for.")
    replica_name: Annotated[str, AfterValidator(plain_name)] | None = Field(
        None, description="What this replica is called in logs, leases and `/api/health`; none: its host's name."
    )
    shared_keep: Annotated[float, BeforeValidator(span), Field(ge=0)] = Field(
        0.0, description="How long audio stays in Redis, as a memory that all replicas share; 0: it does not enter."
    )
    miss_limit: Annotated[str, AfterValidator(rate_limit)] | None = Field(
        None, description="How often a tenant may have a text spoken anew, over all replicas: `100/minute; 2000/day`."
    )
    schedules: Table = Field(
        {}, description='What is done by the clock: a table a name, with `cron`, and `seed` or `do = "upkeep"`.'
    )
    queue_here: bool = Field(
        True, description="Whether gateways speak what is queued in Redis, beside workers; without Redis they must."
    )
    queue_at_once: int = Field(8, ge=1, le=1_000, description="How many queued texts a process has spoken at a time.")
    storage: Annotated[str, AfterValidator(storage_name)] = Field(
        "local", min_length=1, description="The storage that new audio goes to: a name of `storages`, or a URL."
    )
    storages: Table = Field(
        {}, description="Where audio rests: a table a name or URL, with `backend` or `url`, and its settings."
    )
    storage_patience: float = Field(
        5.0, gt=0, description="How long a hit waits for its storage before the text is spoken anew instead."
    )
    delivery: Literal["gateway", "storage"] = Field(
        "gateway",
        description="Who serves `/audio/…`: the gateway, or by a redirect the storage or the CDN before it, where it"
        " has an address of its own.",
    )
    aws_endpoint_url: str | None = _theirs("AWS_ENDPOINT_URL", "Where S3 is, if not at Amazon.")
    aws_access_key_id: str | None = _theirs("AWS_ACCESS_KEY_ID", "The id of S3's key.")
    aws_secret_access_key: SecretStr | None = _theirs("AWS_SECRET_ACCESS_KEY", "S3's key.")
    aws_session_token: SecretStr | None = _theirs("AWS_SESSION_TOKEN", "What goes with a key that is lent.")
    aws_region: str | None = _theirs("AWS_REGION", "S3's region.", "AWS_DEFAULT_REGION")
    google_application_credentials: str | None = _theirs(
        "GOOGLE_APPLICATION_CREDENTIALS", "The file of Google's service account."
    )
    supabase_url: str | None = _theirs("SUPABASE_URL", "The address of the Supabase project.")
    supabase_service_key: SecretStr | None = _theirs("SUPABASE_SERVICE_KEY", "Its service key.")
    databricks_host: str | None = _theirs("DATABRICKS_HOST", "The address of the Databricks workspace.")
    databricks_token: SecretStr | None = _theirs("DATABRICKS_TOKEN", "The token for it.")
    databricks_volume: str | None = _theirs(
        "DATABRICKS_VOLUME", "The volume that audio goes to, `/Volumes/catalog/schema/volume`."
    )
    path_template: str = Field(DEFAULT_PATH, description="The path of new audio in its storage.")
    keep: Span = Field(None, description="How long audio is kept: `forever`, or `30d`, `12h`, `5m`.")
    keep_sliding: bool = Field(False, description="Whether that is after its last use, instead of after it was made.")
    caching: bool = Field(True, description="Whether what is spoken is kept at all.")
    tier: Annotated[str, AfterValidator(storage_name)] = Field(
        "", description="A storage in front of that, by its name or URL, for a short while: `database://`, say."
    )
    tier_keep: Annotated[float, BeforeValidator(span), Field(gt=0)] = Field(
        300.0, description="How long it holds what was just spoken or asked for."
    )
    tier_sliding: bool = Field(False, description="Whether that is after its last use.")
    max_entries: int | None = Field(None, ge=0, description="How many assets upkeep leaves; none: all.")
    max_bytes: Size | None = Field(None, description="How much audio upkeep leaves; none: all.")
    upkeep: bool = Field(True, description="Whether upkeep runs by itself, once an hour over all processes.")
    sweep_most: int = Field(
        1_000, ge=0, description="Above how many blobs that no row names upkeep leaves them to `--sweep-all`."
    )
    keep_text: bool = Field(True, description="Whether the catalog keeps the spoken texts.")
    variants: Literal["transcode", "native"] = Field(
        "transcode",
        description="Another format of kept audio: transcoded (never better than what was kept first), or"
        " generated of its own.",
    )
    memory: Size = Field(256_000_000, description="How much audio is held in memory.")
    greetings_share: float = Field(
        0.25, ge=0, le=1, description="How much of it the greetings used last may take right after a start."
    )
    hot_lane: bool = Field(True, description="Whether exact repeats of hits are answered below the web framework.")
    lease_seconds: float = Field(10.0, gt=0, description="How long a flight's lease lasts unless renewed.")
    bypass_characters: int = Field(
        100_000, ge=0, description="The most characters an hour that are spoken while nothing can be kept."
    )
    bypass_usd: float = Field(5.0, ge=0, description="The most spent an hour while nothing can be kept.")

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(
        "USD", description="The currency that costs are counted in, as ISO 4217 names it."
    )
    usd_rate: float = Field(1.0, gt=0, description="What a dollar is in that currency: vendors' prices are in USD.")
    storage_prices: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="What storing costs, in USD a GB and month, by a storage's name or backend; else list prices."
    )
    rate: float | None = Field(
        None, gt=0, description="Requests a second that a tenant may make of each worker; none: no limit."
    )
    burst: float | None = Field(None, ge=1, description="Requests that a tenant may make at once.")
    budget: float | None = Field(None, ge=0, description="What a tenant may spend a month; none: no limit.")
    key_memory: float = Field(300.0, ge=0, description="How long known keys hold while the catalog is away.")
    url_seconds: float = Field(1_800.0, gt=0, description="How long a signed audio URL is good.")
    flush_seconds: float = Field(2.0, gt=0, description="How often counted usage is written.")
    poll_seconds: float = Field(1.0, gt=0, description="How often the change log is read.")
    drain_seconds: float = Field(
        0.0, ge=0, description="How long the gateway serves on, not ready any more, after it was told to stop."
    )
    shutdown_seconds: float = Field(30.0, ge=0, description="How long flights may go on when the gateway stops.")

    @field_validator("upstreams", "storages")
    @classmethod
    def _are_named(cls, tables: Table) -> Table:
        for name in tables:
            if not _NAME.fullmatch(name) and "://" not in name:
                raise ValueError(f"the name {name!r} must be of lower-case letters, digits, '-' and '_'")
        return {name: {key: decoded(value) for key, value in table.items()} for name, table in tables.items()}

    @field_validator("storage_prices")
    @classmethod
    def _are_of_storages(cls, prices: dict[str, float], told: ValidationInfo) -> dict[str, float]:
        there = {told.data.get("storage"), told.data.get("tier"), *told.data.get("storages", {}), *known_backends()}
        for name in prices.keys() - there:
            raise ValueError(f"{name!r} is neither a storage nor a backend of one")
        return prices

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = config_file()
        toml = () if file is None else (TomlConfigSettingsSource(settings_cls, file),)
        return (init_settings, env_settings, *toml)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [(name, shown(getattr(self, name))) for name in type(self).model_fields]

    @property
    def database(self) -> str:
        """The catalog's address."""
        return self.database_url or f"sqlite:///{quote(str(self.data_dir / 'catalog.db'))}"

    @property
    def speaker(self) -> str:
        """Who speaks where a request names nobody."""
        first = self.default_upstream or next(iter(self.chain), None)
        return first or ("openai" if "openai" in self.all_upstreams else "espeak")

    @property
    def all_upstreams(self) -> Table:
        """The configured upstreams, with those that are implied: a vendor by its key or address, and `espeak`."""
        return upstreams_of(dict(self))

    @property
    def all_storages(self) -> Table:
        """The configured storages, each with its backend and what the settings know of that; the local one, and the
        one whose URL stands in `storage`, are implied. Who is known by a URL alone has it as a name."""
        return storages_of(dict(self))

    @property
    def replica(self) -> str:
        """What this machine is called among the replicas."""
        return self.replica_name or socket.gethostname()


def load(**overrides: object) -> Settings:
    """The settings of this process. InvalidSettings, naming each one that is wrong, where they are not right."""
    names = list(Settings.model_fields)
    wrong = unknown_names({_PREFIX + name.upper() for name in names}, _PREFIX)
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise refused([*wrong, *wrong_values(error, names)], config_file()) from error
    except SettingsError as error:
        raise InvalidSettings(
            f"The environment cannot be read: {error}.", remedy="Tables are written as JSON."
        ) from error
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{config_file()} cannot be read: {error}.", remedy="Mend it.") from error
    if wrong:
        raise refused(wrong, config_file())
    return settings


def config_file() -> Path | None:
    """The settings file: `SAYONCE_CONFIG`, else ./sayonce.toml, else the platform's; None where there is none."""
    named = os.environ.get(f"{_PREFIX}CONFIG")
    if named:
        if not Path(named).is_file():
            raise InvalidSettings(f"There is no settings file {named}.", remedy=f"Mend {_PREFIX}CONFIG.")
        return Path(named)
    usual = (Path("sayonce.toml"), Path(user_config_dir("sayonce", appauthor=False)) / "sayonce.toml")
    return next((file for file in usual if file.is_file()), None)


def environment(name: str) -> str:
    """What a setting is called in the environment."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else _PREFIX + name.upper()
