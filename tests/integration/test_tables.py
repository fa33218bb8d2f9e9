"""What tables of upstreams and storages need not say, and what is said where one is missing."""

from __future__ import annotations

import pytest

from sayonce.errors import InvalidSettings
from tests.conftest import MakeHouse


async def test_a_table_that_has_a_kinds_own_name_need_not_say_its_kind(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYONCE_UPSTREAMS__DEEPGRAM__API_KEY", "sk-x")
    house = await make_house(chain="deepgram", storages={"memory": {}}, storage="memory")
    assert house.gateway.cast.upstreams["deepgram"].name == "deepgram"
    assert set(house.gateway.storages) == {"local", "memory"}


async def test_any_other_says_it(make_house: MakeHouse) -> None:
    with pytest.raises(InvalidSettings, match="'polly' does not say its provider"):
        await make_house(upstreams={"polly": {"api_key": "sk-x"}})
    with pytest.raises(InvalidSettings, match="'disk' does not say its backend"):
        await make_house(storages={"disk": {"root": "/srv"}})


async def test_who_names_a_provider_that_has_no_table_is_told_to_add_one(make_house: MakeHouse) -> None:
    with pytest.raises(InvalidSettings, match="not configured") as refused:
        await make_house(chain="declared")
    assert "add [upstreams.declared]" in str(refused.value.remedy)
    with pytest.raises(InvalidSettings, match="not configured") as refused:
        await make_house(chain="polly")
    assert "add" not in str(refused.value.remedy)
