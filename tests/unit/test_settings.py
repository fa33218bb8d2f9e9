"""Settings: where they come from, what is refused, and that no secret is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docs.reference import FOLDER, settings_page
from pydantic import SecretStr, ValidationError

from sayonce.catalog.registry import connect
from sayonce.errors import InvalidSettings
from sayonce.providers import registry
from sayonce.providers.chat_cleaner import ChatCleanerSettings
from sayonce.providers.vendor import Vendor
from sayonce.settings import Settings, config_file, load
from sayonce.settings_table import table

SECRET = "sk-never-shown"
TABLES = {"upstreams", "storages", "voices", "cleaner", "storage_prices", "schedules"}


def toml(text: str, path: str = "sayonce.toml") -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def refused(**overrides: object) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load(**overrides)
    return str(caught.value)


# ── where they come from ─────────────────────────────────────────────────────────────────────────


def test_the_promised_defaults() -> None:
    settings = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8700)
    assert settings.data_dir.is_absolute()
    assert settings.data_dir.name == "sayonce"
    assert settings.keep is None
    assert settings.variants == "transcode"
    assert settings.database == f"sqlite:///{settings.data_dir}/catalog.db"


def test_the_environment_beats_the_file_and_a_given_one_beats_both(monkeypatch: pytest.MonkeyPatch) -> None:
    toml("port = 1\nattempts = 7\nrate = 1")
    monkeypatch.setenv("SAYONCE_PORT", "2")
    monkeypatch.setenv("SAYONCE_RATE", "2")
    settings = load(rate=3)
    assert (settings.attempts, settings.port, settings.rate) == (7, 2, 3)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_PORT", "")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert load().port == 8700
    assert load().speaker == "espeak"


def test_the_file_is_the_named_one_else_the_near_one_else_the_platforms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert config_file() is None
    toml("port = 3", str(tmp_path / "config" / "sayonce" / "sayonce.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert load().port == 3
    toml("port = 2")
    assert load().port == 2
    monkeypatch.setenv("SAYONCE_CONFIG", str(toml("port = 1", "elsewhere/mine.toml")))
    assert load().port == 1


def test_a_named_file_that_is_missing_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    toml("port = 2")
    monkeypatch.setenv("SAYONCE_CONFIG", "nowhere.toml")
    assert "nowhere.toml" in refused()


@pytest.mark.parametrize("source", ["environment", "file", "given"])
@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("memory", "256 MB", 256_000_000),
        ("memory", "1gb", 1_000_000_000),
        ("max_audio", "512", 512),
        ("keep", "forever", None),
        ("keep", "30d", 2_592_000),
        ("keep", "12h", 43_200),
        ("keep", "5m", 300),
        ("keep", "90 s", 90),
        ("cors_origins", "https://a.example, https://b.example", ("https://a.example", "https://b.example")),
        ("keep_text", "false", False),
    ],
)
def test_values_as_people_write_them(
    source: str, name: str, given: str, meant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    match source:
        case "environment":
            monkeypatch.setenv(f"SAYONCE_{name.upper()}", given)
        case "file":
            toml(f"{name} = {json.dumps(given)}")
    settings = load(**{name: given} if source == "given" else {})
    assert getattr(settings, name) == meant


def test_a_tilde_is_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    toml('data_dir = "~/speech"')
    assert load().data_dir == tmp_path / "speech"


def test_they_hold_for_the_life_of_the_process() -> None:
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]


# ── who speaks, and where it rests ───────────────────────────────────────────────────────────────


def test_without_a_vendor_the_local_voice_speaks() -> None:
    settings = load()
    assert settings.speaker == "espeak"
    assert settings.all_upstreams == {"espeak": {"provider": "espeak"}}


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_a_key_or_an_address_makes_openai_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://vendor.example/v1")
    settings = load()
    assert settings.speaker == "openai"
    assert settings.all_upstreams["openai"]["provider"] == "openai"
    assert "espeak" in settings.all_upstreams


def test_a_table_adds_to_what_is_implied_and_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://vendor.example/v1")
    toml('[upstreams.openai]\nbase_url = "http://other.example/v1"\n[upstreams.espeak]\nworkers = 4')
    found = load().all_upstreams
    assert found["openai"] == {
        "provider": "openai",
        "api_key": SecretStr(SECRET),
        "base_url": "http://other.example/v1",
    }
    assert found["espeak"] == {"provider": "espeak", "workers": 4}


def test_the_default_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert load(default_upstream="espeak").speaker == "espeak"


def test_the_environment_reaches_into_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    toml('[upstreams.kokoro]\nprovider = "openai"\nbase_url = "http://a.example"\napi_key = "123"')
    monkeypatch.setenv("SAYONCE_UPSTREAMS__KOKORO__BASE_URL", "http://b.example")
    monkeypatch.setenv("SAYONCE_UPSTREAMS__KOKORO__VOICES", '["af_heart", "af_nicole"]')
    assert load().upstreams["kokoro"] == {
        "provider": "openai",
        "base_url": "http://b.example",
        "api_key": "123",
        "voices": ["af_heart", "af_nicole"],
    }


def test_storages_prices_may_be_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    toml("[storages.cold]\nbackend = 'gcs'\nurl = 'gs://b'\n[storage_prices]\ncold = 0.004\ns3 = 1")
    monkeypatch.setenv("SAYONCE_STORAGE_PRICES__S3", "0.5")
    assert load().storage_prices == {"cold": 0.004, "s3": 0.5}


def test_a_whole_table_may_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_STORAGES", '{"big": {"backend": "local", "root": "/srv"}}')
    found = load(data_dir="/data").all_storages
    assert found["big"] == {"backend": "local", "root": "/srv"}
    assert found["local"] == {"backend": "local", "root": "/data/audio"}


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SAYONCE_PROT", "SAYONCE_PORT"),
        ("sayonce_prot", "SAYONCE_PORT"),
        ("SAYONCE_UPSTREAM__X__PROVIDER", "SAYONCE_UPSTREAMS"),
        ("SAYONCE_PORT__X", "SAYONCE_PORT"),
        ("SAYONCE_QQQQQQ", "docs/settings.md"),
    ],
)
def test_an_unknown_variable_is_refused_and_a_near_one_named(
    name: str, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    told = refused()
    assert name in told
    assert near in told
    assert SECRET not in told


def test_each_wrong_setting_has_a_line_of_its_own() -> None:
    file = toml('prot = 1\nport = "eighty"\nkeep = "soon"\n[upstreams."../x"]\nprovider = "openai"')
    lines = refused().splitlines()
    assert str(file) in lines[0]
    told = {line.strip().partition(":")[0]: line for line in lines[1:]}
    assert set(told) == {"prot", "port", "keep", "upstreams"}
    assert "did you mean 'port'?" in told["prot"]
    assert "'../x'" in told["upstreams"]


def test_unknown_variables_and_wrong_values_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_PROT", SECRET)
    monkeypatch.setenv("SAYONCE_PORT", "eighty")
    monkeypatch.setenv("SAYONCE_KEPE", SECRET)
    told = refused()
    assert sorted(line.split(":")[0].strip() for line in told.splitlines()[1:]) == [
        "SAYONCE_KEPE",
        "SAYONCE_PROT",
        "port",
    ]
    assert SECRET not in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65_536},
        {"host": ""},
        {"attempts": 0},
        {"memory": -1},
        {"memory": "a lot"},
        {"keep": "0d"},
        {"keep": -5},
        {"rate": 0},
        {"rate": float("nan")},
        {"lease_seconds": 0},
        {"variants": "both"},
        {"log_level": "chatty"},
        {"upstreams": {"Big": {}}},
        {"upstreams": {"a b": {}}},
        {"upstreams": {"": {}}},
        {"upstreams": {"x": "openai"}},
        {"storages": {"-": {}}},
        {"turn_format": "mp9"},
        {"turn_keep": "soon"},
        {"storage_prices": {"local": -1}},
        {"storage_prices": {"nowhere": 1}},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_name(wrong: dict[str, Any]) -> None:
    assert f"\n  {next(iter(wrong))}" in refused(**wrong)


@pytest.mark.parametrize("text", [b"port = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(text: bytes) -> None:
    Path("sayonce.toml").write_bytes(text)
    assert "sayonce.toml cannot be read" in refused()


def test_an_error_quotes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYONCE_UPSTREAMS", f'{{"x": {{"api_key": "{SECRET}')
    assert SECRET not in refused()
    monkeypatch.delenv("SAYONCE_UPSTREAMS")
    assert SECRET not in refused(upstreams={"x": SECRET}, openai_api_key=[SECRET], port=SECRET)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def with_secrets() -> Settings:
    inner = {
        "api_key": SECRET,
        "headers": {"x-token": SECRET},
        "base_url": f"http://me:{SECRET}@vendor.example/v1",
        "deep": [{"password": SECRET}],
        "url": f"https://vendor.example/tts?key={SECRET}",
        "body": {"text": "{text}", "account": SECRET},
    }
    return load(
        openai_api_key=SECRET,
        openai_base_url=f"http://{SECRET}@vendor.example/v1",
        upstreams={"x": inner},
        storages={"y": {"secret_access_key": SECRET}},
        cleaner={"api_key": SECRET, "base_url": f"https://h/v1?k={SECRET}"},
    )


def test_no_secret_is_shown() -> None:
    settings = with_secrets()
    shown = {row.name: row.value for row in table(settings)}
    assert SECRET not in str(shown)
    assert SECRET not in repr(settings)
    assert shown["openai_base_url"] == "http://…@vendor.example/v1"
    assert "vendor.example" in shown["upstreams"]


def test_the_table_tells_of_every_setting_and_of_what_was_changed() -> None:
    rows = {row.name: row for row in table(load(port=1, keep="5m"))}
    assert set(rows) == set(Settings.model_fields)
    assert all(row.description for row in rows.values())
    assert (rows["port"].environment, rows["port"].default, rows["port"].value) == ("SAYONCE_PORT", "8700", "1")
    assert (rows["keep"].default, rows["keep"].value) == ("forever", "300")
    assert rows["openai_api_key"].environment == "OPENAI_API_KEY"


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - TABLES))
def test_every_variable_of_the_table_sets_its_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in table(load()) if row.name == name)
    given = _another(name)
    monkeypatch.setenv(row.environment, given)
    assert getattr(load(), name) == getattr(load(**{name: given}), name)
    assert getattr(load(), name) != Settings.model_fields[name].default


def _another(name: str) -> str:
    """A value that is not the default."""
    fixed = {
        "variants": "native",
        "delivery": "storage",
        "log_level": "debug",
        "log_format": "json",
        "message_cleaning": "off",
        "currency": "ZAR",
        "turn_format": "mp3",
        "redis_url": "redis://localhost:6379/1",
        "miss_limit": "20/second; 1000/day",
        "greetings_share": "0.5",
        "public_url": "https://speech.example",
    }
    default = Settings.model_fields[name].default
    if isinstance(default, bool):
        return str(not default).lower()
    return fixed.get(name, "7" if isinstance(default, int | float) else "1")


def test_the_docs_page_is_current() -> None:
    assert (FOLDER / "settings.md").read_text(encoding="utf-8") == settings_page(), "run: make docs"


def test_the_docs_page_tells_of_every_setting_of_an_upstream() -> None:
    page = settings_page()
    vendors = [made for name in registry.known() if issubclass(made := registry.kind("x", name), Vendor)]
    fields = {name for vendor in vendors for name in vendor.settings_model.model_fields}
    fields |= {*ChatCleanerSettings.model_fields}
    assert "mip_opt_out" in fields
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("provider", registry.known())
def test_the_docs_page_tells_of_every_provider(provider: str) -> None:
    [tables] = [line for line in settings_page().splitlines() if line.startswith("|") and f'"{provider}"' in line]
    assert "| what it is |" in tables, f"give {provider} a table in docs/reference.py"


def test_a_storage_with_a_key_of_its_own_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    own = {"url": "s3://other", "access_key_id": "mine", "secret_access_key": "mine"}
    made = load(storage="s3://bucket/", storages={"mine": own}).all_storages
    assert made["mine"] == {"backend": "s3", **own}
    assert set(made["s3://bucket"]) == {
        "backend",
        "url",
        "endpoint_url",
        "access_key_id",
        "secret_access_key",
        "session_token",
    }
    assert SECRET not in str(made["s3://bucket"]["secret_access_key"])


@pytest.mark.parametrize("name", ["storage", "tier"])
def test_an_address_holds_no_password(name: str) -> None:
    """It is told to people, and stands in rows."""
    with pytest.raises(InvalidSettings, match=name) as refused:
        load(**{name: f"s3://user:{SECRET}@bucket/prefix"})
    assert SECRET not in f"{refused.value} {refused.value.remedy}"


def test_a_container_is_no_user() -> None:
    address = "abfss://speech@account.dfs.core.windows.net/audio"
    assert load(storage=address).storage == address


@pytest.mark.parametrize("url", [f"postgresql://ann:p#{SECRET}@host/db", f"{SECRET}@host/db", f"x{SECRET}://host/db"])
def test_a_databases_address_that_cannot_be_read_is_not_told(url: str) -> None:
    with pytest.raises(InvalidSettings, match="DATABASE_URL") as refused:
        connect(url)
    assert SECRET not in f"{refused.value} {refused.value.remedy}"
