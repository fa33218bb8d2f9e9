"""What the doctor says of storages: of rights, addresses, rules and variables, on good days and bad."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sayonce.checkup.rounds import is_well
from sayonce.storage import registry
from sayonce.storage.contract import LifecycleRule
from tests.buckets import Inside, away, refused
from tests.integration.doctor.conftest import answering, http_answer, prepared, told, verdicts


async def test_a_bucket_that_is_well(mine: Inside) -> None:
    mine.rules = [LifecycleRule(30, "COLD")]

    def serve(request: bytes) -> bytes:
        path = request.split()[1].decode().partition("?")[0].lstrip("/")
        data, _, _ = mine.blobs._blobs[path]
        return http_answer(200, data, time.time())

    async with answering(serve) as (mine.address, _):
        found = await told(storage="bucket://mine")
    assert is_well(found.values()), found
    assert set(verdicts(found, "storage bucket://mine").values()) == {"ok"}
    assert "after 30 days: COLD" in found["storage bucket://mine", "lifecycle"].said
    assert "storage bucket://mine" in found["clock", "time"].said
    assert ("storage local", "list") not in found, "it is not used"
    assert mine.blobs._blobs == {}


@pytest.mark.parametrize("what", ["probe", "write", "read", "metadata", "list", "url", "delete"])
async def test_a_right_that_the_key_has_not(mine: Inside, what: str) -> None:
    mine.trouble = {what: refused(f"The key may not {what}.")}
    found = await told(storage="bucket://mine")
    wrong = [each for each in found.values() if each.verdict == "failed"]
    assert {each.said for each in wrong} == {f"The key may not {what}."}
    assert {each.remedy for each in wrong} == {"Give the key that right."}
    assert what == "delete" or mine.blobs._blobs == {}, "nothing is left behind"


async def test_a_bucket_that_is_away(mine: Inside) -> None:
    mine.trouble = {"all": away()}
    assert verdicts(await told(storage="bucket://mine"), "storage bucket://mine") == {
        "written and read": "failed",
        "all else": "skipped",
    }


@pytest.mark.parametrize("what", ["probe", "list", "delete"])
async def test_a_bucket_that_hangs_keeps_nobody_waiting(mine: Inside, what: str) -> None:
    mine.hangs = {what}
    found = await told(storage="bucket://mine", patience=0.5)
    assert "0.5 seconds" in found["storage bucket://mine", "in time"].said
    assert found["catalog", "reached"].verdict == "ok"
    assert what == "delete" or mine.blobs._blobs == {}


@pytest.mark.parametrize(
    ("delivery", "answer", "verdict", "said"),
    [
        ("gateway", http_answer(403), "warning", "answers 403"),
        ("storage", http_answer(403), "failed", "answers 403"),
        ("storage", http_answer(200, b"<html>"), "failed", "something else"),
        ("storage", b"", "failed", "cannot be fetched"),
        ("storage", None, "warning", "gives none"),
        ("gateway", None, "skipped", "gives none"),
    ],
)
async def test_an_address_that_leads_nowhere(
    mine: Inside, delivery: str, answer: bytes | None, verdict: str, said: str
) -> None:
    async with answering(lambda _: answer) as (address, _):
        mine.address = None if answer is None else address
        found = await told(storage="bucket://mine", delivery=delivery)
    line = found["storage bucket://mine", "address"]
    assert (str(line.verdict), said in line.said) == (verdict, True), line
    assert "secret" not in str(found), "an address is a secret"


@pytest.mark.parametrize(
    ("rules", "keep", "table", "verdict"),
    [
        ([LifecycleRule(365, None)], "forever", {}, "warning"),
        ([LifecycleRule(365, None)], "30d", {}, "warning"),  # no backend of ours: nothing asks for it
        ([LifecycleRule(9, None)], "forever", {"lifecycle": [{"days": 9, "to": "delete"}]}, "ok"),
        ([], "forever", {"lifecycle": [{"days": 9, "to": "COLD"}]}, "warning"),
        ([], "forever", {"lifecycle": "never"}, "failed"),
        (None, "forever", {}, "skipped"),
    ],
)
async def test_what_a_bucket_does_by_itself(
    mine: Inside, rules: list[LifecycleRule] | None, keep: str, table: dict[str, Any], verdict: str
) -> None:
    mine.rules = rules
    found = await told(storage="bucket://mine", keep=keep, storages={"bucket://mine": table})
    assert found["storage bucket://mine", "lifecycle"].verdict == verdict


async def test_rules_that_the_key_may_not_see(mine: Inside) -> None:
    mine.trouble = {"lifecycle": refused("The key may not see its rules.")}
    found = await told(storage="bucket://mine")
    assert found["storage bucket://mine", "lifecycle"].verdict == "warning", "audio is kept all the same"


VARIABLES = [
    ("s3", {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}),
    ("gcs", {"GOOGLE_APPLICATION_CREDENTIALS": "x"}),
    ("supabase", {"SUPABASE_URL": "x", "SUPABASE_SERVICE_KEY": "y"}),
    ("databricks", {"DATABRICKS_HOST": "x", "DATABRICKS_TOKEN": "y"}),
]


@pytest.mark.parametrize(("backend", "variables"), VARIABLES)
async def test_variables_that_are_not_set_are_named(
    mine: Inside, backend: str, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.OURS, backend, "tests.buckets:Bucket")
    url = {"gcs": "gs"}.get(backend, backend) + "://mine"
    mine.trouble = {"probe": refused("Access denied.")}
    given = dict(variables)
    while given:
        line = (await told(storage=url))[f"storage {url}", "variables"]
        assert line.verdict == "failed"
        assert [name in line.said for name in variables] == [name in given for name in variables]
        name, value = given.popitem()
        monkeypatch.setenv(name, value)
    assert verdicts(await told(storage=url), f"storage {url}")["written and read"] == "failed"
    mine.trouble = {}
    assert (await told(storage=url))[f"storage {url}", "variables"].verdict == "ok"
    for name in variables:
        monkeypatch.delenv(name)
    assert "not needed" in (await told(storage=url))[f"storage {url}", "variables"].said, "the machine has a role"


async def test_each_configured_storage_is_checked(mine: Inside, tmp_path: Path) -> None:
    found = await told(
        storages={
            "bucket://mine": {},
            "old": {"backend": "bucket", "url": "bucket://uninstalled"},
            "odd": {"backend": "bucket", "wrong": 1},
            "nobodys": {"backend": "nowhere"},
            "disk": {"backend": "local", "root": str(tmp_path / "disk")},
        }
    )
    assert {part for part, _ in found if part.startswith("storage")} == {
        *("storage local", "storage bucket://mine", "storage old", "storage odd", "storage nobodys", "storage disk")
    }
    assert "pip install 'sayonce[bucket]'" in found["storage old", "set up"].remedy
    assert found["storage odd", "set up"].remedy == "Take it out of its table."
    assert "nowhere" in found["storage nobodys", "set up"].said
    assert found["storage disk", "delete"].verdict == "ok"


async def test_audio_that_was_kept_here_before_is_still_looked_after(mine: Inside) -> None:
    Path("data/audio").mkdir(parents=True)
    assert (await told(storage="bucket://mine"))["storage local", "list"].verdict == "ok"


async def test_a_tier_that_is_not_configured() -> None:
    found = await told(tier="nonsense")
    assert "not configured" in found["storage nonsense", "set up"].said


async def test_only_what_new_audio_goes_to_is_to_give_addresses(mine: Inside, tmp_path: Path) -> None:
    (tmp_path / "data" / "audio").mkdir(parents=True)
    for storage, verdict in (("bucket://mine", "skipped"), ("local", "warning")):
        found = await told(storage=storage, delivery="storage", data_dir=tmp_path / "data")
        assert found["storage local", "address"].verdict == verdict


async def test_a_storage_that_is_not_configured() -> None:
    assert "There are: local" in (await told(storage="elsewhere"))["storage elsewhere", "set up"].remedy


async def test_a_storage_in_the_catalogs_database(postgres: str) -> None:
    assert verdicts(await told(storage="database://", database_url=postgres), "storage database://") == {
        "all": "skipped"
    }
    await prepared(postgres)
    found = await told(storage="database://", database_url=postgres)
    assert verdicts(found, "storage database://")["delete"] == "ok"


async def test_a_defect_of_one_part_hides_no_other(mine: Inside) -> None:
    mine.trouble = {"list": ValueError("a bug")}  # type: ignore[dict-item]
    found = await told(storage="bucket://mine")
    assert "ValueError" in found["storage bucket://mine", "checked"].said
    assert found["storage bucket://mine", "blob"].verdict == "ok"
    assert found["provider espeak", "reached"].verdict == "ok"
    assert mine.blobs._blobs == {}
