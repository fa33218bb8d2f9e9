"""Law 4: write the blob, commit the row; delete the row, then the blob. Only a definite "not found" heals."""

from __future__ import annotations

from tests.conftest import House


async def test_a_deleted_blob_heals(house: House) -> None:
    first = await house.speak()
    house.blobs()[0].unlink()
    house.gateway.hot.clear()
    again = await house.speak()
    assert (again.outcome, house.calls) == ("miss", 2)
    house.gateway.hot.clear()
    assert (await house.speak()).audio == first.audio


async def test_a_corrupt_blob_heals(house: House) -> None:
    await house.speak()
    [blob] = house.blobs()
    blob.write_bytes(blob.read_bytes()[:-100])
    blob.with_name(blob.name + ".meta.json").write_bytes(b"{")
    house.gateway.hot.clear()
    assert (await house.speak()).outcome == "miss"
    house.gateway.hot.clear()
    assert (await house.speak()).outcome == "hit"


async def test_a_lost_variant_is_made_again_without_paying(house: House) -> None:
    await house.speak()
    wav = await house.speak(response_format="wav")
    [blob] = [path for path in house.blobs() if path.suffix == ".wav"]
    blob.unlink()
    house.gateway.hot.clear()
    again = await house.speak(response_format="wav")
    assert (again.outcome, again.audio, house.calls) == ("hit", wav.audio, 1)


async def test_an_unreachable_storage_heals_nothing(house: House) -> None:
    await house.speak()
    root = house.gateway.settings.data_dir / "audio"
    root.rename(root.with_name("unmounted"))
    house.gateway.hot.clear()
    assert (await house.speak()).outcome == "bypass"
    assert await house.rows() == 1
    root.with_name("unmounted").rename(root)
    house.gateway.hot.clear()
    assert (await house.speak()).outcome == "hit"


async def test_removing_takes_row_and_blobs(house: House) -> None:
    heard = await house.speak()
    await house.speak(response_format="wav")
    answer = await house.http.delete(f"/api/voice/{heard.headers['x-content-hash']}")
    assert answer.status_code == 200
    assert (await house.rows(), house.blobs()) == (0, [])
    assert (await house.speak(response_format="wav")).outcome == "miss"


async def test_every_blob_tells_what_it_is(house: House) -> None:
    heard = await house.speak()
    gateway = house.gateway
    [blob] = [found async for found in gateway.storages["local"].list()]
    told = await gateway.storages["local"].metadata(blob.path)
    assert told["content_hash"] == heard.headers["x-content-hash"]
    assert told["catalog"] == await gateway.catalog.identity()
    assert {"recipe_hash", "tenant", "scope", "format", "digest"} <= told.keys()
