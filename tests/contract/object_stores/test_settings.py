"""The settings of storages over obstore: what is wrong is refused by name, and the environment decides nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse

from sayonce.errors import InvalidSettings
from sayonce.settings import load
from sayonce.storage import registry
from sayonce.storage.contract import LifecycleRule
from sayonce.storage.s3 import S3Settings
from sayonce.testing import azure as azures
from sayonce.testing import gcs as google
from sayonce.testing.servers import serving
from tests.contract.object_stores.places import KEYS, SECRET, AzurePlace, GcsPlace, S3Place

S3 = {"url": "s3://bucket/prefix", **KEYS}
GCS = {"url": "gs://bucket/prefix"}
AZURE = {"url": "az://container/prefix", "options": {"account_name": "a", "account_key": azures.KEY}}

WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("s3", {"url": "gs://bucket"}, "url", "s3://bucket"),
    ("s3", {"url": "s3://"}, "url", "s3://bucket"),
    ("s3", {"url": f"s3://user:{SECRET}@bucket"}, "url", "s3://bucket"),
    ("s3", {"url": "s3://bucket/a//b"}, "url", "letters"),
    ("s3", {"url": "s3://bucket/a b"}, "url", "letters"),
    ("s3", {"url": "s3://bucket?region=x"}, "url", "s3://bucket"),
    ("s3", {"url": None}, "url", "required"),
    ("s3", {"access_key_id": None}, "access_key_id", "AWS_ACCESS_KEY_ID"),
    ("s3", {"secret_access_key": None}, "secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("s3", {"secret_access_key": f"{SECRET} é"}, "secret_access_key", "ASCII"),
    ("s3", {"session_token": f"{SECRET}\nx"}, "session_token", "ASCII"),
    ("s3", {"credentials": "metadata"}, "credentials", "without keys"),
    ("s3", {"credentials": "magic"}, "credentials", "metadata"),
    ("s3", {"endpoint_url": "minio:9000"}, "endpoint_url", "http"),
    ("s3", {"endpoint_url": f"http://u:{SECRET}@minio"}, "endpoint_url", "http"),
    ("s3", {"public_url": "cdn.example.com"}, "public_url", "http"),
    ("s3", {"public_url": "https://cdn.example.com?x=1"}, "public_url", "http"),
    ("s3", {"urls": "public"}, "urls", "public_url"),
    ("s3", {"urls": "sometimes"}, "urls", "signed"),
    ("s3", {"timeout": 0}, "timeout", "greater"),
    ("s3", {"secret": SECRET}, "secret", "not permitted"),
    ("gcs", {}, "credentials", "GOOGLE_APPLICATION_CREDENTIALS"),
    ("gcs", {"credentials": ""}, "credentials", "GOOGLE_APPLICATION_CREDENTIALS"),
    ("gcs", {"credentials": "/nowhere/account.json"}, "credentials", "No such file"),
    ("gcs", {"credentials": "/"}, "credentials", "cannot be read"),
    ("gcs", {"base_url": "storage"}, "base_url", "http"),
    ("gcs", {"credentials": "metadata", "public_url": "https://cdn.example.com"}, "public_url", "cannot sign"),
    ("obstore", {"url": "s3://bucket"}, "url", "'s3'"),
    ("obstore", {"url": "gs://bucket"}, "url", "'gcs'"),
    ("obstore", {"url": "file:///srv"}, "url", "'local'"),
    ("obstore", {"url": "somewhere"}, "url", "az://"),
    ("obstore", {"url": f"az://container?{SECRET}"}, "url", "az://"),
    ("obstore", {"options": "none"}, "options", "dictionary"),
]


@pytest.mark.parametrize(("backend", "wrong", "field", "told"), WRONG)
def test_what_is_wrong_is_refused_by_name(backend: str, wrong: dict[str, Any], field: str, told: str) -> None:
    table = {"s3": S3, "gcs": GCS, "obstore": AZURE}[backend] | wrong
    with pytest.raises(InvalidSettings) as refused:
        registry.make("far", backend, {name: value for name, value in table.items() if value is not None})
    assert f"'{field}' of the storage 'far'" in refused.value.message
    assert told in refused.value.message
    assert f'[storages."far"]; docs/how-to/storage-{backend}.md' in refused.value.remedy
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "told",
    [SECRET, "[]", "{}", json.dumps({"type": "authorized_user", "refresh_token": SECRET})],
)
def test_a_file_that_is_no_accounts(told: str, tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text(told)
    with pytest.raises(InvalidSettings, match="'credentials' of the storage 'far'") as refused:
        registry.make("far", "gcs", GCS | {"credentials": str(tmp_path / "account.json")})
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("backend", "table"),
    [
        ("obstore", AZURE | {"options": {"account_name": "a", "account_key": SECRET}}),
        ("obstore", AZURE | {"options": {"account_name": "a", "use_emulator": SECRET}}),
        ("obstore", AZURE | {"options": {"no_such_option": SECRET}}),
        ("obstore", {"url": "https://webdav.example.com/folder"}),
    ],
)
def test_what_the_driver_refuses_is_not_quoted(backend: str, table: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match="'far' cannot be opened") as refused:
        registry.make("far", backend, table)
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (AZURE | {"options": {}}, "'options.account_name' .* set AZURE_STORAGE_ACCOUNT_NAME"),
        ({"url": "ftp://host/folder"}, "'url' .* begins with 'ftp', .* there are file, memory, s3"),
    ],
)
def test_what_is_missing_is_named(table: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(InvalidSettings, match=told):
        registry.make("far", "obstore", table)


def test_a_key_that_is_none_is_not_quoted(tmp_path: Path) -> None:
    told = google.account("https://example.com") | {"private_key": SECRET}
    (tmp_path / "account.json").write_text(json.dumps(told))
    with pytest.raises(InvalidSettings) as refused:
        registry.make("far", "gcs", GCS | {"credentials": str(tmp_path / "account.json")})
    assert SECRET not in "".join(traceback.format_exception(refused.value))


# ── where the bucket is ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "address", "region"),
    [
        ({}, "https://bucket.s3.us-east-1.amazonaws.com", "us-east-1"),
        ({"region": "eu-central-1"}, "https://bucket.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ({"region": "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ({"url": "s3://my.bucket/x"}, "https://s3.us-east-1.amazonaws.com/my.bucket", "us-east-1"),
        ({"endpoint_url": "http://localhost:9000/"}, "http://localhost:9000/bucket", "us-east-1"),
        ({"endpoint_url": "https://a.r2.cloudflarestorage.com"}, "https://a.r2.cloudflarestorage.com/bucket", "auto"),
        (
            {"endpoint_url": "https://a.r2.cloudflarestorage.com/bucket"},
            "https://a.r2.cloudflarestorage.com/bucket",
            "auto",
        ),
        ({"endpoint_url": "https://storage.googleapis.com"}, "https://storage.googleapis.com/bucket", "auto"),
        (
            {"endpoint_url": "https://x.supabase.co/storage/v1/s3", "url": "s3://s3/p", "region": "eu-west-1"},
            "https://x.supabase.co/storage/v1/s3/s3",
            "eu-west-1",
        ),
        ({"endpoint_url": "https://bucket.s3.example.com"}, "https://bucket.s3.example.com", "us-east-1"),
    ],
)
def test_where_a_bucket_is(more: dict[str, Any], address: str, region: str) -> None:
    settings = S3Settings.model_validate(S3 | more)
    assert (settings.address, settings.signing_region) == (address, region)
    assert SECRET not in repr(settings)


async def test_an_endpoint_behind_a_path(s3: S3Place, moto: str) -> None:
    """As Supabase's is."""
    await s3.open(s3.front(moto, path="/storage/v1/s3"))
    endpoint = f"{s3.url}/storage/v1/s3"
    storage = s3.storage("/p", endpoint_url=endpoint, public_url=f"{endpoint}/{s3.bucket}")
    await storage.write("a=b.mp3", b"bytes", {"n": "1"})
    assert await storage.metadata("a=b.mp3") == {"n": "1"}
    assert [blob.path async for blob in storage.list()] == ["a=b.mp3"]
    await storage.delete("a=b.mp3")
    assert [blob.path async for blob in storage.list()] == []
    assert all(call.partition(" ")[2].startswith("/storage/v1/s3/") for call in s3.calls)


async def test_googles_s3_has_no_deletion_of_many(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sayonce.storage.s3._GOOGLE", "127.0.0.1")
    storage = s3.storage(region="us-east-1")
    await storage.write("a", b"", {"n": "1"})
    s3.troubled.forget()
    await storage.delete("a")
    await storage.delete("a")
    assert [call.partition(" ")[0] for call in s3.calls] == ["DELETE"] * 4


# ── what else there is ───────────────────────────────────────────────────────────────────────────


async def test_keys_as_a_file_has_them(s3: S3Place) -> None:
    storage = s3.storage(**{name: f"{value}\n" for name, value in KEYS.items()})
    await storage.probe()


async def test_the_environment_leads_nowhere_else(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_SECRET_ACCESS_KEY": "another",
        "AWS_SESSION_TOKEN": "another",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "AWS_ALLOW_HTTP": "false",
        "AWS_BUCKET": "another",
    }.items():
        monkeypatch.setenv(name, value)
    storage = s3.storage()
    await storage.write("a", b"bytes", {"n": "1"})
    assert await storage.read("a") == b"bytes"


async def test_googles_environment_leads_nowhere_else(gcs: GcsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GOOGLE_BASE_URL": "http://127.0.0.1:9",
        "GOOGLE_BUCKET": "another",
        "GOOGLE_SKIP_SIGNATURE": "true",
        "GOOGLE_SERVICE_ACCOUNT_KEY": "{}",
        "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    storage = gcs.storage()
    await storage.write("a", b"bytes", {"n": "1"})
    assert await storage.read("a") == b"bytes"


async def test_a_containers_own_role(
    s3: S3Place, moto: str, stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variables that Amazon sets in a pod; an instance's role cannot be had here."""
    lent = {"AccessKeyId": KEYS["access_key_id"], "SecretAccessKey": SECRET, "Token": "lent"}
    role = JSONResponse(lent | {"Expiration": "2100-01-01T00:00:00Z"})
    front = s3.front(moto, token="lent")
    stack.push_async_callback(front.aclose)
    url, roles = [await stack.enter_async_context(serving(app)) for app in (front, role)]
    (tmp_path / "token").write_text("a pod's own")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", roles)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    own = {"access_key_id": None, "secret_access_key": None, "credentials": "metadata"}
    storage = s3.storage("/p", endpoint_url=url, public_url=f"{url}/{s3.bucket}", **own)
    await storage.write("a", b"bytes", {"n": "1"})
    assert await storage.read("a") == b"bytes"
    await storage.set_lifecycle([LifecycleRule(7, None)])
    assert await storage.lifecycle() == [LifecycleRule(7, None)]
    async with httpx.AsyncClient() as http:
        assert (await http.get(await storage.url("a", 60) or "")).content == b"bytes"


@pytest.mark.parametrize("name", ["GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"])
def test_what_the_driver_would_heed_instead_is_refused(
    gcs: GcsPlace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(InvalidSettings, match=f"unset {name}") as refused:
        gcs.storage()
    assert SECRET not in str(refused.value)


async def test_the_machines_own_account(gcs: GcsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for where the settings say so, and nowhere else: without credentials there is no storage."""
    monkeypatch.setenv("GCE_METADATA_HOST", gcs.url.removeprefix("http://"))
    storage = gcs.storage(credentials="metadata", urls="none")
    await storage.write("a", b"bytes", {"n": "1"})
    assert await storage.read("a") == b"bytes"
    asked = [call for call in gcs.calls if "computeMetadata" in call]
    assert len(asked) == 1
    with pytest.raises(InvalidSettings):
        gcs.storage(credentials=None)
    assert [call for call in gcs.calls if "computeMetadata" in call] == asked


def test_settings_of_the_whole_reach_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the backend's own variables, for a storage that is known by its URL alone."""
    monkeypatch.setenv("SAYONCE_STORAGE", "s3://bucket/prefix")
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", SECRET), ("ENDPOINT_URL", "http://minio:9000")):
        monkeypatch.setenv(f"AWS_{name}", value)
    table = load().all_storages["s3://bucket/prefix"]
    storage: Any = registry.make("x", table.pop("backend"), table)
    assert storage.settings.address == "http://minio:9000/bucket"
    (tmp_path / "account.json").write_text(json.dumps(google.account("https://example.com")))
    monkeypatch.setenv("SAYONCE_STORAGE", "gs://bucket/prefix")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    table = load().all_storages["gs://bucket/prefix"]
    assert registry.make("x", table.pop("backend"), table).backend == "gcs"
    monkeypatch.setenv("SAYONCE_STORAGE", "az://container/prefix")
    assert load().all_storages["az://container/prefix"]["backend"] == "obstore"


async def test_options_need_not_be_texts(azure: AzurePlace) -> None:
    options = azure.usual("")["options"] | {"skip_signature": False, "disable_tagging": True}
    storage = azure.storage(options=options)
    await storage.write("a", b"bytes", {"n": "1"})
    assert azures.KEY not in repr(vars(storage))


@pytest.mark.parametrize(
    ("blocked", "run", "extra"),
    [
        ("obstore", "import sayonce.storage.s3", "s3"),
        ("obstore", "import sayonce.storage.gcs", "gcs"),
        ("obstore", "import sayonce.storage.obstore", "obstore"),
        ("botocore", "import sayonce.storage.s3, sayonce.storage.s3_lifecycle", "lifecycle"),
        ("google", "import sayonce.storage.gcs, sayonce.storage.gcs_lifecycle", "lifecycle"),
        ("google", "import sayonce.storage.gcs, sayonce.storage.gcs_signing", "lifecycle"),
    ],
)
def test_a_missing_extra_is_named(blocked: str, run: str, extra: str) -> None:
    script = (
        f"import sys\nsys.modules[{blocked!r}] = None\nfrom sayonce.errors import MissingExtra\n"
        f"try:\n    {run}\nexcept MissingExtra as error:\n    print(error.extra, '|', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    told, _, sentence = done.stdout.strip().partition(" | ")
    assert (told, f"sayonce[{extra}]" in sentence) == (extra, True)


def test_googles_driver_needs_no_other_client() -> None:
    """Its own would be an extra of its own."""
    script = (
        "import sys\nfor name in ('requests', 'urllib3', 'aiohttp'):\n    sys.modules[name] = None\n"
        "import sayonce.storage.gcs, sayonce.storage.gcs_lifecycle, sayonce.storage.gcs_signing\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
