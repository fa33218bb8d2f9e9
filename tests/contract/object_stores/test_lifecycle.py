"""Rules by which a bucket itself moves and deletes blobs: ours for our prefix, and all others as they are."""

from __future__ import annotations

import re

import httpx
import pytest

from sayonce.errors import StorageMisconfigured, StorageUnavailable
from sayonce.storage.contract import LifecycleRule
from tests.contract.object_stores.places import SECRET, GcsPlace, Place, S3Place

COLD = {"s3": "GLACIER_IR", "gcs": "COLDLINE"}


@pytest.fixture(params=["s3", "gcs"])
def ruled(request: pytest.FixtureRequest) -> Place:
    """A bucket of each kind that has rules."""
    found: Place = request.getfixturevalue(request.param)
    return found


def rules(place: Place, *days: int) -> list[LifecycleRule]:
    """Moves after all but the last of these days, and a deletion after that."""
    return [*(LifecycleRule(each, COLD[place.backend]) for each in days[:-1]), LifecycleRule(days[-1], None)]


async def test_moves_and_deletions(ruled: Place) -> None:
    storage = ruled.storage("/speech")
    assert await storage.lifecycle() == []
    wanted = rules(ruled, 30, 365)
    await storage.set_lifecycle(wanted[::-1])
    assert await storage.lifecycle() == wanted
    await storage.set_lifecycle(rules(ruled, 10))
    assert await storage.lifecycle() == rules(ruled, 10)
    await storage.set_lifecycle([])
    assert await storage.lifecycle() == []


async def test_each_storage_has_its_own(ruled: Place) -> None:
    everything, speech, other = ruled.storage(), ruled.storage("/speech"), ruled.storage("/speech-2")
    for days, storage in enumerate((everything, speech, other), start=1):
        await storage.set_lifecycle(rules(ruled, days, 100 + days))
    for days, storage in enumerate((everything, speech, other), start=1):
        assert await storage.lifecycle() == rules(ruled, days, 100 + days)
    await speech.set_lifecycle([])
    assert [await each.lifecycle() for each in (everything, speech, other)] == [
        rules(ruled, 1, 101),
        [],
        rules(ruled, 3, 103),
    ]


async def test_a_bucket_that_is_not_there_has_none(ruled: Place) -> None:
    elsewhere = ruled.storage(url=ruled.table()["url"].replace(ruled.bucket, "no-such-bucket"))
    for ask in (elsewhere.lifecycle, lambda: elsewhere.set_lifecycle(rules(ruled, 1))):
        with pytest.raises(StorageMisconfigured, match="bucket that does not exist"):
            await ask()


@pytest.mark.parametrize("trouble", [{"status": 500}, {"status": 503}, {"how": "reset"}], ids=str)
async def test_what_passes_is_tried_again(ruled: Place, trouble: dict[str, object]) -> None:
    storage = ruled.storage("/speech")
    ruled.trouble(times=2, **trouble)
    await storage.set_lifecycle(rules(ruled, 7))
    ruled.trouble(times=2, **trouble)
    assert await storage.lifecycle() == rules(ruled, 7)
    ruled.trouble(**trouble)
    with pytest.raises(StorageUnavailable) as told:
        await storage.lifecycle()
    assert (told.value.retryable, len(ruled.calls)) == (True, 3)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_what_lasts_is_tried_once(ruled: Place, status: int) -> None:
    storage = ruled.storage("/speech")
    ruled.trouble(status=status)
    with pytest.raises(StorageMisconfigured) as told:
        await storage.set_lifecycle(rules(ruled, 7))
    assert len(ruled.calls) == 1
    assert SECRET not in str(told.value)


def test_nothing_shows_the_keys(ruled: Place) -> None:
    shown = repr(ruled.storage("/speech")._rules())  # type: ignore[attr-defined]
    assert "speech/" in shown
    assert SECRET not in shown
    assert "PRIVATE KEY" not in shown


@pytest.mark.parametrize("body", [b"<html>Sign in to <br> the network</html>", b"[]", b"{}"])
async def test_what_does_not_answer_as_it_should(ruled: Place, body: bytes) -> None:
    storage = ruled.storage("/speech")
    for what in ("/token", ruled.bucket):
        ruled.trouble(status=200, body=body, meant=lambda asked, what=what: what in asked)
        if what == ruled.bucket or ruled.backend == "gcs":
            with pytest.raises(StorageMisconfigured, match="does not answer as an object storage"):
                await storage.lifecycle()


# ── S3's ─────────────────────────────────────────────────────────────────────────────────────────

THEIRS = """<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Rule><ID>finance</ID><Filter><And><Prefix>books/</Prefix>
<Tag><Key>k</Key><Value>v &amp; w</Value></Tag></And></Filter>
<Status>Enabled</Status><Transition><Days>90</Days><StorageClass>STANDARD_IA</StorageClass></Transition></Rule>
<Rule><ID>same-prefix</ID><Filter><Prefix>speech/</Prefix></Filter><Status>Disabled</Status>
<Expiration><Days>5</Days></Expiration></Rule>
<Rule><ID>sayonce-off</ID><Filter><Prefix>off/</Prefix></Filter><Status>Disabled</Status>
<Expiration><Days>5</Days></Expiration></Rule>
<Rule><ID>parts</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>
<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
</LifecycleConfiguration>"""


async def theirs(place: S3Place, moto: str) -> list[str]:
    """The rules that are not ours, as the bucket has them."""
    async with httpx.AsyncClient() as http:
        told = (await http.get(f"{moto}/{place.bucket}?lifecycle")).text
    found = re.findall(r"<Rule>(.*?)</Rule>", re.sub(r">\s+<", "><", told), re.DOTALL)
    return [rule for rule in found if "<ID>sayonce-" not in rule]


async def test_others_rules_in_s3_stay_as_they_are(s3: S3Place, moto: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.put(f"{moto}/{s3.bucket}?lifecycle", content=THEIRS)
        assert answer.status_code == 200
    before = await theirs(s3, moto)
    assert len(before) == 3
    storage, off = s3.storage("/speech"), s3.storage("/off")
    assert [await storage.lifecycle(), await off.lifecycle()] == [[], []]  # what is off does not hold
    await storage.set_lifecycle(rules(s3, 30, 365))
    assert [await storage.lifecycle(), await off.lifecycle()] == [rules(s3, 30, 365), []]
    assert await theirs(s3, moto) == before
    await off.set_lifecycle([])
    await storage.set_lifecycle([])
    assert await theirs(s3, moto) == before


async def test_what_is_too_small_to_be_moved_stays_so(s3: S3Place) -> None:
    """A word of Amazon's beside the rules; moto does not know it."""
    body = THEIRS.encode()
    least = (b"x-amz-transition-default-minimum-object-size", b"varies_by_storage_class")
    s3.trouble(status=200, body=body, headers=(least,), meant=lambda asked: asked.startswith("GET"))
    seen: list[str | None] = []
    checked = s3.troubled._app

    async def noted(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        seen.append(dict(scope["headers"]).get(least[0]))
        await checked(scope, receive, send)

    s3.troubled._app = noted
    await s3.storage("/speech").set_lifecycle(rules(s3, 30))
    assert seen == [least[1]]


async def test_where_s3_has_no_rules(s3: S3Place) -> None:
    storage = s3.storage("/speech")
    s3.trouble(status=501, code="NotImplemented")
    assert await storage.lifecycle() is None
    with pytest.raises(StorageMisconfigured, match="has no lifecycle rules"):
        await storage.set_lifecycle(rules(s3, 1))


async def test_a_server_that_takes_the_question_for_another(s3: S3Place) -> None:
    """It lists objects, and would make a bucket."""
    for root in ("ListBucketResult", "html"):
        s3.trouble(status=200, body=f"<{root}></{root}>".encode())
        with pytest.raises(StorageMisconfigured, match="does not answer as an object storage"):
            await s3.storage("/speech").set_lifecycle(rules(s3, 1))
        assert len(s3.calls) == 1


async def test_a_machine_without_a_role(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    own = {"credentials": "metadata", "access_key_id": None, "secret_access_key": None}
    with pytest.raises(StorageMisconfigured, match="own role"):
        await s3.storage(**own).lifecycle()
    assert s3.calls == []


async def test_a_class_that_is_none_is_told_of(s3: S3Place) -> None:
    with pytest.raises(StorageMisconfigured, match="MalformedXML"):
        s3.trouble(status=400, code="MalformedXML", meant=lambda asked: asked.startswith("PUT"))
        await s3.storage("/speech").set_lifecycle([LifecycleRule(30, "LUKEWARM")])


# ── Google's ─────────────────────────────────────────────────────────────────────────────────────


async def test_others_rules_in_google_stay_as_they_are(gcs: GcsPlace) -> None:
    others = [
        {"action": {"type": "Delete"}, "condition": {"age": 5, "matchesPrefix": ["books/"]}},
        {"action": {"type": "Delete"}, "condition": {"age": 5, "matchesPrefix": ["speech/", "books/"]}},
        {"action": {"type": "Delete"}, "condition": {"age": 5, "matchesPrefix": ["speech/"], "isLive": False}},
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 3, "matchesPrefix": ["speech/"]}},
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"numNewerVersions": 2}},
    ]
    gcs.fake.lifecycle = {"rule": others}
    storage = gcs.storage("/speech")
    assert await storage.lifecycle() == []
    await storage.set_lifecycle(rules(gcs, 30, 365))
    assert gcs.fake.lifecycle["rule"][:5] == others
    assert len(gcs.fake.lifecycle["rule"]) == 7
    assert await storage.lifecycle() == rules(gcs, 30, 365)
    await storage.set_lifecycle([])
    assert gcs.fake.lifecycle == {"rule": others}


async def test_whoever_changes_googles_rules_meanwhile_is_heeded(gcs: GcsPlace) -> None:
    other = {"action": {"type": "Delete"}, "condition": {"age": 5, "matchesPrefix": ["books/"]}}

    def meanwhile(asked: str) -> bool:
        if asked.startswith("PATCH") and gcs.fake.metageneration == 1:
            gcs.fake.lifecycle, gcs.fake.metageneration = {"rule": [other]}, 2
        return False

    gcs.trouble(meant=meanwhile)
    storage = gcs.storage("/speech")
    await storage.set_lifecycle(rules(gcs, 10))
    assert gcs.troubled.count("PATCH") == 2
    assert other in gcs.fake.lifecycle["rule"]
    assert await storage.lifecycle() == rules(gcs, 10)


async def test_a_machine_of_googles(gcs: GcsPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = gcs.storage("/speech", credentials="metadata", urls="none")
    monkeypatch.setenv("GCE_METADATA_HOST", gcs.url.removeprefix("http://"))
    await storage.set_lifecycle(rules(gcs, 7))
    assert await storage.lifecycle() == rules(gcs, 7)
    assert gcs.troubled.count("GET /computeMetadata") == 2
    gcs.trouble(status=404, meant=lambda asked: "computeMetadata" in asked)
    with pytest.raises(StorageMisconfigured, match="own role"):
        await storage.lifecycle()
    assert len(gcs.calls) == 1


async def test_googles_tokens_are_exchanged(gcs: GcsPlace) -> None:
    storage = gcs.storage("/speech")
    await storage.set_lifecycle(rules(gcs, 7))
    assert gcs.fake.exchanges == 1
    gcs.trouble(status=400, body=b'{"error": "invalid_grant"}', meant=lambda asked: "token" in asked)
    with pytest.raises(StorageMisconfigured, match="does not accept our credentials"):
        await storage.lifecycle()
    assert len(gcs.calls) == 1
    gcs.trouble(status=503, times=2, meant=lambda asked: "token" in asked)
    assert await storage.lifecycle() == rules(gcs, 7)
    assert gcs.troubled.count("POST /token") == 3
