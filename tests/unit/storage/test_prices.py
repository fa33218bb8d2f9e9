"""What storing costs: list prices where they hold, and one's own before them."""

from __future__ import annotations

from typing import Any

import pytest

from sayonce.storage.prices import monthly_price


@pytest.mark.parametrize(
    ("name", "table", "price"),
    [
        ("s3", {}, 0.023),
        ("s3://bucket/prefix", {"backend": "s3"}, 0.023),
        ("mine", {"backend": "s3", "endpoint_url": "https://s3.eu-central-1.amazonaws.com"}, 0.023),
        ("mine", {"backend": "s3", "endpoint_url": "http://127.0.0.1:9000"}, None),
        ("mine", {"backend": "s3", "endpoint_url": "https://amazonaws.com.example"}, None),
        ("mine", {"backend": "gcs"}, 0.020),
        ("nearline", {"backend": "gcs"}, 0.010),
        ("coldline", {"backend": "gcs"}, 0.004),
        ("nearline", {"backend": "s3"}, 0.023),
        ("supabase://audio", {"backend": "supabase"}, 0.021),
        ("supabase://audio", {"backend": "supabase", "project_url": "https://x.supabase.co"}, 0.021),
        ("supabase://audio", {"backend": "supabase", "project_url": "http://localhost:8000"}, None),
        ("local", {"backend": "local"}, 0.0),
        ("database://", {"backend": "database"}, 0.0),
        ("databricks", {}, None),
        ("as_of", {"backend": "s3"}, 0.023),
        ("gone", {}, None),
    ],
)
def test_list_prices(name: str, table: dict[str, Any], price: float | None) -> None:
    assert monthly_price(name, table, {}) == price


def test_ones_own_go_before_them() -> None:
    minio = {"backend": "s3", "endpoint_url": "http://127.0.0.1:9000"}
    assert monthly_price("mine", minio, {"s3": 0.01}) == 0.01
    assert monthly_price("mine", minio, {"s3": 0.01, "mine": 0.0}) == 0.0
    assert monthly_price("other", {"backend": "gcs"}, {"s3": 0.01, "mine": 0.0}) == 0.020
