"""Our own door, `/api/voice`: what holds there as at the others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import House


@pytest.mark.parametrize(("told", "status"), [("1", 200), ("7", 200), ("a", 400), ("-1", 400), ("1.5", 400)])
async def test_the_variation_of_the_header_holds_at_our_own_door(house: House, told: str, status: int) -> None:
    plain = (await house.http.post("/api/voice", json={"text": "Hello."})).json()["content_hash"]
    answer = await house.http.post("/api/voice", json={"text": "Hello."}, headers={"x-sayonce-variation": told})
    assert answer.status_code == status
    if status == 200:
        by_body = await house.http.post("/api/voice", json={"text": "Hello.", "variation": int(told)})
        assert answer.json()["content_hash"] == by_body.json()["content_hash"] != plain


@pytest.mark.parametrize(
    ("body", "param"), [({"text": ""}, "text"), ({"text": "x", "format": "mp9"}, "format"), ({"text": 7}, "text")]
)
async def test_errors_name_the_fields_of_their_door(house: House, body: dict[str, Any], param: str) -> None:
    assert (await house.http.post("/api/voice", json=body)).json()["error"]["param"] == param
